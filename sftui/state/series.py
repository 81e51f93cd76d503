"""The history of a run's numbers: one x column, many float32 columns, extremes kept.

A chart never reads the points. It asks a `Series` for the lowest and highest
value in each of its columns, and a min/max pyramid (fan-out 4) answers in the
same time for two thousand points and for ten million, without losing a spike.
A pyramid exists only for columns that are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, KeysView, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sftui.text.format import LARGEST_KEPT

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.intp]

FAN_OUT = 4
LARGEST = LARGEST_KEPT
"""Finite numbers are kept up to it."""
_GROWTH = 1.25
"""Doubling would leave a quarter of the memory empty on average, this a tenth."""


def bounded(value: float) -> float:
    """A number as columns keep it: a finite one must not become an infinity."""
    if -LARGEST <= value <= LARGEST or not math.isfinite(value):
        return value
    return math.copysign(LARGEST, value)


def all_bounded(values: NDArray[np.float64]) -> Doubles:
    """`bounded` of each."""
    found: Doubles = np.clip(values, -LARGEST, LARGEST)
    return np.where(np.isfinite(values), found, values)


class Column:
    """A growing array."""

    __slots__ = ("data", "fill")

    def __init__(self, dtype: Any, fill: float = math.nan) -> None:
        self.data: NDArray[Any] = np.empty(0, dtype=dtype)
        self.fill = fill

    def reserve(self, length: int) -> None:
        if length > len(self.data):
            room = max(64, length, int(len(self.data) * _GROWTH))
            grown = np.full(room, self.fill, dtype=self.data.dtype)
            grown[: len(self.data)] = self.data
            self.data = grown


class Table:
    """Rows sorted by x; a row holds any of the named numbers, the rest is NaN."""

    def __init__(self, names: Iterable[str] = (), *, wide: Iterable[str] = ()) -> None:
        """`wide`: columns in float64, for numbers that are given back and not only drawn."""
        self._x = Column(np.float64)
        self._columns: dict[str, Column] = {name: Column(np.float32) for name in names}
        self._columns |= {name: Column(np.float64) for name in wide}
        self._series: dict[str, Series] = {}
        self._length = 0
        self.rewrites = 0
        """Raised by every change that is not an append, for whoever follows the rows."""

    def __len__(self) -> int:
        return self._length

    @property
    def names(self) -> KeysView[str]:
        return self._columns.keys()

    @property
    def x(self) -> Doubles:
        """The x of every row, rising; a view that is valid until the next change."""
        return self._x.data[: self._length]

    def column(self, name: str) -> Floats:
        """The values under `name`, NaN where unknown; a view until the next change, to be read.

        One that was never given takes no memory, however often it is asked for.
        """
        column = self._columns.get(name)
        if column is None or not len(column.data):
            return np.broadcast_to(_UNKNOWN, self._length)
        column.reserve(self._length)
        return column.data[: self._length]

    def value(self, name: str, index: int) -> float | None:
        """The number of one row, None where it is not known."""
        column = self._columns.get(name)
        if column is None or index >= len(column.data):
            return None
        value = float(column.data[index])
        return None if math.isnan(value) else value

    def written(self, name: str) -> bool:
        """Whether a value was ever given; costs nothing, unlike looking for one."""
        column = self._columns.get(name)
        return column is not None and len(column.data) > 0

    def last(self, name: str) -> float | None:
        """The newest known value (NaN counts as unknown)."""
        if not self.written(name):
            return None
        values = self.column(name)
        for start in range(len(values), 0, -256):
            known = np.flatnonzero(~np.isnan(values[max(0, start - 256) : start]))
            if len(known):
                return float(values[max(0, start - 256) + known[-1]])
        return None

    def tail(self, name: str, num_rows: int) -> Floats:
        """The last `num_rows` values."""
        return self.column(name)[max(0, self._length - num_rows) :]

    def at(self, x: float) -> dict[str, float] | None:
        """The row at exactly `x`, known values only."""
        i = int(np.searchsorted(self.x, x))
        if i >= self._length or self.x[i] != x:
            return None
        row = {name: float(self.column(name)[i]) for name in self._columns}
        return {name: value for name, value in row.items() if not math.isnan(value)}

    def put(self, x: float, values: Mapping[str, float | None], *, keep: bool = False) -> None:
        """Add a row; one that has the same x is replaced.

        `keep`: of a row that is there, the numbers that `values` does not know stay.
        """
        n = self._length
        if n == 0 or x > self._x.data[n - 1]:
            index = n
            if n >= len(self._x.data):
                self._x.reserve(n + 1)
            self._length = n + 1
        else:
            index = int(self.x.searchsorted(x))
            is_new = self._x.data[index] != x
            if is_new:
                self._open_row(index)
            if is_new or not keep:
                for known in self._given():
                    known.reserve(self._length)
                    known.data[index] = math.nan
            self._rewritten(index)
        self._x.data[index] = x
        columns = self._columns
        for name, value in values.items():
            if value is None:
                continue
            column = columns.get(name)
            if column is None:
                column = columns[name] = Column(np.float32)
            if index >= len(column.data):
                column.reserve(self._length)
            inside = -LARGEST <= value <= LARGEST
            if not inside and column.data.dtype == np.float32:
                value = bounded(value)
            column.data[index] = value

    def extend(self, x: Doubles, values: Mapping[str, Iterable[float]]) -> None:
        """Append many rows at once; `x` rises and starts after the last row."""
        n, end = self._length, self._length + len(x)
        self._x.reserve(end)
        self._x.data[n:end] = x
        self._length = end
        for name, numbers in values.items():
            column = self._columns.get(name) or self._columns.setdefault(name, Column(np.float32))
            column.reserve(end)
            if not isinstance(numbers, np.ndarray):
                numbers = np.fromiter(numbers, dtype=np.float32, count=len(x))
            column.data[n:end] = numbers

    def merge(self, x: Doubles, values: Mapping[str, Floats]) -> None:
        """As `extend`, but `x` may start before the last row: a row that is there keeps what
        `values` do not name, as of `put` with `keep`."""
        later = int(np.searchsorted(x, self.x[-1], "right")) if self._length else 0
        for index in range(later):
            row = {name: float(column[index]) for name, column in values.items()}
            self.put(float(x[index]), row, keep=True)
        if later:
            x, values = x[later:], {name: column[later:] for name, column in values.items()}
        self.extend(x, values)

    def truncate(self, x: float) -> int:
        """Drop every row at or after `x`; the number of rows dropped."""
        keep = int(np.searchsorted(self.x, x))
        dropped = self._length - keep
        if dropped:
            for column in self._columns.values():
                column.data[keep : self._length] = math.nan
            self._length = keep
            self._rewritten(keep)
        return dropped

    def beside(self, name: str) -> Table:
        """An empty table for other values at the same x, without an x column of its own.

        It is extended by rows of this table from the first on, and emptied when `rewrites` rises.
        """
        table = Table([name])
        table._x = self._x
        return table

    def series(self, name: str) -> Series:
        """The drawable view of one column; the same object at every call."""
        found = self._series.get(name)
        if found is None:
            found = self._series[name] = Series(self, name)
        return found

    @property
    def num_bytes(self) -> int:
        """Memory of rows and pyramids."""
        own = self._x.data.nbytes + sum(c.data.nbytes for c in self._columns.values())
        return own + sum(s.num_bytes for s in self._series.values())

    def _given(self) -> list[Column]:
        """Columns that hold a value."""
        return [column for column in self._columns.values() if len(column.data)]

    def _open_row(self, index: int) -> None:
        n = self._length
        for column in (self._x, *self._given()):
            column.reserve(n + 1)
            column.data[index + 1 : n + 1] = column.data[index:n]
        self._length = n + 1

    def _rewritten(self, index: int) -> None:
        self.rewrites += 1
        for series in self._series.values():
            series.forget(index)


_UNKNOWN = np.float32(np.nan)


class Series:
    """One column of a table with its min/max pyramid, folded when it is read."""

    def __init__(self, table: Table, name: str) -> None:
        self._table = table
        self._name = name
        self._levels: list[tuple[Column, Column]] = []
        self._folded: list[int] = []
        """Complete groups of each level."""

    def __len__(self) -> int:
        return len(self._table)

    @property
    def x(self) -> Doubles:
        return self._table.x

    @property
    def y(self) -> Floats:
        return self._table.column(self._name)

    @property
    def rewrites(self) -> int:
        return self._table.rewrites

    @property
    def version(self) -> tuple[int, int]:
        """Another one after every change of its rows."""
        return len(self._table), self._table.rewrites

    @property
    def last(self) -> float | None:
        """The newest known value."""
        return self._table.last(self._name)

    @property
    def empty(self) -> bool:
        """True when no value is known."""
        return self.last is None

    @property
    def num_bytes(self) -> int:
        return sum(low.data.nbytes + high.data.nbytes for low, high in self._levels)

    def beside(self, name: str) -> Table:
        """See `Table.beside`."""
        return self._table.beside(name)

    def forget(self, index: int) -> None:
        """Row `index` and all after it changed: unfold the groups that hold them."""
        width = FAN_OUT
        for level, folded in enumerate(self._folded):
            self._folded[level] = min(folded, index // width)
            width *= FAN_OUT

    def columns(
        self, x_low: float, x_high: float, num_columns: int, limits: Doubles | None = None
    ) -> tuple[Floats, Floats]:
        """Lowest and highest value in each of `num_columns` equal parts of [x_low, x_high].

        Both arrays are float32 of length `num_columns`, NaN where a part holds no point.
        A value exactly at `x_high` belongs to the last part. `limits`: the `num_columns` + 1
        limits of the parts, where they are not equal.
        """
        if num_columns < 1 or not x_high > x_low:
            low = np.full(max(0, num_columns), np.nan, dtype=np.float32)
            return low, low.copy()
        limits = np.linspace(x_low, x_high, num_columns + 1) if limits is None else limits.copy()
        limits[-1] = np.nextafter(x_high, np.inf)
        return self.extremes(np.searchsorted(self.x, limits))

    def extremes(self, edges: Rows) -> tuple[Floats, Floats]:
        """Lowest and highest value of the rows between consecutive `edges`, as `columns`."""
        parts = len(edges) - 1
        low = np.full(parts, np.nan, dtype=np.float32)
        high = low.copy()
        begin, end = int(edges[0]), int(edges[-1])
        if begin >= end or not self._table.written(self._name):
            return low, high
        level = self._level(end - begin, parts)
        if level < 0:
            _reduce(self.y, self.y, edges, low, high)
            return low, high
        self._fold(level)
        width = FAN_OUT ** (level + 1)
        lows, highs = self._levels[level]
        # A group that straddles an edge counts for the column in which it starts: no extreme
        # is lost and none moves by more than half a column. The two ends are read point by
        # point, so nothing outside the limits gets in.
        last_group = min(self._folded[level], end // width)
        groups = np.minimum(-(-edges // width), last_group)
        _reduce(lows.data, highs.data, groups, low, high)
        head = min(int(groups[0]) * width, end)
        tail = max(last_group * width, begin)
        if head > begin:
            _reduce(self.y, self.y, np.minimum(edges, head), low, high)
        if end > tail:
            _reduce(self.y, self.y, np.maximum(edges, tail), low, high)
        return low, high

    def sample(self, x_low: float, x_high: float, most: int = 2048) -> Floats:
        """At most `most` known values between the limits, evenly spread: for percentiles."""
        first, last = np.searchsorted(self.x, (x_low, np.nextafter(x_high, np.inf)))
        step = max(1, -(-int(last - first) // most))
        values = self.y[first:last:step]
        return values[np.isfinite(values)]

    def _level(self, num_points: int, num_columns: int) -> int:
        """The coarsest level that still has two groups a column; -1 = the points themselves."""
        level = -1
        width = FAN_OUT
        while num_points // width >= 2 * num_columns:
            level += 1
            width *= FAN_OUT
        return level

    def _fold(self, level: int) -> None:
        """Bring every level up to `level` up to date."""
        below_low: NDArray[Any] = self.y
        below_high: NDArray[Any] = below_low
        available = len(below_low)
        for i in range(level + 1):
            if i == len(self._levels):
                self._levels.append((Column(np.float32), Column(np.float32)))
                self._folded.append(0)
            done = self._folded[i]
            whole = available // FAN_OUT
            lows, highs = self._levels[i]
            if whole > done:
                lows.reserve(whole)
                highs.reserve(whole)
                part = slice(done * FAN_OUT, whole * FAN_OUT)
                lows.data[done:whole] = _fold(np.fmin, below_low[part])
                highs.data[done:whole] = _fold(np.fmax, below_high[part])
                self._folded[i] = whole
            below_low, below_high, available = lows.data, highs.data, self._folded[i]


def nearest_row(x: Doubles, at: float) -> int:
    """Index of the value of sorted, non-empty `x` that is nearest to a place; of two, the first."""
    i = int(np.searchsorted(x, at))
    if i > 0 and (i == len(x) or at - x[i - 1] <= x[i] - at):
        i -= 1
    return i


def _fold(extreme: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
    """One value for every four; strided calls are ten times faster than reducing an axis."""
    pairs = extreme(values[0::2], values[1::2])
    folded: NDArray[Any] = extreme(pairs[0::2], pairs[1::2])
    return folded


def _reduce(
    lows: NDArray[Any], highs: NDArray[Any], edges: NDArray[Any], low: Floats, high: Floats
) -> None:
    """Fold values between consecutive edges into `low` and `high`, in place."""
    first, last = edges[:-1], edges[1:]
    filled = last > first
    if not filled.any():
        return
    starts, ends = first[filled], last[filled]
    # reduceat runs from each index to the next one; the filled parts are contiguous, and
    # the end of the last one needs the array cut there.
    stop = int(ends[-1])
    low[filled] = np.fmin(low[filled], np.fmin.reduceat(lows[:stop], starts))
    high[filled] = np.fmax(high[filled], np.fmax.reduceat(highs[:stop], starts))
