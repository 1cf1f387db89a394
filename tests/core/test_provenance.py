from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata

import pytest

from dp2bench.core import provenance


def test_collect_is_deterministic_and_serialises():
    given = {
        "dataset_version": "1",
        "dataset_fingerprint": "f",
        "device": "cpu",
        "threads": 2,
        "seeds": [0, 1],
        "steps": ["a"],
    }
    first, second = provenance.collect(**given), provenance.collect(**given)
    assert first.model_dump_json() == second.model_dump_json()
    assert first.packages["numpy"] == metadata.version("numpy")
    assert (first.seeds, first.steps, first.weights) == ((0, 1), ("a",), {})


def test_absent_packages_are_left_out():
    assert provenance.package_versions(["numpy", "no-such-distribution-at-all"]).keys() == {"numpy"}


def test_nothing_is_imported():
    code = (
        "import sys; from dp2bench.core.provenance import collect;"
        "collect(dataset_version='', dataset_fingerprint='', device='cpu', threads=1);"
        "assert 'torch' not in sys.modules and 'cv2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_state(tmp_path, monkeypatch):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    package = tmp_path / "dp2bench"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert provenance.git_state(package) == (None, None)
    git("init", "-q")
    assert provenance.git_state(package) == (None, None), (
        "untracked: an installation inside somebody else's checkout"
    )
    git("add", ".")
    git("commit", "-qm", "one")
    head = git("rev-parse", "HEAD")
    assert provenance.git_state(package) == (head, False)
    (tmp_path / "output.txt").write_text("")
    assert provenance.git_state(package) == (head, False), (
        "what lies outside the sources can't change a number"
    )
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert provenance.git_state(package) == (head, False)
    (package / "new.py").write_text("")
    assert provenance.git_state(package) == (head, True)
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state(package) == (None, None)
