"""A generator as an inpainter: crops to network inputs, seeds to styles, outputs to pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dp2bench.core import templates
from dp2bench.core.contracts import FaceCrop, Inpainter, InpainterTraits, MethodMeta, StyleSpace
from dp2bench.core.machine import pick_device
from dp2bench.core.numbers import check_range, check_whole
from dp2bench.core.seeds import Seed, derive_seed
from dp2bench.core.types import CropBatch
from dp2bench.deepprivacy2.generator_weights import GeneratorFile
from dp2bench.inpainting.crops import dilation_radius, disk
from dp2bench.weights.digests import sha256

if TYPE_CHECKING:
    from torch import Tensor

    from dp2bench.deepprivacy2.editing import Edit

Truncation = Literal["none", "mean", "multi-modal"]
Centre = Literal["nearest", "random"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]
CENTRES = 64
"""Cluster centres of styles where a file has none of its own, found among `SAMPLES` styles."""
SAMPLES = 10_000
DEEP_PRIVACY1_KEYPOINTS = 7
"""The first of COCO's order: nose, eyes, ears, shoulders."""


class GeneratorInpainter(Inpainter):
    """Fills masks with a network of `dp2bench.deepprivacy2.generators`.

    Row i of `inpaint` depends on crop i and seed i alone, to the last grey level: the network always runs on the same number of
    crops, the last ones filled up, so that no kernel is chosen by how many people there are.

    Args:
        file: the generator's weights.
        meta: what the inpainter declares.
        truncation: ``none``: each person's own style. ``mean``: styles are drawn to the mean style, ``psi`` 0 gives everybody
            the same. ``multi-modal``: each is drawn to the nearest of the cluster centres.
        psi: how much of a person's own style is left, 0 to 1; 1 is no truncation. None takes what the weights recommend:
            0, as published, and 1 for the embedded ones.
        device: torch device; None takes a GPU if there is one.
        precision: of convolutions; ``auto`` is float16 on a GPU and float32 on a CPU. A CPU knows float32 and bfloat16, which is
            faster on a processor that multiplies it and differs by a few grey levels.
        batch_size: crops that the network runs on at once; None takes 1 on a CPU, where more is slower, and 8 on a GPU.
        compile: compile the network with ``torch.compile``.
        edits: directions to move everybody's styles by; see `editing`.
        centres: cluster centres of styles, where the weights bring none; 512 as published.
        centre_samples: styles that they are found among; 600,000 as published.
        centre: ``nearest`` to a person's own style, or ``random`` by their seed, as published.

    """

    def __init__(
        self,
        file: GeneratorFile,
        meta: MethodMeta,
        *,
        truncation: Truncation = "multi-modal",
        psi: float | None = None,
        device: str | None = None,
        precision: Precision = "auto",
        batch_size: int | None = None,
        compile: bool = False,  # noqa: A002 - as torch calls it
        edits: Sequence[Edit] = (),
        centres: int = CENTRES,
        centre_samples: int = SAMPLES,
        centre: Centre = "nearest",
    ) -> None:
        if centre not in {"nearest", "random"}:
            raise ValueError(f"centre is nearest or random, not {centre!r}")
        check_whole("centres", centres)
        check_whole("centre_samples", centre_samples)
        if centres > centre_samples:
            raise ValueError(f"{centres} centres cannot be found among {centre_samples} styles")
        if truncation not in {"none", "mean", "multi-modal"}:
            raise ValueError(f"truncation is none, mean or multi-modal, not {truncation!r}")
        psi = file.psi if psi is None else psi
        check_range("psi", psi, 0, 1)
        if precision not in {"auto", "float32", "float16", "bfloat16"}:
            raise ValueError(f"precision is auto, float32, float16 or bfloat16, not {precision!r}")
        if batch_size is not None:
            check_whole("batch_size", batch_size)
        self.file, self.meta = file, meta
        self.crop_size = file.crop_size
        face_crop: FaceCrop = "fdf128" if file.face_crop == "fdf128" else "fdf256"
        self.traits = InpainterTraits(
            uses_conditions=file.role in {"body-cse", "face-keypoints", "surface-guided", "keypoint-guided"},
            face_crop=face_crop,
        )
        self.needs_keypoints = file.role == "face-keypoints"
        # DeepPrivacy 1 has no styles: its published anonymizer takes z as it is.
        self.truncation: Truncation = "none" if self.needs_keypoints or psi == 1 else truncation
        self.psi = 1.0 if self.truncation == "none" else psi
        self._device, self._precision, self._batch, self._compile = device, precision, batch_size, compile
        self._loaded: Any = None
        self.edits = tuple(edits)
        self.centres, self.centre_samples, self.centre = centres, centre_samples, centre

    @property
    def deterministic(self) -> bool:
        """Everybody gets the mean style: the seed changes nothing."""
        return self.truncation == "mean" and self.psi == 0

    @property
    def device(self) -> str:
        """Where it computes, as torch names it."""
        return pick_device(self._device)

    @property
    def _kind_of_device(self) -> str:
        return self.device.partition(":")[0]

    @property
    def precision(self) -> str:
        """Of the convolutions."""
        if self._precision == "auto":
            return "float16" if self._kind_of_device == "cuda" else "float32"
        if self._precision == "float16" and self._kind_of_device == "cpu":
            raise ValueError("a CPU does not compute in float16: take precision float32 or bfloat16")
        return self._precision

    @property
    def batch_size(self) -> int:
        """Crops that the network runs on at once."""
        return self._batch or (8 if self._kind_of_device == "cuda" else 1)

    def preferred_batch(self) -> int:
        """See `Inpainter.preferred_batch`."""
        return self.batch_size

    def arguments(self) -> dict[str, Any]:
        """Effective settings, for `MethodMeta.arguments`."""
        settings = {
            "weights": self.file.name,
            "truncation": self.truncation,
            "psi": self.psi,
            "device": self._kind_of_device,
            "precision": self.precision,
            "compiled": self._compile,
        }
        # Only what is not as usual, so that a cached step stays valid where nothing is asked for.
        if self.edits:
            settings["edits"] = [[edit.name, edit.strength, edit.digest] for edit in self.edits]
        if self.truncation == "multi-modal" and (self.centres, self.centre_samples) != (CENTRES, SAMPLES):
            settings["centres"] = [self.centres, self.centre_samples]
        if self.truncation == "multi-modal" and self.centre != "nearest":
            settings["centre"] = self.centre
        return settings

    @cached_property
    def style_space(self) -> StyleSpace | None:
        """The styles of the generator; DeepPrivacy's has none."""
        return None if self.needs_keypoints else GeneratorStyles(self)

    def knows(self, template: str) -> bool:
        """Whether the network was trained with this surface template."""
        return template in self.file.templates

    def network(self) -> Any:
        """The network, loaded at the first fill and prepared for inference."""
        if self._loaded is None:
            import torch

            from dp2bench.deepprivacy2.generators import files

            network, centres = files.load(self.file)
            network = network.to(self.device)
            half = None if self.precision == "float32" else getattr(torch, self.precision)
            network.prepare_for_inference(autocast=half, compile=self._compile)
            if self.truncation == "multi-modal":
                style: Any = network.style_net
                if centres is None:
                    centres = style_centres(self.file, centres=self.centres, samples=self.centre_samples)
                style.w_centers = centres.to(self.device)
            self._loaded = network
        return self._loaded

    def inpaint(self, crops: CropBatch, *, seeds: Sequence[Seed]) -> NDArray[np.uint8]:
        """(B, h, w, 3) uint8: crops with their masks filled."""
        import torch

        network, n = self.network(), self.batch_size
        out = np.empty_like(crops.images)
        with torch.inference_mode():
            for start in range(0, len(crops), n):
                rows = np.minimum(np.arange(start, start + n), len(crops) - 1)
                made = network(**self._inputs(network, crops, rows, [seeds[i] for i in rows]))["img"]
                made = made.float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
                kept = min(n, len(crops) - start)
                out[start : start + kept] = made[:kept].permute(0, 2, 3, 1).cpu().numpy()
        return out

    def _inputs(
        self, network: Any, crops: CropBatch, rows: NDArray[np.intp], seeds: Sequence[Seed]
    ) -> dict[str, Tensor]:
        from dp2bench.deepprivacy2.generators.mapping import sample_latents

        given = self._conditions(network, crops, rows)
        z = sample_latents(seeds, network.z_channels).to(self.device)
        if self.truncation == "none" and not self.edits:
            return given | {"z": z}
        style = network.style_net
        w = style(z)
        if self.truncation == "mean":
            w = style.truncate(w, self.psi)
        elif self.truncation == "multi-modal":
            w = style.truncate_multi_modal(w, self.psi, which=self._which_centres(style, seeds))
        if not self.edits:
            return given | {"w": w}
        from dp2bench.deepprivacy2 import editing

        return given | {"styles": editing.apply(network.styles(w), self.edits)}

    def _which_centres(self, style: Any, seeds: Sequence[Seed]) -> Tensor | None:
        """(B,) index of each person's centre by their seed; None for the nearest."""
        import torch

        if self.centre == "nearest":
            return None
        drawn = [derive_seed(seed, "centre") % len(style.w_centers) for seed in seeds]
        return torch.tensor(drawn, device=self.device)

    def _conditions(self, network: Any, crops: CropBatch, rows: NDArray[np.intp]) -> dict[str, Tensor]:
        """What the network is told of these rows, all but the style."""
        import torch

        images = torch.from_numpy(crops.images[rows]).to(self.device).permute(0, 3, 1, 2).float()
        mask = torch.from_numpy(~crops.masks[rows])[:, None].to(self.device, torch.float32)
        given = {"condition": images.div_(127.5).sub_(1) * mask, "mask": mask}
        if self.needs_keypoints:
            given["keypoints"] = self._keypoints(crops, rows)
        if self.file.role == "body-cse":
            embedding = torch.from_numpy(self._embedding(crops, rows, network.cse_nc)).to(self.device)
            given |= {"embedding": embedding[:, :-1], "E_mask": embedding[:, -1:]}
        if self.file.role == "keypoint-guided":
            person = torch.from_numpy(~_without_margin(crops.masks[rows]))[:, None]
            given |= {
                "keypoints": self._body_keypoints(crops, rows),
                "person": person.to(self.device, torch.float32),
            }
        return given

    def _body_keypoints(self, crops: CropBatch, rows: NDArray[np.intp]) -> Tensor:
        """(B, 17, 3): x and y in 0..1 of the crop, visible or not."""
        import torch

        if crops.keypoints is None:
            raise ValueError(f"{self.file.name} needs keypoints; route people without them elsewhere")
        points = crops.keypoints[rows].astype(np.float32)
        points[..., :2] /= np.array(self.crop_size[::-1], np.float32)
        points[..., 2] = points[..., 2] > 0
        return torch.from_numpy(points).to(self.device)

    def _embedding(self, crops: CropBatch, rows: NDArray[np.intp], channels: int) -> NDArray[np.float32]:
        """(B, channels + 1, h, w): the embedding, 0 where there is none, and 1 where there is one."""
        out = np.zeros((len(rows), channels + 1, *self.crop_size), np.float32)
        for row, i in enumerate(rows):
            name = crops.templates[i] if crops.templates else None
            if crops.surfaces is None or name is None or not self.knows(name):
                continue
            vertices = crops.surfaces[i]
            out[row, :-1] = templates.get(name).embed(vertices).transpose(2, 0, 1)
            out[row, -1] = vertices >= 0
        return out

    def _keypoints(self, crops: CropBatch, rows: NDArray[np.intp]) -> Tensor:
        import torch

        if crops.keypoints is None:
            raise ValueError(f"{self.file.name} needs keypoints; route people without them elsewhere")
        h, w = self.crop_size
        points = crops.keypoints[rows, :DEEP_PRIVACY1_KEYPOINTS, :2] / np.array([w, h], np.float32)
        return torch.from_numpy(points.clip(0, 1).astype(np.float32)).to(self.device)


class GeneratorStyles:
    """The intermediate latents w of a generator, and its pictures of them; see `StyleSpace`.

    The network is loaded once more, as it was trained: the one that fills may compute in half precision, which knows no small steps.
    """

    def __init__(self, inpainter: GeneratorInpainter) -> None:
        self.inpainter = inpainter
        self._loaded: Any = None

    def _network(self) -> Any:
        if self._loaded is None:
            from dp2bench.deepprivacy2.generators import files

            self._loaded = files.load(self.inpainter.file)[0].to(self.inpainter.device)
        return self._loaded

    def styles(self, seeds: Sequence[Seed]) -> NDArray[np.float32]:
        """See `StyleSpace.styles`."""
        import torch

        from dp2bench.deepprivacy2.generators.mapping import sample_latents

        network = self._network()
        z = sample_latents(seeds, network.z_channels).to(self.inpainter.device)
        with torch.inference_mode():
            return np.asarray(network.style_net(z).cpu().numpy(), np.float32)

    def render(self, crops: CropBatch, styles: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `StyleSpace.render`; one crop after the other."""
        import torch

        network, device = self._network(), self.inpainter.device
        out = np.empty(crops.images.shape, np.float32)
        with torch.inference_mode():
            for i, style in enumerate(styles):
                given = self.inpainter._conditions(network, crops, np.array([i]))
                made = network(**given, w=torch.from_numpy(style[None]).to(device))["img"]
                out[i] = made.add(1).mul(127.5)[0].permute(1, 2, 0).float().cpu().numpy()
        return out


def _without_margin(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(B, h, w): masks as they were before they were widened, about."""
    import cv2

    radius = dilation_radius((masks.shape[1], masks.shape[2]))
    return np.stack([cv2.erode(m.astype(np.uint8), disk(radius)) for m in masks]) > 0


def style_centres(file: GeneratorFile, *, centres: int = CENTRES, samples: int = SAMPLES) -> Tensor:
    """(centres, w_dim) cluster centres of styles by k-means, computed once for each weights and kept in the cache.

    Args:
        file: whose styles.
        centres: how many.
        samples: styles of random z that they are found among; the seed is fixed.

    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from dp2bench.core.paths import cache_root
    from dp2bench.core.tensors import write_tensors
    from dp2bench.deepprivacy2.generators import files

    path: Path = cache_root() / "style-centres" / f"{sha256(file.path)[:32]}-{centres}-{samples}.safetensors"
    try:
        return load_file(path)["centres"]
    except (SafetensorError, OSError, KeyError):
        pass
    network: Any = files.load(file)[0]
    made: Tensor = network.style_net.compute_centers(centres, n_samples=samples)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors({"centres": made}, path)
    return made
