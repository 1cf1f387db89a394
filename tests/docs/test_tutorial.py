"""What the documentation shows works: its plug-ins run as a suite, its commands parse, its numbers are those on file."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer.main
import yaml
from PIL import Image

from dp2bench.cli.main import app
from dp2bench.reports.published import expected_names, load_expected

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "docs" / page).read_text("utf-8"), re.S | re.M)


@pytest.mark.e2e
def test_the_tutorials_method_dataset_and_task_run_together(tmp_path):
    for page, name in (
        ("add-a-method", "mean_colour"),
        ("add-a-dataset", "portraits"),
        ("add-a-task", "pixel_change"),
    ):
        (tmp_path / f"{name}.py").write_text(blocks(f"{page}.md", "python")[0], "utf-8")
    (tmp_path / "tutorial.yaml").write_text(blocks("add-a-task.md", "yaml")[0], "utf-8")
    rng = np.random.default_rng(0)
    for i in range(6):
        folder = tmp_path / "photos" / f"person {i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (64, 48, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    command = shlex.split(blocks("add-a-task.md", "console")[0])
    done = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "dp2bench-runs" / "tutorial" / "results"
    changes = {
        method: json.loads((results / method / "portraits" / "pixel-change.json").read_text("utf-8"))[
            "scores"
        ][0]
        for method in ("identity", "mask-out", "mean-colour")
    }
    assert changes["identity"]["value"] == 0
    assert changes["mask-out"]["value"] > 0.1
    assert changes["mean-colour"]["n"] == 6


def commands() -> list[tuple[str, str]]:
    """Every call of dp2bench in pages, README, workflows and the container: file and line."""
    found = []
    for path in (*PAGES, ROOT / "README.md"):
        text = re.sub(r"\\\n\s*", "", path.read_text("utf-8"))  # a command over several lines
        lines = [
            line
            for block in re.findall(r"^```console\n(.*?)^```", text, re.S | re.M)
            for line in block.splitlines()
        ]
        lines += re.findall(r"^    (dp2bench .*)$", text, re.M) + re.findall(
            r"`(dp2bench [^\s`]+ [^`\n]+)`", text
        )
        lines += re.findall(r"run: (dp2bench .*)$", text, re.M)
        found += [(path.name, line) for line in lines]
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values():
            scripts = [step["run"] for step in job["steps"] if "run" in step]
            found += [(path.name, line) for script in scripts for line in script.splitlines()]
    return [
        (name, line.strip()) for name, line in found if re.match(r"\s*(\.venv/bin/)?dp2bench(\s|$)", line)
    ]


@pytest.mark.parametrize(("where", "line"), sorted(set(commands())))
def test_every_command_that_is_shown_exists(where, line):
    words = shlex.split(re.split(r" (?:\|\||&&|[>|#]) ", line)[0])[1:]
    context = typer.main.get_command(app).make_context("dp2bench", words, resilient_parsing=not words)
    while hasattr(context.command, "resolve_command"):
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if not rest:
            break
        name, command, rest = context.command.resolve_command(context, rest)
        try:
            context = command.make_context(name, rest, parent=context)
        except Exception as error:
            if type(error).__name__ == "MissingParameter":  # prose leaves out what it does not speak of
                return
            raise


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_that_is_shown_compiles_and_yaml_loads(page):
    for code in blocks(page.name, "python"):
        compile(code, page.name, "exec")
    for text in blocks(page.name, "yaml"):
        yaml.safe_load(text)


def test_the_page_of_the_paper_shows_the_controls_on_file():
    text = (ROOT / "docs" / "reproduce.md").read_text("utf-8")
    for name in expected_names():
        for control in load_expected(name).controls:
            value = (
                f"{control.value:g}" if control.metric not in ("mAP", "rank-1") else f"{control.value:.1f}"
            )
            assert re.search(rf"(?<![\d.]){re.escape(value)}(?:\.0)?(?!\d)", text), control


def test_every_page_is_in_the_navigation():
    # other tags in mkdocs.yml (!!python/name) mean nothing here
    navigation = re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M)
    assert sorted(navigation) == [p.name for p in PAGES]
