"""What lies in a folder: pictures, videos, and whatever is neither, so that nothing is left out without a word."""

from __future__ import annotations

import os
import zipfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from dp2bench.core.errors import DatasetError
from dp2bench.core.images import FORMATS, looks_like_picture
from dp2bench.core.lazy import Lazy

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


class Paths(Lazy[Path]):
    """Paths below a folder, held as the bytes of their names: a million `Path` objects take more than half a gigabyte.

    Args:
        root: the folder.
        names: relative to it, with slashes.

    """

    def __init__(self, root: Path, names: Iterable[str] = ()) -> None:
        self.root = root
        self._bytes, self._ends = bytearray(), array("Q", [0])
        super().__init__(0, lambda k: root / self._name(self._ends[k], self._ends[k + 1]))
        for name in names:
            self.append(name)

    def append(self, name: str) -> None:
        """Add one at the end."""
        self._bytes += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))
        self._length += 1

    def _name(self, start: int, end: int) -> str:
        return self._bytes[start:end].decode("utf-8", "surrogatepass")

    def names(self) -> Iterator[str]:
        """The names, in order."""
        return map(self._name, self._ends, islice(self._ends, 1, None))


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

    pictures: Paths = field(default_factory=lambda: Paths(Path()))
    videos: Paths = field(default_factory=lambda: Paths(Path()))
    left_out: list[str] = field(default_factory=list)
    linked: list[tuple[Path, Path]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    describing: Counter[str] = field(default_factory=Counter)


def list_pictures(folder: str | Path) -> Sequence[Path]:
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
    found = Listing(Paths(folder), Paths(folder))
    rest: list[str] = []
    walk = _Walk(folder, found)
    for name in walk.files():
        base = name[name.rfind("/") + 1 :]
        suffix = _suffix(base)
        if suffix in FORMATS and not base.startswith("."):
            found.pictures.append(name)
        else:
            _sort_in(folder / name, name, suffix, found, rest)
    if rest:
        _count_rest(rest, found)
    if walk.links:
        found.pictures, found.videos = (
            Paths(folder, sorted(paths.names())) for paths in (found.pictures, found.videos)
        )
    found.left_out.sort()
    found.linked.sort()
    return found


def _suffix(base: str) -> str:
    """As `Path.suffix`, in lower case."""
    dot = base.rfind(".")
    return base[dot:].lower() if 0 < dot < len(base) - 1 else ""


class _Walk:
    """The name of each file below a folder once, in order, except that linked folders wait until all others were seen: a place has the
    name that is its own.
    """

    def __init__(self, folder: Path, found: Listing) -> None:
        self.folder, self.root, self.found = folder, folder.resolve(), found
        self.links: list[str] = []
        self._seen: set[tuple[int, int] | str] = set()

    def files(self) -> Iterator[str]:
        """All of them."""
        yield from self._below("")
        for link in self.links:  # which grows
            yield from self._below(f"{link}/", is_link=True)

    def _below(self, start: str, *, is_link: bool = False) -> Iterator[str]:
        stack = [self._entries(start, is_link=is_link)]  # what is still to come, the next last
        while stack:
            if not stack[-1]:
                stack.pop()
            elif (name := stack[-1].pop()).endswith("/"):
                stack.append(self._entries(name))
            else:
                yield name

    def _entries(self, name: str, *, is_link: bool = False) -> list[str]:
        """What lies in a folder, sorted backwards. A folder's name ends in a slash, by which it is sorted as what is in it."""
        here, found = self.folder / name, self.found
        identity = _identity(here)
        if identity in self._seen:
            found.left_out.append(f"{here} is a link to a folder that was already read.")
            return []
        if identity is None:
            found.left_out.append(f"The folder {here} cannot be read.")
            return []
        self._seen.add(identity)
        if is_link:
            self._note_link(here)
        names: list[str] = []
        linked: list[str] = []
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    path = f"{name}{entry.name}"
                    if entry.is_file(follow_symlinks=False):
                        names.append(path)
                    elif entry.is_symlink() and not Path(entry.path).exists():
                        found.left_out.append(f"{self.folder / path} is a link that leads nowhere.")
                    elif entry.is_dir():
                        if entry.name.startswith("."):
                            _hidden_folder(self.folder / path, found)
                        elif entry.is_symlink():
                            linked.append(path)
                        else:
                            names.append(f"{path}/")
                    elif entry.is_file():
                        self._note_link(self.folder / path)
                        names.append(path)
                    else:
                        found.others["special files"] += 1
        except OSError as error:
            found.left_out.append(f"The folder {here} cannot be read: {error.strerror}.")
            return []
        self.links += sorted(linked)
        names.sort(reverse=True)
        return names

    def _note_link(self, path: Path) -> None:
        place = path.resolve()
        if not place.is_relative_to(self.root):
            self.found.linked.append((path, place))


def _identity(path: Path) -> tuple[int, int] | str | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return (about.st_dev, about.st_ino) if about.st_ino else str(path.resolve())


def _hidden_folder(path: Path, found: Listing) -> None:
    pictures = sum(
        _suffix(name) in FORMATS or _suffix(name) in VIDEO_SUFFIXES
        for _, _, names in os.walk(path)
        for name in names
    )
    if pictures:
        found.left_out.append(f"The hidden folder {path} holds {pictures} pictures or videos.")


def _count_rest(rest: list[str], found: Listing) -> None:
    """Count what is neither picture nor video. ``IMG_1.xml``, ``IMG_1.jpg.json`` and ``IMG_1.jpg.supplemental-metadata.json`` are of IMG_1.jpg."""
    described: dict[str, set[tuple[str, str]]] = {}
    for name in rest:
        folder, stem, _ = _split(name)
        described[name] = {(folder, stem), (folder, stem.rpartition(".")[0])}
    wanted = set[tuple[str, str]]().union(*described.values())
    there = {
        (folder, key)
        for paths in (found.pictures, found.videos)
        for folder, *keys in map(_split, paths.names())
        for key in keys
        if (folder, key) in wanted
    }
    for name in rest:
        suffix = _suffix(name[name.rfind("/") + 1 :])
        found.others[suffix or "without a suffix"] += 1
        if suffix in _DESCRIBES or described[name] & there:
            found.describing[suffix or "without a suffix"] += 1


def _split(name: str) -> tuple[str, str, str]:
    """Folder, and what a file is called without its suffix and with it, in no case."""
    folder, _, base = name.rpartition("/")
    suffix = _suffix(base)
    return folder, base[: len(base) - len(suffix)].casefold(), base.casefold()


def _sort_in(path: Path, name: str, suffix: str, found: Listing, rest: list[str]) -> None:
    """Sort in a file whose name is not a picture's."""
    base = path.name
    if base.lower() in _OF_THE_SYSTEM or base.startswith("._"):
        return
    if base.startswith("."):
        if suffix in FORMATS or suffix in VIDEO_SUFFIXES:
            found.left_out.append(f"{path} is hidden.")
    elif suffix in VIDEO_SUFFIXES and not (suffix == ".ts" and not _looks_like_video(_head(path))):
        found.videos.append(name)
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
        rest.append(name)
    elif held := _pictures_in_zip(path, head := _head(path)):
        found.left_out.append(f"{path} holds {held} pictures or videos and is not read: take them out of it.")
    elif looks_like_picture(head):
        found.pictures.append(name)
    elif _looks_like_video(head):
        found.left_out.append(f"{path} is a video by its content: give it the suffix of one, such as .mp4.")
    elif head.startswith(b"%PDF-") or head[128:132] == b"DICM":
        found.left_out.append(
            f"{path} is a {'PDF' if head[:1] == b'%' else 'DICOM file'} by its content, which is not read."
        )
    else:
        rest.append(name)


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
