"""What is left of a curve when the closest one that only rises, or only falls, is taken away."""

# K values.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def monotone_rest(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, int]:
    """(sum of squares left, levels used) of the better of the rising and the falling fit.

    Least squares by pooling neighbours that are out of order. For independent noise of variance
    s^2 the sum is s^2 (K - expected levels): Meyer and Woodroofe, Annals of Statistics 28 (2000).
    """
    found = np.asarray(values, dtype=np.float64)
    return min(_rest(found), _rest(-found))


def _rest(values: NDArray[np.float64]) -> tuple[float, int]:
    """Of the rising fit."""
    sums: list[float] = []
    counts: list[int] = []
    for value in values.tolist():
        sums.append(value)
        counts.append(1)
        # A level that lies below the one before it belongs to it.
        while len(sums) > 1 and sums[-2] * counts[-1] >= sums[-1] * counts[-2]:
            total, count = sums.pop(), counts.pop()
            sums[-1] += total
            counts[-1] += count
    fitted = np.repeat(np.array(sums) / np.array(counts), counts) if sums else values
    rest = values - fitted
    return float(rest @ rest), len(sums)
