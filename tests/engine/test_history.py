"""The history gives back what it took, on SQLite and on a PostgreSQL server that these tests start."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dp2bench.core.errors import ResultError
from dp2bench.core.results import (
    Coverage,
    Failure,
    Metric,
    Provenance,
    Result,
    ResultSpec,
    Scenario,
    Score,
    read_result,
)
from dp2bench.engine import history
from dp2bench.engine.history import History, HistoryError

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "results"
DAY = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of its own."""
    pgserver = pytest.importorskip(
        "pgserver", reason="pgserver (PostgreSQL as a wheel) is not installed here"
    )
    pytest.importorskip("psycopg", reason="psycopg is not installed here")
    # a socket's path may have some hundred characters only
    server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


_databases = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes the location of an empty database."""
    if request.param == "sqlite":
        return lambda: str(tmp_path / "sub folder" / f"{next(_databases)}.sqlite")
    url = sa.make_url(request.getfixturevalue("postgres"))

    def make() -> str:
        name = f"history{next(_databases)}"
        admin = sa.create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        admin.dispose()
        return url.set(database=name).render_as_string(hide_password=False)

    return make


@pytest.fixture
def opened(fresh: Callable[[], str]) -> Iterator[History]:
    one = History(fresh())
    yield one
    one.close()


def result(value: float = 0.25, method: str = "blur", **provenance) -> Result:
    return Result(
        run_id="r", status="ok", main_score="clear-anonymized.mAP",
        spec=ResultSpec(method=method, dataset="d", task="t", detector="annotations", seeds=(0,)),
        scores=(
            Score(scenario="clear-anonymized", metric="mAP", value=value, n=9, ci95=(value - 0.1, value + 0.1)),
            Score(scenario="clear-clear", metric="mAP", value=0.8, n=9),
        ),
        metrics={"mAP": Metric(higher_is_better=False)}, scenarios={"clear-clear": Scenario(clear_only=True)},
        coverage=Coverage(pictures=4, found=9, anonymized=8, missed=1, pictures_without_detection=0, undetected=1),
        provenance=Provenance(
            **{
                "dp2bench": "0.1.0", "git_commit": "0123456789abcdef", "git_dirty": False, "python": "3.11",
                "platform": "Linux", "packages": {}, "device": "cpu", "threads": 1, "dataset_version": "1",
                "dataset_fingerprint": "f", **provenance,
            }
        ),
    )  # fmt: skip


def encoded(*results: Result) -> list[tuple[bytes, str]]:
    return [(r.to_json().encode(), "a test's result") for r in results]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**53)
plain = st.recursive(st.none() | st.booleans() | numbers | texts | st.integers(), st.lists, max_leaves=4)
scores = st.builds(
    Score, metric=texts.filter(bool), scenario=texts, subset=texts, value=numbers, n=counts,
    chance=st.none() | numbers, ci95=st.none() | st.tuples(numbers, numbers), per_seed=st.lists(numbers, max_size=3).map(tuple),
)  # fmt: skip
specs = st.builds(
    ResultSpec, method=texts, method_arguments=st.dictionaries(texts, plain, max_size=2), dataset=texts,
    task=texts, detector=texts, seeds=st.lists(st.integers(0), max_size=3).map(tuple),
)  # fmt: skip
declarations = st.builds(Metric, unit=texts, higher_is_better=st.booleans(), title=texts)


def declared(scores: tuple[Score, ...], metric: Metric, **fields) -> Result:
    return Result(scores=scores, metrics={s.metric: metric for s in scores}, **fields)


results = st.builds(
    declared, metric=declarations, schema_version=st.just(2), run_id=texts, spec=specs, status=st.sampled_from(["ok", "error", "skipped"]),
    main_score=st.none() | texts, scores=st.lists(scores, max_size=3).map(tuple),
    coverage=st.none() | st.builds(
        Coverage, pictures=counts, found=counts, anonymized=counts, missed=counts, missed_reasons=st.dictionaries(texts, counts, max_size=2),
        pictures_without_detection=counts, undetected=st.none() | counts, unreadable=counts,
    ),
    error=st.none() | st.builds(Failure, step=texts, kind=texts, message=texts),
    provenance=st.none() | st.builds(lambda commit, dirty: result(git_commit=commit, git_dirty=dirty).provenance, st.none() | texts, st.none() | st.booleans()),
)  # fmt: skip


def layouts(text: str) -> bytes:
    """The same result as other writers would write it; the history must not tidy up."""
    return json.dumps(json.loads(text), indent=None, ensure_ascii=True).encode()


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(results, st.booleans()), min_size=1, max_size=4))
def test_export_gives_back_what_import_took_byte_for_byte(fresh, tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("results")
    taken = {layouts(r.to_json()) if other else r.to_json().encode() for r, other in drawn}
    for i, text in enumerate(sorted(taken)):
        (folder / f"{i}.json").write_bytes(text)
    first, second = History(fresh()), History(fresh())
    try:
        assert first.import_([folder]) == (len(taken), len(taken))
        assert first.import_([folder]) == (len(taken), 0)
        assert first.export(folder / "out") == len(taken)
        exported = {p.name: p.read_bytes() for p in (folder / "out").iterdir()}
        assert {text for name, text in exported.items() if name != history.TIMES} == taken
        assert second.import_([folder / "out"])[1] == len(taken)
        second.export(folder / "again")
        assert {p.name: p.read_bytes() for p in (folder / "again").iterdir()} == exported
    finally:
        first.close()
        second.close()
        shutil.rmtree(folder)


def test_scores_come_back_in_the_order_of_time(opened):
    for days, value in ((2, 0.3), (0, 0.1), (1, 0.2)):
        opened.add(encoded(result(value)), DAY + timedelta(days=days))
    opened.add(encoded(result(0.9, "pixelate_8")), DAY)
    points = opened.points(task="t", method="blur", dataset="d")
    assert [p.value for p in points] == [0.1, 0.2, 0.3]
    assert points[0].recorded_at == DAY
    assert points[0].interval == pytest.approx((0.0, 0.2))
    assert (points[0].people, points[0].anonymized, points[0].commit) == (10, 8, "012345678")
    assert len(opened.points(score="clear-clear.mAP")) == 4
    assert {p.method for p in opened.points(method="p*_8")} == {"pixelate_8"}
    assert not opened.points(method="pixelate-8")


def test_a_broken_file_among_good_ones_records_nothing(opened):
    with pytest.raises(ResultError, match="broken"):
        opened.add([*encoded(result()), (b"{", "broken")])
    assert opened.points() == []


def test_migrations_make_the_tables_the_code_uses(opened):
    with opened.engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, history.METADATA) == []


def test_what_an_earlier_dp2bench_recorded_is_derived_again(fresh):
    location = fresh()
    first = History(location)
    sample = SAMPLES / "v1-with-task.json"
    first.import_([sample])
    with first.engine.begin() as connection:  # as revision 0001 left it
        config = history._migrations()
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        connection.exec_driver_sql("UPDATE results SET main_score = 'clear-anonymised.mAP'")
        connection.exec_driver_sql(
            "INSERT INTO scores (result_id, name, value, unit, higher_is_better, n) "
            "SELECT id, 'clear-anonymised.mAP', 0.5, 'fraction', FALSE, 24 FROM results"
        )
    first.close()
    second = History(location)
    try:
        (point,) = second.points()
        assert (point.score, point.clear_only, point.unit) == ("clear-anonymized.mAP", False, "fraction")
        assert point.value == read_result(sample.read_bytes(), "").score(point.score).value
        assert {p.score for p in second.points(score="*") if p.clear_only} == {
            f"clear-clear.{metric}" for metric in ("mAP", "rank-1", "rank-5", "rank-10")
        }
        assert second.import_([sample]) == (1, 0)
    finally:
        second.close()


def test_a_newer_database_is_left_alone(fresh):
    location = fresh()
    first = History(location)
    with first.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    first.close()
    with pytest.raises(HistoryError, match="newer dp2bench"):
        History(location)


@pytest.mark.slow
def test_several_processes_open_a_new_database_and_record(fresh):
    location = fresh()
    program = (
        "import sys; from pathlib import Path; from dp2bench.engine.history import History;"
        "h = History(sys.argv[1]); print(h.import_([Path(sys.argv[2])])); h.close()"
    )
    words = [sys.executable, "-c", program, location, str(SAMPLES)]
    started = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")
        for _ in range(3)
    ]
    outputs = [p.communicate(timeout=120)[0] for p in started]
    assert [p.returncode for p in started] == [0, 0, 0], outputs
    count = len(list(SAMPLES.glob("*.json")))
    assert sorted(outputs) == [f"({count}, 0)\n", f"({count}, 0)\n", f"({count}, {count})\n"]


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("mysql://host/x", "cannot be kept in mysql"),
        ("nonsense://", "cannot be"),
        ("://", "cannot be read"),
        ("postgresql://nobody:hunter2@127.0.0.1:9/x", "cannot be used"),
    ],
)
def test_bad_locations_say_so_and_keep_the_password(location, message):
    with pytest.raises(HistoryError, match=message) as caught:
        History(location)
    assert "hunter2" not in str(caught.value)


def test_a_history_that_fails_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "no.sqlite").write_text("this is no database, whatever its name says" * 50)
    assert "cannot be used" in history.record([result()], str(tmp_path / "file" / "h.sqlite"))
    assert "not a database" in history.record([result()], str(tmp_path / "no.sqlite"))
    assert history.record([result()], "off") == ""
    assert history.record([result()], str(tmp_path / "h.sqlite")) == ""


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda p: p.stem)
def test_results_of_every_schema_version_stay_readable(path, opened):
    kept = read_result(path.read_bytes(), path.name)
    assert opened.import_([path]) == (1, 1)
    assert len(opened.points(score="*")) == len(kept.scores)


def test_there_is_a_sample_of_every_schema_version():
    from dp2bench.core.results import SCHEMA_VERSION

    found = {json.loads(p.read_text("utf-8"))["schema_version"] for p in SAMPLES.glob("*.json")}
    assert found == set(range(1, SCHEMA_VERSION + 1))
