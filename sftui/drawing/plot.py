"""A plotting area on a grid: limits, axes with round ticks, curves and marks in data units.

The y axis may be logarithmic: limits and data stay in plain units for callers, and
only `Plot` takes logarithms.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sftui.drawing.canvas import (
    FARTHEST,
    Band,
    Codes,
    Grid,
    all_within,
    curves,
    line_through,
    ticks,
    time_ticks,
    within,
)
from sftui.drawing.roles import Back, Role, style
from sftui.drawing.x_axis import XScale
from sftui.state.means import Line
from sftui.state.series import Floats, Series
from sftui.text import format as fmt

_LOGARITHMS = (-320.0, 308.0)
"""Limits of a logarithmic axis: ten to their power is a number, and not 0."""


def _apart(low: float, high: float) -> tuple[float, float]:
    """Limits of an axis, which has a length: two numbers that are equal have none."""
    return low, math.nextafter(low, math.inf) if high == low else high


def percentiles(values: NDArray[Any], percents: Sequence[float]) -> list[float]:
    """Percentiles of finite values, at least one; linear between neighbours.

    The same as numpy's, which imports its masked arrays for it: a fortieth of the time to a first
    curve.
    """
    # Between two that are further apart there is no finite slope.
    ordered = all_within(np.sort(values))
    places = [percent / 100 * (len(ordered) - 1) for percent in percents]
    return np.interp(places, np.arange(len(ordered)), ordered).tolist()


def tick_words(value: float, step: float) -> str:
    """A label of the y axis; `step` between two, 0 on a logarithmic axis."""
    if step:
        return fmt.tick(value, step)
    return fmt.si(value, 2) if value >= 1e-2 else fmt.rate(value)


def axis_tick(name: str, value: float, step: float) -> str:
    """A label of the x axis of that name; `step` between two."""
    text = fmt.time_tick(value) if name == "time" else fmt.tick(value, step)
    return text + "%" if name == "share" else text


@dataclass(slots=True, kw_only=True)
class Plot:
    """Cells [row, row + height) x [col, col + width) of `grid` show the data limits."""

    grid: Grid
    row: int
    col: int
    height: int
    width: int
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    """Limits; logarithms to base ten when `log`."""
    log: bool = False
    x_scale: XScale | None = None
    """What the x axis measures; None for updates, in which all of `x` is given in any case."""

    axis_limits: tuple[float, float] = field(init=False)
    """Of the x axis, in what it measures."""

    def __post_init__(self) -> None:
        self.show(self.y_low, self.y_high)
        self.x_low, self.x_high = _apart(within(self.x_low), within(self.x_high))
        low, high, x_scale = self.x_low, self.x_high, self.x_scale
        self.axis_limits = (low, high)
        if x_scale is not None:
            self.axis_limits = _apart(x_scale.to(low), x_scale.to(high))

    def show(self, low: float, high: float) -> None:
        """Make these the limits of the y axis, in its units, as far as it can have such."""
        least, most = _LOGARITHMS if self.log else (-FARTHEST, FARTHEST)
        self.y_low, self.y_high = _apart(*(min(max(y, least), most) for y in (low, high)))

    def on(self, x_scale: XScale | None, last: float = -math.inf) -> Plot:
        """The same cells and limits for the updates of another run, whose scale this is.

        `last`: the last place of that run; where nothing is counted up to it, it is in sight with
        what stands before it.
        """
        low, high = self.axis_limits
        x_low, x_high = low, high
        if x_scale is not None:
            x_low, x_high = x_scale.back(low), x_scale.back(high)
            if x_scale.to(last) <= high:
                x_high = max(x_high, last)
        plot = replace(self, x_low=x_low, x_high=x_high, x_scale=x_scale)
        # As they are: there and back again loses the last digits.
        plot.axis_limits = self.axis_limits
        return plot

    def columns(self, series: Series | Line) -> tuple[Floats, Floats]:
        """Lowest and highest value of each dot column."""
        limits = None
        if self.x_scale is not None:
            limits = self.x_scale.back(np.linspace(*self.axis_limits, self.num_dots + 1))
        return series.columns(self.x_low, self.x_high, self.num_dots, limits)

    def over_columns(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        """Height of the polyline through (x, y) at each dot column; NaN before and after it."""
        if self.x_scale is not None:
            x = self.x_scale.to(np.asarray(x, dtype=np.float64))
        return line_through(x, y, *self.axis_limits, self.num_dots)

    def tint(self, col: int, back: Back) -> None:
        """Give one column another background, over all rows of the plot."""
        self.grid.back_upright(self.row, self.row + self.height, col, back)

    def x_of(self, col: int) -> float:
        """The place in the middle of a column of the grid."""
        low, high = self.axis_limits
        at = low + (col - self.col + 0.5) / self.width * (high - low)
        return at if self.x_scale is None else self.x_scale.back(at)

    @property
    def num_dots(self) -> int:
        """Dot columns: two a cell."""
        return max(0, self.width) * 2

    def scale(self, values: NDArray[Any]) -> NDArray[Any]:
        """Data to axis units."""
        if not self.log:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            logs: NDArray[Any] = np.log10(values)
        return np.where(np.isfinite(logs), logs, np.nan)

    def y_of(self, row: int) -> float:
        """The height at the upper edge of a row of the grid, in data units."""
        part = (row - self.row) / max(1, self.height)
        at = self.y_high - min(1.0, max(0.0, part)) * (self.y_high - self.y_low)
        return 10.0**at if self.log else at

    def x_cell(self, x: float) -> int:
        """Column of the grid at `x`; just outside the plot when `x` is outside its limits."""
        if x == self.x_high:
            return self.col + self.width - 1
        low, high = self.axis_limits
        at = x if self.x_scale is None else self.x_scale.to(x)
        if at == high:
            return self.col + self.width - 1
        part = min(2.0, max(-1.0, (at - low) / (high - low)))
        return self.col + min(self.width, max(-1, math.floor(part * self.width)))

    @property
    def y_limits(self) -> tuple[float, float]:
        """Values at the lower and the upper edge, of a logarithmic axis too."""
        limits = (self.y_low, self.y_high)
        return (10.0 ** limits[0], 10.0 ** limits[1]) if self.log else limits

    def x_cells(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """`x_cell` of many."""
        low, high = self.axis_limits
        steps = np.asarray(x, dtype=np.float64)
        at = steps if self.x_scale is None else self.x_scale.to(steps)
        with np.errstate(over="ignore"):
            part = np.floor((at - low) / (high - low) * self.width)
        cells = self.col + np.clip(part, -1, self.width)
        last = (steps == self.x_high) | (at == high)
        return np.where(last, self.col + self.width - 1, cells).astype(np.int64)

    def y_cell(self, y: float) -> int | None:
        """Row of the grid at `y`; None when it lies outside or is no number."""
        if self.log:
            y = math.log10(y) if y > 0 else math.nan
        if not math.isfinite(y) or not self.y_low <= y <= self.y_high:
            return None
        # The same rounding as `curve`, so that a mark sits on its line.
        dots = self.height * 4 - 1
        return self.row + round((self.y_high - y) / (self.y_high - self.y_low) * dots) // 4

    def holds_column(self, col: int) -> bool:
        return self.col <= col < self.col + self.width

    def is_above(self, y: float) -> bool:
        """Whether a number lies above the range."""
        if self.log:
            y = math.log10(y) if y > 0 else math.nan
        return y > self.y_high

    def area(self, low: NDArray[Any], high: NDArray[Any], *, thick: int = 1) -> Band:
        """The connected curve through per-dot-column extremes, for `curves`."""
        low, high = self.scale(low), self.scale(high)
        return Band(low, high, self.y_low, self.y_high, self.height, thick)

    def joined(self, x: NDArray[Any], y: NDArray[Any]) -> Band:
        """The thin line through a few points, for `curves`."""
        if self.x_scale is not None:
            x = self.x_scale.to(np.asarray(x, dtype=np.float64))
        at = line_through(x, self.scale(y), *self.axis_limits, self.num_dots)
        return Band(at, at, self.y_low, self.y_high, self.height)

    def dots(self, low: NDArray[Any], high: NDArray[Any], *, thick: int = 1) -> Codes:
        """The cells of a connected curve through per-dot-column extremes."""
        return curves([self.area(low, high, thick=thick)])[0]

    def band(self, low: NDArray[Any], high: NDArray[Any], number: int, *, thick: int = 1) -> None:
        """Paint `dots` over what is there."""
        self.grid.overlay(self.row, self.col, self.dots(low, high, thick=thick), number)

    def polyline(self, x: NDArray[Any], y: NDArray[Any], number: int) -> None:
        """A thin line through a few points."""
        self.grid.overlay(self.row, self.col, curves([self.joined(x, y)])[0], number)

    def mark(self, x: float, y: float, char: str, number: int) -> None:
        """One character at a point, if it lies inside."""
        row, col = self.y_cell(y), self.x_cell(x)
        if row is not None and self.holds_column(col):
            self.grid.put(row, col, char, number)

    def vertical(self, x: float, char: str, number: int) -> int | None:
        """A line of `char` over the whole height; its column, or None when outside."""
        col = self.x_cell(x)
        if not self.holds_column(col):
            return None
        self.grid.upright(self.row, self.row + self.height, col, char, number)
        return col

    def y_ticks(self) -> tuple[list[float], float]:
        """Tick values in data units, and their step (0 on a logarithmic axis)."""
        most = max(3, round(self.height / 2.5))
        # Under a decade, evenly spaced values read better than 1-2-5.
        if not self.log or self.y_high - self.y_low < 1.0:
            return self._even_ticks(most)
        decades = range(math.floor(self.y_low), math.ceil(self.y_high) + 1)
        factors = (1.0,) if len(decades) > most else (1.0, 2.0, 5.0)
        values = [f * 10.0**d for d in decades for f in factors]
        return [v for v in values if self.y_low <= math.log10(v) <= self.y_high], 0.0

    def _even_ticks(self, most: int) -> tuple[list[float], float]:
        """Round values that cut the axis into at most `most` parts; into more where these would
        leave one value alone, which says nothing of the scale. Where two would stand in rows that
        touch, every second value, so that the gaps between them are alike."""
        for parts in [*range(most, 1, -1), *range(most + 1, self.height + 1)]:
            values, step = ticks(*self.y_limits, parts)
            while len(values) > 1 and self._crowded(values):
                step *= 2
                values = [value for value in values if round(value / step) * step == value]
            if len(values) > 1:
                return values, step
        return ticks(*self.y_limits, most)

    def _crowded(self, values: list[float]) -> bool:
        rows = [row for value in values if (row := self.y_cell(value)) is not None]
        return any(above - below < 2 for below, above in itertools.pairwise(reversed(rows)))

    def draw_y_axis(self, label_col: int, *, suffix: str = "") -> None:
        """Labels from `label_col` to the axis, the axis line, dotted grid lines."""
        label, axis, grid = style(Role.DIM), style(Role.AXIS), style(Role.GRID)
        self.grid.upright(self.row, self.row + self.height, self.col - 1, "│", axis)
        values, step = self.y_ticks()
        taken: set[int] = set()
        for value in values:
            at = self.y_cell(value)
            if at is None or taken & {at - 1, at, at + 1}:
                continue
            taken.add(at)
            text = tick_words(value, step)
            self.grid.right(at, self.col - 2, [(text + suffix, label)], label_col)
            self.grid.put(at, self.col - 1, "┤", axis)
            self.grid.rule(at, self.col, self.col + self.width, "┈", grid)

    def draw_x_axis(self, row: int, *, labels: bool = True, small: bool = False) -> None:
        """The axis line at `row` with ticks, and their labels in the row below, named in front.

        `small`: of one among many charts, with closer ticks and no name.
        """
        axis, label = style(Role.AXIS), style(Role.DIM)
        name = "step" if self.x_scale is None else self.x_scale.name
        low, high = self.axis_limits
        self.grid.put(row, self.col - 1, "└", axis)
        self.grid.rule(row, self.col, self.col + self.width, "─", axis)
        most = max(2, self.width // (6 if small else 12))
        if name == "time":
            values, step = time_ticks(low, high, most)
        else:
            values, step = ticks(low, high, most, whole=name in ("step", "tokens"))
        if labels and not small and self.col >= 7:
            self.grid.right(row + 1, self.col - 1, [(name, style(Role.FAINT))])
        end_of_last = self.col - 3
        for value in values:
            col = self.col + min(
                self.width - 1, math.floor((value - low) / (high - low) * self.width)
            )
            if not self.holds_column(col) or (value == high and name != "step"):
                continue
            self.grid.put(row, col, "┴", axis)
            text = axis_tick(name, value, step)
            start = max(self.col, col - len(text) // 2)
            if labels and start > end_of_last + 1 and start + len(text) <= self.col + self.width:
                end_of_last = self.grid.text(row + 1, start, text, label)
