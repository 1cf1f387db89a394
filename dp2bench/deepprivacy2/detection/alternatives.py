"""Person masks from networks of other libraries: torchvision's Mask R-CNN, and an installed detectron2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp2bench.core.contracts import ComponentMeta, Weights
from dp2bench.core.errors import Dp2benchError, PluginError
from dp2bench.core.types import Image, People, Sample
from dp2bench.deepprivacy2.detection import checkpoints
from dp2bench.deepprivacy2.detection.detectors import MaskRCNNDetector, paste_masks

_TORCHVISION_PERSON = 1
_LICENCE = "BSD-3-Clause (torchvision), trained on COCO"
EVERYBODY = 1000
"""Detections of all classes that are kept in a picture: as many as there are proposals. At 100, which both libraries would keep, people of
a crowd would stay in the picture, and nobody would know.
"""


class TorchvisionMaskRCNN:
    """Person masks by torchvision's Mask R-CNN, ResNet-50-FPN, first or second version.

    Args:
        weights: path to torchvision's checkpoint of either version; None takes one that torch.hub has downloaded before.
        score_threshold: only detections that score higher.
        device: torch device; None takes a GPU if there is one.

    """

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        score_threshold: float = 0.1,
        device: str | None = None,
    ) -> None:
        path = _cached() if weights is None else Path(weights).expanduser()
        if path is None or not path.is_file():
            problem = "none are in torch.hub's cache" if path is None else f"there is no file {path}"
            raise Dp2benchError(
                f"The detector 'torchvision-mask-rcnn' needs its trained weights: {problem}.",
                f"On a machine with a network: `curl -L --create-dirs -o {_hub() / _names()[0]} {_urls()[0]}`, or pass the path of the "
                "downloaded file as the detector's argument `weights`.",
            )
        self.weights = path
        self.meta = ComponentMeta("torchvision-mask-rcnn", "2", (checkpoints.describe(path, _LICENCE),))
        self.score_threshold = score_threshold
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._network: Any = None

    def network(self) -> Any:
        """The network with its weights, on its device."""
        if self._network is None:
            from torchvision.models import detection

            state = checkpoints.read_state(self.weights)
            first = "roi_heads.box_head.fc6.weight" in state
            build = detection.maskrcnn_resnet50_fpn if first else detection.maskrcnn_resnet50_fpn_v2
            network = build(
                weights=None,
                weights_backbone=None,
                box_score_thresh=self.score_threshold,
                box_detections_per_img=EVERYBODY,
            )
            try:
                network.load_state_dict(state, strict=True)
            except RuntimeError as error:
                raise Dp2benchError(
                    f"{self.weights} does not hold the parameters of torchvision's Mask R-CNN: {str(error).splitlines()[-1].strip()[:300]}",
                    f"Use one of {', '.join(_urls())}.",
                ) from error
            self._network = network.eval().to(self.device).requires_grad_(False)
        return self._network

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture, best first."""
        del samples
        return [self._people(image) for image in images]

    @torch.inference_mode()
    def _people(self, image: Image) -> People:
        network = self.network()
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(self.device) / 255
        # The network's own last step pastes the masks of all classes into pictures of full size, a gigabyte for a photograph.
        inputs, _ = network.transform([x])
        features = network.backbone(inputs.tensors)
        proposals, _ = network.rpn(inputs, features)
        (found,), _ = network.roi_heads(features, proposals, inputs.image_sizes)
        person = (found["labels"] == _TORCHVISION_PERSON) & (found["scores"] > self.score_threshold)
        height, width = inputs.image_sizes[0]
        scale = x.new_tensor([image.shape[1] / width, image.shape[0] / height] * 2)
        boxes = found["boxes"][person] * scale
        masks = paste_masks(found["masks"][person][:, 0], boxes, (image.shape[0], image.shape[1]))
        return People.of(_numpy(boxes), masks=masks, scores=_numpy(found["scores"][person]))


class Detectron2MaskRCNN:
    """Person masks by an installed detectron2, for those who have it; `mask-rcnn` runs the same checkpoints without it.

    Args:
        config: detectron2's name of a Mask R-CNN of its model zoo.
        weights: path to a checkpoint, or a name of the catalogue of weights; None lets detectron2 download the zoo's.
        score_threshold: only detections that score higher.
        device: torch device; None takes a GPU if there is one.

    """

    def __init__(
        self,
        *,
        config: str = "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml",
        weights: str | Path | None = None,
        score_threshold: float = 0.1,
        device: str | None = None,
    ) -> None:
        try:
            from detectron2 import model_zoo
            from detectron2.config import get_cfg
            from detectron2.engine import DefaultPredictor
        except ImportError as error:
            raise PluginError(
                f"The detector 'detectron2-mask-rcnn' needs detectron2, which is not installed ({error}).",
                "Install it, `pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'`, or use the "
                "detector 'mask-rcnn', which loads the same checkpoints without it.",
            ) from error
        described: tuple[Weights, ...] = ()
        if weights is not None:
            weights = checkpoints.find(weights, "detectron2-mask-rcnn", MaskRCNNDetector.official)
            described = (checkpoints.describe(weights, "see detectron2's model zoo"),)
        cfg = get_cfg()
        cfg.merge_from_file(model_zoo.get_config_file(config))
        cfg.MODEL.WEIGHTS = str(weights) if weights is not None else model_zoo.get_checkpoint_url(config)
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = score_threshold
        cfg.TEST.DETECTIONS_PER_IMAGE = EVERYBODY
        cfg.MODEL.DEVICE = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._predict = DefaultPredictor(cfg)
        self.meta = ComponentMeta("detectron2-mask-rcnn", f"2-{config}-{score_threshold}", described)

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture, best first."""
        del samples
        return [self._people(image) for image in images]

    def _people(self, image: Image) -> People:
        found = self._predict(np.ascontiguousarray(image[..., ::-1]))["instances"]
        found = found[found.pred_classes == 0]
        return People.of(
            _numpy(found.pred_boxes.tensor),
            masks=_numpy(found.pred_masks).astype(np.bool_),
            scores=_numpy(found.scores),
        )


def _urls() -> list[str]:
    from torchvision.models import detection

    second, first = detection.MaskRCNN_ResNet50_FPN_V2_Weights, detection.MaskRCNN_ResNet50_FPN_Weights
    return [second.DEFAULT.url, first.DEFAULT.url]


def _names() -> list[str]:
    return [url.rsplit("/", 1)[1] for url in _urls()]


def _hub() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _cached() -> Path | None:
    return next((_hub() / name for name in _names() if (_hub() / name).is_file()), None)


def _numpy(tensor: Tensor) -> Any:
    return tensor.cpu().numpy()
