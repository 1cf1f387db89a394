"""The workflows and the container say what the repository does."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_is_whole(path):
    workflow = yaml.safe_load(path.read_text("utf-8"))
    assert workflow[True]  # `on`, which YAML 1.1 reads as a boolean
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        assert job["timeout-minutes"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"[\w./-]+@v\d+", step.get("uses", "a/b@v1"))


def test_ci_runs_what_a_developer_runs():
    assert (ROOT / ".ci" / "run").stat().st_mode & stat.S_IXUSR
    for path in WORKFLOWS:
        jobs = yaml.safe_load(path.read_text("utf-8"))["jobs"].values()
        assert any(step.get("run") == ".ci/run" for job in jobs for step in job["steps"])


def test_nightly_uploads_what_it_writes():
    text = (ROOT / ".github" / "workflows" / "nightly.yml").read_text("utf-8")
    (job,) = yaml.safe_load(text)["jobs"].values()
    upload = next(s for s in job["steps"] if s.get("uses", "").startswith("actions/upload-artifact"))
    for path in upload["with"]["path"].split():
        assert any(path in step.get("run", "") for step in job["steps"]), path


def test_the_container_holds_every_package_and_nothing_else():
    text = (ROOT / "Dockerfile").read_text("utf-8")
    copied = {word for line in re.findall(r"^COPY (.+)$", text, re.M) for word in line.split()[:-1]}
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert set(setup["package-dir"].values()) <= copied
    assert all((ROOT / name).exists() for name in copied)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").split() if line[0] == "!"}
    assert allowed == copied
    assert set(re.findall(r" AS (\w+)$", text, re.M)) == {"base", "cpu", "cuda", "detectron2"}


def test_every_dependency_is_accounted_for():
    """docs/dependencies.md says what each is for, why not its rival, and what happens if it is abandoned."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = setup["project"]["optional-dependencies"]
    asked = [setup["build-system"]["requires"], setup["project"]["dependencies"], *extras.values()]
    names = {re.match(r"[\w.-]+", line)[0] for group in asked for line in group}
    told = {}
    for line in (ROOT / "docs" / "dependencies.md").read_text("utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| Dependency"):
            name, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
            assert len(cells) == 3, name
            assert all(cells), name
            told[name.split()[0]] = name
    assert names <= told.keys()
    assert all("not installed" in told[name] for name in told.keys() - names)
    for extra, group in extras.items():
        for line in group:
            name = re.match(r"[\w.-]+", line)[0]
            if name not in {re.match(r"[\w.-]+", core)[0] for core in setup["project"]["dependencies"]}:
                assert "(" in told[name], f"{name} belongs to the extra {extra}"
