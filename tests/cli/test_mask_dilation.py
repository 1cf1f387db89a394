"""--mask-dilation replaces more of the picture."""

import json

import numpy as np
from PIL import Image as Pillow

from .program import run


def test_on_the_command_line(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    Pillow.fromarray(rng.integers(0, 256, (96, 64, 3), dtype=np.uint8)).save(tmp_path / "in" / "a.png")
    people = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 96}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 10, 16, 64],
             "segmentation": [[20, 10, 23, 10, 23, 74, 20, 74]], "iscrowd": 0, "area": 640}
        ],
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip
    (tmp_path / "p.json").write_text(json.dumps(people))
    command = ("-m", "mask-out", "--detections", "p.json")
    grey = []
    for out, more in (
        ("none", ()),
        ("more", ("--mask-dilation", "0.2")),
        ("box", ("--mask-dilation", "box")),
    ):
        done = run("anonymize", "in", out, *command, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        pixels = np.asarray(Pillow.open(tmp_path / out / "a.png"))
        grey.append(int((pixels == 127).all(2).sum()))
    assert grey[0] <= grey[2] < grey[1]
    done = run("anonymize", "in", "bad", *command, "--mask-dilation", "wide", cwd=tmp_path)
    assert done.returncode == 2
    assert "--mask-dilation wide is no share" in done.stderr
