"""What a report says of the learning rate: where it ended, and whether it was too low.

Advice follows what happened. A rate is called too high only where the loss rose and stayed up,
and too low only where the weights hardly moved or the loss still fell when the rate was spent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sftui.report.report_facts import Facts
from sftui.state.weight_change import weight_changes
from sftui.statistics.block_trend import BLOCK

SPENT = 0.05
"""A rate at this share of its highest is as good as zero."""
HARDLY_MOVED = 1e-3
"""Weights within a thousandth of where they began were hardly trained."""

Ending = Literal["held", "came back", "never rose"]


def rate_left(facts: Facts) -> float | None:
    """The last learning rate as a share of the highest; None where rates are not logged."""
    for name in ("lr_mult", *(n for n in facts.state.steps.names if n.startswith("lr/"))):
        series = facts.state.step_series(name)
        rates = np.asarray(series.y, dtype=np.float64)
        rates = rates[np.isfinite(rates)]
        if len(rates) and rates.max() > 0:
            return float(rates[-1] / rates.max())
    return None


def rate_is_spent(facts: Facts) -> bool:
    """Whether more steps of this schedule would train at a rate of nearly zero."""
    left = rate_left(facts)
    return left is not None and left <= SPENT


def weights_moved(facts: Facts) -> float | None:
    """Largest distance of a parameter group from its start, as a share of its norm."""
    known = [each.distance for each in weight_changes(facts.state) if each.distance is not None]
    return max(known) if known and all(map(math.isfinite, known)) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Training loss of the first and of the last `BLOCK` updates."""

    first: float
    last: float
    error: float
    """Standard error of their difference, steps taken as independent."""

    @property
    def moved(self) -> bool:
        return abs(self.last - self.first) > 3 * self.error


def loss_ends(facts: Facts) -> Ends | None:
    """None with fewer than twice as many losses."""
    _, losses = facts.losses
    if len(losses) < 2 * BLOCK:
        return None
    first, last = losses[:BLOCK], losses[-BLOCK:]
    return Ends(
        first=float(first.mean()),
        last=float(last.mean()),
        error=math.hypot(float(first.std(ddof=1)), float(last.std(ddof=1))) / math.sqrt(BLOCK),
    )


def divergence(facts: Facts) -> Ending:
    """How a loss ended that had risen and stayed up for a while."""
    spans = [span for span in facts.counts.alarms if span.raised.kind == "diverging"]
    if not spans:
        return "never rose"
    return "held" if any(span.cleared is None for span in spans) else "came back"
