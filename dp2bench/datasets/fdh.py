"""FDH, Flickr Diverse Humans: crops of 288 x 160 pixels around one person each, in tar files (Hukkelås & Lindseth, WACV 2023).

A sample ``KEY`` of ``train/out-000000.tar`` or ``val/...`` has the members

- ``image.png``: RGB;
- ``mask.png``: one bit, 1 where the picture is known, 0 in the hole;
- ``maskrcnn_mask.png``: one bit, the same before widening: 0 on the person;
- ``vertices.npy``: (288, 160) vertex ids, 0 where none;
- ``E_mask.png``: one bit, 1 where the vertex id means something;
- ``keypoints.npy``: (17, 3) x, y in 0..1, and above 0 where the point is known.

The release without embeddings lacks the two of the surface.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from dp2bench.core.contracts import Dataset, DatasetMeta
from dp2bench.core.errors import AnnotationError, DatasetError
from dp2bench.core.files import write_bytes
from dp2bench.core.images import decode_image
from dp2bench.core.picture_header import check_upright, read_header
from dp2bench.core.types import Image, People, Sample, SampleId, SurfaceMap
from dp2bench.datasets.crops import Crop, CropDataset, Crops, crops_folder, png, relative_keypoints
from dp2bench.datasets.shards import Archives, Shards, empty_folder, npy

HEIGHT, WIDTH = 288, 160
SPLITS = ("train", "val")
TEMPLATE_FILE = "template.txt"
"""Beside the splits: the name of the surface template; the release, which has no such file, numbers SMPL's vertices."""
_MOST_VERTICES = 1 << 20
_FARTHEST = 1e6
_GET_IT = "See https://github.com/hukkelas/FDH for the download; give the folder that holds train and val, each with out-000000.tar, ..."


class FDH(CropDataset):
    """FDH in its official layout.

    Args:
        root: the folder that holds ``train`` and ``val``, or one that holds ``fdh``.
        template: whose vertices ``vertices.npy`` numbers; by default what ``template.txt`` says, else ``smpl-27554``.
        keypoints: folder of the refined keypoints, fdh_keypoints_train*.json and fdh_keypoints_val*.json, which take the place of
            ``keypoints.npy``: by key 17 points, x and y in 0..1, and above 0 where known.

    """

    layout: ClassVar[str] = "fdh"
    needs_root: ClassVar[bool] = True

    def __init__(self, root: Path, *, template: str | None = None, keypoints: Path | None = None) -> None:
        self.refined_folder = None if keypoints is None else Path(keypoints).expanduser()
        self._refined: dict[str, Mapping[str, Any]] = {}
        self.root = crops_folder(root, self.layout, SPLITS)
        said = self.root / TEMPLATE_FILE
        self.template = template or (said.read_text("utf-8").strip() if said.is_file() else "smpl-27554")
        self.meta = DatasetMeta(
            name="fdh",
            version="1",
            licence="CC-BY, -SA, -NC or -NC-SA 2.0, a picture its own; non-commercial as a whole",
            splits=SPLITS,
            homepage="https://github.com/hukkelas/FDH",
            download="136 GB with embeddings",
            description="1.87 million persons of Flickr pictures, 288 x 160 pixels, with body surface",
        )
        self._shards: dict[str, Shards] = {}

    def shards(self, split: str) -> Shards:
        """The tar files of a split. Raises DatasetError for an unknown split or where there are none."""
        if split not in self.meta.splits:
            raise DatasetError(
                f"{self.meta.name} has no split {split!r}.", f"Choose one of {', '.join(self.meta.splits)}."
            )
        if split not in self._shards:
            shards = Shards(self.root / split)
            if not shards.files:
                raise DatasetError(f"{self.meta.name} has no tar files in {self.root / split}.", _GET_IT)
            self._shards[split] = shards
        return self._shards[split]

    def samples(self, split: str) -> Sequence[Sample]:
        """The crops in the order of the archives; ``path`` is the archive and the crop's name in it."""
        shards = self.shards(split)
        return [Sample(SampleId(key), shards.file(i) / key) for i, key in enumerate(shards.keys)]

    def crops(self, split: str) -> FDHCrops:
        """Everything there is to a split's crops, for training; reads nothing but the archives' headers."""
        return FDHCrops(self.shards(split), self.template, self.refined(split))

    def refined(self, split: str) -> Mapping[str, Any] | None:
        """The refined keypoints of a split by key; None where none were given.

        Raises:
            DatasetError: there is no such file, or it cannot be read.

        """
        if self.refined_folder is None:
            return None
        if split not in self._refined:
            found = sorted(self.refined_folder.glob(f"fdh_keypoints_{split}*.json"))
            if len(found) != 1:
                raise DatasetError(
                    f"{self.refined_folder} holds {len(found)} files fdh_keypoints_{split}*.json.",
                    "Give the folder with the published fdh_keypoints_train-2cff11f69a.json and fdh_keypoints_val-050133b34d.json.",
                )
            try:
                read = json.loads(found[0].read_text("utf-8"))
            except (OSError, ValueError) as error:
                raise AnnotationError(f"{found[0]} cannot be read: {error}.", "Get it again.") from error
            if not isinstance(read, dict):
                raise AnnotationError(f"{found[0]} holds no keypoints by key.", "Get it again.")
            self._refined[split] = read
        return self._refined[split]

    def read(self, sample: Sample) -> Image:
        """See `Dataset.read`."""
        shards, place = self._where(sample)
        return decode_image(shards.member(place, "image.png"), str(sample.path))

    def people(self, sample: Sample) -> People:
        """The one person of a crop: mask, keypoints, and surface where the archive has it."""
        shards, place = self._where(sample)
        data = shards.member(place, "image.png")
        check_upright(read_header(data), sample.path, "Its masks")
        crop = FDHCrops(shards, self.template, self.refined(sample.path.parent.parent.name))[place]
        h, w = crop.hole.shape
        person = crop.hole if crop.person is None else crop.person
        if 4 * np.count_nonzero(person) < np.count_nonzero(crop.hole):
            person = crop.hole  # the hole is the person, widened by a few pixels
        ys, xs = np.flatnonzero(person.any(1)), np.flatnonzero(person.any(0))
        box = [xs[0], ys[0], xs[-1] + 1, ys[-1] + 1] if len(ys) else [0, 0, w, h]
        keypoints = crop.keypoints * np.array([w, h, 2], np.float32)
        surface = None
        if crop.vertices is not None:
            surface = SurfaceMap(self.template, np.array([0, 0, w, h], np.int32), crop.vertices)
        return People.of([box], masks=person[None], keypoints=keypoints[None], surfaces=(surface,))

    def _where(self, sample: Sample) -> tuple[Shards, int]:
        split = sample.path.parent.parent.name
        place = self.shards(split).place(sample.id)
        if place is None:
            raise DatasetError(
                f"{self.meta.name} has no crop {sample.id} in {split}.", "Use one of its samples."
            )
        return self.shards(split), place

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image | None]]) -> Dataset:
        """A copy with these pictures: same archives and names, everything but ``image.png`` unchanged.

        Raises:
            DatasetError: a picture is not one of this dataset, or ``out`` holds archives already.

        """
        out = Path(out)
        if out.resolve() == self.root.resolve():
            raise DatasetError(f"{out} is the dataset itself.", "Write the copy to another folder.")
        for split in self.meta.splits:
            empty_folder(out / split)
        with Archives() as archives:
            for split, sample_id, image in images:
                assert image is not None  # `written` names no file
                shards = self.shards(split)
                place = shards.place(sample_id)
                if place is None:
                    raise DatasetError(
                        f"{self.meta.name} has no crop {sample_id} in {split}.",
                        "Hand over ids of its samples.",
                    )
                members = {
                    e: png(image) if e.lower() == "image.png" else m for e, m in shards.members(place).items()
                }
                archives.write(out / split / shards.file(place).name, sample_id, members)
        write_bytes(out / TEMPLATE_FILE, self.template.encode())
        return self.open(out)

    def open(self, root: Path) -> Dataset:
        """The dataset at another root."""
        opened = FDH(root, template=self.template, keypoints=self.refined_folder)
        opened.meta = self.meta
        return opened

    def verify(self) -> None:
        """Index every archive and read the first and the last crop of each.

        Raises:
            DatasetError: says what is missing or broken and where to get it.

        """
        for split in self.meta.splits:
            shards, crops = self.shards(split), self.crops(split)
            for i in range(len(shards)):
                crops.check_members(i)
            files = [shards.file(i) for i in range(len(shards))]
            for i in range(len(shards)):
                if i in {0, len(shards) - 1} or files[i] != files[i - 1] or files[i] != files[i + 1]:
                    crops[i]

    def fingerprint(self) -> str:
        """sha256 over version, names and pictures of every crop; archives of other members or cuts count as the same."""
        digest = hashlib.sha256(self.meta.version.encode())
        for split in self.meta.splits:
            shards = self.shards(split)
            for i, key in enumerate(shards.keys):
                digest.update(f"{split}/{key}\0".encode())
                digest.update(hashlib.sha256(shards.member(i, "image.png")).digest())
        return digest.hexdigest()


class FDHCrops(Crops):
    """The crops of a split's archives."""

    def __init__(self, shards: Shards, template: str, refined: Mapping[str, Any] | None = None) -> None:
        self.shards, self.refined = shards, refined
        surfaces = len(shards) > 0 and shards.has(0, "vertices.npy")
        self.template = template if surfaces else None

    def __len__(self) -> int:
        return len(self.shards)

    def check_members(self, place: int) -> None:
        """Raises AnnotationError where a crop lacks one of its files; reads nothing."""
        wanted = ["image.png", "mask.png", "keypoints.npy"]
        if self.template is not None:
            wanted += ["vertices.npy", "E_mask.png"]
        for ending in wanted:
            if not self.shards.has(place, ending):
                raise self._broken(place, f"no {ending}")

    @overload
    def __getitem__(self, index: int) -> Crop: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Crop]: ...
    def __getitem__(self, index: int | slice) -> Crop | Sequence[Crop]:
        """One crop; a negative index counts from the end."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        key = self.shards.key(place)
        image = decode_image(self.shards.member(place, "image.png"), f"{self.shards.file(place)}/{key}")
        size = image.shape[0], image.shape[1]
        vertices = None
        if self.template is not None:
            ids = self._sized(self.shards.array(place, "vertices.npy").squeeze(), place, size)
            if ids.dtype.kind not in "iu" or ids.min(initial=0) < 0 or ids.max(initial=0) >= _MOST_VERTICES:
                raise self._broken(place, "vertices that are no ids")
            vertices = np.where(self._mask(place, "E_mask.png", size), ids, -1).astype(np.int32)
        person = None
        if self.shards.has(place, "maskrcnn_mask.png"):
            person = ~self._mask(place, "maskrcnn_mask.png", size)
        hole = ~self._mask(place, "mask.png", size)
        if person is not None and 2 * np.count_nonzero(person & ~hole) > np.count_nonzero(person):
            raise self._broken(
                place,
                "a maskrcnn_mask.png whose person is not in the hole of mask.png (0 is the person in both)",
            )
        points = self._points(place, key)
        if points.shape != (17, 3) or points.dtype.kind not in "iuf":
            raise self._broken(place, f"keypoints of {points.dtype} and shape {points.shape}")
        if not np.isfinite(points).all() or np.abs(points).max() > _FARTHEST:
            raise self._broken(place, "keypoints that are no numbers of a picture")
        return Crop(
            key,
            image,
            hole,
            relative_keypoints(points, size),
            vertices,
            person,
        )

    def _points(self, place: int, key: str) -> NDArray[Any]:
        if self.refined is None:
            return self.shards.array(place, "keypoints.npy")
        try:
            return np.asarray(self.refined[key], np.float32)
        except (KeyError, ValueError, TypeError) as error:
            raise self._broken(place, f"no refined keypoints that can be read ({error})") from error

    def _mask(self, place: int, ending: str, size: tuple[int, int]) -> NDArray[np.bool_]:
        data = self.shards.member(place, ending)
        try:
            with PILImage.open(io.BytesIO(data)) as picture:
                picture.verify()  # checksums: Pillow decodes a damaged PNG without a word
            with PILImage.open(io.BytesIO(data)) as picture:
                if picture.size != (size[1], size[0]):
                    raise self._broken(place, f"a {ending} of {picture.size} pixels")
                known = np.asarray(picture) > 0
        except DatasetError:
            raise
        except Exception as error:  # decoders raise anything on damaged files
            raise self._broken(place, f"a {ending} that cannot be read ({error})") from error
        mask: NDArray[np.bool_] = self._sized(known, place, size)
        return mask

    def _sized(self, array: NDArray[Any], place: int, size: tuple[int, int]) -> NDArray[Any]:
        if array.shape != size:
            raise self._broken(place, f"arrays of {array.shape} and {size} pixels")
        return array

    def _broken(self, place: int, what: str) -> AnnotationError:
        return AnnotationError(
            f"The crop {self.shards.key(place)} of {self.shards.file(place)} has {what}.",
            "Get the archive again.",
        )


def members(crop: Crop) -> dict[str, bytes]:
    """A crop's members for `ShardWriter.write`, in FDH's schema."""
    out = {"image.png": png(crop.image), "mask.png": png(crop.mask)}
    if crop.person is not None:
        out["maskrcnn_mask.png"] = png(~crop.person)
    if crop.vertices is not None:
        ids = np.maximum(crop.vertices, 0)
        out["vertices.npy"] = npy(ids.astype(np.int16 if ids.max(initial=0) < 1 << 15 else np.int32))
        out["E_mask.png"] = png(crop.vertices >= 0)
    out["keypoints.npy"] = npy(crop.keypoints.astype(np.float32))
    return out
