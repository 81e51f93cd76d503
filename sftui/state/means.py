"""The line through a noisy curve: the mean over a window centred at every place.

The window is a share of what is in sight, so the line follows the data at any zoom, and
one wild value moves it within half a window alone. (An exponential average, as the alarms
use, trails the data, and its first value weighs on hundreds of steps.) Sums are kept in a
pyramid beside that of the extremes: a drawing costs the same at any length.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sftui.state.series import FAN_OUT, Column, Doubles, Floats, Rows, Series

FEW_POINTS = 150
"""Fewer points in sight are joined as they are: a mean would hide what the eye can read."""

_GROUPS = 8
"""Groups a part has at least: a group at an edge counts for one part alone."""


class Means:
    """Means of the finite values of one series over any window."""

    def __init__(self, source: Series) -> None:
        self.source = source
        self._rewrites = source.rewrites
        self._levels: list[tuple[Column, Column]] = []
        """Sums (float64) and counts (int32) of complete groups of 4, 16, 64 ... values."""
        self._folded: list[int] = []

    def columns(
        self,
        x_low: float,
        x_high: float,
        num_columns: int,
        window: float,
        limits: Doubles | None = None,
    ) -> Floats:
        """The mean around each of `num_columns` parts of [x_low, x_high]; NaN without a value.

        Args:
            window: width over which a mean is taken, in units of x.
            limits: the `num_columns` + 1 limits of the parts, where they are not equal.
        """
        if num_columns < 1 or not x_high > x_low or not len(self.source):
            return np.full(max(0, num_columns), np.nan, dtype=np.float32)
        half = round(window * num_columns / (x_high - x_low) / 2)
        beyond = 0
        if limits is None:
            # What lies just outside belongs to the windows at both ends.
            beyond = half
            width = (x_high - x_low) / num_columns
            places = np.arange(-beyond, num_columns + beyond + 1, dtype=np.float64)
            limits = np.asarray(x_low + width * places, dtype=np.float64)
        edges = np.searchsorted(self.source.x, limits)
        mean = self.around(edges, half)
        # A window reaches past the first and the last value; a line there would be of no value.
        mean[(edges[1:] == 0) | (edges[:-1] == len(self.source))] = np.nan
        return mean[beyond : beyond + num_columns]

    def around(self, edges: Rows, half: int) -> Floats:
        """The mean of the rows between consecutive `edges` and of `half` parts on either side."""
        sums, counts = self._sums(edges)
        total, number = sums.copy(), counts.copy()
        # Added one by one: after a value of 1e30, differences of running sums would be rubbish.
        for by in range(1, half + 1):
            for into, parts in ((total, sums), (number, counts)):
                into[by:] += parts[:-by]
                into[:-by] += parts[by:]
        # Between two points that lie further apart than a window there is no mean.
        mean = np.full(len(total), np.nan)
        np.divide(total, number, out=mean, where=number > 0)
        return mean.astype(np.float32)

    def at(self, x: float, window: float) -> float | None:
        """The mean of the values within half a window of a place; None without any."""
        source = self.source
        low, high = np.searchsorted(
            source.x, (x - window / 2, np.nextafter(x + window / 2, np.inf))
        )
        values = source.y[low:high].astype(np.float64)
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else None

    def count(self, x_low: float, x_high: float) -> int:
        """Rows between two places."""
        low, high = np.searchsorted(self.source.x, (x_low, np.nextafter(x_high, np.inf)))
        return int(high - low)

    def _sums(self, edges: Rows) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Sum and number of the finite values in each part."""
        parts = len(edges) - 1
        sums, counts = np.zeros(parts), np.zeros(parts, dtype=np.int64)
        level, width = -1, 1
        while int(edges[-1] - edges[0]) // (width * FAN_OUT) >= _GROUPS * parts:
            level, width = level + 1, width * FAN_OUT
        if level < 0:
            _add(self.source.y, None, edges, sums, counts)
            return sums, counts
        self._fold(level)
        # A group counts where it starts; both ends are read value by value (see `Series`).
        begin, end = int(edges[0]), int(edges[-1])
        last_group = min(self._folded[level], end // width)
        groups = np.minimum(-(-edges // width), last_group)
        group_sums, group_counts = self._levels[level]
        _add(group_sums.data, group_counts.data, groups, sums, counts)
        head = min(int(groups[0]) * width, end)
        tail = max(last_group * width, begin)
        if head > begin:
            _add(self.source.y, None, np.minimum(edges, head), sums, counts)
        if end > tail:
            _add(self.source.y, None, np.maximum(edges, tail), sums, counts)
        return sums, counts

    def _fold(self, level: int) -> None:
        """Bring every level up to `level` up to date."""
        if self.source.rewrites != self._rewrites:
            self._rewrites, self._levels, self._folded = self.source.rewrites, [], []
        below = self.source.y
        available = len(below)
        for i in range(level + 1):
            if i == len(self._levels):
                self._levels.append((Column(np.float64), Column(np.int32, fill=0)))
                self._folded.append(0)
            sums, counts = self._levels[i]
            done, whole = self._folded[i], available // FAN_OUT
            if whole > done:
                part = slice(done * FAN_OUT, whole * FAN_OUT)
                sums.reserve(whole)
                counts.reserve(whole)
                if i == 0:
                    values, known = _finite(below[part])
                else:
                    values = self._levels[i - 1][0].data[part]
                    known = self._levels[i - 1][1].data[part]
                sums.data[done:whole] = values.reshape(-1, FAN_OUT).sum(axis=1)
                counts.data[done:whole] = known.reshape(-1, FAN_OUT).sum(axis=1)
                self._folded[i] = whole
            available = self._folded[i]


class Line:
    """Means over one window, as a chart draws and reads them; `window` 0 is the data itself."""

    def __init__(self, means: Means, window: float) -> None:
        self.source = means.source
        self.window = window
        self._means = means

    def columns(
        self, x_low: float, x_high: float, num_columns: int, limits: Doubles | None = None
    ) -> tuple[Floats, Floats]:
        """Lowest and highest of each column, as those of a `Series`."""
        if not self.window:
            return self.source.columns(x_low, x_high, num_columns, limits)
        mean = self._means.columns(x_low, x_high, num_columns, self.window, limits)
        return mean, mean

    def sample(self, x_low: float, x_high: float) -> Floats:
        """Finite values between the limits, evenly spread: for percentiles."""
        if not self.window or not x_high > x_low:
            return self.source.sample(x_low, x_high)
        mean = self._means.columns(x_low, x_high, 256, self.window)
        return mean[np.isfinite(mean)]

    def at(self, x: float) -> float | None:
        """Its height at a place; None where nothing is known."""
        if self.window:
            return self._means.at(x, self.window)
        source = self.source
        i = int(np.searchsorted(source.x, x))
        value = float(source.y[i]) if i < len(source) and source.x[i] == x else math.nan
        return value if math.isfinite(value) else None

    @property
    def last(self) -> float | None:
        """Its height at the newest point."""
        return self.at(float(self.source.x[-1])) if len(self.source) else None


def line(means: Means, share: float, x_low: float = -math.inf, x_high: float = math.inf) -> Line:
    """The line for what is in sight between two places; by default all there is.

    `share`: width of the window as a share of the data in sight, 0 for the data themselves.
    """
    x = means.source.x
    if not share or not len(x) or means.count(x_low, x_high) < FEW_POINTS:
        return Line(means, 0.0)
    return Line(means, share * (min(x_high, float(x[-1])) - max(x_low, float(x[0]))))


def _finite(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The values with 0 for those that are no finite number, and which are."""
    known = np.isfinite(values)
    return np.where(known, values, 0.0).astype(np.float64), known


def _add(
    values: NDArray[Any],
    counts: NDArray[Any] | None,
    edges: NDArray[np.int64],
    into: NDArray[np.float64],
    into_counts: NDArray[np.int64],
) -> None:
    """Add what lies between consecutive edges, in place; `counts` None: one a finite value."""
    filled = edges[1:] > edges[:-1]
    if not filled.any():
        return
    # reduceat runs from each start to the next one: the filled parts are contiguous.
    starts = edges[:-1][filled]
    first, last = int(starts[0]), int(edges[-1])
    if counts is None:
        found, known = _finite(values[first:last])
        number = known.astype(np.int64)
    else:
        found, number = values[first:last], counts[first:last]
    into[filled] += np.add.reduceat(found, starts - first)
    into_counts[filled] += np.add.reduceat(number, starts - first)
