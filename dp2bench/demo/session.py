"""What a visitor of the demonstration does: look at a picture, choose people and a method, replace them. Knows no page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dp2bench.core import registry
from dp2bench.core.contracts import Anonymizer, Detector, Progress
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.images import read_image, write_image
from dp2bench.core.results import canonical_json
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Image, People, Sample, SampleId
from dp2bench.datasets.video import Selection, VideoOptions
from dp2bench.detection.preview import bounded, draw_people
from dp2bench.pipelines.stream import DOUBTFUL, altering
from dp2bench.pipelines.video import anonymize_video

DETECTOR = "photo"
FIRST = "deepprivacy2"
"""The method that is chosen when the page opens."""


@dataclass(frozen=True)
class Choices:
    """How people are replaced.

    Attributes:
        method: one of `methods`.
        seed: of random methods.
        psi: how much of a person's own style is left, 0 to 1; only for methods that synthesise.
        edits: how everybody is to look; see `dp2bench.deepprivacy2.editing.resolve`.
        strength: of edits that bring none.
        careful: the detector also covers what may be a person.

    """

    method: str = FIRST
    seed: int = 0
    psi: float = 1.0
    edits: tuple[str, ...] = ()
    strength: float = 0.5
    careful: bool = False

    def arguments(self) -> dict[str, Any]:
        """Of the method; settings that it does not take are left out, but for edits, which somebody asked for."""
        given: dict[str, Any] = {"psi": self.psi} if registry.accepts("methods", self.method, "psi") else {}
        if self.edits:
            if not registry.accepts("methods", self.method, "edit"):
                raise Dp2benchError(
                    f"The method {self.method!r} synthesises nothing that could be edited.",
                    "Take deepprivacy2, or leave the edits out.",
                )
            given |= {"edit": list(self.edits), "strength": self.strength}
        return given

    def make(self) -> Anonymizer:
        """The method; kept for the next picture."""
        made: Anonymizer = _kept("methods", self.method, canonical_json(self.arguments()))
        return made

    def make_detector(self) -> Detector:
        """Who finds the people; kept for the next picture."""
        made: Detector = _kept("detectors", DETECTOR, canonical_json({"careful": self.careful}))
        return made


@lru_cache(maxsize=4)
def _kept(kind: registry.Kind, name: str, arguments: str) -> Any:
    return registry.create(kind, name, json.loads(arguments))


def methods() -> list[str]:
    """Methods that replace people one by one, the usual one first."""
    names = [
        n
        for n in registry.names("methods")
        if registry.describe("methods", n).startswith(("[body]", "[face]"))
    ]
    return sorted(names, key=lambda name: (name != FIRST, name))


class Loaded(NamedTuple):
    """A picture with the people found in it.

    Attributes:
        name: of its file.
        image: (H, W, 3).
        people: best first.

    """

    name: str
    image: Image
    people: People

    def label(self, person: int) -> str:
        """How a person is called on the page: number, what was found, certainty."""
        category = _word(int(self.people.categories[person]))
        return f"{person}: {category}, {self.people.scores[person]:.0%}"

    def drawn(self, chosen: Collection[int]) -> Image:
        """The picture with those who are to be replaced drawn in; the others are left as they are."""
        return draw_people(self.image, kept_numbers(self.people, chosen))

    def person_at(self, x: float, y: float) -> int | None:
        """The person whose box is the smallest around a point of the picture `drawn`, in its pixels; None for nobody."""
        factor = self.image.shape[1] / bounded(self.image).shape[1]
        x, y = x * factor, y * factor
        boxes = self.people.boxes
        inside = [i for i, (x0, y0, x1, y1) in enumerate(boxes) if x0 <= x < x1 and y0 <= y < y1]
        return min(
            inside,
            key=lambda i: (boxes[i][2] - boxes[i][0]) * (boxes[i][3] - boxes[i][1]),
            default=None,
        )

    def said(self) -> str:
        """Who was found, in sentences."""
        n = len(self.people)
        if not n:
            return (
                "**Nobody was found.** If somebody is there, tick *Careful*, or do not publish the picture."
            )
        doubtful = int((self.people.scores < DOUBTFUL).sum())
        said = f"**{n} {'person' if n == 1 else 'people'} found.**"
        if doubtful:
            said += f" {doubtful} of them doubtful."
        return said + " Look whether that is everybody. Click somebody to leave or replace them."


def _word(category: int) -> str:
    """A category in a word."""
    return {0: "face", 1: "person", 2: "person"}[category]


def kept_numbers(people: People, chosen: Collection[int]) -> People:
    """Those who are chosen, with the numbers, and so the seeds, that they have among everybody."""
    rows = sorted(chosen)
    some = people.take(rows)
    numbers = people.track_ids[rows] if people.track_ids is not None else np.array(rows, np.int64)
    return replace(some, track_ids=numbers)


def load(path: Path, choices: Choices, name: str | None = None) -> Loaded:
    """Read a picture and find its people.

    Raises:
        PictureError: it is no picture that can be read.

    """
    image = read_image(path)
    name = name or path.name
    (people,) = choices.make_detector().detect([image], [Sample(SampleId(name), path)])
    return Loaded(name, image, people)


class Replaced(NamedTuple):
    """What became of a picture: the new one, and who was left in it, in sentences."""

    image: Image
    said: str


def replace_people(loaded: Loaded, chosen: Collection[int], choices: Choices) -> Replaced:
    """Replace those who are chosen. With everybody chosen it is what `dp2bench.anonymize` makes."""
    made = choices.make().anonymize(
        loaded.image,
        kept_numbers(loaded.people, chosen),
        seed=derive_seed(choices.seed, "all", loaded.name),
    )
    rows = sorted(chosen)
    lines = [f"**{len(rows) - len(made.missed)} of {len(loaded.people)} replaced** by {choices.method}."]
    reasons: dict[str, list[int]] = {}
    for missed in made.missed:
        reasons.setdefault(missed.reason, []).append(rows[missed.person])
    lines += [f"**Not replaced: {', '.join(map(str, who))}** ({reason})." for reason, who in reasons.items()]
    if left := sorted({*range(len(loaded.people))} - {*rows}):
        lines.append(f"**Left as they are, by your choice: {', '.join(map(str, left))}.**")
    if not len(loaded.people):
        lines = ["**Nothing was replaced:** nobody was found."]
    return Replaced(made.image, " ".join(lines))


def write(image: Image, path: Path, choices: Choices) -> None:
    """Write a picture that says that it was altered, as those of `dp2bench anonymize` do."""
    with altering(choices.make()):
        write_image(path, image)


def replace_in_video(
    source: Path,
    target: Path,
    choices: Choices,
    *,
    seconds: float,
    progress_of: Callable[[str], Progress],
) -> str:
    """Replace everybody in a video's first seconds; who was left, in sentences.

    Raises:
        VideoError: it cannot be read.

    """
    report = anonymize_video(
        source,
        choices.make_detector(),
        choices.make(),
        target,
        choices.seed,
        audio=False,
        options=VideoOptions(Selection(0.0, seconds or math.inf)),
        name=source.name,
        progress_of=progress_of,
    )
    return said_of_video(report, choices.method, seconds)


def said_of_video(report: Mapping[str, Any], method: str, seconds: float) -> str:
    """A video's report in sentences."""
    lines = [
        f"**{report['tracks']} people in {report['frames']} frames**, replaced by {method}. The sound is left out."
        + (f" At most the first {seconds:g} seconds were taken." if seconds else "")
    ]
    if report["missed"]:
        reasons = ", ".join(f"{why} ({n} times)" for why, n in report["missed_reasons"].items())
        frames = len(report["frames_with_missed"])
        lines.append(f"**In {frames} frames somebody was not replaced:** {reasons}.")
    if empty := len(report["frames_without_people"]):
        lines.append(f"**In {empty} frames nobody was found:** they are as they were.")
    for why, frames in report["blanked_frames"].items():
        lines.append(f"{len(frames)} frames are grey: {why}.")
    return " ".join(lines)
