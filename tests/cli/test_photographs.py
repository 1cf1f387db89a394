"""What `dp2bench anonymize` and `detect` do with photographs, and what they say of them."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.errors import Dp2benchError

pytestmark = pytest.mark.e2e
FACE = (slice(80, 150), slice(195, 260))


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def photographs(tmp_path):
    data = pytest.importorskip("skimage.data", reason="scikit-image carries the photographs")
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(data.astronaut()).save(folder / "astronaut.png")
    Image.fromarray(data.coffee()).save(folder / "coffee.png")
    return folder


def detections(folder, path, rows):
    """A COCO JSON of (file, box, score, face or None)."""
    names = sorted({name for name, *_ in rows})
    images = []
    for number, name in enumerate(names, 1):
        with Image.open(folder / name) as picture:
            images.append({"id": number, "file_name": name, "width": picture.width, "height": picture.height})
    annotations = [
        {
            "id": i,
            "image_id": names.index(name) + 1,
            "category_id": 1,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
            "score": score,
            "face": face,
        }
        for i, (name, box, score, face) in enumerate(rows, 1)
    ]
    path.write_text(
        json.dumps(
            {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
        )
    )
    return path


def test_a_folder_of_photographs_by_default(photographs, tmp_path):
    result = run(
        "anonymize", photographs, tmp_path / "out", "--method", "blur-face", "--preview", tmp_path / "look"
    )
    assert result.exit_code == 0, result.output
    assert (
        "2 pictures, 1 people found by photo, 1 anonymized, 0 missed; 1 pictures without anybody found"
        in result.output
    )
    before, after = (
        np.asarray(Image.open(f / "astronaut.png")).astype(int) for f in (photographs, tmp_path / "out")
    )
    assert np.abs(before[FACE] - after[FACE]).mean() > 10
    assert np.array_equal(before[300:], after[300:])
    clear, kept = (np.asarray(Image.open(f / "coffee.png")) for f in (photographs, tmp_path / "out"))
    assert np.array_equal(clear, kept)
    assert (tmp_path / "look" / "astronaut.png.jpg").is_file()


def test_careful_finds_more(photographs, tmp_path):
    counts = []
    for more in ([], ["--careful"]):
        out = tmp_path / f"{len(more)}.json"
        result = run("detect", photographs / "astronaut.png", "--out", out, *more)
        assert result.exit_code == 0, result.output
        counts.append(len(json.loads(out.read_text())["annotations"]))
    assert counts[0] == 1 < counts[1]
    result = run("detect", photographs, "--out", tmp_path / "x.json", "--detector", "full-image", "--careful")
    assert isinstance(result.exception, Dp2benchError)
    assert "'full-image' has no careful mode" in str(result.exception)


def test_who_has_no_face_is_listed_with_the_remedy(photographs, tmp_path):
    file = detections(
        photographs,
        tmp_path / "d.json",
        [
            ("astronaut.png", [20, 20, 340, 480], 0.9, [180, 60, 90, 120]),
            ("coffee.png", [10, 10, 50, 100], 0.9, None),
            ("coffee.png", [100, 10, 50, 100], 0.9, None),
        ],
    )
    look = tmp_path / "look"
    result = run(
        "anonymize", photographs, tmp_path / "out", "-m", "blur-face", "--detections", file, "--preview", look
    )
    text = " ".join(result.output.split())
    assert result.exit_code == 1
    assert "missed: 2 people: no face found" in text
    assert "coffee.png: no face found of person 0, 1" in text
    assert "(`blur`)" in text
    assert "--detections people.json" in text
    drawn = np.asarray(Image.open(look / "coffee.png.jpg")).astype(int)
    after = drawn[60:100, 600:]
    assert np.abs(after[:, 8:12] - [255, 0, 0]).max(2).min() < 60  # the red frame of who was not anonymized


def test_doubtful_pictures_are_named(photographs, tmp_path):
    rows = [("astronaut.png", [20, 20, 340, 480], 0.9, None), ("astronaut.png", [400, 20, 40, 80], 0.3, None)]
    file = detections(
        photographs, tmp_path / "d.json", [*rows, ("coffee.png", [10, 10, 50, 100], 0.31, None)]
    )
    result = run("anonymize", photographs, tmp_path / "out", "-m", "mask-out", "--detections", file)
    text = " ".join(result.output.split())
    assert result.exit_code == 0, result.output
    assert "3 people found by coco-json (1 certain, 2 doubtful)" in text
    assert "1 pictures in which nobody was found with certainty, e.g. coffee.png (best score 0.31)" in text
    assert "--detector photo" in text
