"""COCO annotation files, validated: every identifier is cross-checked, and what cannot be resolved is an error that says where.

One reader for the dataset `coco` and the detector `coco-json`. The format is https://cocodataset.org/#format-data; an annotation may
also have ``score``, ``face`` (x, y, width, height, or null), ``surface`` and ``track_id``.
"""

from __future__ import annotations

import base64
import json
import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)

from dp2bench.core.errors import AnnotationError
from dp2bench.core.picture_header import PictureHeader, check_upright
from dp2bench.core.types import Category, People, SurfaceMap, fill_boxes

FORMAT = "https://cocodataset.org/#format-data"
UPRIGHT = {"exif_orientation": "applied"}
"""Under ``info``: boxes and masks are of the pictures as they are seen, not as they are stored."""

PERSON_WORDS = frozenset(
    {
        "person", "persons", "people", "human", "humans", "man", "woman", "men", "women", "boy", "girl", "child", "children", "baby",
        "adult", "pedestrian", "pedestrians", "rider", "riders", "cyclist", "bicyclist", "motorcyclist", "passenger", "player", "worker",
    }
)  # fmt: skip
"""Words in the names of categories, or of their supercategories, that say people; in lower case."""

_FACE = "face"
_FARTHEST = 1e6
_SHOWN = 5
_LONGEST_OUTLINE = 2000
"""Times the sum of the picture's sides: a polygon that is longer is no outline, and would fill the memory."""


def _identifier(value: Any) -> Any:
    """Numbers stay numbers and texts texts: "1" is not 1. A whole float is its number."""
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise ValueError("should be a number or a text")
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError("should be a whole number or a text")
        return int(value)
    return value


def _unless_unknown(value: Any) -> Any:
    """-1 is how the VGG Image Annotator says that it does not know a size."""
    return None if value == -1 else value


def _file_name(value: Any) -> str:
    """Also of letters that are none: names on a disk need not be UTF-8, which pydantic's texts are."""
    if not isinstance(value, str) or not value:
        raise ValueError("should be a name")
    return value


Identifier = Annotated[int | str, BeforeValidator(_identifier)]
Number = Annotated[FiniteFloat, Field(ge=-_FARTHEST, le=_FARTHEST)]
Side = Annotated[int, Field(ge=1, le=_FARTHEST)]
Box = tuple[Number, Number, Number, Number]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class ImageRow(_Row):
    """An entry of ``images``."""

    id: Identifier
    file_name: Annotated[str, PlainValidator(_file_name)]
    width: Annotated[Side | None, BeforeValidator(_unless_unknown)] = None
    height: Annotated[Side | None, BeforeValidator(_unless_unknown)] = None

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W), or None where the file does not say."""
        return None if self.height is None or self.width is None else (self.height, self.width)


class CategoryRow(_Row):
    """An entry of ``categories``."""

    id: Identifier
    name: str
    supercategory: str | None = None


class RunLengths(_Row):
    """A mask as lengths of runs down the columns, as a list or packed to a text."""

    size: tuple[Side, Side]
    counts: list[Annotated[int, Field(ge=0)]] | str


class Surface(_Row):
    """A `SurfaceMap` as JSON: the vertex ids as base64 of zlib of little-endian int32."""

    template: str
    box: tuple[int, int, int, int]
    size: tuple[Annotated[int, Field(ge=0, le=65536)], Annotated[int, Field(ge=0, le=65536)]]
    vertices: str


class AnnotationRow(_Row):
    """An entry of ``annotations``."""

    id: Identifier | None = None
    image_id: Identifier
    category_id: Identifier | None = None
    bbox: Box
    area: Number | None = None
    segmentation: list[list[Number]] | RunLengths | None = None
    keypoints: list[Number] | None = None
    iscrowd: bool | None = False
    score: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = None
    face: Box | None = None
    surface: Surface | None = None
    track_id: Annotated[int, Field(ge=-1, le=2**62)] | None = None

    @property
    def corners(self) -> NDArray[np.float32]:
        """(4,) xyxy; summed in double precision, so that what was written from float32 comes back."""
        return _corners(self.bbox)

    @property
    def polygons(self) -> list[list[float]]:
        """The polygons that have an area; a point or a line between them has none."""
        some = self.segmentation if isinstance(self.segmentation, list) else []
        return [polygon for polygon in some if len(polygon) >= 6]


class _Identified(_Row):
    image_id: Identifier
    category_id: Identifier


class _Identifiers(_Row):
    categories: list[CategoryRow]
    annotations: list[_Identified]


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
            i for i, row in enumerate(rows) if people is None or _identifier(row["category_id"]) in people
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
                    value = _identifier(row[key])
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
        return ", ".join(f"{name!r} (id {_shown(number)})" for number, name in self.categories or ()) or "all"

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
        bare = _loose(name).rpartition("/")[2]
        near = [
            image.file_name for image in self.images if _loose(image.file_name).rpartition("/")[2] == bare
        ]
        if near:
            return f" It lists {', '.join(map(repr, near[:3]))}."
        return f" It lists e.g. {self.images[0].file_name!r}." if self.images else " It lists none."

    def rows(self, image: ImageRow) -> Sequence[AnnotationRow]:
        """The annotations of people in a picture, in the file's order."""
        return self._rows.get(image.id, ())

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
            _check_row(row, size, self._where(image, row))
        if rows and _corner_format(rows, size):
            raise AnnotationError(
                f"{self.path}: the boxes of {image.file_name} reach out of its {size[1]}x{size[0]} pixels, and would fit as x0, y0, x1, y1.",
                "Write `bbox` as x, y, width, height, and clip it to the picture.",
            )

    def people(self, image: ImageRow, size: tuple[int, int]) -> People:
        """The people of a picture of (H, W) pixels, in the file's order.

        Where a mask and its box overlap by less than half, or the mask has not the ``area`` that is stated, both count: nobody knows
        which of them is right.

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
        boxes = np.stack([row.corners for row in rows])
        alone = np.array([row.category_id in self._faces for row in rows])
        given: dict[str, Any] = {"scores": [1.0 if row.score is None else row.score for row in rows]}
        if any(row.segmentation for row in rows):
            given["masks"] = np.stack([self._mask(row, size, self._where(image, row)) for row in rows])
        if any(row.keypoints for row in rows):
            absent = [0.0] * 51
            points = [row.keypoints or absent for row in rows]
            given["keypoints"] = np.array(points, np.float32).reshape(-1, 17, 3)
        if alone.any() or any("face" in row.model_fields_set for row in rows):
            faces = [
                np.full(4, np.nan, np.float32) if row.face is None else _corners(row.face) for row in rows
            ]
            given["faces"] = np.where(alone[:, None], boxes, np.stack(faces))
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

    def _mask(self, row: AnnotationRow, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
        box: NDArray[np.bool_] = fill_boxes(row.corners[None], size)[0]
        if isinstance(row.segmentation, RunLengths):
            mask = _from_run_lengths(row.segmentation, where)
        elif row.polygons:
            mask = _from_polygons(row.polygons, size, where)
        else:
            return box
        return mask if mask.any() and _agree(row, size, where) else mask | box


def people_per_image(path: Path) -> dict[int | str, int]:
    """How many people a file names in each picture, by the picture's id. Reads nothing but identifiers: files of instances are large.

    Raises:
        AnnotationError: the file is broken.

    """
    try:
        content = _Identifiers.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        said = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else error
        raise AnnotationError(
            f"{path} is not a COCO annotation file: {said}.", "Make or copy the file again."
        ) from error
    people = {kind.id for kind in content.categories if _says_people(kind)}
    return Counter(row.image_id for row in content.annotations if row.category_id in people)


class PictureNames:
    """Names of pictures in a file, to be found by a picture's path within a dataset.

    The same name is found first; then one in another normalisation of Unicode or with backslashes; then one in another case or with
    escapes of URLs. Folders that only one of the two has in front do not count. A name that fits several is not found.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = set(names)
        self._levels: list[tuple[Any, dict[str, list[tuple[str, str]]]]] = []
        for level in (_plain_path, _loose):
            by_bare = defaultdict(list)
            for name in self._exact:
                by_bare[level(name).rpartition("/")[2]].append((level(name), name))
            self._levels.append((level, by_bare))

    def find(self, name: str) -> str | None:
        """The name in the file, or None where there is none, or more than one, that fits."""
        if name in self._exact:
            return name
        for level, by_bare in self._levels:
            path = level(name)
            near = by_bare.get(path.rpartition("/")[2], ())
            equal = [there for key, there in near if key == path]
            ends = [
                there
                for key, there in near
                if f"/{key}".endswith(f"/{path}") or f"/{path}".endswith(f"/{key}")
            ]
            for some in (equal, ends):
                if some:
                    return some[0] if len(some) == 1 else None
        return None


def pack_surface(surface: SurfaceMap) -> dict[str, Any]:
    """A surface as JSON; see `Surface`."""
    ids = np.ascontiguousarray(surface.vertices, "<i4")
    packed = base64.b64encode(zlib.compress(ids.tobytes(), 6)).decode()
    return {
        "template": surface.template,
        "box": surface.box.tolist(),
        "size": list(ids.shape),
        "vertices": packed,
    }


def unpack_surface(stored: Surface, where: str) -> SurfaceMap:
    """What `pack_surface` packed; ``where`` is how errors call it."""
    height, width = stored.size
    try:
        # No more than the picture of a declared size can hold is ever unpacked.
        data = zlib.decompressobj().decompress(base64.b64decode(stored.vertices), max(1, 4 * height * width))
        ids = np.frombuffer(data, "<i4").astype(np.int32).reshape(height, width)
        if ids.min(initial=0) < -1:
            raise ValueError("there are vertices below -1")
        box = np.array(stored.box, np.int32)
    except (ValueError, OverflowError, zlib.error) as error:
        raise AnnotationError(
            f"{where} has a surface that cannot be read: {error}.",
            "Delete the key `surface` of the annotation, or make the file anew with `dp2bench detect`.",
        ) from error
    return SurfaceMap(stored.template, box, ids)


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

    try:
        data = json.loads(path.read_bytes(), object_pairs_hook=each_key_once, parse_constant=no_number)
    except (OSError, ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise AnnotationError(
            f"{path} is not a COCO annotation file: {said}.", "Make or copy the file again."
        ) from error
    if not isinstance(data, dict):
        raise _wrong(path, "the file", f"should be an object, and is a {type(data).__name__}")
    return data


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
    return not PERSON_WORDS.isdisjoint(re.split(r"[\W_]+", _plain(f"{kind.name} {kind.supercategory or ''}")))


def _plain_path(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./").lstrip("/")


def _loose(name: str) -> str:
    return _plain_path(unquote(_plain_path(name))).casefold()


def _corners(box: Sequence[float]) -> NDArray[np.float32]:
    x, y, w, h = box
    return np.array([x, y, x + w, y + h], np.float64).astype(np.float32)


def _check_row(row: AnnotationRow, size: tuple[int, int], where: str) -> None:
    x, y, w, h = row.bbox
    if w < 0 or h < 0:
        raise AnnotationError(
            f"{where} has a box of negative size, {_numbers(row.bbox)}.",
            "Write `bbox` as x, y, width, height.",
        )
    if min(x, y) >= 0 and x + w <= 1 and y + h <= 1 and max(size) > 1 and row.bbox != (0, 0, 0, 0):
        raise AnnotationError(
            f"{where} has a box within the first pixel, {_numbers(row.bbox)}: these look like shares of the picture.",
            "Write `bbox` in pixels: multiply by the picture's width and height.",
        )
    if not row.segmentation and row.area is not None and row.area > 1.1 * w * h + 16:
        raise AnnotationError(
            f"{where} has an area of {row.area:g} pixels, more than its box {_numbers(row.bbox)} holds.",
            "Correct `bbox` (x, y, width, height in pixels) or `area`.",
        )
    _check_keypoints(row, where)
    if row.face is not None and not _meet(_corners(row.face), row.corners, 2 + max(w, h) / 2):
        raise AnnotationError(
            f"{where} has a face outside its box.",
            "Correct `face` or `bbox`, both x, y, width, height in pixels.",
        )
    if isinstance(row.segmentation, RunLengths):
        lengths = row.segmentation
        if tuple(lengths.size) != size:
            raise AnnotationError(
                f"{where} has a mask of {lengths.size[1]}x{lengths.size[0]} pixels, and the picture has {size[1]}x{size[0]}.",
                "Use the annotations of these pictures.",
            )
        counts = _counts(lengths, where)
        if int(counts.sum()) != size[0] * size[1]:
            raise AnnotationError(
                f"{where} has run lengths of {int(counts.sum())} pixels in all, and the picture has {size[0] * size[1]}.",
                "Encode the mask again, or delete `segmentation`: the box then counts.",
            )
    elif row.segmentation and any(row.segmentation):
        _check_polygons(row, size, where)
    _agree(row, size, where)


def _check_polygons(row: AnnotationRow, size: tuple[int, int], where: str) -> None:
    assert isinstance(row.segmentation, list)
    remedy = "Draw the polygon again, or delete `segmentation`: the box then counts."
    if any(len(polygon) % 2 for polygon in row.segmentation):
        raise AnnotationError(f"{where} has a polygon with an odd number of coordinates.", remedy)
    if not row.polygons:
        count = max(map(len, row.segmentation)) // 2
        raise AnnotationError(f"{where} has a polygon of {count} point{'s' * (count != 1)}.", remedy)
    for polygon in row.polygons:
        points = np.array(polygon).reshape(-1, 2)
        sides = np.array([size[1], size[0]])
        if (points < -sides).any() or (points > 2 * sides).any():
            raise AnnotationError(
                f"{where} has a polygon far outside the {size[1]}x{size[0]} pixels.", remedy
            )
        if np.abs(np.diff(points, axis=0)).sum() > _LONGEST_OUTLINE * sides.sum():
            raise AnnotationError(f"{where} has a polygon that is no outline: it is too long.", remedy)


def _check_keypoints(row: AnnotationRow, where: str) -> None:
    if not row.keypoints:
        return
    remedy = (
        "Keep COCO's 17 keypoints as x, y, visibility, or delete `keypoints`: mask and box then count alone."
    )
    if len(row.keypoints) != 51:
        n = len(row.keypoints) / 3
        raise AnnotationError(f"{where} has {n:g} keypoints in place of 17.", remedy)
    points = np.array(row.keypoints).reshape(17, 3)
    if (points[:, 2] < 0).any() or (points[:, 2] > 2).any():
        raise AnnotationError(f"{where} has a keypoint whose visibility is not 0, 1 or 2.", remedy)
    known = points[points[:, 2] > 0, :2]
    x0, y0, x1, y1 = row.corners
    slack = 2 + 0.25 * max(x1 - x0, y1 - y0)
    inside = (known >= (x0 - slack, y0 - slack)) & (known <= (x1 + slack, y1 + slack))
    if len(known) >= 3 and not inside.all(1).any():
        raise AnnotationError(
            f"{where} has {len(known)} keypoints, and none is in its box {_numbers(row.bbox)}.",
            "Correct `bbox` (x, y, width, height in pixels) or `keypoints`.",
        )


def _agree(row: AnnotationRow, size: tuple[int, int], where: str) -> bool:
    """Whether box, mask and stated area fit each other, or there is but one of them; an error where box and mask do not meet."""
    extent = _extent(row, size, where)
    if extent is None:
        return True
    x, y, w, h = row.bbox
    as_corners = np.array([x, y, w, h], np.float32)
    box = row.corners
    if not _meet(extent, box):
        raise AnnotationError(
            f"{where} has its box at {_numbers(row.bbox)} and its mask elsewhere.",
            "Correct the one that is wrong (`bbox` is x, y, width, height in pixels), or delete `segmentation`: the box then counts.",
        )
    drawn = _area(row, where)
    if isinstance(row.segmentation, RunLengths) and row.area == drawn:
        return True  # the mask is as its writer meant it: detectors' boxes are of whole people, their masks of what is seen
    iou = _slack_iou(extent, box)
    if iou < 0.5 and w > x and h > y and _slack_iou(extent, as_corners) > 0.9:
        raise AnnotationError(
            f"{where} has a box {_numbers(row.bbox)} that fits its mask as x0, y0, x1, y1 alone.",
            "Write `bbox` as x, y, width, height.",
        )
    # Some write the box's area, which says nothing of the mask.
    stated = None if row.area is None or abs(row.area - w * h) <= 0.01 * w * h + 1 else row.area
    return iou >= 0.5 and (stated is None or abs(stated - drawn) <= 0.25 * max(stated, drawn) + 16)


def _area(row: AnnotationRow, where: str) -> float:
    """Pixels of a mask: of run lengths, or within the outlines of polygons, as the official files state it."""
    if isinstance(row.segmentation, RunLengths):
        return float(_counts(row.segmentation, where)[1::2].sum())
    total = 0.0
    for polygon in row.polygons:
        x, y = np.array(polygon).reshape(-1, 2).T
        total += abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
    return total


def _extent(row: AnnotationRow, size: tuple[int, int], where: str) -> NDArray[np.float32] | None:
    """(4,) xyxy around a mask, or None where there is none or it is empty."""
    if isinstance(row.segmentation, RunLengths):
        bounds = np.cumsum(_counts(row.segmentation, where))
        ends = bounds[1::2]
        starts = bounds[::2][: len(ends)]
        starts, ends = starts[ends > starts], ends[ends > starts]
        if not len(starts):
            return None
        h = size[0]
        first, last = starts // h, (ends - 1) // h
        one = first == last
        top = np.where(one, starts % h, 0).min()
        bottom = np.where(one, (ends - 1) % h + 1, h).max()
        return np.array([first.min(), top, last.max() + 1, bottom], np.float32)
    if not row.polygons:
        return None
    points = np.concatenate([np.array(polygon).reshape(-1, 2) for polygon in row.polygons])
    return np.concatenate((points.min(0), points.max(0))).astype(np.float32)


def _meet(a: NDArray[np.float32], b: NDArray[np.float32], slack: float = 1) -> bool:
    return bool((np.minimum(a[2:], b[2:]) + slack >= np.maximum(a[:2], b[:2])).all())


def _slack_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes, each a pixel larger: boxes of thin people differ by their rounding."""
    a, b = (np.concatenate((box[:2] - 0.5, box[2:] + 0.5)) for box in (a, b))
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    common = float(sides[0] * sides[1])
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - common
    return common / union if union > 0 else 0.0


def _corner_format(rows: Sequence[AnnotationRow], size: tuple[int, int]) -> bool:
    """Whether the boxes of a picture are x0, y0, x1, y1: all would be valid so, and some reach out of it or deny their area otherwise."""
    rows = [row for row in rows if not row.segmentation]
    if not rows:
        return False
    x, y, w, h = np.array([row.bbox for row in rows]).T
    height, width = size
    valid = (w > x) & (h > y) & (w <= width + 2) & (h <= height + 2)
    beyond = (x + w > 1.02 * width + 2) | (y + h > 1.02 * height + 2)
    areas = np.array([np.nan if row.area is None else row.area for row in rows])
    as_sides = np.isclose(areas, w * h, rtol=0.01, atol=1)
    as_corners = np.isclose(areas, (w - x) * (h - y), rtol=0.01, atol=1) & ~as_sides
    return bool(valid.all() and (as_corners.any() or (beyond.any() and not as_sides.any())))


def _counts(lengths: RunLengths, where: str) -> NDArray[np.int64]:
    """The run lengths as numbers. COCO packs each into signed groups of 5 bits, from the third on as a difference to the last but one."""
    if isinstance(lengths.counts, list):
        counts = lengths.counts
    else:
        counts = []
        value = shift = 0
        for letter in lengths.counts:
            code = ord(letter) - 48
            if not 0 <= code < 64 or shift > 30:
                raise _no_run_lengths(where)
            value |= (code & 31) << shift
            shift += 5
            if code & 32:
                continue
            if code & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
        if shift or min(counts, default=0) < 0:
            raise _no_run_lengths(where)
    if max(counts, default=0) > _FARTHEST**2 or len(counts) > 1 << 28:
        raise _no_run_lengths(where)
    return np.array(counts, np.int64)


def _no_run_lengths(where: str) -> AnnotationError:
    return AnnotationError(
        f"{where} has run lengths that cannot be read.",
        "Encode the mask again, or delete `segmentation`: the box then counts.",
    )


def _from_run_lengths(lengths: RunLengths, where: str) -> NDArray[np.bool_]:
    counts = _counts(lengths, where)
    values = np.arange(len(counts)) % 2 == 1
    h, w = lengths.size
    return np.ascontiguousarray(np.repeat(values, counts).reshape(w, h).T)


def _from_polygons(polygons: list[list[float]], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    from pycocotools import mask

    try:
        return np.asarray(mask.decode(mask.merge(mask.frPyObjects(polygons, *size))), np.bool_)
    except Exception as error:
        raise AnnotationError(
            f"{where} has a polygon that cannot be drawn: {error}.",
            "Draw the polygon again, or delete `segmentation`: the box then counts.",
        ) from error


def _numbers(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{v:g}' for v in values)}]"
