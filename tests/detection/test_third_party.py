import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import detection

from dp2bench.core.contracts import Detector
from dp2bench.core.errors import Dp2benchError, PluginError
from dp2bench.detection import third_party as alternatives
from dp2bench.detection.third_party import (
    Detectron2MaskRCNN,
    TorchvisionKeypointRCNN,
    TorchvisionMaskRCNN,
)
from dp2bench.weights import catalogue as weights
from dp2bench.weights import digests


@pytest.fixture
def fake(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def _image():
    return np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


def test_torchvisions_network_answers_as_torchvision_does(fake, monkeypatch):
    """Random weights of the second version, whose bias is turned so that it sees people."""
    torch.manual_seed(0)
    reference = detection.maskrcnn_resnet50_fpn_v2(
        weights=None,
        weights_backbone=None,
        min_size=160,
        max_size=240,
        box_score_thresh=0.02,
        box_detections_per_img=1000,
    ).eval()
    with torch.no_grad():
        reference.roi_heads.box_predictor.cls_score.bias[1] += 4
        reference.roi_heads.mask_predictor.mask_fcn_logits.bias += 0.05
    reference.rpn._post_nms_top_n = reference.rpn._pre_nms_top_n = {"training": 60, "testing": 60}
    monkeypatch.setattr(alternatives, "read_state", lambda path: reference.state_dict())
    detector = TorchvisionMaskRCNN(weights=fake, score_threshold=0.02, device="cpu")
    assert isinstance(detector, Detector)
    detector.network().transform.min_size, detector.network().transform.max_size = (160,), 240
    detector.network().rpn._post_nms_top_n = detector.network().rpn._pre_nms_top_n = (
        reference.rpn._post_nms_top_n
    )
    raw = []
    paste = alternatives.paste_masks
    monkeypatch.setattr(alternatives, "paste_masks", lambda *given: raw.append(given) or paste(*given))
    (people,) = detector.detect([_image()], [None])
    picture = torch.from_numpy(_image()).permute(2, 0, 1) / 255
    with torch.inference_mode():
        (expected,) = reference([picture])
        reference.transform.postprocess = lambda found, *sizes: found
        (unpasted,) = reference([picture])
    person = expected["labels"] == 1
    assert len(people) == person.sum() > 0
    assert np.abs(people.boxes - expected["boxes"][person].numpy()).max() < 0.02
    assert np.abs(people.scores - expected["scores"][person].numpy()).max() < 1e-5
    assert (raw[0][0] - unpasted["masks"][person, 0]).abs().max() < 1e-4
    assert people.masks.shape == (len(people), 60, 90)


def _state_of(network, seed=0):
    """Random parameters as torchvision publishes them: of frozen normalisations."""
    torch.manual_seed(seed)
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    for name in state:
        if "bn" in name or "downsample.1" in name:
            low = 0.5 if name.endswith("running_var") else 0.1
            state[name] = torch.rand_like(state[name]) * 0.4 + low
    state["roi_heads.box_predictor.cls_score.bias"][1] += 2
    state["rpn.head.bbox_pred.bias"] += 0.1 * torch.randn(12)
    return state


BUILDERS = {
    "keypoint": (
        TorchvisionKeypointRCNN,
        detection.keypointrcnn_resnet50_fpn,
        detection.KeypointRCNN_ResNet50_FPN_Weights,
    ),
    "mask": (TorchvisionMaskRCNN, detection.maskrcnn_resnet50_fpn, detection.MaskRCNN_ResNet50_FPN_Weights),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Files like torchvision's own, of random parameters."""
    folder, made = tmp_path_factory.mktemp("torchvision"), {}
    for kind, (_, build, _) in BUILDERS.items():
        state = _state_of(build(weights=None, weights_backbone=None))
        if kind == "keypoint":  # logits on both sides of the threshold
            state["roi_heads.keypoint_predictor.kps_score_lowres.bias"] = torch.linspace(-2, 6, 17)
        made[kind] = folder / f"{kind}.pth"
        torch.save(state, made[kind])
    return made


def _of_torchvision(kind, path, monkeypatch, **given):
    """torchvision's builder as one calls it with its published weights, reading this file in their place."""
    _, build, names = BUILDERS[kind]
    monkeypatch.setattr(names, "get_state_dict", lambda *a, **k: torch.load(path, weights_only=True))
    return build(
        weights=names.COCO_V1, min_size=160, max_size=240, rpn_post_nms_top_n_test=12, **given
    ).eval()


def _small(detector):
    network = detector.network()
    network.transform.min_size, network.transform.max_size = (160,), 240
    network.rpn._post_nms_top_n = {"training": 12, "testing": 12}
    return detector


@pytest.mark.slow
def test_keypoints_are_torchvisions_own(published, monkeypatch):
    """Equal to the last bit to what torchvision's builder makes of the same file."""
    path = published["keypoint"]
    monkeypatch.setattr(alternatives, "_WITHOUT_EPSILON", (digests.sha256(path)[:8],))
    reference = _of_torchvision(
        "keypoint", path, monkeypatch, box_score_thresh=0.3, box_detections_per_img=1000
    )
    detector = _small(TorchvisionKeypointRCNN(weights=path, device="cpu"))
    assert isinstance(detector, Detector)
    assert detector.meta.weights[0].sha256 == digests.sha256(path)
    (people,) = detector.detect([_image()], [None])
    with torch.inference_mode():
        (expected,) = reference([torch.from_numpy(_image()).permute(2, 0, 1) / 255])
    expected = {k: v.numpy() for k, v in expected.items()}
    assert len(people) == len(expected["boxes"]) > 1
    assert np.array_equal(people.boxes, expected["boxes"])
    assert np.array_equal(people.scores, expected["scores"])
    assert np.array_equal(people.keypoints[..., :2], expected["keypoints"][..., :2])
    seen = expected["keypoints_scores"] > 2
    assert seen.any()
    assert not seen.all()
    assert np.array_equal(people.keypoints[..., 2], np.where(seen, 2, 0))
    assert people.masks is None
    others = _small(TorchvisionKeypointRCNN(weights=path, device="cpu", keypoint_threshold=-1e9))
    assert (others.detect([_image()], [None])[0].keypoints[..., 2] == 2).all()
    (nobody,) = _small(TorchvisionKeypointRCNN(weights=path, score_threshold=0.999, device="cpu")).detect(
        [_image()], [None]
    )
    assert nobody.keypoints.shape == (0, 17, 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("without_epsilon", [True, False])
def test_published_files_are_normalised_as_torchvision_does(published, monkeypatch, kind, without_epsilon):
    """The two files that torchvision runs without an epsilon are known by their digest; any other keeps it."""
    if without_epsilon:
        monkeypatch.setattr(alternatives, "_WITHOUT_EPSILON", (digests.sha256(published[kind])[:8],))
    mine = BUILDERS[kind][0](weights=published[kind], device="cpu").network().backbone
    reference = _of_torchvision(kind, published[kind], monkeypatch).backbone
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        got, expected = mine(picture), reference(picture)
    assert all(torch.equal(got[k], expected[k]) for k in expected) == without_epsilon


def test_the_files_without_epsilon_are_torchvisions():
    urls = [names.COCO_V1.url for _, _, names in BUILDERS.values()]
    assert sorted(alternatives._WITHOUT_EPSILON) == sorted(u[-12:-4] for u in urls)
    kinds = ((TorchvisionKeypointRCNN, [detection.KeypointRCNN_ResNet50_FPN_Weights]),)
    kinds += (
        (
            TorchvisionMaskRCNN,
            [detection.MaskRCNN_ResNet50_FPN_V2_Weights, detection.MaskRCNN_ResNet50_FPN_Weights],
        ),
    )
    for kind, enums in kinds:
        assert set(kind.hub) == {w.url.rpartition("/")[2] for enum in enums for w in enum}
        entry = weights.entry(kind.official)
        assert entry.places[0].url == enums[0].DEFAULT.url
        assert kind.hub[0] == entry.file
        assert entry.file == f"{entry.file[:-13]}-{entry.sha256_begins}.pth"


@pytest.mark.parametrize("kind", [TorchvisionKeypointRCNN, TorchvisionMaskRCNN])
def test_without_weights_the_message_has_the_commands(tmp_path, monkeypatch, fake, kind):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("DP2BENCH_WEIGHTS", str(tmp_path / "folder"))
    with pytest.raises(weights.MissingWeightsError, match=f"'{kind.name}' needs trained weights") as error:
        kind()
    assert f"dp2bench weights fetch {kind.official}" in error.value.remedy
    assert f"dp2bench weights import FILE --as {kind.official}" in error.value.remedy
    with pytest.raises(Dp2benchError, match="no file /nowhere"):
        kind(weights="/nowhere")
    with pytest.raises(Dp2benchError, match="does not hold the parameters") as error:
        kind(weights=fake).network()
    assert kind.hub[0] in error.value.remedy
    (tmp_path / "checkpoints").mkdir()
    cached = tmp_path / "checkpoints" / kind.hub[1]
    cached.write_bytes(b"x")
    assert kind().weights == cached
    with pytest.raises(weights.MissingWeightsError):
        kind(weights="official")
    (tmp_path / "folder").mkdir()
    fetched = tmp_path / "folder" / kind.hub[0]
    fetched.write_bytes(b"x")
    assert kind().weights == fetched
    with pytest.raises(Dp2benchError, match="not the published.*published is [0-9a-f]{8}…"):
        digests.verify(fetched, weights.entry(kind.official))


def test_without_detectron2_the_message_has_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(PluginError, match="pip install --no-build-isolation"):
        Detectron2MaskRCNN()


class Instances:
    """What detectron2's predictor answers, as far as it is used."""

    def __init__(self, boxes, masks, scores, classes):
        self.pred_boxes = types.SimpleNamespace(tensor=boxes)
        self.pred_masks, self.scores, self.pred_classes = masks, scores, classes

    def __getitem__(self, which):
        return Instances(
            self.pred_boxes.tensor[which],
            self.pred_masks[which],
            self.scores[which],
            self.pred_classes[which],
        )


def test_detectron2_gets_bgr_and_only_people_come_back(monkeypatch):
    """With a stand-in for detectron2: what is asked of it and what is made of its answer."""
    seen = {}

    class Predictor:
        def __init__(self, cfg):
            seen["cfg"] = cfg

        def __call__(self, image):
            seen["image"] = image
            masks = torch.zeros(2, 60, 90, dtype=torch.bool)
            masks[0, :10] = True
            boxes = torch.tensor([[0.0, 0, 90, 10], [1, 1, 2, 2]])
            return {"instances": Instances(boxes, masks, torch.tensor([0.9, 0.8]), torch.tensor([0, 17]))}

    space = types.SimpleNamespace
    cfg = space(
        MODEL=space(ROI_HEADS=space()), TEST=space(), merge_from_file=lambda path: seen.update(file=path)
    )
    zoo = space(
        get_config_file=lambda name: f"/zoo/{name}", get_checkpoint_url=lambda name: f"https://{name}"
    )
    for name, module in {
        "detectron2": space(model_zoo=zoo),
        "detectron2.config": space(get_cfg=lambda: cfg),
        "detectron2.engine": space(DefaultPredictor=Predictor),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    image = _image()
    (people,) = Detectron2MaskRCNN(score_threshold=0.3, device="cpu").detect([image], [None])
    assert (seen["image"] == image[..., ::-1]).all()
    assert cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.3
    assert cfg.TEST.DETECTIONS_PER_IMAGE == 1000
    assert cfg.MODEL.WEIGHTS.startswith("https://COCO-InstanceSegmentation/mask_rcnn_X_101")
    assert people.boxes.tolist() == [[0, 0, 90, 10]]
    assert people.masks[0].sum() == 900
