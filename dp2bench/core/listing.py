"""What lies in a folder: pictures, videos, and whatever is neither, so that nothing is left out without a word."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dp2bench.core.errors import DatasetError
from dp2bench.core.images import FORMATS, is_picture_name, looks_like_picture

VIDEO_SUFFIXES = (
    *(
        ".mp4",
        ".m4v",
        ".mov",
        ".qt",
        ".mkv",
        ".webm",
        ".avi",
        ".mpg",
        ".mpeg",
        ".ts",
        ".mts",
        ".m2ts",
        ".wmv",
        ".asf",
    ),
    *(".flv", ".3gp", ".3g2", ".ogv", ".vob", ".mxf", ".divx", ".f4v", ".m2v", ".dv", ".y4m"),
)
"""Names that end so are taken for videos."""

_RAW = (
    *(
        ".3fr",
        ".arw",
        ".cr2",
        ".cr3",
        ".crw",
        ".dcr",
        ".dng",
        ".erf",
        ".gpr",
        ".iiq",
        ".kdc",
        ".mef",
        ".mos",
        ".mrw",
        ".nef",
        ".nrw",
    ),
    *(".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
_NOT_READ = (
    *(
        ".psd",
        ".psb",
        ".xcf",
        ".svg",
        ".svgz",
        ".eps",
        ".ai",
        ".pdf",
        ".jxl",
        ".exr",
        ".hdr",
        ".ico",
        ".icns",
        ".cur",
        ".dds",
    ),
    *(
        ".emf",
        ".wmf",
        ".djvu",
        ".insp",
        ".pict",
        ".pct",
        ".pfm",
        ".qoi",
        ".wdp",
        ".jxr",
        ".hdp",
        ".bpg",
        ".jpm",
        ".mj2",
        ".fits",
        ".dcm",
    ),
)
_ARCHIVES = (
    *(
        ".tar",
        ".tgz",
        ".gz",
        ".bz2",
        ".xz",
        ".zst",
        ".7z",
        ".rar",
        ".cbr",
        ".cb7",
        ".lzh",
        ".cab",
        ".iso",
        ".dmg",
    ),
    *(".sit", ".ace", ".arj"),
)
_DESCRIBES = (".xmp", ".aae", ".dop", ".pp3", ".on1")
"""Names that end so lie beside pictures and say what programs or people wrote about them."""
_VIDEOS_NOT_READ = (".lrv", ".insv", ".braw", ".r3d", ".swf", ".rm", ".rmvb")
_SOUND = (".m4a", ".m4b", ".mp3", ".ogg", ".oga", ".opus", ".aac", ".wav", ".flac", ".wma", ".mka")
_OF_THE_SYSTEM = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    ".ds_store",
    ".directory",
    ".nomedia",
    ".localized",
    "icon\r",
}
_LISTED = 5


@dataclass
class Listing:
    """What `list_files` found. All but ``others`` are sorted by relative path.

    Attributes:
        pictures: files to be read as pictures.
        videos: files to be read as videos.
        left_out: what looks like either and is not read, and links that lead nowhere: a sentence each that names the file.
        linked: links that lead out of the folder and were followed, each with its target.
        others: numbers of files that are neither, by suffix.
        describing: numbers of those of ``others`` that lie beside a picture or video and may tell who is in it, by suffix.

    """

    pictures: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    linked: list[tuple[Path, Path]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    describing: Counter[str] = field(default_factory=Counter)


def list_pictures(folder: str | Path) -> list[Path]:
    """Pictures below a folder, sorted by relative path; hidden files and folders are skipped.

    Raises:
        DatasetError: the folder is missing, is not a folder, or holds no picture.

    """
    found = list_files(folder)
    if not found.pictures:
        raise DatasetError(
            f"The folder {folder} holds no pictures.",
            f"Put pictures there; names that end in {', '.join(FORMATS)} are read.",
        )
    return found.pictures


def list_files(folder: str | Path) -> Listing:
    """Everything below a folder. Links are followed, each place once.

    Raises:
        DatasetError: the folder is missing or is not a folder.

    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DatasetError(f"The folder {folder} {what}.", "Give a folder that holds pictures.")
    found = Listing()
    rest: list[Path] = []
    for path in _files(folder, found):
        _sort_in(path, found, rest)
    _count_rest(rest, found)
    for paths in (found.pictures, found.videos):
        paths.sort(key=lambda path: path.relative_to(folder).as_posix())
    found.left_out.sort()
    found.linked.sort()
    return found


def _files(folder: Path, found: Listing) -> Iterator[Path]:
    """Each file once. Linked folders wait until all others were seen, so that a place has the name that is its own."""
    root = folder.resolve()
    waiting, links = [folder], list[Path]()
    seen: set[tuple[int, int] | str] = set()
    while waiting or links:
        is_link = not waiting
        here = links.pop(0) if is_link else waiting.pop()
        identity = _identity(here)
        if identity in seen:
            found.left_out.append(f"{here} is a link to a folder that was already read.")
            continue
        if identity is None:
            found.left_out.append(f"The folder {here} cannot be read.")
            continue
        seen.add(identity)
        if is_link and not here.resolve().is_relative_to(root):
            found.linked.append((here, here.resolve()))
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            found.left_out.append(f"The folder {here} cannot be read: {error.strerror}.")
            continue
        for entry in entries:
            path = here / entry.name
            if entry.is_symlink() and not path.exists():
                found.left_out.append(f"{path} is a link that leads nowhere.")
            elif entry.is_dir():
                if entry.name.startswith("."):
                    _hidden_folder(path, found)
                elif entry.is_symlink():
                    links.append(path)
                else:
                    waiting.append(path)
            elif entry.is_file():
                if entry.is_symlink() and not path.resolve().is_relative_to(root):
                    found.linked.append((path, path.resolve()))
                yield path
            else:
                found.others["special files"] += 1


def _identity(path: Path) -> tuple[int, int] | str | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return (about.st_dev, about.st_ino) if about.st_ino else str(path.resolve())


def _hidden_folder(path: Path, found: Listing) -> None:
    pictures = sum(
        Path(name).suffix.lower() in FORMATS or Path(name).suffix.lower() in VIDEO_SUFFIXES
        for _, _, names in os.walk(path)
        for name in names
    )
    if pictures:
        found.left_out.append(f"The hidden folder {path} holds {pictures} pictures or videos.")


def _count_rest(rest: list[Path], found: Listing) -> None:
    """Count what is neither picture nor video. ``IMG_1.xml``, ``IMG_1.jpg.json`` and ``IMG_1.jpg.supplemental-metadata.json`` are of IMG_1.jpg."""
    names = {
        (p.parent, name)
        for p in (*found.pictures, *found.videos)
        for name in (p.stem.casefold(), p.name.casefold())
    }
    for path in rest:
        suffix = path.suffix.lower()
        found.others[suffix or "without a suffix"] += 1
        stems = (path.stem.casefold(), path.stem.rpartition(".")[0].casefold())
        if suffix in _DESCRIBES or any((path.parent, stem) in names for stem in stems):
            found.describing[suffix or "without a suffix"] += 1


def _sort_in(path: Path, found: Listing, rest: list[Path]) -> None:
    suffix, name = path.suffix.lower(), path.name
    if name.lower() in _OF_THE_SYSTEM or name.startswith("._"):
        return
    if name.startswith("."):
        if suffix in FORMATS or suffix in VIDEO_SUFFIXES:
            found.left_out.append(f"{path} is hidden.")
    elif is_picture_name(path):
        found.pictures.append(path)
    elif suffix in VIDEO_SUFFIXES and not (suffix == ".ts" and not _looks_like_video(_head(path))):
        found.videos.append(path)
    elif suffix in _RAW:
        found.left_out.append(
            f"{path} is raw data of a camera, which is not read: develop it to JPEG, PNG or TIFF."
        )
    elif suffix in _NOT_READ or suffix in _VIDEOS_NOT_READ:
        found.left_out.append(f"{path}: files that end in {suffix} are not read.")
    elif suffix in _ARCHIVES:
        found.left_out.append(
            f"{path} is an archive, which is not read: unpack it, if there are pictures in it."
        )
    elif suffix in _SOUND:
        rest.append(path)
    elif held := _pictures_in_zip(path, head := _head(path)):
        found.left_out.append(f"{path} holds {held} pictures or videos and is not read: take them out of it.")
    elif looks_like_picture(head):
        found.pictures.append(path)
    elif _looks_like_video(head):
        found.left_out.append(f"{path} is a video by its content: give it the suffix of one, such as .mp4.")
    elif head.startswith(b"%PDF-") or head[128:132] == b"DICM":
        found.left_out.append(
            f"{path} is a {'PDF' if head[:1] == b'%' else 'DICOM file'} by its content, which is not read."
        )
    else:
        rest.append(path)


def _pictures_in_zip(path: Path, head: bytes) -> int:
    """Pictures and videos in a file that is a zip archive, as those of offices and e-books are."""
    if not head.startswith(b"PK\3\4"):
        return 0
    try:
        with zipfile.ZipFile(path) as archive:
            suffixes = [Path(name).suffix.lower() for name in archive.namelist()]
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return 0
    return sum(suffix in FORMATS or suffix in VIDEO_SUFFIXES or suffix in _RAW for suffix in suffixes)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError:
        return b""


def _looks_like_video(head: bytes) -> bool:
    return (
        head[4:8] in {b"ftyp", b"moov", b"mdat"}
        or head.startswith((b"\x1aE\xdf\xa3", b"FLV\x01", b"\0\0\x01\xba", b"0&\xb2u\x8ef\xcf\x11", b"OggS"))
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or (len(head) > 376 and head[0] == head[188] == head[376] == 0x47)
    )


def said_of_others(others: Counter[str]) -> str:
    """``12 (.txt 7, .json 5)``."""
    kinds = ", ".join(f"{suffix} {count}" for suffix, count in others.most_common(_LISTED))
    return f"{others.total()} ({kinds}{', …' if len(others) > _LISTED else ''})"
