"""What several commands take from the command line in the same way."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dp2bench.pipelines.workers import Component


def key_values(option: str, pairs: Sequence[str] | None) -> dict[str, Any]:
    """``["a=1", "b=x"]`` as ``{"a": 1, "b": "x"}``; values are read as YAML."""
    if not pairs:
        return {}
    import yaml

    from dp2bench.core.errors import Dp2benchError
    from dp2bench.core.yaml_model import load

    out: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise Dp2benchError(
                f"{option} {pair!r} is not of the form key=value.", "Write e.g. score_threshold=0.3."
            )
        try:
            out[key] = load(value)[1]
        except yaml.YAMLError as error:
            raise Dp2benchError(
                f"The value in {option} {pair!r} cannot be read: {' '.join(str(error).split())}.",
                "Put it in quotes.",
            ) from error
    return out


def secret(text: str) -> str:
    """A key as it is, or the first line of the file that ``@FILE`` names, so that it need not stand on the command line."""
    from dp2bench.core.errors import Dp2benchError

    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).expanduser().read_text("utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Dp2benchError(
            f"The key cannot be read from {text[1:]}: {error}.", "Give the path of a text file after the @."
        ) from error


def saved_detections(path: Path, arguments: Mapping[str, Any]) -> Component:
    """The detector that replays a COCO JSON or a folder of PNG masks; ``arguments`` are its further settings."""
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.pipelines.workers import Component

    if not path.exists():
        raise Dp2benchError(
            f"There are no detections at {path}.", "Make them with `dp2bench detect IN --out FILE.json`."
        )
    return Component("detectors", "png-masks" if path.is_dir() else "coco-json", {**arguments, "path": path})


def dilated(detector: Component, by: str) -> Component:
    """The detector with dilated masks, for --mask-dilation."""
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.pipelines.workers import Component

    try:
        share: float | str = by if by == "box" else float(by)
    except ValueError:
        share = -1.0
    if isinstance(share, float) and not 0 <= share <= 1:
        raise Dp2benchError(f"--mask-dilation {by} is no share from 0 to 1.", "Write e.g. 0.1, or box.")
    return Component(
        "detectors", "dilated", {"detector": detector.name, "arguments": detector.arguments, "by": share}
    )


def careful_argument(detector: str, *, careful: bool) -> dict[str, Any]:
    """The detector's argument for --careful, if that is asked for; a Dp2benchError where the detector has no such mode."""
    from dp2bench.core import registry
    from dp2bench.core.errors import Dp2benchError

    if not careful:
        return {}
    if "careful" not in inspect.signature(registry.load("detectors", detector)).parameters:
        raise Dp2benchError(
            f"The detector {detector!r} has no careful mode.", "Use --detector photo, or leave --careful out."
        )
    return {"careful": True}


def check_paths(source: Path, target: Path) -> None:
    """Raises Dp2benchError where reading the one and writing the other would go wrong."""
    from dp2bench.core.errors import Dp2benchError

    if not source.exists():
        raise Dp2benchError(f"{source} is not there.", "Give the path of a picture, a video or a folder.")
    written = target / source.name if source.is_file() and target.is_dir() else target
    if written.resolve() == source.resolve():
        raise Dp2benchError(
            f"OUT would overwrite IN: {written}.", "Choose another OUT; originals are never overwritten."
        )
    if source.is_file() and written.is_dir():
        raise Dp2benchError(f"{written} is a folder, and IN a file of that name.", "Choose another OUT.")
    if written != target and written.exists():
        raise Dp2benchError(
            f"The folder {target} holds a file {source.name} already.",
            f"To overwrite it, write its name out: {written}.",
        )
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise Dp2benchError(
            f"OUT ({target}) lies inside IN ({source}).",
            "Choose an OUT outside, or its pictures would be taken for input the next time.",
        )


def check_preview(source: Path | None, target: Path | None, preview: Path | None) -> None:
    """Raises Dp2benchError where previews, which show people as they are, would lie among originals or among what is anonymized.

    Args:
        source: IN; None where it is not on this machine.
        target: OUT; None where it is not on this machine.
        preview: folder for the previews.

    """
    from dp2bench.core.errors import Dp2benchError

    if preview is None:
        return
    if preview.exists() and not preview.is_dir():
        raise Dp2benchError(f"--preview {preview} is no folder.", "Give a folder for the previews.")
    place = preview.resolve()
    for name, given in (("IN", source), ("OUT", target)):
        if given is None:
            continue
        path = given.resolve()
        if path.is_dir() or (name == "OUT" and not path.suffix):
            apart = not place.is_relative_to(path) and not path.is_relative_to(place)
        else:
            apart = place not in (path, path.parent)
        if not apart:
            raise Dp2benchError(
                f"--preview {preview} and {name} ({path}) overlap: previews show people as they are, and could "
                "overwrite what is there.",
                "Choose a folder of their own, such as look/ beside OUT.",
            )
