"""Content credentials (C2PA): files signed with the user's certificate, which say that people in them were anonymized, and with what.

Neither the original nor a hash or a thumbnail of it goes in, and no server is asked, not even for the time.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dp2bench.core.errors import Dp2benchError

MEDIA_TYPES = {
    "JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "TIFF": "image/tiff", "GIF": "image/gif", "AVIF": "image/avif",
    "HEIF": "image/heif", "MP4": "video/mp4",
}  # fmt: skip
"""Formats that can hold credentials: Pillow's names, and MP4 for what is written into .mp4, .m4v and .mov."""
_TROUBLE = "Give a certificate chain that C2PA accepts: PEM, the signing certificate first, with its private key (docs/methods.md)."


@dataclass(frozen=True)
class Credentials:
    """A certificate and its key.

    Attributes:
        chain: PEM, the signing certificate first.
        key: PEM, of that certificate.
        algorithm: C2PA's name of the signature.

    """

    chain: str
    key: str = field(repr=False)
    algorithm: str

    def signed(self, data: bytes, picture_format: str, *, method: str, source_type: str) -> bytes:
        """A file with a signed manifest.

        Args:
            data: a whole file.
            picture_format: of `MEDIA_TYPES`.
            method: name of the anonymizer.
            source_type: IPTC's address of a digital source type.

        Raises:
            Dp2benchError: the format holds no credentials, or the certificate cannot be used.

        """
        if picture_format not in MEDIA_TYPES:
            raise Dp2benchError(
                f"A file of the format {picture_format} cannot hold content credentials.",
                f"Write one of {', '.join(MEDIA_TYPES)}, or leave --credentials out.",
            )
        c2pa = _library()
        out = io.BytesIO()
        info = c2pa.C2paSignerInfo(self.algorithm.encode(), self.chain.encode(), self.key.encode(), None)
        try:
            with (
                c2pa.Context(
                    c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}})
                ) as context,
                c2pa.Signer.from_info(info) as signer,
                c2pa.Builder(_manifest(method, source_type), context=context) as builder,
            ):
                builder.sign(signer, MEDIA_TYPES[picture_format], io.BytesIO(data), out)
        except c2pa.C2paError as error:
            raise Dp2benchError(f"The file cannot be signed: {error}.", _TROUBLE) from error
        return out.getvalue()


def _manifest(method: str, source_type: str) -> dict[str, Any]:
    from dp2bench import __version__

    agent = {"name": "dp2bench", "version": __version__}
    action = {
        "action": "c2pa.created",
        "digitalSourceType": source_type,
        "softwareAgent": agent,
        "description": f"People in this picture were anonymized ({method}).",
    }
    return {
        "claim_generator_info": [agent],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }


def _library() -> Any:
    try:
        import c2pa
    except ImportError as error:
        raise Dp2benchError(
            "Content credentials need the package c2pa-python, which is not installed.",
            "Install it: pip install 'dp2bench[credentials]'",
        ) from error
    return c2pa


def load(chain: Path, key: Path) -> Credentials:
    """Read a certificate chain and a private key, both PEM, and sign something to try them.

    Raises:
        Dp2benchError: they cannot be read, do not belong together, or C2PA does not accept them.

    """
    _library()  # brings cryptography
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    texts = []
    for path in (chain, key):
        try:
            texts.append(path.expanduser().read_text("ascii"))
        except (OSError, UnicodeDecodeError) as error:
            raise Dp2benchError(f"{path} cannot be read: {error}.", _TROUBLE) from error
    try:
        certificate = x509.load_pem_x509_certificates(texts[0].encode())[0]
        private: Any = load_pem_private_key(texts[1].encode(), password=None)
    except (ValueError, TypeError, IndexError) as error:
        raise Dp2benchError(
            f"{chain} and {key} are no certificate and private key in PEM, without a password: {error}.",
            _TROUBLE,
        ) from error
    if private.public_key() != certificate.public_key():
        raise Dp2benchError(f"The key {key} does not belong to the first certificate of {chain}.", _TROUBLE)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        algorithm = {256: "es256", 384: "es384", 521: "es512"}.get(private.curve.key_size, "")
    elif isinstance(private, ed25519.Ed25519PrivateKey):
        algorithm = "ed25519"
    else:
        algorithm = "ps256" if isinstance(private, rsa.RSAPrivateKey) else ""
    if not algorithm:
        raise Dp2benchError(f"C2PA knows no signature for the kind of key in {key}.", _TROUBLE)
    made = Credentials(texts[0], texts[1], algorithm)
    made.signed(_SMALLEST, "PNG", method="", source_type="")
    return made


_SMALLEST = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)
"""A PNG of one pixel."""


def manifest_of(data: bytes, picture_format: str) -> dict[str, Any] | None:
    """The active manifest of a file, with its ``validation_state`` (``Trusted``, ``Valid`` or ``Invalid``); None where it has none."""
    c2pa = _library()
    try:
        with c2pa.Reader(MEDIA_TYPES[picture_format], io.BytesIO(data)) as reader:
            told: dict[str, Any] = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return None
    active: dict[str, Any] = told["manifests"][told["active_manifest"]]
    return active | {"validation_state": told.get("validation_state")}


_current: ContextVar[Credentials | None] = ContextVar("credentials", default=None)


def current() -> Credentials | None:
    """What altered pictures are signed with; None for nothing."""
    return _current.get()


@contextmanager
def signing_with(credentials: Credentials | None) -> Iterator[None]:
    """Whatever altered picture or video is written within is signed."""
    token = _current.set(credentials)
    try:
        yield
    finally:
        _current.reset(token)
