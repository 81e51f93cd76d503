"""One accuracy: interval, chance, one-letter baseline, and which counts a percentage can mean.

Always carry the count: 26.46 % of 1024 questions and of 14042 are two different claims.
Fractions everywhere, never percentages, except where a percentage is read.
"""

# n items, k right.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
Z95 = 1.959963984540054
"""Two-sided 5 % point of the standard normal."""
Z_POWER80 = 0.8416212335729143
"""80 % point: a planned effect is found in four of five repetitions."""

Flags = Sequence[bool] | NDArray[Any]
"""Right or wrong, item by item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """One task at one checkpoint."""

    correct: int
    total: int
    value: float
    error: float
    """Standard error of `value`."""
    low: float
    """Wilson 95 % interval."""
    high: float
    chance: float | None
    one_letter: float | None
    """What always answering the best single letter would reach."""
    p_chance: float | None
    """Exact one-sided p against `chance`; None without one."""


def accuracy(
    correct: int, total: int, *, chance: float | None = None, one_letter: float | None = None
) -> Accuracy:
    """Everything that is said about `correct` of `total`.

    Raises:
        ValueError: the counts are impossible.
    """
    check_counts(correct, total)
    low, high = wilson(correct, total)
    return Accuracy(
        correct=correct,
        total=total,
        value=correct / total,
        error=standard_error(correct, total),
        low=low,
        high=high,
        chance=chance,
        one_letter=one_letter,
        p_chance=None if chance is None else p_above(correct, total, chance),
    )


def standard_error(correct: int, total: int) -> float:
    """sqrt(p (1 - p) / n); 0 without items."""
    if total <= 0:
        return 0.0
    p = correct / total
    return math.sqrt(p * (1 - p) / total)


def wilson(correct: int, total: int) -> tuple[float, float]:
    """95 % interval of a proportion; stays inside [0, 1] and is not empty at 0 or n of n."""
    if total <= 0:
        return 0.0, 1.0
    z2 = Z95 * Z95
    middle = (correct + z2 / 2) / (total + z2)
    half = Z95 * math.sqrt(correct * (total - correct) / total + z2 / 4) / (total + z2)
    low = 0.0 if correct == 0 else max(0.0, middle - half)
    high = 1.0 if correct == total else min(1.0, middle + half)
    return low, high


def p_above(correct: int, total: int, chance: float) -> float:
    """Exact binomial P(at least `correct` right | chance)."""
    if correct <= 0 or chance >= 1.0:
        return 1.0
    if chance <= 0.0:
        return 0.0
    return float(special_functions().bdtrc(correct - 1, total, chance))


FEWEST_SUBJECTS = 10
"""Subjects from which on they tell an error; that of fewer is too rough to be used."""


def subject_numbers(subjects: Sequence[str]) -> NDArray[np.int64] | None:
    """[n] the number of each item's subject; None with too few of them to tell an error."""
    names, numbers = np.unique(np.asarray(subjects, dtype=np.str_), return_inverse=True)
    if len(names) < FEWEST_SUBJECTS:
        return None
    return np.asarray(numbers, dtype=np.int64)


def mean_spread(values: NDArray[Any], clusters: NDArray[Any] | None = None) -> tuple[float, float]:
    """(standard error of the mean of `values` [n], its degrees of freedom).

    With `clusters` [n], the number of each one's cluster (subject), items of one cluster may
    move together: the sandwich estimate with the small-sample factor G / (G - 1).
    """
    n = len(values)
    if n < 2:
        return math.nan, 1.0
    rest = np.asarray(values, dtype=np.float64)
    rest = rest - rest.mean()
    if clusters is None:
        return math.sqrt(float(rest @ rest) / (n - 1) / n), float(n - 1)
    sums = np.bincount(clusters, weights=rest)
    groups = len(np.unique(clusters))
    if groups < 2:
        return math.nan, 1.0
    return math.sqrt(float(sums @ sums) * groups / (groups - 1)) / n, float(groups - 1)


def k_candidates(percentage: float | str, total: int, *, decimals: int = 2) -> list[int]:
    """Counts k for which 100 k / total prints as `percentage`; none: measured on other items.

    The granularity test of Brown and Heathers. Exact arithmetic; at a tie both ways of
    rounding count.
    """
    from fractions import Fraction  # noqa: PLC0415  and decimal with it; for a percentage alone

    value = float(percentage)
    if total <= 0 or not 0 <= value <= 100:
        return []
    wanted = Fraction(f"{value:.{decimals}f}")
    half = Fraction(1, 2 * 10**decimals)
    first = math.ceil((wanted - half) * total / 100)
    last = math.floor((wanted + half) * total / 100)
    return list(range(max(0, first), min(total, last) + 1))


def smallest_detectable(
    total: int, rate: float, *, correlation: float, comparisons: int = 1
) -> float:
    """True change (fraction) found with 80 % power by two-sided 5 % tests.

    `correlation` of right/wrong between the two checkpoints, item by item; 0 = unpaired. The
    5 % are shared over `comparisons`.
    """
    spread = math.sqrt(2 * rate * (1 - rate) * (1 - correlation) / total)
    z = Z95 if comparisons == 1 else -float(special_functions().ndtri(ALPHA / comparisons / 2))
    return (z + Z_POWER80) * spread


def paired_detectable(flipped: int, total: int) -> float:
    """True change (fraction) found with 80 % power where so many of `total` answers flipped.

    Miller's 2.8 sqrt(b + c) / n, from the flips that were seen.
    """
    return (Z95 + Z_POWER80) * math.sqrt(flipped) / total


def paired_items_needed(change: float, flips: float) -> int:
    """Questions for which `paired_detectable` is `change`, where a share `flips` of them flips."""
    return math.ceil((Z95 + Z_POWER80) ** 2 * flips / change**2)


def items_needed(change: float, rate: float, *, correlation: float) -> int:
    """Items for which `smallest_detectable` is `change` (a fraction)."""
    variance = 2 * rate * (1 - rate) * (1 - correlation)
    return math.ceil((Z95 + Z_POWER80) ** 2 * variance / change**2)


def check_counts(correct: int, total: int) -> None:
    """Refuse impossible counts."""
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(f"{correct} of {total} right; expected 0 <= correct <= total, total >= 1")


def special_functions() -> Any:
    """`scipy.special`, imported at the first use."""
    # 170 ms that the first frame must not pay; the first evaluation may.
    from scipy import special  # noqa: PLC0415

    return special
