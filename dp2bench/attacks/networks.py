"""The networks whose features the attackers share: two embedded OSNets, EfficientNet-Lite0 that never saw these people, and a segmenter."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dp2bench.attacks import reid
from dp2bench.core.attacks import Extract
from dp2bench.core.contracts import Progress, no_progress
from dp2bench.core.errors import Dp2benchError
from dp2bench.detection.compact import networks as compact
from dp2bench.detection.compact.predictor import EMBEDDED
from dp2bench.networks import efficientnet
from dp2bench.networks.frozen_backbone import warp_crop
from dp2bench.weights import embedded

ENSEMBLE = ("osnet-0", "osnet-1", "efficientnet")
"""Frozen networks whose features stand side by side."""
OUTLINES = "outlines"
"""The embedded detector's body network: in place of features, how likely each cell of a picture is the person, see `OUTLINE_SIZE`."""
OUTLINE_SIZE = (24, 48)
"""Width and height to which outlines are reduced."""
NETWORKS = (*ENSEMBLE, OUTLINES)
BATCH = 64


def extractor(
    cache: Path | None, *, device: str = "cpu", threads: int = 2, progress: Progress = no_progress
) -> Extract:
    """Features by the name of a network; equal pictures are looked at once for all attacks, methods and runs that share ``cache``."""

    def extract(network: str, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        if network not in NETWORKS:
            raise Dp2benchError(
                f"There is no network {network!r} for an attack's features.",
                f"There are: {', '.join(NETWORKS)}.",
            )
        kept = None
        if cache is not None:
            digest = hashlib.sha256(f"{network} {_sha256(network)} {pictures.shape} {device} 1\0".encode())
            digest.update(np.ascontiguousarray(pictures).data)
            kept = cache / f"features-{digest.hexdigest()}.npy"
            if kept.is_file():
                loaded: NDArray[np.float32] = np.load(kept, allow_pickle=False)
                return loaded
        found = _compute(network, pictures, device, progress)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=".npy", delete=False) as partial:
                np.save(partial, found)
            Path(partial.name).replace(kept)
        return found

    return extract


def _sha256(network: str) -> str:
    if network == "efficientnet":
        return efficientnet.SHA256
    if network == OUTLINES:
        return str(embedded.manifest()[EMBEDDED]["sha256"])
    return str(embedded.manifest()[f"osnet_x0_25-{network.rpartition('-')[2]}"]["sha256"])


@torch.inference_mode()
def _compute(
    network: str, pictures: NDArray[np.uint8], device: str, progress: Progress
) -> NDArray[np.float32]:
    run = _network(network, device)
    parts = []
    for start in range(0, len(pictures), BATCH):
        batch = torch.from_numpy(np.ascontiguousarray(pictures[start : start + BATCH]))
        parts.append(run(batch.permute(0, 3, 1, 2).to(device)).float().cpu().numpy())
        progress(min(start + BATCH, len(pictures)), len(pictures))
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


@lru_cache(maxsize=len(NETWORKS))
def _network(network: str, device: str) -> Callable[[Any], Any]:
    if network == "efficientnet":
        return efficientnet.pretrained(device)
    if network == OUTLINES:
        return _segmenter(device)
    name = f"osnet_x0_25-{network.rpartition('-')[2]}"
    embedded.verify(name)
    config = reid.ReidConfig(model="osnet_x0_25")
    model = reid.load_network(embedded.path(name), config, device)
    return lambda x: model(reid.normalise(x))


def _segmenter(device: str) -> Callable[[Any], Any]:
    """From (B, 3, H, W) pictures of one person to (B, 1152) probabilities of the person, `OUTLINE_SIZE`."""
    embedded.verify(EMBEDDED)
    networks, _ = compact.load(embedded.path(EMBEDDED))
    body, trunk = networks.body.to(device).eval(), efficientnet.pretrained(device)
    left, top, right, bottom = compact.crop_box(np.array([0, 0, 1000, 1000]))  # of a box that is the picture

    def segment(pictures: Any) -> Any:
        height, width = pictures.shape[2:]
        area = compact.crop_box(np.array([0, 0, width, height]))
        affine = compact.to_crop(area)
        crops = [warp_crop(p, affine, compact.CROP[::-1]) for p in pictures.permute(0, 2, 3, 1).cpu().numpy()]
        maps = trunk.maps(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(device), deepest=8)
        chance = body.answer(maps[4], maps[8])[0].sigmoid()
        h, w = chance.shape[1:]
        across, down = w / (right - left), h / (bottom - top)
        rows = slice(round(-top * down), round((1000 - top) * down))
        columns = slice(round(-left * across), round((1000 - left) * across))
        inside = chance[:, None, rows, columns]
        return torch.nn.functional.interpolate(inside, OUTLINE_SIZE[::-1], mode="area").flatten(1)

    return segment
