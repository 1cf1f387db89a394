"""Plug-ins of earlier versions under the names they have today."""

from __future__ import annotations

from collections.abc import Mapping

RENAMED: Mapping[str, Mapping[str, str]] = {
    "detectors": {"whole-picture": "full-image"},
    "methods": {
        "blur-picture": "blur-image",
        "pixelate-8-picture": "pixelate-8-image",
        "pixelate-16-picture": "pixelate-16-image",
    },
}
"""Names of earlier versions, which still work."""


def current_name(kind: str, name: str) -> str:
    """The name as it is today; a plug-in that was renamed is still found by its old name."""
    return RENAMED.get(kind, {}).get(name, name)
