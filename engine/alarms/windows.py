"""Medians over the newest values of a stream, cheap enough for every step of a long log.

Medians, not means: one odd batch must not move the measure it is judged by.
"""

from __future__ import annotations

import itertools
import math
import statistics
from bisect import bisect_left, bisect_right, insort
from collections import deque
from dataclasses import dataclass

RECENT = 20
LARGEST = 1e100
"""Numbers are judged up to it: squares and distances of larger ones are not finite."""
MIN_SIGMA = 1e-3

MAD_TO_SIGMA = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation, 1 / 0.6745."""


def bounded(value: float) -> float:
    """A finite number, at most `LARGEST` from 0."""
    return min(max(value, -LARGEST), LARGEST)


def scatter_around_trend(median_difference: float, order: int) -> float:
    """Standard deviation of a series around its own trend, from its differences.

    Args:
        median_difference: median of the absolute differences of that order; a median, so that
            a jump or two of the series do not count.
        order: 1 takes out a constant, 2 a straight line, 3 a bend. The differences of
            independent values of variance s^2 have the variance comb(2 order, order) s^2: 2 s^2,
            6 s^2 and 20 s^2.
    """
    return MAD_TO_SIGMA * median_difference / math.sqrt(math.comb(2 * order, order))


class SortedWindow:
    """The newest `size` values, also kept in order: a median without sorting."""

    __slots__ = ("_arrived", "ordered", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._arrived: deque[float] = deque()
        self.ordered: list[float] = []

    def __len__(self) -> int:
        return len(self.ordered)

    @property
    def full(self) -> bool:
        return len(self.ordered) == self.size

    def push(self, value: float) -> None:
        """Add a finite value; the oldest leaves when the window is full."""
        if len(self.ordered) == self.size:
            del self.ordered[bisect_left(self.ordered, self._arrived.popleft())]
        self._arrived.append(value)
        insort(self.ordered, value)

    def clear(self) -> None:
        self._arrived.clear()
        self.ordered.clear()

    def median(self) -> float:
        """Of a window that is not empty."""
        ordered = self.ordered
        half = len(ordered) // 2
        return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2

    def sigma(self, median: float) -> float:
        """Robust standard deviation: `MAD_TO_SIGMA` times the median distance from the median."""
        distance = statistics.median(abs(x - median) for x in self.ordered)
        return max(MAD_TO_SIGMA * distance, MIN_SIGMA)

    def around_trend(self, most: float) -> tuple[float, float]:
        """Robust standard deviation around a straight line, and the correlation of neighbours.

        The line goes through the medians of the older and the newer half. The correlation is
        between 0 and `most`: independent values of variance s^2 have differences of 2 s^2,
        correlated ones of 2 (1 - r) s^2. Needs four values.
        """
        values = list(self._arrived)
        half = len(values) // 2
        slope = (statistics.median(values[-half:]) - statistics.median(values[:half])) / half
        rest = [value - slope * i for i, value in enumerate(values)]
        middle = statistics.median(rest)
        distance = statistics.median(abs(value - middle) for value in rest)
        sigma = max(MAD_TO_SIGMA * distance, MIN_SIGMA)
        steps = statistics.median(abs(b - a) for a, b in itertools.pairwise(rest))
        lag = 1 - (scatter_around_trend(steps, 1) / sigma) ** 2
        return sigma, min(max(lag, 0.0), most)

    def fewer_than_half_within(self, median: float, distance: float) -> bool:
        """True when the median distance is surely at least `distance`: two searches, no sort."""
        low = bisect_right(self.ordered, median - distance)
        return 2 * (bisect_left(self.ordered, median + distance) - low) < len(self.ordered)


class RecentMedian:
    """The median of the newest RECENT values, worked out only when it may pass a limit.

    It can pass only when half of them do, and that is a count: a step then costs a
    comparison, not a sorted list.
    """

    __slots__ = ("_above", "_limit", "_values")

    def __init__(self) -> None:
        self._values: deque[float] = deque()
        self._limit = math.inf
        self._above = 0

    def clear(self) -> None:
        self._values.clear()
        self._above = 0

    def set_limit(self, limit: float) -> None:
        if limit != self._limit:
            self._limit = limit
            self._above = sum(value > limit for value in self._values)

    def push(self, value: float) -> None:
        values, limit = self._values, self._limit
        values.append(value)
        if value > limit:
            self._above += 1
        if len(values) > RECENT and values.popleft() > limit:
            self._above -= 1

    def above_limit(self) -> float | None:
        """The median, when it is above the limit and RECENT values are known."""
        if 2 * self._above < RECENT or len(self._values) < RECENT:
            return None
        median = statistics.median(self._values)
        return median if median > self._limit else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A number that stands out, and the limit that it passed, where there is one."""

    value: float
    limit: float | None
