"""Downloads that go on where they broke off."""

from __future__ import annotations

import hashlib
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from dp2bench.core.errors import Dp2benchError
from dp2bench.weights.catalogue import Entry, folder, installed
from dp2bench.weights.digests import check_md5, check_sha256, write_record
from dp2bench.weights.reading import read_state

Progress = Callable[[int, int | None], None]
"""Called with bytes there and bytes in all, None where the server does not say."""

Install = Callable[[Path, Entry], Path]
"""Makes a downloaded file usable; `install_checkpoint`, or the converter of whoever reads it."""


def no_progress(done: int, total: int | None) -> None:
    """Report to nobody."""


def fetch(known: Entry, install: Install, progress: Progress = no_progress) -> Path:
    """Bring a catalogue's file into the user's folder, from the first of its places that answers.

    Args:
        known: which.
        install: makes the downloaded file usable, and returns where that lies.
        progress: called while downloading.

    Raises:
        Dp2benchError: no place gave the file; the message has every reason.

    """
    there = installed(known.name)
    if there is not None:
        return there
    raw = folder() / known.file
    raw.parent.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    by_hand = raw.is_file()
    if not by_hand:
        for place in known.places:
            try:
                download(place.url, raw, progress)
                check_md5(raw, known)
                check_sha256(raw, known)
                break
            except Dp2benchError as error:
                raw.unlink(missing_ok=True)
                failures.append(f"{place.url}: {error.problem} ({place.reachable})")
    if not raw.is_file():
        raise Dp2benchError(
            f"{known.name} could not be downloaded:\n  " + "\n  ".join(failures),
            f"Run the same command again to go on, or get the file elsewhere and run `dp2bench weights import FILE --as {known.name}`.",
        )
    try:
        return install(raw, known)
    except Dp2benchError:
        if not by_hand:  # what cannot be used must not look as if it were here
            raw.unlink(missing_ok=True)
        raise


def install_checkpoint(raw: Path, known: Entry) -> Path:
    """Check a detector's checkpoint and put it into the user's folder as it is.

    Raises:
        Dp2benchError: it is not the published file, or no checkpoint of arrays.

    """
    target = folder() / known.file
    check_md5(raw, known)
    check_sha256(raw, known)
    read_state(raw)
    if raw.resolve() != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        shutil.copyfile(raw, partial)
        partial.replace(target)
    write_record(target)
    return target


def download(url: str, target: Path, progress: Progress = no_progress, *, timeout: float = 30) -> None:
    """A file over HTTP; what an earlier attempt left in a ``.partial`` file is kept where the server can go on from there.

    Raises:
        Dp2benchError: unreachable, refused, or broken off.

    """
    if not url.startswith(("http://", "https://")):
        raise Dp2benchError(f"{url} is no web address.", "Give one that starts with https://.")
    # Named after the address: what one place sent is not gone on with from another.
    partial = target.with_name(f"{target.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.partial")
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "dp2bench"})  # noqa: S310 - checked above
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310 - checked above
            length = answer.headers.get("Content-Length")
            total = None if length is None else int(length)
            if answer.status == 206:
                span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
                if span is None or int(span[1]) != have:
                    partial.unlink()
                    raise Dp2benchError("the server went on at another place", "Run the same command again.")
                total = None if total is None else total + have
            else:
                have = 0
            with partial.open("ab" if have else "wb") as file:
                while block := answer.read(1 << 18):
                    file.write(block)
                    have += len(block)
                    progress(have, total)
    except urllib.error.HTTPError as error:
        if (
            error.code == 416
        ):  # nothing is left to send: the partial file is longer than, or as long as, the file
            partial.unlink(missing_ok=True)
        raise Dp2benchError(f"HTTP {error.code} {error.reason}", "Try another place.") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Dp2benchError(
            f"{reason or type(error).__name__}", "Check the network, then run it again."
        ) from error
    if total is not None and have < total:
        raise Dp2benchError(
            f"broke off at {have:,} of {total:,} bytes", "Run the same command again to go on."
        )
    partial.replace(target)
