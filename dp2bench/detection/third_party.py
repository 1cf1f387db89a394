"""People from networks of other libraries: torchvision's Mask R-CNN and Keypoint R-CNN, and an installed detectron2."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dp2bench.core.contracts import ComponentMeta, Detector, Weights
from dp2bench.core.errors import Dp2benchError, PluginError
from dp2bench.core.machine import pick_device
from dp2bench.core.types import Image, People, Sample
from dp2bench.detection import checkpoints
from dp2bench.detection.rcnn.detectors import MaskRCNNDetector, paste_masks
from dp2bench.weights import catalogue
from dp2bench.weights.reading import read_state

_TORCHVISION_PERSON = 1
_LICENCE = "BSD-3-Clause (torchvision), trained on COCO"
_WITHOUT_EPSILON = ("bf2d0c1e", "fc266e95")
"""First digits of the sha256 of torchvision's files whose networks learned to normalise without an epsilon, as torchvision runs them."""
EVERYBODY = 1000
"""Detections of all classes that are kept in a picture: as many as there are proposals. At 100, which both libraries would keep, people of
a crowd would stay in the picture, and nobody would know.
"""


class _TorchvisionRCNN(Detector):
    """A network of torchvision's, loaded at the first picture.

    Args:
        weights: path to a checkpoint, or a name of the catalogue of weights; None takes the published one (``official``), or one that
            torch.hub has downloaded before.
        score_threshold: only detections that score higher.
        device: torch device; None takes a GPU if there is one.

    """

    name: ClassVar[str]
    revision: ClassVar[str]
    official: ClassVar[str]
    network_name: ClassVar[str]
    hub: ClassVar[tuple[str, ...]]
    """Names that torchvision gives its files, the best first."""
    otherwise: ClassVar[str]
    """What else helps whoever has no weights."""

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        score_threshold: float = 0.1,
        device: str | None = None,
    ) -> None:
        self.weights = self._found(weights)
        described = checkpoints.describe(self.weights, _LICENCE)
        self.meta = ComponentMeta(self.name, self.revision, (described,))
        self.score_threshold = score_threshold
        self.device = torch.device(pick_device(device))
        self._epsilon = 0.0 if described.sha256.startswith(_WITHOUT_EPSILON) else 1e-5
        self._network: Any = None

    def _found(self, weights: str | Path | None) -> Path:
        if weights is None and catalogue.installed(self.official) is None:
            folder = Path(torch.hub.get_dir()) / "checkpoints"
            cached = next((folder / name for name in self.hub if (folder / name).is_file()), None)
            if cached is not None:
                return cached
        return checkpoints.find(weights, self.name, self.official, otherwise=self.otherwise)

    @abstractmethod
    def _build(self, state: Mapping[str, Tensor], **given: Any) -> Any:
        """The network that these parameters belong to, with others."""

    def _backbone(self) -> Any:
        # torchvision's own builders take another normalisation where no weights are named, which rounds differently.
        from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
        from torchvision.ops.misc import FrozenBatchNorm2d

        frozen = partial(FrozenBatchNorm2d, eps=self._epsilon)
        return resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=frozen)

    def network(self) -> Any:
        """The network with its weights, on its device."""
        if self._network is None:
            state = read_state(self.weights)
            network = self._build(
                state, box_score_thresh=self.score_threshold, box_detections_per_img=EVERYBODY
            )
            try:
                network.load_state_dict(state, strict=True)
            except RuntimeError as error:
                raise Dp2benchError(
                    f"{self.weights} does not hold the parameters of torchvision's {self.network_name}: "
                    f"{str(error).splitlines()[-1].strip()[:300]}",
                    f"Use {' or '.join(self.hub)} of torchvision: {catalogue.how_to_get(self.official)}",
                ) from error
            self._network = network.eval().to(self.device).requires_grad_(False)
        return self._network

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture, best first."""
        del samples
        with torch.inference_mode():
            return [self._people(image, self._tensor(image)) for image in images]

    def _tensor(self, image: Image) -> Tensor:
        """(3, H, W) in 0..1, on the device."""
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).to(self.device) / 255

    @abstractmethod
    def _people(self, image: Image, x: Tensor) -> People:
        """The people of a picture, which is ``x`` as a tensor."""


class TorchvisionMaskRCNN(_TorchvisionRCNN):
    """Person masks by torchvision's Mask R-CNN, ResNet-50-FPN, first or second version. See `_TorchvisionRCNN` for the arguments."""

    name = "torchvision-mask-rcnn"
    revision = "3"
    official = "maskrcnn_resnet50_fpn_v2"
    network_name = "Mask R-CNN"
    hub = ("maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth")
    otherwise = checkpoints.WITHOUT

    def _build(self, state: Mapping[str, Tensor], **given: Any) -> Any:
        from torchvision.models import detection

        if "roi_heads.box_head.fc6.weight" in state:
            return detection.MaskRCNN(self._backbone(), num_classes=91, **given)
        return detection.maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, **given)

    def _people(self, image: Image, x: Tensor) -> People:
        network = self.network()
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


class TorchvisionKeypointRCNN(_TorchvisionRCNN):
    """Persons with COCO's 17 keypoints by torchvision's Keypoint R-CNN, ResNet-50-FPN, as DeepPrivacy's published detector has them.

    Every keypoint has a place, the peak of its heat map, and is visible (2) where that peak is high enough, else absent (0).

    Args:
        weights: path to a checkpoint, or a name of the catalogue of weights; None takes the published one (``official``), or one that
            torch.hub has downloaded before.
        score_threshold: only persons that score higher; 0.3 is that of DeepPrivacy's published detector.
        keypoint_threshold: a keypoint is visible where torchvision's score of it, the heat map's value before any softmax, without
            bounds, is higher; 2 is from where Detectron, whose network this is, draws it (its ``kp_thresh``).
        device: torch device; None takes a GPU if there is one.
        short: pixels that a picture's shorter side is scaled to,
        long: unless the longer would then exceed this.

    """

    name = "torchvision-keypoint-rcnn"
    revision = "1"
    official = "keypointrcnn_resnet50_fpn"
    network_name = "Keypoint R-CNN"
    hub = ("keypointrcnn_resnet50_fpn_coco-fc266e95.pth", "keypointrcnn_resnet50_fpn_coco-9f466800.pth")
    otherwise = "Or take the keypoints of a dataset's annotations, or do without them."

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        score_threshold: float = 0.3,
        keypoint_threshold: float = 2.0,
        device: str | None = None,
        short: int = 800,
        long: int = 1333,
    ) -> None:
        super().__init__(weights=weights, score_threshold=score_threshold, device=device)
        self.short, self.long = short, long
        self.keypoint_threshold = keypoint_threshold

    def _build(self, state: Mapping[str, Tensor], **given: Any) -> Any:
        from torchvision.models import detection

        sizes = {"min_size": self.short, "max_size": self.long}
        return detection.KeypointRCNN(self._backbone(), num_classes=2, num_keypoints=17, **sizes, **given)

    def _people(self, image: Image, x: Tensor) -> People:
        (found,) = self.network()([x])
        keypoints = found["keypoints"]
        keypoints[..., 2] = torch.where(found["keypoints_scores"] > self.keypoint_threshold, 2.0, 0.0)
        return People.of(
            _numpy(found["boxes"]),
            keypoints=_numpy(keypoints),
            scores=_numpy(found["scores"]),
            image_size=(image.shape[0], image.shape[1]),
        )


class Detectron2MaskRCNN(Detector):
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
        cfg.MODEL.DEVICE = pick_device(device)
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


def _numpy(tensor: Tensor) -> Any:
    return tensor.cpu().numpy()
