import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp2bench.metrics.verification import verify


def test_the_same_faces_are_all_verified():
    people = np.eye(4)
    said = verify(people, people, threshold=0.6)
    assert (said.rate, said.chance, said.auc, said.interval) == (1.0, 0.0, 1.0, (1.0, 1.0))
    assert said.distances.tolist() == [0, 0, 0, 0]


def test_faces_of_somebody_else_are_not():
    people = np.eye(4)
    said = verify(people, people[[1, 2, 3, 0]], threshold=0.6)
    assert said.rate == 0
    assert said.chance == pytest.approx(4 / 12)
    assert said.auc == pytest.approx((0 + 0.5 * 8) / 12)


def test_one_face_for_all_is_chance():
    said = verify(np.random.default_rng(0).normal(size=(6, 3)), np.zeros((6, 3)), threshold=1.5)
    assert said.rate == pytest.approx(said.chance)
    assert said.auc == pytest.approx(0.5)


def test_one_person_has_no_chance():
    said = verify(np.zeros((1, 3)), np.zeros((1, 3)), threshold=1)
    assert said.rate == 1
    assert np.isnan([said.chance, said.auc]).all()
    with pytest.raises(ValueError, match="equal"):
        verify(np.zeros((1, 3)), np.zeros((2, 3)), threshold=1)


@given(st.integers(2, 12), st.integers(0, 1000))
def test_order_of_people_does_not_matter(n, seed):
    random = np.random.default_rng(seed)
    clear, other = random.normal(size=(2, n, 4))
    order = random.permutation(n)
    one, two = verify(clear, other, threshold=1.5), verify(clear[order], other[order], threshold=1.5)
    assert (one.rate, one.chance) == pytest.approx((two.rate, two.chance))
    assert one.auc == pytest.approx(two.auc)
    assert one.interval[0] <= one.rate <= one.interval[1]
