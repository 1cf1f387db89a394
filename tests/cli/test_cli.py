"""Through the command line: what a user sees, above all when the input is bad."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from .program import run

pytestmark = pytest.mark.e2e
PROGRAM = str(Path(sys.executable).with_name("dp2bench"))


def picture(path: Path, size=(40, 60), **save) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    Pillow.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(path, **save)
    return path


@pytest.mark.parametrize(
    "command", [[], ["run"], ["anonymize"], ["evaluate"], ["report"], ["list"], ["doctor"]]
)
def test_help_teaches(command):
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_help_imports_little_more_than_typer(tmp_path):
    """What makes --help quick, counted in modules, since seconds depend on the machine."""

    def loaded(code: str) -> set[str]:
        code = f"import sys\n{code}\nprint('LOADED', *sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
        )
        return set(done.stdout.rpartition("LOADED")[2].split())

    ours = loaded(
        "sys.argv = ['dp2bench', '--help']\nfrom dp2bench.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass"
    )
    own = {m for m in ours if m.startswith("dp2bench.")}
    assert own == {
        "dp2bench.cli",
        "dp2bench.cli.main",
        "dp2bench.core",
        "dp2bench.core.errors",
        "dp2bench.core.memory",
    }
    more = {m.partition(".")[0] for m in ours - loaded("import typer, rich")} - {"dp2bench"}
    assert len(more) < 15, sorted(more)


def test_help_names_every_command_with_its_own_first_line():
    import typer

    from dp2bench.cli.main import COMMANDS, app

    group = typer.main.get_command(app)
    for name, (_, line) in COMMANDS.items():
        command = group.commands[name]
        assert command.name == name
        assert (command.help or command.callback.__doc__).strip().splitlines()[0] == line


@pytest.mark.parametrize("what", ["methods", "tasks", "datasets", "detectors", "attacks", "suites"])
def test_list_shows_what_is_there(what):
    done = run("list", what)
    assert done.returncode == 0, done.stderr
    assert "broken" not in done.stdout
    expected = {
        "methods": "pixelate-16",
        "tasks": "market1501-reid",
        "datasets": "passersby-reid",
        "detectors": "full-image",
        "suites": "mini",
        "attacks": "silhouette",
    }
    assert expected[what] in done.stdout


def test_doctor_knows_this_machine():
    done = run("doctor")
    assert done.returncode == 0, done.stderr
    assert "torchreid" in done.stdout
    assert "suite market1501" in done.stdout
    said = " ".join(done.stdout.split())
    assert (
        "task market1501-reid ready on passersby-reid; bring cuhk03, dukemtmc-reid, market1501, msmt17;"
        in said
    )
    assert "broken" not in said


def test_doctor_names_tasks_settings_and_extras_that_exist():
    import inspect
    from importlib.metadata import metadata

    from dp2bench.attacks.reid import ReidConfig
    from dp2bench.cli.doctor import EXTRAS, FURTHER
    from dp2bench.core import registry

    for task, settings in FURTHER.items():
        known = {*inspect.signature(registry.load("tasks", task)).parameters, *vars(ReidConfig())}
        assert settings.keys() <= known, task
    assert EXTRAS.keys() <= set(metadata("dp2bench").get_all("Provides-Extra"))


def test_one_picture(tmp_path):
    source = picture(tmp_path / "a b ü.png")
    done = run("anonymize", source, tmp_path / "out.png", "--method", "mask-out", "--detector", "full-image")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (np.asarray(Pillow.open(tmp_path / "out.png")) == 127).all()


def test_a_folder_with_every_kind_of_bad_file(tmp_path):
    source = tmp_path / "in"
    picture(source / "good.jpg")
    picture(source / "deep" / "down ü.png")
    picture(source / "one.png", (1, 1))
    Pillow.fromarray(np.full((30, 20), 40000, np.uint16)).save(source / "sixteen.png")
    Pillow.fromarray(np.zeros((30, 20), np.uint8)).save(source / "grey.png")
    Pillow.fromarray(np.zeros((30, 20, 4), np.uint8), "RGBA").save(source / "alpha.png")
    Pillow.new("CMYK", (20, 30)).save(source / "cmyk.jpg")
    picture(source / "wide.jpg", (20000, 4))
    (source / "truncated.jpg").write_bytes((source / "good.jpg").read_bytes()[:900])
    (source / "text.jpg").write_text("I am no picture")
    (source / "empty.png").touch()
    done = run("anonymize", source, tmp_path / "out", "--method", "mask-out", "--detector", "full-image")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    for bad in ("truncated.jpg", "text.jpg", "empty.png"):
        assert bad in done.stdout
        assert not (tmp_path / "out" / bad).exists()
    for good in (
        "good.jpg",
        "deep/down ü.png",
        "one.png",
        "sixteen.png",
        "grey.png",
        "alpha.png",
        "cmyk.jpg",
        "wide.jpg",
    ):
        painted = np.asarray(Pillow.open(tmp_path / "out" / good)).astype(int)
        grey = 127 * 257 if good == "sixteen.png" else 127  # 16 bits stay 16 bits
        assert np.abs(painted - grey).max() <= 2, good
    assert Pillow.open(tmp_path / "out" / "wide.jpg").size == (20000, 4)
    assert "3 files left out" in " ".join(done.stdout.split())


def test_exif_rotation_is_applied(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "turned.jpg", (40, 60), exif=exif)
    done = run(
        "anonymize",
        tmp_path / "turned.jpg",
        tmp_path / "out.png",
        "--method",
        "blur",
        "--detector",
        "full-image",
    )
    assert done.returncode == 0
    assert Pillow.open(tmp_path / "out.png").size == (60, 40)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["anonymize", "nowhere", "out", "-m", "blur"], "nowhere"),
        (["anonymize", "empty", "out", "-m", "blur"], "empty"),
        (["anonymize", "full", "out", "-m", "blr"], "blur"),
        (["anonymize", "full", "full", "-m", "blur"], "overwrite IN"),
        (["anonymize", "full", "full/out", "-m", "blur"], "inside"),
        (["anonymize", "full", "taken", "-m", "blur"], "not empty"),
        (["anonymize", "full", "out", "-m", "blur", "--detector", "annotations"], "no annotations"),
        (["anonymize", "full", "out", "-m", "blur", "--dataset", "market1501"], "bounding_box_train"),
        (["anonymize", "strange", "out", "-m", "blur", "--dataset", "market1501"], "a person ü.jpg"),
        (["anonymize", "texts", "out", "-m", "blur"], "holds no pictures"),
        (["run", "no-such-suite"], "mini"),
        (["run", "broken.yaml"], "broken.yaml:2: sedes: unknown key"),
        (["run", "smoke", "--data-root", "nowhere"], "nowhere"),
        (["run", "market1501"], "--data-root"),
        (["run", "smoke", "--out", "/proc/nowhere/x"], "/proc/nowhere/x"),
        (["run", "smoke", "--device", "abacus"], "abacus"),
        (["report", "nowhere"], "nowhere"),
        (["evaluate", "--clear", "nowhere", "--anonymized", "full"], "nowhere"),
    ],
)
def test_bad_input_gets_one_clear_message(tmp_path, arguments, expected):
    (tmp_path / "empty").mkdir()
    picture(tmp_path / "full" / "a.png")
    picture(tmp_path / "taken" / "b.png")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("I am no picture")
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        picture(tmp_path / "strange" / folder / "0002_c1s1_000451_03.jpg")
    picture(tmp_path / "strange" / "query" / "a person ü.jpg")
    (tmp_path / "broken.yaml").write_text("name: x\nsedes: [1]\n")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert expected in " ".join(done.stderr.split())
    assert "What to do" in done.stderr
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def without_override() -> None:
    """Take away a root user's power to write where permissions forbid it, in the program about to be started."""
    prctl, drop_from_bounding_set = ctypes.CDLL(None).prctl, 24
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        prctl(drop_from_bounding_set, capability, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
@pytest.mark.parametrize(
    "command",
    [
        "anonymize",
        pytest.param("run", marks=pytest.mark.slow),
        pytest.param("cache", marks=pytest.mark.slow),
        "report",
    ],
)
def test_no_write_permission(tmp_path, tiny_suite, command):
    picture(tmp_path / "in" / "a.png")
    locked = tmp_path / "locked"
    locked.mkdir()
    if command == "report":
        (locked / "results").mkdir()
        shutil.copyfile(Path(__file__).parents[1] / "data/results/v1-first.json", locked / "results/r.json")
        (locked / "run.json").write_text('{"schema_version": 1, "results": ["results/r.json"]}')
    locked.chmod(0o555)
    environment = os.environ | {"COLUMNS": "80"}
    arguments = {
        "anonymize": [
            "anonymize",
            tmp_path / "in",
            locked / "out",
            "-m",
            "blur",
            "--detector",
            "full-image",
        ],
        "run": ["run", tiny_suite, "--out", locked / "run"],
        "cache": ["run", tiny_suite, "--out", tmp_path / "run"],
        "report": ["report", locked],
    }[command]
    if command == "cache":
        environment["DP2BENCH_CACHE"] = str(locked / "cache")
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        capture_output=True, text=True, env=environment, timeout=300, preexec_fn=without_override, check=False,
    )  # fmt: skip
    said = " ".join((done.stdout + done.stderr).split())
    if (locked / "out").exists() or (locked / "run").exists():
        pytest.skip("this user writes where permissions forbid it, and keeps that power")
    assert done.returncode in {1, 2}, said
    assert "Traceback" not in said
    assert str(locked) in said.replace(" ", "")
    assert "ermission" in said or "may write to" in said


@pytest.mark.slow
def test_a_full_disk(tmp_path, tiny_suite):
    """/dev/full takes no byte."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").symlink_to("/dev/full")
    done = run("run", tiny_suite, "--out", tmp_path / "run")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    said = " ".join(done.stderr.split())
    assert f"{tmp_path}/run/journal.jsonl cannot be written: no space is left." in said
    assert "What to do: Free space on that disk" in said


def test_a_disk_that_fills_up_in_a_folder_of_pictures(tmp_path, monkeypatch, capsys):
    from dp2bench.cli.main import main
    from dp2bench.pipelines.resume_log import ResumeLog

    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.png")
    write = Path.write_bytes

    def fills_up(path, data):
        if any((tmp_path / "out").glob("*.png")):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fills_up)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    arguments = ["anonymize", "in", "out", "-m", "blur", "--detector", "full-image"]
    monkeypatch.setattr(sys, "argv", ["dp2bench", *arguments])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "out/b.png cannot be written: no space is left." in said
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.png", ResumeLog.NAME}


def test_a_dataset_keeps_its_layout_and_can_be_evaluated(tmp_path, market):
    shutil.copytree(market, tmp_path / "clear")
    done = run("anonymize", "clear", "masked", "-m", "mask-out", "--dataset", "market1501", cwd=tmp_path)
    assert done.returncode == 2  # not the official counts: said, and nothing written
    assert "12,936" in done.stderr or "12936" in done.stderr

    command = ["anonymize", "clear", "masked", "-m", "mask-out", "--dataset", "market1501", "--subset"]
    done = run(*command, "--detector", "full-image", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    names = {p.relative_to(tmp_path / "clear") for p in (tmp_path / "clear").rglob("*.jpg")}
    assert {p.relative_to(tmp_path / "masked") for p in (tmp_path / "masked").rglob("*.jpg")} == names
    shutil.copyfile(
        next((tmp_path / "clear" / "query").iterdir()),
        tmp_path / "masked" / "query" / next((tmp_path / "clear" / "query").iterdir()).name,
    )
    done = run(
        "evaluate",
        "--clear",
        "clear",
        "--anonymized",
        "masked",
        "-a",
        "epochs=2",
        "-a",
        "batch_size=8",
        "-a",
        "height=64",
        "-a",
        "width=32",
        "--out",
        "run",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    from dp2bench.core.results import Result

    result = Result.model_validate_json(
        (tmp_path / "run/results/masked/market1501/market1501-reid.json").read_text()
    )
    assert result.coverage.missed == 1  # the one picture that was left as it was
    assert result.coverage.missed_reasons == {"looks unchanged": 1}
    assert (tmp_path / "run/report/report.md").exists()


def test_smoke_gives_a_table_and_a_second_run_the_same_bytes(tmp_path):
    first = run("run", "smoke", "--out", tmp_path / "one")
    assert first.returncode == 0, first.stdout + first.stderr
    second = run("run", "smoke", "--out", tmp_path / "two")
    assert "reused" in second.stdout
    names = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.json"))
    assert sum(name.name == "market1501-reid.json" for name in names) == 3
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for name in (
        "report.md",
        "report.csv",
        "report.tex",
        "report.html",
        "identity-left.png",
        "contact-sheet.png",
    ):
        assert (tmp_path / "one" / "report" / name).stat().st_size > 0, name


def test_ctrl_c_after_the_work_does_not_change_the_exit_code():
    """Python takes its time to shut down, and an interrupt then would end it as if the work had been cut off."""
    for delay in np.linspace(0, 0.15, 8):
        process = subprocess.Popen(
            [PROGRAM, "--version"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout.readline().startswith(b"dp2bench")
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) in {0, 130}
        process.stdout.close()
