"""Directions for texts: CLIP from a local file, and the published search around `editing.search`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp2bench.core.contracts import Progress, no_progress
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import derive_seed
from dp2bench.deepprivacy2 import editing
from dp2bench.deepprivacy2.generator_weights import GeneratorFile
from dp2bench.deepprivacy2.sheets import as_batch
from dp2bench.weights.digests import sha256
from dp2bench.weights.reading import is_torchscript

CLIP_VARIABLE = "DP2BENCH_CLIP"
CONTEXT = 77
"""Tokens that CLIP reads, two of which are its own."""


class Clip:
    """CLIP's two encoders.

    Args:
        path: of its weights.
        model: open_clip's name of the architecture.
        device: torch device.

    """

    def __init__(self, path: Path, model: str, device: str | None = None) -> None:
        import open_clip

        self.path, self.name = path, model
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        try:
            self.model = open_clip.create_model(
                model, pretrained=str(path), device=self.device, force_quick_gelu=is_torchscript(path)
            ).eval()
        except (RuntimeError, OSError, KeyError, ValueError) as error:
            raise Dp2benchError(
                f"{path} holds no weights of CLIP {model}: {' '.join(str(error).split())[:160]}.",
                "Give the file of this architecture, or name another with --clip-model.",
            ) from error
        self.model.requires_grad_(False)
        self.tokenizer = open_clip.get_tokenizer(model)

    def encode_text(self, text: str) -> Tensor:
        """(1, D); a Dp2benchError where the text is too long to be read whole."""
        tokens = self.tokenizer([text], context_length=4 * CONTEXT)
        used = int((tokens != 0).sum())
        if used > CONTEXT:
            raise Dp2benchError(
                f"The text has {used} tokens, and CLIP reads {CONTEXT}.",
                "Say it shorter; several edits add up.",
            )
        out: Tensor = self.model.encode_text(self.tokenizer([text]).to(self.device)).float()
        return out

    def encode_image(self, prepared: Tensor) -> Tensor:
        """(B, D) of pictures (B, 3, 224, 224), see `editing.prepare_for_clip`."""
        out: Tensor = self.model.encode_image(prepared).float()
        return out


def load_clip(path: Path | None, model: str = "ViT-B-16", device: str | None = None) -> Clip:
    """CLIP from a local file; nothing is downloaded.

    Args:
        path: of its weights; None takes that of the environment variable DP2BENCH_CLIP.
        model: open_clip's name of the architecture.
        device: torch device.

    Raises:
        Dp2benchError: no file, no package, or other weights.

    """
    given = path or (Path(os.environ[CLIP_VARIABLE]) if os.environ.get(CLIP_VARIABLE) else None)
    if given is None or not given.expanduser().is_file():
        raise Dp2benchError(
            "A search by text needs CLIP, and "
            + ("no file of its weights was given." if given is None else f"there is no file {given}."),
            f"Download {model}'s weights once (OpenAI's ViT-B-16.pt, or an open_clip checkpoint) and give --clip FILE or set "
            f"{CLIP_VARIABLE}. Without CLIP there are attributes: `dp2bench edits list`.",
        )
    try:
        import open_clip  # noqa: F401
    except ImportError as error:
        raise Dp2benchError(
            "A search by text needs open_clip, which is not installed.",
            "Install it: pip install 'dp2bench[text]'",
        ) from error
    return Clip(given.expanduser(), model, device)


def search(
    file: GeneratorFile,
    prompt: str,
    clip: Clip,
    dataset: Any,
    target: Path,
    *,
    crops: int = editing.STEPS,
    batch_size: int = 1,
    seed: int | None = None,
    device: str | None = None,
    progress: Progress = no_progress,
) -> Tensor:
    """Search a direction and save it.

    Args:
        file: the generator.
        prompt: as it is, without a template.
        clip: the encoders.
        dataset: crops to fill, of its validation split.
        target: file of the direction.
        crops: in all.
        batch_size: at once; 1 as published. Gradients are summed over 8 crops either way.
        seed: of the latents. None draws from torch's own stream, as the published search does, whose seed is not effective.
        device: torch device.
        progress: called with crops.

    """
    from dp2bench.deepprivacy2.generators import files

    network: Any = files.load(file)[0]
    if not hasattr(network, "styles"):
        raise Dp2benchError(
            f"{file.name} has no table of styles, so it cannot be edited.",
            "Take a generator of DeepPrivacy2.",
        )
    network = network.to(clip.device).eval().requires_grad_(False)
    source = dataset.crops("val")
    batches = _batches(network, file, source, crops, batch_size, seed, clip.device)
    with torch.no_grad():
        text = clip.encode_text(prompt)
    direction = editing.search(
        network,
        batches,
        editing.clip_loss(clip.encode_image, text),
        accumulate=max(1, editing.ACCUMULATE // batch_size),
        progress=lambda done: progress(min(done * batch_size, crops), crops),
    )
    editing.save(
        target,
        direction,
        name=prompt,
        generator=file,
        clip=clip.name,
        clip_sha256=sha256(clip.path),
        crops=crops,
        batch_size=batch_size,
        seed=seed,
    )
    return direction


def _batches(
    network: Any,
    file: GeneratorFile,
    source: Any,
    crops: int,
    size: int,
    seed: int | None,
    device: torch.device,
) -> Iterator[dict[str, Tensor]]:
    """The network's arguments for one batch of crops after another, each with a random style of its own."""
    from dp2bench.core import templates
    from dp2bench.deepprivacy2.generators.mapping import sample_latents

    for start in range(0, crops, size):
        numbers = range(start, min(start + size, crops))
        batch = as_batch([source[i % len(source)] for i in numbers], source.template, file.crop_size)
        images = torch.from_numpy(batch.images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        mask = torch.from_numpy(~batch.masks)[:, None].to(device).float()
        given = {"condition": images * mask, "mask": mask}
        if network.input_cse:
            name = source.template
            if batch.surfaces is None or name not in file.templates:
                raise Dp2benchError(
                    f"{file.name} is guided by surfaces of {', '.join(file.templates)}, and the crops have {name or 'none'}.",
                    "Search with crops of that template.",
                )
            embedded = templates.get(name).embed(batch.surfaces).transpose(0, 3, 1, 2)
            given["embedding"] = torch.from_numpy(np.ascontiguousarray(embedded)).to(device)
            given["E_mask"] = torch.from_numpy(batch.surfaces >= 0)[:, None].to(device).float()
        if seed is None:
            z = torch.randn(len(numbers), network.z_channels)
        else:
            z = sample_latents([derive_seed(seed, "search", i) for i in numbers], network.z_channels)
        with torch.no_grad():
            given["w"] = network.style_net(z.to(device))
        yield given
