"""Pictures inside a page: as data, small enough together, and the same ones under every method side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dp2bench.core.errors import PictureError
from dp2bench.core.images import read_image
from dp2bench.reports.figures import columns_of_people
from dp2bench.reports.load import Run

BUDGET = 2_500_000
"""Bytes that the pictures of one section may take in a page."""
_SIDES = (640, 448, 320, 224, 160, 112)
_AS_IT_IS = 16_000
_MEDIA = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp"}


@dataclass(frozen=True)
class Embedded:
    """A picture as a ``data:`` address, with its size in pixels."""

    source: str
    width: int
    height: int


def _embed(path: Path, side: int) -> Embedded | None:
    """The file itself where it is small enough, else a copy of at most ``side`` pixels; None where it is no picture."""
    try:
        pixels = read_image(path)
    except (PictureError, OSError):
        return None
    height, width = pixels.shape[:2]
    suffix = path.suffix.lower()
    if max(height, width) <= side and suffix in _MEDIA and path.stat().st_size <= _AS_IT_IS:
        data, media = path.read_bytes(), _MEDIA[suffix]
    else:
        picture = Image.fromarray(pixels)
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        width, height = picture.size
        stream = io.BytesIO()
        picture.save(stream, "WEBP", quality=82, method=4)
        data, media = stream.getvalue(), "webp"
    return Embedded(f"data:image/{media};base64,{base64.b64encode(data).decode()}", width, height)


def embed(paths: Sequence[Path], budget: int = BUDGET) -> dict[Path, Embedded | None]:
    """All these pictures, as large as the budget allows; None for a file that is missing or no picture."""
    found: dict[Path, Embedded | None] = {}
    for side in _SIDES:
        found = {path: _embed(path, side) for path in dict.fromkeys(paths)}
        if sum(len(e.source) for e in found.values() if e is not None) <= budget:
            break
    return found


@dataclass(frozen=True)
class SideBySide:
    """The same pictures of one dataset under every method; None where a method has no such picture."""

    dataset: str
    run: str
    names: tuple[str, ...]
    rows: Mapping[str, tuple[Embedded | None, ...]]

    @property
    def ratio(self) -> float:
        """Width by height of the widest picture."""
        return max(e.width / e.height for row in self.rows.values() for e in row if e is not None)


def side_by_side(run: Run, run_name: str, people: int = 8, budget: int = BUDGET) -> list[SideBySide]:
    """What a run's ``pictures/`` folder holds, a table for each dataset; ``clear`` comes first."""
    root = run.folder / "pictures"
    sections = []
    for dataset in dict.fromkeys(r.spec.dataset for r in run.results):
        methods = [m for m in dict.fromkeys(["clear", *run.methods]) if (root / m / dataset).is_dir()]
        files = {
            m: {p.relative_to(root / m).as_posix() for p in (root / m / dataset).rglob("*") if p.is_file()}
            for m in methods
        }
        keys = columns_of_people(sorted(set().union(*files.values())), files, people) if files else []
        pictures = embed([root / m / key for m in methods for key in keys], budget)
        rows = {m: tuple(pictures[root / m / key] for key in keys) for m in methods}
        if any(e is not None for row in rows.values() for e in row):
            sections.append(SideBySide(dataset, run_name, tuple(k.rpartition("/")[2] for k in keys), rows))
    return sections
