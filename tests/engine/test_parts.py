"""Steps of many files are done in parts, and give the bytes of those that are not."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dp2bench.core.contracts import no_progress
from dp2bench.core.results import Coverage
from dp2bench.engine import plan
from dp2bench.engine import suite as suites
from dp2bench.engine.executor import LocalExecutor
from dp2bench.engine.run import run_suite
from dp2bench.engine.store import Store

PART = 7


class Quiet:
    def begin(self, step):
        return no_progress

    def end(self, outcome):
        pass


def go(path: Path, out: Path, cache: Path):
    store = Store(cache)
    return run_suite(
        suites.load(str(path)),
        out,
        executor=LocalExecutor(store),
        store=store,
        observer=Quiet(),
        threads=1,
        device="cpu",
        command="test",
    )


def files(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


def steps(run, cache: Path) -> dict[str, dict[str, str]]:
    """The files of each step that looks at pictures and is no part of another, by title."""
    return {
        o.step.title: files(Store(cache).path(o.step.key))
        for o in run.outcomes.values()
        if o.step.kind in {"detect", "anonymize"} and "part" not in o.step.payload
    }


def without_keys(result: bytes) -> dict:
    content = json.loads(result)
    del content["provenance"]["steps"]
    return content


def test_parts_put_together_are_the_whole(tiny_suite, market, tmp_path, monkeypatch):
    data = shutil.copytree(market, tmp_path / "market")
    picture = next((data / "bounding_box_test").iterdir())
    picture.write_bytes(picture.read_bytes()[:200])
    tiny_suite.write_text(tiny_suite.read_text().replace(str(market), str(data)))
    whole = go(tiny_suite, tmp_path / "whole", tmp_path / "cache 1")
    monkeypatch.setattr(plan, "PART", PART)
    parts = go(tiny_suite, tmp_path / "parts", tmp_path / "cache 2")
    made = [o.step for o in parts.outcomes.values() if "part" in o.step.payload]
    assert {s.kind for s in made} == {"detect", "anonymize"}
    assert len(made) > 2 * 34 / PART
    assert all(s.payload["part"][1] - s.payload["part"][0] <= PART for s in made)
    one, other = steps(whole, tmp_path / "cache 1"), steps(parts, tmp_path / "cache 2")
    assert len(one) >= 3
    assert one == other
    assert [r.status for r in parts.results] == ["ok", "ok"]
    for result in (tmp_path / "whole").glob("results/*/*/market1501-reid.json"):
        same = tmp_path / "parts" / result.relative_to(tmp_path / "whole")
        assert without_keys(result.read_bytes()) == without_keys(same.read_bytes())
    assert parts.results[1].coverage.unreadable == 1


def test_few_files_are_done_in_one_step(tiny_suite, tmp_path):
    made = plan.make_plan(suites.load(str(tiny_suite)), threads=1, device="cpu")
    assert not any("part" in step.payload for step in made.steps)


MAIN = f"""
from dp2bench.cli.main import main
from dp2bench.engine import plan
if __name__ == "__main__":  # the workers run this again
    plan.PART = {PART}
    main()
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.e2e
def test_a_kill_costs_one_part(tiny_suite, tmp_path):
    (tmp_path / "in_parts.py").write_text(MAIN)

    def start(cache: str, out: str, workers: int) -> subprocess.Popen[str]:
        command = ("run", tiny_suite, "--out", tmp_path / out, "--threads", "1", "--workers", str(workers))
        return subprocess.Popen(
            [sys.executable, str(tmp_path / "in_parts.py"), *map(str, command)],
            env=os.environ | {"DP2BENCH_CACHE": str(tmp_path / cache)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def journal() -> list[dict]:
        path = tmp_path / "run" / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    quiet = start("quiet cache", "quiet", 1)
    said, _ = quiet.communicate()
    assert quiet.returncode == 0, said
    for _ in range(3):
        finished = len(journal())
        process = start("cache", "run", 2)
        while process.poll() is None and len(journal()) <= finished + 2:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = start("cache", "run", 2)
    said, _ = last.communicate()
    assert last.returncode == 0, said
    done = [entry["key"] for entry in journal() if not entry["cached"] and not entry["error"]]
    assert len(done) == len(set(done)), "no part was done twice"
    assert files(tmp_path / "quiet" / "results") == files(tmp_path / "run" / "results")


def test_coverage_of_parts():
    one = Coverage(
        pictures=2,
        found=3,
        anonymized=1,
        missed=2,
        missed_reasons={"b": 1, "a": 1},
        pictures_without_detection=0,
        unreadable=1,
    )
    other = Coverage(
        pictures=1,
        found=1,
        anonymized=0,
        missed=1,
        missed_reasons={"a": 1},
        pictures_without_detection=1,
        undetected=4,
    )
    both = Coverage.of_parts([one, other])
    assert both.model_dump() == {
        "pictures": 3,
        "found": 4,
        "anonymized": 1,
        "missed": 3,
        "missed_reasons": {"a": 2, "b": 1},
        "pictures_without_detection": 1,
        "undetected": 4,
        "unreadable": 1,
    }
