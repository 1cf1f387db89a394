"""Makes the inputs of the trials: a function a case, named as it is, which writes below a folder."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import runpy
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

PLANTED = runpy.run_path(str(Path(__file__).parents[1] / "detection" / "planted.py"))
FILM = b"\0\0\0\x18ftypmp42" + bytes(12) + b"a film with a face" * 20
FRAMES = 4
CASES: dict[str, Callable[[Path], None]] = {}


def case(function: Callable[[Path], None]) -> Callable[[Path], None]:
    """Register what makes a case."""
    CASES[function.__name__.replace("_", "-")] = function
    return function


def picture(seed: int = 0) -> Pillow.Image:
    """Blocks of colours, which every format keeps; no grey."""
    blocks = np.random.default_rng(seed).choice(np.array([0, 60, 200, 255], np.uint8), (6, 8, 3))
    blocks[..., 0] = 255 - blocks[..., 1]
    return Pillow.fromarray(blocks.repeat(16, 0).repeat(16, 1))


def jpeg(image: Pillow.Image | None = None, **options: object) -> bytes:
    """A JPEG file."""
    out = io.BytesIO()
    (image or picture()).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def xmp(space: str, attributes: str) -> bytes:
    """A packet of metadata."""
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{rdf}"><rdf:Description {space} {attributes}/></rdf:RDF></x:xmpmeta>'.encode()


def put(root: Path, name: str, data: bytes) -> None:
    """Write a file of the folder ``in``."""
    path = root / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# --- Annotations ----------------------------------------------------------------------------------------------------------------------


def _annotated(root: Path, **changes: object) -> None:
    PLANTED["write"](root, PLANTED["changed"](**changes))


A, B = "annotations__0__", "annotations__1__"


@case
def coco_turned_box(root: Path) -> None:
    """CVAT writes a box that was turned by 90 degrees as it was before, and the angle beside it."""
    x, y, w, h = PLANTED["BOX"]
    before = [x + w / 2 - h / 2, y + h / 2 - w / 2, h, w]
    turned = {
        "bbox": before,
        "segmentation": ...,
        "keypoints": ...,
        "attributes": {"occluded": False, "rotation": 90.0},
    }
    _annotated(root, **{A + k: v for k, v in turned.items()}, **{B + k: v for k, v in turned.items()})


@case
def coco_wrong_corner(root: Path) -> None:
    """A polygon that one wrong corner lets cross itself; the box and the area say otherwise."""
    outline = [28, 10, 36, 20, 36, 30, 5, 40, 28, 50, 20, 40, 20, 30, 20, 20]
    _annotated(root, **{A + "segmentation": [outline], A + "area": 480})


@case
def coco_category_0(root: Path) -> None:
    """Ids that begin with 0."""
    _annotated(
        root,
        categories__0__id=0,
        **{k + "category_id": 0 for k in (A, B)},
        **{k + "image_id": i for i, k in enumerate((A, B))},
        images__0__id=0,
        images__1__id=1,
    )


@case
def coco_supercategory_row(root: Path) -> None:
    """Roboflow lists the dataset as category 0, and as supercategory of all others."""
    kinds = [
        {"id": 0, "name": "crowd-people", "supercategory": "none"},
        {"id": 1, "name": "head", "supercategory": "crowd-people"},
    ]
    _annotated(root, categories=kinds)


@case
def coco_results_alone(root: Path) -> None:
    """Detectron2's file of results: annotations without pictures."""
    PLANTED["write"](root, json.dumps(PLANTED["coco"]()["annotations"]).encode())


@case
def coco_json_lines(root: Path) -> None:
    """An object a line."""
    PLANTED["write"](root, b"\n".join(json.dumps(i).encode() for i in PLANTED["coco"]()["images"]))


@case
def coco_pickle(root: Path) -> None:
    """A pickle under the name of a JSON."""
    PLANTED["write"](root, pickle.dumps(PLANTED["coco"]()))


@case
def coco_gzip(root: Path) -> None:
    """A compressed JSON."""
    PLANTED["write"](root, gzip.compress(json.dumps(PLANTED["coco"]()).encode()))


@case
def coco_not_utf8(root: Path) -> None:
    """A JSON in the code page of a Windows."""
    data = PLANTED["coco"]() | {"licence": "été"}
    PLANTED["write"](root, json.dumps(data, ensure_ascii=False).encode("cp1252"))


@case
def coco_utf16(root: Path) -> None:
    """A JSON as PowerShell writes it."""
    PLANTED["write"](root, json.dumps(PLANTED["coco"]()).encode("utf-16"))


# --- Pictures -------------------------------------------------------------------------------------------------------------------------


@case
def motion_photo(root: Path) -> None:
    """Of Google's camera and of Samsung's."""
    space = 'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"'
    note = xmp(space, f'GCamera:MotionPhoto="1" GCamera:MicroVideoOffset="{len(FILM)}"')
    put(root, "google.jpg", jpeg(xmp=note) + FILM)
    put(root, "samsung.jpg", jpeg() + b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data" + FILM + b"SEFT")


@case
def motion_photo_without_xmp(root: Path) -> None:
    """Of others, and of one whose metadata an app took away."""
    put(root, "mmexport.jpg", jpeg() + FILM)


@case
def ultra_hdr(root: Path) -> None:
    """A gain map behind the picture."""
    note = xmp('xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"', 'hdrgm:Version="1.0"')
    put(root, "ultra.jpg", jpeg(xmp=note) + jpeg(picture().convert("L").resize((32, 24))))


@case
def panorama(root: Path) -> None:
    """A sphere."""
    note = xmp(
        'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"', 'GPano:ProjectionType="equirectangular"'
    )
    put(root, "sphere.jpg", jpeg(xmp=note))


def _png16(*chunks: tuple[bytes, bytes]) -> bytes:
    deep = np.asarray(picture()).astype(">u2") * 257
    h, w = deep.shape[:2]
    raw = zlib.compress(b"".join(b"\0" + row.tobytes() for row in deep))
    every = [
        (b"IHDR", struct.pack(">IIBBBBB", w, h, 16, 2, 0, 0, 0)),
        *chunks,
        (b"IDAT", raw),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in every
    )


@case
def hdr_png(root: Path) -> None:
    """PQ and HLG by their chunk, which may stand behind a long text."""
    long = (b"tEXt", b"Comment\0" + b"x" * 9000)
    put(root, "pq.png", _png16((b"cICP", bytes([9, 16, 0, 1]))))
    put(root, "hlg.png", _png16(long, (b"cICP", bytes([9, 18, 0, 1]))))


@case
def hdr_png_by_profile(root: Path) -> None:
    """PQ by the name of a profile, and by a profile's tag."""
    from dp2bench.core import colour

    plain = colour.matrix_profile(colour.PRIMARIES[9])
    count = int.from_bytes(plain[128:132], "big")
    tag = b"cicp" + bytes(4) + bytes([9, 16, 0, 1])
    at = len(plain) + 12
    tables = b"".join(
        plain[i : i + 4]
        + (int.from_bytes(plain[i + 4 : i + 8], "big") + 12).to_bytes(4, "big")
        + plain[i + 8 : i + 12]
        for i in range(132, 132 + 12 * count, 12)
    )
    table = (count + 1).to_bytes(4, "big") + tables + b"cicp" + struct.pack(">II", at, 12)
    tagged = plain[:128] + table + plain[132 + 12 * count :] + tag
    for name, profile, title in (("name", plain, b"ITUR_2100_PQ_FULL"), ("tag", tagged, b"icc")):
        body = profile + title if name == "name" else profile
        put(root, f"{name}.png", _png16((b"iCCP", title + b"\0\0" + zlib.compress(body))))


@case
def webp_equal_frames(root: Path) -> None:
    """Frames of which some are equal, and each has its time."""
    frames = [picture(0), picture(0), picture(1), picture(1)]
    (root / "in").mkdir()
    from dp2bench.core import animations

    stills = []
    for frame in frames:
        out = io.BytesIO()
        frame.save(out, "WEBP", lossless=True)
        stills.append(out.getvalue())
    put(root, "a.webp", animations.webp(stills, [40, 80, 120, 160], 0))


@case
def apng_hidden_frame(root: Path) -> None:
    """A still picture for programs that know no animations, and frames."""
    (root / "in").mkdir()
    rest = [picture(i) for i in (1, 2, 3)]
    picture(0).save(root / "in" / "a.png", save_all=True, append_images=rest, default_image=True, duration=90)


@case
def too_long_for_its_format(root: Path) -> None:
    """What WebP cannot hold, read by its content."""
    wide = np.random.default_rng(0).integers(0, 255, (8, 17_000, 3), dtype=np.uint8)
    (root / "in").mkdir()
    Pillow.fromarray(wide).save(root / "in" / "a.webp", "PNG")
    picture().save(root / "in" / "b.png")


@case
def hdr_avif(root: Path) -> None:
    """PQ by the code in a box."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    for name, form in (("a.avif", "AVIF"), ("b.heic", "HEIF")):
        out = io.BytesIO()
        picture().save(out, form)
        before, box, after = out.getvalue().partition(b"colrnclx")
        assert box
        put(root, name, before + box + after[:2] + b"\0\x10" + after[4:])


@case
def cmyk_adobe(root: Path) -> None:
    """Photoshop's four inks, which are stored inverted."""
    blocks = np.random.default_rng(0).integers(0, 75, (12, 16, 3), dtype=np.uint8) + np.array(
        [180, 180, 0], np.uint8
    )
    put(root, "inks.jpg", jpeg(Pillow.fromarray(blocks.repeat(4, 0).repeat(4, 1)).convert("CMYK")))


@case
def jpeg_cut_off(root: Path) -> None:
    """Progressive and not, cut off."""
    for name, options in (("one.jpg", {}), ("two.jpg", {"progressive": True})):
        whole = jpeg(**options)
        put(root, name, whole[:-200])
    put(root, "whole.jpg", jpeg())


# --- What is no picture ---------------------------------------------------------------------------------------------------------------


@case
def takeout_archive(root: Path) -> None:
    """Archives that hold pictures, and one that holds none."""
    put(root, "a.jpg", jpeg())
    for name, inside in (
        ("takeout.zip", "Google Photos/b.jpg"),
        ("slides.pptx", "ppt/media/c.jpeg"),
        ("d.cbz", "1.png"),
        ("code.zip", "a.py"),
    ):
        with zipfile.ZipFile(root / "in" / name, "w") as archive:
            archive.writestr(inside, jpeg())
    put(root, "e.tar.gz", gzip.compress(b"x"))


@case
def scans_of_documents(root: Path) -> None:
    """By their names and by their content."""
    put(root, "a.jpg", jpeg())
    for name in ("b.pdf", "c"):
        put(root, name, b"%PDF-1.7\n")
    for name in ("d.dcm", "IM0001"):
        put(root, name, bytes(128) + b"DICM" + bytes(300))


@case
def takeout_sidecars(root: Path) -> None:
    """What programs write beside pictures."""
    put(root, "a.jpg", jpeg())
    people = json.dumps({"people": [{"name": "Jane"}]}).encode()
    for name in ("a.jpg.json", "a.jpg.supplemental-metadata.json", "a.xmp", "a.AAE", "unrelated.json"):
        put(root, name, people)


# --- Videos ---------------------------------------------------------------------------------------------------------------------------


def _clip(path: Path, *more: str, size: str = "160x96") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=10:duration={FRAMES / 10}")
    subprocess.run(["ffmpeg", "-v", "error", "-y", *source, *more, str(path)], check=True)


@case
def av1(root: Path) -> None:
    """As sites and phones write today."""
    import av

    path = root / "in" / "a.mp4"
    path.parent.mkdir()
    encoder = next(e for e in ("libsvtav1", "libaom-av1", "librav1e") if e in av.codecs_available)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(encoder, rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for i in range(FRAMES):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture(i)), format="rgb24")))
        out.mux(stream.encode())


@case
def two_cameras(root: Path) -> None:
    """The second track of a dash camera looks into the car."""
    second = ("-f", "lavfi", "-i", f"testsrc=size=160x96:rate=10:duration={FRAMES / 10}")
    _clip(root / "in" / "a.mp4", *second, "-map", "0", "-map", "1", "-pix_fmt", "yuv420p")


@case
def cover_and_rotation(root: Path) -> None:
    """A phone held upright; the camera adds a picture of the recording."""
    put(root, "../cover.jpg", jpeg())
    _clip(root / "plain.mp4", "-pix_fmt", "yuv420p")
    import av

    with av.open(str(root / "plain.mp4")) as source, av.open(str(root / "turned.mp4"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", str(root / "turned.mp4"), "-i", str(root / "cover.jpg"), "-map", "0", "-map", "1", "-c", "copy",
         "-disposition:v:1", "attached_pic", str(root / "in" / "a.mp4")],
        check=True,
    )  # fmt: skip


@case
def camera_telemetry(root: Path) -> None:
    """A track of data beside the picture."""
    _clip(root / "in" / "a.mov", "-timecode", "09:20:02:04", "-pix_fmt", "yuv420p")


@case
def videos_of_nothing(root: Path) -> None:
    """Recordings that failed."""
    put(root, "empty.mp4", b"")
    put(root, "header.mp4", FILM[:24])
    subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "sine=duration=0.2",
            str(root / "in" / "sound.mp4"),
        ],
        check=True,
    )
    _clip(root / "in" / "a.mp4", "-pix_fmt", "yuv420p")
