"""Fewer bytes, the same picture: judged by Rich's own reader of terminal settings."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st
from rich.ansi import AnsiDecoder
from rich.color import Color
from rich.style import Style

from sftui.terminal.sgr import shorten

_MOVE = re.compile(r"\x1b\[[0-9;]*H|\x1b\[\?2026[hl]")

colours = st.one_of(
    st.sampled_from(["2;1;2;3", "2;255;0;0", "2;0;0;0"]), st.sampled_from(["5;3", "5;200"])
)
parts = st.one_of(
    st.sampled_from(["1", "2", "3", "4", "7", "9"]),
    st.sampled_from(["31", "37", "90", "97", "39", "41", "47", "100", "107", "49"]),
    colours.map(lambda c: f"38;{c}"),
    colours.map(lambda c: f"48;{c}"),
)
settings_ = st.lists(parts, min_size=1, max_size=4).map(lambda each: f"\x1b[{';'.join(each)}m")
words = st.text("ab ░⣿漢", max_size=3)
moves = st.sampled_from(["", "\x1b[3;4H", "\x1b[?2026h"])
pieces = st.builds(
    lambda move, setting, word: f"{move}{setting}{word}\x1b[0m", moves, settings_, words
)
plain = st.builds(lambda move, word: move + word, moves, words)
frames = st.lists(st.one_of(pieces, plain), max_size=12).map("".join)


def cells(sequence: str) -> list[tuple[object, ...]]:
    """Each printed character and how it looks."""
    text = AnsiDecoder().decode_line(_MOVE.sub("", sequence))
    looks = [Style.null()] * len(text.plain)
    for span in text.spans:
        for i in range(span.start, span.end):
            looks[i] = looks[i] + Style.parse(str(span.style))
    return [
        (char, _known(look.color), _known(look.bgcolor), *_marks(look))
        for char, look in zip(text.plain, looks, strict=True)
    ]


def _marks(look: Style) -> tuple[object, ...]:
    return look.bold, look.dim, look.italic, look.underline, look.reverse, look.strike


def _known(colour: Color | None) -> Color | None:
    return None if colour is None or colour.is_default else colour


@given(frames)
@example("\x1b[1;38;2;1;2;3ma\x1b[0m\x1b[38;2;1;2;3mb\x1b[0mc\x1b[1mx\x1b[0m")
@example("\x1b[31;41ma\x1b[0m\x1b[31mb\x1b[0m\x1b[32mc\x1b[0m")
def test_every_cell_looks_the_same(frame: str) -> None:
    short = shorten(frame)
    assert cells(short) == cells(frame)
    assert _MOVE.findall(short) == _MOVE.findall(frame)
    assert len(short) <= len(frame)
    # What is written next starts from the terminal's own colours, as it would have.
    assert cells(short + "z")[-1:] == cells("z")


def test_a_stroke_of_one_colour_sets_it_once() -> None:
    stroke = "".join(f"\x1b[{row};9H\x1b[38;2;9;9;9;48;2;1;1;1m⡇\x1b[0m" for row in range(1, 4))
    colour = "\x1b[38;2;9;9;9;48;2;1;1;1m"
    assert shorten(stroke) == f"\x1b[1;9H{colour}⡇\x1b[2;9H⡇\x1b[3;9H⡇\x1b[0m"


def test_only_the_part_that_differs_is_set() -> None:
    frame = "\x1b[38;2;9;9;9;48;2;1;1;1ma\x1b[0m\x1b[38;2;8;8;8;48;2;1;1;1mb\x1b[0m"
    assert shorten(frame) == "\x1b[38;2;9;9;9;48;2;1;1;1ma\x1b[38;2;8;8;8mb\x1b[0m"


def test_what_clears_cells_does_it_in_its_own_colour() -> None:
    frame = "\x1b[41ma\x1b[0m\x1b[K\x1b[31mb\x1b[0m"
    assert shorten(frame) == "\x1b[41ma\x1b[0m\x1b[K\x1b[31mb\x1b[0m"
