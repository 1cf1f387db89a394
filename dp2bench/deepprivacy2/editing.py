"""Edits of what a generator synthesises: directions in its styles, applied with strengths, searched by text or attribute.

StyleMC (Kocasari et al., WACV 2022) as deep_privacy2 has it: every modulated layer is given a scale and a shift a channel, a
table (L, C) of numbers; an edit adds a direction of the same shape, times a strength. A direction belongs to the generator it
was found for, to the digit of its weights.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.paths import cache_root

if TYPE_CHECKING:
    from torch import Tensor

    from dp2bench.deepprivacy2.generator_weights import GeneratorFile

STRENGTH = 0.5
"""Of an edit, where none is given; as the published command line has it."""
STRONGEST = 5.0
"""As the published demonstration allows."""
LONGEST_PROMPT = 150
"""Characters; CLIP reads 77 tokens and drops the rest silently."""
STEPS, ACCUMULATE = 1_280, 8
LEARNING_RATE, BETAS, WEIGHT_DECAY = 0.05, (0.0, 0.999), 0.25
_KEY = "direction"


@dataclass(frozen=True)
class Edit:
    """A direction with a strength.

    Attributes:
        name: a prompt, ``attribute=value``, or what its file says.
        direction: (L, C) float32.
        strength: how far; 0 changes nothing.

    """

    name: str
    direction: Tensor = field(repr=False, hash=False, compare=False)
    strength: float = STRENGTH

    @property
    def digest(self) -> str:
        """Of the direction's numbers, for provenance and caches."""
        import hashlib

        return hashlib.sha256(self.direction.float().cpu().numpy().tobytes()).hexdigest()[:16]


def check_strength(strength: float) -> float:
    """The strength, or a Dp2benchError."""
    if not math.isfinite(strength) or abs(strength) > STRONGEST:
        raise Dp2benchError(
            f"An edit of strength {strength:g} is out of range.",
            f"Take a number from -{STRONGEST:g} to {STRONGEST:g}; {STRENGTH} is usual.",
        )
    return strength


def apply(styles: Tensor, edits: Sequence[Edit]) -> Tensor:
    """Styles (B, L, C) with every edit added.

    Raises:
        Dp2benchError: a direction of another network.

    """
    for edit in edits:
        if edit.direction.shape != styles.shape[1:]:
            raise Dp2benchError(
                f"The edit {edit.name!r} has a direction of shape {tuple(edit.direction.shape)}, and this generator's styles are "
                f"{tuple(styles.shape[1:])}.",
                "A direction belongs to one generator: search it again for this one.",
            )
        styles = styles + check_strength(edit.strength) * edit.direction.to(styles)
    return styles


# ---------------------------------------------------------------- files


def slug(name: str) -> str:
    """A prompt as a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80] or "edit"


def folder(file: GeneratorFile) -> Path:
    """Where directions of a generator are kept, one folder for each of its weights."""
    from dp2bench.weights.digests import sha256

    return cache_root() / "edits" / f"{file.name}-{sha256(file.path)[:16]}"


def save(path: Path, direction: Tensor, *, name: str, generator: GeneratorFile, **described: Any) -> None:
    """Write a direction with what it is and whose; the file appears whole.

    Args:
        path: ending in ``.safetensors``.
        direction: (L, C).
        name: the prompt or ``attribute=value``.
        generator: whose styles it moves.
        described: anything else worth keeping, as plain values.

    """
    from dp2bench.core.tensors import write_tensors
    from dp2bench.weights.digests import sha256

    told = {
        "name": name,
        "generator": generator.name,
        "generator_sha256": sha256(generator.path),
        **described,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors({_KEY: direction.detach().float().cpu().contiguous()}, path, {"edit": json.dumps(told)})


def load(path: Path, generator: GeneratorFile, strength: float = STRENGTH) -> Edit:
    """Read what `save` wrote.

    Raises:
        Dp2benchError: no such file, broken, or of another generator.

    """
    from safetensors import SafetensorError, safe_open

    from dp2bench.weights.digests import sha256

    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {})["edit"])
            direction: Tensor = file.get_tensor(_KEY)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise Dp2benchError(
            f"{path} holds no direction of an edit: {error}.",
            "Give a file that `dp2bench edits search` wrote, or search it again.",
        ) from error
    if told.get("generator_sha256") != sha256(generator.path):
        raise Dp2benchError(
            f"The direction {path} was found for the generator {told.get('generator')!r} with other weights than "
            f"{generator.name!r} has.",
            "A direction belongs to one generator: search it again for this one.",
        )
    return Edit(str(told.get("name", path.stem)), direction, check_strength(strength))


# ---------------------------------------------------------------- the search


def spherical_distance(x: Tensor, y: Tensor) -> Tensor:
    """(B,) squared great-circle distance, times 1/2, of (B, D) and (1, D) or (B, D) vectors brought to length 1."""
    from torch.nn import functional as F

    x, y = F.normalize(x, dim=-1), F.normalize(y, dim=-1)
    distance: Tensor = (x - y).norm(dim=-1).div(2).arcsin().square() * 2
    return distance


CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
CLIP_SIZE = 224


def prepare_for_clip(images: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in -1..1, whatever their aspect, as CLIP takes them: (B, 3, 224, 224), not clipped."""
    from torch.nn import functional as F

    mean, deviation = (images.new_tensor(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_DEVIATION))
    images = ((images + 1) / 2 - mean) / deviation
    return F.interpolate(images, (CLIP_SIZE, CLIP_SIZE), mode="bilinear", align_corners=False)


Loss = Callable[["Tensor"], "Tensor"]
"""Pictures (B, 3, H, W) in -1..1 to a number a picture, (B,); differentiable."""


def clip_loss(encode: Callable[[Tensor], Tensor], prompts: Tensor) -> Loss:
    """Distance of pictures to one or several prompts, summed.

    Args:
        encode: prepared pictures (B, 3, 224, 224) to embeddings (B, D).
        prompts: embeddings (P, D).

    """

    def loss(images: Tensor) -> Tensor:
        seen = encode(prepare_for_clip(images))
        total: Tensor = sum(
            (spherical_distance(seen, one[None]) for one in prompts), start=seen.new_zeros(())
        )
        return total

    return loss


def search(
    network: Any,
    crops: Iterable[Mapping[str, Tensor]],
    loss: Loss,
    *,
    accumulate: int = ACCUMULATE,
    learning_rate: float = LEARNING_RATE,
    weight_decay: float = WEIGHT_DECAY,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """A direction (L, C) that lowers a loss, by AdamW as published.

    The optimiser steps on the sum of gradients at every ``accumulate``-th batch, first after the very first one, as the published
    search does.

    Args:
        network: a generator with `styles`, in evaluation.
        crops: batches of its arguments, ``w`` (B, w_dim) among them.
        loss: of the pictures that it makes.
        accumulate: batches a step.
        learning_rate: of AdamW.
        weight_decay: of AdamW; it draws a direction to 0.
        progress: called with the number of batches done.

    """
    import torch

    first = next(p for p in network.parameters())
    direction: Tensor | None = None
    optimizer: Any = None
    for index, given in enumerate(crops):
        arguments = dict(given)
        with torch.no_grad():
            styles = network.styles(arguments.pop("w"))
        if direction is None:
            direction = torch.zeros(styles.shape[1:], device=first.device, requires_grad=True)
            optimizer = torch.optim.AdamW(
                [direction], lr=learning_rate, betas=BETAS, weight_decay=weight_decay
            )
        loss(network(**arguments, styles=styles + direction)["img"]).sum().backward()  # type: ignore[no-untyped-call]
        if index % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if progress:
            progress(index + 1)
    if direction is None:
        raise Dp2benchError(
            "There are no crops to search a direction with.", "Check the dataset and its split."
        )
    return direction.detach()


# ---------------------------------------------------------------- by name


def parse(text: str) -> tuple[str, float | None]:
    """``name`` or ``name:strength``."""
    name, colon, number = text.rpartition(":")
    if colon and name:
        try:
            return name.strip(), check_strength(float(number))
        except ValueError:
            pass
    return text.strip(), None


def check_prompt(prompt: str) -> str:
    """A text that CLIP can read whole; a Dp2benchError otherwise."""
    if not prompt.strip():
        raise Dp2benchError("An edit without a text.", "Write what to change to: `--edit 'red jacket'`.")
    if len(prompt) > LONGEST_PROMPT:
        raise Dp2benchError(
            f"The text of an edit has {len(prompt)} characters, and CLIP reads about {LONGEST_PROMPT}.",
            "Say it shorter; several edits add up.",
        )
    return prompt.strip()


def resolve(texts: Sequence[str], strength: float, file: GeneratorFile) -> tuple[list[Edit], list[str]]:
    """The edits of one generator by their names, and the names that it has no direction for.

    A name is the path of a direction's file; ``attribute=value``; or a text whose direction was searched before on this machine.
    Each may end in ``:strength``.

    Args:
        texts: names.
        strength: where a name brings none.
        file: whose styles are edited.

    Raises:
        Dp2benchError: a file that is broken or of another generator, an unknown attribute, a text that is too long.

    """
    from dp2bench.deepprivacy2 import directions

    found, missing = [], []
    for text in texts:
        name, own = parse(text)
        wanted = check_strength(strength if own is None else own)
        if name.endswith(".safetensors"):
            found.append(load(Path(name).expanduser(), file, wanted))
            continue
        directions.check_name(check_prompt(name))
        kept = folder(file) / f"{slug(name)}.safetensors"
        embedded = directions.embedded(file, name)
        if embedded is not None:
            found.append(Edit(name, embedded, wanted))
        elif kept.is_file():
            found.append(load(kept, file, wanted))
        else:
            missing.append(text)
    return found, missing


def missing_directions(names: Sequence[str], files: Sequence[GeneratorFile]) -> Dp2benchError:
    """What to say where no generator has a direction of these names."""
    which = ", ".join(file.name for file in files)
    return Dp2benchError(
        f"No direction is known for the edit {names[0]!r} and the generators {which}.",
        f"Search it once: `dp2bench edits search {names[0]!r} --clip FILE` (CLIP's ViT-B/16 as a local file, with the package "
        "open_clip_torch), or give the file of a direction. Without CLIP there are attributes: `dp2bench edits list`.",
    )
