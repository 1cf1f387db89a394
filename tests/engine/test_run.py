"""The whole walk on a tiny dataset, through the command line, with everything that may go wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from dp2bench.core import provenance
from dp2bench.core.contracts import RunContext, TaskMeta, no_progress
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.images import read_image, write_image
from dp2bench.core.results import CLUSTER, Coverage, Metric, Result, Scenario, Score
from dp2bench.core.types import People, Sample, SampleId
from dp2bench.datasets.folder import Folder
from dp2bench.engine import plan
from dp2bench.engine import suite as suites
from dp2bench.engine.executor import LocalExecutor
from dp2bench.engine.run import keep_evidence, keep_pictures, pool_seeds, pool_units, run_suite
from dp2bench.engine.steps import check_declared
from dp2bench.engine.store import Store
from dp2bench.pipelines.anonymize import measured_coverage


class Quiet:
    def begin(self, step):
        return no_progress

    def end(self, outcome):
        pass


def go(path: Path, out: Path):
    store = Store()
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


def result_bytes(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.json"))}


def journal(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]


def test_a_suite_gives_a_result_for_every_cell(tiny_suite, tmp_path):
    run = go(tiny_suite, tmp_path / "run")
    assert [r.status for r in run.results] == ["ok", "ok"]
    identity, mask_out = run.results
    assert identity.coverage == Coverage(
        pictures=34,  # of query and gallery
        found=34,
        anonymized=0,
        missed=34,
        missed_reasons=identity.coverage.missed_reasons,
        pictures_without_detection=0,
    )
    assert mask_out.coverage.failed_open == 0
    clear = identity.score("clear-clear.mAP")
    assert len(clear.per_seed) == 2
    assert clear.ci95[0] <= clear.value <= clear.ci95[1]
    assert clear.value == mask_out.score("clear-clear.mAP").value  # the same attacker, the same pictures
    assert clear.value > clear.chance
    text = (tmp_path / "run" / "results" / "mask-out" / "market1501" / "market1501-reid.json").read_text()
    assert Result.model_validate_json(text) == mask_out
    assert mask_out.provenance.arguments_effective["epochs"] == 2

    folder = tmp_path / "run" / "results" / "mask-out" / "market1501"
    units = json.loads((folder / "market1501-reid.units.json").read_text())
    assert units.keys() == {s.name for s in mask_out.scores}
    for name, values in units.items():
        assert len(values) == mask_out.score(name).n
        assert sum(values.values()) / len(values) == pytest.approx(mask_out.score(name).value)
    assert {p.name for p in (folder / "market1501-reid").iterdir()} == {"seed-0", "seed-1"}
    assert mask_out.provenance.task["kind"] == "privacy"

    again = go(tiny_suite, tmp_path / "again")
    assert all(o.cached for o in again.outcomes.values())
    assert result_bytes(tmp_path / "run") == result_bytes(tmp_path / "again")


@pytest.mark.slow
def test_what_no_task_reads_is_not_anonymized(tiny_suite, tmp_path):
    def folders(out: Path) -> set[str]:
        run = go(tiny_suite, out)
        (key,) = {
            o.step.key for o in run.outcomes.values() if o.step.title == "anonymize market1501 with mask-out"
        }
        return {p.parent.name for p in (Store().path(key) / "dataset").rglob("*.jpg")}

    assert folders(tmp_path / "run") == {"query", "bounding_box_test"}
    described = tiny_suite.read_text()
    tiny_suite.write_text(
        described + "  - {name: image-quality, arguments: {split: train, limit: 8, size: 32}, seeds: [0]}\n"
    )
    assert folders(tmp_path / "more") == {"query", "bounding_box_test", "bounding_box_train"}
    tiny_suite.write_text(described.replace("epochs: 2,", "epochs: 2, scenarios: [clear-anonymized],"))
    assert folders(tmp_path / "less") == {"bounding_box_test"}


def test_trainings_are_shared_and_changed_pictures_make_everything_anew(tiny_suite, tmp_path, market):
    run = go(tiny_suite, tmp_path / "run")
    assert Counter(o.step.kind for o in run.outcomes.values()) == {
        "detect": 1,
        "anonymize": 2,
        "train": 2,
        "evaluate": 4,
    }
    other = tmp_path / "market"
    shutil.copytree(market, other)
    first = next(iter(sorted((other / "query").iterdir())))
    shutil.copyfile(sorted((other / "query").iterdir())[-1], first)
    changed = tmp_path / "changed.yaml"
    changed.write_text(tiny_suite.read_text().replace(str(market), str(other)))
    assert not any(o.cached for o in go(changed, tmp_path / "changed").outcomes.values())


def test_other_packages_are_other_steps(tiny_suite, monkeypatch):
    def keys():
        made = plan.make_plan(suites.load(str(tiny_suite)), threads=1, device="cpu")
        return {step.title: step.key for step in made.steps}

    before = keys()
    assert keys() == before
    with monkeypatch.context() as patch:
        patch.setattr(plan, "package_versions", lambda: provenance.package_versions() | {"torch": "99.0"})
        upgraded = keys()
    assert upgraded.keys() == before.keys()
    assert not set(upgraded.values()) & set(before.values())


def test_a_detector_looks_only_at_splits_that_its_own_methods_need(tiny_suite):
    suite = yaml.safe_load(tiny_suite.read_text())
    suite["methods"] = ["identity", {"name": "mask-out", "detector": "embedded-mask"}]
    suite["tasks"] = [
        suite["tasks"][0] | {"methods": ["identity"]},
        {"name": "detection-coverage", "methods": ["mask-out"], "arguments": {"split": "query"}},
    ]
    tiny_suite.write_text(yaml.safe_dump(suite))
    steps = plan.make_plan(suites.load(str(tiny_suite)), threads=1, device="cpu").steps
    splits = {s.payload["detector"]["name"]: s.payload["splits"] for s in steps if s.kind == "detect"}
    assert splits == {"full-image": ["query", "gallery"], "embedded-mask": ["query"]}


def test_a_task_may_take_some_methods_and_seeds_and_nothing_is_made_for_the_others(tiny_suite, tmp_path):
    suite = yaml.safe_load(tiny_suite.read_text())
    reid = suite["tasks"][0]
    suite["tasks"] = [
        reid | {"methods": ["mask-out"], "seeds": [1]},
        {"name": "detection-coverage", "methods": ["mask-out"]},
    ]
    path = tmp_path / "some.yaml"
    path.write_text(yaml.safe_dump(suite))
    run = go(path, tmp_path / "run")
    assert [(r.status, r.spec.method, r.spec.task, r.spec.seeds) for r in run.results] == [
        ("ok", "mask-out", "market1501-reid", (1,)),
        ("ok", "mask-out", "detection-coverage", (0, 1)),
    ]
    assert run.results[0].provenance.seeds == (1,)
    assert len(run.results[0].score("clear-clear.mAP").per_seed) == 1
    steps = Counter(o.step.kind for o in run.outcomes.values())
    assert steps == {"detect": 1, "anonymize": 1, "train": 1, "evaluate": 3}


def test_a_failure_is_a_record_and_the_rest_goes_on(tiny_suite, tmp_path):
    suite = yaml.safe_load(tiny_suite.read_text())
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "exploding_method.py").write_text(
        "from dp2bench.core.contracts import MethodMeta\n"
        "class Exploding:\n    meta = MethodMeta(name='exploding')\n"
        "    def anonymize(self, image, people, *, seed):\n        raise RuntimeError('boom')\n"
    )
    suite["methods"] = [{"name": "exploding_method:Exploding", "label": "exploding"}, "mask-out"]
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite))
    sys.path.insert(0, str(tmp_path / "plugins"))
    try:
        run = go(path, tmp_path / "run")
    finally:
        sys.path.remove(str(tmp_path / "plugins"))
    assert [r.status for r in run.results] == ["error", "ok"]
    assert run.failed
    assert "boom" in run.results[0].error.message
    assert "anonymize" in run.results[0].error.step


def test_a_damaged_picture_is_left_out_counted_and_named(tiny_suite, tmp_path, market):
    """Learning from fewer pictures would be another benchmark: that result fails and names the file, the others are there."""
    data = tmp_path / "market"
    shutil.copytree(market, data)
    damaged = sorted((data / "bounding_box_train").iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:900])
    suite = yaml.safe_load(tiny_suite.read_text().replace(str(market), str(data)))
    suite["tasks"].append("detection-coverage")
    path = tmp_path / "damaged.yaml"
    path.write_text(yaml.safe_dump(suite | {"methods": ["mask-out"]}))
    run = go(path, tmp_path / "run")
    assert [(r.spec.task, r.status) for r in run.results] == [
        ("market1501-reid", "error"),
        ("detection-coverage", "ok"),
    ]
    assert damaged.name in run.results[0].error.message
    assert "Copy or download the file again" in run.results[0].error.message
    assert (run.results[1].coverage.pictures, run.results[1].coverage.unreadable) == (57, 1)


def test_pooling_averages_units_over_seeds():
    def score(value):
        return Score(metric="m", value=value, n=3, chance=value / 10)

    pooled = pool_seeds(
        [[score(0.2)], [score(0.4)]],
        [{"m": {"a": 0.2, "b": 0.2, "c": 0.2}}, {"m": {"a": 0.4, "b": 0.4, "c": 0.4}}],
    )[0]
    assert pooled.value == pytest.approx(0.3)
    assert pooled.per_seed == (0.2, 0.4)
    assert pooled.ci95 == pytest.approx((0.3, 0.3))
    assert pooled.chance == pytest.approx(0.03)


def test_pooling_of_seeds_that_bring_their_own_intervals_and_p_values():
    def score(value, low, p):
        return Score(
            metric="m", value=value, n=3, ci95=(low, 1), p_value=p, lift=value / 2, chance_high=value
        )

    units = {"m": {"a": 0.0, "b": 1.0}}
    alone = pool_seeds([[score(0.2, 0.1, 0.03)]], [units])[0]
    assert (alone.ci95, alone.p_value, alone.lift, alone.chance_high) == ((0.1, 1.0), 0.03, 0.1, 0.2)
    both = pool_seeds([[score(0.2, 0.1, 0.03)], [score(0.4, 0.3, 0.05)]], [units, units])[0]
    assert both.ci95 == pytest.approx((0.2, 1.0))
    assert both.p_value == pytest.approx(0.08)
    assert both.lift == pytest.approx(0.15)
    assert pool_seeds([[score(0.2, 0.1, 0.9)], [score(0.2, 0.1, 0.9)]], [{}, {}])[0].p_value == 1


def test_a_score_that_one_seed_lacks_is_that_of_the_others():
    def score(metric, value):
        return Score(metric=metric, value=value, n=1)

    pooled = pool_seeds([[score("m", 0.2)], [score("m", 0.4), score("rare", 0.9)]], [{}, {}])
    assert [(s.name, s.per_seed) for s in pooled] == [("m", (0.2, 0.4)), ("rare", (0.9,))]


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        ([], "recorded no score"),
        ([("m", "")], ""),
        ([("m", "s")], ""),
        ([("n", "")], "metric 'n', which it does not declare"),
        ([("m", "t")], "scenario 't', which it does not declare"),
    ],
)
def test_a_task_records_what_it_declares(tmp_path, recorded, message):
    meta = TaskMeta(
        "t", "1", "quality", "m", ("folder",), {"m": Metric(higher_is_better=False)}, {"s": Scenario()}
    )
    context = RunContext(seed=0, trained={}, artefacts=tmp_path)
    for metric, scenario in recorded:
        context.record(metric, value=1.0, n=1, scenario=scenario)
    if not message:
        check_declared(SimpleNamespace(meta=meta), context)
        return
    with pytest.raises(Dp2benchError, match=message):
        check_declared(SimpleNamespace(meta=meta), context)


def test_units_of_different_seeds_are_pooled_only_where_they_are_the_same():
    units = [{"m": {"b": 0.0, "a": 1.0}, "n": {"a": 1.0}}, {"m": {"a": 0.0, "b": 0.5}, "n": {"b": 1.0}}]
    assert pool_units(units) == {"m": {"a": 0.5, "b": 0.25}}


def test_evidence_of_a_failed_result_does_not_stay(tmp_path):
    (tmp_path / "cache" / "artefacts").mkdir(parents=True)
    (tmp_path / "cache" / "units.json").write_text('{"m": {"a": 1}}')
    (tmp_path / "cache" / "artefacts" / "curve.json").write_text("[]")
    keep_evidence(tmp_path / "task.json", {3: tmp_path / "cache"})
    assert (tmp_path / "task" / "seed-3" / "curve.json").is_file()
    keep_evidence(tmp_path / "task.json", {})
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


def command(*arguments: str | Path) -> list[str]:
    return [str(Path(sys.executable).with_name("dp2bench")), *map(str, arguments)]


@pytest.mark.slow
@pytest.mark.e2e
def test_killed_anywhere_the_run_goes_on_to_the_same_bytes(tiny_suite, tmp_path):
    """Kills come at random moments of the run; `DP2BENCH_TEST_SEED` varies them."""
    out = tmp_path / "run"
    environment = os.environ | {"DP2BENCH_CACHE": str(tmp_path / "reference cache")}
    subprocess.run(
        command("run", tiny_suite, "--out", tmp_path / "reference", "--threads", 1, "--workers", 1),
        env=environment,
        check=True,
        capture_output=True,
    )
    environment["DP2BENCH_CACHE"] = str(tmp_path / "cache")
    rng = random.Random(int(os.environ.get("DP2BENCH_TEST_SEED", "0")))
    kills = 0
    while kills < 4:
        process = subprocess.Popen(
            command("run", tiny_suite, "--out", out, "--threads", 1, "--workers", 1 + kills // 2),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.SIG_DFL
            ),  # a shell's background job ignores it
        )
        finished = len(journal(out)) if (out / "journal.jsonl").exists() else 0
        deadline = time.monotonic() + 60
        while (
            process.poll() is None
            and time.monotonic() < deadline
            and (not (out / "journal.jsonl").exists() or len(journal(out)) <= finished)
        ):
            time.sleep(0.02)  # until it has finished or reused at least one step
        time.sleep(rng.uniform(0, 4))
        process.send_signal(signal.SIGKILL if kills % 2 else signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode in {-signal.SIGKILL, 130, 0}
        assert process.returncode != 130 or "goes on from here" in said
        kills += 1
    done = subprocess.run(
        command("run", tiny_suite, "--out", out, "--threads", 1, "--workers", 2),
        env=environment,
        check=True,
        capture_output=True,
    )
    assert b"Report" in done.stdout
    worked = Counter(e["key"] for e in journal(out) if not e["cached"] and not e["error"])
    assert max(worked.values()) == 1
    reference, resumed = (result_bytes(tmp_path / name / "results") for name in ("reference", "run"))
    assert sum(name.count("/") == 2 and "units" not in name for name in reference) == 2
    assert resumed == reference


@pytest.mark.slow
@pytest.mark.e2e
def test_exit_code_and_message_for_a_failed_result(tiny_suite, tmp_path):
    text = tiny_suite.read_text().replace("epochs: 2", "epochs: 2, learning_rate: 1.0e+20")
    (tmp_path / "bad.yaml").write_text(text)
    done = subprocess.run(
        command("run", tmp_path / "bad.yaml", "--out", tmp_path / "run"), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "diverged" in done.stdout


def test_pictures_are_kept_from_datasets_that_have_no_picture_files(tmp_path):
    class Archive:
        meta = SimpleNamespace(splits=("val",))

        def __init__(self, colour):
            self.colour = colour

        def samples(self, split):
            return [Sample(SampleId(f"{i:03d}"), tmp_path / "shard.tar" / f"{i:03d}.png") for i in range(20)]

        def read(self, sample):
            return np.full((4, 4, 3), self.colour, np.uint8)

        def open(self, root):
            return Archive(7)

    keep_pictures(tmp_path / "run", Archive(200), "fdh", {"blur": (tmp_path, ["val"])})
    for method, colour in (("clear", 200), ("blur", 7)):
        kept = sorted((tmp_path / "run" / "pictures" / method / "fdh" / "val").iterdir())
        assert len(kept) == 8
        assert read_image(kept[0])[0, 0].tolist() == [colour] * 3


def test_a_picture_made_elsewhere_that_cannot_be_read_is_counted_and_the_others_are_measured(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / "clear" / name, np.full((8, 8, 3), 200, np.uint8))
        write_image(tmp_path / "made" / name, np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "made" / "b.png").write_bytes(b"cut off")
    (tmp_path / "clear" / "c.png").write_bytes(b"cut off")
    clear, made = Folder(tmp_path / "clear"), Folder(tmp_path / "made")
    (split,) = clear.meta.splits
    people = {split: {name: People.of([[0, 0, 8, 8]]) for name in ("a.png", "b.png")}}
    counter = measured_coverage(clear, made, people)
    assert (counter.pictures, counter.found, len(counter.unreadable)) == (1, 1, 2)
    assert "b.png" in counter.unreadable[0]


def test_units_that_say_their_cluster_are_drawn_by_it():
    """Ten pictures of each of twelve people, all of one person alike: an interval over pictures would be three times too narrow."""
    values = np.random.default_rng(0).random(12)
    apart = {f"{p}-{i}": float(values[p]) for p in range(12) for i in range(10)}
    together = {f"{p}{CLUSTER}{i}": float(values[p]) for p in range(12) for i in range(10)}
    widths = []
    for units in (apart, together):
        score = Score(metric="m", value=float(values.mean()), n=120)
        (pooled,) = pool_seeds([[score]], [{"m": units}])
        widths.append(pooled.ci95[1] - pooled.ci95[0])
    assert 2.5 < widths[1] / widths[0] < 4.5
