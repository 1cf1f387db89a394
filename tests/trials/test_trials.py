"""The trials of README.md, through the command line: exit code, words and pixels are as expected there."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.errors import Dp2benchError

HERE = Path(__file__).parent
MAKE = runpy.run_path(str(HERE / "make.py"))
CASES, FRAMES, PLANTED = MAKE["CASES"], MAKE["FRAMES"], MAKE["PLANTED"]
ROWS = {
    cells[1].strip(" `"): [cell.strip() for cell in cells[2:7]]
    for cells in (line.split("|") for line in (HERE / "README.md").read_text().splitlines())
    if len(cells) == 8 and cells[1].strip().startswith("`")
}
VIDEOS = {"av1", "two-cameras", "cover-and-rotation", "camera-telemetry", "videos-of-nothing"}
ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="makes its clip with the program ffmpeg")

pytestmark = pytest.mark.e2e


def test_the_list_is_that_of_the_cases_and_of_the_tests():
    tests = {
        n.removeprefix("test_trial_").replace("_", "-") for n in globals() if n.startswith("test_trial_")
    }
    assert set(ROWS) == set(CASES) == tests
    for kind, source, command, expected, actual in ROWS.values():
        assert kind
        assert re.search(r"[\w.-]+/[\w.-]+#\d+|own variation", source), source
        assert command.startswith("`anonymize in out ")
        assert expected
        assert actual


@pytest.fixture
def tried(tmp_path, request, monkeypatch):
    """The folder, the exit code and the words of the case that a test is named after."""
    name = request.node.originalname.removeprefix("test_trial_").replace("_", "-")
    if name == "hdr-avif":
        pytest.importorskip("pillow_heif", reason='HEIC needs `pip install "dp2bench[heif]"`')
    if name in VIDEOS:
        pytest.importorskip("av", reason='videos need `pip install "dp2bench[video]"`')
    CASES[name](tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    command = ROWS[name][2].strip("`").split()
    done = CliRunner().invoke(app, command)
    if isinstance(done.exception, Dp2benchError):  # `_main` says it
        return tmp_path, 2, f"{done.exception.problem} What to do: {done.exception.remedy}"
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return tmp_path, done.exit_code, " ".join(done.output.split())


def _covered(root: Path) -> bool:
    """Whether nothing of the planted person is left in either picture."""
    before = PLANTED["picture"]()[PLANTED["PERSON"]]
    afters = [np.asarray(Pillow.open(root / "out" / name))[PLANTED["PERSON"]] for name in ("a.png", "b.png")]
    return all((before == after).all(2).mean() < 0.02 for after in afters)


def _grey(path: Path) -> bool:
    """Whether every page and frame is of the colour of `mask-out`."""
    with Pillow.open(path) as opened:
        for page in range(getattr(opened, "n_frames", 1)):
            opened.seek(page)
            if np.abs(np.asarray(opened.convert("RGB")).astype(int) - 127).max() > 4:
                return False
    return True


def _frames(path: Path) -> list[np.ndarray]:
    from dp2bench.datasets.video import Video

    return [frame.image for frame in Video(path)]


def _made(root: Path) -> set[str]:
    return {p.relative_to(root / "out").as_posix() for p in (root / "out").rglob("*") if p.is_file()}


def _refused(tried, *words: str) -> None:
    root, code, said = tried
    assert code == 2
    assert "people.json" in said
    for word in words:
        assert word in said
    assert not (root / "out").exists()


def test_trial_coco_turned_box(tried):
    root, code, _ = tried
    assert code == 0
    assert _covered(root)


def test_trial_coco_wrong_corner(tried):
    root, code, _ = tried
    assert code == 0
    assert _covered(root)


def test_trial_coco_category_0(tried):
    root, code, _ = tried
    assert code == 0
    assert _covered(root)


def test_trial_coco_supercategory_row(tried):
    root, code, said = tried
    assert code == 0
    assert "people are the annotations of category 'crowd-people' (id 0), 'head' (id 1)" in said
    assert _covered(root)


def test_trial_coco_results_alone(tried):
    _refused(tried, "should be an object, and is a list", "detections without pictures")


def test_trial_coco_json_lines(tried):
    _refused(tried, "one JSON a line", "export it as COCO")


def test_trial_coco_pickle(tried):
    _refused(tried, "pickle", "export it as JSON")


def test_trial_coco_gzip(tried):
    _refused(tried, "compressed: unpack it first")


def test_trial_coco_not_utf8(tried):
    _refused(tried, "Save it as UTF-8")


def test_trial_coco_utf16(tried):
    root, code, _ = tried
    assert code == 0
    assert _covered(root)


def _film_left_behind(root: Path, said: str, number: int) -> None:
    assert len(_made(root)) == number
    for name in _made(root):
        data = (root / "out" / name).read_bytes()
        assert b"ftyp" not in data
        assert b"face" not in data
        assert _grey(root / "out" / name)
    assert "films of motion photos of" in said


def test_trial_motion_photo(tried):
    root, code, said = tried
    assert code == 0
    _film_left_behind(root, said, 2)
    assert "of google.jpg and 1 more" in said


def test_trial_motion_photo_without_xmp(tried):
    root, code, said = tried
    assert code == 0
    _film_left_behind(root, said, 1)


def test_trial_ultra_hdr(tried):
    root, code, said = tried
    assert code == 0
    assert _grey(root / "out" / "ultra.jpg")
    assert (root / "out" / "ultra.jpg").read_bytes().count(b"\xff\xd8\xff") == 1
    assert "second pictures of ultra.jpg" in said


def test_trial_panorama(tried):
    root, code, said = tried
    assert code == 0
    assert _grey(root / "out" / "sphere.jpg")
    assert "panoramas' projection of sphere.jpg" in said


def test_trial_hdr_png(tried):
    root, code, said = tried
    assert code == 1
    assert not _made(root)
    assert "in/pq.png is of high dynamic range" in said
    assert "in/hlg.png is of high dynamic range" in said


def test_trial_hdr_png_by_profile(tried):
    root, code, said = tried
    assert code == 1
    assert not _made(root)
    assert "in/name.png is of high dynamic range" in said
    assert "in/tag.png is of high dynamic range" in said


def test_trial_webp_equal_frames(tried):
    root, code, _ = tried
    assert code == 0
    assert _grey(root / "out" / "a.webp")
    with Pillow.open(root / "out" / "a.webp") as after:
        assert after.n_frames == 4
        durations = []
        for frame in range(4):
            after.seek(frame)
            after.load()
            durations.append(after.info["duration"])
    assert durations == [40, 80, 120, 160]


def test_trial_apng_hidden_frame(tried):
    root, code, said = tried
    assert code == 0
    assert _grey(root / "out" / "a.png")
    with Pillow.open(root / "out" / "a.png") as after:
        assert after.n_frames == 3
    assert "previews of a.png" in said


def test_trial_too_long_for_its_format(tried):
    root, code, said = tried
    assert code == 1
    assert _made(root) == {"b.png"}
    assert "a.webp of 17000 x 8 pixels cannot be stored as WEBP" in said
    assert "1 files left out" in said


def test_trial_hdr_avif(tried):
    root, code, said = tried
    assert code == 1
    assert not _made(root)
    assert "in/a.avif is of high dynamic range" in said
    assert "in/b.heic is of high dynamic range" in said


def test_trial_cmyk_adobe(tried):
    root, code, _ = tried
    assert code == 0
    red, green, blue = np.asarray(Pillow.open(root / "out" / "inks.jpg").convert("RGB")).mean((0, 1))
    assert red > 180
    assert green > 180
    assert blue < 75


def test_trial_jpeg_cut_off(tried):
    root, code, said = tried
    assert code == 1
    assert _made(root) == {"whole.jpg"}
    assert "in/one.jpg is truncated" in said
    assert "in/two.jpg is truncated" in said


def test_trial_takeout_archive(tried):
    root, code, said = tried
    assert code == 1
    assert _made(root) == {"a.jpg"}
    for name in (
        "takeout.zip holds 1 pictures",
        "slides.pptx holds 1 pictures",
        "d.cbz holds 1 pictures",
        "e.tar.gz is an archive",
    ):
        assert f"in/{name}" in said
    assert "1 (.zip 1) files" in said


def test_trial_scans_of_documents(tried):
    root, code, said = tried
    assert code == 1
    assert _made(root) == {"a.jpg"}
    for name in ("b.pdf:", "c is a PDF", "d.dcm:", "IM0001 is a DICOM file"):
        assert f"in/{name}" in said
    assert "4 files left out" in said


def test_trial_takeout_sidecars(tried):
    root, code, said = tried
    assert code == 0
    assert _made(root) == {"a.jpg"}
    assert "5 (.json 3, .xmp 1, .aae 1) files" in said or "5 (.json 3, .aae 1, .xmp 1) files" in said
    assert "4 (.json 2, " in said
    assert "may say who is in them" in said


def test_trial_av1(tried):
    root, code, _ = tried
    assert code == 0
    frames = _frames(root / "out" / "a.mp4")
    assert len(frames) == FRAMES
    assert all(np.abs(frame.astype(int) - 127).max() < 8 for frame in frames)


@ffmpeg
def test_trial_two_cameras(tried):
    import av

    root, code, said = tried
    assert code == 0
    assert len(_frames(root / "out" / "a.mp4")) == FRAMES
    with av.open(str(root / "out" / "a.mp4")) as after:
        assert len(after.streams) == 1
    assert "not kept: a.mp4: 1 further picture track" in said


@ffmpeg
def test_trial_cover_and_rotation(tried):
    import av

    root, code, said = tried
    assert code == 0
    frames = _frames(root / "out" / "a.mp4")
    assert [frame.shape for frame in frames] == [(160, 96, 3)] * FRAMES
    with av.open(str(root / "out" / "a.mp4")) as after:
        assert len(after.streams) == 1
    assert "1 cover picture" in said


@ffmpeg
def test_trial_camera_telemetry(tried):
    import av

    root, code, said = tried
    assert code == 0
    with av.open(str(root / "out" / "a.mov")) as after:
        assert [stream.type for stream in after.streams] == ["video"]
        assert "timecode" not in after.metadata | after.streams[0].metadata
    assert "1 data track" in said


@ffmpeg
def test_trial_videos_of_nothing(tried):
    root, code, said = tried
    assert code == 1
    assert _made(root) == {"a.mp4", "a.mp4.json"}
    assert "in/empty.mp4 is empty (0 bytes)" in said
    assert "in/header.mp4 cannot be opened" in said
    assert "in/sound.mp4 holds no video stream" in said
