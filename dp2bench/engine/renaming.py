"""Folders of tools that rename what they write: ``a_anonymized.jpg`` or ``a.png`` for ``a.jpg``."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.listing import list_pictures

_ENOUGH = 0.5
"""Share of the missing pictures that a guessed pattern must find."""


def by_original_names(clear: Path, anonymized: Path, pattern: str, view: Path) -> Path:
    """A folder in which anonymized pictures have their originals' names: links, or copies where the disk knows none.

    Args:
        clear: the originals.
        anonymized: by another tool; what is no renamed picture is in the view too.
        pattern: name of an anonymized picture, with ``{name}``, ``{stem}`` or ``{suffix}`` of the original, e.g.
            ``{stem}_anonymized{suffix}``.
        view: made anew.

    Raises:
        Dp2benchError: the pattern cannot be used, or fits no picture.

    """
    shutil.rmtree(view, ignore_errors=True)
    taken: set[Path] = set()
    for original in list_pictures(clear):
        name = original.relative_to(clear)
        there = anonymized / name.with_name(_named(pattern, name.name))
        if there.is_file():
            _link(there, view / name)
            taken.add(there)
    if not taken:
        first = list_pictures(clear)[0].relative_to(clear)
        raise DatasetError(
            f"--pattern {pattern} fits no picture: there is no {anonymized / first.with_name(_named(pattern, first.name))}.",
            "Write how the tool named its pictures, e.g. '{stem}_anonymized{suffix}' or '{stem}.png'.",
        )
    for path in sorted(anonymized.rglob("*")):
        target = view / path.relative_to(anonymized)
        if path.is_file() and path not in taken and not target.exists():
            _link(path, target)
    return view


def guessed_pattern(clear: Path, anonymized: Path) -> str | None:
    """The pattern by which another tool seems to have renamed its pictures; None where they have their originals' names or no pattern fits."""
    there = {path.relative_to(anonymized).as_posix() for path in list_pictures(anonymized)}
    originals = [PurePosixPath(path.relative_to(clear).as_posix()) for path in list_pictures(clear)]
    missing = [name for name in originals if str(name) not in there]
    if not missing:
        return None
    first = missing[0]
    for other in sorted(there):
        candidate = PurePosixPath(other)
        if candidate.parent != first.parent or first.stem not in candidate.stem:
            continue
        pattern = candidate.stem.replace(first.stem, "{stem}", 1)
        pattern += "{suffix}" if candidate.suffix == first.suffix else candidate.suffix
        found = sum(str(name.with_name(_named(pattern, name.name))) in there for name in missing)
        if found >= _ENOUGH * len(missing):
            return pattern
    return None


def _named(pattern: str, name: str) -> str:
    path = PurePosixPath(name)
    try:
        named = pattern.format(name=name, stem=path.stem, suffix=path.suffix)
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        raise Dp2benchError(
            f"--pattern {pattern} cannot be used: {error}.",
            "Write {name}, {stem} and {suffix} and no other braces.",
        ) from error
    if named in {"", ".", ".."} or "/" in named:
        raise Dp2benchError(f"--pattern {pattern} gives no name of a file.", "Name a file, without folders.")
    return named


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)
