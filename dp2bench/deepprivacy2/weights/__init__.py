"""Where trained weights are, what they are, and whose: a catalogue, a folder of the user's, and what the package embeds.

A generator's file is safetensors; how its network is built stands in the file's metadata under ``generator`` (JSON), or in a
file of the same name that ends in ``.json``. Nothing here imports torch but `verify_embedded_detector`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from dp2bench.core.contracts import Weights
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.paths import cache_root

Role = Literal["body-cse", "body", "face", "face-keypoints"]
"""What a generator is for: people with a surface, people, faces, faces with keypoints."""
EMBEDDED: Mapping[Role, str] = {
    "body-cse": "mini-body-cse",
    "body": "mini-body",
    "face": "mini-face",
    "face-keypoints": "mini-face-keypoints",
}
"""Names of the embedded weights of each role, where the package has them."""
OFFICIAL: Mapping[Role, str] = {
    "body-cse": "fdh_styleganL",
    "body": "fdh_styleganL_nocse",
    "face": "fdf256_stylegan",
    "face-keypoints": "deep_privacy1",
}


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

    """

    name: str
    kind: Literal["generator", "detector"]
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

    def described(self) -> dict[str, Any]:
        """What a converted file says of itself (`GeneratorFile`)."""
        return {
            "network": self.network,
            "templates": list(self.templates),
            "face_crop": self.face_crop,
            "licence": self.licence,
            "trained_on": self.trained_on,
        }


@dataclass(frozen=True)
class GeneratorFile:
    """A generator's weights.

    Attributes:
        path: of the safetensors.
        name: how messages and provenance call it.
        config: constructor arguments of the network.
        templates: surface templates it was trained with.
        face_crop: definition of the crop it was trained with, if it is for faces.
        licence: of the weights.
        trained_on: data.
        psi: how much of a person's own style is best left (truncation): 0, as published, or 1 for a generator that learned by
            reconstruction, whose fillings truncation makes worse and more alike (docs/model-cards.md).

    """

    path: Path
    name: str
    config: dict[str, Any] = field(hash=False)
    templates: tuple[str, ...] = ()
    face_crop: str = "fdf256"
    licence: str = "unknown"
    trained_on: str = "unknown"
    psi: float = 0.0

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of the crops, in pixels."""
        height, width = self.config.get("imsize", (128, 128))  # DeepPrivacy1 takes no arguments
        return int(height), int(width)

    @property
    def role(self) -> Role:
        """What it can fill, as far as the network shows: a square crop is a face."""
        if not self.config:
            return "face-keypoints"
        if self.config.get("input_cse"):
            return "body-cse"
        return "face" if self.crop_size[0] == self.crop_size[1] else "body"

    def weights(self) -> Weights:
        """For a method's meta."""
        return Weights(self.name, sha256(self.path), self.licence)


@cache
def catalogue() -> Mapping[str, Entry]:
    """Published weights by name."""
    raw: dict[str, dict[str, Any]] = json.loads(
        resources.files(__name__).joinpath("catalogue.json").read_text(encoding="utf-8")
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


def embedded() -> dict[str, Path]:
    """Generators that came with the package, by name."""
    here = Path(__file__).parent
    return {path.stem: path for path in sorted(here.glob("*.safetensors"))}


EMBEDDED_DETECTOR = Path(__file__).parents[1] / "detection" / "embedded.safetensors"
"""Both networks of the embedded detector; `dp2bench weights list` calls it ``embedded``."""


def embedded_detector() -> dict[str, Any]:
    """What the file of the embedded detector, which came with the package, says of itself."""
    from safetensors import safe_open

    with safe_open(EMBEDDED_DETECTOR, framework="numpy") as file:
        told: dict[str, Any] = json.loads(file.metadata()["detector"])
    return told


def resolve(weights: str | Path | None, role: Role) -> Path:
    """A generator's file: an explicit path; a name of the catalogue, in the user's folder; or what the package embeds.

    Args:
        weights: a path, a name of the catalogue, ``official`` for the published weights of this role, the name of embedded
            weights or ``mini`` for those of this role; None takes the embedded ones.
        role: what it is for.

    Raises:
        MissingWeightsError: published ones that are not there. Dp2benchError: no such weights.

    """
    own = embedded()
    wanted = (
        OFFICIAL[role] if weights == "official" else EMBEDDED[role] if weights in {None, "mini"} else weights
    )
    if str(wanted) in own:
        return own[str(wanted)]
    if str(wanted) in names("generator"):
        found = installed(str(wanted))
        if found is not None:
            return found
        raise MissingWeightsError([str(wanted)], f"The generator for {role!r}")
    if weights in {None, "mini"}:
        raise Dp2benchError(
            f"This dp2bench embeds no weights for {role!r}.",
            f"Take the published ones: {how_to_get(OFFICIAL[role])} Then set weights=official. Or name a file of yours.",
        )
    path = Path(wanted).expanduser()
    if not path.is_file():
        raise Dp2benchError(
            f"There is no file {path} with weights for {role!r}.",
            f"Give a path, `official`, or one of: {', '.join((*own, *names('generator')))}.",
        )
    return path


def how_to_get(*wanted: str) -> str:
    """The commands that put files of the catalogue into the user's folder."""
    imports = " and ".join(f"`dp2bench weights import FILE --as {name}`" for name in wanted)
    return (
        f"Run `dp2bench weights fetch {' '.join(wanted)}`; or download elsewhere (`dp2bench weights list --places` has the addresses) "
        f"and run {imports}."
    )


def names(kind: Literal["generator", "detector"]) -> list[str]:
    """The catalogue's names of one kind."""
    return [name for name, known in catalogue().items() if known.kind == kind]


def describe(path: Path) -> GeneratorFile:
    """What a generator's file says of itself; reads the header only.

    Raises:
        Dp2benchError: no safetensors, truncated, or without the network's configuration.

    """
    if path.suffix != ".safetensors":
        raise Dp2benchError(
            f"{path} is not a generator in safetensors.",
            f"Convert it once: `dp2bench weights import {path} --as NAME`, with a NAME of `dp2bench weights list`.",
        )
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise Dp2benchError(
            f"{path} cannot be read as safetensors: {error}",
            "It is truncated or something else: download or export it again.",
        ) from error
    beside = path.with_suffix(".json")
    try:
        told = json.loads(metadata["generator"] if "generator" in metadata else beside.read_text("utf-8"))
        config = told.get("config")
        if config is None:
            from dp2bench.deepprivacy2.generators import catalogue as networks

            config = networks()[told["network"]]
        return GeneratorFile(
            path=path,
            name=path.stem,
            config=dict(config),
            templates=tuple(told.get("templates", ())),
            face_crop=told.get("face_crop", "fdf256"),
            licence=told.get("licence", "unknown"),
            trained_on=told.get("trained_on", "unknown"),
            psi=1.0 if told.get("recipe", {}).get("reconstruction") else 0.0,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Dp2benchError(
            f"{path} does not say how its network is built.",
            f'Put {{"config": {{...}}}} into {beside.name} beside it, or convert an official checkpoint with `dp2bench weights import`.',
        ) from error


def sha256(path: Path) -> str:
    """Of a file's content; remembered while size and time of change stay the same."""
    status = path.stat()
    return _digest(str(path.resolve()), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: str, size: int, changed: int) -> str:
    with Path(path).open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _slow(file)
        )


def _slow(file: Any, kind: str = "sha256") -> str:
    digest = hashlib.new(kind, usedforsecurity=kind != "md5")
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def md5(path: Path) -> str:
    """Of a file's content: what some publishers give; tells damage, not tampering."""
    with path.open("rb") as file:
        return _slow(file, "md5")


def record(path: Path) -> Path:
    """The file that keeps a weights file's sha256 since it was fetched or imported, as ``sha256sum -c`` reads it."""
    return path.with_name(path.name + ".sha256")


def write_record(path: Path) -> None:
    """Keep a file's sha256 beside it."""
    record(path).write_text(f"{sha256(path)}  {path.name}\n", encoding="utf-8")


def verify(path: Path, known: Entry | None = None) -> str:
    """One line that says what a file was checked against.

    Raises:
        Dp2benchError: it differs from its record or from the published digest.

    """
    against = ["its record"] if check_record(path) else []
    if known is not None and path.name == known.file:
        check_sha256(path, known)
        check_md5(path, known)
        against += ["the published sha256"] * bool(known.sha256)
        against += ["the digits that are published of its sha256"] * bool(known.sha256_begins)
        against += ["the published MD5"] * bool(known.md5)
    if path.suffix == ".safetensors":
        describe(path)
    return f"matches {' and '.join(against)}" if against else "readable; nothing to compare it with"


def verify_embedded_detector() -> str:
    """One line that says what the embedded detector was checked against.

    Raises:
        Dp2benchError: it is not there, or not the file that dp2bench ships.

    """
    from dp2bench.deepprivacy2.detection.embedded import SHA256

    if not EMBEDDED_DETECTOR.is_file():
        raise Dp2benchError(f"There is no file {EMBEDDED_DETECTOR}.", "Reinstall dp2bench.")
    if sha256(EMBEDDED_DETECTOR) != SHA256:
        raise Dp2benchError(
            f"{EMBEDDED_DETECTOR} is not the file that dp2bench ships: its sha256 differs.",
            "Reinstall dp2bench.",
        )
    return "matches the sha256 of the file that dp2bench ships"


def check_record(path: Path) -> bool:
    """Whether a file has a record of its sha256; what generators and detectors are asked before they are used.

    Raises:
        Dp2benchError: it has changed since it was fetched or imported.

    """
    if not record(path).is_file():
        return False
    expected = record(path).read_text("utf-8").partition(" ")[0]
    if (got := sha256(path)) != expected:
        raise Dp2benchError(
            f"{path} has changed since it was fetched or imported: its sha256 is {got}, its record says {expected}.",
            f"Delete it and {record(path).name}, and fetch or import it again.",
        )
    return True


def check_md5(path: Path, known: Entry) -> None:
    """Raise a Dp2benchError if a published file is not the one its authors name."""
    if known.md5 and (got := md5(path)) != known.md5:
        raise Dp2benchError(
            f"{path} is not the published {known.name}: its MD5 is {got}, published is {known.md5}.",
            "It is damaged, incomplete or another file: download it again.",
        )


def check_sha256(path: Path, known: Entry) -> None:
    """Raise a Dp2benchError if a published file's sha256 is another, as far as its authors give it."""
    published = known.sha256 or known.sha256_begins
    if published and not (got := sha256(path)).startswith(published):
        raise Dp2benchError(
            f"{path} is not the published {known.name}: its sha256 is {got}, published is {published}{'' if known.sha256 else '…'}.",
            "It is damaged, incomplete or another file: download it again.",
        )
