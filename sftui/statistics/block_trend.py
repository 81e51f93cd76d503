"""The line through a training loss, with an error that neighbours cannot talk down.

The losses of neighbouring steps are alike: a trainer prints a running mean, or rows come in
order. Single steps taken as independent find a trend in half of the runs that have none.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sftui.state.series import all_bounded
from sftui.statistics.accuracy import ALPHA, special_functions
from sftui.statistics.loss_statistics import Floats, Trend, fit_trend

BLOCK = 20
"""Steps of one mean; a running mean of nanochat's weight forgets half in seven."""
MIN_BLOCKS = 8
"""Fewer means do not tell how alike neighbours are."""


def _means(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Means of every `BLOCK` finite points; None with fewer than `MIN_BLOCKS` of them."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = all_bounded(x[known]), all_bounded(y[known])
    blocks = len(x) // BLOCK
    if blocks < MIN_BLOCKS:
        return None
    # The newest steps count: what does not fill a block is left out at the beginning.
    shape = (blocks, BLOCK)
    return x[-blocks * BLOCK :].reshape(shape).mean(1), y[-blocks * BLOCK :].reshape(shape).mean(1)


def _lag(x: NDArray[Any], y: NDArray[Any], slope: float) -> float:
    """Lag-1 correlation of the means around their line, from 0 to .95."""
    rest = y - y.mean() - slope * (x - x.mean())
    squares = float(rest @ rest)
    if squares <= 0:
        return 0.0
    # A correlation of few values around a fitted line comes out low by about 4 / n.
    return min(max(float(rest[1:] @ rest[:-1]) / squares + 4 / len(rest), 0.0), 0.95)


def mean_error(values: Floats) -> float | None:
    """Standard error of the mean of a stretch of losses, around its own straight line.

    What a run learns within the stretch is no error of its mean. None with fewer than
    `MIN_BLOCKS` means of `BLOCK` steps.
    """
    y = np.asarray(values, dtype=float)
    found = _means(np.arange(len(y), dtype=float), y)
    line = None if found is None else fit_trend(*found)
    if found is None or line is None:
        return None
    x, y = found
    rest = y - y.mean() - line.slope * (x - x.mean())
    lag = _lag(x, y, line.slope)
    variance = float(rest @ rest) / (len(rest) - 2) / len(rest)
    return math.sqrt(variance * (1 + lag) / (1 - lag))


def block_trend(steps: Floats, values: Floats) -> Trend | None:
    """Least-squares line through the means of every `BLOCK` points, 95 % interval of its slope.

    What neighbouring means still share widens the interval: r, their lag-1 correlation around
    the line, leaves (1 - r) / (1 + r) of them as independent ones. None with fewer than
    `MIN_BLOCKS` means.
    """
    found = _means(np.asarray(steps, dtype=float), np.asarray(values, dtype=float))
    line = None if found is None else fit_trend(*found)
    if found is None or line is None:
        return None
    x, y = found
    lag = _lag(x, y, line.slope)
    free = max(2.0, len(x) * (1 - lag) / (1 + lag) - 2)
    error = line.error * math.sqrt((1 + lag) / (1 - lag))
    half = float(special_functions().stdtrit(free, 1 - ALPHA / 2)) * error
    p = 2 * float(special_functions().stdtr(free, -abs(line.slope) / error)) if error > 0 else 0.0
    return Trend(
        slope=line.slope,
        error=error,
        low=line.slope - half,
        high=line.slope + half,
        p=p if line.slope else 1.0,
        points=len(x),
    )
