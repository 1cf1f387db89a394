"""Pictures and label maps as the bytes of files."""

from __future__ import annotations

import io
from typing import Any

import cv2
from numpy.typing import NDArray
from PIL import Image as PILImage

from dp2bench.core.types import Image


def encode_jpeg(picture: Image, quality: int) -> bytes:
    """An RGB picture (H, W, 3) as a JPEG file."""
    out = io.BytesIO()
    PILImage.fromarray(picture).save(out, "JPEG", quality=quality)
    return out.getvalue()


def encode_png(values: NDArray[Any]) -> bytes:
    """(H, W), (H, W, 3) or (H, W, 4) of 8 or 16 bits, blue first, as a PNG file."""
    done, data = cv2.imencode(".png", values)
    if not done:
        raise RuntimeError("OpenCV cannot write a PNG")
    return data.tobytes()
