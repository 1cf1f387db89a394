"""Every registered detector keeps the contract of detectors."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from dp2bench.core import registry
from dp2bench.core.contracts import Detector
from dp2bench.core.types import SurfaceMap
from dp2bench.datasets.passersby.coco import PassersbyCoco
from dp2bench.detection import export as saving

ELSEWHERE = {
    "cse": "test_detectors, test_parity: a network of full size",
    "detectron2-mask-rcnn": "test_alternatives: a package that is not on every machine",
    "dsfd": "test_faces: a network of full size",
    "mask-rcnn": "test_detectors, test_parity: a network of full size",
}
NAMES = [name for name in registry.names("detectors") if name not in ELSEWHERE]
LOOK_UP = {"annotations", "coco-json", "dilated", "png-masks", "full-image", "with-keypoints"}


@pytest.fixture(scope="module")
def scenes(rendered_cache):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DP2BENCH_CACHE", str(rendered_cache))
        dataset = PassersbyCoco("smoke")
        dataset.prepare()
        yield dataset


@pytest.fixture(scope="module")
def torchvisions(tmp_path_factory):
    """Files in torchvision's format, of random parameters that see people everywhere."""
    folder, paths = tmp_path_factory.mktemp("torchvision"), {}
    torch.manual_seed(0)
    body = resnet_fpn_backbone(backbone_name="resnet50", weights=None)
    kinds = {
        "torchvision-keypoint-rcnn": detection.KeypointRCNN(body, 2, num_keypoints=17),
        "torchvision-mask-rcnn": detection.MaskRCNN(body, 91),
    }
    for name, network in kinds.items():
        state = network.state_dict()
        for key in state:
            if key.endswith("bn3.weight"):
                state[key] *= 0.1
        state["roi_heads.box_predictor.cls_score.bias"][1] += 5
        paths[name] = folder / f"{name}.pth"
        torch.save(state, paths[name])
    return paths


@pytest.fixture
def make(name, scenes, torchvisions, tmp_path):
    """The detector, with what it needs, and two pictures in which it finds somebody."""
    samples = scenes.samples("val")[:2]
    images = [scenes.read(s) for s in samples]
    arguments = {}
    if name == "coco-json":
        arguments = {"path": tmp_path / "people.json"}
        with saving.CocoWriter(arguments["path"], {}) as writer:
            for sample, image in zip(samples, images, strict=True):
                writer.add(sample.id, scenes.people(sample), image.shape[:2])
    elif name == "png-masks":
        arguments = {"path": tmp_path}
        for sample, image in zip(samples, images, strict=True):
            saving.write_id_mask(
                tmp_path / saving.id_mask_name(sample.id), scenes.people(sample), image.shape[:2]
            )
    elif name == "with-keypoints":
        arguments = {"detector": "full-image", "keypoints": "annotations"}
    elif name in torchvisions:
        arguments = {"weights": torchvisions[name], "device": "cpu"}
    if name not in LOOK_UP:  # small, as they take their time
        images = [np.ascontiguousarray(i[-200:, 240:400]) for i in images]

    def made():
        detector = registry.create("detectors", name, arguments)
        if name in torchvisions:
            network = detector.network()
            network.transform.min_size, network.transform.max_size = (120,), 160
            network.rpn._post_nms_top_n = {"training": 6, "testing": 6}
        return detector

    return made, images, samples


def _same(one, other):
    for f in fields(one):
        a, b = getattr(one, f.name), getattr(other, f.name)
        pairs = zip(a, b, strict=True) if f.name == "surfaces" else [(a, b)]
        for x, y in pairs:
            if isinstance(x, SurfaceMap):
                assert x.template == y.template
                assert np.array_equal(x.box, y.box)
                assert np.array_equal(x.vertices, y.vertices)
            elif f.name == "image_size":
                assert x == y
            else:
                assert (x is None) == (y is None)
                assert x is None or np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
    return True


def test_nobody_is_forgotten():
    assert set(ELSEWHERE) <= set(registry.names("detectors"))
    assert {"torchvision-keypoint-rcnn", "torchvision-mask-rcnn", "with-keypoints", *LOOK_UP} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_contract(name, make, scenes):
    made, images, samples = make
    detector = made()
    assert isinstance(detector, Detector)
    assert name in {detector.meta.name, "embedded-face", "embedded-mask", "embedded-surface"}
    assert detector.meta.revision
    assert all(len(w.sha256) == 64 and w.licence for w in detector.meta.weights)
    before = [i.copy() for i in images]
    detector = detector.for_dataset(scenes)
    both = detector.detect(images, samples)
    assert len(both) == 2
    assert all(np.array_equal(a, b) for a, b in zip(before, images, strict=True)), "pictures stay as they are"
    assert sum(map(len, both)) > 0
    for people, image in zip(both, images, strict=True):
        height, width = image.shape[:2]
        assert people.boxes.dtype == people.scores.dtype == np.float32
        assert (people.boxes[:, 2:] >= people.boxes[:, :2]).all()
        assert (people.boxes > -1).all()
        assert (people.boxes < [width + 1, height + 1, width + 1, height + 1]).all()
        assert ((people.scores >= 0) & (people.scores <= 1)).all()
        assert people.image_size == (height, width)
        if people.keypoints is not None:
            assert people.keypoints.dtype == np.float32
            assert set(np.unique(people.keypoints[..., 2])) <= {0, 1, 2}
            assert np.isfinite(people.keypoints).all()
    again = made().for_dataset(scenes)
    alone = [again.detect([i], [s])[0] for i, s in zip(images[::-1], samples[::-1], strict=True)]
    assert all(_same(a, b) for a, b in zip(alone[::-1], both, strict=True)), "whatever was asked before"
    assert again.detect([], []) == []
