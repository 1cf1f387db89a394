"""Random numbers in files of the names, kinds and shapes of the published weights."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import derive_seed
from dp2bench.deepprivacy2.generators import files, networks
from dp2bench.detection.dsfd import DSFD
from dp2bench.detection.rcnn import network as rcnn
from dp2bench.weights import catalogue
from dp2bench.weights.catalogue import Entry
from dp2bench.weights.digests import REHEARSAL, sha256

State = dict[str, Tensor]
_CENTRES = (512, 512)
"""Number and length of the styles that the published generators bring."""


def write(names: Iterable[str]) -> None:
    """Put files of these names of the catalogue into the user's folder, each from the seed of its name.

    Raises:
        Dp2benchError: the folder holds weights already.

    """
    folder = catalogue.folder()
    marker = folder / REHEARSAL
    if folder.is_dir() and any(folder.iterdir()) and not marker.is_file():
        raise Dp2benchError(
            f"{folder} holds files of weights.", "Give a rehearsal a folder of its own, with --out."
        )
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = json.loads(marker.read_text("utf-8")) if marker.is_file() else {}
    for name in names:
        known = catalogue.entry(name)
        if catalogue.installed(name) is not None:
            continue
        torch.manual_seed(derive_seed(0, "rehearsal", name))
        path = folder / known.file
        state = _generator(known) if known.kind == "generator" else STATES[name]()
        _save(state, path)
        written[path.name] = sha256(path)
        marker.write_text(json.dumps(written, sort_keys=True, indent=1) + "\n", "utf-8")
        if known.kind == "generator":
            made = files.install(path, known)
            written[made.name] = sha256(made)
            marker.write_text(json.dumps(written, sort_keys=True, indent=1) + "\n", "utf-8")


def written() -> list[str]:
    """Names of the catalogue whose random files a rehearsal put into the folder, this time or before."""
    marker = catalogue.folder() / REHEARSAL
    files_there = json.loads(marker.read_text("utf-8")) if marker.is_file() else {}
    return [known.name for known in catalogue.catalogue().values() if known.file in files_there]


def _save(state: Mapping[str, Any], path: Path) -> None:
    """As its publisher does: a pickle of arrays, or torch's format."""
    if path.suffix == ".pkl":
        arrays = {key: value.numpy() for key, value in state.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "dp2bench rehearse"}, protocol=4))
    else:
        torch.save(dict(state), path)


def _generator(known: Entry) -> dict[str, Any]:
    network = networks.build(known.network)
    for key, value in network.state_dict().items():
        if value.is_floating_point() and not key.endswith("resample_filter") and not value.any():
            value.normal_(std=0.1)
    state = network.state_dict()
    if known.name == "deep_privacy1":
        return {"running_average_generator": state}
    styled = known.network.startswith(("fdh_", "fdf"))
    return {"EMA_generator": state, **({"w_centers": torch.randn(_CENTRES)} if styled else {})}


def _fill(network: nn.Module) -> State:
    """Parameters whose signal neither fades nor grows through a hundred layers."""
    state: State = network.state_dict()
    for key, value in state.items():
        if value.ndim >= 2:
            fan_in = value[0].numel()
            value.normal_(std=(2 / fan_in) ** 0.5)
        elif key.endswith("running_var"):
            value.fill_(1.0)
        elif value.is_floating_point() and key.endswith((".weight", "norm.weight")):
            value.fill_(0.4)
        elif value.is_floating_point():
            value.normal_(std=0.05)
    return state


def _plant(state: State, key: str, value: Any, *, where: Any = ...) -> None:
    """Make a layer say nearly the same whatever it is shown, so that random networks find somebody in every picture."""
    weight = state.get(key.removesuffix("bias") + "weight")
    if weight is not None:
        weight.mul_(0.01)
    state[key][where] = value


def _rcnn(name: str) -> State:
    network = rcnn.RCNN(rcnn.ARCHITECTURES[name])
    state = _fill(network)
    head = "proposal_generator.rpn_head"
    # wide anchors grow to a few times their size: tall boxes over most of a small picture
    deltas = state[f"{head}.anchor_deltas.bias"].zero_().view(3, 4)
    deltas[:, 2:] = torch.tensor([1.3, 1.5])
    state[f"{head}.anchor_deltas.weight"].mul_(0.01)
    scores = state["roi_heads.box_predictor.cls_score.bias"].zero_()
    scores[0] = 3 + torch.log(torch.tensor(float(len(scores))))
    state["roi_heads.box_predictor.cls_score.weight"].mul_(0.01)
    state["roi_heads.box_predictor.bbox_pred.weight"].mul_(0.001)
    if network.architecture.surface:
        key = next(
            k for k in state if "densepose_predictor" in k and "coarse_segm" in k and k.endswith("bias")
        )
        _plant(state, key, torch.tensor([-1.0, 1.0]))
    else:
        _plant(state, "roi_heads.mask_head.predictor.bias", 2.0)
    return state


def _dsfd() -> State:
    """A face or two in a small picture: the largest boxes, cut to the picture."""
    state = _fill(DSFD())
    for level in range(6):
        bias = state[f"conf.{level}.conv4.bias"]
        # level 0 has three logits of background, or of faces on the others
        face = 4.0 if level == 5 else -4.0
        values = torch.zeros(len(bias))
        values[:3] = face if level else -face
        values[3] = 0.0
        _plant(state, f"conf.{level}.conv4.bias", values)
        _plant(state, f"loc.{level}.conv4.bias", 0.0)
    return state


def _torchvision(maker: str) -> State:
    from torchvision.models import detection

    network = getattr(detection, maker)(weights=None, weights_backbone=None)
    state = _fill(network)
    scores = "roi_heads.box_predictor.cls_score.bias"
    values = torch.zeros(len(state[scores]))
    values[1] = 3 + torch.log(torch.tensor(float(len(values))))
    _plant(state, scores, values)
    _plant(state, "roi_heads.box_predictor.bbox_pred.bias", 0.0)
    # every anchor grows beyond a small picture: a box or two are left
    deltas = next(k for k in state if k.startswith("rpn.head.bbox_pred") and k.endswith("bias"))
    _plant(state, deltas, torch.tensor([0.0, 0.0, 3.0, 3.0]).repeat(len(state[deltas]) // 4))
    return state


def _resnet50() -> State:
    from torchvision.models import resnet50

    return _fill(resnet50(weights=None))


def _vgg16() -> State:
    from torchvision.models import vgg16

    with torch.device("meta"):
        shapes = {key: value.shape for key, value in vgg16(weights=None).state_dict().items()}
    state: State = {}
    for key, shape in shapes.items():
        if key.startswith("features."):
            std = (2 / shape[1:].numel()) ** 0.5 if len(shape) > 1 else 0.05
            state[key] = torch.randn(shape) * std
        else:  # half a gigabyte of the classifier, which nobody reads: one number that stands for all
            state[key] = torch.zeros(1).expand(shape)
    return state


def _vgg_heads() -> State:
    widths = (64, 128, 256, 512, 512)
    return {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(widths)}


def _osnet() -> State:
    from dp2bench.attacks import reid

    return _fill(reid.build(reid.ReidConfig(model="osnet_x1_0"), 1000))


def _inception() -> State:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):  # type: ignore[misc]
        """Loads nothing: the class does so as soon as it is made."""

        def load_state_dict(self, *_: Any, **__: Any) -> None:
            """Keep the random numbers."""

    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.pth"
        torch.save({}, empty)
        network = Untrained("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(empty))
    return _fill(network)


STATES: Mapping[str, Callable[[], State]] = {
    "mask_rcnn_R_50_FPN_3x": lambda: _rcnn("mask_rcnn_R_50_FPN_3x"),
    "mask_rcnn_X_101_32x8d_FPN_3x": lambda: _rcnn("mask_rcnn_X_101_32x8d_FPN_3x"),
    "cse_R_50_FPN_s1x": lambda: _rcnn("cse_R_50_FPN_s1x"),
    "cse_R_101_FPN_DL_soft_s1x": lambda: _rcnn("cse_R_101_FPN_DL_soft_s1x"),
    "dsfd": _dsfd,
    "maskrcnn_resnet50_fpn_v2": lambda: _torchvision("maskrcnn_resnet50_fpn_v2"),
    "maskrcnn_resnet50_fpn": lambda: _torchvision("maskrcnn_resnet50_fpn"),
    "keypointrcnn_resnet50_fpn": lambda: _torchvision("keypointrcnn_resnet50_fpn"),
    "resnet50": _resnet50,
    "osnet_x1_0": _osnet,
    "inception-2015-12-05": _inception,
    "vgg16": _vgg16,
    "vgg16-lpips": _vgg_heads,
}
"""Of detectors and networks, by the catalogue's name."""
