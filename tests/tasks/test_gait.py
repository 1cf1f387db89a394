"""Gait on drawn walkers: those who walk differently are told apart by their silhouettes, boxes and one way of walking are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import stats

from dp2bench.attacks.gait import gait_energy, normalized_silhouette
from dp2bench.core.chance import p_value
from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.datasets.folder import Folder
from dp2bench.tasks.gait import Gait, _ranked

PEOPLE, CLIPS, FRAMES = 16, 4, 6


def walker(style, phase, random):
    """(64, 48) silhouette of the same body in a style: how far legs and arms swing, and how the trunk leans."""
    step, arms, lean = style + random.normal(0, 0.02, 3)
    mask = np.zeros((64, 48), np.uint8)
    hip = np.array([24.0, 36.0])
    neck = hip + 22 * np.array([np.sin(lean), -np.cos(lean)])

    def limb(start, angle, length):
        end = start + length * np.array([np.sin(angle), np.cos(angle)])
        cv2.line(mask, *(tuple(int(v) for v in np.round(p)) for p in (start, end)), 255, 4)

    cv2.line(mask, *(tuple(int(v) for v in np.round(p)) for p in (hip, neck)), 255, 7)
    cv2.circle(mask, tuple(int(v) for v in np.round(neck)), 5, 255, -1)
    for side in (-1, 1):
        limb(hip, side * step * np.sin(phase), 24)
        limb(neck, -side * arms * np.sin(phase), 18)
    return mask


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Walkers with styles of their own; the same in boxes; walkers of one style."""
    folder = tmp_path_factory.mktemp("tracks")
    random = np.random.default_rng(1)
    styles = random.uniform([0.2, 0.1, -0.1], [0.9, 0.9, 0.25], (PEOPLE, 3))
    for person, style in enumerate(styles):
        for clip in range(CLIPS):
            start = random.uniform(0, 2 * np.pi)
            for frame in range(FRAMES):
                name = f"{person:02d}/{clip}/{frame:03d}.png"
                phase = start + 2 * np.pi * frame / FRAMES
                mask = walker(style, phase, random)
                box = np.zeros_like(mask)
                box[8:60, 10:38] = 255
                alike = walker(np.array([0.5, 0.5, 0.05]), phase, random)
                for kind, made in (("styles", mask), ("boxes", box), ("alike", alike)):
                    path = folder / kind / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    cv2.imwrite(str(path), made)
    return {kind: Folder(folder / kind) for kind in ("styles", "boxes", "alike")}


def scores(tracks, clear, anonymized, tmp_path):
    told = RunContext(seed=0, trained={}, artefacts=tmp_path, threads=1)
    Gait(silhouettes="given").run(tracks[clear], tracks[anonymized], told)
    return {s.name: s for s in told.scores}


def test_raw_silhouettes_tell_who_walks_and_boxes_do_not(tracks, tmp_path):
    found = scores(tracks, "styles", "styles", tmp_path)
    assert found["anonymized.rank-1"].value == found["clear.rank-1"].value > 0.7
    assert found["anonymized.rank-1"].p_value < 0.01
    assert found["anonymized.rank-1"].lift == 1
    assert found["anonymized.rank-1"].n == PEOPLE * CLIPS // 2
    boxed = scores(tracks, "styles", "boxes", tmp_path)
    assert boxed["anonymized.mAP"].p_value > 0.05
    assert boxed["anonymized.rank-1"].lift < 0.2


def test_one_way_of_walking_tells_nobody(tracks, tmp_path):
    found = scores(tracks, "alike", "alike", tmp_path)
    assert found["clear.mAP"].p_value > 0.02
    assert found["clear.mAP"].value <= found["clear.mAP"].chance_high * 1.1


def test_silhouettes_are_normalized():
    mask = np.zeros((100, 80), bool)
    mask[30:90, 10:30] = True
    shifted = np.roll(np.roll(mask, 8, 0), 30, 1)
    np.testing.assert_array_equal(normalized_silhouette(mask), normalized_silhouette(shifted))
    assert normalized_silhouette(np.zeros((5, 5), bool)) is None
    assert gait_energy(np.zeros((3, 5, 5), bool)).max() == 0


def test_what_is_wrong_is_said(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    told = RunContext(seed=0, trained={}, artefacts=tmp_path, threads=1)
    with pytest.raises(DatasetError, match="not named person/clip/frame"):
        Gait().run(Folder(tmp_path), Folder(tmp_path), told)
    write_image(tmp_path / "few" / "1/1/a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DatasetError, match="0 people with two clips"):
        Gait().run(Folder(tmp_path / "few"), Folder(tmp_path / "few"), told)
    with pytest.raises(Dp2benchError, match="cannot be 'some'"):
        Gait(silhouettes="some")


def test_p_values_are_uniform_where_walks_say_nothing(tmp_path):
    people = np.repeat(np.arange(1, 13), 4)
    names = [f"{person:02d}/{clip}" for clip, person in enumerate(people)]
    found = []
    for seed in range(80):
        rows = np.random.default_rng(seed).normal(size=(len(people), 24)).astype(np.float32)
        context = RunContext(seed=seed, trained={}, artefacts=tmp_path, threads=1)
        ranked = _ranked(names, people, rows, context)
        found.append(p_value(ranked.null("mAP"), float(np.mean(list(ranked.units["mAP"].values())))))
    assert stats.kstest(found, "uniform").pvalue > 0.01
