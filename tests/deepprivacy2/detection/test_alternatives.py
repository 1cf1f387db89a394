import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import detection

from dp2bench.core.contracts import Detector
from dp2bench.core.errors import Dp2benchError, PluginError
from dp2bench.deepprivacy2.detection import alternatives, checkpoints
from dp2bench.deepprivacy2.detection.alternatives import Detectron2MaskRCNN, TorchvisionMaskRCNN


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
    monkeypatch.setattr(checkpoints, "read_state", lambda path: reference.state_dict())
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


def test_torchvisions_first_version_loads(fake, monkeypatch):
    network = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    monkeypatch.setattr(checkpoints, "read_state", lambda path: network.state_dict())
    TorchvisionMaskRCNN(weights=fake, device="cpu").network()


def test_without_weights_the_message_has_the_command(tmp_path, monkeypatch, fake):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        Dp2benchError, match=r"curl -L .*checkpoints/maskrcnn_resnet50_fpn_v2_coco-.*\.pth https://"
    ):
        TorchvisionMaskRCNN()
    with pytest.raises(Dp2benchError, match="no file /nowhere"):
        TorchvisionMaskRCNN(weights="/nowhere")
    with pytest.raises(Dp2benchError, match="does not hold the parameters"):
        TorchvisionMaskRCNN(weights=fake).network()
    (tmp_path / "checkpoints").mkdir()
    cached = tmp_path / "checkpoints" / alternatives._names()[1]
    cached.write_bytes(b"x")
    assert TorchvisionMaskRCNN().weights == cached


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
