"""The line through a training loss, with an error that neighbours cannot talk down.

The losses of neighbouring steps are alike: a trainer prints a running mean, or rows come in
order. Single steps taken as independent find a trend in half of the runs that have none.
"""

from __future__ import annotations

import numpy as np

from sftui.statistics.accuracy import ALPHA, special_functions
from sftui.statistics.loss_statistics import Floats, Trend, fit_trend

BLOCK = 20
"""Steps of one mean; a running mean of nanochat's weight forgets half in seven."""
MIN_BLOCKS = 8
"""Fewer means do not tell how alike neighbours are."""


def block_trend(steps: Floats, values: Floats) -> Trend | None:
    """Least-squares line through the means of every `BLOCK` points, 95 % interval of its slope.

    What neighbouring means still share widens the interval: r, their lag-1 correlation around
    the line, leaves (1 - r) / (1 + r) of them as independent ones. None with fewer than
    `MIN_BLOCKS` means.
    """
    x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    blocks = len(x) // BLOCK
    if blocks < MIN_BLOCKS:
        return None
    # The newest steps count: what does not fill a block is left out at the beginning.
    x = x[-blocks * BLOCK :].reshape(blocks, BLOCK).mean(axis=1)
    y = y[-blocks * BLOCK :].reshape(blocks, BLOCK).mean(axis=1)
    line = fit_trend(x, y)
    if line is None:
        return None
    rest = y - y.mean() - line.slope * (x - x.mean())
    squares = float(rest @ rest)
    # A correlation of few values around a fitted line comes out low by about 4 / n.
    lag = float(rest[1:] @ rest[:-1]) / squares + 4 / blocks if squares > 0 else 0.0
    lag = min(max(lag, 0.0), 0.95)
    free = max(2.0, blocks * (1 - lag) / (1 + lag) - 2)
    error = line.error * np.sqrt((1 + lag) / (1 - lag))
    half = float(special_functions().stdtrit(free, 1 - ALPHA / 2)) * float(error)
    p = 2 * float(special_functions().stdtr(free, -abs(line.slope) / error)) if error > 0 else 0.0
    return Trend(
        slope=line.slope,
        error=float(error),
        low=line.slope - half,
        high=line.slope + half,
        p=p if line.slope else 1.0,
        points=blocks,
    )
