"""The code that the documentation shows works as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import People
from dp2bench.engine.suite import Suite

DOCS = Path(__file__).resolve().parents[2] / "docs"


def block(page: str, language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", (DOCS / page).read_text("utf-8"), re.S)[1]


def test_the_method_of_the_tutorial_anonymizes():
    names: dict = {}
    exec(block("add-a-method.md", "python"), names)
    image = np.full((64, 48, 3), 200, np.uint8)
    image[10:50, 15:35] = 30
    mask = np.zeros((1, 64, 48), bool)
    mask[0, 10:50, 15:35] = True
    result = names["mean_colour"]().anonymize(
        image, People.of([[15, 10, 35, 50]], masks=mask), seed=derive_seed(0)
    )
    assert result.missed == ()
    assert result.image[30, 25] == pytest.approx(
        [200] * 3, abs=60
    )  # background, mixed with the grey of the blanked hole's rim
    assert (result.image[~result.changed] == image[~result.changed]).all()


def test_the_suite_of_the_start_page_is_valid():
    suite = Suite.model_validate(yaml.safe_load(block("index.md", "yaml")))
    assert [m.label for m in suite.methods] == ["identity", "mask-out", "mine"]
