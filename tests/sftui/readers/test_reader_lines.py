"""The line buffer: any chunking, any bytes, bounded memory."""

import re

from hypothesis import given
from hypothesis import strategies as st

from sftui.readers import CUT_MARK, MAX_LINE_BYTES, LineBuffer


def lines_of(*chunks: bytes) -> list[str]:
    buffer = LineBuffer()
    lines = [line for chunk in chunks for line in buffer.feed(chunk)]
    last = buffer.close()
    return lines if last is None else [*lines, last]


def test_every_line_end_counts_once():
    """A line ends with LF, CR or CR LF; each redraw of a progress bar is a line."""
    assert lines_of(b"a\nb\r\nc\rd\n\ne") == ["a", "b", "c", "d", "", "e"]


def test_a_line_is_given_as_soon_as_it_ends():
    """A return ends its line at once, and a newline that follows it ends no second one."""
    buffer = LineBuffer()
    assert buffer.feed(b"10%\r") == ["10%"]
    assert buffer.feed(b"\n20%\r") == ["20%"]
    assert buffer.feed(b"") == []
    assert buffer.feed(b"\nx\n") == ["x"]
    assert buffer.close() is None


def test_escape_sequences_are_removed():
    """Colours, cursor movements and titles are no text, wherever they stand."""
    raw = b"\x1b[32m\x1b[1mINFO\x1b[0m\x1b]0;title\x07 ok\r\x1b[KRank 0\r\x1b[0m\n"
    assert lines_of(raw) == ["INFO ok", "Rank 0", ""]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_any_chunking_gives_the_same_lines(data, cuts):
    """Where the bytes were cut is not seen in the lines."""
    at = sorted(min(cut, len(data)) for cut in cuts)
    chunks = [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]
    assert lines_of(*chunks) == lines_of(data)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\x1b[0m", b"\x1b", b"a", b"\xe2\x88"])))
def test_line_ends_byte_by_byte(parts):
    """Line ends split over chunks end one line each, as in one piece."""
    data = b"".join(parts)
    assert lines_of(*(data[i : i + 1] for i in range(len(data)))) == lines_of(data)
    ends = len(re.findall(rb"\r\n|\r|\n", data))
    assert len(lines_of(data)) == ends + (data[-1:] not in (b"", b"\r", b"\n"))


def test_a_gigabyte_without_a_line_end_stays_bounded():
    """A line is cut at one megabyte, marked, and the next line is read as ever."""
    buffer = LineBuffer()
    block = b"x" * (4 * 1024 * 1024)
    for _ in range(256):
        assert buffer.feed(block) == []
        assert len(buffer._tail) <= MAX_LINE_BYTES
    (cut, after) = buffer.feed(b"tail\nafter\n")
    assert len(cut) == MAX_LINE_BYTES + len(CUT_MARK)
    assert cut.endswith(CUT_MARK)
    assert after == "after"


def test_an_overlong_line_is_cut_at_the_same_place_in_any_chunking():
    """The cut depends on the line, not on the chunks."""
    line = b"ab" * MAX_LINE_BYTES
    data = b"one\n" + line + b"\ntwo\n" + line
    expected = ["one", "ab" * (MAX_LINE_BYTES // 2) + CUT_MARK, "two"]
    expected.append(expected[1])
    assert lines_of(data) == expected
    third = len(data) // 3
    assert lines_of(data[:third], data[third : third + 5], data[third + 5 :]) == expected
    exact = b"y" * MAX_LINE_BYTES
    assert lines_of(exact + b"\n" + exact) == ["y" * MAX_LINE_BYTES] * 2
