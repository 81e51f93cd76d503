"""What is judged with what, over all evaluations of a run; and what was clear and no longer is.

The newest evaluation against the start is the question a person asks, so it is judged by
itself (`judge`, headline), corrected for the tasks alone; so is the newest against a baseline.
All other differences to the start and to the one before are one family, which may be wrong in
1 % (`BESIDE`): so a run without any change shows a colour in 5 %. One to the best is shown and
not judged. Families grow with every evaluation, so a difference that was clear when it was
measured may not be clear among more of them: that is said, never just taken back.
"""

# N comparisons of one run.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sftui.statistics.accuracy import ALPHA
from sftui.statistics.paired_tests import (
    BESIDE,
    CLEAR,
    Comparison,
    Judged,
    judge,
    not_judged,
)
from sftui.statistics.run_scatter import Curve
from sftui.statistics.scatter import p_all_beyond

START, PREVIOUS, BEST, BASELINE = "start", "prev", "best", "base"

Place = tuple[str, int, str]
"""Task, step, what it is compared with."""

WORK = 500_000
"""Comparisons looked at again to find what was clear before; the newest evaluations' first. A
log with thousands of evaluations is not looked at from its beginning."""


@dataclass(slots=True)
class Families:
    """The comparisons of a run, sorted into families as they are added."""

    places: dict[Place, int] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    _pairs: dict[tuple[str, int, int | None], int] = field(default_factory=dict)
    _newest: dict[int, str] = field(default_factory=dict)
    """Comparison -> START or BASELINE, of the newest evaluations."""
    _steps: list[int] = field(default_factory=list)
    _tasks: list[str] = field(default_factory=list)

    def known(self, task: str, step: int, other: int | None) -> Comparison | None:
        """The comparison of these two evaluations, if it was made: one, under whatever names."""
        found = self._pairs.get((task, step, other))
        return self.comparisons[found] if found is not None else None

    def add(self, place: Place, other: int | None, comparison: Comparison, *, newest: bool) -> None:
        """A comparison of `place` with the evaluation of step `other` (None: from elsewhere)."""
        task, step, against = place
        index = self._pairs.setdefault((task, step, other), len(self.comparisons))
        if index == len(self.comparisons):
            self.comparisons.append(comparison)
            self._steps.append(step)
            self._tasks.append(task)
        self.places[place] = index
        if newest and against in (START, BASELINE):
            self._newest[index] = against

    @property
    def compared(self) -> int:
        """How many are judged as one family with the start and the one before."""
        return len(self._family((START, PREVIOUS)))

    def judged(self, curves: Mapping[str, Curve]) -> dict[Place, Judged]:
        """All of them. `curves`: of the tasks, to judge anew what was shown before."""
        found: dict[int, Judged] = {}
        for against in (START, BASELINE):
            newest = [index for index, name in self._newest.items() if name == against]
            self._judge(newest, found, headline=True)
        for names in ((START, PREVIOUS), (BASELINE,)):
            self._judge(self._family(names), found, headline=False)
        for index in self._were_clear(curves):
            if found[index].verdict != CLEAR:
                found[index] = replace(found[index], was_clear=True)
        out = {}
        for place, index in self.places.items():
            out[place] = (
                not_judged(self.comparisons[index], "best") if place[2] == BEST else found[index]
            )
        return out

    def _judge(self, indices: Sequence[int], into: dict[int, Judged], *, headline: bool) -> None:
        comparisons = [self.comparisons[i] for i in indices]
        words = judge(comparisons, headline=headline, error=ALPHA if headline else BESIDE)
        into.update(zip(indices, words, strict=True))

    def _family(self, names: tuple[str, ...]) -> list[int]:
        """Comparisons under these names that are not the newest to the start or baseline."""
        found = {
            index: None
            for (_, _, against), index in self.places.items()
            if against in names and index not in self._newest
        }
        return list(found)

    # ---- what was clear before -------------------------------------------------------------

    def _were_clear(self, curves: Mapping[str, Curve]) -> set[int]:
        """Comparisons that were clear after some earlier evaluation, as it was shown then."""
        chosen = sorted(
            {
                index
                for (_, _, against), index in self.places.items()
                if against in (START, PREVIOUS)
            }
        )
        if not chosen:
            return set()
        starts = {index for (_, _, name), index in self.places.items() if name == START}
        table = _Table(
            index=np.array(chosen),
            step=np.array([self._steps[i] for i in chosen]),
            task=np.array([self._tasks[i] for i in chosen]),
            to_start=np.array([i in starts for i in chosen]),
            difference=np.array([self.comparisons[i].difference for i in chosen]),
            error=np.array([self.comparisons[i].error for i in chosen]),
            p=np.array([_claimed(self.comparisons[i], mid=False) for i in chosen]),
            p_mid=np.array([_claimed(self.comparisons[i], mid=True) for i in chosen]),
        )
        found: set[int] = set()
        done = 0
        for step in sorted({*table.step.tolist()}, reverse=True)[1:]:
            done += int((table.step <= step).sum())
            if done > WORK:
                break
            found |= table.clear_at(step, curves)
        return found


def _claimed(comparison: Comparison, *, mid: bool) -> float:
    if comparison.one_letter is not None:
        return math.nan
    return comparison.p_mid if mid and not math.isnan(comparison.p_mid) else comparison.p


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """[N] the comparisons with the start and with the one before, column by column."""

    index: NDArray[np.int64]
    step: NDArray[np.int64]
    task: NDArray[np.str_]
    to_start: NDArray[np.bool_]
    difference: NDArray[np.float64]
    error: NDArray[np.float64]
    p: NDArray[np.float64]
    p_mid: NDArray[np.float64]

    def clear_at(self, step: int, curves: Mapping[str, Curve]) -> set[int]:
        """What was clear when the evaluations of `step` were the newest."""
        shown = self.step <= step
        scattered, newest = np.zeros(len(self.step)), np.zeros(len(self.step), dtype=bool)
        for task in np.unique(self.task[shown]):
            mine = shown & (self.task == task)
            last = self.step[mine].max()
            newest |= mine & self.to_start & (self.step == last)
            if task in curves:
                # The first evaluation has no comparison.
                evaluations = 1 + len(np.unique(self.step[mine]))
                own = curves[str(task)].scatter(evaluations)
                asked = mine & newest
                for which, beaten in (
                    (mine & ~asked, own),
                    (asked, own.for_headline() if own is not None else None),
                ):
                    scattered[which] = p_all_beyond(
                        self.difference[which], self.error[which], beaten
                    )
        rest = shown & ~newest
        clear = [
            self.index[which][_holm_clear(np.maximum(ps[which], scattered[which]), error)]
            for which, ps, error in ((newest, self.p_mid, ALPHA), (rest, self.p, BESIDE))
        ]
        return {*np.concatenate(clear).tolist()}


def _holm_clear(ps: NDArray[np.float64], error: float) -> NDArray[np.bool_]:
    """Which stay under `error` after Holm's correction; NaN is not counted."""
    out = np.zeros(len(ps), dtype=bool)
    known = np.flatnonzero(~np.isnan(ps))
    order = known[np.argsort(ps[known], kind="stable")]
    adjusted = ps[order] * np.arange(len(order), 0, -1)
    over = np.flatnonzero(adjusted >= error)
    out[order[: over[0] if len(over) else len(order)]] = True
    return out
