import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp2bench.core.types import Category, People
from dp2bench.detection import tracking
from dp2bench.detection.tracking import FrameBoxes, track
from dp2bench.metrics.tracking import tracking_scores

SIZE = (360, 640)


def _walk(start, speed, size=(40, 120)):
    """A person who walks at constant speed: frame number to box."""

    def box(f):
        x, y = start[0] + speed[0] * f, start[1] + speed[1] * f
        return [x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2]

    return box


def _frame(boxes, kinds=None, faces=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return FrameBoxes(
        boxes,
        np.ones(len(boxes), np.int8) if kinds is None else np.asarray(kinds, np.int8),
        np.full((len(boxes), 4), np.nan, np.float32) if faces is None else np.asarray(faces, np.float32),
    )


def _scene(walkers, n, *, noise=0.0, drop=0.0, seed=0):
    """(truth, frames) of n frames; boxes jitter by ``noise`` pixels, are missing with chance ``drop``, and come in any order."""
    rng = np.random.default_rng(seed)
    truth, frames = [], []
    for f in range(n):
        boxes = np.array([w(f) for w in walkers], np.float32)
        order = rng.permutation(len(walkers))
        order = order[rng.random(len(order)) >= drop]
        truth.append((boxes, np.arange(len(walkers))))
        frames.append(_frame(boxes[order] + rng.normal(0, noise, (len(order), 4))))
    return truth, frames


def _found(frames, out, *, bridged=True):
    rows = []
    for frame, ids, bridges in zip(frames, out.ids, out.interpolated, strict=True):
        more = bridges if bridged else []
        boxes = np.concatenate((frame.boxes, np.array([b.box for b in more], np.float32).reshape(-1, 4)))
        rows.append((boxes, np.concatenate((ids, np.array([b.track for b in more], np.int64)))))
    return rows


CROSSING = [_walk((100, 180), (5, 0)), _walk((500, 190), (-5, 0)), _walk((320, 60), (0, 2), (30, 90))]


def test_people_who_cross_keep_their_identity():
    truth, frames = _scene(CROSSING, 80, noise=1.0)
    out = track(frames, SIZE)
    assert out.count == 3
    assert tracking_scores(truth, _found(frames, out, bridged=False)) == (1.0, 0, 0, 0)


def test_missed_frames_are_bridged_so_that_nobody_flickers():
    truth, frames = _scene(CROSSING, 80, noise=1.0, drop=0.3, seed=3)
    out = track(frames, SIZE)
    blind = tracking_scores(truth, _found(frames, out, bridged=False))
    score = tracking_scores(truth, _found(frames, out))
    assert blind.missed > 50
    assert score.missed <= 2
    assert score.idf1 > 0.95
    assert score.switches <= 1


def test_an_occlusion_while_crossing_is_survived():
    """The one behind is not seen for 12 frames around the crossing."""
    walkers = CROSSING[:2]
    truth, frames = _scene(walkers, 80)
    for f in range(34, 46):
        frames[f] = _frame([walkers[0](f)])
    out = track(frames, SIZE)
    assert tracking_scores(truth, _found(frames, out)) == (1.0, 0, 0, 0)
    assert sum(map(len, out.interpolated)) == 12
    for f in range(34, 46):
        assert np.abs(out.interpolated[f][0].box - walkers[1](f)).max() < 0.01, (
            "constant speed is interpolated exactly"
        )
        assert [s[0] for s in out.interpolated[f][0].sources] == [33, 46]


def test_a_gap_longer_than_bridge_ends_the_track():
    walker = _walk((100, 180), (1, 0))
    frames = [_frame([walker(f)] if f < 10 or f >= 20 else []) for f in range(30)]
    assert track(frames, SIZE, max_gap=10).count == 1
    out = track(frames, SIZE, max_gap=9, extrapolate_frames=2)
    assert out.count == 2
    assert [len(b) for b in out.interpolated] == [0] * 10 + [1, 1] + [0] * 6 + [1, 1] + [0] * 10
    assert np.abs(out.interpolated[11][0].box - walker(11)).max() < 0.01
    assert np.abs(out.interpolated[18][0].box - walker(18)).max() < 0.01
    assert [s[0] for s in out.interpolated[18][0].sources] == [20]


def test_nobody_is_expected_outside_the_picture():
    walker = _walk((600, 180), (20, 0))
    frames = [_frame([walker(f)] if f < 3 else []) for f in range(10)]
    out = track(frames, SIZE, extrapolate_frames=5)
    assert [len(b) for b in out.interpolated] == [0, 0, 0, 0, 0] + [0] * 5
    frames = [_frame([_walk((560, 180), (20, 0))(f)] if f < 3 else []) for f in range(10)]
    assert [len(b) for b in track(frames, SIZE, extrapolate_frames=5).interpolated] == [
        0,
        0,
        0,
        1,
        1,
        0,
        0,
        0,
        0,
        0,
    ]


def test_what_moves_more_than_its_own_width_a_frame_is_followed():
    walker = _walk((40, 180), (36, 0), (40, 60))
    frames = [_frame([walker(f)]) for f in range(15)]
    assert track(frames, SIZE).count == 1


def test_who_comes_in_or_leaves_at_the_border_stays_one():
    """A foot first, then the body; then only a hand."""
    boxes = [[0, 241, 4, 250], [0, 242, 11, 340], [0, 240, 30, 345], [0, 240, 28, 344], [0, 280, 5, 300]]
    assert track([_frame([b]) for b in boxes], SIZE).count == 1
    inner = np.array(boxes) + np.array([100, 0] * 2)
    assert track([_frame([b]) for b in inner], SIZE).count > 1


def test_uneven_frame_times():
    """The same walk, of which some frames were never recorded."""
    kept = [0, 1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 22, 23]
    walker = _walk((40, 180), (14, 0))
    frames = [_frame([walker(f)]) for f in kept]
    assert track(frames, SIZE, times=kept).count == 1
    assert track(frames, SIZE).count > 1
    frames[9] = _frame([])
    (bridged,) = track(frames, SIZE, times=kept).interpolated[9]
    assert np.abs(bridged.box - walker(14)).max() < 0.01


def test_a_face_and_a_body_never_make_one_track():
    box = [100, 100, 140, 140]
    frames = [_frame([box], kinds=[f % 2]) for f in range(6)]
    assert track(frames, SIZE).count == 2


def test_faces_that_were_missed_come_back():
    walker = _walk((100, 180), (2, 0))
    face = np.array([[-10, -55, 10, -30]], np.float32)

    def at(f, with_face):
        centre = np.array([100 + 2 * f, 180] * 2, np.float32)
        return _frame([walker(f)], faces=face + centre if with_face else np.full((1, 4), np.nan, np.float32))

    frames = [at(f, f not in {4, 5}) for f in range(10)]
    frames[7] = _frame([])
    out = track(frames, SIZE)
    assert np.abs(out.faces[5][0] - (face + np.array([110, 180] * 2))).max() < 0.01
    assert np.abs(out.interpolated[7][0].face - (face + np.array([114, 180] * 2))).max() < 0.01
    assert np.isnan(frames[5].faces).all(), "the detections stay as they are"


@given(st.integers(0, 2**32 - 1))
def test_every_detection_has_a_track_and_nobody_is_twice_in_a_frame(seed):
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(12):
        low = rng.uniform(0, 300, (rng.integers(0, 5), 2))
        frames.append(_frame(np.concatenate((low, low + rng.uniform(0, 90, low.shape)), 1)))
    out = track(frames, SIZE, max_gap=4, extrapolate_frames=2)
    again = track(frames, SIZE, max_gap=4, extrapolate_frames=2)
    for f, frame in enumerate(frames):
        assert len(out.ids[f]) == len(frame.boxes)
        who = [*out.ids[f].tolist(), *(b.track for b in out.interpolated[f])]
        assert len(set(who)) == len(who)
        assert min(who, default=0) >= 0
        assert (out.ids[f] == again.ids[f]).all()
        assert np.isfinite([b.box for b in out.interpolated[f]]).all()


def test_a_bridged_person_has_the_mask_of_both_ends_carried_along():
    def people(x):
        mask = np.zeros((1, 60, 200), np.bool_)
        mask[0, 10:50, x : x + 20] = True
        mask[0, 10:20, x : x + 8] = False
        return People.of([[x, 10, x + 20, 50]], masks=mask)

    first, last = people(20), people(40)
    out = track([FrameBoxes.of(first), _frame([]), FrameBoxes.of(last)], (60, 200))
    got = tracking.at(
        People.none(),
        out.ids[1],
        out.faces[1],
        out.interpolated[1],
        [[(first, 0), (last, 0)]],
        (60, 200),
    )
    assert got.boxes.tolist() == [[30, 10, 50, 50]]
    assert (got.masks == people(30).masks).all()
    assert got.track_ids.tolist() == [0]
    assert got.categories.tolist() == [Category.PERSON]
    assert got.scores.tolist() == [0]
    with pytest.raises(ValueError, match="max_gap"):
        track([], (1, 1), max_gap=-1)


def _passersby():
    """(truth, boxes) of each frame of 14 people who cross, rendered, and the pictures' size."""
    from dp2bench.datasets.passersby.video import PassersbyVideo

    dataset = PassersbyVideo(size="mini")
    dataset.prepare()
    samples = dataset.samples("all")
    people = [dataset.people(s) for s in samples]
    return [(p.boxes, p.track_ids) for p in people], dataset.read(samples[0]).shape[:2]


@pytest.mark.slow
def test_people_who_cross_a_square():
    """Figures of docs/video.md, within a margin."""
    truth, size = _passersby()
    for noise, drop, bounds in ((0, 0, (1.0, 0, 0)), (0.02, 0.1, (0.97, 8, 15)), (0.02, 0.3, (0.95, 14, 45))):
        rng = np.random.default_rng(0)
        frames = []
        for boxes, _ in truth:
            keep = rng.random(len(boxes)) >= drop
            sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
            frames.append(_frame((boxes + rng.normal(0, noise, boxes.shape) * sides)[keep]))
        score = tracking_scores(truth, _found(frames, track(frames, size, extrapolate_frames=0)))
        assert score.idf1 >= bounds[0]
        assert score.switches <= bounds[1]
        assert score.missed <= bounds[2]
