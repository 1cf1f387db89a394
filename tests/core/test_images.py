import errno
import io
import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PILImage

from dp2bench.core.errors import DatasetError, Dp2benchError, PictureError
from dp2bench.core.images import decode_image, is_picture_name, read_image, write_image
from dp2bench.core.listing import list_pictures


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def smooth(height=40, width=30):
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 // height, x * 255 // width, (x + y) % 200], -1).astype(np.uint8)


def encoded(picture, picture_format, **options):
    out = io.BytesIO()
    picture.save(out, picture_format, **options)
    return out.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".PNG"])
def test_lossless_round_trip(tmp_path, suffix):
    path = tmp_path / "not yet there" / f"ünï cödé 画像{suffix}"
    write_image(path, smooth())
    got = read_image(path)
    np.testing.assert_array_equal(got, smooth())
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert got.flags.writeable
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_round_trip(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}", smooth())
    error = np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - smooth())
    assert error.mean() < 4


def test_jpeg_has_full_colour_resolution_and_quality_matters(tmp_path):
    write_image(tmp_path / "a.jpg", smooth())
    with PILImage.open(tmp_path / "a.jpg") as picture:
        assert all(layer[1:3] == (1, 1) for layer in picture.layer)
        tables = picture.quantization
    assert (
        tables
        == PILImage.open(io.BytesIO(encoded(PILImage.fromarray(smooth()), "JPEG", quality=95))).quantization
    )
    write_image(tmp_path / "b.jpg", smooth(), quality=30)
    assert (tmp_path / "b.jpg").stat().st_size < (tmp_path / "a.jpg").stat().st_size


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_fast_jpeg_path_gives_pillows_pixels(subsampling, progressive):
    noise = np.random.default_rng(0).integers(0, 256, (67, 51, 3), np.uint8)
    data = encoded(
        PILImage.fromarray(noise), "JPEG", quality=80, subsampling=subsampling, progressive=progressive
    )
    np.testing.assert_array_equal(decode_image(data, "x"), np.asarray(PILImage.open(io.BytesIO(data))))
    np.testing.assert_array_equal(decode_image(data, "x"), decode_image(data + b"\0", "x"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation(orientation, picture_format):
    from PIL import ImageOps

    exif = PILImage.Exif()
    exif[0x0112] = orientation
    data = encoded(PILImage.fromarray(smooth()), picture_format, exif=exif)
    with PILImage.open(io.BytesIO(data)) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data, "x"), expected)
    assert decode_image(data, "x").shape == ((30, 40, 3) if orientation > 4 else (40, 30, 3))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_around_sound_pixels_is_read():
    data = encoded(PILImage.fromarray(smooth()), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert decode_image(data, "x").shape == (40, 30, 3)


def test_one_bit_and_grey():
    grey = smooth()[..., 0]
    got = decode_image(encoded(PILImage.fromarray(grey), "PNG"), "x")
    np.testing.assert_array_equal(got, np.stack([grey] * 3, -1))
    assert decode_image(encoded(PILImage.fromarray(grey), "JPEG"), "x").shape == (40, 30, 3)
    bits = decode_image(encoded(PILImage.fromarray(grey > 100), "PNG"), "x")
    np.testing.assert_array_equal(bits, np.stack([(grey > 100) * 255] * 3, -1))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_png_is_rounded_to_8_bits(channels):
    deep = np.random.default_rng(1).integers(0, 65536, (9, 7, channels), np.uint16)
    deep[0, 0], deep[0, 1] = 65535, 0
    expected = deep[..., :3].astype(float)
    if channels == 4:
        alpha = deep[..., 3:] / 65535
        expected = expected * alpha + 65535 * (1 - alpha)
    expected = expected[..., ::-1] / 257
    got = decode_image(cv2.imencode(".png", deep)[1].tobytes(), "x").astype(float)
    assert got.shape == (9, 7, 3)
    assert np.abs(got - expected).max() <= 0.51
    assert got[0, 0].tolist() == [255] * 3


def test_16_bit_grey_tiff_is_scaled():
    deep = np.array([[0, 257, 65535, 32896]], np.uint16)
    got = decode_image(encoded(PILImage.fromarray(deep), "TIFF"), "x")
    assert got[0, :, 1].tolist() == [0, 1, 255, 128]


def test_floating_point_is_refused():
    with pytest.raises(PictureError, match=r"deep\.tif.*32-bit"):
        decode_image(encoded(PILImage.fromarray(np.ones((3, 3), np.float32)), "TIFF"), "deep.tif")


def test_transparency_lies_on_white():
    layers = np.zeros((4, 3, 4), np.uint8)
    layers[..., 0], layers[0, :, 3], layers[1, :, 3] = 200, 255, 128
    for picture_format, options in [("PNG", {}), ("WEBP", {"lossless": True})]:
        got = decode_image(encoded(PILImage.fromarray(layers), picture_format, **options), "x")
        assert got[0, 0].tolist() == [200, 0, 0]
        assert got[2, 0].tolist() == [255] * 3
        assert np.abs(got[1, 0].astype(int) - [227, 127, 127]).max() <= 1
    grey = decode_image(encoded(PILImage.fromarray(layers).convert("LA"), "PNG"), "x")
    assert grey[3, 0].tolist() == [255] * 3


def test_palette_with_and_without_transparency():
    picture = PILImage.new("P", (3, 2))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 0), 1)
    assert decode_image(encoded(picture, "PNG"), "x")[0, :2].tolist() == [[10, 20, 30], [200, 100, 50]]
    got = decode_image(encoded(picture, "PNG", transparency=0), "x")
    assert got[0, :2].tolist() == [[255, 255, 255], [200, 100, 50]]


def test_cmyk_jpeg_plain_and_adobe_inverted():
    cmyk = PILImage.new("CMYK", (16, 16), (0, 255, 255, 0))
    adobe = encoded(cmyk, "JPEG", quality=100)
    marker = adobe.index(b"\xff\xee")
    plain = adobe[:marker] + adobe[marker + 2 + struct.unpack(">H", adobe[marker + 2 : marker + 4])[0] :]
    red = decode_image(adobe, "x")[8, 8].astype(int)
    assert np.abs(red - [255, 0, 0]).max() < 6
    with PILImage.open(io.BytesIO(plain)) as picture:
        np.testing.assert_array_equal(decode_image(plain, "x"), np.asarray(picture.convert("RGB")))


def test_one_pixel(tmp_path):
    for suffix in [".jpg", ".png", ".webp", ".bmp", ".tif"]:
        write_image(tmp_path / f"1{suffix}", np.full((1, 1, 3), 77, np.uint8))
        assert read_image(tmp_path / f"1{suffix}").shape == (1, 1, 3)


@pytest.mark.slow
def test_20000_pixels_wide(tmp_path):
    for suffix in [".jpg", ".png"]:
        write_image(tmp_path / f"wide{suffix}", np.zeros((10_000, 20_000, 3), np.uint8))
        assert read_image(tmp_path / f"wide{suffix}").shape == (10_000, 20_000, 3)


def bomb():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 99))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def test_unreadable_files_are_named_with_a_remedy(tmp_path):
    whole = {
        s: encoded(PILImage.fromarray(smooth(200, 200)), s) for s in ["JPEG", "PNG", "WEBP", "TIFF", "BMP"]
    }
    cases = {f"cut.{s}": (d[: len(d) // 2], "damaged|not a picture") for s, d in whole.items()}
    cases |= {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"hello there", "not a picture"),
        "soi.jpg": (b"\xff\xd8\xff", "not a picture"),
        "bomb.png": (bomb(), "100000 x 100000"),
    }
    for name, (data, problem) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PictureError, match=problem) as caught:
            read_image(tmp_path / name)
        assert name in caught.value.problem
        assert caught.value.remedy
    for path, problem in [
        (tmp_path / "no.jpg", "does not exist"),
        (tmp_path, "folder"),
        (Path("a\0b.jpg"), "read"),
    ]:
        with pytest.raises(PictureError, match=problem):
            read_image(path)


def test_no_read_permission(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PictureError, match=r"a\.jpg may not be read"):
        read_image(tmp_path / "a.jpg")


def test_pillows_limit_is_left_as_it_was():
    limit = PILImage.MAX_IMAGE_PIXELS
    data = encoded(PILImage.fromarray(smooth()), "PNG")
    threads = [
        threading.Thread(target=lambda: [decode_image(data, "x") for _ in range(50)]) for _ in range(4)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert limit == PILImage.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (errno.ENOSPC, "no space"),
        (errno.EDQUOT, "no space"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "Errno"),
    ],
)
def test_failed_writes_keep_the_old_file_and_leave_nothing(tmp_path, monkeypatch, code, problem):
    path = tmp_path / "a.png"
    write_image(path, smooth())
    before = path.read_bytes()

    def fail(self, data):
        with self.open("wb") as file:
            file.write(bytes(data[:20]))
        raise OSError(code, "Errno")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(Dp2benchError, match=problem) as caught:
        write_image(path, 255 - smooth())
    assert str(path) in caught.value.problem
    assert caught.value.remedy
    assert path.read_bytes() == before
    assert names(tmp_path) == ["a.png"]


def test_writes_that_the_file_system_refuses(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.png").mkdir()
    for path, problem in [
        (tmp_path / ("n" * 300 + ".png"), "too long"),
        (tmp_path / "file" / "a.png", "is a file"),
        (tmp_path / "folder.png", "folder of that name"),
        (tmp_path / "a.xyz", "no known format"),
    ]:
        with pytest.raises(Dp2benchError, match=problem):
            write_image(path, smooth())
    assert names(tmp_path) == ["file", "folder.png"]
    write_image(tmp_path / ("n" * 250 + ".png"), smooth())


def test_too_large_for_the_format(tmp_path):
    with pytest.raises(Dp2benchError, match=r"wide\.webp.*WEBP"):
        write_image(tmp_path / "wide.webp", np.zeros((1, 20_000, 3), np.uint8))
    with pytest.raises(Dp2benchError, match=r"wide\.jpg.*JPEG"):
        write_image(tmp_path / "wide.jpg", np.zeros((1, 70_000, 3), np.uint8))


@pytest.mark.parametrize(
    "bad", [np.zeros((3, 3), np.uint8), np.zeros((3, 3, 3)), np.zeros((0, 3, 3), np.uint8)]
)
def test_only_rgb_bytes_are_written(tmp_path, bad):
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "a.png", bad)


def test_strided_view_is_written(tmp_path):
    write_image(tmp_path / "a.png", smooth()[::-2, ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), smooth()[::-2, ::-1])


def test_list_pictures(tmp_path):
    for name in ["b.JPG", "a b.png", "sub/é.webp", ".hidden.png", ".cache/x.png", "notes.txt", "Thumbs.db"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    found = [p.relative_to(tmp_path).as_posix() for p in list_pictures(tmp_path)]
    assert found == ["a b.png", "b.JPG", "sub/é.webp"]
    assert is_picture_name("x/Y.JPEG")
    assert not is_picture_name("x.gif.txt")
    for folder, problem in [
        ("none", "does not exist"),
        ("b.JPG", "is a file"),
        ("folder.png", "no pictures"),
    ]:
        with pytest.raises(DatasetError, match=problem):
            list_pictures(tmp_path / folder)
