"""Accept a run as the one to compare with, and read what was accepted."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from dp2bench.core.hashing import content_sha256
from dp2bench.reports.gate import compare
from dp2bench.reports.load import Run, load_run
from dp2bench.reports.policy import GateError
from dp2bench.reports.texts import failure_text

ACCEPTED = "accepted.json"


def _read_accepted(folder: Path) -> dict[str, Any]:
    path = folder / ACCEPTED
    try:
        value = json.loads(path.read_text("utf-8"))
        files, history = value["files"], value["history"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GateError(f"{path} cannot be used: {error}.", "Accept the run again.") from error
    if not isinstance(files, dict) or not isinstance(history, list):
        raise GateError(f"{path} is not what `dp2bench accept` writes.", "Accept the run again.")
    return {"files": files, "history": history}


def load_compared(folder: Path) -> Run:
    """A run's folder, or an accepted one, whose files must be those that were accepted."""
    run = load_run(folder)
    if (folder / ACCEPTED).exists():
        files = _read_accepted(folder)["files"]
        listed = {"run.json", *json.loads((folder / "run.json").read_text("utf-8"))["results"]}
        for name in sorted(listed | files.keys()):
            if not (folder / name).is_file() or files.get(name) != content_sha256(folder / name):
                raise GateError(
                    f"{folder / name} is not the file that was accepted.",
                    "Restore it, or accept a run with a reason.",
                )
    return run


def accept(run: Path, folder: Path, reason: str) -> list[Path]:
    """Copy a run's results and their single units to ``folder``, to be compared with from now on; the files written.

    ``accepted.json`` there holds the reason, those before it, and the sha256 of every file.

    Raises:
        GateError: no reason, a run with failures, or a folder that holds something else.

    """
    reason = " ".join(reason.split())
    if not reason:
        raise GateError("There is no reason.", 'Say why these numbers are right: --reason "...".')
    loaded = load_compared(run)
    if bad := [r for r in loaded.results if r.status != "ok"]:
        raise GateError(
            f"{bad[0].spec.method}/{bad[0].spec.dataset}/{bad[0].spec.task} in {run}: {failure_text(bad[0])}",
            "Accept a run without failures.",
        )
    # an accepted run that cannot be compared with itself would fail every gate after it
    if failures := compare(loaded, loaded).failures:
        raise GateError(f"{run}: {failures[0].key}: {failures[0].note}.", "Repeat the run.")
    root, target = run.resolve(), folder.resolve()
    if root == target or root in target.parents or target in root.parents:
        raise GateError(f"{folder} and {run} lie inside one another.", "Choose another folder.")
    history: list[Any] = []
    if folder.exists():
        if not folder.is_dir() or (any(folder.iterdir()) and not (folder / ACCEPTED).is_file()):
            raise GateError(f"{folder} holds something else than accepted results.", "Choose another folder.")
        history = _read_accepted(folder)["history"] if (folder / ACCEPTED).is_file() else []
    index = json.loads((run / "run.json").read_text("utf-8"))
    index["results"] = [(run / item).resolve().relative_to(root).as_posix() for item in index["results"]]
    # single units make later comparisons paired
    units = [Path(item).with_suffix(".units.json").as_posix() for item in index["results"]]
    copied = [*index["results"], *(name for name in units if (root / name).is_file())]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # beside the target, so that the exchange is a rename
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            for item in copied:
                (fresh / item).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / item, fresh / item)
            text = json.dumps(index, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
            (fresh / "run.json").write_text(text, "utf-8")
            names = ["run.json", *copied]
            accepted = {
                "schema_version": 1, "reason": reason, "history": [*history, reason],
                "files": {name: content_sha256(fresh / name) for name in names},
            }  # fmt: skip
            text = json.dumps(accepted, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
            (fresh / ACCEPTED).write_text(text, "utf-8")
            previous = Path(scratch) / "old"
            if target.exists():
                target.rename(previous)
            try:
                fresh.rename(target)
            except OSError:
                # what stays in the scratch folder is deleted with it
                if previous.exists():
                    previous.rename(target)
                raise
    except OSError as error:
        raise GateError(f"{folder} cannot be written: {error}.", "Choose another folder.") from error
    return [folder / name for name in (ACCEPTED, *names)]
