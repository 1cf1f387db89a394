import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core import conformance
from dp2bench.core.errors import PluginError

pytestmark = pytest.mark.e2e

LEAKY = """
import numpy as np
from dp2bench.core.contracts import Inpainter, MethodMeta
from dp2bench.inpainting.anonymizer import InpaintingAnonymizer
from dp2bench.core.types import Anonymized

class Inverts:
    meta = MethodMeta("inverts", uses_masked_pixels=False, description="Turns people into their negative.")

    def anonymize(self, image, people, *, seed):
        changed = np.zeros(image.shape[:2], bool)
        for box in people.boxes:
            x0, y0, x1, y1 = np.clip(np.round(box), 0, [image.shape[1], image.shape[0]] * 2).astype(int)
            changed[y0:y1, x0:x1] = True
        out = np.array(image)
        out[changed] = 255 - out[changed]
        return Anonymized(out, changed)

class Honest(Inpainter):
    crop_size = (72, 40)
    meta = MethodMeta("honest", uses_masked_pixels=False, description="Fills with the mean of what is around.")

    def __init__(self, *, shade=0):
        self.shade = shade

    def inpaint(self, crops, *, seeds):
        images = crops.images.copy()
        for image, mask in zip(images, crops.masks):
            image[mask] = (image[~mask].mean(0) if (~mask).any() else 127) + self.shade
        return images

def honest(shade=0):
    return InpaintingAnonymizer(Honest(shade=shade))
"""


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    (tmp_path / "somebodys_methods.py").write_text(LEAKY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def check(*arguments):
    return CliRunner().invoke(app, ["check", *arguments])


def test_a_third_partys_method_passes(third_party):
    result = check("somebodys_methods:honest", "-a", "shade=3")
    assert result.exit_code == 0, result.output
    assert "somebodys_methods:honest passes" in result.output
    assert all(f"pass  {name}" in result.output for name in conformance.CHECKS)
    assert max(map(len, result.output.splitlines())) <= 80


def test_a_leaky_one_fails_by_name(third_party):
    result = check("somebodys_methods:Inverts")
    assert result.exit_code == 1
    assert "fail  information-flow" in result.output
    assert "reach its output" in " ".join(result.output.split())
    last = " ".join(result.output.split()).rpartition("fails:")[2]
    assert "information-flow" in last
    assert "shape-and-type" not in last


def test_unknown_names_and_arguments_are_no_failed_check(third_party):
    for arguments, word in ((("nobodys",), "no method"), (("blur", "-a", "colour=1"), "colour")):
        result = check(*arguments)
        assert isinstance(result.exception, PluginError)
        assert word in str(result.exception)


def test_the_tutorials_method_passes(tmp_path, monkeypatch):
    page = (Path(__file__).resolve().parents[2] / "docs" / "add-a-method.md").read_text("utf-8")
    (tmp_path / "mean_colour.py").write_text(re.search(r"```python\n(.*?)```", page, re.S)[1])
    monkeypatch.syspath_prepend(tmp_path)
    result = check("mean_colour:mean_colour")
    assert result.exit_code == 0, result.output
