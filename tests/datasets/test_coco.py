import contextlib
import io
import json

import numpy as np
import pytest

from dp2bench.core.errors import DatasetError
from dp2bench.core.images import read_image, write_image
from dp2bench.datasets.coco import FOLDERS, Coco

SIZE = (12, 10)
"""Width, height."""


def keypoints(x, y):
    out = [0] * 51
    out[:3] = [x, y, 2]
    out[3:6] = [x + 1, y, 1]
    return out


def annotation(number, image, **given):
    # A square of 4 x 4 pixels as a polygon, in COCO's coordinates.
    row = {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [2.0, 3.0, 4.0, 4.0],
        "area": 16.0,
        "segmentation": [[2, 3, 6, 3, 6, 7, 2, 7]],
        "keypoints": keypoints(3, 4),
        "num_keypoints": 2,
    }
    return row | given


ANNOTATIONS = [
    annotation(1, 7),
    annotation(
        2,
        7,
        iscrowd=1,
        bbox=[0, 0, 2, 10],
        segmentation={"counts": [0, 20, 100], "size": [10, 12]},
        keypoints=[0] * 51,
        num_keypoints=0,
    ),
    annotation(3, 9, bbox=[1, 1, 1, 1], segmentation=[[1, 1, 2, 1, 2, 2, 1, 2], [4, 4, 6, 4, 6, 6, 4, 6]]),
]


def make(root, annotations=ANNOTATIONS):
    (root / "annotations").mkdir(parents=True)
    for folder in FOLDERS.values():
        names = {7: "000000000007.jpg", 9: "000000000009.jpg", 11: "000000000011.jpg"}
        for number, name in names.items():
            write_image(root / folder / name, np.full((SIZE[1], SIZE[0], 3), 10 * number, np.uint8))
        images = [{"id": k, "file_name": n, "width": SIZE[0], "height": SIZE[1]} for k, n in names.items()]
        person = {
            "info": {"year": 2017},
            "licenses": [],
            "images": images[::-1],
            "annotations": annotations,
            "categories": [
                {
                    "id": 1,
                    "name": "person",
                    "supercategory": "person",
                    "keypoints": ["x"] * 17,
                    "skeleton": [],
                }
            ],
        }
        things = {
            **person,
            "annotations": [
                *annotations,
                {**annotation(8, 11, category_id=3), "segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]]},
            ],
            "categories": [*person["categories"], {"id": 3, "name": "car", "supercategory": "vehicle"}],
        }
        for kind, data in (("person_keypoints", person), ("instances", things)):
            (root / "annotations" / f"{kind}_{folder}.json").write_text(json.dumps(data))
    return root


def test_reads_the_official_layout(tmp_path):
    make(tmp_path / "coco")
    dataset = Coco(tmp_path)
    assert dataset.root == tmp_path / "coco"
    assert [s.id for s in dataset.samples("val")] == ["000000000007.jpg", "000000000009.jpg"]
    assert dataset.samples("val")[0].labels == {"image_id": 7, "width": 12, "height": 10}
    assert len(Coco(tmp_path, "all").samples("train")) == 3
    Coco(tmp_path, official=False).verify()
    assert len({Coco(tmp_path).fingerprint(), Coco(tmp_path, "all").fingerprint()}) == 2


def test_people(tmp_path):
    dataset = Coco(make(tmp_path), "all")
    found = [dataset.people(sample) for sample in dataset.samples("train")]
    assert [len(people) for people in found] == [2, 1, 0]
    people = found[0]
    assert people.boxes.tolist() == [[2, 3, 6, 7], [0, 0, 2, 10]]
    expected = np.zeros((10, 12), bool)
    expected[3:7, 2:6] = True
    np.testing.assert_array_equal(people.masks[0], expected)
    assert people.masks[1].sum() == 20
    assert people.masks[1, :, :2].all()
    assert people.keypoints[0, :2].tolist() == [[3, 4, 2], [4, 4, 1]]
    assert not people.keypoints[1].any()
    assert found[1].masks[0].sum() == 1 + 4
    assert found[2].masks.shape == (0, 10, 12)


def test_the_three_forms_of_a_mask(tmp_path):
    from pycocotools import mask

    truth = np.zeros((10, 12), bool)
    truth[3:7, 2:6] = True
    compressed = mask.encode(np.asfortranarray(truth.astype(np.uint8)))
    lists = {"counts": [23, 4, 6, 4, 6, 4, 6, 4, 63], "size": [10, 12]}
    text = {"counts": compressed["counts"].decode(), "size": [10, 12]}
    forms = ([[2, 3, 6, 3, 6, 7, 2, 7]], lists, text, [], [[]], None)
    dataset = Coco(make(tmp_path, [annotation(i, 7, segmentation=form) for i, form in enumerate(forms)]))
    for found in dataset.people(dataset.samples("val")[0]).masks:
        np.testing.assert_array_equal(found, truth)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(
        DatasetError, match=r"lacks train2017, annotations/person_keypoints_train2017\.json.*Download"
    ):
        Coco(tmp_path).verify()
    with pytest.raises(DatasetError, match=r"lacks the file .*person_keypoints_val2017"):
        Coco(tmp_path).samples("val")
    make(tmp_path)
    with pytest.raises(DatasetError, match="no split 'test'"):
        Coco(tmp_path).samples("test")
    with pytest.raises(DatasetError, match="lists 3 pictures instead of 118,287"):
        Coco(tmp_path).verify()
    (tmp_path / "train2017" / "000000000009.jpg").unlink()
    with pytest.raises(DatasetError, match=r"lacks 1 pictures: train2017/000000000009\.jpg\. Download"):
        Coco(tmp_path).verify()
    (tmp_path / "annotations" / "person_keypoints_val2017.json").write_text('{"images": 3}')
    with pytest.raises(DatasetError, match="not a COCO annotation file"):
        Coco(tmp_path).samples("val")
    with pytest.raises(DatasetError, match="'people' or 'all'"):
        Coco(tmp_path, "some")


def test_a_copy_has_the_same_json_and_is_read_by_pycocotools(tmp_path):
    from pycocotools.coco import COCO

    dataset = Coco(make(tmp_path / "in"))
    handed = [("train", s.id, np.full((10, 12, 3), 50, np.uint8)) for s in dataset.samples("train")]
    copy = dataset.rewrite(tmp_path / "out", iter(handed))
    assert copy.meta == dataset.meta
    assert [s.id for s in copy.samples("train")] == [name for _, name, _ in handed]
    assert abs(read_image(copy.samples("train")[0].path).astype(int) - 50).max() <= 1
    assert copy.samples("val") == ()
    with pytest.raises(DatasetError, match="val2017 holds no picture"):
        copy.verify()
    for file in (tmp_path / "in" / "annotations").iterdir():
        assert (tmp_path / "out" / "annotations" / file.name).read_bytes() == file.read_bytes()
        with contextlib.redirect_stdout(io.StringIO()):
            assert len(COCO(str(tmp_path / "out" / "annotations" / file.name)).imgs) == 3
    a, b = dataset.people(dataset.samples("train")[0]), copy.people(copy.samples("train")[0])
    np.testing.assert_array_equal(a.masks, b.masks)


def test_a_copy_refuses_what_is_not_its_own(tmp_path):
    dataset = Coco(make(tmp_path / "in"))
    picture = np.zeros((10, 12, 3), np.uint8)
    with pytest.raises(DatasetError, match=r"no picture x\.jpg in val"):
        dataset.rewrite(tmp_path / "a", [("val", "x.jpg", picture)])
    with pytest.raises(DatasetError, match="the dataset itself"):
        dataset.rewrite(tmp_path / "in", [])
    dataset.rewrite(tmp_path / "b", [("val", "000000000007.jpg", picture)])
    with pytest.raises(DatasetError, match="something else"):
        dataset.rewrite(tmp_path / "b", [("val", "000000000009.jpg", picture)])


def test_a_folder_of_pictures_alone_borrows_the_annotations(tmp_path):
    dataset = Coco(make(tmp_path / "in"))
    for split, folder in FOLDERS.items():
        for sample in dataset.samples(split):
            write_image(tmp_path / "other" / folder / sample.id, np.zeros((10, 12, 3), np.uint8))
    other = dataset.open(tmp_path / "other")
    other.verify()
    assert len(other.people(other.samples("val")[0])) == 2


def spoil(root, change, kinds=("person_keypoints",), splits=("train2017", "val2017")):
    """Change the JSON files of a dataset."""
    for kind in kinds:
        for folder in splits:
            path = root / "annotations" / f"{kind}_{folder}.json"
            data = json.loads(path.read_text())
            change(data)
            path.write_text(json.dumps(data))


BOTH = ("person_keypoints", "instances")


def first(key, value):
    def change(data):
        data["annotations"][0][key] = value

    return change


def image(key, value):
    def change(data):
        data["images"][-1][key] = value  # the one of two people: images are listed from back to front

    return change


@pytest.mark.parametrize(
    ("change", "kinds", "message"),
    [
        (first("keypoints", [0] * 42), BOTH, r"000000000007\.jpg has 14 keypoints in place of 17"),
        (first("segmentation", [[2, 3, 6, 7]]), BOTH, r"000000000007\.jpg has a polygon of 2 points"),
        (first("segmentation", {"size": [20, 30], "counts": [0, 600]}), BOTH, r"mask of 30x20 pixels, and the picture has 12x10"),
        (first("image_id", "7"), BOTH, "a text here and a number there"),
        (first("bbox", [0.1, 0.3, 0.4, 0.4]), BOTH, "shares of the picture"),
        (image("width", 11), BOTH, r"000000000007\.jpg at 11x10 pixels, and the picture has 12x10"),
        (image("file_name", "8.jpg"), BOTH, r"does not list 1 of the pictures in .*000000000007\.jpg"),
        (image("width", None), BOTH, r"does not say width and height of 000000000007\.jpg"),
        (lambda d: d.update(annotations=[]), BOTH, r"names 0 people .*and none in the 3 pictures"),
        (lambda d: d.update(annotations=d["annotations"][1:]), ("person_keypoints",), r"names 1 people in 000000000007\.jpg, and instances_train2017\.json 2"),
        (lambda d: d.update(annotations=[]), ("instances",), r"names 1 people in 000000000009\.jpg, and instances_train2017\.json 0"),
        (lambda d: d.update(annotations=3), ("instances",), "instances_train2017.json is not a COCO annotation file"),
        (lambda d: d.update(categories=[{"id": 1, "name": "bicycle"}]), BOTH, "no category of people"),
    ],
)  # fmt: skip
def test_annotations_that_do_not_belong_to_the_pictures(tmp_path, change, kinds, message):
    spoil(make(tmp_path), change, kinds)
    with pytest.raises(DatasetError, match=message) as caught:
        Coco(tmp_path, official=False).verify()
    assert caught.value.remedy


def test_people_are_read_by_the_name_of_their_category_and_that_is_said(tmp_path):
    def renumber(data):
        for row in data["annotations"]:
            row["category_id"] += 1
        for kind in data["categories"]:
            kind["id"] += 1
        data["categories"].append({"id": 1, "name": "bicycle"})
        data["annotations"].append(
            annotation(99, 9, category_id=1, bbox=[8, 0, 2, 2], segmentation=[[8, 0, 10, 0, 10, 2, 8, 2]])
        )

    spoil(make(tmp_path), renumber, BOTH)
    dataset = Coco(tmp_path, official=False)
    dataset.verify()
    assert [len(dataset.people(s)) for s in dataset.samples("val")] == [2, 1]
    assert "category 'person' (id 2); in the official files they are 'person' (id 1)" in dataset.doubts[0]
    from dp2bench.downstream.keypoints import annotation_file

    with pytest.raises(
        DatasetError, match="category 'person'"
    ):  # whoever trains takes category 1 for granted
        annotation_file(dataset, "val")
    assert Coco(make(tmp_path / "official"), official=False).doubts == ()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_turned_pictures_are_refused(tmp_path, orientation):
    from PIL import Image as Pillow

    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = make(tmp_path) / "val2017" / "000000000007.jpg"
    Pillow.open(path).save(path, exif=exif)
    dataset = Coco(tmp_path, official=False)
    with pytest.raises(DatasetError, match=r"000000000007\.jpg is turned by its EXIF orientation"):
        dataset.verify()
    with pytest.raises(DatasetError, match="EXIF"):
        dataset.people(dataset.samples("val")[0])


def test_names_are_found_in_another_form(tmp_path):
    spoil(make(tmp_path), image("file_name", "val2017\\000000000007.JPG"), BOTH)
    dataset = Coco(tmp_path, official=False)
    dataset.verify()
    assert [s.id for s in dataset.samples("val")] == ["000000000007.jpg", "000000000009.jpg"]
    assert len(dataset.people(dataset.samples("val")[0])) == 2
