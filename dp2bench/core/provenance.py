"""Where a number comes from: code, interpreter, platform, packages. No clock is read, so equal work gives
equal bytes.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import dp2bench
from dp2bench.core.results import Provenance

PACKAGES = (
    "numpy",
    "torch",
    "torchvision",
    "torchreid",
    "pycocotools",
    "cityscapesscripts",
    "torch-fidelity",
    "opencv-python-headless",
    "opencv-python",  # the same module by other names: whichever was installed last is what runs
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
    "pillow",
    "scipy",
    "numba",
    "av",
    "lpips",
    "detectron2",
)
"""Distributions whose version can change a number."""

_SOURCES = ("dp2bench", "suites", "tasks", "baselines", "reports", "pyproject.toml")


def package_versions(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of the installed ones of these distributions, read from their metadata: nothing is
    imported.
    """
    return {name: version for name in names if (version := _version(name)) is not None}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    # GIT_DIR and its like, set inside a git hook, would point at another repository
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [git, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def git_state(package: Path | None = None) -> tuple[str | None, bool | None]:
    """Commit of the checkout that the package is imported from, and whether its sources differ from that
    commit.

    (None, None) where the package isn't in a checkout of its own. A package installed into an environment
    that lies inside some
    other checkout is not tracked there, and therefore not taken for part of it.
    """
    package = Path(dp2bench.__file__).resolve().parent if package is None else package
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    commit = _git(package, "rev-parse", "HEAD")
    if commit is None:
        return None, None
    changed = _git(package.parent, "status", "--porcelain", "--", *_SOURCES)
    return commit, None if changed is None else bool(changed)


def collect(
    *,
    dataset_version: str,
    dataset_fingerprint: str,
    device: str,
    threads: int,
    weights: Mapping[str, str] | None = None,
    licences: Mapping[str, str] | None = None,
    arguments_passed: Mapping[str, Any] | None = None,
    arguments_effective: Mapping[str, Any] | None = None,
    method: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (),
    steps: Sequence[str] = (),
) -> Provenance:
    """The provenance of a result computed by this process; the same on every call on one machine."""
    commit, dirty = git_state()
    return Provenance(
        dp2bench=dp2bench.__version__,
        git_commit=commit,
        git_dirty=dirty,
        python=platform.python_version(),
        platform=platform.platform(),
        packages=package_versions(),
        device=device,
        threads=threads,
        dataset_version=dataset_version,
        dataset_fingerprint=dataset_fingerprint,
        weights=dict(weights or {}),
        licences=dict(licences or {}),
        arguments_passed=dict(arguments_passed or {}),
        arguments_effective=dict(arguments_effective or {}),
        method=dict(method or {}),
        task=dict(task or {}),
        seeds=tuple(seeds),
        steps=tuple(steps),
    )
