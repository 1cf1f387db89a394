"""What a picture's file holds besides 8 bits of sRGB is kept or named; what identifies never passes."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageCms, PngImagePlugin

from dp2bench.core import colour
from dp2bench.core.errors import PictureError
from dp2bench.core.images import (
    FORMATS,
    PictureFile,
    count_pages,
    decode_image,
    read_bytes,
    read_image,
    rewrite_pages,
    write_image,
)

DURATIONS = [100, 200, 100, 300]
P3 = colour.matrix_profile(colour.PRIMARIES[12])
ADOBE = colour.matrix_profile(colour.ADOBE_RGB_PRIMARIES, 563 / 256)
GREY = 127


def smooth(height=48, width=64):
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 5, x * 4 % 256, (x + y) % 200], -1).astype(np.uint8)


def rewritten(source, target, change=lambda image: image):
    """Each page as read, changed and written again; the pages of the new file, and what it lost."""
    with PictureFile(read_bytes(source), str(source)) as file:
        images = [change(file.page(i).image()) for i in range(file.pages)]
        lost = rewrite_pages(file, target, images)
    with PictureFile(read_bytes(target), str(target)) as file:
        return [file.page(i) for i in range(file.pages)], lost


def painted(image):
    out = image.copy()
    out[:20] = GREY
    return out


def _heif():
    pillow_heif = pytest.importorskip("pillow_heif", reason='HEIC needs `pip install "dp2bench[heif]"`')
    pillow_heif.register_heif_opener()


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_every_format_is_read_and_written(tmp_path, suffix):
    if FORMATS[suffix] == "HEIF":
        _heif()
    write_image(tmp_path / f"a{suffix}", smooth())
    got = read_image(tmp_path / f"a{suffix}")
    assert np.abs(got.astype(int) - smooth()).mean() < 4
    pages, lost = rewritten(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}", lambda i: np.full_like(i, GREY))
    assert lost == ()
    assert len(pages) == 1
    assert np.abs(pages[0].image().astype(int) - GREY).max() < 3


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif", ".tif", ".heic"])
@pytest.mark.parametrize("same", [False, True])
def test_every_page_and_frame_is_kept(tmp_path, suffix, same):
    """Equal frames too, which the libraries join."""
    if suffix == ".heic":
        _heif()
    timed = suffix not in {".tif", ".heic"}
    frames = [PILImage.fromarray(np.roll(smooth(), 7 * i, 0)) for i in range(4)]
    options = {"duration": DURATIONS, "loop": 0} if timed else {}
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    assert count_pages(path) == 4
    change = (lambda image: np.full_like(image, GREY)) if same else painted
    pages, lost = rewritten(path, tmp_path / f"b{suffix}", change)
    assert lost == ()
    assert len(pages) == 4
    assert [p.duration for p in pages] == (DURATIONS if timed else [0] * 4)
    for page, frame in zip(pages, frames, strict=True):
        error = np.abs(page.image().astype(int) - change(np.asarray(frame))).mean()
        assert error < 8
        assert np.abs(page.image()[:18].astype(int) - GREY).max() < 12
    if suffix == ".gif":
        with PILImage.open(tmp_path / "b.gif") as picture:
            assert picture.info["loop"] == 0
            assert picture.n_frames == 4


def test_pages_that_the_name_cannot_hold_are_refused(tmp_path):
    frames = [PILImage.fromarray(np.roll(smooth(), 7 * i, 0)) for i in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    for name in ("b.jpg", "b.bmp", "b.tif"):
        with pytest.raises(PictureError, match=r"holds 3 pages or frames \(GIF\)"):
            rewritten(tmp_path / "a.gif", tmp_path / name)
        assert not (tmp_path / name).exists()


def test_a_tiffs_reduced_pictures_are_no_pages(tmp_path):
    """A preview is too small for a detector to find the person in it."""
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(smooth(), photometric="rgb")
        writer.write(smooth()[::4, ::4].copy(), photometric="rgb", subfiletype=1)
    with PILImage.open(tmp_path / "a.tif") as picture:
        assert picture.n_frames == 2
    pages, lost = rewritten(tmp_path / "a.tif", tmp_path / "b.tif")
    assert len(pages) == 1
    assert lost == ("previews",)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_stay(tmp_path, suffix):
    deep = np.random.default_rng(0).integers(0, 65536, (48, 64, 3), np.uint16)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), deep[..., ::-1])
    rewritten(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}", painted)
    got = cv2.imread(str(tmp_path / f"b{suffix}"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert got.dtype == np.uint16
    assert (got[22:] == deep[22:]).all()
    assert (got[:20] == GREY * 257).all()
    grey = deep[..., 0].copy()
    PILImage.fromarray(grey).save(tmp_path / f"c{suffix}")
    rewritten(tmp_path / f"c{suffix}", tmp_path / f"d{suffix}", painted)
    with PILImage.open(tmp_path / f"d{suffix}") as picture:
        assert picture.mode == "I;16"
        assert (np.asarray(picture)[22:] == grey[22:]).all()
        assert (np.asarray(picture)[:20] == GREY * 257).all()


def test_16_bits_that_the_format_cannot_hold_are_named(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (48, 64, 3), np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    assert rewritten(tmp_path / "a.png", tmp_path / "b.jpg")[1] == ("16 bits",)


def test_pages_of_16_bits(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (2, 48, 64, 3), np.uint16)
    cv2.imwritemulti(str(tmp_path / "a.tif"), [d[..., ::-1].copy() for d in deep])
    pages, _ = rewritten(tmp_path / "a.tif", tmp_path / "b.tif")
    assert all((page.values == d).all() for page, d in zip(pages, deep, strict=True))


def shown(path, mode="RGB"):
    """sRGB of a file as a viewer with colour management shows it."""
    with PILImage.open(path) as picture:
        profile = picture.info.get("icc_profile")
        if not profile:
            return np.asarray(picture.convert("RGB")).astype(int)
        theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return np.asarray(
            ImageCms.profileToProfile(
                picture.convert(mode),
                theirs,
                ImageCms.createProfile("sRGB"),
                renderingIntent=1,
                outputMode="RGB",
            )
        ).astype(int)


@pytest.mark.parametrize("profile", [P3, ADOBE], ids=["p3", "adobe"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif", ".bmp"])
def test_colours_are_shown_as_they_were(tmp_path, suffix, profile):
    PILImage.fromarray(smooth()).save(tmp_path / "a.png", icc_profile=profile)
    want = shown(tmp_path / "a.png")
    assert np.abs(want - smooth()).mean() > 3, "or the test says nothing"
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - want).max() <= 1
    _, lost = rewritten(tmp_path / "a.png", tmp_path / f"b{suffix}", painted)
    assert lost == (("colour space",) if suffix == ".bmp" else ())
    got = shown(tmp_path / f"b{suffix}")
    assert np.abs(got[24:] - want[24:]).mean() < 3.5
    assert np.abs(got[:18] - GREY).max() < 8


def test_16_bits_in_a_wide_colour_space(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (48, 64, 3), np.uint16)
    from dp2bench.core.animations import with_png_profile

    data = cv2.imencode(".png", deep[..., ::-1])[1].tobytes()
    (tmp_path / "a.png").write_bytes(with_png_profile(data, ADOBE))
    for suffix in (".png", ".tif"):
        rewritten(tmp_path / "a.png", tmp_path / f"b{suffix}", painted)
        got = cv2.imread(str(tmp_path / f"b{suffix}"), cv2.IMREAD_UNCHANGED)[..., ::-1]
        assert (got[22:] == deep[22:]).all()
        with PILImage.open(tmp_path / f"b{suffix}") as picture:
            assert not colour.is_srgb(picture.info["icc_profile"])
        assert np.abs(read_image(tmp_path / f"b{suffix}")[:20].astype(int) - GREY).max() <= 1


def test_adobe_rgb_that_only_the_exif_tells():
    exif = PILImage.Exif()
    exif.get_ifd(0x8769).update({0xA001: 0xFFFF, 0xA005: {1: "R03"}})
    out = io.BytesIO()
    PILImage.new("RGB", (8, 8), (200, 50, 50)).save(out, "JPEG", exif=exif, quality=100, subsampling=0)
    got = decode_image(out.getvalue(), "a.jpg")[4, 4].astype(int)
    assert np.abs(got - [232, 46, 46]).max() <= 4


def test_srgb_profiles_are_not_written(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    PILImage.fromarray(smooth()).save(tmp_path / "a.png", icc_profile=profile)
    (page,), _ = rewritten(tmp_path / "a.png", tmp_path / "b.png")
    assert (page.image() == smooth()).all()
    assert "icc_profile" not in PILImage.open(tmp_path / "b.png").info


def test_a_damaged_profile_says_nothing(tmp_path):
    for i, profile in enumerate([b"x", P3[:150], b"\0" * 400, P3[:128] + b"\xff" * 80]):
        PILImage.fromarray(smooth()).save(tmp_path / f"{i}.png", icc_profile=profile)
        assert (read_image(tmp_path / f"{i}.png") == smooth()).all()


def test_cmyk_with_a_profile_is_converted_by_it(tmp_path):
    """A profile of one's own: no profile of a press comes with the library, so a table of CMYK is made here."""
    grid = np.array(np.meshgrid(*[[0, 1]] * 4, indexing="ij")).reshape(4, -1).T
    lab = [_lab((1 - row[:3]) * (1 - row[3]) * 0.5) for row in grid]
    table = b"mft2" + bytes(4) + bytes([4, 3, 2, 0])
    table += b"".join(struct.pack(">i", v) for v in (65536, 0, 0, 0, 65536, 0, 0, 0, 65536)) + struct.pack(
        ">HH", 2, 2
    )
    table += struct.pack(">HH", 0, 65535) * 4
    table += b"".join(struct.pack(">3H", *[int(np.clip(v, 0, 65535)) for v in row]) for row in lab)
    table += struct.pack(">HH", 0, 65535) * 3
    profile = colour._profile(
        {b"wtpt": colour._xyz(colour._D50_XYZ), b"A2B0": table}, b"prtr", b"CMYK", b"Lab ", b"\2\x40\0\0"
    )
    PILImage.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "a.jpg", icc_profile=profile, quality=100)
    plain = decode_image(_without_profile(tmp_path / "a.jpg"), "x")[8, 8].astype(int)
    assert np.abs(plain - [0, 255, 255]).max() < 6
    got = read_image(tmp_path / "a.jpg")[8, 8].astype(int)
    assert np.abs(got - 156).max() < 6, "this cyan is grey"


def _lab(rgb):
    y = rgb.mean()
    lightness = 116 * np.cbrt(max(y, 1e-4)) - 16
    return lightness * 652.8, 32768, 32768


def _without_profile(path):
    out = io.BytesIO()
    with PILImage.open(path) as picture:
        picture.load()
        PILImage.fromarray(np.asarray(picture), "CMYK").save(out, "JPEG", quality=100)
    return out.getvalue()


def test_high_dynamic_range_is_not_taken_for_srgb():
    out = io.BytesIO()
    PILImage.fromarray(smooth()).save(out, "PNG")
    data = out.getvalue()
    from dp2bench.core.animations import _png_chunk

    for transfer in (16, 18):
        marked = data[:33] + _png_chunk(b"cICP", bytes([9, transfer, 0, 1])) + data[33:]
        with pytest.raises(PictureError, match="high dynamic range"):
            decode_image(marked, "a.png")
    wide = data[:33] + _png_chunk(b"cICP", bytes([12, 13, 0, 1])) + data[33:]
    red = decode_image(wide, "a.png").astype(int)
    assert np.abs(red - smooth()).mean() > 3


def test_bmp_whose_fourth_byte_is_empty():
    layers = np.dstack([smooth(), np.zeros((48, 64), np.uint8)])
    for form in ("BMP", "TGA"):
        out = io.BytesIO()
        PILImage.fromarray(layers).save(out, form)
        np.testing.assert_array_equal(decode_image(out.getvalue(), f"a.{form.lower()}"), smooth())


def test_transparency_is_named(tmp_path):
    layers = np.dstack([smooth(), np.full((48, 64), 128, np.uint8)])
    PILImage.fromarray(layers).save(tmp_path / "a.png")
    assert rewritten(tmp_path / "a.png", tmp_path / "b.png")[1] == ("transparency",)


def test_grey_stays_grey(tmp_path):
    PILImage.fromarray(smooth()[..., 1]).save(tmp_path / "a.jpg", quality=100)
    rewritten(tmp_path / "a.jpg", tmp_path / "b.jpg", painted)
    assert PILImage.open(tmp_path / "b.jpg").mode == "L"

    def red(image):
        out = image.copy()
        out[:20] = (255, 0, 0)
        return out

    rewritten(tmp_path / "a.jpg", tmp_path / "c.jpg", red)
    assert np.abs(read_image(tmp_path / "c.jpg")[:16].astype(int) - [255, 0, 0]).mean() < 5


SECRET = b"S3CRET-4711"


def _planted(picture_format):
    """A picture with a secret in everything that a file can hold besides pixels."""
    exif = PILImage.Exif()
    text = SECRET.decode()
    exif[0x010F], exif[0x010E] = text, text
    exif.get_ifd(0x8769).update({0xA431: text, 0x927C: SECRET, 0xA430: text})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0), 29: text})
    profile = colour._profile(
        {
            **{t: P3[a : a + s] for t, a, s in _tags(P3) if t not in {b"desc", b"cprt"}},
            b"mmod": b"mmod" + bytes(4) + SECRET,
            b"dmnd": b"text" + bytes(4) + SECRET + b"\0",
        },
        b"mntr",
        b"RGB ",
        b"XYZ ",
    ).replace(b"\0R\0G\0B", SECRET[:6])
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + SECRET + b"</x:xmpmeta>"
    options = {"exif": exif.tobytes(), "icc_profile": profile, "xmp": xmp}
    if picture_format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Author", text)
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        info.add(b"tEXt", b"Serial\0" + SECRET)
        options = {"exif": exif.tobytes(), "icc_profile": profile, "pnginfo": info}
    if picture_format == "JPEG":
        options["comment"] = SECRET
    if picture_format == "TIFF":
        options = {
            "icc_profile": profile,
            "tiffinfo": {270: text, 305: text, 315: text, 700: xmp, 33723: text},
        }
    if picture_format == "GIF":
        options = {"comment": SECRET}
    out = io.BytesIO()
    PILImage.fromarray(smooth()).save(out, picture_format, **options)
    return out.getvalue()


def _tags(profile):
    count = struct.unpack(">I", profile[128:132])[0]
    return [struct.unpack(">4sII", profile[132 + 12 * i : 144 + 12 * i]) for i in range(count)]


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "HEIF"])
def test_nothing_that_identifies_passes(tmp_path, picture_format):
    if picture_format == "HEIF":
        _heif()
    data = _planted(picture_format)
    assert SECRET in data
    suffix = next(s for s, f in FORMATS.items() if f == picture_format)
    path = tmp_path / f"a{suffix}"
    trailer = b""
    if picture_format == "JPEG":  # a motion photo: a film behind the picture
        trailer = struct.pack(">I", 24) + b"ftypmp42" + bytes(12) + SECRET
    path.write_bytes(data + trailer)
    rewritten(path, tmp_path / f"b{suffix}", painted)
    new = (tmp_path / f"b{suffix}").read_bytes()
    assert SECRET not in new
    assert b"ftypmp4" not in new
    assert SECRET.decode().encode("utf-16-be") not in new
    with PILImage.open(tmp_path / f"b{suffix}") as picture:
        assert not {"exif", "xmp", "comment", "photoshop"} & {
            k.lower() for k in picture.info if picture.info[k]
        }
        assert not dict(picture.getexif()) or picture_format == "TIFF"
        kept = picture.info.get("icc_profile")
    if picture_format not in {"GIF"}:
        assert kept, "the colours are still told"
        assert b"mmod" not in kept


def test_the_second_picture_of_a_jpeg_is_left_behind(tmp_path):
    """A phone's JPEG may hold the scene a second time (MPF)."""
    first, second = PILImage.fromarray(smooth()), PILImage.fromarray(255 - smooth())
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    with PILImage.open(tmp_path / "a.jpg") as picture:
        assert picture.n_frames == 2
    pages, lost = rewritten(tmp_path / "a.jpg", tmp_path / "b.jpg", painted)
    assert lost == ("second pictures",)
    assert len(pages) == 1
    assert (tmp_path / "b.jpg").read_bytes().count(b"\xff\xd8\xff") == 1


def test_the_thumbnail_in_the_exif_is_left_behind(tmp_path):
    small = io.BytesIO()
    PILImage.fromarray(smooth()[::2, ::2].copy()).save(small, "JPEG")
    body = small.getvalue()
    ifd1 = (
        struct.pack("<H", 2)
        + struct.pack("<HHII", 0x0201, 4, 1, 8 + 6 + 30)
        + struct.pack("<HHII", 0x0202, 4, 1, len(body))
    )
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HI", 0, 14) + ifd1 + bytes(4) + body
    out = io.BytesIO()
    PILImage.fromarray(smooth()).save(out, "JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(out.getvalue())
    assert (tmp_path / "a.jpg").read_bytes().count(b"\xff\xd8\xff") == 2
    rewritten(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert (tmp_path / "b.jpg").read_bytes().count(b"\xff\xd8\xff") == 1


def test_a_heic_under_another_name_is_read_by_its_content(tmp_path):
    _heif()
    PILImage.fromarray(smooth()).save(tmp_path / "a.heic")
    (tmp_path / "a.heic").rename(tmp_path / "a.jpg")
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - smooth()).mean() < 3
    rewritten(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert PILImage.open(tmp_path / "b.jpg").format == "JPEG"


def test_without_the_extra_a_heic_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(PictureError, match=r"dp2bench\[heif\]"):
        decode_image(b"\0\0\0\x18ftypheic" + bytes(40), "a.jpg")


def test_raw_data_under_the_name_of_a_tiff():
    out = io.BytesIO()
    PILImage.fromarray(smooth()).save(out, "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    with pytest.raises(PictureError, match="raw data of a camera"):
        decode_image(out.getvalue(), "a.tif")


def test_tiffs_in_which_white_is_0(tmp_path):
    """image-rs/image-tiff#297."""
    tifffile = pytest.importorskip("tifffile")
    ramp = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    for name, values in (("8.tif", (ramp >> 8).astype(np.uint8)), ("16.tif", ramp)):
        tifffile.imwrite(tmp_path / name, values, photometric="miniswhite")
        got = read_image(tmp_path / name)
        assert (got[0, 0].tolist(), got[-1, -1].tolist()) == ([255] * 3, [0] * 3)
        rewritten(tmp_path / name, tmp_path / f"b{name}")
        assert np.abs(read_image(tmp_path / f"b{name}").astype(int) - got).max() <= 1


def test_a_tiff_that_counts_its_palette_in_8_bits(tmp_path):
    """python-pillow/Pillow#2157."""
    tifffile = pytest.importorskip("tifffile")
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    palette = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 9)])
    for scale in (1, 257):
        tifffile.imwrite(
            tmp_path / "a.tif", values, photometric="palette", colormap=(palette * scale).astype(np.uint16)
        )
        got = read_image(tmp_path / "a.tif").reshape(256, 3)
        assert np.abs(got.astype(int) - palette.T).max() <= 1


def test_the_still_picture_of_an_animation_is_left_behind(tmp_path):
    """python-pillow/Pillow#4243."""
    frames = [PILImage.fromarray(np.roll(smooth(), 7 * i, 0)) for i in range(3)]
    frames[0].save(
        tmp_path / "a.png", save_all=True, append_images=frames[1:], default_image=True, duration=100
    )
    pages, lost = rewritten(tmp_path / "a.png", tmp_path / "b.png")
    assert lost == ("previews",)
    assert [
        np.abs(p.image().astype(int) - np.asarray(f)).max() for p, f in zip(pages, frames[1:], strict=True)
    ] == [0, 0]
