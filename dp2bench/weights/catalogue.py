"""Published weights: what they are, whose, and where they come from; and the user's folder of them. Imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.paths import cache_root

Kind = Literal["generator", "detector", "network"]
"""``network``: what a task trains on from, or measures with."""


class MissingWeightsError(Dp2benchError):
    """Published weights that are not on this machine; the remedy has the commands that bring them.

    Args:
        names: in the catalogue.
        whose: who needs them, as a message begins.
        otherwise: what else helps, as a sentence.

    """

    def __init__(self, names: Sequence[str], whose: str, otherwise: str = "") -> None:
        super().__init__(
            f"{whose} needs trained weights that are not on this machine ({folder()}): {', '.join(names)}.",
            f"{how_to_get(*names)} {otherwise}".strip(),
        )
        self.names = tuple(names)


@dataclass(frozen=True)
class Place:
    """Where a file can be downloaded, and what is known of it being reachable."""

    url: str
    reachable: str


@dataclass(frozen=True)
class Entry:
    """Published weights.

    Attributes:
        name: in the catalogue.
        kind: what it belongs to.
        file: its name in the user's folder.
        use: one line.
        places: official first, then mirrors.
        licence: as far as its publisher states one.
        trained_on: data.
        sha256: of the published file; None where nobody published one, with the reason in ``sha256_missing``.
        sha256_begins: its first digits, where those are all that its authors give.
        md5: of the published file, where that is what its authors give.
        network: a generator's name in the catalogue of networks.
        templates: surface templates that a generator was trained with.
        face_crop: whose definition of the crop a face generator was trained with.
        megabytes: of the published file, as the number of its parameters says.

    """

    name: str
    kind: Kind
    file: str
    use: str
    places: tuple[Place, ...]
    licence: str
    trained_on: str
    sha256: str | None = None
    sha256_missing: str = ""
    sha256_begins: str = ""
    md5: str | None = None
    network: str = ""
    templates: tuple[str, ...] = ()
    face_crop: str = "fdf256"
    megabytes: int | None = None

    def described(self) -> dict[str, Any]:
        """What a converted file says of itself (`GeneratorFile`)."""
        return {
            "network": self.network,
            "templates": list(self.templates),
            "face_crop": self.face_crop,
            "licence": self.licence,
            "trained_on": self.trained_on,
        }


@cache
def catalogue() -> Mapping[str, Entry]:
    """Published weights by name."""
    raw: dict[str, dict[str, Any]] = json.loads(
        resources.files(__package__).joinpath("catalogue.json").read_text(encoding="utf-8")
    )
    made = {}
    for name, given in raw.items():
        places = tuple(Place(**place) for place in given.pop("places"))
        templates = tuple(given.pop("templates", ()))
        made[name] = Entry(name=name, places=places, templates=templates, **given)
    return made


def entry(name: str) -> Entry:
    """The catalogue's entry of a name; a Dp2benchError lists the names otherwise."""
    known = catalogue()
    if name not in known:
        raise Dp2benchError(
            f"There are no weights called {name!r}.", f"The catalogue has: {', '.join(known)}."
        )
    return known[name]


def folder() -> Path:
    """``$DP2BENCH_WEIGHTS``, or ``weights`` in the cache: what `fetch` and `import` put there, and files copied by hand."""
    return Path(os.environ.get("DP2BENCH_WEIGHTS") or cache_root() / "weights")


def installed(name: str) -> Path | None:
    """The file of a catalogue's name in the user's folder, ready for use, or None."""
    known = entry(name)
    path = folder() / (f"{name}.safetensors" if known.kind == "generator" else known.file)
    return path if path.is_file() else None


def find(given: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """Settings with the catalogue's names of networks replaced by their files in the user's folder; all else stays as it is.

    Raises:
        MissingWeightsError: published weights that are not there, all of them.

    """
    known = set(names("network"))
    named = {k: v for k, v in given.items() if isinstance(v, str) and v in known}
    files = {k: installed(v) for k, v in named.items()}
    if missing := [named[k] for k, file in files.items() if file is None]:
        raise MissingWeightsError(list(dict.fromkeys(missing)), whose)
    return {**given, **{k: str(file) for k, file in files.items()}}


def how_to_get(*wanted: str) -> str:
    """The commands that put files of the catalogue into the user's folder."""
    imports = " and ".join(f"`dp2bench weights import FILE --as {name}`" for name in wanted)
    return (
        f"Run `dp2bench weights fetch {' '.join(wanted)}`; or download elsewhere (`dp2bench weights list --places` has the addresses) "
        f"and run {imports}."
    )


def names(kind: Kind) -> list[str]:
    """The catalogue's names of one kind."""
    return [name for name, known in catalogue().items() if known.kind == kind]
