"""Points in, a grid of cells out: the braille rasteriser and the axes, as pure functions.

A cell has one colour, so layers are painted bottom to top and the top layer owns
the cell: merging the dots of two curves in one cell would give one of them the
other's colour. Nothing here knows a widget; a grid is two arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.cells import get_character_cell_size

from sftui.drawing.roles import Back, on

Codes = NDArray[np.uint32]
Styles = NDArray[np.uint16]
Doubles = NDArray[np.float64]
Dots = NDArray[np.bool_]
Span = tuple[str, int]
"""Text and its style number."""

BLANK = ord(" ")
BRAILLE = 0x2800
FARTHEST = 1e300
"""Numbers beyond it are drawn as if they were it: the distance of two, and a few times that, stay
finite."""
CONTINUED = 0
"""Code of the right half of a two-cell character."""

_LEFT_BITS, _RIGHT_BITS = (0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80)
"""Bits of a braille code by row of dots."""


def within(value: float) -> float:
    """`value`, at most `FARTHEST` from 0."""
    return min(max(value, -FARTHEST), FARTHEST)


def all_within(values: NDArray[Any]) -> Doubles:
    """`within` of each."""
    return np.clip(np.asarray(values, dtype=np.float64), -FARTHEST, FARTHEST)


def _pictures(bits: Sequence[int]) -> Codes:
    """The bits of one side of a cell by 5 x its first row of dots + the row behind the last."""
    return np.array([sum(bits[i:j]) for i in range(5) for j in range(5)], dtype=np.uint32)


_LEFT, _RIGHT = BRAILLE + _pictures(_LEFT_BITS), BRAILLE + _pictures(_RIGHT_BITS)


class Grid:
    """Cells of a panel: character codes and style numbers, both height x width.

    Every drawing call clips: a row, column or text outside the grid is not an error, so
    a panel of any size can be painted by the same code.
    """

    __slots__ = ("_wide", "codes", "height", "styles", "width")

    def __init__(self, height: int, width: int) -> None:
        self.height = max(0, height)
        self.width = max(0, width)
        self.codes: Codes = np.full((self.height, self.width), BLANK, dtype=np.uint32)
        self.styles: Styles = np.zeros((self.height, self.width), dtype=np.uint16)
        self._wide = False

    def text(self, row: int, col: int, text: str, number: int, end: int | None = None) -> int:
        """Write cleaned text from `col`, cut before `end`; returns the column after it."""
        limit = self.width if end is None else min(end, self.width)
        if not 0 <= row < self.height:
            return col + text_width(text)
        if text.isascii():
            start, stop = max(col, 0), min(col + len(text), limit)
            if start < stop:
                piece = text[start - col : stop - col].encode("ascii")
                self.codes[row, start:stop] = np.frombuffer(piece, dtype=np.uint8)
                self.styles[row, start:stop] = number
            return max(col, min(col + len(text), limit))
        codes = _cells(text)
        # Not by the lengths: a mark without a cell makes up for one that takes two.
        self._wide = self._wide or bool((codes == CONTINUED).any())
        start, stop = max(col, 0), min(col + len(codes), limit)
        if start < stop:
            if stop - col < len(codes) and codes[stop - col] == CONTINUED:
                stop -= 1  # half a character is none
            if start > col and codes[start - col] == CONTINUED:
                start += 1
            self.codes[row, start:stop] = codes[start - col : stop - col]
            self.styles[row, start:stop] = number
        return max(col, stop)

    def rule(self, row: int, start: int, end: int, char: str, number: int) -> None:
        """One single-width character from `start` to before `end`."""
        start, end = max(0, start), min(end, self.width)
        if 0 <= row < self.height and start < end:
            self.codes[row, start:end] = ord(char)
            self.styles[row, start:end] = number

    def upright(self, start: int, end: int, col: int, char: str, number: int) -> None:
        """One single-width character in a column, from row `start` to before `end`."""
        if 0 <= col < self.width:
            rows = slice(max(0, start), max(0, end))
            self.codes[rows, col] = ord(char)
            self.styles[rows, col] = number

    def spans(self, row: int, col: int, spans: Sequence[Span], end: int | None = None) -> int:
        """Write several texts one after the other."""
        for text, number in spans:
            if text:
                col = self.text(row, col, text, number, end)
        return col

    def right(self, row: int, end: int, spans: Sequence[Span], start: int = 0) -> int:
        """Write so that the last cell is before `end`; returns the first column used.

        Text that would begin before `start` is left out whole: a truncated number reads as
        another number.
        """
        col = end
        for text, _ in spans:
            col -= text_width(text)
        if col < start:
            return end
        self.spans(row, col, spans, end)
        return col

    def put(self, row: int, col: int, char: str, number: int) -> None:
        """One single-width character."""
        if 0 <= row < self.height and 0 <= col < self.width:
            self.codes[row, col] = ord(char)
            self.styles[row, col] = number

    def back(self, row: int, start: int, end: int, back: Back) -> None:
        """Put a background under part of a row."""
        if 0 <= row < self.height:
            part = self.styles[row, max(0, start) : max(0, end)]
            part[:] = (part & 0xFF) | on(back, 0)

    def back_upright(self, start: int, end: int, col: int, back: Back) -> None:
        """Put a background under part of a column."""
        if 0 <= col < self.width:
            part = self.styles[max(0, start) : max(0, end), col]
            part[:] = (part & 0xFF) | on(back, 0)

    def overlay(self, row: int, col: int, codes: Codes, number: int) -> None:
        """Paint the cells of `codes` that are not blank; they now own their place."""
        height, width = codes.shape
        top, left = max(row, 0), max(col, 0)
        bottom, right = min(row + height, self.height), min(col + width, self.width)
        if top >= bottom or left >= right:
            return
        piece = codes[top - row : bottom - row, left - col : right - col]
        mask = piece != BRAILLE
        self.codes[top:bottom, left:right][mask] = piece[mask]
        self.styles[top:bottom, left:right][mask] = number

    def settle(self) -> None:
        """Blank the halves of wide characters whose other half was painted over.

        Call it when all is painted: a half alone would make its row a cell longer or shorter.
        """
        if not self._wide:
            return
        for row, col in np.argwhere(self.codes == CONTINUED).tolist():
            if col == 0 or not _is_wide(self.codes[row, col - 1]):
                self.codes[row, col] = BLANK
        # Nothing is wide below U+1100.
        for row, col in np.argwhere(self.codes >= 0x1100).tolist():
            if _is_wide(self.codes[row, col]) and (
                col + 1 == self.width or self.codes[row, col + 1] != CONTINUED
            ):
                self.codes[row, col] = BLANK

    def changed_from(self, before: Grid) -> Dots:
        """Cells to send again after `before`, height x width; all when the size differs."""
        if before.codes.shape != self.codes.shape:
            return np.ones(self.codes.shape, dtype=np.bool_)
        # A blank shows no foreground, so only its background can differ.
        blank = (before.codes == BLANK) & (self.codes == BLANK)
        styles = before.styles ^ self.styles
        styles[blank] &= 0xFF00
        changed: Dots = (before.codes != self.codes) | (styles != 0)
        return changed

    def line(self, row: int) -> str:
        """The characters of one row as text."""
        raw: str = self.codes[row].tobytes().decode("utf-32-le")
        return raw.replace("\0", "")

    def lines(self) -> list[str]:
        """All rows as text."""
        self.settle()
        return [self.line(row) for row in range(self.height)]

    def bar(self, row: int, start: int, end: int, fraction: float, full: int, trough: int) -> None:
        """A thin horizontal bar, exact to half a cell."""
        cells = end - start
        if cells <= 0:
            return
        fraction = min(1.0, max(0.0, fraction)) if math.isfinite(fraction) else 0.0
        halves = round(fraction * cells * 2)
        self.rule(row, start, end, "━", trough)
        self.rule(row, start, start + halves // 2, "━", full)
        if halves % 2:
            self.put(row, start + halves // 2, "╸", full)

    def frame(
        self,
        title: Sequence[Span] = (),
        subtitle: Sequence[Span] = (),
        *,
        border: int,
        corner: Sequence[Span] = (),
    ) -> None:
        """A round border with a title top left, a corner top right, a subtitle bottom right.

        What does not fit is left out whole (subtitle, corner) or cut (title): the border
        itself is never broken.
        """
        self.border(border)
        self.on_border(title, subtitle, border=border, corner=corner)

    def border(self, border: int) -> None:
        """The round border of `frame` alone."""
        h, w = self.height, self.width
        if h < 2 or w < 2:
            return
        for row, left, right in ((0, "╭", "╮"), (h - 1, "╰", "╯")):
            self.rule(row, 0, w, "─", border)
            self.put(row, 0, left, border)
            self.put(row, w - 1, right, border)
        self.codes[1 : h - 1, [0, w - 1]] = ord("│")
        self.styles[1 : h - 1, [0, w - 1]] = border

    def on_border(
        self,
        title: Sequence[Span],
        subtitle: Sequence[Span],
        *,
        border: int,
        corner: Sequence[Span],
    ) -> None:
        """The words of `frame` alone."""
        h, w = self.height, self.width
        if h < 2 or w < 2:
            return
        used = 2
        if title and w > 6:
            used = self.spans(0, 2, [(" ", border), *title, (" ", border)], w - 2)
        if corner:
            self.right(0, w - 2, [(" ", border), *corner, (" ", border)], used + 1)
        if subtitle:
            self.right(h - 1, w - 2, [(" ", border), *subtitle, (" ", border)], 2)


@lru_cache(maxsize=4096)
def _cells(text: str) -> Codes:
    """Codes of the cells of `text`; the right half of a wide character is CONTINUED.

    Cached: a panel prints the same few words in every frame.
    """
    codes = []
    for char in text:
        width = get_character_cell_size(char)
        if width:
            codes.append(ord(char))
        if width == 2:
            codes.append(CONTINUED)
    return np.array(codes, dtype=np.uint32)


def _is_wide(code: int) -> bool:
    return get_character_cell_size(chr(code)) == 2


def text_width(text: str) -> int:
    """Cells that `text` takes."""
    return len(text) if text.isascii() else sum(map(get_character_cell_size, text))


def fit(text: str, cells: int) -> str:
    """`text` in at most `cells` cells, an ellipsis where it was cut."""
    if text_width(text) <= cells:
        return text
    if cells <= 0:
        return ""
    out, used = [], 0
    for char in text:
        width = get_character_cell_size(char)
        if used + width > cells - 1:
            break
        out.append(char)
        used += width
    return "".join(out) + "…"


# ---- curves ----------------------------------------------------------------------------------


def spans_to_codes(first: NDArray[Any], stop: NDArray[Any], num_rows: int) -> Codes:
    """Braille codes (... x rows x columns of cells) of dot columns that are set from `first` to
    before `stop`, counted from the top: whole numbers, ... x two columns a cell."""
    tops = 4.0 * np.arange(num_rows)[:, None]
    # How far the dots reach into each cell, 0 to 4: a cell has 25 pictures a side.
    begin, end = (edge[..., None, :] - tops for edge in (first, stop))
    for edge in (begin, end):
        np.minimum(np.maximum(edge, 0.0, out=edge), 4.0, out=edge)
    begin *= 5.0
    begin += end
    pictures = begin.astype(np.intp)
    whole = first.shape[-1] // 2 * 2
    codes: Codes = _LEFT[pictures[..., 0:whole:2]] | _RIGHT[pictures[..., 1:whole:2]]
    return codes


class Band(NamedTuple):
    """What `curves` draws into one plot."""

    low: NDArray[Any]
    high: NDArray[Any]
    """Of every dot column; NaN leaves the column empty and breaks the curve."""
    bottom: float
    top: float
    num_rows: int
    thick: int = 1
    """Dots that a flat place has at least."""


def curve(
    low: NDArray[Any],
    high: NDArray[Any],
    bottom: float,
    top: float,
    num_rows: int,
    *,
    thick: int = 1,
) -> Codes:
    """A connected curve through dot columns that each span [low, high].

    `low` and `high` have two entries a cell; NaN leaves the column empty and breaks the
    curve. What lies outside [bottom, top] is not drawn (the caller marks it).
    """
    return curves([Band(low, high, bottom, top, num_rows, thick)])[0]


def curves(bands: Sequence[Band]) -> list[Codes]:
    """`curve` of each, at the price of one: a page of small charts is many short arrays."""
    out = [
        np.full((max(0, band.num_rows), len(band.low) // 2), BRAILLE, dtype=np.uint32)
        for band in bands
    ]
    drawn = [
        i
        for i, band in enumerate(bands)
        if band.num_rows > 0 and len(band.low) > 1 and band.top > band.bottom
    ]
    if drawn:
        codes = _codes([bands[i] for i in drawn])
        for i, found in zip(drawn, codes, strict=True):
            height, width = out[i].shape
            out[i] = found[:height, :width]
    return out


def _codes(bands: Sequence[Band]) -> Codes:
    """Codes of bands that have an area, each in the corner of an equally large one."""
    most = max(len(band.low) for band in bands)
    last, first = np.full((2, len(bands), most), math.nan)
    for i, band in enumerate(bands):
        last[i, : len(band.low)], first[i, : len(band.high)] = band.low, band.high
    edges = [(within(b.top), within(b.bottom)) for b in bands]
    top, span, height, thick = np.array(
        [
            (top, top - bottom, 4.0 * b.num_rows, b.thick)
            for b, (top, bottom) in zip(bands, edges, strict=True)
        ]
    ).T[..., None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Finite, so that what lies on the edge has a place.
        scale = np.minimum((height - 1) / span, FARTHEST)
        # Row 0 is the top. Far outside values are pulled to just outside the picture, so
        # that a connection to them still leaves it at the right edge.
        for rows in (first, last):
            np.subtract(top, rows, out=rows)
            rows *= scale
            # Not `np.clip`, which costs as much again as the two calls it makes.
            np.minimum(np.maximum(rows, -height, out=rows), 2 * height, out=rows)
            np.rint(rows, out=rows)
        unknown = np.isnan(first + last)
        first[unknown] = last[unknown] = math.nan
        first, last = _joined(first, last)
        np.maximum(last, first + (thick - 1), out=last, where=thick > 1)
    first[unknown], last[unknown] = 0.0, -1.0
    return spans_to_codes(first, last + 1.0, max(band.num_rows for band in bands))


def _joined(first: Doubles, last: Doubles) -> tuple[Doubles, Doubles]:
    """Each column of dots stretched half way to a neighbour that it does not touch; NaN is none."""
    new_first, new_last = first.copy(), last.copy()
    row, left = np.nonzero(first[:, 1:] > last[:, :-1] + 1)
    if len(row):  # it goes down
        middle = np.floor((last[row, left] + first[row, left + 1]) / 2)
        new_last[row, left] = np.maximum(new_last[row, left], middle)
        new_first[row, left + 1] = np.minimum(new_first[row, left + 1], middle + 1)
    row, left = np.nonzero(last[:, 1:] < first[:, :-1] - 1)
    if len(row):  # it goes up
        middle = np.floor((first[row, left] + last[row, left + 1]) / 2)
        new_first[row, left] = np.minimum(new_first[row, left], middle + 1)
        new_last[row, left + 1] = np.maximum(new_last[row, left + 1], middle)
    return new_first, new_last


def bridge(low: NDArray[Any], high: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Fill empty columns between two filled ones with a straight line."""
    filled_columns = np.isfinite(low) & np.isfinite(high)
    known = np.flatnonzero(filled_columns)
    if len(known) < 2 or len(known) == known[-1] - known[0] + 1:
        return low, high
    # Halved first: the sum of two may be infinite.
    middle = low[known] / 2 + high[known] / 2
    inside = np.arange(known[0], known[-1] + 1)
    filled = np.interp(inside, known, all_within(middle)).astype(low.dtype)
    out_low, out_high = low.copy(), high.copy()
    hole = ~filled_columns[inside]
    out_low[inside[hole]] = filled[hole]
    out_high[inside[hole]] = filled[hole]
    return out_low, out_high


def line_through(
    x: NDArray[Any], y: NDArray[Any], x_low: float, x_high: float, num_columns: int
) -> NDArray[Any]:
    """Height of the polyline through (x, y) at each of `num_columns` dot columns.

    NaN outside the first and last known point; for the few points of a validation curve.
    """
    out = np.full(num_columns, np.nan, dtype=np.float64)
    x_low, x_high = within(x_low), within(x_high)
    known = np.isfinite(y)
    if not known.any() or num_columns < 1 or not x_high > x_low:
        return out
    x, y = all_within(x[known]), all_within(y[known])
    at = x_low + (np.arange(num_columns) + 0.5) * (x_high - x_low) / num_columns
    half = (x_high - x_low) / num_columns / 2
    inside = (at >= x[0] - half) & (at <= x[-1] + half)
    out[inside] = np.interp(at[inside], x, y)
    return out


def sparkline(values: NDArray[Any], num_cells: int, *, from_zero: bool = False) -> str:
    """The last values as eighth blocks, one a cell; NaN is a blank."""
    if num_cells <= 0:
        return ""
    values = np.asarray(values[-num_cells:], dtype=np.float64)
    values = np.where(np.isinf(values), np.nan, all_within(values))
    finite = values[np.isfinite(values)]
    if not len(finite):
        return " " * num_cells
    low, high = (0.0 if from_zero else float(finite.min())), float(finite.max())
    span = (high - low) or 1.0
    levels = np.where(np.isfinite(values), values, low)
    levels = np.clip(np.rint((levels - low) / span * 7), 0, 7).astype(int)
    marks = [
        "▁▂▃▄▅▆▇█"[level] if ok else " "
        for level, ok in zip(levels, np.isfinite(values), strict=True)
    ]
    return "".join(marks).ljust(num_cells)


# ---- axes ------------------------------------------------------------------------------------


def tick_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 2.5, 5 x 10^n that cuts `span` into at most `most` parts."""
    if not (span > 0 and math.isfinite(span)):
        return 1.0
    # No closer than a power of ten can say.
    rough = max(span / max(1, most), 1 / FARTHEST)
    base = 10.0 ** math.floor(math.log10(rough))
    for factor in (1.0, 2.0, 2.5, 5.0, 10.0):
        if factor * base >= rough * (1 - 1e-9):
            return factor * base
    return 10.0 * base


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> tuple[list[float], float]:
    """Round values within [low, high] and the step between them."""
    low, high = within(low), within(high)
    step = tick_step(high - low, most)
    if whole:
        step = max(1.0, step if step != 2.5 else 5.0)
    return _multiples(low, high, step, most), step


def _multiples(low: float, high: float, step: float, most: int) -> list[float]:
    """Multiples of `step` within [low, high], the first `most` + 2 of them."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, min(last + 1, first + most + 2))]


_TIME_STEPS = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3600.0 * hours for hours in (1, 2, 3, 6, 12)),
)


def time_ticks(low: float, high: float, most: int) -> tuple[list[float], float]:
    """Round times within [low, high], in seconds, and the step between them."""
    low, high = within(low), within(high)
    rough = (high - low) / max(1, most)
    step = next((step for step in _TIME_STEPS if step >= rough), 0.0)
    if not step:
        step = 86400.0 * max(1.0, math.ceil(tick_step((high - low) / 86400.0, most)))
    return _multiples(low, high, step, most), step


def ratchet(value: float) -> float:
    """The end of an axis that grows in jumps, so that most frames do not move it.

    By half while the run is young (a jump repaints the whole chart, and steps come fast),
    by a quarter, then by 8 %.
    """
    end, value = 16.0, within(value)
    for factor, limit in ((1.5, 256.0), (1.25, 1024.0)):
        while end < value and end < limit:
            end = math.ceil(end * factor)
    if end < value:
        end *= 1.08 ** math.ceil(math.log(value / end) / math.log(1.08) - 1e-9)
    return float(math.ceil(end))


def settle(before: tuple[float, float] | None, low: float, high: float) -> tuple[float, float]:
    """Axis limits snapped outwards to a round step; kept while they still serve.

    The old limits stay when they hold [low, high] and it fills at least 60 % of them.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return before or (0.0, 1.0)
    low, high = within(low), within(high)
    if high - low < 1e-9 * max(1.0, abs(high)):
        pad = abs(high) * 0.05 or 0.5
        low, high = low - pad, high + pad
    if before is not None:
        old_low, old_high = before
        if old_low <= low and high <= old_high and high - low >= 0.6 * (old_high - old_low):
            return before
    step = tick_step(high - low, 10)
    if before is not None:
        # An axis that had to follow once will have to again: leave it room on that side.
        room = step * (low < old_low)
        # Down to zero, not past it: a loss has nothing there.
        low = max(low - room, 0.0) if low >= 0 else low - room
        high += step * (high > old_high)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
