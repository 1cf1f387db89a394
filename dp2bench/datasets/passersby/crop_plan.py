"""Which crops `passersby-fdh` and `passersby-fdf` hold, and whom each of them shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp2bench.core.types import Sample
from dp2bench.datasets.passersby.rendering.identities import make_identity
from dp2bench.datasets.passersby.rendering.portraits import SampleSpec

IDENTITIES, ATTRIBUTES = "annotations/identities.json", "annotations/attributes.json"


@dataclass(frozen=True)
class Size:
    """How many crops a size holds in each split, and how many of each identity."""

    train: int
    val: int
    each: int


def plan(size: Size) -> list[SampleSpec]:
    """The crops of a size: those of one identity follow each other, and no identity is in both splits."""
    specs = []
    people = -(-size.train // size.each)
    for split, first, count, before in (("train", 0, size.train, 0), ("val", size.train, size.val, people)):
        for k in range(count):
            person = k // size.each
            specs.append(SampleSpec(split, first + k, before + person + 1, person))
    return specs


def chunks(specs: list[SampleSpec], size: int) -> list[list[SampleSpec]]:
    """Shots in chunks that are made together."""
    return [specs[k : k + size] for k in range(0, len(specs), size)]


def attributes(stream: str, specs: list[SampleSpec]) -> dict[int, dict[str, Any]]:
    """What each identity looks like, by identity."""
    who = {s.identity: (f"{stream}-{s.split}", s.person) for s in specs}
    return {identity: make_identity(*person).attributes() for identity, person in who.items()}


def write_annotations(root: Path, stream: str, specs: list[SampleSpec]) -> None:
    """Who each crop shows, by split and key, and what each identity looks like."""
    who: dict[str, dict[str, int]] = {}
    for s in specs:
        who.setdefault(s.split, {})[s.key] = s.identity
    (root / "annotations").mkdir()
    (root / IDENTITIES).write_text(json.dumps(who))
    (root / ATTRIBUTES).write_text(json.dumps(attributes(stream, specs), indent=1))


def labelled(samples: Sequence[Sample], root: Path, split: str) -> list[Sample]:
    """Samples of a split with the identity of whom they show, as `write_annotations` left it in ``root``."""
    who = json.loads((root / IDENTITIES).read_text())[split]
    return [Sample(s.id, s.path, {"identity": who[Path(s.id).stem.zfill(6)]}) for s in samples]


def read_attributes(root: Path) -> dict[int, dict[str, Any]]:
    """What each identity looks like, as `write_annotations` left it."""
    return {int(who): looks for who, looks in json.loads((root / ATTRIBUTES).read_text()).items()}
