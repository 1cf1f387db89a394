"""The gate: noise passes, leaks and gaps do not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from dp2bench.cli import compare as commands
from dp2bench.core.results import Coverage, Failure, Metric, Provenance, Result, ResultSpec, Score
from dp2bench.reports import accepted_run, gate
from dp2bench.reports.load import ReportError, Run
from dp2bench.reports.policy import load_policy
from dp2bench.reports.variance import (
    Pair,
    Variance,
    margin,
    seed_variances,
    strength_shift,
    unit_variance,
)

from .declared import called, declarations

QUERIES = 750
PEOPLE = Coverage(
    pictures=400, found=815, anonymized=812, missed=3, pictures_without_detection=0, undetected=5
)
PROVENANCE = Provenance(
    dp2bench="0.1.0", git_commit=None, git_dirty=None, python="3.11", platform="Linux", packages={},
    device="cpu", threads=1, dataset_version="2", dataset_fingerprint="abcdef0123456789",
    arguments_effective={"epochs": 20},
)  # fmt: skip
SPEC = ResultSpec(
    method="pixelate-8",
    dataset="passersby-reid",
    task="market1501-reid",
    detector="annotations",
    seeds=(0, 1, 2),
)


def measure(
    rng: np.random.Generator, strengths: Sequence[float], mean: float, name: str = "clear-anonymized.mAP"
) -> Score:
    """What a run measures: average precisions of queries are skewed, and attackers differ in level and from query to query."""
    # the same queries in every run
    difficulty = np.random.default_rng(len(name)).beta(0.6, 0.6 * (1 - mean) / mean, QUERIES)
    values = [
        (difficulty * np.exp(strength + rng.normal(0, 0.01)) + rng.normal(0, 0.05, QUERIES)).clip(0, 1)
        for strength in strengths
    ]
    units = np.mean(values, axis=0)
    draws = units[rng.integers(0, QUERIES, (300, QUERIES))].mean(axis=1)
    low, high = np.percentile(draws, (2.5, 97.5))
    return Score(
        **called(name), value=float(units.mean()), n=QUERIES, ci95=(low, high),
        per_seed=tuple(float(v.mean()) for v in values), chance=0.013,
    )  # fmt: skip


def fixed(value: float = 0.1, name: str = "clear-anonymized.mAP", **given: Any) -> Score:
    return Score(
        **{
            **called(name), "value": value, "n": QUERIES,
            "ci95": (value - 0.01, value + 0.01), "per_seed": (value - 0.002, value, value + 0.002), **given,
        }
    )  # fmt: skip


LOWER, SECONDS = Metric(higher_is_better=False), Metric(higher_is_better=False, unit="s")


def result(*scores: Score, metric: Metric = LOWER, **given: Any) -> Result:
    scores = scores or (fixed(),)
    spec = {k: given.pop(k) for k in list(given) if k in ResultSpec.model_fields}
    return Result(
        **{
            "run_id": "r" * 16, "spec": SPEC.model_copy(update=spec), "status": "ok", "main_score": "clear-anonymized.mAP",
            "scores": scores, "coverage": PEOPLE, "provenance": PROVENANCE, **declarations(scores, metric), **given,
        }
    )  # fmt: skip


def failed(**given: Any) -> Result:
    return result(
        status="error", scores=(), coverage=None, provenance=None, main_score=None,
        error=Failure(step="anonymize", kind="RuntimeError", message="no memory | @all \x00"), **given,
    )  # fmt: skip


def run(*results: Result) -> Run:
    return Run(Path("run"), "mini", "", results)


def judge(base: Result | Sequence[Result], head: Result | Sequence[Result], **policy: Any) -> gate.Comparison:
    sides = [run(*([side] if isinstance(side, Result) else side)) for side in (base, head)]
    return gate.compare(*sides, gate.Policy(**policy))


def verdicts(comparison: gate.Comparison) -> dict[str, str]:
    return {row.score: row.verdict for row in comparison.rows}


MEANS = {"clear-anonymized.mAP": 0.07, "anonymized-anonymized.mAP": 0.15, "clear-clear.mAP": 0.8}


def measured(rng: np.random.Generator, factor: float = 1.0, methods: int = 3) -> list[Result]:
    strengths = rng.normal(0, 0.04, 3)  # every method meets the same attackers
    return [
        result(
            *(
                measure(rng, strengths, m * (1 if n.startswith("clear-clear") else factor), n)
                for n, m in MEANS.items()
            ),
            method=f"method-{i}",
        )
        for i in range(methods)
    ]


@pytest.mark.parametrize("draw", range(10))
def test_equal_methods_with_other_seeds_pass(draw):
    rng = np.random.default_rng(draw)
    comparison = judge(measured(rng), measured(rng), tolerance=0)
    assert comparison.passed, comparison.failures


@pytest.mark.parametrize("draw", range(10))
def test_a_pixelation_that_got_weaker_fails(draw):
    rng = np.random.default_rng(100 + draw)
    base, head = measured(rng), measured(rng)
    leaky = measured(rng, factor=1.8, methods=1)
    comparison = judge(base, [*leaky, *head[1:]])
    assert {(r.method, r.verdict) for r in comparison.failures} == {("method-0", "worse")}
    assert "clear-anonymized.mAP" in {r.score for r in comparison.failures}


@pytest.mark.slow
def test_false_alarms_stay_below_alpha():
    rng = np.random.default_rng(7)
    alarms = sum(
        not judge(measured(rng, methods=1), measured(rng, methods=1), tolerance=0, alpha=0.05).passed
        for _ in range(200)
    )
    assert alarms <= 200 * 0.05 + 2 * (200 * 0.05 * 0.95) ** 0.5


def test_a_pixelation_that_got_better_passes():
    comparison = judge(result(fixed(0.2)), result(fixed(0.1)))
    assert comparison.passed
    assert verdicts(comparison)["clear-anonymized.mAP"] == "better"


def test_direction_follows_higher_is_better():
    old, new = (result(fixed(v, "anonymized.AP"), metric=Metric(higher_is_better=True)) for v in (0.2, 0.1))
    assert verdicts(judge(old, new))["anonymized.AP"] == "worse"
    assert verdicts(judge(new, old))["anonymized.AP"] == "better"


def test_tolerance_and_noise_must_both_be_passed():
    near = judge(result(fixed(0.1)), result(fixed(0.112)))
    assert near.passed
    assert near.rows[-1].note == "beyond the tolerance, within the noise"
    assert judge(result(fixed(0.1)), result(fixed(0.2)), tolerance=0.2).passed
    assert not judge(result(fixed(0.1)), result(fixed(0.2)), tolerance=0.05).passed
    exact = {"ci95": (0.1, 0.1), "per_seed": ()}
    assert judge(result(fixed(0.1, **exact)), result(fixed(0.11, **exact))).passed
    assert not judge(result(fixed(0.1, **exact)), result(fixed(0.1101, **exact))).passed


def test_without_any_spread_the_tolerance_decides():
    bare = {"ci95": None, "per_seed": ()}
    comparison = judge(result(fixed(0.1, **bare)), result(fixed(0.12, **bare)))
    assert comparison.failures[0].note == "no interval"
    assert any("one seed" in note for note in comparison.notes)


def test_variances_against_a_hand_calculation():
    from scipy import stats

    old = fixed(0.1, ci95=(0.08, 0.12), per_seed=())
    unpaired = unit_variance(Pair(old, old, LOWER, {}, {}))
    assert unpaired.value == pytest.approx(2 * (0.02 / 1.959964) ** 2)
    assert unpaired.freedom == pytest.approx(2 * (QUERIES - 1))
    assert margin([unpaired, None], 0.05) == pytest.approx(
        stats.t.ppf(0.95, unpaired.freedom) * unpaired.value**0.5
    )
    assert margin([None, None], 0.05) is None
    two, one = fixed(0.1, per_seed=(0.09, 0.11)), fixed(0.1, per_seed=(0.1,))
    assert seed_variances([Pair(two, one, SECONDS, {}, {})]) == [
        Variance(pytest.approx(0.0002 * (1 / 2 + 1)), 1)
    ]
    assert seed_variances([Pair(one, one, SECONDS, {}, {})]) == [None]
    shifted = fixed(0.12, per_seed=(0.11, 0.13))
    assert seed_variances([Pair(two, shifted, SECONDS, {}, {}, paired_seeds=True)])[0].value == pytest.approx(
        0
    )


def test_units_that_both_runs_measured_are_paired():
    rng = np.random.default_rng(0)
    old = rng.beta(0.5, 0.8, 200)
    new = (old + 0.02 + rng.normal(0, 0.01, 200)).clip(0, 1)
    sides = [{f"{i}.jpg": float(v) for i, v in enumerate(values)} for values in (old, new)]
    scores = [fixed(float(v.mean()), n=200) for v in (old, new)]
    found = unit_variance(Pair(*scores, LOWER, *sides))
    draws = (new - old)[rng.integers(0, 200, (20_000, 200))].mean(axis=1)
    assert found.value == pytest.approx(draws.var(), rel=0.05)
    assert found.freedom == 199
    other = {**sides[1], "200.jpg": 0.5}
    for units in (other, {}, dict.fromkeys(sides[1], "x"), {k: v / 2 for k, v in sides[1].items()}):
        assert unit_variance(Pair(*scores, LOWER, sides[0], units)) == unit_variance(
            Pair(*scores, LOWER, {}, {})
        )


def test_methods_of_a_run_lend_each_other_their_seeds():
    calm = Pair(fixed(0.1, per_seed=(0.1, 0.1)), fixed(0.1, per_seed=(0.1, 0.1)), LOWER, {}, {})
    wild = Pair(fixed(0.1, per_seed=(0.05, 0.15)), fixed(0.1, per_seed=(0.06, 0.16)), LOWER, {}, {})
    alone = [seed_variances([p])[0] for p in (calm, wild)]
    together = seed_variances([calm, wild])
    assert together[0].value == pytest.approx(alone[1].value / 2)
    assert alone[0].value == 0
    assert together[1] == alone[1]
    # at chance nothing hangs on the attacker, and nothing is lent
    floor = Pair(
        *(fixed(0.1, per_seed=(0.0999, 0.1001), chance=0.1) for _ in range(2)), LOWER, {}, {}
    )  # fmt: skip
    assert seed_variances([floor, wild])[0] == seed_variances([floor])[0]


def test_attackers_that_methods_share_count_once():
    def pair(*residuals: float) -> Pair:
        return Pair(
            *(fixed(0.1, per_seed=tuple(0.1 + r for r in half)) for half in (residuals[:3], residuals[3:])),
            LOWER, {}, {},
        )  # fmt: skip

    one, calm = (0.02, -0.02, 0.0, 0.02, -0.02, 0.0), (0.0,) * 6
    other = (0.01, 0.01, -0.02, 0.01, 0.01, -0.02)
    # copies know nothing new; residuals that have nothing in common know twice as much
    assert seed_variances([pair(*one), pair(*one), pair(*calm)])[2].freedom == pytest.approx(4)
    scaled = tuple(np.array(other) * (0.08 / 0.12) ** 0.5 * 1.0)
    freedom = seed_variances([pair(*one), pair(*scaled), pair(*calm)])[2].freedom
    assert 7 < freedom <= 8
    # other numbers of seeds cannot be aligned
    short = Pair(*(fixed(0.1, per_seed=(0.09, 0.11)) for _ in range(2)), LOWER, {}, {})
    assert seed_variances([pair(*one), short, pair(*calm)])[2].freedom == 4


def test_what_stronger_attackers_explain_is_taken_off():
    def clear(*values: float) -> Score:
        return fixed(float(np.mean(values)), "clear-clear.mAP", per_seed=values)

    weak, strong = clear(0.48, 0.50, 0.52), clear(0.53, 0.55, 0.57)
    old = fixed(0.48, per_seed=(0.46, 0.48, 0.50), ci95=None)
    new = fixed(0.53, per_seed=(0.51, 0.53, 0.55), ci95=None)
    pair = Pair(old, new, LOWER, {}, {}, base_clear=weak, head_clear=strong)
    # in the middle of the scale, all of it
    assert strength_shift(pair) == pytest.approx(0.05, abs=0.001)
    plain = seed_variances([Pair(old, new, LOWER, {}, {})])[0]
    assert seed_variances([pair])[0].value < plain.value / 100
    assert strength_shift(Pair(old, new, LOWER, {}, {})) == 0
    assert strength_shift(Pair(old, new, LOWER, {}, {}, base_clear=weak, head_clear=clear(0.5))) == 0
    # a method at chance gives a strong attacker nothing
    floor = [fixed(0.05, per_seed=(0.05, 0.05, 0.05), chance=0.05) for _ in range(2)]
    assert strength_shift(Pair(*floor, LOWER, {}, {}, base_clear=weak, head_clear=strong)) == 0


def test_a_leak_that_weaker_attackers_hide_fails():
    clear = [
        fixed(float(np.mean(v)), "clear-clear.mAP", per_seed=v, ci95=None)
        for v in ((0.58, 0.60, 0.62), (0.48, 0.50, 0.52))
    ]
    old = fixed(0.48, per_seed=(0.46, 0.48, 0.50), ci95=None)
    new = fixed(0.48, per_seed=(0.46, 0.48, 0.50), ci95=None)
    rows = {r.score: r for r in judge(result(old, clear[0]), result(new, clear[1])).rows}
    row = rows["clear-anonymized.mAP"]
    assert (row.verdict, row.difference) == ("worse", 0)
    assert row.note == "-10.06 put down to the attackers"


def test_many_rows_share_alpha():
    few = judge(result(fixed(0.1)), result(fixed(0.125)), alpha=0.05)
    many = [result(fixed(0.1), method=f"m{i}") for i in range(300)]
    comparison = judge(
        many, [result(fixed(0.125)).model_copy(update={"spec": many[0].spec}), *many[1:]], alpha=0.05
    )
    assert (few.passed, comparison.passed, comparison.tests) == (False, True, 300)


@pytest.mark.parametrize("value", [0.6, 0.95])
def test_the_yardstick_may_move_neither_way(value):
    comparison = judge(result(fixed(0.8, "clear-clear.mAP")), result(fixed(value, "clear-clear.mAP")))
    assert verdicts(comparison)["clear-clear.mAP"] == "changed"
    assert not comparison.passed
    assert comparison.tests == 2


@pytest.mark.parametrize(
    ("head", "where", "verdict"),
    [
        ([result(method="other")], "result", "missing"),
        ([failed()], "result", "missing"),
        ([result(), failed(method="new")], "result", "missing"),
        ([result(fixed(name="clear-anonymized.rank-1"))], "clear-anonymized.mAP", "missing"),
        ([result(fixed(n=0))], "clear-anonymized.mAP", "missing"),
        ([result(fixed(ci95=(0.0, float("nan"))))], "clear-anonymized.mAP", "missing"),
        ([result(fixed(ci95=(0.2, 0.1)))], "clear-anonymized.mAP", "missing"),
        ([result(fixed(per_seed=(0.1, float("inf"))))], "clear-anonymized.mAP", "missing"),
        ([result(fixed(n=300))], "clear-anonymized.mAP", "changed"),
        ([result(metric=Metric(higher_is_better=False, unit="dB"))], "clear-anonymized.mAP", "changed"),
        ([result(metric=Metric(higher_is_better=True))], "clear-anonymized.mAP", "changed"),
        ([result(task_arguments={"epochs": 1})], "result", "changed"),
        ([result(dataset_arguments={"people": 5})], "result", "changed"),
        ([result(detector="full-image")], "result", "changed"),
        ([result(provenance=None)], "result", "changed"),
        ([result(main_score="clear-clear.mAP")], "result", "changed"),
        ([result(coverage=None)], "coverage", "missing"),
        *(
            ([result(provenance=PROVENANCE.model_copy(update=update))], "result", "changed")
            for update in (
                {"dataset_version": "3"}, {"dataset_fingerprint": "0"}, {"arguments_effective": {"epochs": 1}},
            )
        ),
        *(
            ([result(coverage=PEOPLE.model_copy(update=update))], where, verdict)
            for update, where, verdict in (
                ({"missed": 4, "anonymized": 811}, "coverage.share", "worse"),
                ({"undetected": 6}, "coverage.failed-open", "worse"),
                ({"missed": 4, "found": 2000, "anonymized": 1996}, "coverage.failed-open", "worse"),
                ({"unreadable": 1}, "coverage.unreadable", "worse"),
                ({"undetected": None}, "coverage", "missing"),
                ({"found": 0, "anonymized": 0, "missed": 0, "undetected": 0}, "coverage", "missing"),
                ({"pictures": 399}, "coverage", "changed"),
            )
        ),
    ],
)  # fmt: skip
def test_gaps_and_changes_fail(head, where, verdict):
    comparison = judge(result(), head)
    assert not comparison.passed
    assert (where, verdict) in {(r.score, r.verdict) for r in comparison.failures}
    # every failure can be written down, whatever its text holds
    ET.fromstring(gate.junit(comparison))
    assert "FAILED" in gate.markdown(comparison)


def test_fewer_people_without_ground_truth_fail():
    old, new = (
        PEOPLE.model_copy(update={"undetected": None, "found": n, "anonymized": n, "missed": 0})
        for n in (800, 700)
    )
    assert verdicts(judge(result(coverage=old), result(coverage=new)))["coverage.anonymized"] == "worse"
    assert judge(result(coverage=new), result(coverage=old)).passed
    assert judge(result(coverage=PEOPLE.model_copy(update={"undetected": None})), result()).passed


def test_notes_say_what_was_not_compared():
    comparison = judge(
        [result(fixed(), fixed(name="clear-anonymized.rank-1"), method_arguments={"block": 8}), failed(method="broken")],
        [
            result(fixed(), fixed(name="clear-anonymized.rank-5"), method_arguments={"block": 16}),
            result(method="broken"),
            result(method="new"),
        ],
        ignore=("*.rank-1", "*.typo"),
    )  # fmt: skip
    assert comparison.passed
    notes = "\n".join(comparison.notes)
    for part in (
        "is error in BASE",
        "rank-5",
        "new/",
        '{"block":16}',
        "Ignored by the policy: pixelate-8",
        "'*.typo'",
    ):
        assert part in notes


def test_nothing_compared_is_no_pass():
    with pytest.raises(gate.GateError, match="No score"):
        judge(result(), result(), ignore=("*",))
    with pytest.raises(gate.GateError, match="No score"):
        judge(failed(), result())
    with pytest.raises(gate.GateError, match="more than once"):
        judge([result(), result()], result())
    with pytest.raises(gate.GateError, match="twice"):
        judge(result(), result(fixed(), fixed()))


def test_tolerances_by_pattern():
    policy = gate.Policy(tolerances={"blur/*/*.mAP": 0.3, "*.mAP": 0.2})
    assert policy.tolerance_of("blur/d/t", "clear-anonymized.mAP", "fraction", 0.1) == 0.3
    assert policy.tolerance_of("mask/d/t", "clear-anonymized.mAP", "fraction", 0.1) == 0.2
    assert policy.tolerance_of("mask/d/t", "clear-anonymized.rank-1", "fraction", 0.1) == 0.01
    assert policy.tolerance_of("mask/d/t", "anonymized.FID", "distance", 20.0) == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alpha: 0.1\ntolerence: 1", ":2: tolerence: unknown key"),
        ("tolerances:\n  '*.mAP': much", r":2: tolerances\.\*\.mAP"),
        ("tolerances: {'*.mAP': -1}", r":1: tolerances\.\*\.mAP: .*greater than or equal to 0"),
        ("tolerances: {'*.mAP': .nan}", r"tolerances\.\*\.mAP"),
        ("tolerance: .inf", ":1: tolerance"),
        ("alpha: 0.9", ":1: alpha"),
        ("schema_version: 2", ":1: schema_version"),
        ("ignore: '*.mAP'", ":1: ignore"),
        ("[1]", r":1: \(top\)"),
        ("a: [", "not valid YAML"),
    ],
)
def test_policy_errors_have_file_line_and_key(tmp_path, text, message):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(gate.GateError, match=message):
        load_policy(path)


def test_policy_files(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("")
    assert load_policy(path) == load_policy(None) == gate.Policy()
    with pytest.raises(gate.GateError, match="cannot be read"):
        load_policy(tmp_path / "absent.yaml")


def test_junit_and_markdown():
    comparison = judge(
        [result(fixed(0.1), fixed(0.1, "clear-anonymized.rank-1")), result(method="a|b")],
        [result(fixed(0.3))],
    )
    root = ET.fromstring(gate.junit(comparison))
    cases = root.findall("testsuite/testcase")
    assert len(cases) == len(comparison.rows) == int(root.attrib["tests"])
    assert len(root.findall(".//failure")) == int(root.attrib["failures"]) == 3
    failure = next(c for c in cases if c.attrib["name"] == "clear-anonymized.mAP").find("failure")
    assert failure is not None
    assert failure.attrib["type"] == "worse"
    text = gate.markdown(comparison)
    assert text.index("**worse**") < text.index("<details>")
    assert "a\\|b" in text
    assert "10.00 | 30.00 | +20.00" in text


def test_a_long_comparison_still_fits_a_comment():
    many = [result(method=f"m{i}") for i in range(400)]
    text = gate.markdown(judge(many, many))
    assert len(text) < 65_536
    assert "too many for a comment" in text


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("compare")(commands.compare)
    app.command("accept")(commands.accept)
    return app


@pytest.fixture
def folders(tmp_path: Path, write: Callable[..., Path]) -> dict[str, Path]:
    return {
        name: write(tmp_path / name, [result(fixed(value))], pictures=False)
        for name, value in {"base": 0.1, "same": 0.101, "leak": 0.3}.items()
    }


def test_exit_codes(app, folders, tmp_path):
    runner = CliRunner()
    passed = runner.invoke(app, ["compare", str(folders["base"]), str(folders["same"])])
    assert passed.exit_code == 0, passed.output
    assert "passed" in passed.output
    comment, report = tmp_path / "new" / "comment.md", tmp_path / "junit.xml"
    arguments = ["compare", str(folders["base"]), str(folders["leak"])]
    leak = runner.invoke(app, [*arguments, "--markdown", str(comment), "--junit", str(report)])
    assert leak.exit_code == 1
    assert "FAILED: 2 ok, 1 worse" in leak.output
    assert "FAILED" in comment.read_text()
    assert ET.parse(report).getroot().attrib["failures"] == "1"
    policy = tmp_path / "policy.yaml"
    policy.write_text("tolerances: {'*.mAP': 0.5}")
    assert runner.invoke(app, [*arguments, "--policy", str(policy)]).exit_code == 0
    assert isinstance(runner.invoke(app, [*arguments, "--junit", str(tmp_path)]).exception, gate.GateError)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema_version": 2', '"schema_version": 9', "schema version 9"),
        ('"value": 0.101', '"value": NaN', "value"),
    ],
)
def test_unusable_results(app, folders, old, new, message):
    path = next(folders["same"].rglob("market1501-reid.json"))
    path.write_text(path.read_text().replace(old, new))
    done = CliRunner().invoke(app, ["compare", str(folders["base"]), str(folders["same"])])
    assert isinstance(done.exception, ReportError)
    assert message in str(done.exception)


def test_accept(app, folders, tmp_path):
    kept = tmp_path / "golden"
    runner = CliRunner()
    arguments = ["accept", str(folders["base"]), str(kept), "--reason"]
    assert isinstance(runner.invoke(app, [*arguments, "  "]).exception, gate.GateError)
    assert not kept.exists()
    assert runner.invoke(app, [*arguments, "first numbers"]).exit_code == 0
    assert runner.invoke(app, ["compare", str(kept), str(folders["same"])]).exit_code == 0
    assert runner.invoke(app, ["compare", str(kept), str(folders["leak"])]).exit_code == 1
    accepted_run.accept(folders["leak"], kept, "a leak,\nby design")
    accepted = json.loads((kept / accepted_run.ACCEPTED).read_text())
    assert accepted["reason"] == "a leak, by design"
    assert accepted["history"] == ["first numbers", "a leak, by design"]
    assert runner.invoke(app, ["compare", str(kept), str(folders["leak"])]).exit_code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "golden", "leak", "same"]
    path = next(kept.rglob("market1501-reid.json"))
    path.write_text(path.read_text().replace("0.3", "0.9"))
    with pytest.raises(gate.GateError, match="not the file that was accepted"):
        accepted_run.load_compared(kept)
    (kept / accepted_run.ACCEPTED).write_text("[]")
    with pytest.raises(gate.GateError, match="cannot be used"):
        accepted_run.load_compared(kept)


def test_accept_refuses(folders, tmp_path, write):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.tex").write_text("years of work")
    with pytest.raises(gate.GateError, match="something else"):
        accepted_run.accept(folders["base"], taken, "because")
    assert (taken / "thesis.tex").exists()
    for inside in (folders["base"], folders["base"] / "golden", tmp_path):
        with pytest.raises(gate.GateError, match="inside one another"):
            accepted_run.accept(folders["base"], inside, "because")
    with pytest.raises(gate.GateError, match="no memory"):
        accepted_run.accept(
            write(tmp_path / "failed", [result(), failed(method="x")], pictures=False),
            tmp_path / "g",
            "because",
        )
    with pytest.raises(gate.GateError, match="coverage"):
        accepted_run.accept(
            write(tmp_path / "bare", [result(coverage=None)], pictures=False), tmp_path / "g", "because"
        )
