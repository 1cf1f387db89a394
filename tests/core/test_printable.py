import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dp2bench.cli.terminal import tell
from dp2bench.core.printable import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("party [/night] 01.jpg", "party [/night] 01.jpg"),
        ("a [red]b[/] :smile: ü 画", "a [red]b[/] :smile: ü 画"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\xe9.jpg"),
        ("new\nline\r\x1b[2J\x07", "new\\x0aline\\x0d\\x1b[2J\\x07"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("👩\u200d👧", "👩\u200d👧"),
    ],
)
def test_names_are_shown_as_they_are(name, shown):
    out = io.StringIO()
    tell(Console(file=out, width=80, force_terminal=False), f"left out {name}", label="x:", style="red")
    assert out.getvalue() == f"x: left out {shown}\n"


@given(st.text())
def test_whatever_is_printed_is_one_line_that_can_be_written(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert not any(ord(c) < 32 for c in shown)
