import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from dp2bench.core.errors import DatasetError
from dp2bench.core.images import read_image, write_image
from dp2bench.datasets.cityscapes import GROUND_TRUTH, Cityscapes
from dp2bench.engine.folder_source import FolderSource

STEMS = {
    "train": ["aachen_000000_000019", "aachen_000001_000019", "hamburg_000000_103367"],
    "val": ["lindau_000000_000019"],
}


def make(root, suffix="leftImg8bit", truth=True):
    for split, stems in STEMS.items():
        for n, stem in enumerate(stems):
            city = stem.split("_")[0]
            write_image(
                root / suffix / split / city / f"{stem}_{suffix}.png", np.full((16, 32, 3), n, np.uint8)
            )
            if not truth:
                continue
            ids = np.full((16, 32), 7, np.uint16)
            ids[2:8, 3:6] = 24000
            ids[2:8, 10:14] = 24001
            ids[4:9, 20:22] = 25000
            ids[9:12, 20:22] = 33000
            ids[0:2, 28:32] = 24  # a group
            folder = root / "gtFine" / split / city
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{stem}_gtFine_instanceIds.png"), ids)
            labels = np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)
            cv2.imwrite(str(folder / f"{stem}_gtFine_labelIds.png"), labels)
            cv2.imwrite(str(folder / f"{stem}_gtFine_color.png"), np.dstack([labels] * 4))
            boxes = {
                "person": [(3, 2, 5, 7), (10, 2, 13, 7)],
                "rider": [(20, 4, 21, 8)],
                "bicycle": [(20, 9, 21, 11)],
            }
            objects = {
                "imgHeight": 16,
                "imgWidth": 32,
                "objects": [
                    {"label": label, "polygon": [[a, b], [c, b], [c, d], [a, d]]}
                    for label, some in [*boxes.items(), ("persongroup", [(28, 0, 31, 1)])]
                    for a, b, c, d in some
                ],
            }
            (folder / f"{stem}_gtFine_polygons.json").write_text(json.dumps(objects))
    return root


@pytest.mark.parametrize("inner", ["", "cityscapes"])
def test_reads_the_official_layout(tmp_path, inner):
    make(tmp_path / inner)
    dataset = Cityscapes(tmp_path)
    assert [s.id for s in dataset.samples("train")] == [
        f"{stem.split('_')[0]}/{stem}_leftImg8bit.png" for stem in STEMS["train"]
    ]
    assert dataset.samples("train")[2].labels == {"city": "hamburg", "sequence": 0, "frame": 103367}
    Cityscapes(tmp_path, official=False).verify()
    with pytest.raises(DatasetError, match=r"holds 3 pictures instead of 2,975; .*instead of 500\. Download"):
        dataset.verify()


def test_people_are_persons_riders_and_groups(tmp_path):
    dataset = Cityscapes(make(tmp_path))
    people = dataset.people(dataset.samples("val")[0])
    assert people.boxes.tolist() == [[28, 0, 32, 2], [3, 2, 6, 8], [10, 2, 14, 8], [20, 4, 22, 9]]
    assert people.masks.sum((1, 2)).tolist() == [8, 18, 24, 10]
    assert people.keypoints is None


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"lacks .*leftImg8bit, .*gtFine\. Download"):
        Cityscapes(tmp_path).verify()
    make(tmp_path)
    with pytest.raises(DatasetError, match="no split 'test'"):
        Cityscapes(tmp_path).samples("test")
    (tmp_path / "gtFine" / "val" / "lindau" / "lindau_000000_000019_gtFine_color.png").unlink()
    with pytest.raises(
        DatasetError, match=r"lacks 1 files: gtFine/val/lindau/lindau_000000_000019_gtFine_color\.png\."
    ):
        Cityscapes(tmp_path, official=False).verify()
    for city in ("ulm", "bonn"):
        folder = tmp_path / "gtFine" / "train" / city
        folder.mkdir(exist_ok=True)
        for i in range(6):
            (folder / f"{city}_{i:06d}_000019_gtFine_polygons.json").write_text("{}")
    with pytest.raises(DatasetError) as caught:
        Cityscapes(tmp_path).verify()
    assert "instead of 2,975" in str(caught.value)
    path = re.search(r"all of them: (.*?)\)", str(caught.value))[1]
    listed = Path(path).read_text().splitlines()
    assert "leftImg8bit/train/ulm/ulm_000005_000019_leftImg8bit.png" in listed
    assert "gtFine/val/lindau/lindau_000000_000019_gtFine_color.png" in listed
    assert len(listed) == 13
    write_image(tmp_path / "leftImg8bit" / "val" / "lindau" / "street.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"street\.png breaks Cityscapes' pattern"):
        Cityscapes(tmp_path).samples("val")


def test_a_copy_has_the_same_labels(tmp_path):
    dataset = Cityscapes(make(tmp_path / "in"))
    handed = [
        (split, s.id, np.full((16, 32, 3), 77, np.uint8)) for split in STEMS for s in dataset.samples(split)
    ]
    copy = dataset.rewrite(tmp_path / "out", iter(handed))
    copy.verify()
    assert copy.meta == dataset.meta
    for split in STEMS:
        for before, after in zip(dataset.samples(split), copy.samples(split), strict=True):
            assert before.id == after.id
            assert (read_image(after.path) == 77).all()
            for kind in GROUND_TRUTH:
                assert copy.ground_truth(after, kind).is_relative_to(tmp_path / "out")
                assert (
                    copy.ground_truth(after, kind).read_bytes()
                    == dataset.ground_truth(before, kind).read_bytes()
                )
    copy.ground_truth(after, "labelIds.png").unlink()
    assert dataset.ground_truth(before, "labelIds.png").is_file()


def test_a_copy_refuses_what_is_not_its_own(tmp_path):
    dataset = Cityscapes(make(tmp_path / "in"))
    picture = np.zeros((16, 32, 3), np.uint8)
    with pytest.raises(DatasetError, match=r"no picture lindau/x\.png in val"):
        dataset.rewrite(tmp_path / "a", [("val", "lindau/x.png", picture)])
    with pytest.raises(DatasetError, match="the dataset itself"):
        dataset.rewrite(tmp_path / "in", [])
    first, second = (s.id for s in dataset.samples("train")[:2])
    copy = dataset.rewrite(tmp_path / "b", [("train", first, picture)])
    assert [len(copy.samples(split)) for split in STEMS] == [1, 0]
    with pytest.raises(DatasetError, match="something else"):
        dataset.rewrite(tmp_path / "b", [("train", second, picture)])


def test_the_official_blurred_pictures_are_ready_made(tmp_path):
    dataset = Cityscapes(make(tmp_path), official=False)
    make(tmp_path, "leftImg8bit_blurred", truth=False)
    blurred = FolderSource(tmp_path / "leftImg8bit_blurred").dataset(dataset, ["val"])
    assert [s.id for s in blurred.samples("val")] == [s.id for s in dataset.samples("val")]
    assert blurred.samples("val")[0].path.name == "lindau_000000_000019_leftImg8bit_blurred.png"
    assert len(blurred.people(blurred.samples("val")[0])) == 4
    elsewhere = make(tmp_path / "elsewhere", "leftImg8bit_blurred", truth=False)
    assert len(dataset.open(elsewhere).people(dataset.open(elsewhere).samples("val")[0])) == 4


def truth(root, kind, city="lindau"):
    return root / "gtFine" / "val" / city / f"{city}_000000_000019_gtFine_{kind}"


def spoil_ids(kind, change):
    def spoil(root):
        path = str(truth(root, kind))
        cv2.imwrite(path, change(cv2.imread(path, cv2.IMREAD_UNCHANGED)))

    return spoil


def spoil_polygons(change):
    def spoil(root):
        data = json.loads(truth(root, "polygons.json").read_text())
        truth(root, "polygons.json").write_text(json.dumps(change(data)))

    return spoil


def turn(root):
    from PIL import Image as Pillow

    exif = Pillow.Exif()
    exif[0x0112] = 3
    path = root / "leftImg8bit" / "val" / "lindau" / "lindau_000000_000019_leftImg8bit.png"
    Pillow.open(path).save(path, exif=exif)


def move(name, to):
    def spoil(root):
        (root / to).parent.mkdir(parents=True, exist_ok=True)
        (root / name).rename(root / to)

    return spoil


LINDAU = "lindau_000000_000019"
SOMEBODY = {"label": "person", "polygon": [[24, 10], [30, 10], [30, 15]]}
TRAIN_IDS = np.zeros(256, np.uint8)
TRAIN_IDS[[7, 24, 25, 33]] = [0, 11, 12, 18]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_ids("instanceIds.png", lambda ids: ids.astype(np.uint8)), r"holds the value (192|193|168|232), which is no instance id"),
        (spoil_ids("instanceIds.png", lambda ids: np.minimum(ids, 7).astype(np.uint8)), "contradict each other at x=.*labelIds.png shows a person there"),
        (spoil_ids("instanceIds.png", lambda ids: np.minimum(ids // 1000, 33).astype(np.uint8)), "contradict"),
        (spoil_ids("instanceIds.png", lambda ids: np.where(ids >= 1000, ids - 13000, ids % 24)), r"holds the value|contradict"),
        (spoil_ids("instanceIds.png", lambda ids: np.where(ids == 24001, 7, ids).astype(np.uint16)), "labelIds.png shows a person there"),
        (spoil_ids("instanceIds.png", lambda ids: ids[:, ::-1]), "contradict"),
        (spoil_ids("instanceIds.png", lambda ids: ids[:8]), "32x16 pixels|32x8 pixels"),
        (spoil_ids("instanceIds.png", lambda ids: np.dstack([ids] * 3)), "a picture of colours, not of ids"),
        (spoil_ids("instanceIds.png", lambda ids: ids + 9000), "no instance id"),
        (spoil_ids("labelIds.png", lambda ids: TRAIN_IDS[ids]), "contradict"),
        (spoil_ids("labelIds.png", lambda ids: ids * 0), "instanceIds.png shows a person there, .*labelIds.png none"),
        (spoil_ids("labelIds.png", lambda ids: ids + 60), "no label id"),
        (spoil_polygons(lambda data: data | {"objects": []}), "polygons.json contradict"),
        (spoil_polygons(lambda data: data | {"objects": [*data["objects"], SOMEBODY]}), "polygons.json shows a person there"),
        (spoil_polygons(lambda data: data | {"imgWidth": 64}), "is of 64x16 pixels"),
        (spoil_polygons(lambda data: data["objects"]), "no file of Cityscapes' polygons"),
        (spoil_polygons(lambda data: data | {"objects": [{"label": "person", "polygon": [[1, 2, 3]]}]}), "objects.0.polygon"),
        (lambda root: truth(root, "polygons.json").write_text('{"objects": ['), "no file of Cityscapes' polygons"),
        (lambda root: truth(root, "instanceIds.png").write_bytes(b"x"), "damaged, or no picture"),
        (lambda root: truth(root, "instanceIds.png").unlink(), "lacks 1 files"),
        (turn, "EXIF orientation 3"),
        (move(f"gtFine/val/lindau/{LINDAU}_gtFine_instanceIds.png", f"gtFine/val/bonn/{LINDAU}_gtFine_instanceIds.png"), "lacks 1 files"),
        (move(f"leftImg8bit/val/lindau/{LINDAU}_leftImg8bit.png", f"leftImg8bit/val/bonn/{LINDAU}_leftImg8bit.png"), "breaks Cityscapes' pattern"),
        (move(f"leftImg8bit/val/lindau/{LINDAU}_leftImg8bit.png", f"leftImg8bit/val/lindau/{LINDAU}_leftImg8bit.PNG"), "breaks Cityscapes' pattern"),
        (move(f"leftImg8bit/val/lindau/{LINDAU}_leftImg8bit.png", f"leftImg8bit/val/x/lindau/{LINDAU}_leftImg8bit.png"), "breaks Cityscapes' pattern"),
    ],
)  # fmt: skip
def test_labels_that_contradict_each_other(tmp_path, spoil, message):
    spoil(make(tmp_path))
    with pytest.raises(DatasetError, match=message) as caught:
        Cityscapes(tmp_path, official=False).verify()
    assert caught.value.remedy


def test_a_license_plate_in_front_of_a_rider_is_no_contradiction(tmp_path):
    """The official labels have it, the official instances have not."""
    spoil_ids(
        "labelIds.png",
        lambda ids: np.where(np.indices(ids.shape)[0] == 6, np.where(ids == 25, 255, ids), ids).astype(
            np.uint8
        ),
    )(make(tmp_path))
    Cityscapes(tmp_path, official=False).verify()
