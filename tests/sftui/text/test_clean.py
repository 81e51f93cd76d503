"""Nothing from outside can control the terminal."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.drawing.canvas import text_width
from sftui.text.clean import CleanStream, clean, clean_text


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


@given(
    st.text(st.characters() | st.sampled_from("\x1b[]0;31m\x07\n\r\te\u0301\u202e"), max_size=60),
    st.data(),
)
def test_a_stream_is_cleaned_like_its_lines(text, data):
    """However it is cut, what comes out is each line cleaned, and never taken back."""
    stream, given_out, at = CleanStream(), "", 0
    while at < len(text):
        size = data.draw(st.integers(1, 8))
        given_out += stream.feed(text[at : at + size])
        at += size
    given_out += stream.end()
    # A line break may be cut in two; both halves are breaks then, and blank lines say nothing.
    found = [line for line in given_out.split("\n") if line]
    lines = [clean(line, 16_000) for line in text.replace("\r", "\n").split("\n")]
    assert found == [line for line in lines if line]


def test_an_escape_sequence_in_pieces_never_gets_out():
    """Nor does a line without an end cost more and more."""
    stream = CleanStream()
    pieces = ["ok \x1b", "]52;c;", "aGVsbG8=", "\x07", "fine ", "e", "\u0301", "x"]
    assert "".join(map(stream.feed, pieces)) + stream.end() == "ok fine éx"
    long = CleanStream()
    out = "".join(long.feed("word ") for _ in range(5000)) + long.end()
    assert out == "word " * 5000
    assert len(long._line) < 5000


def test_lines_of_a_longer_text():
    """Each cleaned, breaks of all three kinds, cut as a whole."""
    assert clean_text("a\x1b[31mb\r\nc\rd\n\ne") == ["ab", "c", "d", "", "e"]
    assert clean_text("x" * 30, 10) == ["x" * 10 + "…"]
