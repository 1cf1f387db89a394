"""COCO annotation files, validated: every identifier is cross-checked, and what cannot be resolved is an error that says where.

One reader for the dataset `coco` and the detector `coco-json`. `coco_schema` says what a file may hold, `coco_geometry` what fits.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from dp2bench.core.coco_geometry import check_row, corner_format, mask_of
from dp2bench.core.coco_schema import (
    AnnotationRow,
    CategoryRow,
    Identifiers,
    ImageRow,
    corners,
    identifier,
    unpack_surface,
)
from dp2bench.core.errors import AnnotationError
from dp2bench.core.picture_header import PictureHeader, check_upright
from dp2bench.core.picture_names import PictureNames, loose_name
from dp2bench.core.types import Category, People

FORMAT = "https://cocodataset.org/#format-data"
UPRIGHT = {"exif_orientation": "applied"}
"""Under ``info``: boxes and masks are of the pictures as they are seen, not as they are stored."""

PERSON_WORDS = frozenset(
    {
        "person", "persons", "people", "human", "humans", "man", "woman", "men", "women", "boy", "girl", "child", "children", "baby",
        "adult", "pedestrian", "pedestrians", "rider", "riders", "cyclist", "bicyclist", "motorcyclist", "passenger", "driver", "player", "worker",
        "male", "female", "kid", "kids", "toddler", "infant", "crowd", "babies", "lady", "ladies", "guy", "teen", "teenager", "adolescent",
        "soldier", "policeman", "policewoman", "officer", "firefighter", "fireman", "nurse", "doctor", "patient", "student", "teacher", "skier",
        "snowboarder", "surfer", "skater", "skateboarder", "swimmer", "runner", "athlete", "goalkeeper", "referee", "spectator", "dancer", "biker",
        "shopper", "customer", "visitor", "commuter", "bystander", "civilian",
    }
)  # fmt: skip
"""Words in the names of categories, or of their supercategories, that say people; in lower case, also with an s."""
NO_PEOPLE = frozenset(
    {
        "vehicle",
        "outdoor",
        "animal",
        "accessory",
        "sports",
        "kitchen",
        "food",
        "furniture",
        "electronic",
        "appliance",
        "indoor",
    }
)
"""COCO's supercategories of things and animals."""

_FACE = "face"
_SHOWN = 5

_IMAGES = TypeAdapter(list[ImageRow])
_CATEGORIES = TypeAdapter(list[CategoryRow])
_ANNOTATIONS = TypeAdapter(list[AnnotationRow])


class CocoAnnotations:
    """The people of one file.

    Args:
        path: the JSON.
        category: the name of the category that is people; where omitted, every category with a word of
            `PERSON_WORDS` in its name or supercategory. A file without ``categories`` holds nothing else.
        score_threshold: annotations with a lower ``score`` are left out.
        crowds: whether a region of several people (``iscrowd``) counts, as one person.

    Attributes:
        images: every picture that the file lists.
        people_named: how many people it names, in whatever picture.
        categories: (id, name) of the categories that were taken for people; None where the file has no categories.
        others: names of the categories that were not, but for those of `NO_PEOPLE`.

    Raises:
        AnnotationError: the file is broken or contradicts itself.

    """

    def __init__(
        self,
        path: Path,
        *,
        category: str | None = None,
        score_threshold: float = 0.0,
        crowds: bool = True,
    ) -> None:
        self.path = path
        data = _read_json(path)
        images: list[ImageRow] = _validated(_IMAGES, data, "images", path)
        self.images = tuple(images)
        self._by_id = _unique(images, lambda image: image.id, "images", "id", path)
        _unique(images, lambda image: image.file_name, "images", "file_name", path)
        self._names = PictureNames(image.file_name for image in images)
        self._by_name = {image.file_name: image for image in images}
        info = data.get("info")
        self._upright = isinstance(info, dict) and all(info.get(k) == v for k, v in UPRIGHT.items())
        people, faces = self._categories(data, category)
        self._faces = faces
        rows = data.get("annotations")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise _wrong(path, "annotations", "should be a list of objects")
        self._check_identifiers(rows, data)
        wanted = [
            i for i, row in enumerate(rows) if people is None or identifier(row["category_id"]) in people
        ]
        found: list[AnnotationRow] = _validated(
            _ANNOTATIONS, {"annotations": [rows[i] for i in wanted]}, "annotations", path, wanted
        )
        self._rows: dict[int | str, list[AnnotationRow]] = defaultdict(list)
        self.people_named = 0
        for row in found:
            if (1.0 if row.score is None else row.score) >= score_threshold and (crowds or not row.iscrowd):
                self._rows[row.image_id].append(row)
                self.people_named += 1

    def _categories(
        self, data: Mapping[str, Any], category: str | None
    ) -> tuple[set[int | str] | None, set[int | str]]:
        """Ids of the categories that are people (None: all are), and of those that are faces."""
        self.categories: tuple[tuple[int | str, str], ...] | None = None
        self.others: tuple[str, ...] = ()
        self._known: set[int | str] | None = None
        if data.get("categories") is None:
            return None, set()
        kinds: list[CategoryRow] = _validated(_CATEGORIES, data, "categories", self.path)
        _unique(kinds, lambda kind: kind.id, "categories", "id", self.path)
        self._known = {kind.id for kind in kinds}
        faces = {kind.id for kind in kinds if _plain(kind.name) == _FACE}
        taken = [k for k in kinds if (_says_people(k) if category is None else k.name == category)]
        # A face may have the supercategory person, and is no body.
        taken = [k for k in taken if k.id not in faces or k.name == category]
        if not taken and not faces:
            names = ", ".join(sorted(k.name for k in kinds)) or "none at all"
            raise AnnotationError(
                f"{self.path} has no category {'of people' if category is None else repr(category)}.",
                f"Pass `category` (-d category=NAME), one of: {names}.",
            )
        self.categories = tuple((k.id, k.name) for k in taken)
        taken_ids = {k.id for k in taken}
        left = [
            k
            for k in kinds
            if k.id not in taken_ids | faces and _plain(k.supercategory or "") not in NO_PEOPLE
        ]
        self.others = tuple(k.name for k in left)
        return taken_ids | faces, faces - taken_ids

    def _check_identifiers(self, rows: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> None:
        """Each annotation must name a picture and a category that the file lists."""
        for i, row in enumerate(rows):
            for key, known, of in (
                ("image_id", self._by_id, "images"),
                ("category_id", self._known, "categories"),
            ):
                if known is None:
                    continue
                try:
                    value = identifier(row[key])
                except KeyError:
                    raise _wrong(self.path, f"annotations[{i}]", f"has no {key}") from None
                except ValueError as error:
                    raise _wrong(
                        self.path, f"annotations[{i}].{key}", f"{error}, and is {row[key]!r}"
                    ) from None
                if value not in known:
                    raise AnnotationError(
                        f"{self.path}: annotations[{i}].{key} is {_shown(value)}, which `{of}` does not list{_alike(value, known)}.",
                        f"Write the same {key.replace('_', ' ')}s in `annotations` and `{of}`; see {FORMAT}.",
                    )

    @property
    def taken(self) -> str:
        """Which categories are people, for a message."""
        if self.categories is None:
            return "all"
        return ", ".join(f"{name!r} (id {_shown(number)})" for number, name in self.categories) or repr(_FACE)

    def by_id(self, number: int | str) -> ImageRow:
        """The entry of a picture by its id."""
        found: ImageRow = self._by_id[number]
        return found

    def find(self, name: str) -> ImageRow | None:
        """The entry of a picture by its path within the dataset; see `PictureNames`."""
        found = self._names.find(name)
        return None if found is None else self._by_name[found]

    def like(self, name: str) -> str:
        """A hint at the names in the file, for an error about one that is not there."""
        bare = loose_name(name).rpartition("/")[2]
        near = [
            image.file_name for image in self.images if loose_name(image.file_name).rpartition("/")[2] == bare
        ]
        if near:
            return f" It lists {', '.join(map(repr, near[:3]))}."
        return f" It lists e.g. {self.images[0].file_name!r}." if self.images else " It lists none."

    def rows(self, image: ImageRow) -> Sequence[AnnotationRow]:
        """The annotations of people in a picture, in the file's order."""
        return self._rows.get(image.id, ())

    def annotated(self) -> list[ImageRow]:
        """The pictures in which the file names somebody."""
        return [self.by_id(number) for number in self._rows]

    def check(self, image: ImageRow, header: PictureHeader | None) -> None:
        """Whether the annotations of a picture fit it and each other; nothing is decoded.

        Raises:
            AnnotationError: names file, picture and annotation.

        """
        rows = self.rows(image)
        if rows:
            check_upright(header, image.file_name, self.path, image.size, declared=self._upright)
        elif header is not None and image.size not in (None, header.upright, (header.height, header.width)):
            check_upright(header, image.file_name, self.path, image.size)
        size = image.size or (None if header is None else header.upright)
        if size is not None:
            self._check_rows(image, rows, size)

    def _check_rows(self, image: ImageRow, rows: Sequence[AnnotationRow], size: tuple[int, int]) -> None:
        for row in rows:
            check_row(row, size, self._where(image, row))
        if rows and corner_format(rows, size):
            raise AnnotationError(
                f"{self.path}: the boxes of {image.file_name} reach out of its {size[1]}x{size[0]} pixels, and would fit as x0, y0, x1, y1.",
                "Write `bbox` as x, y, width, height, and clip it to the picture.",
            )

    def people(self, image: ImageRow, size: tuple[int, int]) -> People:
        """The people of a picture of (H, W) pixels, in the file's order.

        Where the box around a mask is not the stated one, or the mask has not the ``area`` that is stated, mask and box both count: nobody
        knows which of them is right.

        Raises:
            AnnotationError: names file, picture and annotation.

        """
        if image.size not in (None, size):
            stated = image.size or size
            raise AnnotationError(
                f"{self.path} was made for {image.file_name} at {stated[1]}x{stated[0]} pixels, and the picture has {size[1]}x{size[0]}.",
                "Use the annotations of these pictures.",
            )
        rows = self.rows(image)
        if not rows:
            return People.none(size)
        self._check_rows(image, rows, size)
        boxes = np.array([row.corners for row in rows], np.float64).astype(np.float32)
        alone = np.array([row.category_id in self._faces for row in rows])
        given: dict[str, Any] = {"scores": [1.0 if row.score is None else row.score for row in rows]}
        if any(row.segmentation for row in rows):
            given["masks"] = np.stack([mask_of(row, size, self._where(image, row)) for row in rows])
        if any(row.keypoints for row in rows):
            absent = [0.0] * 51
            points = [row.keypoints or absent for row in rows]
            given["keypoints"] = np.array(points, np.float32).reshape(-1, 17, 3)
        if alone.any() or any("face" in row.model_fields_set for row in rows):
            absent_face = (np.nan,) * 4
            faces = [absent_face if row.face is None else corners(row.face) for row in rows]
            given["faces"] = np.where(alone[:, None], boxes, np.array(faces, np.float64).astype(np.float32))
        if any(row.track_id is not None for row in rows):
            given["track_ids"] = np.array([-1 if r.track_id is None else r.track_id for r in rows], np.int64)
        surfaces = [
            None if row.surface is None else unpack_surface(row.surface, self._where(image, row))
            for row in rows
        ]
        kinds = [Category.PERSON if s is None else Category.PERSON_WITH_SURFACE for s in surfaces]
        categories = np.where(alone, np.int8(Category.FACE), np.array(kinds, np.int8))
        return People.of(boxes, surfaces=surfaces, categories=categories, image_size=size, **given)

    def _where(self, image: ImageRow, row: AnnotationRow) -> str:
        number = "" if row.id is None else f" (id {_shown(row.id)})"
        return f"{self.path}: an annotation{number} of {image.file_name}"


def people_per_image(path: Path) -> dict[int | str, int]:
    """How many people a file names in each picture, by the picture's id. Reads nothing but identifiers: files of instances are large.

    Raises:
        AnnotationError: the file is broken.

    """
    try:
        content = Identifiers.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        said = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else error
        raise AnnotationError(
            f"{path} is not a COCO annotation file: {said}.", "Make or copy the file again."
        ) from error
    people = {kind.id for kind in content.categories if _says_people(kind)}
    return Counter(row.image_id for row in content.annotations if row.category_id in people)


def _read_json(path: Path) -> dict[str, Any]:
    def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(
                f"the key {next(k for k in keys if keys.count(k) > 1)!r} is there twice in one object"
            )
        return out

    def no_number(text: str) -> float:
        raise ValueError(f"{text} is no number")

    content = b""
    try:
        content = path.read_bytes()
        data = json.loads(content, object_pairs_hook=each_key_once, parse_constant=no_number)
    except (OSError, ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise AnnotationError(
            f"{path} is not a COCO annotation file: {said}.", _remedy(content, error)
        ) from error
    if not isinstance(data, dict):
        raise _wrong(
            path,
            "the file",
            f"should be an object, and is a {type(data).__name__}; a list alone is of another format, or detections without pictures",
        )
    return data


def _remedy(content: bytes, error: Exception) -> str:
    """What to do about a file that is no JSON."""
    if content.startswith((b"\x1f\x8b", b"PK\3\4", b"BZh", b"\xfd7zXZ")):
        return "It is compressed: unpack it first, and give the JSON in it."
    if content.startswith(b"\x80"):
        return "It is a pickle of Python, which is never opened: export it as JSON."
    if isinstance(error, UnicodeDecodeError):
        return "Save it as UTF-8."
    lines = content.splitlines()
    if str(error).startswith("Extra data") and len(lines) > 1 and lines[1].lstrip().startswith(b"{"):
        return "It holds one JSON a line: export it as COCO, one object with `images`, `annotations` and `categories`."
    return "Make or copy the file again."


def _validated(
    adapter: TypeAdapter[Any],
    data: Mapping[str, Any],
    key: str,
    path: Path,
    numbers: Sequence[int] | None = None,
) -> Any:
    """The rows under a key; ``numbers`` are their places in the file where some were left out."""
    if key not in data:
        raise _wrong(path, "the file", f"has no {key}")
    try:
        return adapter.validate_python(data[key])
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_context=False)[:_SHOWN]:
            place, *rest = problem["loc"] or ("",)
            if numbers is not None and isinstance(place, int):
                place = numbers[place]
            inner = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in rest if "[" not in str(p))
            said = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{key}[{place}]{inner}: {said} (it is {_shown(problem['input'])})")
        raise AnnotationError(
            f"{path} is not a COCO annotation file: {'; '.join(lines)}.",
            f"It needs `images` with id and file_name, and `annotations` with image_id and bbox; see {FORMAT}.",
        ) from error


def _unique(rows: Sequence[Any], key: Any, of: str, name: str, path: Path) -> dict[Any, Any]:
    out: dict[Any, Any] = {}
    for row in rows:
        if key(row) in out:
            raise AnnotationError(
                f"{path}: `{of}` lists the {name} {_shown(key(row))} more than once.",
                "Keep one of the entries, and the annotations of all under it.",
            )
        out[key(row)] = row
    return out


def _wrong(path: Path, what: str, said: str) -> AnnotationError:
    return AnnotationError(
        f"{path} is not a COCO annotation file: {what} {said}.",
        f"It needs `images` with id and file_name, and `annotations` with image_id and bbox; see {FORMAT}.",
    )


def _shown(value: Any) -> str:
    """A value for a message: texts in quotes, long ones cut."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _alike(value: int | str, known: Iterable[int | str]) -> str:
    """A word where only the type differs."""
    other = next((k for k in known if type(k) is not type(value) and str(k) == str(value).strip()), None)
    if other is None:
        return ""
    kinds = ("a text", "a number") if isinstance(value, str) else ("a number", "a text")
    return f": it is {kinds[0]} here and {kinds[1]} there"


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _says_people(kind: CategoryRow) -> bool:
    words = re.split(r"[\W_]+", _plain(f"{kind.name} {kind.supercategory or ''}"))
    return not PERSON_WORDS.isdisjoint({*words, *(word.removesuffix("s") for word in words)})
