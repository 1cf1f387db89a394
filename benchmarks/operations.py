"""Count the operations of the networks that the paper's suites run, without weights, GPU or data.

Run: python benchmarks/operations.py   (writes dp2bench/engine/operations.json, which `dp2bench plan` reads)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dp2bench.deepprivacy2.generators import networks
from dp2bench.detection.dsfd import DSFD
from dp2bench.detection.rcnn import network as rcnn
from dp2bench.networks.lpips import LPIPSNetwork

OUT = Path(__file__).resolve().parents[1] / "dp2bench" / "engine" / "operations.json"
PICTURE = (800, 1088)
"""Rows and columns of a 4:3 picture as detectors scale it."""


def count(run: Callable[[], Any]) -> float:
    """Floating point operations in units of 1e9; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return round(counter.get_total_flops() / 1e9, 2)


def generator(name: str) -> float:
    """One crop. On the processor: the generators turn autocast off, which the meta device knows nothing of."""
    network = networks.build(name).eval()
    size = (288, 160) if name.startswith("fdh") else (256, 256) if "256" in name else (128, 128)
    given = {
        "condition": torch.zeros(1, 3, *size),
        "mask": torch.zeros(1, 1, *size),
        "z": torch.zeros(1, 512),
    }
    if name == "fdh_styleganL":
        given |= {"embedding": torch.zeros(1, 16, *size), "E_mask": torch.ones(1, 1, *size)}
    if name == "deep_privacy1":
        given["keypoints"] = torch.zeros(1, 7, 2)
    return count(lambda: network(**given))


def surface_guided(shown: int = 10_000) -> float:
    """One crop of Surface Guided GANs that shows so many vertices: only those are mapped."""
    network = networks.build("surface_guided_E").eval()
    vertices = torch.arange(288 * 160).remainder(shown).view(1, 1, 288, 160)
    given = {
        "condition": torch.zeros(1, 3, 288, 160),
        "mask": torch.zeros(1, 1, 288, 160),
        "z": torch.zeros(1, 512),
        "embedding": torch.zeros(1, 16, 288, 160),
        "E_mask": torch.ones(1, 1, 288, 160),
    }
    return count(lambda: network(vertices=vertices, psi=None, **given))


def detector(name: str, answers: int = 20) -> float:
    """One picture of `PICTURE` pixels with a thousand proposals and so many people."""
    architecture = rcnn.ARCHITECTURES[name]
    network = rcnn.RCNN(architecture).to("meta")
    heads = network.roi_heads

    def run() -> None:
        features = network.features(torch.empty(3, *PICTURE, device="meta"))
        for level in features.values():
            network.proposal_generator.rpn_head(level)
        heads.box_predictor(heads.box_head(torch.empty(1000, 256, 7, 7, device="meta")))
        if architecture.surface:
            heads.densepose_predictor(heads.densepose_head(torch.empty(answers, 256, 28, 28, device="meta")))
        else:
            heads.mask_head(torch.empty(answers, 256, 14, 14, device="meta"))

    return count(run)


def torchvision_rcnn(head: str, size: tuple[int, int], *, proposals: int, answers: int) -> float:
    """Keypoint R-CNN or Mask R-CNN, R50-FPN, forward."""
    from torchvision.models import detection

    model = getattr(detection, f"{head}rcnn_resnet50_fpn")(weights=None, weights_backbone=None).to("meta")
    heads = model.roi_heads

    def run() -> None:
        features = model.backbone(torch.empty(1, 3, *size, device="meta"))
        model.rpn.head(list(features.values()))
        heads.box_predictor(heads.box_head(torch.empty(proposals, 256, 7, 7, device="meta")))
        kind = heads.keypoint_head if head == "keypoint" else heads.mask_head
        kind(torch.empty(answers, 256, 14, 14, device="meta"))

    return count(run)


def osnet(height: int, width: int) -> float:
    """OSNet x1.0, a picture."""
    from torchreid.reid.models import build_model

    model = build_model("osnet_x1_0", num_classes=751, loss="softmax", pretrained=False, use_gpu=False)
    return count(lambda: model.eval().to("meta")(torch.empty(1, 3, height, width, device="meta")))


def inception() -> float:
    """The features of FID, a picture: torchvision's Inception v3, which has the same convolutions but for their places of pooling."""
    from torchvision.models import inception_v3

    model = inception_v3(weights=None, init_weights=False).eval().to("meta")
    return count(lambda: model(torch.empty(1, 3, 299, 299, device="meta")))


def main() -> None:
    """Count, and write the table."""
    found = {
        name: generator(name)
        for name in ("fdh_styleganL", "fdh_styleganL_nocse", "fdf256_stylegan", "deep_privacy1")
    }
    found["surface_guided_E"] = surface_guided()
    for name in ("mask_rcnn_X_101_32x8d_FPN_3x", "cse_R_101_FPN_DL_soft_s1x"):
        found[name] = detector(name)
    dsfd, vgg = DSFD().to("meta"), LPIPSNetwork("vgg").to("meta")
    found["dsfd per megapixel"] = round(
        count(lambda: dsfd(torch.empty(3, 480, 640, device="meta"))) / (480 * 640 / 1e6), 2
    )
    found["keypointrcnn_resnet50_fpn"] = torchvision_rcnn("keypoint", PICTURE, proposals=1000, answers=20)
    found["mask-rcnn"] = torchvision_rcnn("mask", (1024, 2048), proposals=1000, answers=100)
    found["osnet_x1_0"] = osnet(256, 128)
    found["inception"] = inception()
    found["lpips_vgg"] = count(lambda: vgg(*(torch.empty(1, 3, 288, 160, device="meta") for _ in range(2))))
    for name, value in found.items():
        print(f"{name:40} {value:10.2f} GFLOP")
    OUT.write_text(
        json.dumps({k: round(v, 2) for k, v in found.items()}, indent=1, sort_keys=True) + "\n", "utf-8"
    )


if __name__ == "__main__":
    main()
