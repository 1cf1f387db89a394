"""Text from outside (names of files, messages of libraries) as a terminal or a page can show it."""

from __future__ import annotations

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Categories of Unicode that move the cursor, turn the direction of writing, or cannot be written at all."""
_JOINERS = "\u200c\u200d"
"""Of the category Cf, and part of words and of emoji."""


def printable(text: str) -> str:
    """The text with escapes (a backslash, x and two digits) for control characters, line breaks, changes of direction and bytes that are no UTF-8."""
    return "".join(
        _escaped(c) if unicodedata.category(c) in _HIDDEN and c not in _JOINERS else c for c in text
    )


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte of a name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
