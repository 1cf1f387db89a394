"""The networks against numbers computed once with the reference implementation."""

import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from dp2bench.core.errors import Dp2benchError
from dp2bench.detection.rcnn import network as rcnn

PARITY = Path(__file__).parents[3] / "shared" / "parity"
SHAPES = {
    "cse_R_101_FPN_DL_soft_s1x": (612, "fd1c0b96274f41e2"),
    "cse_R_50_FPN_s1x": (333, "67b47852d081f6d4"),
    "mask_rcnn_R_50_FPN_3x": (307, "89f0cd52a6f2039e"),
    "mask_rcnn_X_101_32x8d_FPN_3x": (562, "9e368844b253bcdc"),
}
"""Number of parameters, and a hash over their names and shapes in the published checkpoints."""
NAMES = sorted(rcnn.ARCHITECTURES)


def _digest(shapes):
    rows = sorted(f"{k} {tuple(int(n) for n in s)}" for k, s in shapes.items())
    return len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def _normal(name, shape):
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


def _weight(key, shape):
    noise = _normal(key, shape)
    if len(shape) >= 2:
        noise *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
    elif key.endswith("running_var"):
        noise = 1 + np.float32(0.1) * np.abs(noise)
    elif key.endswith(("norm.weight", ".GN.weight")):
        noise = np.float32(0.4) + np.float32(0.05) * noise
    else:
        noise *= np.float32(0.1)
    return torch.from_numpy(np.asarray(noise, np.float32))


def load(name):
    with torch.device("meta"):
        network = rcnn.build(name)
    network = network.to_empty(device="cpu")
    network.pixel_mean.copy_(torch.tensor(network.architecture.pixel_mean))
    network.pixel_std.copy_(torch.tensor(network.architecture.pixel_std))
    network.load_state_dict(
        {k: _weight(k, tuple(v.shape)) for k, v in network.state_dict().items()}, strict=True
    )
    return network


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes(name):
    assert _digest(rcnn.shapes(rcnn.ARCHITECTURES[name])) == SHAPES[name]


def test_the_architecture_is_recognised():
    shapes = rcnn.shapes(rcnn.ARCHITECTURES["cse_R_50_FPN_s1x"])
    assert rcnn.architecture_of({**shapes, "pixel_mean": (3, 1, 1)}).name == "cse_R_50_FPN_s1x"
    del shapes["roi_heads.box_head.fc1.bias"]
    with pytest.raises(
        Dp2benchError, match=r"cse_R_50_FPN_s1x \(1 differences, e.g. roi_heads.box_head.fc1.bias"
    ):
        rcnn.architecture_of(shapes)
    with pytest.raises(Dp2benchError, match="called 'yolo'"):
        rcnn.build("yolo")


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=[pytest.mark.slow] if "101" in n else []) for n in NAMES]
)
def network(request):
    return load(request.param)


def test_parity(network):
    name = network.architecture.name
    if not (PARITY / f"{name}.npz").is_file():
        pytest.skip(f"the parity vectors are not at {PARITY}")
    entry = json.loads((PARITY / "manifest_rcnn.json").read_text())[name]
    assert rcnn.architecture_of(entry["state_dict"]).name == name
    expected = np.load(PARITY / f"{name}.npz")
    assert list(network.architecture.pixel_mean) == entry["pixel_mean"]
    assert list(network.architecture.pixel_std) == entry["pixel_std"]
    image = np.random.default_rng(zlib.crc32(b"image")).integers(0, 256, entry["input"]).astype(np.float32)
    boxes = torch.tensor(entry["boxes"])
    with torch.inference_mode():
        features = network.features(torch.from_numpy(image))
        proposals, logits = network.proposal_generator(features, tuple(entry["input"][1:]))
        scores, deltas = network.box_outputs(features, boxes)
        got = {
            "feature_p2_mean": features["p2"].mean((0, 2, 3)),
            "feature_p5_mean": features["p5"].mean((0, 2, 3)),
            "feature_p4": features["p4"][:, :8],
            "proposals_top20": proposals[:20],
            "proposal_logits_top20": logits[:20],
            "box_scores": scores,
            "box_deltas": deltas,
        }
        if network.architecture.surface:
            embedding, coarse = network.surfaces(features, boxes)
            got |= {"embedding": embedding[:, :, ::4, ::4], "coarse_segm": coarse[:, :, ::2, ::2]}
        else:
            got["masks"] = network.masks(features, boxes)[:, None]
    assert sorted(got) == sorted(expected)
    worst = {
        k: float(np.abs(v.numpy() - expected[k]).max() / np.abs(expected[k]).mean()) for k, v in got.items()
    }
    print(name, worst)
    assert max(worst.values()) < 1e-3, worst


def test_whole_inference(network, monkeypatch):
    """Random weights see people anywhere; what they see must still fit the picture and the thresholds."""
    predictor = network.roi_heads.box_predictor.cls_score
    towards_people = 100 * torch.eye(len(predictor.bias))[rcnn.PERSON]
    monkeypatch.setattr(predictor, "bias", torch.nn.Parameter(predictor.bias + towards_people))
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 90, 120), np.uint8))
    found = network(image, score_threshold=0.0, short=96, long=120, max_detections=30)
    n = len(found.boxes)
    assert 0 < n <= 30
    assert found.boxes.shape == (n, 4)
    assert found.boxes.min() >= 0
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert found.boxes[:, 0::2].max() <= 120
    assert found.boxes[:, 1::2].max() <= 90
    assert (found.scores[:-1] >= found.scores[1:]).all()
    overlap = box_iou(found.boxes, found.boxes).fill_diagonal_(0)
    assert overlap.max() <= 0.5 + 1e-4
    if network.architecture.surface:
        assert found.embedding.shape == (n, 16, 112, 112)
        assert set(found.segmentation.unique().tolist()) <= {0, 1}
        assert network.vertex_embeddings().norm(dim=1).allclose(torch.ones(27554))
    else:
        assert found.masks.shape == (n, 28, 28)
        assert found.masks.min() >= 0
        assert found.masks.max() <= 1
    assert len(network(image, score_threshold=1.0, short=96, long=120).boxes) == 0


def test_other_classes_crowd_nobody_out_and_a_warning_says_who_is_cut(monkeypatch, caplog):
    torch.manual_seed(0)
    network = rcnn.build("mask_rcnn_R_50_FPN_3x")
    kinds = torch.zeros(140, 81)
    kinds[:20, 7] = 9  # sure of another class,
    kinds[20:, rcnn.PERSON] = 5  # and less sure of people
    left = 8.0 * torch.arange(140)
    boxes = torch.stack((left, torch.zeros(140), left + 6, torch.full((140,), 20.0)), 1)
    monkeypatch.setattr(network, "features", lambda image: {})
    monkeypatch.setattr(network.proposal_generator, "forward", lambda features, size: (boxes, None))
    monkeypatch.setattr(network, "box_outputs", lambda features, b: (kinds, torch.zeros(140, 320)))
    monkeypatch.setattr(network, "masks", lambda features, b: torch.zeros(len(b), 28, 28))
    image = torch.zeros(3, 40, 1120, dtype=torch.uint8)
    for enough in (None, 120):
        found = network(image, score_threshold=0.5, short=40, long=1120, max_detections=enough)
        assert torch.equal(found.boxes, boxes[20:])
    assert not caplog.records
    assert len(network(image, score_threshold=0.5, short=40, long=1120, max_detections=15).boxes) == 15
    assert "120 people were found in a picture and 15 are kept" in caplog.text
