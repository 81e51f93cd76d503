"""Is the difference between two checkpoints real? Paired tests and the verdict words.

Two checkpoints answer the same questions, so the evidence is in the questions that
flipped, not in the two percentages: pair whenever the item sets are equal, and say
so when they are not. The words are the contract: `clear` alone earns a colour.
Fractions everywhere; only `points` is in percentage points.
"""

# n items; b gains (wrong before, right now), c losses (right before, wrong now).

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from sftui.statistics.accuracy import (
    ALPHA,
    Z95,
    Flags,
    check_counts,
    special_functions,
    standard_error,
    wilson,
)

CLEAR = "clear"
SUGGESTIVE = "suggestive"
NO_EVIDENCE = "no evidence"

CLEAR_E_VALUE = 20.0
"""An e-value of 1 / ALPHA holds however often one looked (Ville's inequality)."""

# ---- two checkpoints -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What is known of one side of a comparison; a foreign log may know the accuracy alone."""

    correct: int | None = None
    total: int | None = None
    accuracy: float | None = None
    item_set: str | None = None
    right: Flags | None = None
    """Right or wrong, item by item, in the order of `item_set`."""

    @property
    def value(self) -> float | None:
        """Accuracy in [0, 1]; None when unknown or no finite number."""
        if self.correct is not None and self.total:
            return min(1.0, max(0.0, self.correct / self.total))
        if self.accuracy is None or not math.isfinite(self.accuracy):
            return None
        return min(1.0, max(0.0, self.accuracy))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Accuracy now minus accuracy before."""

    kind: Literal["paired", "unpaired", "bare"]
    """`bare`: two percentages without counts, hence without any evidence."""
    difference: float
    error: float
    """Standard error of `difference`; NaN when bare, like the interval and p."""
    low: float
    """95 % interval."""
    high: float
    p: float
    """Two-sided, not adjusted for other comparisons."""
    e_value: float | None = None
    """Evidence that stays valid however often it is tested; paired only."""
    gains: int | None = None
    losses: int | None = None
    note: str = ""
    """Why it is not paired."""
    p_scatter: float = 0.0
    """Two-sided, of a difference between evaluations that scatter as this run's own do; 0 when
    that is unknown."""

    @property
    def points(self) -> float:
        """The difference in percentage points."""
        return 100.0 * self.difference


def compare_evaluations(
    now: Evaluation, before: Evaluation, *, wobble: float | None = None
) -> Comparison | None:
    """Paired where both sides answered the same items, else unpaired with the reason in `note`.

    None when an accuracy is unknown. `wobble` is how much this run's own evaluations
    scatter (`loss_stats.wobble`): to be clear, a difference has to beat it as well.
    """
    new, old = now.value, before.value
    if new is None or old is None:
        return None
    reason = why_not_paired(now, before)
    if not reason:
        assert now.right is not None
        assert before.right is not None
        gained, lost = flips(now.right, before.right)
        return paired(len(gained), len(lost), len(now.right), wobble=wobble)
    if not (now.total and before.total):
        nan = math.nan
        note = "no counts: nothing can be said of its error"
        return Comparison(
            kind="bare", difference=new - old, error=nan, low=nan, high=nan, p=nan, note=note
        )
    # A count may be missing where the accuracy is known: the nearest whole number is meant.
    return unpaired(
        (round(new * now.total), now.total),
        (round(old * before.total), before.total),
        wobble=wobble,
        # One text for all that have the reason: a long log has tens of thousands of them.
        note=sys.intern(f"unpaired, conservative: {reason}"),
    )


def why_not_paired(now: Evaluation, before: Evaluation) -> str:
    """Reason to refuse a paired comparison; empty when the two may be paired."""
    if now.item_set and before.item_set and now.item_set != before.item_set:
        return (
            f"not the same items in the same prompts ({now.item_set[:8]} and "
            f"{before.item_set[:8]}; {now.total or '?'} and {before.total or '?'} items)"
        )
    if not now.item_set or not before.item_set:
        return "the items of one side are not known"
    if now.right is None or before.right is None:
        return "results item by item are missing"
    if len(now.right) != len(before.right):
        return f"{len(now.right)} and {len(before.right)} results are stored"
    return ""


def flips(now: Flags, before: Flags) -> tuple[list[int], list[int]]:
    """Positions of the items gained and of those lost."""
    new, old = np.asarray(now, dtype=bool), np.asarray(before, dtype=bool)
    if new.shape != old.shape:
        raise ValueError(f"{len(new)} and {len(old)} results; expected the same items")
    return np.flatnonzero(new & ~old).tolist(), np.flatnonzero(~new & old).tolist()


def paired(gains: int, losses: int, items: int, *, wobble: float | None = None) -> Comparison:
    """Exact McNemar test and the difference with its interval, from the items that flipped.

    The interval is Bonett and Price's (2012): one gain and one loss are added, because
    the plain one has no width when nothing flipped and disagrees with the exact test
    when few items did.
    """
    if gains < 0 or losses < 0 or gains + losses > items or items < 1:
        raise ValueError(f"{gains} gains and {losses} losses of {items} items; expected counts")
    b, c, n = gains + 1, losses + 1, items + 2
    middle = (b - c) / n
    half = Z95 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    difference, error = (gains - losses) / items, paired_error(gains, losses, items)
    return Comparison(
        kind="paired",
        difference=difference,
        error=error,
        low=max(-1.0, middle - half),
        high=min(1.0, middle + half),
        p=mcnemar(gains, losses),
        p_scatter=_p_beyond(difference, error, wobble),
        e_value=e_value(gains, losses),
        gains=gains,
        losses=losses,
    )


def unpaired(
    now: tuple[int, int], before: tuple[int, int], *, wobble: float | None = None, note: str = ""
) -> Comparison:
    """Difference of two (correct, total): pooled z test, Newcombe's interval (his method 10).

    Conservative when the items were the same: their shared difficulty is not used.
    """
    (k1, n1), (k0, n0) = now, before
    check_counts(k1, n1)
    check_counts(k0, n0)
    p1, p0 = k1 / n1, k0 / n0
    difference, error = p1 - p0, math.hypot(standard_error(k1, n1), standard_error(k0, n0))
    pooled = (k1 + k0) / (n1 + n0)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0))
    (low1, high1), (low0, high0) = wilson(k1, n1), wilson(k0, n0)
    return Comparison(
        kind="unpaired",
        difference=difference,
        error=error,
        low=difference - math.hypot(p1 - low1, high0 - p0),
        high=difference + math.hypot(high1 - p1, p0 - low0),
        p=_p_normal(difference, spread),
        p_scatter=_p_beyond(difference, error, wobble),
        note=note,
    )


def paired_error(gains: int, losses: int, items: int) -> float:
    """Standard error of (gains - losses) / items; 0 when nothing flipped."""
    return math.sqrt(gains + losses - (gains - losses) ** 2 / items) / items


def mcnemar(gains: int, losses: int, *, mid: bool = False) -> float:
    """Exact two-sided p that gains and losses are equally likely; `mid` counts ties half."""
    flipped, fewer = gains + losses, min(gains, losses)
    if not flipped:
        return 1.0
    special = special_functions()
    p = min(1.0, 2 * float(special.bdtr(fewer, flipped, 0.5)))
    if mid:
        log_pmf = -math.log(flipped + 1) - float(special.betaln(fewer + 1, flipped - fewer + 1))
        p = 2 * float(special.bdtr(fewer, flipped, 0.5)) - math.exp(log_pmf - flipped * math.log(2))
    return p


def e_value(gains: int, losses: int) -> float:
    """Bayes factor of "gains and losses differ" (uniform prior) against "equally likely".

    Its expectation is 1 when nothing changed, whenever it is computed, so 20 or more
    is evidence at 5 % without counting how often it was.
    """
    log_e = float(special_functions().betaln(1 + gains, 1 + losses)) + (gains + losses) * math.log(
        2
    )
    return math.exp(log_e) if log_e < 700 else math.inf


# ---- many comparisons ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A comparison with its place among all those shown together."""

    comparison: Comparison
    p_adjusted: float
    """Holm's, over the whole list, of the larger of the test's p and the scatter's; NaN where
    there is no p."""
    verdict: str
    """`no evidence`, `suggestive` or `clear`."""
    held_by: Literal["", "number", "scatter"] = ""
    """What keeps a suggestive difference from being clear: the number of comparisons, or the
    scatter of the run's own evaluations alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best of several evaluations, which is partly luck."""

    index: int
    among: int
    """How many it is the best of."""
    judged: Judged


def judge(comparisons: Sequence[Comparison]) -> list[Judged]:
    """Verdicts of comparisons shown together, in their order; the one place where they are made.

    The questions alone say whether there is evidence. To be clear, it must survive the
    number of comparisons, and beat the scatter of the run's own evaluations where that is known.
    """
    among = holm([c.p for c in comparisons])
    adjusted = holm([max(c.p, c.p_scatter) for c in comparisons])
    return [
        _judged(c, p_among, p_adjusted)
        for c, p_among, p_adjusted in zip(comparisons, among, adjusted, strict=True)
    ]


def _judged(comparison: Comparison, p_among: float, p_adjusted: float) -> Judged:
    """`p_among`: adjusted for the number of comparisons alone."""
    p, e = comparison.p, comparison.e_value
    word = verdict(p, p_among, e)
    held: Literal["", "number", "scatter"] = "number" if word == SUGGESTIVE else ""
    if word == CLEAR and verdict(max(p, comparison.p_scatter), p_adjusted, e) != CLEAR:
        word, held = SUGGESTIVE, "scatter"
    return Judged(comparison=comparison, p_adjusted=p_adjusted, verdict=word, held_by=held)


def best_of(comparisons: Sequence[Comparison]) -> Best | None:
    """The largest of differences to one and the same start; None where there are none."""
    if not comparisons:
        return None
    judged = judge(comparisons)
    index = max(range(len(judged)), key=lambda i: comparisons[i].difference)
    return Best(index=index, among=len(judged), judged=judged[index])


def verdict(p: float, p_adjusted: float, e: float | None = None) -> str:
    """The word for a comparison; NaN is no evidence."""
    if not p < ALPHA:
        return NO_EVIDENCE
    if p_adjusted < ALPHA or (e is not None and e >= CLEAR_E_VALUE):
        return CLEAR
    return SUGGESTIVE


def holm(ps: Sequence[float]) -> list[float]:
    """Step-down adjusted p values, in the order given; NaN stays NaN and is not counted."""
    order = sorted((i for i, p in enumerate(ps) if not math.isnan(p)), key=lambda i: ps[i])
    adjusted = [math.nan] * len(ps)
    highest = 0.0
    for done, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - done) * ps[i]))
        adjusted[i] = highest
    return adjusted


# ---- the short form for one table row --------------------------------------------------------


class Scored(Protocol):
    """What an evaluation says; `EvalFinished` is one."""

    @property
    def correct(self) -> int | None: ...

    @property
    def total(self) -> int | None: ...

    @property
    def accuracy(self) -> float | None: ...


def accuracy_of(result: Scored) -> float | None:
    """A fraction in [0, 1] from the counts, else as it was logged; None when unknown."""
    if result.correct is not None and result.total:
        return min(1.0, max(0.0, result.correct / result.total))
    if result.accuracy is None or not math.isfinite(result.accuracy):
        return None
    return min(1.0, max(0.0, result.accuracy))


def _p_normal(difference: float, spread: float) -> float:
    """Two-sided p of a difference with the standard error `spread`."""
    if spread == 0.0:
        return 1.0 if difference == 0 else 0.0
    return math.erfc(abs(difference) / spread / math.sqrt(2))


def _p_beyond(difference: float, error: float, wobble: float | None) -> float:
    """p of a difference when both evaluations also scatter by `wobble`; 0 when unknown."""
    if wobble is None:
        return 0.0
    return _p_normal(difference, math.hypot(error, math.sqrt(2) * wobble))
