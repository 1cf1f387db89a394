import contextlib
import io
import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image as PILImage

from dp2bench.core.errors import DatasetError
from dp2bench.datasets.cityscapes import Cityscapes
from dp2bench.datasets.coco import FOLDERS, Coco
from dp2bench.datasets.passersby import cityscapes_builder, coco_builder
from dp2bench.datasets.passersby.cityscapes import PassersbyCityscapes
from dp2bench.datasets.passersby.cityscapes_builder import CityscapesBuilder
from dp2bench.datasets.passersby.coco import PassersbyCoco
from dp2bench.datasets.passersby.coco_builder import CocoBuilder
from dp2bench.datasets.passersby.generation import truth
from dp2bench.datasets.passersby.generation.chunks import split_columns
from dp2bench.datasets.passersby.reid import PassersbyReID
from dp2bench.datasets.passersby.rendering.body import SKIN_VERTICES
from dp2bench.datasets.passersby.rendering.townscape import Label


@pytest.fixture(autouse=True)
def _cache(rendered_cache, monkeypatch):
    monkeypatch.setenv("DP2BENCH_CACHE", str(rendered_cache))


@pytest.fixture
def scenes():
    dataset = PassersbyCoco("smoke")
    dataset.prepare()
    return dataset


@pytest.fixture
def streets():
    dataset = PassersbyCityscapes("smoke")
    dataset.prepare()
    return dataset


@pytest.mark.parametrize("kind", [PassersbyCoco, PassersbyCityscapes])
def test_the_whole_dataset_verifies_and_its_people_fit(kind):
    dataset = kind("smoke")
    dataset.verify()
    identities = {}
    for split in dataset.meta.splits:
        for sample in dataset.samples(split):
            people = dataset.people(sample)
            with PILImage.open(sample.path) as im:
                w, h = im.size
            assert people.masks.shape == (len(people), h, w)
            assert people.masks.sum(0).max(initial=0) <= 1
            for i in range(len(people)):
                ys, xs = np.nonzero(people.masks[i])
                assert people.boxes[i].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
                surface = people.surfaces[i]
                assert surface.template == truth.TEMPLATE
                assert surface.vertices.max() < SKIN_VERTICES
                x0, y0, x1, y1 = surface.box
                assert not ((surface.vertices >= 0) & ~people.masks[i, y0:y1, x0:x1]).any()
                k = people.keypoints[i]
                inside = (k[:, 0] >= 0) & (k[:, 0] < w) & (k[:, 1] >= 0) & (k[:, 1] < h)
                assert (inside | (k[:, 2] == 0)).all()
                face = people.faces[i]
                assert np.isnan(face).all() or (0 <= face[0] < face[2] <= w and 0 <= face[1] < face[3] <= h)
            who = dataset.identities(sample)
            assert len(who) == len(people)
            identities.setdefault(split, set()).update(who)
    assert not identities["train"] & identities["val"]
    assert identities["train"] | identities["val"] <= set(dataset.attributes())


def test_visible_keypoints_lie_on_people(scenes):
    on, counted = 0, 0
    for sample in scenes.samples("train"):
        people = scenes.people(sample)
        anybody = cv2.dilate(people.masks.any(0).astype(np.uint8), np.ones((5, 5)))
        for x, y, v in people.keypoints.reshape(-1, 3):
            if v == 2:
                counted += 1
                on += int(anybody[int(y), int(x)])
    assert on > 0.97 * counted > 50


def test_pycocotools_scores_the_ground_truth_as_perfect(scenes):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    sizes = set()
    for folder in FOLDERS.values():
        for kind, scored in (("person_keypoints", "keypoints"), ("instances", "segm"), ("instances", "bbox")):
            with contextlib.redirect_stdout(io.StringIO()):
                given = COCO(str(scenes.root / "annotations" / f"{kind}_{folder}.json"))
                found = [
                    {k: row[k] for k in ("image_id", "category_id", "bbox", "keypoints") if k in row}
                    | {"score": 1.0}
                    | ({"segmentation": given.annToRLE(row)} if scored == "segm" else {})
                    for row in given.anns.values()
                    if not row["iscrowd"] and (scored != "keypoints" or row["num_keypoints"])
                ]
                evaluation = COCOeval(given, given.loadRes(found), scored)
                evaluation.evaluate()
                evaluation.accumulate()
                evaluation.summarize()
            assert evaluation.stats[0] == pytest.approx(1.0)
            sizes |= {row["area"] >= 32**2 for row in given.anns.values()}
    assert sizes == {True, False}


def test_the_json_and_the_exact_people_agree(scenes):
    file = scenes.file("val")
    for sample in scenes.samples("val"):
        exact, drawn = scenes.people(sample), Coco.people(scenes, sample)
        rows = file.rows(file.by_id(sample.labels["image_id"]))
        for mask, row, points in zip(drawn.masks, rows, drawn.keypoints, strict=True):
            if row.iscrowd or mask.sum() < 400:
                continue
            overlap = (exact.masks & mask).sum((1, 2)) / (exact.masks | mask).sum((1, 2))
            # Polygons fill holes, e.g. between arm and body.
            assert overlap.max() > 0.8
            if points.any():
                same = exact.keypoints[overlap.argmax()]
                np.testing.assert_array_equal(points[:, 2], same[:, 2])
                assert np.abs(points - same)[same[:, 2] > 0].max() <= 1


def test_the_plan_names_every_picture_once_and_a_chunk_shares_its_pool():
    for builder in (CocoBuilder(), CityscapesBuilder()):
        for size in builder.sizes:
            plan = builder.plan(size)
            specs = [(spec.split, spec.number) for chunk in plan for spec in chunk]
            assert len(set(specs)) == len(specs) == builder.sizes[size].train + builder.sizes[size].val
            assert all(len({(s.split, s.pool) for s in chunk}) == 1 for chunk in plan)
    images = [coco_builder.image_id(spec) for chunk in CocoBuilder().plan("large") for spec in chunk]
    assert len(set(images)) == len(images)


def test_a_crowd_becomes_one_region():
    from pycocotools import mask as mask_utils

    spec = CocoBuilder().plan("smoke")[0][1]
    view, _, crowd = coco_builder.render_sample(spec, CocoBuilder().pool(spec))
    assert len(view.people) > 3
    rows = coco_builder.annotate(view, [True] * len(crowd))
    crowds = [row for row in rows if row["iscrowd"]]
    assert len(crowds) == 1
    assert not [row for row in rows if row["category_id"] == 1 and not row["iscrowd"]]
    assert sum(crowds[0]["segmentation"]["counts"]) == coco_builder.WIDTH * coco_builder.HEIGHT
    assert sum(crowds[0]["segmentation"]["counts"][1::2]) == crowds[0]["area"]
    size = coco_builder.HEIGHT, coco_builder.WIDTH
    region = mask_utils.decode(mask_utils.frPyObjects(crowds[0]["segmentation"], *size)).astype(bool)
    assert region[(view.things >= 0) & (view.things < 1000)].all()


@pytest.mark.parametrize("kind", [PassersbyCoco, PassersbyCityscapes])
def test_a_chunk_is_the_same_bytes_here_as_in_the_dataset(kind):
    dataset = kind("smoke")
    dataset.prepare()
    arrays = kind.builder().make_chunk(kind.builder().plan("smoke")[-1])
    columns = [name.removesuffix("_first") for name in arrays if name.endswith("_first")]
    files = {p.read_bytes() for p in dataset.root.rglob("*") if p.is_file()}
    for row in split_columns(arrays, columns):
        note = json.loads(row.pop("notes"))
        assert set(row.values()) <= files
        made = (
            dataset.truth.rows(FOLDERS[note["split"]], f"{note['id']:012d}")
            if kind is PassersbyCoco
            else dataset.truth.rows(note["split"], note["stem"])
        )
        # In a chunk people are numbered within their stream.
        assert [{**p, "identity": 0} for p in note["people"]] == [{**p, "identity": 0} for p in made]


def test_cityscapesscripts_scores_the_ground_truth_as_perfect(streets, tmp_path, monkeypatch):
    from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as official

    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # gone from NumPy 2.4, still used there
    monkeypatch.setattr(official, "writeDict2JSON", lambda *_: None)  # it writes into the working directory
    predictions, truths = [], []
    for sample in streets.samples("val"):
        path = streets.ground_truth(sample, "instanceIds.png")
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        stem, lines = path.name.removesuffix("_gtFine_instanceIds.png"), []
        for value in np.unique(ids[ids >= 1000]):
            name = f"{stem}_{value}.png"
            cv2.imwrite(str(tmp_path / name), 255 * (ids == value).astype(np.uint8))
            lines.append(f"{name} {value // 1000} 1.0")
        (tmp_path / f"{stem}.txt").write_text("\n".join(lines))
        predictions.append(str(tmp_path / f"{stem}.txt"))
        truths.append(str(path))
    arguments = official.args
    monkeypatch.setattr(arguments, "predictionPath", str(tmp_path))
    monkeypatch.setattr(arguments, "gtInstancesFile", str(tmp_path / "truth.json"))
    monkeypatch.setattr(arguments, "quiet", True)
    monkeypatch.setattr(arguments, "JSONOutput", False)
    with contextlib.redirect_stdout(io.StringIO()):
        averages = official.evaluateImgLists(predictions, truths, arguments)["averages"]
    assert averages["classes"]["person"]["ap"] == 1.0
    assert averages["classes"]["car"]["ap"] == 1.0
    assert averages["classes"]["rider"]["ap"] == averages["classes"]["bicycle"]["ap"] == 1.0
    assert averages["allAp"] == 1.0


def test_the_four_files_of_gtfine_agree(streets):
    from cityscapesscripts.helpers.annotation import Annotation
    from cityscapesscripts.helpers.labels import labels as table
    from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
    from cityscapesscripts.preparation.json2labelImg import createLabelImage

    colours = {label.id: label.color for label in table}
    for split in streets.meta.splits:
        for sample in streets.samples(split):
            labels, ids, colour = (
                cv2.imread(str(streets.ground_truth(sample, f"{kind}.png")), cv2.IMREAD_UNCHANGED)
                for kind in ("labelIds", "instanceIds", "color")
            )
            assert labels.dtype == np.uint8
            assert ids.dtype == np.uint16
            np.testing.assert_array_equal(np.where(ids >= 1000, ids // 1000, ids), labels)
            for value in np.unique(labels):
                assert (colour[labels == value] == [*colours[value][::-1], 255]).all()
            drawn = Annotation()
            drawn.fromJsonFile(str(streets.ground_truth(sample, "polygons.json")))
            assert (np.array(createLabelImage(drawn, "ids")) == labels).mean() > 0.999
            again = np.array(createInstanceImage(drawn, "ids"))
            assert len(np.unique(again[again >= 1000])) == len(np.unique(ids[ids >= 1000]))
            a, b = streets.people(sample), Cityscapes.people(streets, sample)
            exact = [mask for box, mask in zip(b.boxes, b.masks, strict=True) if mask.sum() >= 16]
            assert len(exact) == len(a)
            np.testing.assert_array_equal(a.masks.any(0), np.any(exact, 0) if exact else a.masks.any(0))


@pytest.mark.parametrize(("split", "number"), [("train", 11), ("val", 36)])
def test_painting_the_polygons_in_turn_gives_the_labels_of_interlocked_things(split, number):
    """A rider stands before and behind their bicycle, so that neither's polygon may simply be painted last."""
    builder = CityscapesBuilder()
    spec = next(s for chunk in builder.plan("mini") for s in chunk if (s.split, s.number) == (split, number))
    view, _ = cityscapes_builder.render_sample(spec, builder.pool(spec))
    assert Label.RIDER in view.labels
    painted = np.zeros(view.labels.shape, np.uint8)
    for thing in cityscapes_builder.polygons(view):
        label = Label[thing["label"].removesuffix("group").upper().replace(" ", "_")]
        cv2.fillPoly(painted, [np.array(thing["polygon"], np.int32)], int(label))
    np.testing.assert_array_equal(painted, view.labels)


def test_an_anonymised_copy_knows_its_people(scenes, streets, tmp_path):
    for dataset in (scenes, streets):
        handed = (
            (split, s.id, np.zeros((*dataset.people(s).masks.shape[1:], 3), np.uint8))
            for split in dataset.meta.splits
            for s in dataset.samples(split)
        )
        copy = dataset.rewrite(tmp_path / dataset.meta.name, handed)
        copy.verify()
        assert copy.meta == dataset.meta
        a, b = (d.samples("val")[0] for d in (dataset, copy))
        assert a.path != b.path
        np.testing.assert_array_equal(dataset.people(a).masks, copy.people(b).masks)


def test_tampering_is_found(scenes, tmp_path, monkeypatch):
    shutil.copytree(scenes.root, tmp_path / "datasets" / scenes.root.name)
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path))
    copy = PassersbyCoco("smoke")
    (copy.root / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps({"images": []}))
    with pytest.raises(DatasetError, match="person_keypoints_val2017"):
        copy.verify()


def test_an_unknown_size_is_refused():
    for kind in (PassersbyCoco, PassersbyCityscapes):
        with pytest.raises(DatasetError, match=r"Choose one of smoke, mini, .*large\."):
            kind("huge")


@pytest.mark.filterwarnings("ignore")
def test_torchreid_scores_perfect_features_of_passersby_reid_as_perfect(tmp_path, capsys):
    dataset = PassersbyReID("smoke")
    dataset.prepare()
    (tmp_path / "market1501").mkdir()
    (tmp_path / "market1501" / "Market-1501-v15.09.15").symlink_to(dataset.root)
    from torchreid.reid.data.datasets.image.market1501 import Market1501
    from torchreid.reid.metrics.rank import evaluate_rank

    theirs = Market1501(root=str(tmp_path))
    assert [len(theirs.query), len(theirs.train)] == [len(dataset.samples(s)) for s in ("query", "train")]
    (queries, query_cameras), (gallery, gallery_cameras) = (
        (np.array([row[1] for row in rows]), np.array([row[2] for row in rows]))
        for rows in (theirs.query, theirs.gallery)
    )
    distances = (queries[:, None] != gallery[None]).astype(np.float32)
    ranks, mean = evaluate_rank(distances, queries, gallery, query_cameras, gallery_cameras, use_cython=False)
    assert mean == 1.0
    assert ranks[0] == 1.0
