"""What a loss curve says: paired validation differences, a run's own wobble, the trend.

A validation loss is measured on the same rows every time, so the error of a change is
that of the row-wise differences, about a tenth of what two separate means suggest.
A log without losses row by row supports no paired claim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.alarms.windows import scatter_around_trend
from sftui.statistics.accuracy import ALPHA, special_functions

Floats = Sequence[float] | NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossDifference:
    """Validation loss now minus before, over the same rows, in nats."""

    mean: float
    error: float
    """Standard error of `mean` over rows."""
    low: float
    """95 % interval (Student's t, rows - 1 degrees of freedom)."""
    high: float
    z: float
    """`mean / error`; NaN when every row is unchanged."""
    relative: float
    """`mean` as a fraction of the loss before."""
    rows: int


def compare_losses(
    now: Floats, before: Floats, *, ids_now: Sequence[str] = (), ids_before: Sequence[str] = ()
) -> LossDifference | str:
    """Row-wise difference of two validations, or the reason why there is none.

    Rows whose loss is not finite on either side (no supervised token) are left out.
    """
    new, old = np.asarray(now, dtype=float), np.asarray(before, dtype=float)
    if new.shape != old.shape:
        return f"{len(new)} and {len(old)} rows: not the same validation rows"
    if list(ids_now) != list(ids_before):
        return "the validation rows are not the same ones"
    known = np.isfinite(new) & np.isfinite(old)
    new, old = new[known], old[known]
    if len(new) < 2:
        return f"{len(new)} rows with a loss on both sides; at least 2 are needed"
    change = new - old
    mean, rows = float(change.mean()), len(change)
    error = float(change.std(ddof=1)) / math.sqrt(rows)
    half = _t95(rows - 1) * error
    return LossDifference(
        mean=mean,
        error=error,
        low=mean - half,
        high=mean + half,
        z=mean / error if error > 0 else math.nan,
        relative=mean / float(old.mean()) if old.mean() else math.nan,
        rows=rows,
    )


def wobble(values: Sequence[float]) -> float | None:
    """Scatter of a run's evaluations around their own trend, as a standard deviation.

    From second differences. Works on accuracies and on validation losses; None with fewer
    than four evaluations.
    """
    known = [v for v in values if math.isfinite(v)]
    if len(known) < 4:
        return None
    return scatter_around_trend(float(np.median(np.abs(np.diff(known, n=2)))), 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Least-squares line through the last points of a curve."""

    slope: float
    """Per step."""
    error: float
    low: float
    """95 % interval of the slope."""
    high: float
    p: float
    """Two-sided, that the slope is 0."""
    points: int


def fit_trend(steps: Floats, values: Floats) -> Trend | None:
    """The line through all finite points; None with fewer than three, or one step only."""
    x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 3:
        return None
    x, y = x - x.mean(), y - y.mean()
    spread = float(x @ x)
    if spread == 0.0:
        return None
    slope = float(x @ y) / spread
    rest = y - slope * x
    free = len(x) - 2
    error = math.sqrt(float(rest @ rest) / free / spread)
    half = _t95(free) * error
    p = 2 * float(special_functions().stdtr(free, -abs(slope) / error)) if error > 0 else 0.0
    if slope == 0.0:
        p = 1.0
    return Trend(slope=slope, error=error, low=slope - half, high=slope + half, p=p, points=len(x))


def trend(steps: Floats, values: Floats) -> Trend | None:
    """The line, when its interval does not contain 0; otherwise there is none to show.

    The interval takes points as independent. Steps of a run nearly are; a smoothed
    curve is not, so hand in the raw one.
    """
    found = fit_trend(steps, values)
    return found if found is not None and found.low * found.high > 0 else None


def _t95(free: int) -> float:
    """Two-sided 5 % point of Student's t."""
    return float(special_functions().stdtrit(free, 1 - ALPHA / 2))
