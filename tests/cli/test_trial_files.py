"""Cases built after public bug reports, through the command line: annotations, files, names, colours, videos. Each has its right value here."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.errors import Dp2benchError

TRIALS = Path(__file__).parents[3] / "shared" / "trials" / "2026-11"
MASKED = ("-m", "mask-out", "--detector", "full-image")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not TRIALS.is_dir(), reason=f"the cases are not at {TRIALS}"),
]


@pytest.fixture
def case(tmp_path, request):
    """A writable copy of the case, made complete."""
    work = tmp_path / "case"
    shutil.copytree(TRIALS / request.param, work)
    for folder in (work, *(p for p in work.rglob("*") if p.is_dir())):
        folder.chmod(0o755)
    if (work / "make.sh").exists():
        subprocess.run(["bash", "make.sh"], cwd=work, check=True)
    return work


def a_case(name):
    return pytest.mark.parametrize("case", [name], indirect=True)


def anonymize(case, *arguments):
    """In this process, which has imported everything already; `_main` adds to it what becomes of errors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(case)
        done = CliRunner().invoke(app, ["anonymize", *map(str, arguments)], catch_exceptions=False)
    return done.exit_code, " ".join(done.output.split())


def made(folder):
    return sorted(os.fsencode(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def grey(path):
    return np.abs(np.asarray(Pillow.open(path).convert("RGB")).astype(int) - 127).max() < 4


REFUSED = {
    "cityscapes-8-bit-instances": (
        "aachen_000000_000019_gtFine_instanceIds.png",
        "holds the value 145",
        "Use the official file of 16 bits",
    ),
    "coco-14-keypoints": ("json", "000000000001.jpg has 14 keypoints in place of 17", "delete `keypoints`"),
    "coco-exif-180": ("json", "is turned by its EXIF orientation 3", "Turn the pixels"),
    "coco-exif-90": ("json", "is turned by its EXIF orientation 6", "Turn the pixels"),
    "coco-json-133-keypoints": (
        "cj_kp133.json",
        "a.jpg has 133 keypoints in place of 17",
        "delete `keypoints`",
    ),
    "coco-json-string-image-ids": (
        "cj_strid.json",
        "it is a text here and a number there",
        "Write the same image ids",
    ),
    "coco-polygon-of-two-points": (
        "json",
        "000000000001.jpg has a polygon of 2 points",
        "the box then counts",
    ),
    "coco-run-lengths-of-another-size": (
        "json",
        "000000000001.jpg has a mask of 300x200 pixels",
        "Use the annotations of these pictures",
    ),
    "coco-size-stated-wrong": (
        "json",
        "000000000001.jpg at 300x240 pixels",
        "Use the annotations of these pictures",
    ),
}
"""Cases that one message ends before anything is written: the file, what is wrong with which picture, and what to do."""


@pytest.mark.parametrize("case", REFUSED, indirect=True)
def test_annotations_that_cannot_be_resolved(case, request):
    name = request.node.callspec.params["case"]
    command = re.search(r"run here: dp2bench anonymize (.*?) \| expected", (case / "README").read_text())[1]
    with pytest.raises(Dp2benchError) as caught:
        anonymize(case, *command.split())
    file, wrong, remedy = REFUSED[name]
    assert file in caught.value.problem
    assert wrong in caught.value.problem
    assert remedy in caught.value.remedy
    assert not (case / "OUT").exists()


def rgb(path):
    return np.asarray(Pillow.open(path).convert("RGB")).astype(int)


def replaced(before, after, box):
    """Whether a box is of the colour of `mask-out`, and was not before."""
    x, y, w, h = box
    inside = np.s_[y + 8 : y + h - 8, x + 8 : x + w - 8]  # JPEG spreads over blocks
    return bool(np.abs(after[inside] - 127).max() < 12 < np.abs(before[inside] - 127).max())


@a_case("coco-person-is-not-category-1")
def test_a_person_that_is_not_category_1(case):
    code, said = anonymize(case, "coco_cat2", "OUT", "--dataset", "coco", "--subset", "-m", "mask-out")
    assert code == 1
    assert "category 'person' (id 2)" in said
    for split in ("train2017", "val2017"):
        for name in ("000000000001.jpg", "000000000002.jpg"):
            before, after = (rgb(case / d / split / name) for d in ("coco_cat2", "OUT"))
            assert replaced(before, after, (100, 40, 80, 160))
            assert not replaced(before, after, (10, 10, 40, 40)), "a bicycle"


@a_case("masks-same-stem")
def test_masks_of_one_stem(case):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(case)
        done = CliRunner().invoke(
            app,
            ["detect", "leak", "--detector", "coco-json", "-d", "path=leak.json", "--out", "M"],
            catch_exceptions=False,
        )
    assert done.exit_code == 0
    assert made(case / "M") == [b"IMG_7.jpg.png", b"IMG_7.png.png"]
    code, _ = anonymize(case, "leak", "OUT", "-m", "mask-out", "--detections", "M")
    assert code == 0
    for name, box in (("IMG_7.jpg", (20, 40, 80, 160)), ("IMG_7.png", (200, 40, 80, 160))):
        assert replaced(rgb(case / "leak" / name), rgb(case / "OUT" / name), box)


def test_every_case_has_a_test():
    """`photographs` names pictures of packages: tests/cli/test_photographs.py has them."""
    here = set(re.findall(r'^@a_case\("(.+)"\)$', Path(__file__).read_text(), re.MULTILINE)) | set(REFUSED)
    assert here | {"photographs"} == {p.name for p in TRIALS.iterdir() if (p / "README").is_file()}


@a_case("folder-heic-gif-jfif-avif")
def test_formats(case):
    code, said = anonymize(case, "formats", "out", *MASKED)
    assert code == 1
    assert made(case / "out") == [b"a.jpg", b"b.jfif", b"c.gif", b"d.jp2", b"e.avif", b"f.ppm", b"i.jpe"]
    assert all(grey(p) for p in (case / "out").iterdir())
    assert "g.HEIC" in said, "a file that ends after its first box"
    assert "h.DNG is raw data of a camera" in said
    assert "7 pictures, 7 people" in said
    assert "2 files left out" in said
    assert "1 (.txt 1)" in said


@a_case("linked-album")
def test_links(case):
    code, said = anonymize(case, "links", "out", *MASKED)
    assert code == 1
    assert made(case / "out") == [b"a.jpg", b"album/b.jpg", b"c.jpg"]
    assert "dangling.jpg is a link that leads nowhere" in said
    assert "loop is a link to a folder that was already read" in said
    assert "links/album leads out of the folder" in said


@a_case("pages")
def test_pages(case):
    code, said = anonymize(case, "scan.tif", "out.tif", *MASKED)
    assert code == 0
    with Pillow.open(case / "scan.tif") as before, Pillow.open(case / "out.tif") as after:
        assert after.n_frames == before.n_frames == 3
        for page in range(3):
            before.seek(page)
            after.seek(page)
            assert after.size == before.size
            assert np.abs(np.asarray(after.convert("RGB")).astype(int) - 127).max() == 0
    code, said = anonymize(case, "scan.tif", "out.jpg", *MASKED)
    assert code == 1
    assert "holds 3 pages or frames" in said
    assert not (case / "out.jpg").exists()


@a_case("brackets-closing")
def test_a_name_that_closes_a_tag(case):
    code, said = anonymize(case, "closing", "out", *MASKED)
    assert code == 1
    assert made(case / "out") == [b"ok.jpg"]
    assert "closing/party [/night] 01.jpg" in said
    assert "1 files left out" in said


@a_case("brackets-swallowed")
def test_names_in_brackets(case):
    code, said = anonymize(case, "brackets", "out", *MASKED)
    assert code == 1
    assert "IMG_0001 [edited].jpg" in said
    assert "set[a/b].jpg" in said


@a_case("file-name-not-utf8")
def test_a_name_that_is_not_utf8(case):
    code, said = anonymize(case, "latin1", "out", *MASKED, "--preview", "look")
    assert code == 0
    assert made(case / "out") == [b"caf\xe9.jpg", b"ok.jpg"]
    assert all(grey(case / "out" / os.fsdecode(n)) for n in made(case / "out"))
    assert made(case / "look") == [b"caf\xe9.jpg.jpg", b"ok.jpg.jpg"]
    (case / "latin1" / os.fsdecode(b"bad\xe9.jpg")).write_text("x")
    code, said = anonymize(case, "latin1", "out2", *MASKED)
    assert code == 1
    assert "bad\\xe9.jpg is not a picture" in said


@a_case("preview-of-a-long-name")
def test_previews_of_long_names(case):
    code, _ = anonymize(case, "long", "out", *MASKED, "--preview", "look")
    assert code == 0
    assert len(made(case / "out")) == 2
    assert len(made(case / "look")) == 2


@a_case("bmp-with-alpha-0")
def test_a_bmp_whose_alpha_is_0(case):
    code, _ = anonymize(case, "screenshot.bmp", "out.bmp", "--detector", "full-image", "-m", "blur")
    assert code == 0
    layers = np.asarray(Pillow.open(case / "screenshot.bmp").convert("RGBA"))[..., :3]
    after = np.asarray(Pillow.open(case / "out.bmp"))
    assert abs(after.mean() - layers.mean()) < 12
    assert after.std() > 3


def _shown(path):
    with Pillow.open(path) as picture:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        srgb = ImageCms.profileToProfile(
            picture, profile, ImageCms.createProfile("sRGB"), renderingIntent=1, outputMode="RGB"
        )
    return np.asarray(srgb).astype(int)


@a_case("icc-display-p3")
def test_display_p3(case):
    code, _ = anonymize(case, "p3.jpg", "out.jpg", "--detector", "full-image", "-m", "identity")
    assert code == 1, "the method for controls misses everybody"
    assert np.abs(_shown(case / "out.jpg") - _shown(case / "p3.jpg")).mean() < 1


@a_case("face-crop")
def test_face_crops(case):
    weights = ("-m", "deepprivacy2-face", "--detector", "full-image")
    code, said = anonymize(case, "crops", "out", *weights)
    assert code == 1
    assert "no face found of person 0" in said
    assert "--detector full-image -d faces=true" in said
    code, said = anonymize(case, "crops", "out2", *weights, "-d", "faces=true")
    assert code == 0
    before, after = (
        np.asarray(Pillow.open(case / d / "face1.png").convert("RGB")).astype(int) for d in ("crops", "out2")
    )
    h, w = before.shape[:2]
    middle = (slice(h // 4, 3 * h // 4), slice(w // 4, 3 * w // 4))
    assert np.abs(before[middle] - after[middle]).mean() > 10


def _video(case, source, target, *more):
    pytest.importorskip("av", reason='videos need `pip install "dp2bench[video]"`')
    code, said = anonymize(case, source, "--out", target, *MASKED, *more)
    assert code == 0, said
    from dp2bench.datasets.video import Video

    return list(Video(case / target)), said


@a_case("video-cover-first")
def test_a_cover_before_the_film(case):
    frames, said = _video(case, "cover_front.mp4", "out.mp4")
    assert len(frames) == 40
    assert "1 cover picture" in said


@a_case("video-mkv-starts-late")
def test_a_picture_that_starts_late(case):
    frames, _ = _video(case, "late_video.mkv", "out.mkv")
    assert len(frames) == 40
    from dp2bench.datasets.video import Video

    before, after = Video(case / "late_video.mkv"), Video(case / "out.mkv")
    assert after.info.begin == pytest.approx(before.info.begin, abs=0.002)


@a_case("video-two-languages")
def test_two_languages(case):
    import av

    _video(case, "two_audio.mkv", "out.mkv")
    with av.open(str(case / "out.mkv")) as container:
        assert [s.language for s in container.streams.audio] == ["ger", "eng"]


@a_case("video-hlg")
def test_high_dynamic_range(case):
    import av

    _, said = _video(case, "hlg.mp4", "out.mp4")
    assert "high dynamic range (mapped to BT.709)" in said
    with av.open(str(case / "out.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace)) == (1, 1, 1)
