from __future__ import annotations

import json

import pytest

from dp2bench.reports.load import ReportError, load_run


def test_loads_in_the_suites_order(run_folder, results):
    run = load_run(run_folder)
    assert run.results == tuple(results)
    assert run.methods == ("identity", "blur", "pixelate-8", "mask-out", "deepprivacy2")
    assert (run.suite, run.command) == ("smoke", "dp2bench run smoke --seed 0_1")


def test_missing_folder_and_missing_index(tmp_path):
    with pytest.raises(ReportError, match="no run folder"):
        load_run(tmp_path / "absent")
    with pytest.raises(ReportError, match=r"no run\.json"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ('{"results": []}', "lists no results"),
        ('{"results": [1]}', "must be a list"),
        ("{}", "must be a list"),
        ("[1]", "not an object"),
        ('{"results"', "not JSON"),
        ('{"results": ["../other.json"]}', "outside"),
        ('{"results": ["results/absent.json"]}', r"absent\.json cannot be read"),
    ],
)
def test_broken_index(tmp_path, index, message):
    (tmp_path / "run.json").write_text(index)
    with pytest.raises(ReportError, match=message):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 3}, "schema version 3"),
        ({"schema_version": None}, "schema version None"),
        ({"surplus": 1}, "surplus"),
        ({"status": "fine"}, "status"),
    ],
)
def test_broken_result_names_file_and_key(run_folder, change, message):
    path = next((run_folder / "results").rglob("*.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ReportError, match=message) as caught:
        load_run(run_folder)
    assert str(path) in str(caught.value)


def test_truncated_result(run_folder):
    path = next((run_folder / "results").rglob("*.json"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ReportError, match="not JSON"):
        load_run(run_folder)
