"""What a loss curve says: paired validation differences and the trend.

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

from sftui.state.series import all_bounded
from sftui.statistics.accuracy import ALPHA, special_functions

Floats = Sequence[float] | NDArray[Any]
_NO_SPREAD = 1e-200
"""Of the places of a line: what is divided by less has no finite quotient."""


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
    now: Floats,
    before: Floats,
    *,
    ids_now: Sequence[object] = (),
    ids_before: Sequence[object] = (),
    weights: Floats | None = None,
) -> LossDifference | str:
    """Row-wise difference of two validations, or the reason why there is none.

    Rows whose loss is not finite on either side (no supervised token) are left out. With
    `weights` [rows], each row's part in the printed loss, mean, error and interval are those of
    the printed losses' difference; without them every row counts the same.
    """
    new, old = (all_bounded(np.asarray(each, dtype=float)) for each in (now, before))
    if new.shape != old.shape:
        return f"{len(new)} and {len(old)} rows: not the same validation rows"
    if list(ids_now) != list(ids_before):
        return "the validation rows are not the same ones"
    known = np.isfinite(new) & np.isfinite(old)
    parts = np.ones(len(new)) if weights is None else np.asarray(weights, dtype=float)
    known &= parts > 0
    new, old, parts = new[known], old[known], parts[known]
    if len(new) < 2:
        return f"{len(new)} rows with a loss on both sides; at least 2 are needed"
    mean, error = weighted_mean(new - old, parts)
    rows = len(new)
    half = _t95(rows - 1) * error
    level = float(np.average(old, weights=parts))
    return LossDifference(
        mean=mean,
        error=error,
        low=mean - half,
        high=mean + half,
        z=mean / error if error > 0 else math.nan,
        relative=mean / level if level else math.nan,
        rows=rows,
    )


def weighted_mean(values: Floats, weights: Floats) -> tuple[float, float]:
    """(weighted mean, its standard error over rows); equal weights give sd / sqrt(rows)."""
    x, w = np.asarray(values, dtype=float), np.asarray(weights, dtype=float)
    w = w / w.sum()
    mean, rows = float(w @ x), len(x)
    spread = float(w**2 @ (x - mean) ** 2) * rows / (rows - 1)
    return mean, math.sqrt(spread)


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
    x, y = (all_bounded(np.asarray(each, dtype=float)) for each in (steps, values))
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 3:
        return None
    x, y = x - x.mean(), y - y.mean()
    spread = float(x @ x)
    if spread < _NO_SPREAD:
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
