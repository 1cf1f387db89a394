from __future__ import annotations

from itertools import pairwise

import pytest
from pydantic import BaseModel, ConfigDict

from dp2bench.core.errors import SuiteError
from dp2bench.core.yaml_model import parse, read_text


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    items: list[Inner]
    names: dict[str, float] = {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("items:\n- number: 1\n- {number: x}\n", "f:3: items.1.number:"),
        ("items: []\nnames:\n  a: 1\n  b: y\n", "f:4: names.b:"),
        ("items: []\n\nother: 1\n", "f:3: other: unknown key"),
        ("# first\nnames: {}\n", "f:2: items: Field required"),
        ("items: [\n\n}", "f:3: not valid YAML"),
        ("- 1", "f:1: (top): Input should be"),
        ("", "f:1: (top): Input should be"),
        ("items: []\nitems: []\n", "f:2: not valid YAML: the key 'items' is there twice"),
        ("items:\n\t- 1\n", "f:2: not valid YAML"),
        ("items: &a [*a]\n", "an alias stands for something that it is part of"),
        (
            "a: &a [1]\n"
            + "".join(f"{c}: &{c} [{', '.join(['*' + p] * 9)}]\n" for p, c in pairwise("abcdefghi")),
            "more than 100,000 values",
        ),
        ("[" * 3000, "nested too deeply"),
        ("items: 2024-02-30\n", "day is out of range"),
        ("items: \x00", "not valid YAML"),
        ("? {a: 1}\n: 2\n", "not valid YAML"),
    ],
)
def test_problems_have_file_line_and_key(text, message):
    with pytest.raises(SuiteError) as caught:
        parse(Outer, text, "f", SuiteError)
    assert message in caught.value.problem


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("ü".encode("latin-1"))
    for path in (tmp_path, tmp_path / "absent", tmp_path / "latin.yaml"):
        with pytest.raises(SuiteError, match="cannot be read"):
            read_text(path, SuiteError)
