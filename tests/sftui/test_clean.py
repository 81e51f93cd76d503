"""Nothing from outside can control the terminal."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.canvas import text_width
from sftui.clean import clean


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\x1b]52;c;aGk=\x07b", "ab"),
        ("a\x1b]0;title\x1b\\b", "ab"),
        ("a\x9b2Jb", "ab"),
        ("oops [/] [bold]x", "oops [/] [bold]x"),
        ("10%\r50%\r100%", "100%"),
        ("line\r\n", "line"),
        ("tab\there", "tab    here"),
        ("\u202eevil", "evil"),
        ("a\u200bb", "ab"),
        ("e\u0301", "é"),
        ("训练", "训练"),
        (b"bad \xff byte", "bad \ufffd byte"),
    ],
)
def test_examples(text, shown):
    """What a person sees of it."""
    assert clean(text) == shown


@given(st.text() | st.binary())
def test_result_is_printable_and_short(text):
    """No control, no surrogate, no reordering, never more than the limit."""
    out = clean(text, 50)
    assert len(out) <= 50
    for char in out:
        assert unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Mn", "Me")
    assert text_width(out) <= 100


def test_long_lines_cost_nothing():
    """A line of two megabytes is cut before anything looks at it."""
    line = "\x1b[31m" * 400_000
    begin = time.process_time()
    clean(line)
    assert time.process_time() - begin < 0.05
    assert clean("x" * 5000).endswith("…")
