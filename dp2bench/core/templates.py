"""Surface templates: numbered vertices of a body, and what a network is told of each.

A surface (`SurfaceMap`, `CropBatch.surfaces`) is vertex ids; which body they number is its template's name. A template is
found by that name among the entry points ``dp2bench.templates``, ours and third parties' alike.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core import registry
from dp2bench.core.errors import Dp2benchError, PluginError

DIMENSIONS = 16
"""Of an embedding, as continuous surface embeddings have them (Neverova et al. 2020)."""


@dataclass(frozen=True)
class Template:
    """The vertices of a body.

    Attributes:
        name: as surfaces name it, by convention ending in the number of vertices: ``smpl-27554``.
        embeddings: (V, 16) float32 on the scale that generators are trained with: columns of standard deviation 1
            (Passersby) or rows of length 1 (SMPL, as published); near vertices have near rows.
        mirrored: (V,) int32, the vertex of the other side of the body (itself on the plane of symmetry), or None
            where that is not known. Of use when a picture is flipped.
        parts: (V,) int8 index into ``part_names``, or None.
        part_names: names of the body's parts; left and right are the person's own.
        licence: of the embeddings.

    """

    name: str
    embeddings: NDArray[np.float32]
    mirrored: NDArray[np.int32] | None = None
    parts: NDArray[np.int8] | None = None
    part_names: tuple[str, ...] = ()
    licence: str = ""

    def __post_init__(self) -> None:
        v = len(self.embeddings)
        if self.embeddings.shape != (v, DIMENSIONS) or self.embeddings.dtype != np.float32:
            raise ValueError(
                f"the embeddings of {self.name} are {self.embeddings.dtype} {self.embeddings.shape}, "
                f"expected float32 (V, {DIMENSIONS})"
            )
        if not np.isfinite(self.embeddings).all():
            raise ValueError(f"the embeddings of {self.name} are not finite")
        if self.mirrored is not None and (
            self.mirrored.shape != (v,) or not np.array_equal(self.mirrored[self.mirrored], np.arange(v))
        ):
            raise ValueError(f"mirroring {self.name} twice must give every one of its {v} vertices back")
        if self.parts is not None and (
            self.parts.shape != (v,) or not (0 <= self.parts.min() <= self.parts.max() < len(self.part_names))
        ):
            raise ValueError(f"the parts of {self.name} must index its part names for {v} vertices")

    def __len__(self) -> int:
        return len(self.embeddings)

    def embed(self, vertices: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """(..., 16) embeddings of (...) vertex ids, zeros where the id is negative.

        Raises:
            ValueError: an id beyond the template.

        """
        if vertices.size and vertices.max() >= len(self):
            raise ValueError(f"vertex {vertices.max()} is none of the {len(self)} of {self.name}")
        out: NDArray[np.float32] = self.embeddings[np.maximum(vertices, 0)]
        out[vertices < 0] = 0
        return out

    def mirror(self, vertices: NDArray[np.int32]) -> NDArray[np.int32]:
        """(..., w) vertex ids of the picture flipped left to right; sides are swapped where the template knows them.

        Without ``mirrored`` ids keep their vertex; the published training swaps them by a table of its own
        (`detection.rcnn.template.add_symmetry`).
        """
        flipped: NDArray[np.int32] = vertices[..., ::-1]
        known = self.mirrored
        out: NDArray[np.int32] = (
            flipped.copy() if known is None else np.where(flipped < 0, flipped, known[np.maximum(flipped, 0)])
        )
        return out

    def save(self, path: Path) -> None:
        """Write a file for `read`; it appears whole."""
        arrays: dict[str, Any] = {
            "name": np.array(self.name),
            "embeddings": self.embeddings,
            "part_names": np.array(self.part_names, np.str_),
            "licence": np.array(self.licence),
        }
        arrays |= {k: v for k in ("mirrored", "parts") if (v := getattr(self, k)) is not None}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)
        partial.replace(path)

    @staticmethod
    def read(path: Path) -> Template:
        """The template that `save` wrote; a Dp2benchError where the file is missing or broken."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return Template(
                    name=str(file["name"]),
                    embeddings=file["embeddings"].astype(np.float32),
                    mirrored=file.get("mirrored"),
                    parts=file.get("parts"),
                    part_names=tuple(str(n) for n in file["part_names"]),
                    licence=str(file["licence"]),
                )
        except (OSError, ValueError, KeyError) as error:
            raise Dp2benchError(
                f"{path} holds no surface template that can be read: {error}.",
                "Install the package or register the template again.",
            ) from error


def standardised(table: Any) -> NDArray[np.float32]:
    """A (V, 16) table with mean 0 and standard deviation 1 in each column."""
    table = np.asarray(table, np.float64)
    spread = table.std(0)
    scaled: NDArray[np.float32] = ((table - table.mean(0)) / np.where(spread > 0, spread, 1)).astype(
        np.float32
    )
    return scaled


_loaded: dict[str, Template] = {}


def get(name: str) -> Template:
    """The template of a name, loaded once a process.

    Raises:
        PluginError: no package brings a template of this name, or what it brings has another.
        Dp2benchError: its table is not on this machine; the message says how to get it.

    """
    if name not in _loaded:
        found = registry.create("templates", name, {})
        if not isinstance(found, Template) or found.name != name:
            raise PluginError(
                f"The template {name!r} gives {getattr(found, 'name', type(found).__name__)!r}.",
                "A template's entry point is a function without arguments that returns the Template of its own name.",
            )
        _loaded[name] = found
    return _loaded[name]
