"""Every written picture and video says that it was altered, in the standard's words, readable by others."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image as Pillow

from dp2bench.core import altered, registry
from dp2bench.core.images import read_image, write_image
from dp2bench.datasets.folder import Folder
from dp2bench.pipelines.anonymize import anonymize_dataset

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 32, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_a_picture_says_how_it_was_altered(tmp_path: Path, suffix):
    plain, said = tmp_path / f"plain{suffix}", tmp_path / f"said{suffix}"
    write_image(plain, PICTURE)
    with altered.pictures_altered_by('blur & "co"', synthesised=True):
        write_image(said, PICTURE)
    assert altered.source_type_of(plain.read_bytes()) is None
    assert altered.source_type_of(said.read_bytes()) == "compositeWithTrainedAlgorithmicMedia"
    assert np.array_equal(read_image(plain), read_image(said))
    with Pillow.open(said) as opened:  # where Pillow, which knows the formats, looks for it
        packet = opened.info.get("xmp") or opened.tag_v2[700]
    told = ET.fromstring(packet)[0][0].attrib
    iptc = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
    assert told[f"{iptc}DigitalSourceType"] == altered.SOURCE_TYPES + altered.SYNTHESISED
    assert told["{http://ns.adobe.com/xap/1.0/}CreatorTool"] == 'dp2bench, blur & "co"'


@pytest.mark.parametrize("suffix", [".avif", ".heic", ".jp2", ".gif"])
def test_formats_with_boxes_and_comments_say_it_too(tmp_path: Path, suffix):
    plain, said = tmp_path / f"plain{suffix}", tmp_path / f"said{suffix}"
    write_image(plain, PICTURE)
    with altered.pictures_altered_by("blur", synthesised=False):
        write_image(said, PICTURE)
    assert altered.source_type_of(plain.read_bytes()) is None
    assert altered.source_type_of(said.read_bytes()) == "algorithmicallyEnhanced"
    assert np.array_equal(read_image(plain), read_image(said))


def test_what_is_written_afterwards_says_nothing(tmp_path: Path):
    with altered.pictures_altered_by("blur", synthesised=False):
        pass
    write_image(tmp_path / "a.png", PICTURE)
    assert altered.source_type_of((tmp_path / "a.png").read_bytes()) is None


@pytest.mark.parametrize(
    ("method", "expected"), [("mask-out", "algorithmicallyEnhanced"), ("identity", None)]
)
def test_anonymized_folders_say_it(tmp_path: Path, method, expected):
    write_image(tmp_path / "in" / "a.jpg", PICTURE)
    made, detector = registry.create("methods", method, {}), registry.create("detectors", "full-image", {})
    anonymize_dataset(Folder(tmp_path / "in"), detector, made, tmp_path / "out", 0)
    assert altered.source_type_of((tmp_path / "out" / "a.jpg").read_bytes()) == expected
