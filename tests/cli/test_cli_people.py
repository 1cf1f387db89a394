"""Through the command line: detect, anonymize with what was detected, videos."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from dp2bench.pipelines.resume_log import ResumeLog

from .program import run

pytestmark = pytest.mark.e2e
PROGRAM = str(Path(sys.executable).with_name("dp2bench"))
ENVIRONMENT = os.environ | {"COLUMNS": "80", "OMP_NUM_THREADS": "1"}


def stopped(command: list[str], cwd: Path, far_enough: Callable[[], bool]) -> None:
    """Ctrl-C as soon as a command is far enough, which must say that it can go on."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    end = time.monotonic() + 60
    while not far_enough() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "the same command goes on from here" in " ".join((out + err).split())
    assert "Traceback" not in err


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for name in ("a.png", "deep/b ü.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(path)
    return tmp_path / "in"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    pytest.importorskip("av")
    clips = runpy.run_path(str(Path(__file__).parents[1] / "datasets" / "clips.py"))
    made: Path = clips["make"](tmp_path / "clip.mp4", 40)
    return made


def _same_pictures(a: Path, b: Path) -> bool:
    names = sorted(p.relative_to(a) for p in a.rglob("*.png"))
    assert names == sorted(p.relative_to(b) for p in b.rglob("*.png"))
    return all((np.asarray(Pillow.open(a / n)) == np.asarray(Pillow.open(b / n))).all() for n in names)


@pytest.mark.parametrize("out", ["found.json", "masks"])
def test_detect_edit_replay(tmp_path, photos, out):
    done = run("detect", "in", "--detector", "full-image", "--out", out, "--preview", "look", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--detections" in done.stdout
    assert (tmp_path / "look" / "deep" / "b ü.png.jpg").exists()
    live = run("anonymize", "in", "live", "-m", "blur", "--detector", "full-image", cwd=tmp_path)
    assert live.returncode == 0
    done = run(
        "anonymize",
        "in",
        "--out",
        "again",
        "-m",
        "blur",
        "--detections",
        out,
        "--preview",
        "ba",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert _same_pictures(tmp_path / "live", tmp_path / "again")
    assert Pillow.open(tmp_path / "ba" / "a.png.jpg").size == (160, 60)
    if out == "masks":
        half = np.zeros((60, 80), np.uint8)
        half[:, :40] = 1
        Pillow.fromarray(half).save(tmp_path / "masks" / "a.png")
    else:
        data = json.loads((tmp_path / out).read_text())
        del data["annotations"][0]["segmentation"]
        data["annotations"][0] |= {"bbox": [0, 0, 40, 60], "area": 2400}
        (tmp_path / out).write_text(json.dumps(data))
    run("anonymize", "in", "edited", "-m", "mask-out", "--detections", out, cwd=tmp_path)
    before, after = (np.asarray(Pillow.open(tmp_path / x / "a.png")).astype(int) for x in ("in", "edited"))
    assert (before[:, 50:] == after[:, 50:]).all()
    assert (after[:, :40] == 127).all()


def test_a_bad_picture_is_left_out_and_said(tmp_path, photos):
    (photos / "bad.png").touch()
    done = run("detect", "in", "--detector", "full-image", "--out", "f.json", cwd=tmp_path)
    assert done.returncode == 1
    assert "bad.png" in done.stdout
    done = run("anonymize", "in/bad.png", "out.png", "-m", "blur", cwd=tmp_path)
    assert done.returncode == 1
    assert "empty (0 bytes)" in " ".join(done.stdout.split())
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["anonymize", "in", "-m", "blur"], "no OUT"),
        (["anonymize", "in", "a", "--out", "b", "-m", "blur"], "given twice"),
        (["anonymize", "in", "out", "-m", "blur", "--detections", "none.json"], "no detections at none.json"),
        (["anonymize", "in", "out", "-m", "blur", "-d", "oops"], "key=value"),
        (["anonymize", "in", "out", "-m", "blur", "-d", "size=3"], "photo"),
        (["anonymize", "empty.mp4", "out.mp4", "-m", "blur"], "empty (0 bytes)"),
        (["anonymize", "text.mp4", "out.mp4", "-m", "blur"], "text.mp4 cannot be opened as a video"),
        (["anonymize", "text.mp4", "out.gif", "-m", "blur"], "ends in .mp4"),
        (["detect", "in", "--detector", "dsfd", "--out", "f.json"], "'dsfd' needs trained weights"),
        (["detect", "text.mp4", "--detector", "full-image", "--out", "f.json"], "text.mp4"),
        (["detect", "in", "--detector", "full-image", "--out", "in/masks"], "inside"),
    ],
)
def test_bad_input_gets_one_clear_message(tmp_path, photos, arguments, expected):
    pytest.importorskip("av")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert expected in " ".join(done.stderr.split())
    assert "What to do" in done.stderr
    assert not list(tmp_path.glob("out*"))


def test_a_video_with_preview_and_report(tmp_path, clip):
    done = run(
        "anonymize",
        "clip.mp4",
        "--out",
        "safe.mp4",
        "-m",
        "mask-out",
        "--detector",
        "full-image",
        "--preview",
        "look",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 frames, 1 tracks, 40 people" in " ".join(done.stdout.split())
    report = json.loads((tmp_path / "safe.mp4.json").read_text())
    assert report["anonymized"] == 40
    from dp2bench.datasets.video import Video

    assert all(np.abs(f.image.astype(int) - 127).max() < 6 for f in Video(tmp_path / "safe.mp4"))
    assert Pillow.open(next((tmp_path / "look").iterdir())).size == (320, 96)


def test_a_videos_detections_are_replayed_with_their_tracks(tmp_path, clip):
    done = run(
        "detect",
        "clip.mp4",
        "--detector",
        "full-image",
        "--out",
        "f.json",
        "--preview",
        "look",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads((tmp_path / "f.json").read_text())
    assert {row["track_id"] for row in data["annotations"]} == {0}
    assert data["images"][12]["file_name"] == "clip.mp4/00000012"
    assert (tmp_path / "look" / "clip.mp4.mp4").exists()
    assert not list(tmp_path.glob(".*"))
    done = run("anonymize", "clip.mp4", "safe.mp4", "-m", "mask-out", "--detections", "f.json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "safe.mp4.json").read_text())["anonymized"] == 40


@pytest.mark.slow
def test_ctrl_c_in_a_video_and_on_again(tmp_path):
    pytest.importorskip("av")
    clips = runpy.run_path(str(Path(__file__).parents[1] / "datasets" / "clips.py"))
    clips["make"](tmp_path / "clip.mp4", 200, size=(240, 480), sound=False)
    command = [PROGRAM, "anonymize", "clip.mp4", "safe.mp4", "-m", "blur", "--detector", "full-image"]
    work = tmp_path / ".safe.mp4.work"
    stopped(command, tmp_path, lambda: len(list(work.glob("made-*/*.json"))) >= 2)
    assert not (tmp_path / "safe.mp4").exists()
    kept = {p.name: p.stat().st_mtime_ns for p in work.glob("made-*/*.nut")}
    assert len(kept) >= 2
    done = run(*command[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not work.exists()
    assert json.loads((tmp_path / "safe.mp4.json").read_text())["frames"] == 200


@pytest.mark.slow
def test_a_stopped_folder_goes_on(tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    pictures = rng.integers(0, 255, (40, 480, 640, 3), dtype=np.uint8)
    for k, picture in enumerate(pictures):
        Pillow.fromarray(picture).save(tmp_path / "in" / "deep" / f"{k:02d}.png", compress_level=1)
    (tmp_path / "in" / "bad.png").write_text("x")
    command = [PROGRAM, "anonymize", "in", "out", "-m", "blur-image", "--detector", "full-image"]
    whole = run(*command[1:3], "whole", *command[4:], cwd=tmp_path)
    stopped(command, tmp_path, lambda: len(list(tmp_path.glob("out/deep/*.png"))) >= 3)
    kept = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("out/deep/*.png")}
    assert 2 <= len(kept) < 40

    other = run(*command[1:], "--seed", "1", cwd=tmp_path)
    assert other.returncode == 2
    assert "begun with other settings" in " ".join(other.stderr.split())
    first = sorted(kept)[0]
    Pillow.fromarray(pictures[0, ::-1]).save(tmp_path / "in" / "deep" / first)  # another picture by that name

    done = run(*command[1:], cwd=tmp_path)
    said = " ".join(done.stdout.split())
    assert done.returncode == 1  # the file that is no picture
    assert re.search(r"Going on: \d+ files are finished", said)
    assert "40 pictures, 40 people" in said
    assert "40 pictures, 40 people" in " ".join(whole.stdout.split())
    untouched = [p for p in sorted(kept) if (tmp_path / "out" / "deep" / p).stat().st_mtime_ns == kept[p]]
    assert first not in untouched
    assert len(untouched) >= len(kept) - 2
    assert not list(tmp_path.glob("out/.*"))
    shutil.copyfile(tmp_path / "out" / "deep" / first, tmp_path / "whole" / "deep" / first)
    assert _same_pictures(tmp_path / "out", tmp_path / "whole")


def test_an_original_in_the_folder_that_is_out_stays(tmp_path, photos):
    before = (photos / "a.png").read_bytes()
    for out in ("in", "in/a.png", "./in/../in"):
        done = run("anonymize", "in/a.png", out, "-m", "mask-out", "--detector", "full-image", cwd=tmp_path)
        assert done.returncode == 2
        assert "would overwrite IN" in " ".join(done.stderr.split())
    assert (photos / "a.png").read_bytes() == before


def test_the_videos_of_a_folder_are_anonymized_too(tmp_path, photos, clip):
    clip.rename(photos / "deep" / "clip.mp4")
    (photos / "bad.mov").write_text("x")
    command = ("-m", "mask-out", "--detector", "full-image", "--preview", "look")
    done = run("anonymize", "in", "out", *command, cwd=tmp_path)
    said = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert "bad.mov cannot be opened as a video" in said
    assert "clip.mp4: 40 frames" in said
    assert "2 pictures, 2 people" in said
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")) == [
        "a.png",
        "deep/b ü.png",
        "deep/clip.mp4",
        "deep/clip.mp4.json",
    ]
    from dp2bench.datasets.video import Video

    assert all(np.abs(f.image.astype(int) - 127).max() < 6 for f in Video(tmp_path / "out/deep/clip.mp4"))
    assert list((tmp_path / "look/deep/clip.mp4").iterdir())
    found = run("detect", "in", "--detector", "full-image", "--out", "f.json", cwd=tmp_path)
    assert found.returncode == 1
    names = [row["file_name"] for row in json.loads((tmp_path / "f.json").read_text())["images"]]
    assert names[:3] == ["a.png", "deep/b ü.png", "deep/clip.mp4/00000000"]
    assert len(names) == 42


def test_nothing_is_left_of_a_video_that_is_left_out(tmp_path, photos):
    """Masks say where somebody stood, and how."""
    pytest.importorskip("av")
    clips = runpy.run_path(str(Path(__file__).parents[1] / "datasets" / "clips.py"))
    cut = clips["make"](photos / "cut.mkv", 40)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 7 // 10])
    for source, target in (("in", "out"), (f"file://{photos}", "remote")):
        done = run("anonymize", source, target, "-m", "mask-out", "--detector", "full-image", cwd=tmp_path)
        assert done.returncode == 1
        assert "cut.mkv is cut off" in " ".join(done.stdout.split())
        assert {p.name for p in (tmp_path / target).rglob("*") if p.is_file()} == {"a.png", "b ü.png"}
    assert run("detect", "in", "--detector", "full-image", "--out", "f.json", cwd=tmp_path).returncode == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.json", "in", "out", "remote"]


@pytest.mark.slow
def test_who_finds_the_people_where_nobody_says(tmp_path):
    """The embedded ensemble in pictures, the annotations of a dataset that has them."""
    from dp2bench.cli.anonymize import _usual_detector
    from dp2bench.datasets.passersby.coco import PassersbyCoco

    scenes = PassersbyCoco("smoke")
    assert _usual_detector(scenes) == "annotations"
    scene = scenes.samples("val")[0].path
    done = run("anonymize", scene, "safe.png", "-m", "mask-out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "found by photo" in said
    assert "0 missed; 0 pictures without anybody found" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("detect", "in", "--out", "p.json", "--preview", "in"),
        ("detect", "in", "--out", "p.json", "--preview", "in/look"),
        ("detect", "in", "--out", "p.json", "--preview", "."),
        ("detect", "in/a.png", "--out", "p.json", "--preview", "in"),
        ("detect", "in", "--out", "masks", "--preview", "masks"),
        ("detect", "in", "--out", "p.json", "--preview", "in/a.png"),
        ("anonymize", "in", "out", "-m", "mask-out", "--preview", "in"),
        ("anonymize", "in", "out", "-m", "mask-out", "--preview", "out/look"),
        ("anonymize", "in", "out/deep", "-m", "mask-out", "--preview", "out"),
        ("anonymize", "in/a.png", "safe/a.png", "-m", "mask-out", "--preview", "in"),
        ("anonymize", "in/a.png", "safe/a.png", "-m", "mask-out", "--preview", "safe"),
    ],
)
def test_previews_never_lie_among_originals_or_outputs(tmp_path, photos, arguments):
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    done = run(*arguments, "--detector", "full-image", cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert "--preview" in done.stderr
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_preview_of_a_video_is_called_after_its_whole_name(tmp_path, clip):
    shutil.copy(clip, tmp_path / "in.mkv")
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "a.mkv"):
        shutil.copy(clip, tmp_path / "videos" / name)
    done = run(
        "detect", "videos", "--detector", "full-image", "--out", "p.json", "--preview", "look", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "look").iterdir()} == {"a.mp4.mp4", "a.mkv.mp4"}


def test_a_file_that_is_in_the_folder_already_is_not_overwritten(tmp_path, photos):
    (tmp_path / "safe").mkdir()
    (tmp_path / "safe" / "a.png").write_bytes(b"mine")
    command = ("anonymize", "in/a.png", "-m", "mask-out", "--detector", "full-image")
    done = run(*command, "safe", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds a file a.png already" in " ".join(done.stderr.split())
    assert (tmp_path / "safe" / "a.png").read_bytes() == b"mine"
    assert run(*command, "safe/a.png", cwd=tmp_path).returncode == 0  # as it is written out


@pytest.mark.parametrize("other", [("--watermark", "the second"), ("other",)])
def test_what_was_begun_with_another_source_or_key_is_not_gone_on_from(tmp_path, photos, other):
    shutil.copytree(photos, tmp_path / "other")
    command = ("-m", "mask-out", "--detector", "full-image")
    first = run("anonymize", "in", "out", *command, "--watermark", "the first", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    source = "other" if other == ("other",) else "in"
    key = other if source == "in" else ("--watermark", "the first")
    # as if killed before the end
    settings = begun(tmp_path, ("anonymize", "in", "begun", *command, "--watermark", "the first"))
    assert "the first" not in settings
    done = run("anonymize", source, "begun", *command, *key, cwd=tmp_path)
    assert done.returncode == 2
    assert "begun with other settings" in " ".join(done.stderr.split())


def test_a_video_that_was_begun_with_another_key_is_not_gone_on_from(tmp_path, clip, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dp2bench.pipelines.video.join", stop)
    for key in ("the first", "the second", "the first"):
        command = ("-m", "mask-out", "--detector", "full-image", "--watermark", key)
        assert run("anonymize", clip, "safe.mp4", *command, cwd=tmp_path).returncode == 130
    assert len([*(tmp_path / ".safe.mp4.work").glob("made-*")]) == 2


def test_what_was_begun_without_credentials_is_not_gone_on_from_with_them(tmp_path, photos):
    """Half of the pictures would be signed."""
    chain, key = runpy.run_path(str(Path(__file__).parents[1] / "core" / "test_credentials.py"))[
        "make_chain"
    ](tmp_path)
    command = ("anonymize", "in", "begun", "-m", "mask-out", "--detector", "full-image")
    begun(tmp_path, command)
    done = run(*command, "--credentials", chain, "--credentials-key", key, cwd=tmp_path)
    assert done.returncode == 2
    assert "begun with other settings" in " ".join(done.stderr.split())


def begun(folder: Path, command: tuple[str, ...]) -> str:
    """Run a command whose OUT is then as if it had been killed; what it was begun with."""
    kept: list[str] = []
    close = ResumeLog.close
    ResumeLog.close = lambda log: kept.append(log._path.read_text())
    try:
        assert run(*command, cwd=folder).returncode == 0
    finally:
        ResumeLog.close = close
    return kept[0].splitlines()[0]
