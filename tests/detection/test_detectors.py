import pickle
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dp2bench.core.contracts import Detector
from dp2bench.core.errors import Dp2benchError
from dp2bench.detection.rcnn import detectors
from dp2bench.detection.rcnn import network as rcnn
from dp2bench.detection.rcnn.detectors import CSEDetector, MaskRCNNDetector
from dp2bench.weights.reading import read_state


class Stub:
    """Answers what it is told, and has a table of 7 vertices."""

    def __init__(self, found):
        self.found = found

    def __call__(self, picture, **given):
        assert picture.dtype == torch.uint8
        assert picture.shape[0] == 3
        self.given = given
        return self.found

    def vertex_embeddings(self):
        return torch.eye(16)[:7]


def _with(kind, tmp_path, found, **given):
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    detector = kind(weights=tmp_path / "w.safetensors", **given)
    detector._network = Stub(found)
    return detector


def _found(boxes, masks=None, embedding=None, segmentation=None):
    n = len(boxes)
    return rcnn.RcnnDetections(
        torch.tensor(boxes).reshape(n, 4),
        torch.linspace(0.9, 0.5, n),
        torch.zeros(0, 28, 28) if masks is None else masks,
        torch.zeros(0, 16, 112, 112) if embedding is None else embedding,
        torch.zeros(0, 112, 112, dtype=torch.int64) if segmentation is None else segmentation,
    )


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, (800, 1067)),
        (500, 1000, (667, 1333)),
        (100, 100, (800, 800)),
        (128, 64, (1333, 667)),
        (1, 9000, (1, 1333)),
    ],
)
def test_resized(height, width, expected):
    got = rcnn.resized(height, width, 800, 1333)
    assert got == expected


def test_mask_detector(tmp_path):
    masks = torch.zeros(2, 28, 28)
    masks[0, :, :14] = 1
    masks[1] = 1
    detector = _with(
        MaskRCNNDetector, tmp_path, _found([[10.0, 20.0, 30.0, 60.0], [35.5, 0.0, 48.0, 7.0]], masks)
    )
    assert isinstance(detector, Detector)
    (people,) = detector.detect([np.zeros((64, 48, 3), np.uint8)], [None])
    assert people.masks.shape == (2, 64, 48)
    assert detector._network.given["score_threshold"] == 0.1
    assert detector._network.given["max_detections"] is None
    expected = np.zeros((64, 48), bool)
    expected[20:60, 10:20] = True
    assert (people.masks[0] == expected).all()
    assert people.masks[1, 0:7, 36:48].all()
    assert people.masks[1].sum() == 7 * 12 + (7 if people.masks[1, 0, 35] else 0)
    assert people.categories.tolist() == [1, 1]
    assert people.scores.tolist() == pytest.approx([0.9, 0.5])


def test_surface_detector(tmp_path):
    embedding = torch.zeros(3, 16, 112, 112)
    embedding[:, 2, :56] = 3.0  # upper half is vertex 2, lower half vertex 5
    embedding[:, 5, 56:] = 0.5
    segmentation = torch.zeros(3, 112, 112, dtype=torch.int64)
    segmentation[:, :, 28:] = 1
    boxes = [[0.0, 0.0, 40.0, 600.0], [3.0, 3.0, 3.2, 9.0], [4.0, 8.0, 12.0, 16.0]]
    detector = _with(CSEDetector, tmp_path, _found(boxes, None, embedding, segmentation), max_detections=7)
    (people,) = detector.detect([np.zeros((600, 50, 3), np.uint8)], [None])
    assert detector._network.given["score_threshold"] == 0.3
    assert detector._network.given["max_detections"] == 7
    assert len(people) == 2, "a box without pixels is nobody"
    assert people.categories.tolist() == [2, 2]
    surface = people.surfaces[0]
    assert surface.template == "smpl-27554"
    assert surface.vertices.shape == (600, 40)
    assert set(np.unique(surface.vertices[:290, 11:])) == {2}
    assert set(np.unique(surface.vertices[310:, 11:])) == {5}
    assert (surface.vertices[:, :9] == -1).all()
    assert (people.masks[0, :, :40] == (np.arange(40) >= 10)).all()
    assert (people.surfaces[1].vertices[people.masks[1, 8:16, 4:12]] >= 0).all()


def test_nobody(tmp_path):
    for kind in (MaskRCNNDetector, CSEDetector):
        (people,) = _with(kind, tmp_path, _found(np.zeros((0, 4), np.float32).tolist())).detect(
            [np.zeros((5, 6, 3), np.uint8)], [None]
        )
        assert len(people) == 0
        assert people.masks.shape == (0, 5, 6)


def test_nearest_vertices_is_exact_and_bounded():
    rng = torch.Generator().manual_seed(0)
    table, points = torch.randn(300, 16, generator=rng), torch.randn(1000, 16, generator=rng)
    expected = torch.cdist(points.double(), table.double()).argmin(1)
    for max_distances in (1, 300 * 7, 1 << 24):
        assert (detectors.nearest_vertices(points, table, max_distances=max_distances) == expected).all()


def test_missing_weights():
    for kind in (MaskRCNNDetector, CSEDetector):
        with pytest.raises(
            Dp2benchError, match=f"not on this machine.*`dp2bench weights fetch {kind.official}`"
        ):
            kind()
        with pytest.raises(Dp2benchError, match="no file /nowhere.pkl"):
            kind(weights="/nowhere.pkl")


def test_unknown_weights(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    detector = MaskRCNNDetector(weights=tmp_path / "w.safetensors")
    assert len(detector.meta.weights[0].sha256) == 64
    with pytest.raises(Dp2benchError, match="belong to no known detector"):
        detector.detect([np.zeros((8, 8, 3), np.uint8)], [None])


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_zoo_pickle(tmp_path, protocol):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(3, np.int64)}
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "someone"}, protocol=protocol))
    state = read_state(path)
    assert {k: v.tolist() for k, v in state.items()} == {k: v.tolist() for k, v in arrays.items()}


class _Evil:
    def __reduce__(self):
        return (time.sleep, (60,))


@pytest.mark.parametrize(
    "content",
    [
        {"model": {"a": _Evil()}},
        {"model": {"a": np.array([_Evil()], object)}},
        {"model": {"a": np.array([{}], object)}},
        {"model": {"a": "text"}},
        [1, 2],
        {},
    ],
)
def test_unsafe_and_foreign_pickles_are_refused(tmp_path, content):
    for name in ("model.pkl", "model.pth"):
        (tmp_path / name).write_bytes(pickle.dumps(content))
        with pytest.raises(Dp2benchError, match=name):
            read_state(tmp_path / name)


def test_torch_and_safetensors_files(tmp_path):
    state = {"a": torch.arange(3.0)}
    torch.save({"model": state, "iteration": 7}, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        assert read_state(tmp_path / name)["a"].tolist() == [0, 1, 2]
    for name in ("b.safetensors", "b.pkl", "b.pth", "b.onnx"):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(Dp2benchError, match=name):
            read_state(tmp_path / name)


def test_which_vertices_mirror_which_comes_from_the_published_file(tmp_path, monkeypatch):
    """The table is a pickle of an array; vertices without an exact partner keep their id, and other files are refused."""
    import pickle

    from dp2bench.core.templates import Template
    from dp2bench.detection.rcnn import template

    monkeypatch.setattr(template, "smpl_file", lambda: tmp_path / "smpl.npz")
    Template(template.rcnn.TEMPLATE, np.zeros((6, 16), np.float32)).save(tmp_path / "smpl.npz")
    table = tmp_path / "symmetry.pkl"
    table.write_bytes(pickle.dumps({"vertex_transforms": np.array([1, 0, 2, 4, 3, 0])}))
    made = template.add_symmetry(table)
    assert made.mirrored.tolist() == [1, 0, 2, 4, 3, 5]
    assert Template.read(tmp_path / "smpl.npz").mirror(np.array([[0, 3, -1]], np.int32)).tolist() == [
        [-1, 4, 1]
    ]
    for wrong in (
        {"vertex_transforms": np.arange(5)},
        {"other": np.arange(6)},
        {"vertex_transforms": np.full(6, 9)},
    ):
        table.write_bytes(pickle.dumps(wrong))
        with pytest.raises(Dp2benchError, match="mirrors which"):
            template.add_symmetry(table)
