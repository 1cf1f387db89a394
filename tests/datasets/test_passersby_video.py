import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dp2bench.core.errors import DatasetError
from dp2bench.datasets.passersby import video_builder
from dp2bench.datasets.passersby.generation import making, workers
from dp2bench.datasets.passersby.rendering.dressing import dress
from dp2bench.datasets.passersby.rendering.identities import make_identity
from dp2bench.datasets.passersby.rendering.posing import pose_person, random_pose
from dp2bench.datasets.passersby.video import PassersbyVideo
from dp2bench.datasets.passersby.video_builder import SIZES, Walk, stride, walks

pytest.importorskip("av", reason="PyAV is not installed")


@pytest.fixture(autouse=True)
def _cache(rendered_cache, monkeypatch):
    monkeypatch.setenv("DP2BENCH_CACHE", str(rendered_cache))


@pytest.fixture
def data(_cache):
    found = PassersbyVideo("smoke")
    found.prepare()
    return found


def test_clips_have_the_length_and_size_they_should(data):
    size = SIZES["smoke"]
    samples = data.samples("all")
    assert [s.id for s in samples] == [f"0000/{k:06d}" for k in range(size.seconds * size.rate)]
    assert data.read(samples[0]).shape == (size.frame[1], size.frame[0], 3)
    assert samples[-1].labels["seconds"] == pytest.approx(size.seconds - 1 / size.rate)


def test_what_is_made_with_shared_workers_starts_them_once_and_is_the_same(data, tmp_path, monkeypatch):
    started = []

    class Counted(workers.Worker):
        def __init__(self, function):
            super().__init__(function)
            started.append(self.process)

    monkeypatch.setattr(workers, "Worker", Counted)
    with workers.shared_workers(2):
        for place in ("a", "b"):
            making.make(video_builder.VideoBuilder(), "smoke", tmp_path / place, lambda done, total: None)
        assert len(started) == 2
        assert all(process.poll() is None for process in started)
    assert all(process.poll() == 0 for process in started)
    manifests = [
        json.loads((root / "manifest.json").read_text())
        for root in (data.root, tmp_path / "a", tmp_path / "b")
    ]
    for manifest in manifests:  # x264 may give other bytes for equal pictures
        manifest["sha256"] = {k: v for k, v in manifest["sha256"].items() if not k.endswith(".mp4")}
    assert manifests[0]["sha256"]
    assert manifests[0] == manifests[1] == manifests[2]


def test_decoded_frames_are_those_that_were_drawn(data):
    scene = video_builder.ClipScene(0, SIZES["smoke"])
    for k in (7, 2, 3):  # in any order
        drawn, _ = scene.render_frame(k)
        read = data.read(data.samples("all")[k])
        assert np.abs(read.astype(int) - drawn.picture).mean() < 6  # what the codec costs
    with pytest.raises(DatasetError, match="has no frame 99"):
        data.read(type(data.samples("all")[0])("0000/000099", data.root / "clips" / "0000.mp4" / "000099"))


def test_tracks_are_identities_and_go_on(data):
    tracks: dict[int, list[np.ndarray]] = {}
    for sample in data.samples("all"):
        people = data.people(sample)
        assert len(set(people.track_ids.tolist())) == len(people)
        for box, track in zip(people.boxes, people.track_ids, strict=True):
            tracks.setdefault(int(track), []).append((box[:2] + box[2:]) / 2)
    assert tracks
    assert set(tracks) == set(data.attributes())
    for middles in tracks.values():
        # At most 1.6 m/s, 5 frames a second, at least 4.5 m away: nobody jumps.
        assert all(np.abs(a - b).max() < 25 for a, b in itertools.pairwise(middles))


def test_the_tracks_file_is_that_of_the_mot_challenge(data):
    rows = np.loadtxt(data.root / "gt" / "0000.txt", delimiter=",", ndmin=2)
    assert rows.shape[1] == 9
    for sample in data.samples("all"):
        people = data.people(sample)
        mine = rows[rows[:, 0] == sample.labels["frame"] + 1]
        assert mine[:, 1].tolist() == people.track_ids.tolist()
        np.testing.assert_array_equal(mine[:, 2:4], people.boxes[:, :2])
        np.testing.assert_array_equal(mine[:, 2:4] + mine[:, 4:6], people.boxes[:, 2:])
    assert ((rows[:, 8] >= 0) & (rows[:, 8] <= 1)).all()


def test_a_copy_may_lack_frames_and_must_be_in_order(data, tmp_path):
    samples = data.samples("all")
    handed = [("all", s.id, 255 - data.read(s)) for s in samples if s.labels["frame"] not in {0, 4}]
    copy = data.rewrite(tmp_path / "copy", handed)
    assert [s.id for s in copy.samples("all")] == [i for _, i, _ in handed]
    assert np.abs(copy.read(copy.samples("all")[3]).astype(int) - handed[3][2]).mean() < 6
    assert (copy.root / "gt" / "0000.txt").read_bytes() == (data.root / "gt" / "0000.txt").read_bytes()
    copy.verify()
    with pytest.raises(DatasetError, match="no frame 0000/000001 after"):
        data.rewrite(tmp_path / "other", [handed[1], handed[0]])
    assert not list((tmp_path / "other" / "clips").glob("*"))


@pytest.mark.parametrize("size", ["mini", "large"])
def test_people_cross_and_nobody_walks_through_anybody(size):
    n = SIZES[size]
    for clip in range(2):
        found = walks(clip, n, 9.0)
        assert len(found) > 0.7 * n.people
        together = [sum(w.at(t) is not None for w in found) for t in np.arange(0, n.seconds, 0.5)]
        assert max(together) >= 4
        for t in np.arange(0, n.seconds, 0.1):
            at = np.array([p for w in found if (p := w.at(float(t)))])
            if len(at) > 1:
                apart = np.linalg.norm(at[:, None] - at[None], axis=-1)[~np.eye(len(at), dtype=bool)]
                assert apart.min() > 0.55


def test_a_walk_looks_ahead_and_its_feet_stay():
    walk = Walk(0, (0.0, 0.0), (1.0, 0.0), 0.0, 10.0)
    dressed = dress(make_identity("test", 1), False)
    at_rest = random_pose(np.random.default_rng(0), "walk")
    slips, bends = [], []
    steps = np.linspace(0, 2, 41)
    last = None
    for t in steps:
        gone = float(t)
        someone = pose_person(
            dressed, stride(at_rest, 2 * np.pi * gone / video_builder._CYCLE), yaw=walk.yaw, at=walk.at(gone)
        )
        nose, ears = someone.keypoints[0], someone.keypoints[3:5].mean(0)
        bends.append(nose[0] - ears[0])
        ankles = someone.keypoints[15:17]
        if last is not None:
            # The foot that stands hardly moves while the body goes on.
            slips.append(min(abs(ankles[:, 0] - last[:, 0])) / (steps[1] - steps[0]))
        last = ankles
    assert min(bends) > 0  # the nose is before the ears, along +x
    assert np.mean(slips) < 0.3


@pytest.mark.e2e
def test_a_folder_of_the_same_name_is_not_taken_for_the_package(tmp_path, monkeypatch):
    """Somebody who installed a wheel runs it in a checkout, whose mapped packages are elsewhere."""
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "dp2bench").mkdir()
    (tmp_path / "dp2bench" / "__init__.py").write_text("raise ImportError('a checkout')")
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("dp2bench")),
            "data",
            "make",
            "passersby-video",
            "--size",
            "smoke",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
