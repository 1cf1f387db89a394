"""The networks of the photo ensemble against numbers computed once with the graphs that their makers published."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dp2bench.detection.centerface import CenterFace
from dp2bench.detection.photo import blazepose, masks, nanodet
from dp2bench.detection.photo.detector import BOX_WEIGHTS, POSE_WEIGHTS
from dp2bench.detection.photo.masks import mask_of
from dp2bench.detection.photo.networks import BoxNetwork, PoseNetwork
from dp2bench.weights import embedded
from dp2bench.weights.reading import read_state

GOLDEN = np.load(Path(__file__).with_name("golden.npz"))
SHARED = Path(__file__).parents[4] / "shared" / "photographs"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def astronaut():
    return pytest.importorskip("skimage.data", reason="scikit-image carries the photograph").astronaut()


def loaded(network, name):
    network.load_state_dict({k: v.float() for k, v in read_state(embedded.path(name)).items()})
    return network.eval()


@pytest.fixture(scope="module")
def boxes():
    return loaded(nanodet.NanoDet(), BOX_WEIGHTS)


@pytest.fixture(scope="module")
def pose():
    return loaded(blazepose.BlazePose(), POSE_WEIGHTS)


def noise():
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", ["astronaut", "noise"])
@torch.inference_mode()
def test_nanodet_gives_the_published_scores_and_distances(boxes, name):
    if name == "astronaut":
        x = torch.from_numpy(nanodet.normalise(GOLDEN["nanodet.astronaut.input"][..., ::-1]))[None]
    else:
        x = torch.from_numpy(noise().normal(size=(1, 3, 416, 640)).astype(np.float32))
    for stride, said in zip((8, 16, 32), boxes(x), strict=True):
        assert np.abs(said.scores[0, ::16].numpy() - GOLDEN[f"nanodet.{name}.score.{stride}"]).max() < 1e-5
        got = said.distances[0, ::16].numpy()
        assert np.abs(got - GOLDEN[f"nanodet.{name}.distance.{stride}"]).max() < 1e-4


def equals_the_published(said, golden, at):
    assert np.abs(said.landmarks[0, :, :3].numpy() - golden[f"{at}.landmarks"][:, :3]).max() < 0.05
    assert np.abs(said.flag[0].numpy() - golden[f"{at}.flag"]).max() < 1e-5
    assert np.abs(said.mask[0, 0, ::4, ::4].numpy() - golden[f"{at}.mask"]).max() < 5e-3
    assert np.abs(said.heatmap[0, :, ::8, ::8].numpy() - golden[f"{at}.heatmap"]).max() < 1e-4
    assert np.abs(said.world[0].numpy() - golden[f"{at}.world"]).max() < 1e-3


def pose_input(name):
    if name == "astronaut":
        return blazepose.batch([GOLDEN["blazepose.astronaut.input"]])
    return torch.from_numpy(noise().random((256, 256, 3)).astype(np.float32)).permute(2, 0, 1)[None]


@pytest.mark.parametrize("name", ["astronaut", "noise"])
@torch.inference_mode()
def test_blazepose_gives_the_published_landmarks_and_mask(pose, name):
    equals_the_published(pose(pose_input(name)), GOLDEN, f"blazepose-full.{name}")


@pytest.mark.parametrize("name", ["astronaut", "noise"])
@torch.inference_mode()
def test_so_does_heavy_which_is_not_shipped(name):
    weights = SHARED / "weights" / "blazepose-heavy.safetensors"
    if not weights.is_file():
        pytest.skip(f"{weights} is not there")
    network = blazepose.BlazePose("heavy")
    network.load_state_dict({k: v.float() for k, v in read_state(weights).items()})
    golden = np.load(SHARED / "golden.npz")
    equals_the_published(network.eval()(pose_input(name)), golden, f"blazepose-heavy.{name}")


@torch.inference_mode()
def test_a_doubtful_box_is_looked_at_four_times():
    network = PoseNetwork("full", embedded.path(POSE_WEIGHTS), CPU)
    image, box = GOLDEN["blazepose.astronaut.input"], np.array([[60, 20, 200, 250]], np.float32)
    (first,) = network(image, box)
    (again,) = network.look_again(image, box, [first])
    looks = [first.flag]
    mirrored = np.ascontiguousarray(image[:, ::-1])
    looks.append(network(mirrored, np.array([[55, 20, 195, 250]], np.float32))[0].flag)
    narrow = blazepose.crop(image, blazepose.region((130, 135), 230))
    looks += [float(network._ask([side]).flag) for side in (narrow, narrow[:, ::-1])]
    assert again.flag == pytest.approx(np.mean(looks), abs=0.02)
    assert again.landmarks is first.landmarks
    assert network.look_again(image, box[:0], []) == []


@torch.inference_mode()
def test_people_of_one_batch_do_not_depend_on_each_other(pose):
    crops = [GOLDEN["blazepose.astronaut.input"], noise().integers(0, 256, (256, 256, 3), dtype=np.uint8)]
    together, alone = pose(blazepose.batch(crops)), [pose(blazepose.batch([crop])) for crop in crops]
    for i, one in enumerate(alone):
        for a, b in zip(together, one, strict=True):
            assert torch.allclose(a[i], b[0], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [416, 640, 832])
def test_boxes_of_each_look(astronaut, size):
    network = BoxNetwork(embedded.path(BOX_WEIGHTS), CPU, 0.3)
    found, scores = network.look(astronaut, size, 0.3)
    golden = GOLDEN[f"nanodet.detect.{size}"]
    assert np.abs(found - golden[:, :4]).max() < 0.05
    assert np.abs(scores - golden[:, 4]).max() < 1e-4


def test_the_person_of_the_photograph(astronaut, monkeypatch):
    """Mask, keypoints and face of the astronaut, from the same box. What a close-up is covered by besides has no published number."""
    box = GOLDEN["photo.full.1.boxes"][0, :4]
    (pose,) = PoseNetwork("full", embedded.path(POSE_WEIGHTS), CPU)(astronaut, box[None])
    assert pose.flag == pytest.approx(GOLDEN["photo.full.1.boxes"][0, 5], abs=1e-3)
    points = pose.keypoints((512, 512))
    assert np.abs(points[:, :2] - GOLDEN["photo.full.1.keypoints"][0, :, :2]).max() < 0.5
    face = blazepose.face_box(pose.landmarks[:, :2])
    assert np.abs(face - GOLDEN["photo.full.1.faces"][0]).max() < 0.5
    assert (points[:11, 2] > 0).all()
    runs = GOLDEN["photo.full.1.mask.0"]
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    golden = flat.reshape(512, 512).T
    whole = mask_of(astronaut, box, pose)
    monkeypatch.setattr(masks, "_CLOSE_UP", 1.0)
    mask = mask_of(astronaut, box, pose)
    assert not (mask & ~whole).any()
    assert (golden & ~mask).sum() <= 0.005 * golden.sum()
    assert (mask & golden).sum() / (mask | golden).sum() > 0.9


def test_centerface_on_the_photograph(astronaut):
    """As the program of the package finds it that carries the weights, and the points where eyes, nose and mouth are."""
    boxes, scores, points = CenterFace().faces(astronaut)
    assert np.abs(boxes - [[181.5, 58.2, 269.9, 177.8]]).max() < 0.1
    assert scores[0] == pytest.approx(0.929, abs=0.002)
    assert np.abs(points[0] - [[204, 102], [247, 103], [226, 125], [205, 143], [242, 142]]).max() < 5
