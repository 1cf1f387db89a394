"""Linkability's and memorization's statistics on numbers drawn for the purpose, and who is held back from a restorer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from dp2bench.attacks import restore
from dp2bench.attacks.linkability import measure_pairs
from dp2bench.attacks.memorization import Memorization
from dp2bench.core.attacks import Split, View
from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import Dp2benchError
from dp2bench.tasks.privacy_attacks import record_attacks

from .world import thumbnails, world


def view(people, cameras, pictures=None):
    n = len(people)
    pictures = np.zeros((n, 2, 2, 3), np.uint8) if pictures is None else pictures
    return View(tuple(map(str, range(n))), np.asarray(people), np.asarray(cameras), pictures, thumbnails)


def test_perfect_pairs_are_all_told():
    people, cameras = np.repeat(np.arange(1, 13), 4), np.tile(np.arange(4), 12)
    same = people[:, None] == people[None]
    linked, accuracy = measure_pairs(
        same.astype(float), *[view(people, cameras)] * 2, seed=0, permutations=20
    )
    assert linked.value == accuracy.value == 1
    assert linked.p_value == accuracy.p_value == 1 / 21


def test_pairs_of_one_camera_do_not_count():
    """Between cameras it is perfect; within one it is upside down."""
    people, cameras = np.repeat(np.arange(1, 13), 4), np.tile(np.arange(4), 12)
    same = (people[:, None] == people[None]).astype(float)
    closeness = np.where(cameras[:, None] == cameras[None], 5 - 9 * same, same)
    linked, accuracy = measure_pairs(closeness, *[view(people, cameras)] * 2, seed=0, permutations=1)
    assert linked.value == accuracy.value == 1


def test_p_values_of_pairs_are_uniform_where_nothing_is_told():
    people, cameras = np.repeat(np.arange(1, 25), 2), np.tile([0, 1], 24)
    p = []
    for seed in range(80):
        closeness = np.random.default_rng(seed).normal(size=(48, 48))
        p.append(
            [
                m.p_value
                for m in measure_pairs(closeness, *[view(people, cameras)] * 2, seed=seed, permutations=40)
            ]
        )
    for values in np.transpose(p):
        assert stats.kstest(values, "uniform").pvalue > 0.005


@pytest.mark.parametrize(("train", "test"), [(8, 8), (17, 22), (16, 8), (8, 24)])
def test_the_side_with_more_pictures_is_not_nearer(train, test, tmp_path):
    """Noise on both sides: nobody is reproduced, whatever the number of pictures a person."""
    found = []
    for seed in range(4):
        random = np.random.default_rng(seed)

        def noise(first, shots, random=random):
            who = np.repeat(np.arange(first, first + 24), shots)
            pictures = random.integers(0, 256, (2, len(who), 16, 8, 3)).astype(np.uint8)
            return Split(*(view(who, np.zeros_like(who), p) for p in pictures))

        context = RunContext(seed=seed, trained={}, artefacts=tmp_path, threads=1)
        attack = Memorization()
        attack.fit(noise(1, train), context)
        (measured,) = attack.score(noise(101, test), noise(101, 1), context)
        found.append(measured)
    assert 0.4 < np.mean([m.value for m in found]) < 0.6
    assert np.mean([m.p_value for m in found]) > 0.1


def test_held_out_people_are_seen_by_a_restorer_that_never_saw_them(tmp_path, monkeypatch):
    """Every row of a fold, and not only its queries, is described by the fold's own network."""
    described = []

    def describe(self, split, version):
        described.append((id(self), len(split.clear)))
        return split.view(version).features("osnet-0")

    monkeypatch.setattr(restore.Restore, "describe", describe)
    monkeypatch.setattr(restore, "EPOCHS", 1)
    context = RunContext(seed=0, trained={}, artefacts=tmp_path, threads=1)
    splits = world(train=12, test=8)
    record_attacks([restore.Restore()], splits, context)
    by_attack = {}
    for who, rows in described:
        by_attack.setdefault(who, set()).add(rows)
    held = len(splits["train"].clear) // 2
    assert len(by_attack) == 3
    folds = list(by_attack.values())[1:]
    assert all(held in rows for rows in folds), "the fold's train rows and gallery"
    assert json.loads((tmp_path / "attacks.json").read_text())["worst"]["attack"] == "restore"


def test_sides_that_do_not_halve_twice_are_said(tmp_path):
    split = Split(*[view([1, 2], [0, 1], np.zeros((2, 30, 16, 3), np.uint8))] * 2)
    with pytest.raises(Dp2benchError, match="multiples of 4"):
        restore.Restore().fit(split, RunContext(seed=0, trained={}, artefacts=tmp_path, threads=1))
