import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dp2bench.metrics.separation import equal_error_threshold, separate

NUMBERS = st.lists(st.integers(-5, 5), min_size=1, max_size=12)


@given(NUMBERS, NUMBERS)
def test_it_is_the_mann_whitney_statistic(a, b):
    said = separate(a, b)
    u = stats.mannwhitneyu(a, b).statistic
    assert said.auc == pytest.approx(u / (len(a) * len(b)))
    assert said.first.mean() == pytest.approx(said.auc)
    assert said.second.mean() == pytest.approx(said.auc)
    assert separate(b, a).auc == pytest.approx(1 - said.auc)


@given(NUMBERS, NUMBERS)
def test_a_weight_of_two_is_the_number_twice(a, b):
    weights = [1 + i % 2 for i in range(len(a))]
    twice = [x for x, w in zip(a, weights, strict=True) for _ in range(w)]
    assert separate(a, b, weights).auc == pytest.approx(separate(twice, b).auc)
    assert separate(b, a, None, weights).auc == pytest.approx(separate(b, twice).auc)


def test_parted_kinds():
    assert separate([2, 3], [0, 1]).auc == 1
    assert separate([1], [1]).auc == 0.5
    with pytest.raises(ValueError, match="one or more"):
        separate([], [1])
    with pytest.raises(ValueError, match="finite"):
        separate([np.nan], [1])


def test_the_two_errors_are_equal_at_the_threshold():
    random = np.random.default_rng(0)
    a, b = random.normal(1, 1, 4000), random.normal(0, 1, 9000)
    threshold = equal_error_threshold(a, b)
    assert threshold == pytest.approx(0.5, abs=0.05)
    assert (a < threshold).mean() == pytest.approx((b >= threshold).mean(), abs=0.002)
    assert (a < threshold).mean() == pytest.approx(stats.norm.cdf(-0.5), abs=0.015)
    weights = random.random(4000)
    weighted = equal_error_threshold(a, b, weights)
    assert weights[a < weighted].sum() / weights.sum() == pytest.approx((b >= weighted).mean(), abs=0.002)
