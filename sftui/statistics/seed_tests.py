"""Recipes compared over seeds: the unit is a run, not a question.

A paired p between two runs says nothing of the recipe: 43 % of pairs of seeds of one recipe
differ at p < .05 on the same questions. So each run gives one number, and these are tested.
"""

# a, b runs of the two recipes; k pairs.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sftui.statistics.accuracy import ALPHA, Z95, Z_POWER80, special_functions
from sftui.statistics.paired_tests import NO_EVIDENCE, holm, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeDifference:
    """Mean of B's runs minus mean of A's, in the unit of the numbers."""

    a: tuple[float, ...]
    b: tuple[float, ...]
    paired: bool
    """The same seeds were run with both recipes: each is compared with itself."""
    difference: float
    error: float
    """Standard error over seeds; NaN with too few runs."""
    low: float
    """95 % interval."""
    high: float
    p: float
    """Two-sided; NaN with too few runs."""
    spread: float
    """Standard deviation from seed to seed: of the differences where paired, else of one run."""

    @property
    def runs_needed(self) -> int | None:
        """Runs of each recipe that find this difference in four of five repetitions; None where
        it is 0 or the spread is unknown."""
        if not self.difference or not math.isfinite(self.spread):
            return None
        variance = self.spread**2 * (1 if self.paired else 2)
        # Two more: so few runs are judged by Student's t, not by the normal distribution.
        return math.ceil((Z95 + Z_POWER80) ** 2 * variance / self.difference**2) + 2


def recipe_difference(
    a: Mapping[object, float], b: Mapping[object, float], *, grain: float = 0.0
) -> RecipeDifference:
    """Paired t test over the seeds that both were run with, else Welch's.

    Args:
        a: seed -> number of one run; of recipe A.
        b: the same of recipe B. Pairs are made only where the seeds are the same on both sides.
        grain: smallest step of the numbers, 1 / questions of an accuracy. Runs are taken to
            scatter by so much at least: two that have the same count right are not known to
            have no error.

    Raises:
        ValueError: one of them is empty.
    """
    if not a or not b:
        raise ValueError(f"{len(a)} and {len(b)} runs; expected at least one of each recipe")
    if set(a) == set(b) and len(a) > 1:
        change = np.array([b[seed] - a[seed] for seed in a])
        spread = max(float(change.std(ddof=1)), math.sqrt(2) * grain)
        error, freedom, paired = spread / math.sqrt(len(change)), len(change) - 1.0, True
    else:
        error, freedom, spread = _welch(list(a.values()), list(b.values()), grain)
        paired = False
    difference = float(np.mean(list(b.values())) - np.mean(list(a.values())))
    special = special_functions()
    p = half = math.nan
    if freedom > 0 and math.isfinite(error):
        half = float(special.stdtrit(freedom, 1 - ALPHA / 2)) * error
        if error > 0:
            p = 2 * float(special.stdtr(freedom, -abs(difference) / error))
        else:
            p = 1.0 if difference == 0 else 0.0
    return RecipeDifference(
        a=tuple(a.values()),
        b=tuple(b.values()),
        paired=paired,
        difference=difference,
        error=error,
        low=difference - half,
        high=difference + half,
        p=p,
        spread=spread,
    )


def judge_recipes(found: Sequence[RecipeDifference]) -> list[str]:
    """The verdict words, Holm over all that are compared."""
    return [
        verdict(each.p, adjusted) if math.isfinite(each.p) else NO_EVIDENCE
        for each, adjusted in zip(found, holm([each.p for each in found]), strict=True)
    ]


def _welch(a: Sequence[float], b: Sequence[float], grain: float) -> tuple[float, float, float]:
    """(standard error, degrees of freedom, standard deviation of one run)."""
    if len(a) < 2 or len(b) < 2:
        return math.nan, 0.0, math.nan
    one, two = (max(float(np.var(side, ddof=1)), grain**2) for side in (a, b))
    parts = one / len(a), two / len(b)
    error, spread = math.sqrt(sum(parts)), math.sqrt((one + two) / 2)
    below = parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1)
    return error, sum(parts) ** 2 / below if below else float(len(a) + len(b) - 2), spread
