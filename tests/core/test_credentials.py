"""Content credentials: signed with a chain made here, read back by the library that others use."""

from __future__ import annotations

import datetime as dt
import runpy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from dp2bench.core import altered, credentials, registry
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.images import read_image, write_image
from dp2bench.datasets.video import Video
from dp2bench.pipelines.video import anonymize_video

pytest.importorskip("c2pa", reason="the extra credentials is not installed")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 32, 3), np.uint8)
FORMATS = {
    ".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".gif": "GIF", ".avif": "AVIF", ".heic": "HEIF",
}  # fmt: skip


class Files(NamedTuple):
    chain: Path
    key: Path


def certificate(name: str, key: Any, issuer: str, issuer_key: Any, *, authority: bool) -> str:
    """PEM, as C2PA asks for certificates."""

    def called(who: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, who),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"),
            ]
        )

    now = dt.datetime.now(dt.timezone.utc)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=authority, crl_sign=authority, **usage),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if not authority:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def make_chain(folder: Path) -> Files:
    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    files = Files(folder / "chain.pem", folder / "key.pem")
    files.chain.write_text(
        certificate("leaf", leaf, "root", root, authority=False)
        + certificate("root", root, "root", root, authority=True)
    )
    files.key.write_bytes(
        leaf.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_chain(tmp_path_factory.mktemp("chain"))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_signature_is_read_back_and_breaks_with_the_picture(tmp_path: Path, files, suffix):
    signer = credentials.load(*files)
    assert signer.algorithm == "es256"
    path = tmp_path / f"a{suffix}"
    with credentials.signing_with(signer), altered.pictures_altered_by("deepprivacy2", synthesised=True):
        write_image(path, PICTURE)
    data = path.read_bytes()
    told = credentials.manifest_of(data, FORMATS[suffix])
    assert told is not None
    assert told["validation_state"] == "Valid"  # nobody trusts the root of a test
    assert told["signature_info"]["common_name"] == "leaf"
    actions = next(a for a in told["assertions"] if a["label"].startswith("c2pa.actions"))
    (action,) = actions["data"]["actions"]
    assert action["digitalSourceType"] == altered.SOURCE_TYPES + altered.SYNTHESISED
    assert "deepprivacy2" in action["description"]
    assert not told.get("ingredients")
    assert "thumbnail" not in told
    assert altered.source_type_of(data) == altered.SYNTHESISED
    with altered.pictures_altered_by("deepprivacy2", synthesised=True):
        write_image(tmp_path / f"b{suffix}", PICTURE)
    assert np.array_equal(read_image(path), read_image(tmp_path / f"b{suffix}"))
    if suffix == ".png":
        changed = bytearray(data)
        changed[data.index(b"IDAT") + 40] ^= 1
        broken = credentials.manifest_of(bytes(changed), "PNG")
        assert broken is not None
        assert broken["validation_state"] == "Invalid"


def test_without_credentials_nothing_is_signed(tmp_path: Path):
    with altered.pictures_altered_by("blur", synthesised=False):
        write_image(tmp_path / "a.png", PICTURE)
    assert credentials.manifest_of((tmp_path / "a.png").read_bytes(), "PNG") is None


def test_a_format_without_room_is_refused(tmp_path: Path, files):
    with (
        credentials.signing_with(credentials.load(*files)),
        altered.pictures_altered_by("blur", synthesised=False),
        pytest.raises(Dp2benchError, match="BMP cannot hold"),
    ):
        write_image(tmp_path / "a.bmp", PICTURE)
    assert not (tmp_path / "a.bmp").exists()


def test_what_cannot_sign_is_one_message(tmp_path: Path, files):
    (tmp_path / "other").mkdir()
    other = make_chain(tmp_path / "other")
    with pytest.raises(Dp2benchError, match="does not belong"):
        credentials.load(files.chain, other.key)
    with pytest.raises(Dp2benchError, match="cannot be read"):
        credentials.load(tmp_path / "absent.pem", files.key)
    with pytest.raises(Dp2benchError, match="no certificate"):
        credentials.load(files.key, files.key)
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "self.pem").write_text(certificate("self", key, "self", key, authority=True))
    (tmp_path / "self.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(Dp2benchError, match="cannot be signed"):
        credentials.load(tmp_path / "self.pem", tmp_path / "self.key")


def test_a_video_says_and_signs_it(tmp_path: Path, files):
    pytest.importorskip("av", reason="PyAV is not installed")
    make = runpy.run_path(str(Path(__file__).parents[1] / "datasets" / "clips.py"))["make"]
    clip = make(tmp_path / "in.mp4", 6, sound=False)
    method, detector = (
        registry.create("methods", "mask-out", {}),
        registry.create("detectors", "full-image", {}),
    )
    anonymize_video(clip, detector, method, tmp_path / "plain.mp4", 0)
    with credentials.signing_with(credentials.load(*files)):
        anonymize_video(clip, detector, method, tmp_path / "signed.mp4", 0)
        with pytest.raises(Dp2benchError, match="cannot hold content credentials"):
            anonymize_video(clip, detector, method, tmp_path / "signed.mkv", 0)
    plain, signed = ((tmp_path / f"{name}.mp4").read_bytes() for name in ("plain", "signed"))
    assert b"http://ns.adobe.com/xap/1.0/" in plain
    assert altered.source_type_of(plain) == altered.source_type_of(signed) == altered.ENHANCED
    assert credentials.manifest_of(plain, "MP4") is None
    told = credentials.manifest_of(signed, "MP4")
    assert told is not None
    assert told["validation_state"] == "Valid"
    assert [f.index for f in Video(tmp_path / "signed.mp4")] == [*range(6)]
    assert not (tmp_path / "signed.mkv").exists()


@pytest.mark.e2e
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_folder_is_signed_by_the_command_line(tmp_path: Path, files, workers):
    from typer.testing import CliRunner

    from dp2bench.cli.main import app

    for name in "ab":
        write_image(tmp_path / "in" / f"{name}.png", PICTURE)
    given = [
        "anonymize",
        str(tmp_path / "in"),
        str(tmp_path / "out"),
        "-m",
        "mask-out",
        "--detector",
        "full-image",
    ]
    alone = CliRunner().invoke(app, [*given, "--credentials", str(files.chain)])
    assert isinstance(alone.exception, Dp2benchError)
    signed = ["--credentials", str(files.chain), "--credentials-key", str(files.key), "--workers", workers]
    result = CliRunner().invoke(app, [*given, *signed])
    assert result.exit_code == 0, result.output
    for name in "ab":
        told = credentials.manifest_of((tmp_path / "out" / f"{name}.png").read_bytes(), "PNG")
        assert told is not None
        assert told["validation_state"] == "Valid"
