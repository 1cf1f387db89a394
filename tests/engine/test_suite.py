from pathlib import Path

import pytest

from dp2bench.core.errors import SuiteError
from dp2bench.engine import suite


@pytest.mark.parametrize("name", suite.names())
def test_shipped_suites_load(name):
    assert suite.load(name).name == name


def test_default_suite_is_what_the_readme_says():
    mini = suite.load("mini")
    assert len(mini.methods) == 7
    assert len(mini.seeds) == 2


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "a suite ü.yaml"
    path.write_text(text, "utf-8")
    return str(path)


GOOD = "name: x\ndatasets: [passersby-reid]\nmethods:\n  - identity\n  - {name: blur}\ntasks: [market1501-reid]\n"


def test_a_bare_name_is_a_plugin_with_defaults(tmp_path):
    loaded = suite.load(write(tmp_path, GOOD))
    assert [m.label for m in loaded.methods] == ["identity", "blur"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "sedes: [1]\n", ":7: sedes: unknown key"),
        (GOOD.replace("{name: blur}", "{name: blur, argments: {}}"), ":5: methods.1.argments: unknown key"),
        (GOOD.replace("{name: blur}", "identity"), "methods: identity stands here more than once"),
        (GOOD + "seeds: [0, 0]\n", ":7: seeds: seeds must be different"),
        (GOOD.replace("methods:", "methods: ["), "not valid YAML"),
        (GOOD.replace("tasks: [market1501-reid]\n", ""), "tasks: Field required"),
        ("", "valid"),
        (
            GOOD.replace("[market1501-reid]", "[{name: market1501-reid, methods: [blurr]}]"),
            ":6: tasks: market1501-reid names methods that the suite lacks: blurr; it has identity, blur",
        ),
        (GOOD.replace("[market1501-reid]", "[{name: market1501-reid, seeds: [7]}]"), "lacks: 7; it has 0"),
        (GOOD.replace("[market1501-reid]", "[{name: market1501-reid, datasets: []}]"), "tasks.0.datasets"),
        (
            GOOD.replace("{name: blur}", "{name: blur, arguments: {strength: .nan}}"),
            ":5: methods.1.arguments: arguments must be finite",
        ),
    ],
)
def test_errors_point_at_line_and_key(tmp_path, text, expected):
    with pytest.raises(SuiteError) as caught:
        suite.load(write(tmp_path, text))
    assert expected in str(caught.value)
    assert "a suite ü.yaml" in str(caught.value)


def test_an_unknown_suite_names_those_there_are():
    with pytest.raises(SuiteError, match="mini"):
        suite.load("no-such-suite")


def test_a_folder_stands_where_a_method_stands(tmp_path):
    loaded = suite.load(
        write(
            tmp_path, GOOD.replace("  - identity\n", f"  - identity\n  - folder: {tmp_path}/by (another)\n")
        )
    )
    folder = loaded.methods[1]
    assert (folder.name, folder.folder, folder.label) == ("", f"{tmp_path}/by (another)", "by-another")
    assert suite.Suite.model_validate(loaded.model_dump(mode="json")) == loaded


@pytest.mark.parametrize(
    ("method", "word"),
    [
        ("{folder: x, name: blur}", "either the `name`"),
        ("{label: x}", "either the `name`"),
        ("{folder: x, arguments: {strength: 2}}", "no arguments"),
    ],
)
def test_a_method_and_a_folder_exclude_each_other(tmp_path, method, word):
    with pytest.raises(SuiteError, match=word):
        suite.load(write(tmp_path, GOOD.replace("{name: blur}", method)))


@pytest.mark.parametrize("name", [n for n in suite.names() if n.endswith("-ours")])
def test_our_choices_are_the_rows_of_the_published_ones(name):
    ours, published = suite.load(name).parts, suite.load(name.removesuffix("-ours")).parts
    for mine, theirs in zip(ours, published, strict=False):
        assert [m.label for m in mine.methods] == [m.label for m in theirs.methods]
        assert mine.tasks == theirs.tasks
        assert mine.detector != theirs.detector


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\nsuites: [smoke, smoke]\n", "passersby-reid stands in more than one"),
        ("name: x\nsuites: [paper]\n", "paper stands for several suites"),
        ("name: x\nsuites: [nowhere]\n", "no suite called 'nowhere'"),
        ("name: x\nextends: paper\n", "paper stands for several suites"),
        ("name: x\nextends: smoke\nmethods: [identity]\ntask: []\n", ":4: task: unknown key"),
        ("name: x\nextends: nightly\nmethods: [identity]\n", "names methods that the suite lacks"),
    ],
)
def test_suites_of_suites_and_extensions_say_what_is_wrong(tmp_path, text, said):
    with pytest.raises(SuiteError) as caught:
        suite.load(write(tmp_path, text))
    assert said in str(caught.value)


def test_an_extension_changes_what_it_names(tmp_path):
    text = "name: x\nextends: smoke\nseeds: [3]\nmethods: [{name: identity, detector: full-image}]\n"
    loaded = suite.load(write(tmp_path, text))
    assert (loaded.name, loaded.seeds) == ("x", (3,))
    assert loaded.methods[0].detector.name == "full-image"
    assert loaded.tasks == suite.load("smoke").tasks
