"""Every result in one database, so that a number can be followed over time: SQLite, or PostgreSQL by URL.

A result is kept as the bytes of its file, hence `export` gives back what `import_` took; the columns beside it are what a query
needs, and are plain enough for other tools to read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import platformdirs
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.results import Result, read_result

OFF = "off"
TIMES = "recorded.json"
_NO_RESULTS = (TIMES, "run.json", "accepted.json")
_LOCK = 0x64703262  # "dp2b": any number, so long as it is always this one

METADATA = sa.MetaData()
RESULTS = sa.Table(
    "results",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("main_score", sa.Text),
    sa.Column("dp2bench", sa.Text),
    sa.Column("git_commit", sa.Text),
    sa.Column("git_dirty", sa.Boolean),
    sa.Column("people", sa.BigInteger),
    sa.Column("anonymized", sa.BigInteger),
    sa.Index("results_by_name", "task", "method", "dataset", "recorded_at"),
)
SCORES = sa.Table(
    "scores",
    METADATA,
    sa.Column("result_id", sa.ForeignKey("results.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("scenario", sa.Text, nullable=False),
    sa.Column("metric", sa.Text, nullable=False),
    sa.Column("subset", sa.Text, nullable=False),
    sa.Column("clear_only", sa.Boolean, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("higher_is_better", sa.Boolean, nullable=False),
    sa.Column("n", sa.BigInteger, nullable=False),
    sa.Column("chance", sa.Double),
    sa.Column("low", sa.Double),
    sa.Column("high", sa.Double),
)


class HistoryError(Dp2benchError):
    """A history that cannot be reached, read or written."""


@dataclass(frozen=True)
class Point:
    """A score at a time. ``people`` and ``anonymized`` are the coverage it must not be shown without (None: unknown), unless it is
    of clear pictures alone (``clear_only``).

    ``value`` and ``interval`` are in ``unit`` (a fraction is 0..1); ``recorded_at`` is in UTC.
    """

    recorded_at: datetime
    method: str
    dataset: str
    task: str
    score: str
    clear_only: bool
    value: float
    unit: str
    interval: tuple[float, float] | None
    people: int | None
    anonymized: int | None
    dp2bench: str | None
    git_commit: str | None
    git_dirty: bool | None

    @property
    def commit(self) -> str:
        """The commit's first nine digits, with a plus where the sources differed from it; ``–`` outside a checkout."""
        return f"{self.git_commit[:9]}{'+' if self.git_dirty else ''}" if self.git_commit else "–"


def default_location() -> str:
    """``$DP2BENCH_HISTORY`` (a URL, the path of an SQLite file, or ``off``), or a file in the user's data folder."""
    return os.environ.get("DP2BENCH_HISTORY") or str(
        Path(platformdirs.user_data_dir("dp2bench"), "history.sqlite")
    )


def _url(location: str) -> sa.URL:
    if "://" not in location:
        return sa.URL.create("sqlite", database=str(Path(location).expanduser()))
    try:
        url = sa.make_url(location)
    except sa.exc.ArgumentError as error:
        raise HistoryError(
            "The history's URL cannot be read.",
            "Write it like postgresql://user@host/database or sqlite:///file.",
        ) from error
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise HistoryError(f"A history cannot be kept in {url.get_backend_name()}.", _REMEDY)
    return url


class History:
    """A database of results, brought to the present schema when it is opened.

    Args:
        location: a URL, or the path of an SQLite file; `default_location` where None.

    Raises:
        HistoryError: it cannot be reached, is no database, or was written by a newer dp2bench.

    """

    def __init__(self, location: str | None = None) -> None:
        self.url = _url(location or default_location())
        self.name = self.url.render_as_string(hide_password=True)
        with self._errors():
            if self.url.get_backend_name() == "sqlite":
                if self.url.database:
                    Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
                self.engine = sa.create_engine(self.url, connect_args={"timeout": 30})
                sa.event.listen(self.engine, "connect", _own_transactions)
                # a reader that turns writer cannot wait for another writer: take the lock at once
                sa.event.listen(self.engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
            else:
                self.engine = sa.create_engine(self.url, connect_args={"connect_timeout": 10})
        with self._begin() as connection:
            if _migrate(connection, self.name):
                _derive_again(connection)

    def close(self) -> None:
        """Let go of the connections."""
        self.engine.dispose()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            problem = f"The history {self.name} cannot be used: {str(error.orig).strip().splitlines()[0]}."
            raise HistoryError(problem, _REMEDY) from error
        except (sa.exc.SQLAlchemyError, OSError, OverflowError) as error:
            raise HistoryError(f"The history {self.name} cannot be used: {error}.", _REMEDY) from error
        except ModuleNotFoundError as error:
            remedy = "Install it: pip install 'dp2bench[postgres]'."
            raise HistoryError(f"The history {self.name} needs {error.name}.", remedy) from error

    @contextlib.contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with self._errors(), self.engine.begin() as connection:
            yield connection

    def add(self, documents: Iterable[tuple[bytes, str]], recorded_at: datetime | None = None) -> int:
        """Record result files, all or none; the number of those that were not there yet.

        Args:
            documents: the bytes of each file, and its name for messages.
            recorded_at: when they were measured, with a time zone; now where None.

        """
        return self._insert((text, where, recorded_at) for text, where in documents)

    def _insert(self, documents: Iterable[tuple[bytes, str, datetime | None]]) -> int:
        now = datetime.now(timezone.utc)
        added = 0
        with self._begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            for text, where, time in documents:
                result = read_result(text, where)
                digest = hashlib.sha256(text).hexdigest()
                if connection.scalar(sa.select(RESULTS.c.id).where(RESULTS.c.sha256 == digest)) is not None:
                    continue
                row = _row(result) | {
                    "sha256": digest, "document": text, "recorded_at": (time or now).astimezone(timezone.utc)
                }  # fmt: skip
                key = connection.execute(RESULTS.insert().values(row).returning(RESULTS.c.id)).scalar_one()
                _insert_scores(connection, key, result)
                added += 1
        return added

    def import_(self, paths: Sequence[Path]) -> tuple[int, int]:
        """Record result files, the results of run folders, or exported folders; how many files, and how many were new.

        The time of a result is the one it was exported with, or else the file's.
        """
        found: list[tuple[bytes, str, datetime]] = []
        for path in paths:
            times = _times(path / TIMES)
            files = [path] if not path.is_dir() else sorted(path.rglob("*.json"))
            for file in files:
                if path.is_dir() and (file.name in _NO_RESULTS or file.name.endswith(".units.json")):
                    continue
                try:
                    text, changed = file.read_bytes(), file.stat().st_mtime
                except OSError as error:
                    raise HistoryError(f"{file} cannot be read: {error.strerror}.", "Name a file or folder of results.") from error  # fmt: skip
                when = times.get(file.name) or datetime.fromtimestamp(changed, timezone.utc)
                found.append((text, str(file), when))
        if not found:
            raise HistoryError(
                f"No results in {', '.join(map(str, paths))}.", "Name a run's folder or result files."
            )
        return len(found), self._insert(found)

    def export(self, folder: Path) -> int:
        """Write every result's file, byte for byte, as ``<sha256>.json``, and ``recorded.json`` with the times; how many."""
        times = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._begin() as connection:
                columns = (RESULTS.c.sha256, RESULTS.c.document, RESULTS.c.recorded_at)
                for digest, document, time in connection.execute(sa.select(*columns).order_by(RESULTS.c.id)):
                    (folder / f"{digest}.json").write_bytes(document)
                    times[f"{digest}.json"] = _utc(time).isoformat()
            (folder / TIMES).write_text(json.dumps(times, indent=1, sort_keys=True) + "\n", "utf-8")
        except OSError as error:
            raise HistoryError(
                f"{folder} cannot be written: {error.strerror}.", "Choose another folder."
            ) from error
        return len(times)

    def points(
        self,
        *,
        task: str | None = None,
        method: str | None = None,
        dataset: str | None = None,
        score: str | None = None,
    ) -> list[Point]:
        """Scores in the order of time; the main score of each result where ``score`` is None. A name may hold ``*``."""
        query = (
            sa.select(RESULTS, SCORES)
            .join(SCORES, SCORES.c.result_id == RESULTS.c.id)
            .order_by(RESULTS.c.recorded_at, RESULTS.c.id, SCORES.c.name)
        )
        wanted = {RESULTS.c.task: task, RESULTS.c.method: method, RESULTS.c.dataset: dataset, SCORES.c.name: score}  # fmt: skip
        for column, value in wanted.items():
            if value is not None:
                query = query.where(
                    column.like(_like(value), escape="\\") if "*" in value else column == value
                )
        if score is None:
            query = query.where(SCORES.c.name == RESULTS.c.main_score)
        with self._begin() as connection:
            return [
                Point(
                    _utc(r.recorded_at), r.method, r.dataset, r.task, r.name, r.clear_only, r.value, r.unit,
                    None if r.low is None or r.high is None else (r.low, r.high), r.people, r.anonymized,
                    r.dp2bench, r.git_commit, r.git_dirty,
                )
                for r in connection.execute(query)
            ]  # fmt: skip


_REMEDY = "Check --history or DP2BENCH_HISTORY (a PostgreSQL URL, the path of an SQLite file, or `off` to record nothing)."


def _own_transactions(connection: object, record: object) -> None:
    # sqlite3 would otherwise begin where it sees fit, and not at all before a CREATE TABLE
    connection.isolation_level = None  # type: ignore[attr-defined]
    connection.execute("PRAGMA foreign_keys = ON")  # type: ignore[attr-defined]


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", "dp2bench.engine:migrations")
    return config


def _migrate(connection: sa.Connection, name: str) -> bool:
    """Bring the tables to the present schema; whether there were some of an earlier one."""
    config = _migrations()
    script = ScriptDirectory.from_config(config)
    if connection.dialect.name == "postgresql":
        # of two that open a new database at once, one makes the tables and the other finds them
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    present = MigrationContext.configure(connection).get_current_revision()
    if present == script.get_current_head():
        return False
    if present not in {None, *(r.revision for r in script.walk_revisions())}:
        raise HistoryError(
            f"The history {name} was written by a newer dp2bench (revision {present}).", "Update dp2bench."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return present is not None


def _derive_again(connection: sa.Connection) -> None:
    """What stands beside the documents, as it is derived from them today."""
    connection.execute(SCORES.delete())
    for key, document in connection.execute(sa.select(RESULTS.c.id, RESULTS.c.document)).all():
        result = read_result(document, f"the result {key} of the history")
        connection.execute(RESULTS.update().where(RESULTS.c.id == key).values(_row(result)))
        _insert_scores(connection, key, result)


def _insert_scores(connection: sa.Connection, key: int, result: Result) -> None:
    if scores := [{"result_id": key, **s} for s in _scores(result)]:
        connection.execute(SCORES.insert(), scores)


def _text(value: str | None) -> str | None:
    # PostgreSQL has no NUL in its texts; the document keeps it
    return None if value is None else value.replace("\0", "�")


def _row(result: Result) -> dict[str, object]:
    spec, made, people = result.spec, result.provenance, result.coverage
    return {
        "method": _text(spec.method),
        "dataset": _text(spec.dataset),
        "task": _text(spec.task),
        "status": result.status,
        "main_score": _text(result.main_score),
        "dp2bench": _text(made.dp2bench) if made else None,
        "git_commit": _text(made.git_commit) if made else None,
        "git_dirty": made.git_dirty if made else None,
        "people": people.found + (people.undetected or 0) if people else None,
        "anonymized": people.anonymized if people else None,
    }


def _scores(result: Result) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for score in result.scores:
        metric, (low, high) = result.metric(score), score.ci95 or (None, None)
        rows.append(
            {
                "name": _text(score.name), "scenario": _text(score.scenario), "metric": _text(score.metric),
                "subset": _text(score.subset), "clear_only": result.clear_only(score), "value": score.value,
                "unit": _text(metric.unit), "higher_is_better": metric.higher_is_better, "n": score.n,
                "chance": score.chance, "low": low, "high": high,
            }
        )  # fmt: skip
    return list({row["name"]: row for row in rows}.values())


def _utc(time: datetime) -> datetime:
    # SQLite keeps no time zone; what was written is UTC
    return time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time.astimezone(timezone.utc)


def _like(pattern: str) -> str:
    for special in "\\%_":
        pattern = pattern.replace(special, "\\" + special)
    return pattern.replace("*", "%")


def _times(path: Path) -> dict[str, datetime]:
    if not path.is_file():
        return {}
    try:
        times = {k: datetime.fromisoformat(v) for k, v in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise HistoryError(f"{path} cannot be used: {error}.", "Export again, or delete the file.") from error
    if any(time.tzinfo is None for time in times.values()):
        raise HistoryError(f"{path} holds times without a time zone.", "Export again, or delete the file.")
    return times


def record(results: Iterable[Result], location: str | None = None) -> str:
    """Record a run's results; what went wrong, or an empty string: a history that fails never fails a run."""
    if (location or default_location()) == OFF:
        return ""
    try:
        history = History(location)
        try:
            history.add((r.to_json().encode(), f"the result of {r.spec.method}") for r in results)
        finally:
            history.close()
    except Dp2benchError as error:
        return str(error)
    return ""
