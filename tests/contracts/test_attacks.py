"""What every registered attack must fulfil: it finds its positive control, finds nothing in its negative one, and looks at nobody's name."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from dp2bench.attacks import controls
from dp2bench.core import registry
from dp2bench.core.attacks import Attack, AttackMeta, Split
from dp2bench.core.contracts import RunContext

sys.path.insert(0, str(Path(__file__).parents[1] / "attacks"))
from world import world

TRAINED = {"parrot-resnet", "restore"}
"""Those that train a network."""
ATTACKS = [
    pytest.param(name, marks=[pytest.mark.slow] if name in TRAINED else [])
    for name in sorted(e.name for e in entry_points(group="dp2bench.attacks"))
]


@pytest.fixture(params=ATTACKS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def splits() -> dict[str, Split]:
    return world()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What attacks train, once for all tests."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def context(tmp_path: Path, cache: Path) -> RunContext:
    return RunContext(seed=0, trained={}, artefacts=tmp_path, threads=1, cache=cache)


def _under(control: str, splits: dict[str, Split]) -> dict[str, Split]:
    return controls.under(control, splits, np.random.default_rng(0))


def _attack(name: str, splits: dict[str, Split], context: RunContext):
    attack: Attack = registry.create("attacks", name, {})
    attack.fit(splits["train"], context)
    return attack.score(splits["query"], splits["gallery"], context)


def test_meta(name):
    meta = registry.load("attacks", name).meta
    assert isinstance(meta, AttackMeta)
    assert meta.name == name
    assert meta.title
    assert meta.claim.endswith(".")
    assert {meta.positive, meta.negative} <= controls.NAMES
    assert meta.positive != meta.negative


def test_it_finds_its_positive_control(name, splits, context):
    meta = registry.load("attacks", name).meta
    main = _attack(name, _under(meta.positive, splits), context)[0]
    assert main.metric == meta.main_metric
    assert main.value > (main.chance_high or main.chance)
    assert main.p_value is None or main.p_value < 0.01


def test_it_finds_nothing_in_its_negative_control(name, splits, context):
    meta = registry.load("attacks", name).meta
    found = _attack(name, _under(meta.negative, splits), context)
    main = found[0]
    if main.p_value is None:
        assert main.value <= 2 * main.chance
    else:
        assert main.p_value > 0.01
        assert main.value < main.chance_high * 1.1


def test_measurements_are_whole(name, splits, context):
    meta = registry.load("attacks", name).meta
    found = _attack(name, _under(meta.positive, splits), context)
    assert len({(m.metric, m.scenario, m.subset) for m in found}) == len(found)
    tested = set(splits["query"].clear.identities.tolist())
    learned_from = {-1 - i for i in splits["train"].clear.identities.tolist()}  # told apart by their sign
    for m in found:
        assert m.units.keys() == m.clusters.keys()
        assert set(m.clusters.values()) <= tested | learned_from
        assert tested & set(m.clusters.values())
        assert m.value == pytest.approx(np.mean(list(m.units.values())))
        assert m.chance is not None


def test_the_names_of_those_attacked_reach_no_distance(name, splits, context):
    """With other names for the test people an attack that ranks gives the same distances."""
    meta = registry.load("attacks", name).meta
    if not meta.identifies:
        pytest.skip("it ranks nobody")
    under = _under(meta.positive, splits)
    before = _attack(name, under, context)[0].ranking
    renamed = dict(under)
    people = np.unique(under["query"].clear.identities)
    for part in ("query", "gallery"):
        renamed[part] = Split(
            *(replace(v, identities=people[::-1][np.searchsorted(people, v.identities)]) for v in under[part])
        )
    after = _attack(name, renamed, context)[0].ranking
    np.testing.assert_array_equal(before, after)


def test_what_it_needs_is_said(name, splits):
    attack: Attack = registry.create("attacks", name, {})
    assert not attack.missing(splits["train"])
    bare = replace(splits["train"].clear, masks=None, keypoints=None, attributes=None)
    assert bool(attack.missing(Split(bare, bare))) == bool(attack.meta.needs)
