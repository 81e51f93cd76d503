"""Is the difference between two checkpoints real? Paired tests and the verdict words.

Two checkpoints answer the same questions, so the evidence is in the questions that
flipped, not in the two percentages: pair whenever the item sets are equal, and say
so when they are not. The words are the contract: `clear` alone earns a colour.
Fractions everywhere; only `points` is in percentage points.

Three rules of what is judged with what (`scores` applies them to a run, `pairing` to runs):
the newest evaluation against the start is a question of its own, so it is corrected for the
number of tasks alone; every other difference that is shown is corrected for all of them, which
share an error of `BESIDE`; a difference to the best is one to a maximum that was picked, and is
not judged.
"""

# n items; b gains (wrong before, right now), c losses (right before, wrong now).

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.alarms.letter_collapse import MIN_ANSWERS, SHARE
from sftui.statistics.accuracy import (
    ALPHA,
    Z95,
    Flags,
    check_counts,
    mean_spread,
    special_functions,
    standard_error,
    wilson,
)
from sftui.statistics.scatter import Scatter, p_beyond

CLEAR = "clear"
SUGGESTIVE = "suggestive"
NO_EVIDENCE = "no evidence"
NOT_JUDGED = "not judged"
"""A difference that is shown and claims nothing."""

BESIDE = 0.01
"""Error that all differences together may have which stand beside the one that was asked for.
That one has 5 %, so at 5 % more a run without any change would show a colour in up to 10 %:
5.0 % of 7,000 simulated runs did, at 1 % it is 4.4 % (the headline alone 4.3 %)."""

HeldBy = Literal["", "number", "scatter", "letter", "best"]

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
    gold: NDArray[Any] | None = None
    """Probability of the right letter, item by item."""
    clusters: NDArray[Any] | None = None
    """Number of each item's subject; None where there are too few subjects to tell."""
    letters: Mapping[str, int] = field(default_factory=dict)
    """How often each letter was answered."""

    @property
    def value(self) -> float | None:
        """Accuracy in [0, 1]; None when unknown or no finite number."""
        if self.correct is not None and self.total:
            return min(1.0, max(0.0, self.correct / self.total))
        if self.accuracy is None or not math.isfinite(self.accuracy):
            return None
        return min(1.0, max(0.0, self.accuracy))

    @property
    def one_letter(self) -> tuple[str, float] | None:
        """The letter that has most answers, and its share: the accuracy is then that
        letter's share of the right answers, whatever the model knows."""
        total = sum(self.letters.values())
        if total < MIN_ANSWERS:
            return None
        letter = max(self.letters, key=lambda name: (self.letters[name], name))
        share = self.letters[letter] / total
        return (letter, share) if share > SHARE else None


FEWEST_PROBABILITIES = 10
"""Items of a paired t test: of fewer its error is hardly known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Accuracy (or probability of the right letter) now minus before."""

    kind: Literal["paired", "unpaired", "bare", "probability", "loss", "chatcore"]
    """`bare`: two percentages without counts, hence without any evidence. `probability`: of the
    right letter, paired. `loss`: of two validations, in nats. `chatcore`: of two ChatCOREs."""
    difference: float
    error: float
    """Standard error of `difference`; NaN when bare, like the interval and p."""
    low: float
    """95 % interval."""
    high: float
    p: float
    """Two-sided, not adjusted for other comparisons."""
    p_mid: float = math.nan
    """The same with ties counted half; NaN where there is no other than `p`."""
    by_subject: bool = False
    """The error is that of subjects whose questions move together, which is the larger."""
    gains: int | None = None
    losses: int | None = None
    note: str = ""
    """Why it is not paired."""
    p_scatter: float = 0.0
    """Two-sided, of a difference between checkpoints that scatter as this run's own do; 0 when
    that is unknown, or no more than the questions explain."""
    one_letter: tuple[str, float] | None = None
    """The letter that has most answers now, and its share."""

    @property
    def points(self) -> float:
        """The difference in percentage points."""
        return 100.0 * self.difference


def compare_evaluations(
    now: Evaluation, before: Evaluation, *, own: Scatter | None = None
) -> Comparison | None:
    """Paired where both sides answered the same items, else unpaired with the reason in `note`.

    None when an accuracy is unknown. `own` is how much this run's checkpoints scatter
    (`scatter`): to be clear, a difference has to beat it as well.
    """
    new, old = now.value, before.value
    if new is None or old is None:
        return None
    reason = why_not_paired(now, before)
    letter = now.one_letter
    if not reason:
        assert now.right is not None
        assert before.right is not None
        gained, lost = _flip_counts(now.right, before.right)
        by_subject = None
        if now.clusters is not None:
            change = np.asarray(now.right, dtype=float) - np.asarray(before.right, dtype=float)
            by_subject = mean_spread(change, now.clusters)
        return paired(
            gained, lost, len(now.right), own=own, by_subject=by_subject, one_letter=letter
        )
    if not (now.total and before.total):
        nan = math.nan
        note = "no counts: nothing can be said of its error"
        return Comparison(
            kind="bare", difference=new - old, error=nan, low=nan, high=nan, p=nan, note=note,
            one_letter=letter,
        )  # fmt: skip
    # A count may be missing where the accuracy is known: the nearest whole number is meant.
    return unpaired(
        (round(new * now.total), now.total),
        (round(old * before.total), before.total),
        own=own,
        # One text for all that have the reason: a long log has tens of thousands of them.
        note=sys.intern(f"unpaired: {reason}"),
        one_letter=letter,
    )


def compare_gold(
    now: Evaluation, before: Evaluation, *, own: Scatter | None = None
) -> Comparison | None:
    """Mean change of the probability of the right letter, by a paired t test over the items.

    It sees what right and wrong cannot: on the same questions a skill shows with a sixth of
    them. None where the probabilities of one side are not known, or the items differ.
    """
    if now.gold is None or before.gold is None or why_not_paired(now, before):
        return None
    change = np.asarray(now.gold, dtype=float) - np.asarray(before.gold, dtype=float)
    change_known = np.isfinite(change)
    if change_known.sum() < FEWEST_PROBABILITIES:
        return None
    clusters = now.clusters[change_known] if now.clusters is not None else None
    change = change[change_known]
    plain, plain_freedom = mean_spread(change)
    error, freedom = plain, plain_freedom
    if clusters is not None:
        error, freedom = max(
            (plain, plain_freedom), mean_spread(change, clusters), key=lambda found: found[0]
        )
    mean = float(change.mean())
    half = float(special_functions().stdtrit(freedom, 1 - ALPHA / 2)) * error
    return Comparison(
        kind="probability",
        difference=mean,
        error=error,
        low=mean - half,
        high=mean + half,
        p=_p_student(mean, error, freedom),
        p_scatter=p_beyond(mean, error, own),
        by_subject=error > plain,
    )


def turned(found: Comparison) -> Comparison:
    """The same comparison with its sides exchanged: before minus now."""
    return replace(
        found,
        difference=-found.difference,
        low=-found.high,
        high=-found.low,
        gains=found.losses,
        losses=found.gains,
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


def _flip_counts(now: Flags, before: Flags) -> tuple[int, int]:
    """Numbers of items gained and lost."""
    new, old = np.asarray(now, dtype=bool), np.asarray(before, dtype=bool)
    both = int(np.count_nonzero(new & old))
    return int(np.count_nonzero(new)) - both, int(np.count_nonzero(old)) - both


def paired(
    gains: int,
    losses: int,
    items: int,
    *,
    own: Scatter | None = None,
    by_subject: tuple[float, float] | None = None,
    one_letter: tuple[str, float] | None = None,
) -> Comparison:
    """Exact McNemar test and the difference with its interval, from the items that flipped.

    The interval is Bonett and Price's (2012): one gain and one loss are added, because
    the plain one has no width when nothing flipped and disagrees with the exact test
    when few items did. Where the questions of a subject move together, `by_subject` (standard
    error and degrees of freedom) is the larger error, and then p and interval are Student's t.
    """
    if gains < 0 or losses < 0 or gains + losses > items or items < 1:
        raise ValueError(f"{gains} gains and {losses} losses of {items} items; expected counts")
    b, c, n = gains + 1, losses + 1, items + 2
    middle = (b - c) / n
    half = Z95 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    difference, error = (gains - losses) / items, paired_error(gains, losses, items)
    p, p_mid = mcnemar(gains, losses), mcnemar(gains, losses, mid=True)
    together = by_subject is not None and by_subject[0] > error
    if by_subject is not None and together:
        # Never less than the items alone say.
        error, freedom = by_subject
        p = max(p, _p_student(difference, error, freedom))
        p_mid = max(p_mid, _p_student(difference, error, freedom))
        wide = float(special_functions().stdtrit(freedom, 1 - ALPHA / 2)) * error
        middle, half = (difference, wide) if wide > half else (middle, half)
    return Comparison(
        kind="paired",
        difference=difference,
        error=error,
        low=max(-1.0, middle - half),
        high=min(1.0, middle + half),
        p=p,
        p_mid=p_mid,
        p_scatter=p_beyond(difference, error, own),
        by_subject=together,
        gains=gains,
        losses=losses,
        one_letter=one_letter,
    )


def unpaired(
    now: tuple[int, int],
    before: tuple[int, int],
    *,
    own: Scatter | None = None,
    note: str = "",
    one_letter: tuple[str, float] | None = None,
) -> Comparison:
    """Difference of two (correct, total): pooled z test, Newcombe's interval (his method 10).

    Wider than need be where the items were the same and mostly got the same answer; not so
    where one letter was swapped for another, which one cannot see without the items.
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
        p=p_normal(difference, spread),
        p_scatter=p_beyond(difference, error, own),
        note=note,
        one_letter=one_letter,
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


# ---- many comparisons ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A comparison with its place among all those shown together."""

    comparison: Comparison
    adjusted: float | Callable[[], float] = field(compare=False, repr=False)
    """`p_adjusted`, or what works it out: a family may have a hundred thousand, and a screen shows
    none of them."""
    verdict: str
    """`no evidence`, `suggestive`, `clear`, or `not judged`."""
    held_by: HeldBy = ""
    """What keeps a suggestive difference from being clear: the number of comparisons, or the
    scatter of the run's own checkpoints alone. Why one is not judged: most answers are one
    letter, or it is a difference to the best."""
    past: bool | Callable[[], bool] = field(default=False, compare=False, repr=False)
    """`was_clear`, or what finds it out."""

    @property
    def was_clear(self) -> bool:
        """It was when it was measured, and no longer is among all that is shown now."""
        return self.past() if callable(self.past) else self.past

    @property
    def p_adjusted(self) -> float:
        """Holm's, over the whole list, of the larger of the test's p and the scatter's; NaN where
        there is no p."""
        return self.adjusted() if callable(self.adjusted) else self.adjusted


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best of several evaluations, which is partly luck."""

    index: int
    among: int
    """How many it is the best of."""
    judged: Judged


def judge(
    comparisons: Sequence[Comparison], *, headline: bool = False, error: float = ALPHA
) -> list[Judged]:
    """Verdicts of comparisons shown together, in their order; the one place where they are made.

    The questions alone say whether there is evidence. To be clear, it must survive the
    number of comparisons, and beat the scatter of the run's own checkpoints where that is known.
    Where most answers are one letter, nothing is claimed of what the model knows.

    Args:
        headline: these are the few that were asked for; ties count half in their p, which then
            is wrong as often as it says and not less.
        error: what all of them together may be wrong in and still be called clear.
    """
    ps = [claimed(c, headline=headline) for c in comparisons]
    among = holm(ps)
    adjusted = holm([max(p, c.p_scatter) for p, c in zip(ps, comparisons, strict=True)])
    return [
        _judged(c, p, p_among, p_adjusted, error)
        for c, p, p_among, p_adjusted in zip(comparisons, ps, among, adjusted, strict=True)
    ]


def not_judged(comparison: Comparison, why: Literal["letter", "best"]) -> Judged:
    """A difference that is shown and claims nothing."""
    return Judged(comparison=comparison, adjusted=math.nan, verdict=NOT_JUDGED, held_by=why)


def claimed(comparison: Comparison, *, headline: bool) -> float:
    """The p that counts; NaN where nothing is claimed, so that it is not counted either.

    `headline`: with ties counted half, where there is one.
    """
    if comparison.one_letter is not None:
        return math.nan
    if headline and not math.isnan(comparison.p_mid):
        return comparison.p_mid
    return comparison.p


def _judged(
    comparison: Comparison, p: float, p_among: float, p_adjusted: float, error: float
) -> Judged:
    """`p_among`: adjusted for the number of comparisons alone."""
    if comparison.one_letter is not None:
        return not_judged(comparison, "letter")
    word = verdict(p, p_among, error)
    held: HeldBy = "number" if word == SUGGESTIVE else ""
    if word == CLEAR and verdict(max(p, comparison.p_scatter), p_adjusted, error) != CLEAR:
        word, held = SUGGESTIVE, "scatter"
    return Judged(comparison=comparison, adjusted=p_adjusted, verdict=word, held_by=held)


def verdict(p: float, p_adjusted: float, error: float = ALPHA) -> str:
    """The word for a comparison; NaN is no evidence."""
    if not p < ALPHA:
        return NO_EVIDENCE
    return CLEAR if p_adjusted < error else SUGGESTIVE


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


def p_normal(difference: float, spread: float) -> float:
    """Two-sided p of a difference with the standard error `spread`."""
    if spread == 0.0:
        return 1.0 if difference == 0 else 0.0
    return math.erfc(abs(difference) / spread / math.sqrt(2))


def _p_student(difference: float, error: float, freedom: float) -> float:
    """Two-sided p of a difference with `freedom` degrees of freedom in its standard error."""
    if error == 0.0:
        return 1.0 if difference == 0 else 0.0
    return 2 * float(special_functions().stdtr(freedom, -abs(difference) / error))
