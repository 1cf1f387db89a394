"""Datasets that people bring beside the paper's: MSMT17, DukeMTMC-reID and its like, CUHK03, and COCO JSON of BDD100k and nuImages."""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core import registry
from dp2bench.core.errors import AnnotationError, DatasetError
from dp2bench.core.images import read_image
from dp2bench.datasets.reid import TEST_IDENTITIES

own = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("own_data.py"))))
REID = {"msmt17": own.msmt17, "dukemtmc-reid": own.dukemtmc_reid, "cuhk03": own.cuhk03}
JSON = {"bdd100k": (own.bdd100k, own.BDD100K), "nuimages": (own.nuimages, own.NUIMAGES)}


def reid(name, root, **arguments):
    return registry.create("datasets", name, {"root": root, "official": False, **arguments})


def torchreid(name, root):
    with contextlib.redirect_stdout(io.StringIO()):
        from torchreid.reid.data.datasets.image import cuhk03, dukemtmcreid, msmt17

        loaders = {
            "msmt17": msmt17.MSMT17,
            "dukemtmc-reid": dukemtmcreid.DukeMTMCreID,
            "cuhk03": cuhk03.CUHK03,
        }
        return loaders[name](root=str(root))


def everything(data):
    return [(split, s) for split in data.meta.splits for s in data.samples(split)]


def negatives(data):
    return [(split, s.id, 255 - data.read(s)) for split, s in everything(data)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REID)
def test_torchreid_reads_the_dataset_and_its_copy_as_we_do(tmp_path, name):
    base = REID[name](tmp_path / "clear")
    data = reid(name, tmp_path / "clear")
    assert data.root == base
    data.verify()
    out = tmp_path / "out" / base.relative_to(tmp_path / "clear")
    copy = data.rewrite(out, negatives(data))
    copy.verify()
    for root, ours in ((tmp_path / "clear", data), (tmp_path / "out", copy)):
        theirs = torchreid(name, root)
        for split in ("train", "query", "gallery"):
            rows = [(Path(row[0]).resolve(), row[1], row[2]) for row in getattr(theirs, split)]
            mine = {s.path.resolve(): s.labels for s in ours.samples(split)}
            assert len(rows) == len(mine)
            assert {p for p, *_ in rows} == set(mine)
            assert all(mine[path]["camera"] == camera + 1 for path, _, camera in rows)
            same = {}  # numbers may differ; who is the same person may not
            for path, identity, _ in rows:
                assert same.setdefault(identity, mine[path]["identity"]) == mine[path]["identity"]
            assert len(set(same.values())) == len(same)
    for split, sample in everything(copy):
        clear = read_image(next(s for s in data.samples(split) if s.id == sample.id).path)
        assert np.abs(read_image(sample.path).astype(int) - (255 - clear)).mean() < 12


@pytest.mark.parametrize("name", REID)
def test_labels(tmp_path, name):
    REID[name](tmp_path)
    data = reid(name, tmp_path)
    people = {split: {s.labels["identity"] for s in data.samples(split)} for split in data.meta.splits}
    assert all(min(some) > 0 for some in people.values())
    assert len(people["train"]) == 5
    assert len(people["query"]) == 4
    assert people["query"] <= people["gallery"]
    assert not people["train"] & people["gallery"]
    if name == "msmt17":
        assert [s.labels for s in data.samples("train")][:3] == [
            {"identity": 1, "camera": c} for c in (1, 7, 15)
        ]
        assert people["query"] == set(range(TEST_IDENTITIES + 1, TEST_IDENTITIES + 5))
        assert people["val"] == people["train"]
    if name == "dukemtmc-reid":
        assert people["gallery"] - people["query"] == {64}
    if name == "cuhk03":
        assert Counter(s.labels["camera"] for s in data.samples("train")) == {1: 10, 2: 10}
        assert reid(name, tmp_path, labeled=True).root == data.root


@pytest.mark.parametrize("name", REID)
def test_what_is_missing_is_named(tmp_path, name):
    with pytest.raises(DatasetError) as caught:
        reid(name, tmp_path).verify()
    assert str(tmp_path) in caught.value.problem
    assert caught.value.remedy
    REID[name](tmp_path)
    with pytest.raises(DatasetError, match="not complete|pictures of"):
        registry.create("datasets", name, {"root": tmp_path}).verify()  # as if it were the published one
    data = reid(name, tmp_path)
    for s in data.samples("gallery"):
        s.path.unlink()
    with pytest.raises(DatasetError, match="lacks|no pictures in"):
        reid(name, tmp_path).verify()


def test_msmt17_version_2(tmp_path):
    own.msmt17(tmp_path, "MSMT17_V2", "mask_train_v2", "mask_test_v2")
    data = reid("msmt17", tmp_path)
    assert data.meta.version == "V2"
    data.verify()
    assert len(data.rewrite(tmp_path / "out", negatives(data)).samples("train")) == 15


def test_msmt17_lists_and_folders_name_the_same_pictures(tmp_path):
    base = own.msmt17(tmp_path)
    own.person(base / "test" / "0009" / "0009_000_01_0303morning_0015_0.jpg", 9)
    with pytest.raises(DatasetError, match="1 pictures in .*test are in no list"):
        reid("msmt17", tmp_path).verify()
    shutil.rmtree(base / "test" / "0009")
    gone = next((base / "train" / "0002").iterdir())
    gone.unlink()
    with pytest.raises(DatasetError, match=f"lacks 1 pictures of the lists: 0002/{gone.name}"):
        reid("msmt17", tmp_path).verify()


@pytest.mark.parametrize(
    "line",
    [
        "0000/0000_000_01_0303morning.jpg",
        "person.jpg 3",
        "../x/0000_000_01_a.jpg 0",
        "0000/0000_000_01_a.jpg x",
    ],
)
def test_msmt17_lines(tmp_path, line):
    base = own.msmt17(tmp_path)
    (base / "list_query.txt").write_text(f"{line}\n")
    with pytest.raises(DatasetError, match=r"list_query.txt, line 1"):
        reid("msmt17", tmp_path).samples("query")


def test_cuhk03_as_png_in_three_folders(tmp_path):
    """CUHK03-NP: names as DukeMTMC-reID's, PNG."""
    for folder, names in {
        "bounding_box_train": ["0003_c1_21.png", "0003_c2_23.png"],
        "query": ["0002_c1_11.png"],
        "bounding_box_test": ["0002_c2_13.png", "-1_c1_4.png"],
    }.items():
        for name in names:
            own.person(tmp_path / folder / name, 1)
    data = reid("dukemtmc-reid", tmp_path)
    data.verify()
    assert [s.labels["identity"] for s in data.samples("gallery")] == [-1, 2]
    own.person(tmp_path / "query" / "somebody.png", 1)
    with pytest.raises(DatasetError, match="somebody.png does not begin with identity and camera"):
        reid("dukemtmc-reid", tmp_path).verify()


def test_a_copy_of_cuhk03_holds_nothing_of_the_clear_pictures(tmp_path):
    base = own.cuhk03(tmp_path / "clear")
    data = reid("cuhk03", tmp_path / "clear")
    out = tmp_path / "copy"
    data.rewrite(out, negatives(data))
    clear = {p.read_bytes() for p in base.rglob("*.png")} | {
        (base / "cuhk03_release/cuhk-03.mat").read_bytes()
    }
    files = [p for p in out.rglob("*") if p.is_file()]
    assert not clear & {p.read_bytes() for p in files}
    for name in out.glob("splits_*.json"):
        (split,) = json.loads(name.read_text())
        assert all(Path(row[0]).is_relative_to(out) for rows in split.values() for row in rows)
    assert not list((out / "images_labeled").iterdir())  # nobody anonymized those


@pytest.mark.parametrize(
    "content", ["[", "{}", '[{"train": []}]', '[{"train": [["a.png", 0, 0]], "query": [], "gallery": []}]']
)
def test_cuhk03_json(tmp_path, content):
    base = own.cuhk03(tmp_path)
    (base / "splits_new_detected.json").write_text(content)
    with pytest.raises(DatasetError, match=r"splits_new_detected\.json"):
        reid("cuhk03", tmp_path).verify()


@pytest.mark.parametrize("name", JSON)
def test_pycocotools_reads_the_copy_of_coco_json(tmp_path, name):
    from pycocotools.coco import COCO

    build, arguments = JSON[name]
    root = build(tmp_path / "clear")
    data = registry.create("datasets", "coco-json", {"root": root, **arguments})
    data.verify()
    copy = data.rewrite(tmp_path / "copy", negatives(data))
    copy.verify()
    for split, file in arguments["annotations"].items():
        assert (tmp_path / "copy" / file).read_bytes() == (root / file).read_bytes()
        with contextlib.redirect_stdout(io.StringIO()):
            official = COCO(str(tmp_path / "copy" / file))
        folder = tmp_path / "copy" / arguments.get("pictures", {}).get(split, "")
        assert len(official.imgs) == len(copy.samples(split)) == {"train": 2, "val": 8}[split]
        for sample in copy.samples(split):
            row = official.imgs[sample.labels["image_id"]]
            assert sample.path == folder / row["file_name"]
            assert read_image(sample.path).shape[:2] == (row["height"], row["width"])
            people = copy.people(sample)
            assert len(people) == 2  # a pedestrian and a rider, or two pedestrians; no car
            if name == "nuimages":
                rows = official.loadAnns(official.getAnnIds(row["id"]))
                for mask, theirs in zip(people.masks, rows, strict=True):
                    np.testing.assert_array_equal(mask, official.annToMask(theirs) > 0)


def test_coco_json_says_what_is_wrong(tmp_path):
    def make(**more):
        return registry.create("datasets", "coco-json", {"root": tmp_path, **own.NUIMAGES, **more})

    with pytest.raises(DatasetError, match=r"lacks the file .*nuimages_v1.0-train.json"):
        make().verify()
    own.nuimages(tmp_path)
    with pytest.raises(DatasetError, match="no folder of pictures for val"):
        make(pictures={"train": ""})
    with pytest.raises(DatasetError, match="leads out of its folder"):
        make(pictures="../elsewhere")
    with pytest.raises(DatasetError, match="holds none of the 2 pictures"):
        make(pictures="samples").verify()
    with pytest.raises(AnnotationError, match="no category 'person'"):
        make(category="person").verify()
    with pytest.raises(DatasetError, match="no split 'test'"):
        make().samples("test")
    file = tmp_path / "annotations" / "nuimages_v1.0-val.json"
    content = json.loads(file.read_text())
    (tmp_path / content["images"][0]["file_name"]).unlink()
    with pytest.raises(DatasetError, match=r"lacks 1 pictures of .*val.json: samples/CAM_FRONT/n003"):
        make().verify()
    content["images"][0]["file_name"] = "/etc/passwd"
    file.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match="leads out of its folder"):
        make().samples("val")


def test_coco_json_leaves_out_what_is_not_handed_over(tmp_path):
    own.nuimages(tmp_path / "in")
    data = registry.create("datasets", "coco-json", {"root": tmp_path / "in", **own.NUIMAGES})
    first = negatives(data)[:1]
    copy = data.rewrite(tmp_path / "out", first)
    assert [len(copy.samples(s)) for s in copy.meta.splits] == [1, 0]
    with pytest.raises(DatasetError, match="not handed over"):
        data.rewrite(tmp_path / "out", negatives(data)[1:2])
    with pytest.raises(DatasetError, match="the dataset itself"):
        data.rewrite(tmp_path / "in", first)


def run(tmp_path, suite):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"schema_version": 1, "name": "own", **suite}))
    command = ["run", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run"), "--workers", "1"]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0, (told.output, told.exception)
    results = {}
    for path in (tmp_path / "run" / "results").glob("*/*/*.json"):
        if not path.name.endswith(".units.json"):
            result = json.loads(path.read_text())
            assert result["status"] == "ok", result["error"]
            results[result["spec"]["method"], result["spec"]["task"]] = {
                (s["scenario"], s["metric"]): s["value"] for s in result["scores"]
            }
    return results


ATTACKER = {"model": "osnet_x0_25", "epochs": 1, "height": 64, "width": 32, "permutations": 2}


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("name", REID)
def test_reidentification_runs(tmp_path, name):
    REID[name](tmp_path / "clear")
    arguments = {"root": str(tmp_path / "clear"), "official": False}
    tasks = [{"name": "market1501-reid", "arguments": ATTACKER}, "detection-coverage"]
    found = run(
        tmp_path,
        {
            "detector": "full-image",
            "datasets": [{"name": name, "arguments": arguments}],
            "methods": ["identity", "mask-out"],
            "tasks": tasks,
        },
    )
    clear, hidden = (found[m, "market1501-reid"] for m in ("identity", "mask-out"))
    assert clear["clear-clear", "mAP"] == hidden["clear-clear", "mAP"]
    assert hidden["clear-anonymized", "mAP"] < clear["clear-anonymized", "mAP"]  # grey all over


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("name", REID)
def test_attacks_run(tmp_path, name):
    REID[name](tmp_path / "clear")
    arguments = {"root": str(tmp_path / "clear"), "official": False}
    found = run(
        tmp_path,
        {
            "detector": "full-image",
            "datasets": [{"name": name, "arguments": arguments}],
            "methods": ["pixelate-8"],
            "tasks": ["privacy-attacks"],
        },
    )
    assert len(found["pixelate-8", "privacy-attacks"]) > 3


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("name", JSON)
def test_quality_and_coverage_run_on_coco_json(tmp_path, name):
    build, arguments = JSON[name]
    build(tmp_path / "clear")
    found = run(
        tmp_path,
        {
            "detector": "annotations",
            "datasets": [
                {
                    "name": "coco-json",
                    "label": name,
                    "arguments": {"root": str(tmp_path / "clear"), **arguments},
                }
            ],
            "methods": ["mask-out"],
            "tasks": [{"name": "image-quality", "arguments": {"size": 32, "limit": 8}}, "detection-coverage"],
        },
    )
    assert found["mask-out", "detection-coverage"]["", "anonymized"] == 1.0
    assert found["mask-out", "image-quality"]["crops", "perceptual_efficientnet"] > 0
