"""What is left of a curve when the closest one that only rises, or only falls, is taken away."""

# K values.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sftui.state.series import all_bounded


def monotone_rest(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, int]:
    """(sum of squares left, levels used) of the better of the rising and the falling fit.

    Least squares by pooling neighbours that are out of order. For independent noise of variance
    s^2 the sum is s^2 (K - expected levels): Meyer and Woodroofe, Annals of Statistics 28 (2000).
    """
    return MonotoneFit().rest(all_bounded(np.asarray(values, dtype=np.float64)))


class MonotoneFit:
    """`monotone_rest` of a curve that grows: what was pooled before is not pooled again."""

    def __init__(self) -> None:
        self._length = 0
        self._rising, self._falling = _Levels(), _Levels()

    def rest(self, values: NDArray[np.float64]) -> tuple[float, int]:
        """Of `values`, which are those of the last call and more, or fewer of them."""
        if len(values) < self._length:
            return MonotoneFit().rest(values)
        more = values[self._length :]
        self._length = len(values)
        self._rising.extend(more)
        self._falling.extend(-more)
        return min(self._rising.rest(values), self._falling.rest(-values))


class _Levels:
    """The levels of the rising fit."""

    def __init__(self) -> None:
        self._sums: list[float] = []
        self._counts: list[int] = []

    def extend(self, values: NDArray[np.float64]) -> None:
        sums, counts = self._sums, self._counts
        for value in values.tolist():
            sums.append(value)
            counts.append(1)
            # A level that lies below the one before it belongs to it.
            while len(sums) > 1 and sums[-2] * counts[-1] >= sums[-1] * counts[-2]:
                total, count = sums.pop(), counts.pop()
                sums[-1] += total
                counts[-1] += count

    def rest(self, values: NDArray[np.float64]) -> tuple[float, int]:
        """What is left of all of them, and how many levels there are."""
        sums, counts = self._sums, self._counts
        rest = values - np.repeat(np.array(sums) / np.array(counts), counts) if sums else values
        return float(rest @ rest), len(sums)
