"""Lines that are alike but for their numbers, read by a pattern made from the first of them.

Cutting a line into words and numbers takes ten times as long as matching it. The pattern is
stricter than that cut: a line with `nan`, a bar or another word is read the other way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sftui.readers.layouts import Layout
from sftui.readers.quantities import NUMBER, UNITS, times, unit_of

_NUMBER = r"([-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?(?:[eE][-+]?\d{1,4})?)"
_DIGITS = re.compile(r"\d+")
_BLANKS = re.compile(r"(?:\\ )+")
_CLOCK = re.compile(
    r"\d{4}[-/]\d\d[-/]\d\d[ T_]{1,2}\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
)
_CLOCK_PATTERN = (
    r"(\d{4}[-/]\d\d[-/]\d\d[ T_]{1,2}\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)"
)


@dataclass(frozen=True)
class Alike:
    """A pattern and where its numbers belong."""

    pattern: re.Pattern[str]
    layout: Layout
    slots: tuple[tuple[int, str], ...]
    """(index in the row, unit that touches the number) of each group."""
    clocked: bool
    """The first group is the time."""

    def match(self, line: str) -> re.Match[str] | None:
        return self.pattern.fullmatch(line)

    def numbers(self, texts: Sequence[str], unit: str) -> list[float | None]:
        """A column of printed numbers; `Alike.pattern` leaves nothing else."""
        try:
            found = list(map(float, texts))
        except ValueError:
            found = [float(text.replace(",", "")) for text in texts]
        worth = UNITS.get(unit, 1.0)
        if worth == 1.0:
            return found  # type: ignore[return-value]
        return [times(value, worth) for value in found]


def alike(line: str, text: str, layout: Layout, *, clocked: bool) -> Alike | None:
    """Lines like this one; `text` is what was cut, every character in its place.

    None where they cannot be told by their numbers alone.
    """
    matches = list(NUMBER.finditer(text))
    pieces: list[str] = []
    slots: list[tuple[int, str]] = []
    end = 0
    if clocked:
        clock = _CLOCK.search(line)
        if clock is None or (matches and clock.end() > matches[0].start()):
            return None
        pieces += [_words(line[: clock.start()]), _CLOCK_PATTERN]
        end = clock.end()
    for at, match in enumerate(matches):
        printed, unit = match[1], unit_of(match[1])
        digits = printed[: len(printed) - len(unit)] if unit else printed
        if not re.fullmatch(_NUMBER, digits):
            return None
        pieces += [_words(line[end : match.start()]), _NUMBER, re.escape(unit)]
        slots.append((at, unit))
        end = match.end()
    if not slots:
        return None
    pieces.append(_words(line[end:].rstrip()) + r"\s*")
    return Alike(re.compile("".join(pieces)), layout, tuple(slots), clocked)


def _words(text: str) -> str:
    """Text with any digits in place of its own."""
    return _BLANKS.sub(" +", _DIGITS.sub(r"\\d+", re.escape(text)))
