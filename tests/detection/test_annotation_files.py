"""What real annotation files do: each is read rightly, or refused with one message that names file, picture and remedy."""

from __future__ import annotations

import contextlib
import json
import runpy
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from pycocotools import mask as rle

from dp2bench.core.coco_file import CocoAnnotations
from dp2bench.core.errors import AnnotationError, Dp2benchError
from dp2bench.core.paths import check_distinct, twins
from dp2bench.core.picture_header import read_header
from dp2bench.core.picture_names import PictureNames
from dp2bench.core.types import People, Sample
from dp2bench.datasets.folder import Folder
from dp2bench.detection.coco_json import CocoFile
from dp2bench.detection.export import CocoWriter, IdMasks, id_mask_name, id_mask_style, write_id_mask

P = runpy.run_path(str(Path(__file__).with_name("planted.py")))
changed, outcome, write, coco, SIZE = P["changed"], P["outcome"], P["write"], P["coco"], P["SIZE"]
A = "annotations__0__"

PACKED = np.zeros(SIZE, np.uint8, order="F")
PACKED[P["PERSON"]] = 1
TEXT = rle.encode(PACKED)["counts"].decode()
RUNS = [20 * 60 + 10, *[40, 20] * 15, 40, (80 - 36) * 60 + 10]

REFUSED = {
    # identifiers
    "image ids are texts here and numbers there": ({A + "image_id": "1"}, r"a text here and a number there"),
    "image ids are numbers here and texts there": ({"images__0__id": "1"}, r"a number here and a text there"),
    "a category id is a text": ({A + "category_id": "1"}, r"category_id is '1'.*`categories`"),
    "an image id that is not whole": ({A + "image_id": 1.5}, r"annotations\[0\]\.image_id"),
    "an image id that nobody has": ({A + "image_id": 77}, r"image_id is 77, which `images` does not list"),
    "a category that is not listed": ({A + "category_id": 0}, r"category_id is 0, which `categories`"),
    "no image id": ({A + "image_id": ...}, r"annotations\[0\] has no image_id"),
    "no category id": ({A + "category_id": ...}, r"annotations\[0\] has no category_id"),
    "true for an id": ({"images__0__id": True}, r"images\[0\]\.id"),
    "two pictures of one id": ({"images__1__id": 1, "annotations__1__image_id": 1}, r"lists the id 1 more than once"),
    "two entries of one picture": ({"images__1__file_name": "a.png"}, r"file_name 'a.png' more than once"),
    "two categories of one id": ({"categories__1__id": 1}, r"`categories` lists the id 1"),
    "two entries that differ in case": ({"images__1__file_name": "A.PNG"}, r"does not list the picture b\.png"),
    "names of other pictures": ({"images__0__file_name": "c.png"}, r"does not list the picture a\.png.*It lists"),
    "pictures of the same name in other folders": ({"images__0__file_name": "x/a.png", "images__1__file_name": "y/a.png"}, "does not list"),
    "annotated people of other pictures alone": (
        {"images": [*coco(("a.png", "b.png", "c.png"))["images"]], A + "image_id": 3, "annotations__1__image_id": 3},
        r"names 2 people, and none of them in these 2 pictures",
    ),
    # categories
    "no category of people": ({"categories": [{"id": 1, "name": "dog"}]}, r"no category of people.*one of: dog"),
    "no category at all": ({"categories": []}, r"no category|which `categories` does not list"),
    "categories without a name": ({"categories": [{"id": 1}]}, r"categories\[0\]\.name"),
    # boxes
    "shares of the picture": ({A + "bbox": [0.25, 0.16, 0.2, 0.66], A + "segmentation": ...}, "shares of the picture"),
    "a negative size": ({A + "bbox": [36, 50, -16, -40], A + "segmentation": ...}, "negative size"),
    "corners, by the picture": (
        {A + "bbox": [20, 10, 36, 50], "annotations__1__bbox": [50, 12, 70, 55]}
        | {f"annotations__{i}__{k}": ... for i in (0, 1) for k in ("segmentation", "area", "keypoints")},
        "reach out of its 80x60 pixels",
    ),
    "corners, by the area": ({A + "bbox": [10, 10, 36, 50], A + "area": 26 * 40, A + "segmentation": ..., A + "keypoints": ...}, "deny their area|reach out"),
    "a box that is an object": ({A + "bbox": {"cx": 28, "w": 16, "cy": 30, "h": 40}}, r"annotations\[0\]\.bbox"),
    "three numbers": ({A + "bbox": [20, 10, 16]}, r"annotations\[0\]\.bbox"),
    "a text": ({A + "bbox": ["x", 10, 16, 40]}, r"annotations\[0\]\.bbox"),
    "a number of another world": ({A + "bbox": [1e30, 10, 16, 40]}, r"annotations\[0\]\.bbox"),
    "no box": ({A + "bbox": None}, r"annotations\[0\]\.bbox"),
    "a box of zeros": ({A + "bbox": [0, 0, 0, 0], A + "keypoints": ...}, "mask elsewhere"),
    "box and mask apart": ({A + "bbox": [60, 10, 16, 40]}, "mask elsewhere|none is in its box"),
    "keypoints apart from the box": ({A + "bbox": [70, 1, 6, 5], A + "segmentation": ..., A + "area": ...}, "17 keypoints, and none is in its box"),
    # masks
    "a polygon of two points": ({A + "segmentation": [[20, 10, 36, 50]]}, "polygon of 2 points"),
    "a point": ({A + "segmentation": [[40.0, 30.0]]}, r"polygon of 1 point\."),
    "an odd number of coordinates": ({A + "segmentation": [[20, 10, 36, 10, 36, 50, 20]]}, "odd number"),
    "a polygon that is not in a list": ({A + "segmentation": [20, 10, 36, 10, 36, 50]}, r"annotations\[0\]\.segmentation"),
    "points as pairs": ({A + "segmentation": [[[20, 10], [36, 10], [36, 50]]]}, r"annotations\[0\]\.segmentation"),
    "a text for a mask": ({A + "segmentation": "person.png"}, r"annotations\[0\]\.segmentation"),
    "a polygon far away": ({A + "segmentation": [[2000, 10, 2016, 10, 2016, 50]]}, "far outside"),
    "a polygon in shares": ({A + "segmentation": [[0.25, 0.16, 0.45, 0.16, 0.45, 0.83]]}, "mask elsewhere"),
    "run lengths of another size": ({A + "segmentation": {"size": [50, 70], "counts": [0, 3500]}}, "mask of 70x50 pixels"),
    "run lengths of the turned size": ({A + "segmentation": {"size": [80, 60], "counts": [0, 4800]}}, "mask of 60x80 pixels"),
    "run lengths that do not sum up": ({A + "segmentation": {"size": [60, 80], "counts": [100, 50]}}, "run lengths of 150 pixels"),
    "negative run lengths": ({A + "segmentation": {"size": [60, 80], "counts": [4900, -100]}}, r"segmentation"),
    "a text that is cut": ({A + "segmentation": {"size": [60, 80], "counts": TEXT[:-1]}}, "run lengths"),
    "a text of something else": ({A + "segmentation": {"size": [60, 80], "counts": "ü~"}}, "run lengths that cannot be read"),
    "a size of one number": ({A + "segmentation": {"size": [4800], "counts": [0, 4800]}}, r"segmentation"),
    # keypoints, scores and the rest
    **{f"{n} keypoints": ({A + "keypoints": [0] * 3 * n}, rf"a\.png has {n} keypoints in place of 17") for n in (14, 16, 18, 133)},
    "50 numbers": ({A + "keypoints": [0] * 50}, "16.6667 keypoints"),
    "a visibility of 3": ({A + "keypoints": [*P["keypoints"]()[:-1], 3]}, "visibility"),
    "a negative visibility": ({A + "keypoints": [*P["keypoints"]()[:-1], -1]}, "visibility"),
    "a negative score": ({A + "score": -0.1}, r"annotations\[0\]\.score"),
    "a score in per cent": ({A + "score": 97.0}, r"annotations\[0\]\.score"),
    "crowd 2": ({A + "iscrowd": 2}, r"annotations\[0\]\.iscrowd"),
    "a box smaller than the area": ({A + "bbox": [20, 10, 16, 8], A + "segmentation": ...}, "an area of 640 pixels, more than its box"),
    "a face elsewhere": ({A + "face": [70, 2, 4, 4], A + "segmentation": ..., A + "keypoints": ...}, "face outside its box"),
    "another size": ({"images__0__width": 70}, r"70x60 pixels, and the picture has 80x60"),
    "a size of zero": ({"images__0__width": 0}, r"images\[0\]\.width"),
    # the file
    "no images": ({"images": ...}, "has no images"),
    "images as an object": ({"images": {"1": "a.png"}}, "images"),
    "annotations as an object": ({"annotations": {"1": {}}}, "list of objects"),
    "a row that is no object": ({"annotations__0": [1, 2]}, "list of objects"),
    "an empty name": ({"images__0__file_name": ""}, r"images\[0\]\.file_name"),
    "a name that is a number": ({"images__0__file_name": 7}, r"images\[0\]\.file_name"),
}  # fmt: skip

REPLACED = {
    "float ids": {A + "image_id": 1.0, "images__0__id": 1.0, A + "category_id": 1.0},
    "ids that are texts everywhere": {"images__0__id": "x-1", A + "image_id": "x-1"},
    "a backslash": {"images__0__file_name": "photos\\a.png"},
    "a path of another machine": {"images__0__file_name": "/home/somebody/photos/a.png"},
    "another case": {"images__0__file_name": "A.PNG"},
    "an escape of a URL": {"images__0__file_name": "photos/%61.png"},
    "Person": {"categories__0__name": " Person "},
    "pedestrian": {"categories__0": {"id": 1, "name": "pedestrian"}},
    "a supercategory": {"categories__0": {"id": 1, "name": "goalkeeper", "supercategory": "human"}},
    "a sort of people": {"categories__0": {"id": 1, "name": "Snowboarders"}},
    "a name in parts": {"categories__0": {"id": 1, "name": "human.pedestrian.adult"}},
    "people of two categories": {"categories__1": {"id": 2, "name": "rider"}, A + "category_id": 2},
    "no categories": {"categories": ...},
    "no sizes": {"images__0__width": ..., "images__0__height": ...},
    "sizes of -1, as the VGG Image Annotator exports them": {"images__0__width": -1, "images__0__height": -1},
    "a relative path of Windows": {"images__0__file_name": "..\\photos\\a.png"},
    "a corner of a polygon at 0": {
        A + "segmentation": [[28, 8, 34, 12, 37, 24, 0, 40, 33, 52, 23, 52, 20, 40, 19, 24, 22, 12]],
        A + "area": 632,
        A + "bbox": [19, 8, 18, 44],
    },
    "an empty segmentation": {A + "segmentation": []},
    "a segmentation of nothing": {A + "segmentation": [[]]},
    "a point among polygons": {A + "segmentation": [[30, 30], [20, 10, 36, 10, 36, 50, 20, 50]]},
    "a crowd": {A + "iscrowd": 1, A + "segmentation": {"size": list(SIZE), "counts": RUNS}},
    "run lengths as a text": {A + "segmentation": {"size": list(SIZE), "counts": TEXT}},
    "a crowd as polygons": {A + "iscrowd": True},
    "one mask of a pixel": {A + "segmentation": [[20, 10, 21, 10, 21, 11]], A + "keypoints": ...},
    "no mask": {A + "segmentation": ...},
    "no keypoints": {A + "keypoints": []},
    "keypoints that are null": {A + "keypoints": None},
    "numbers as texts": {A + "bbox": ["20", "10", "16", "40"]},
    "a box beyond the picture": {A + "bbox": [20, 10, 16, 70]},
    "equal ids of annotations": {"annotations__1__id": 1},
    "further keys": {A + "attributes": {"occluded": True}},
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    paths, message = REFUSED[case]
    file = write(tmp_path, changed(**paths))
    with pytest.raises(AnnotationError, match=message) as caught:
        CocoFile(path=file).for_dataset(Folder(tmp_path / "in"))
    assert "people.json" in str(caught.value)
    assert caught.value.remedy
    assert outcome(tmp_path).startswith("refused")
    assert not (tmp_path / "out").exists(), "it was refused before anything was written"


@pytest.mark.parametrize("case", REPLACED)
def test_replaced(tmp_path, case):
    write(tmp_path, changed(**REPLACED[case]))
    assert outcome(tmp_path) == "replaced"


@pytest.mark.parametrize(
    "box", [[20, 10, 0.6, 0.6], [20, 10, 16, 0], [20, 10, 0, 40], [0, 0, 0, 0], [300, 10, 16, 40]]
)
def test_a_box_under_a_pixel_or_outside_is_reported(tmp_path, box):
    write(
        tmp_path, changed(**{A + k: ... for k in ("segmentation", "keypoints", "area")} | {A + "bbox": box})
    )
    said = outcome(tmp_path)
    assert said.startswith(
        "reported: {'a box smaller than a pixel'" if box[0] < 300 else "reported: {'outside"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b"[]", "should be an object"),
        (b"null", "should be an object"),
        (b"\xff\xfe\x00", "is not a COCO annotation file"),
        (b'{"images": [], "images": [], "annotations": []}', "'images' is there twice"),
        (b'{"a": ' * 100_000, "not a COCO annotation file"),
        (json.dumps(coco())[:-30].encode(), "is not a COCO annotation file"),
        (json.dumps(coco()).replace("[20, 10, 16, 40]", "[20, NaN, 16, 40]").encode(), "NaN is no number"),
        (json.dumps(coco()).replace("[20, 10, 16, 40]", "[20, Infinity, 16, 40]").encode(), "Infinity is no number"),
        (json.dumps(coco()).replace("[20, 10, 16, 40]", "[20, 1e999, 16, 40]").encode(), r"bbox.*finite"),
        (json.dumps(coco()).replace('"a.png"', '"a\\ud800.png"').encode(), r"does not list the picture a\.png"),
        (json.dumps(coco()).replace('"image_id": 1,', f'"image_id": {"9" * 5000},').encode(), "not a COCO annotation file"),
    ],
)  # fmt: skip
def test_files_that_are_none(tmp_path, content, message):
    write(tmp_path, content)
    with pytest.raises(AnnotationError, match=message) as caught:
        CocoFile(path=tmp_path / "people.json").for_dataset(Folder(tmp_path / "in"))
    str(caught.value).encode()  # can be printed


def test_a_byte_order_mark_is_no_matter(tmp_path):
    write(tmp_path, b"\xef\xbb\xbf" + json.dumps(coco()).encode())
    assert outcome(tmp_path) == "replaced"


@pytest.mark.parametrize("there", ["NFC", "NFD"])
def test_names_of_another_normalisation(tmp_path, there):
    names = [unicodedata.normalize(there, "é.png"), "b.png"]
    write(
        tmp_path, coco([unicodedata.normalize("NFD" if there == "NFC" else "NFC", "é.png"), "b.png"]), names
    )
    assert outcome(tmp_path) == "replaced"


def test_one_entry_is_not_two_pictures(tmp_path):
    names = ["x/a.png", "y/a.png"]
    write(tmp_path, coco(["a.png", "b.png"]), names)
    assert "one entry a.png for two pictures, x/a.png and y/a.png" in outcome(tmp_path)


@pytest.mark.parametrize(
    ("name", "there", "found"),
    [
        ("a/b.png", ["a/b.png", "b.png"], "a/b.png"),
        ("b.png", ["x/b.png"], "x/b.png"),
        ("x/y/b.png", ["y/b.png", "z/b.png"], "y/b.png"),
        ("x/b.png", ["y/b.png"], None),
        ("b.png", ["x/b.png", "y/b.png"], None),
        ("b.png", ["B.png", "b.PNG"], None),
        ("ab.png", ["b.png"], None),
        ("b c.png", ["./x\\b%20c.png"], "./x\\b%20c.png"),
    ],
)
def test_names(name, there, found):
    assert PictureNames(there).find(name) == found


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("stated", ["stored", "seen", "nothing"])
def test_turned_pictures(tmp_path, orientation, stated):
    """Only a size that is the seen one's and not the stored one's tells which pixels are meant."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = coco(["a.png"])
    turned = orientation >= 5
    h, w = SIZE[::-1] if turned and stated == "seen" else SIZE
    data["images"][0] |= {"height": h, "width": w}
    if stated == "nothing":
        del data["images"][0]["height"], data["images"][0]["width"]
    write(tmp_path, data, ["a.png"], exif=exif)
    said = outcome(tmp_path)
    if turned and stated == "seen":
        assert not said.startswith("refused")
    else:
        assert "turned by its EXIF orientation" in said
    data["info"]["exif_orientation"] = "applied"
    write(tmp_path, data, ["a.png"], exif=exif)
    assert outcome(tmp_path).startswith("refused") == (turned and stated == "stored")


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("form", ["json", "png"])
def test_what_was_detected_in_turned_pictures_is_replayed(tmp_path, orientation, form):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    write(tmp_path, b"", ["a.png"], exif=exif)
    size = SIZE[::-1] if orientation == 6 else SIZE
    people = People.of([[2, 3, 20, 30]])
    if form == "json":
        with CocoWriter(tmp_path / "people.json", {}) as writer:
            writer.add("a.png", people, size)
        who = CocoFile(path=tmp_path / "people.json")
    else:
        write_id_mask(tmp_path / "masks" / "a.png", people, size)
        who = IdMasks(path=tmp_path / "masks")
    folder = Folder(tmp_path / "in")
    sample = folder.samples("all")[0]
    (got,) = who.for_dataset(folder).detect([folder.read(sample)], [sample])
    assert got.boxes.tolist() == people.boxes.tolist()
    if form == "png":
        ids = np.asarray(Pillow.open(tmp_path / "masks" / "a.png"))
        Pillow.fromarray(ids).save(tmp_path / "masks" / "a.png")  # by a program that drops what the PNG says
        with (
            pytest.raises(AnnotationError, match="EXIF orientation")
            if orientation == 3
            else contextlib.nullcontext()
        ):
            IdMasks(path=tmp_path / "masks").for_dataset(folder)


def test_headers(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    picture = Pillow.fromarray(P["picture"]())
    for suffix in ("png", "jpg", "webp", "tif"):
        picture.save(tmp_path / f"a.{suffix}")
        picture.save(tmp_path / f"b.{suffix}", exif=exif)
        assert read_header(tmp_path / f"a.{suffix}") == (60, 80, 1)
        assert read_header((tmp_path / f"b.{suffix}").read_bytes()) == (60, 80, 6)
        assert read_header(tmp_path / f"b.{suffix}").upright == (80, 60)
    picture.save(tmp_path / "c.tif", save_all=True, append_images=[picture.rotate(90, expand=True)])
    assert read_header(tmp_path / "c.tif") is None
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    assert read_header(tmp_path / "d.png") in (None, (60, 80, 1))
    assert read_header(tmp_path / "people.json") is None


def test_which_category_was_taken_is_said(tmp_path):
    file = write(tmp_path, changed(categories__0__name="pedestrian"))
    assert CocoFile(path=file).remarks == (
        f"{file}: people are the annotations of category 'pedestrian' (id 1).",
    )
    assert CocoFile(path=write(tmp_path, coco())).remarks == ()
    named = CocoAnnotations(file, category="dog")
    assert named.taken == "'dog' (id 2)"
    assert named.people_named == 0
    kinds = [{"id": 1, "name": "person"}, {"id": 2, "name": "nun"}, {"id": 3, "name": "Surfers"}]
    assert CocoFile(path=write(tmp_path, changed(categories=kinds))).remarks == (
        f"{file}: people are the annotations of category 'person' (id 1), 'Surfers' (id 3), never of 'nun'.",
    ), "who is labelled otherwise is not lost without a word"


def test_faces_of_the_supercategory_person_are_faces(tmp_path):
    kinds = [{"id": 1, "name": "person"}, {"id": 3, "name": "face", "supercategory": "person"}]
    file = write(tmp_path, changed(categories=kinds, **{A + "category_id": 3}))
    who = CocoFile(path=file)
    images = [np.zeros((*SIZE, 3), np.uint8)] * 2
    face, person = who.detect(images, [Sample("a.png", Path("a")), Sample("b.png", Path("b"))])
    assert (face.categories[0], person.categories[0]) == (0, 1)
    assert face.faces[0].tolist() == [20, 10, 36, 50]


def test_packed_run_lengths_are_pycocotools(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(30):
        truth = rng.random(SIZE) < rng.random() ** 3
        truth[10:50, 20:36] |= rng.random((40, 16)) < 0.9
        text = rle.encode(np.asfortranarray(truth.astype(np.uint8)))["counts"].decode()
        given = {"size": list(SIZE), "counts": text}
        file = write(
            tmp_path,
            changed(**{A + "segmentation": given, A + "area": int(truth.sum()), A + "bbox": [0, 0, 80, 60]}),
        )
        (people,) = CocoFile(path=file).detect([np.zeros((*SIZE, 3), np.uint8)], [Sample("a.png", Path("a"))])
        assert (people.masks[0] == truth).all(), k


# --- Masks and names of files -----------------------------------------------------------------------------------------------------


def test_pictures_of_one_stem_have_masks_of_their_own(tmp_path):
    names = ["IMG_7.jpg", "IMG_7.png", "b.png"]
    style = id_mask_style(names)
    assert style == "full"
    assert len({id_mask_name(name, style) for name in names}) == 3
    assert id_mask_style(["x/a.jpg", "y/a.jpg"]) == "short"
    assert id_mask_style(["A.jpg", "a.png"]) == "full"
    write(tmp_path, b"", ["IMG_7.png", "IMG_7.tif"])
    write_id_mask(tmp_path / "masks" / "IMG_7.png", People.of([[0, 0, 5, 5]]), SIZE)
    folder = Folder(tmp_path / "in")
    with pytest.raises(
        AnnotationError, match=r"the mask of two pictures.*IMG_7\.png\.png and IMG_7\.tif\.png"
    ):
        IdMasks(path=tmp_path / "masks").for_dataset(folder)
    write_id_mask(tmp_path / "masks" / "IMG_7.tif.png", People.of([[9, 9, 15, 15]]), SIZE)
    who = IdMasks(path=tmp_path / "masks").for_dataset(folder)
    found = [who.detect([folder.read(s)], [s])[0].boxes.tolist() for s in folder.samples("all")]
    assert found == [[[0, 0, 5, 5]], [[9, 9, 15, 15]]]


def test_masks_of_other_pictures(tmp_path):
    write(tmp_path, b"")
    for name in ("a.png", "b.png"):
        write_id_mask(tmp_path / "masks" / name, People.none(), SIZE)
    folder = Folder(tmp_path / "in")
    IdMasks(path=tmp_path / "masks").for_dataset(folder)  # nobody is said to be there
    write_id_mask(tmp_path / "masks" / "c.png", People.of([[0, 0, 5, 5]]), SIZE)
    with pytest.raises(
        AnnotationError, match="2 pictures .* show nobody, and 1 masks there belong to no picture"
    ):
        IdMasks(path=tmp_path / "masks").for_dataset(folder)
    Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(
        tmp_path / "masks" / "b.png"
    )
    with pytest.raises(AnnotationError, match="looks like a picture, not like ids"):
        IdMasks(path=tmp_path / "masks").for_dataset(folder)


def test_twins():
    assert twins(["a.jpg", "b.jpg", "x/a.jpg"]) == []
    assert twins(["a.jpg", "A.JPG"]) == [("a.jpg", "A.JPG")]
    nfc, nfd = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    assert twins([nfc, nfd]) == [(nfc, nfd)]
    assert twins(["a", "a"]) == [("a", "a")]


def test_names_that_are_one_on_the_disk_stop_before_anything_is_written(tmp_path, monkeypatch):
    check_distinct(["a.jpg", "A.jpg"], tmp_path / "not there yet")  # two files on this disk
    assert list(tmp_path.iterdir()) == []
    from dp2bench.core import paths

    monkeypatch.setattr(paths, "_one_file", lambda first, second, folder: True)  # as on Windows or macOS
    write(tmp_path, coco(["a.png", "A.png"]), ["a.png", "A.png"])
    assert "cannot hold both" in outcome(tmp_path)
    assert not (tmp_path / "out").exists()
    with pytest.raises(Dp2benchError, match="cannot hold both a and a"):
        check_distinct(["a", "a"], tmp_path)
