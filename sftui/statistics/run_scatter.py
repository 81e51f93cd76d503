"""The scatter of a run's own evaluations: of accuracies, of probabilities, of validation losses."""

# K evaluations of n items, W = K - 3 windows of four.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sftui.state.series import all_bounded
from sftui.statistics.monotone import monotone_rest
from sftui.statistics.paired_tests import Evaluation, why_not_paired
from sftui.statistics.scatter import FEWEST, SQUARES, WEIGHTS, Fit, Scatter, scatter

JUMPS_FROM = 0.02
"""Standard deviation from checkpoint to checkpoint of a share of right answers from which on it
may be a task that is learnt at once; checkpoints wobble by 0.01 to 0.02."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The evaluations of a task in the order of steps, and what the questions explain of them."""

    values: NDArray[np.float64]
    """[K]; NaN where one is not known."""
    explained: NDArray[np.float64]
    """[W] variance of each third difference that comes from the sample of questions or rows."""
    loss: bool = False
    """Of losses, which begin with a jump; else of shares."""
    fit: Fit = monotone_rest
    """Of the known values; that of a curve that grows knows what it was asked before."""

    def scatter(self, evaluations: int | None = None) -> Scatter | None:
        """Of the first so many evaluations; of all by default."""
        values = self.values[:evaluations]
        windows = len(values) - FEWEST + 1
        if windows < 1:
            return None
        explained = float(self.explained[:windows].mean()) / SQUARES
        if not self.loss:
            return scatter(values, explained, jumps_from=JUMPS_FROM, fit=self.fit)
        # Four losses without errors of their own fall or rise throughout too often by chance.
        known = explained > 0 or len(values) > FEWEST
        jumps_from = 0.0 if known else math.inf
        return scatter(values, explained, robust=True, jumps_from=jumps_from, fit=self.fit)


def accuracy_curve(known: Sequence[Evaluation]) -> Curve:
    """Of one task; `known` in the order of steps."""
    values = np.array([np.nan if e.value is None else e.value for e in known])
    windows = max(0, len(known) - FEWEST + 1)
    explained = [explained_by(known[i : i + FEWEST]) for i in range(windows)]
    return Curve(values=values, explained=np.array(explained, dtype=np.float64))


def gold_curve(known: Sequence[Evaluation]) -> Curve | None:
    """Of the mean probability of the right letter; None where other questions were asked."""
    found = [e for e in known if e.gold is not None]
    if not found or any(why_not_paired(e, found[0]) for e in found[1:]):
        return None
    table = np.array([e.gold for e in found], dtype=np.float64)
    return Curve(values=np.nanmean(table, axis=1), explained=row_share(table))


def row_share(
    table: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """[W] variance of every third difference of a mean over rows that the rows explain.

    `table`: [K, n] the same rows at every evaluation; `weights`: [n] their parts, in sum 1.
    """
    if len(table) < FEWEST:
        return np.empty(0)
    thirds = np.diff(all_bounded(table), n=3, axis=0)
    if weights is None:
        return np.asarray(np.nanvar(thirds, axis=1) / thirds.shape[1], dtype=np.float64)
    rest = thirds - thirds @ weights[:, None]
    return np.asarray(rest**2 @ weights**2, dtype=np.float64)


def explained_by(four: Sequence[Evaluation]) -> float:
    """Variance of one third difference that the sample of questions explains."""
    if all(e.right is not None and not why_not_paired(e, four[0]) for e in four):
        # The same questions: what counts is how differently they moved, item by item.
        items = np.zeros(len(four[0].right if four[0].right is not None else ()))
        for weight, e in zip(WEIGHTS, four, strict=True):
            items += weight * np.asarray(e.right, dtype=np.float64)
        return float(np.var(items)) / max(1, len(items))
    shares = [
        weight**2 * e.value * (1 - e.value) / e.total
        for weight, e in zip(WEIGHTS, four, strict=True)
        if e.total and e.value is not None
    ]
    return sum(shares)
