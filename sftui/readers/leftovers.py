"""Lines that held numbers and gave none: how many, and what the commonest of them look like."""

from __future__ import annotations

import functools
import re
from collections import Counter

MOST_SHAPES = 1000
"""Kept; a log that invents words must not eat memory."""
_LONGEST = 400
_SHOWN = 72
_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:[eE][-+]?\d+)?")
_DIGIT = re.compile(r"\d")


def shape_of(line: str) -> str:
    """A line with `#` for its numbers, its time left out; empty if it holds none."""
    return _shape(line[:_LONGEST])


@functools.lru_cache(maxsize=1024)
def _shape(line: str) -> str:
    if not _DIGIT.search(line):
        return ""
    from sftui.readers.prefixes import take_clock  # noqa: PLC0415  most logs have no such line

    text, _ = take_clock(line)
    shape, found = _NUMBER.subn("#", text)
    return " ".join(shape.split())[:_SHOWN] if found else ""


def note(shapes: Counter[str], shape: str) -> None:
    """Count a shape, if it is known or there is room."""
    if shape in shapes or len(shapes) < MOST_SHAPES:
        shapes[shape] += 1


def sentence(with_numbers: int, shapes: Counter[str]) -> str:
    """How many lines held numbers and gave none, and their commonest shapes."""
    lines = "line" if with_numbers == 1 else "lines"
    return f"{with_numbers:,} {lines} held numbers and gave none: {commonest(shapes)}"


def commonest(shapes: Counter[str], most: int = 3) -> str:
    """The commonest shapes in words: `8 like 'wrote # of # shards', 2 like ...`."""
    found = shapes.most_common(most)
    return ", ".join(f"{count:,} like {shape!r}" for shape, count in found)
