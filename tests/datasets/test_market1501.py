import os

import numpy as np
import pytest

from dp2bench.core.errors import DatasetError
from dp2bench.core.images import read_image, write_image
from dp2bench.datasets.market1501 import Market1501
from dp2bench.datasets.reid import FOLDERS

NAMES = {
    "train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000551_01.jpg", "0007_c3s3_077419_03.jpg"],
    "query": ["0001_c1s1_001051_00.jpg", "0003_c4s6_015641_00.jpg"],
    "gallery": [
        "-1_c1s1_000401_03.jpg",
        "0000_c1s1_000151_01.jpg",
        "0001_c2s1_001976_01.jpg",
        "0001_c1s1_002301_02.jpg",
        "0003_c5s1_000551_01.jpg",
    ],
}


def picture(number=0):
    return np.full((128, 64, 3), 10 * number, np.uint8)


def make(root, names=NAMES):
    first = None
    for split, folder in FOLDERS.items():
        (root / folder).mkdir(parents=True)
        for name in names[split]:
            if first is None:
                first = root / folder / name
                write_image(first, picture())
            else:
                os.link(first, root / folder / name)
    return root


def test_reads_the_official_layout(tmp_path):
    make(tmp_path)
    for junk in ["Thumbs.db", ".DS_Store", "._0002_c1s1_000451_03.jpg"]:
        (tmp_path / "bounding_box_test" / junk).write_bytes(b"x")
    dataset = Market1501(tmp_path)
    for split in dataset.meta.splits:
        assert [s.id for s in dataset.samples(split)] == sorted(NAMES[split])
        assert dataset.samples(split) is dataset.samples(split)
    assert dataset.samples("gallery")[0].labels["identity"] == -1
    assert dataset.samples("train")[0].labels == {
        "identity": 2,
        "camera": 1,
        "sequence": 1,
        "frame": 451,
        "box": 3,
    }
    Market1501(tmp_path, official=False).verify()
    dataset.open(tmp_path).verify()


@pytest.mark.parametrize("inner", ["Market-1501-v15.09.15", "market1501/Market-1501-v15.09.15", "market1501"])
def test_root_may_lie_above(tmp_path, inner):
    make(tmp_path / inner)
    assert Market1501(tmp_path).root == tmp_path / inner
    assert len(Market1501(tmp_path).samples("query")) == 2


@pytest.mark.parametrize(
    "name", ["0002_c7s1_000451_03.jpg", "person.jpg", "1502_c1s1_000451_03.jpg", "0002_c1s1_000451_03.png"]
)
def test_strange_names(tmp_path, name):
    make(tmp_path)
    (tmp_path / "query" / name).write_bytes(b"x")
    with pytest.raises(DatasetError, match="IIII_cCsS_FFFFFF_BB") as caught:
        Market1501(tmp_path).samples("query")
    assert name in caught.value.problem
    assert caught.value.remedy


def test_missing_empty_and_unknown(tmp_path):
    with pytest.raises(DatasetError, match=r"lacks bounding_box_train, query, bounding_box_test.*Download"):
        Market1501(tmp_path).verify()
    with pytest.raises(DatasetError, match=r"lacks the folder.*query"):
        Market1501(tmp_path).samples("query")
    with pytest.raises(DatasetError, match="no split 'val'"):
        Market1501(tmp_path).samples("val")
    make(tmp_path, {**NAMES, "query": []})
    with pytest.raises(DatasetError, match="no pictures in query"):
        Market1501(tmp_path).verify()


def test_queries_without_an_answer(tmp_path):
    make(tmp_path, {**NAMES, "query": [*NAMES["query"], "0009_c1s1_000001_00.jpg"]})
    with pytest.raises(DatasetError, match=r"1 query identities .* 0009\."):
        Market1501(tmp_path, official=False).verify()


def test_official_counts(tmp_path):
    people = range(1, 751)
    names = {
        "train": [f"{751 + i % 751:04d}_c1s1_{i:06d}_00.jpg" for i in range(12_936)],
        "query": [f"{i % 750 + 1:04d}_c1s1_{i:06d}_00.jpg" for i in range(3_368)],
        "gallery": [f"{i:04d}_c2s1_000000_00.jpg" for i in people]
        + [f"-1_c1s1_{i:06d}_00.jpg" for i in range(3_819)]
        + [f"0000_c1s1_{i:06d}_00.jpg" for i in range(19_732 - 750 - 3_819)],
    }
    make(tmp_path, names)
    Market1501(tmp_path).verify()
    (tmp_path / "bounding_box_train" / names["train"][-1]).unlink()
    with pytest.raises(DatasetError, match=r"train has 12,935 pictures of 751 identities instead of 12,936"):
        Market1501(tmp_path).verify()

    class Uncounted(Market1501):
        expected_counts = None

    Uncounted(tmp_path).verify()


@pytest.mark.filterwarnings("ignore")
def test_rewritten_tree_is_read_by_us_and_by_torchreid(tmp_path, capsys):
    dataset = Market1501(make(tmp_path / "in"))
    out = tmp_path / "out" / "market1501" / "Market-1501-v15.09.15"
    everything = [(split, s.id) for split in FOLDERS for s in dataset.samples(split)]
    copy = dataset.rewrite(out, ((sp, name, picture(n)) for n, (sp, name) in enumerate(everything)))
    assert copy.meta == dataset.meta
    copy.verify()
    for n, (split, name) in enumerate(everything):
        sample = next(s for s in copy.samples(split) if s.id == name)
        assert abs(read_image(sample.path).astype(int) - 10 * n).max() <= 1
        assert sample.labels == next(s for s in dataset.samples(split) if s.id == name).labels
    from torchreid.reid.data.datasets.image.market1501 import Market1501 as Theirs

    theirs = Theirs(root=str(tmp_path / "out"))
    for split in FOLDERS:
        ours = [s.labels for s in copy.samples(split) if s.labels["identity"] != -1]
        assert len(getattr(theirs, split)) == len(ours)
        cameras = sorted(row[2] + 1 for row in getattr(theirs, split))
        assert cameras == sorted(labels["camera"] for labels in ours)


def test_rewrite_leaves_out_what_is_not_handed_over(tmp_path):
    dataset = Market1501(make(tmp_path / "in"))
    copy = dataset.rewrite(tmp_path / "out", [("query", NAMES["query"][0], picture())])
    assert [len(copy.samples(split)) for split in FOLDERS] == [0, 1, 0]
    with pytest.raises(DatasetError, match="something else"):
        dataset.rewrite(tmp_path / "out", [("query", NAMES["query"][1], picture())])
    with pytest.raises(DatasetError, match=r"no picture a\.jpg in query"):
        dataset.rewrite(tmp_path / "more", [("query", "a.jpg", picture())])
    with pytest.raises(DatasetError, match="the dataset itself"):
        dataset.rewrite(tmp_path / "in", [])


def test_pictures_in_folders_of_identities_are_not_left_out(tmp_path):
    make(tmp_path)
    path = tmp_path / "query" / "0001" / "0001_c1s1_001051_00.jpg"
    path.parent.mkdir()
    path.write_bytes((tmp_path / "query" / path.name).read_bytes())
    with pytest.raises(DatasetError, match="lies in a folder of its own"):
        Market1501(tmp_path, official=False).verify()


@pytest.mark.parametrize(
    "name",
    ["0001_c1s1_001051_00.JPG", "0001_c1s1_001051_00.jpeg", "-2_c1s1_001051_00.jpg", "1_c1s1_001051_00.jpg"],
)
def test_names_of_other_forms_are_named(tmp_path, name):
    make(tmp_path)
    (tmp_path / "query" / "0001_c1s1_001051_00.jpg").rename(tmp_path / "query" / name)
    with pytest.raises(DatasetError, match="IIII_cCsS_FFFFFF_BB"):
        Market1501(tmp_path, official=False).verify()


def with_distractors(root):
    """The layout that torchreid reads with market1501_500k=True."""
    data = make(root / "market1501" / "Market-1501-v15.09.15")
    (data / "images").mkdir()
    for name in ("0000_c1s1_000001_00.jpg", "0000_c5s2_123456_01.jpg", "-1_c2s1_000002_00.jpg"):
        write_image(data / "images" / name, picture(3))
    return data


def test_distractors_are_added_to_the_gallery_as_torchreid_adds_them(tmp_path, capsys):
    data = with_distractors(tmp_path)
    ours = Market1501(tmp_path, distractors=True, official=False)
    ours.verify()
    gallery = ours.samples("gallery")
    assert [s.id for s in gallery[-3:]] == [
        "images/-1_c2s1_000002_00.jpg",
        "images/0000_c1s1_000001_00.jpg",
        "images/0000_c5s2_123456_01.jpg",
    ]
    assert ours.meta.version == "v15.09.15+500k"
    assert len(Market1501(tmp_path, official=False).samples("gallery")) == len(gallery) - 3
    torchreid = pytest.importorskip("torchreid.reid.data.datasets.image.market1501")
    theirs = torchreid.Market1501(root=str(tmp_path), market1501_500k=True)
    capsys.readouterr()
    assert sorted((path, who, camera) for path, who, camera, *_ in theirs.gallery) == sorted(
        (str(s.path), s.labels["identity"], s.labels["camera"] - 1)
        for s in gallery
        if s.labels["identity"] != -1
    )
    assert data == ours.root


def test_distractors_are_rewritten_with_the_others(tmp_path):
    with_distractors(tmp_path)
    ours = Market1501(tmp_path, distractors=True, official=False)
    pictures = [(split, s.id, picture(5)) for split in FOLDERS for s in ours.samples(split)]
    copy = ours.rewrite(tmp_path / "copy", pictures)
    assert [s.id for s in copy.samples("gallery")] == [s.id for s in ours.samples("gallery")]
    distractor = copy.samples("gallery")[-1]
    assert distractor.path == tmp_path / "copy" / "images" / "0000_c5s2_123456_01.jpg"
    assert ours.written(tmp_path / "copy", "gallery", distractor) == distractor.path
    assert abs(int(read_image(distractor.path).mean()) - 50) <= 1


def test_absent_or_misnamed_distractors_are_named(tmp_path):
    make(tmp_path / "a")
    with pytest.raises(DatasetError, match="lacks the folder .*images of the 500,000 distractors"):
        Market1501(tmp_path / "a", distractors=True, official=False).samples("gallery")
    data = with_distractors(tmp_path)
    write_image(data / "images" / "street.jpg", picture())
    with pytest.raises(DatasetError, match="does not begin with an identity"):
        Market1501(tmp_path, distractors=True, official=False).samples("gallery")
