"""Can two checkpoints of a run be told apart? Whoever looks may choose any two of them.

So what is judged together is every pair that could have been chosen, the best against another
among them: a difference that is clear among all pairs is clear for the two that were picked. With
two checkpoints there is one pair, and the verdict is that of the paired test of `sftui compare`.

The question is which of these weights is better, not what more training would bring: how much the
run's checkpoints scatter does not take that back, and is said beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sftui.state.run_state import RunState
from sftui.statistics.accuracy import ALPHA
from sftui.statistics.paired_tests import (
    CLEAR,
    NOT_JUDGED,
    SUGGESTIVE,
    Comparison,
    Judged,
    compare_evaluations,
    judge,
    why_not_paired,
)
from sftui.statistics.scores import Scoreboard
from sftui.statistics.validation_scores import VALIDATION, LossBoard

Verdict = Literal["better", "worse", "trade", "alike", "unknown", "same"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number of two checkpoints: a task's accuracy, or the validation loss."""

    name: str
    """The task, or `VALIDATION`."""
    judged: Judged | None
    """The checkpoint minus the other one; None where one of them lacks the number."""
    reason: str = ""
    """Why nothing, or not all, can be said of it."""
    rows: int = 0
    """Questions or validation rows that were paired."""
    scatters: bool = False
    """Whether the run's checkpoints scatter by as much: the next one may be the other way."""

    @property
    def known(self) -> bool:
        """Whether there is a p: without one nothing is claimed, not even that they are alike."""
        if self.judged is None or self.judged.verdict == NOT_JUDGED:
            return False
        p = self.judged.comparison.p
        return p == p

    @property
    def sign(self) -> int:
        """1 where the checkpoint is clearly better than the other, -1 where worse, else 0."""
        if self.judged is None or self.judged.verdict != CLEAR:
            return 0
        up = 1 if self.judged.comparison.difference > 0 else -1
        return -up if self.name == VALIDATION else up

    @property
    def hint(self) -> bool:
        """Whether it would be a difference if no other pair could have been chosen."""
        return self.judged is not None and self.judged.verdict == SUGGESTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPair:
    """A checkpoint against another of the same run."""

    step: int
    before: int
    """Step of the other, which may be the later one."""
    measures: tuple[Measure, ...]
    """Validation first, then the tasks in the run's order."""
    pairs: int
    """How many could have been chosen: what is clear is clear among all of them."""

    @property
    def verdict(self) -> Verdict:
        """`better` and `worse` only by what is clear; `trade`: both, by different measures."""
        if self.step == self.before:
            return "same"
        signs = {measure.sign for measure in self.measures}
        if {1, -1} <= signs:
            return "trade"
        if signs & {1, -1}:
            return "better" if 1 in signs else "worse"
        return "alike" if any(measure.known for measure in self.measures) else "unknown"


def told_apart(
    state: RunState, board: Scoreboard, losses: LossBoard, step: int, before: int, checkpoints: int
) -> CheckpointPair:
    """A checkpoint against another one, by everything that was measured at both.

    Args:
        board: judge of the run's accuracies, which knows its answers question by question.
        losses: judge of its validations.
        checkpoints: how many could be chosen from.
    """
    pairs = max(1, checkpoints * (checkpoints - 1) // 2)
    tasks = [_task(state, board, task, step, before) for task in state.evals]
    found = losses.between(state.validations, step, before)
    validation = Measure(name=VALIDATION, judged=None, reason=_missing(state, step, before))
    change = None
    if found is not None:
        reason = {"rows": "", "scatter": "no paired rows: by the scatter of the validations"}
        told = reason.get(found.basis, "no paired rows: its error is not known")
        validation = replace(validation, reason=told, rows=found.rows)
        change = found.comparison
    # Accuracies are one family and validations another, as in `sftui compare`.
    measures = [*_judged([(validation, change)], pairs), *_judged(tasks, pairs)]
    return CheckpointPair(step=step, before=before, measures=tuple(measures), pairs=pairs)


def _judged(found: Sequence[tuple[Measure, Comparison | None]], pairs: int) -> list[Measure]:
    """Corrected for all of these numbers, of all pairs."""
    known = [comparison for _, comparison in found if comparison is not None]
    # The only pair there is was asked for: ties count half. Far out in the tail they must not.
    weights = [replace(comparison, p_scatter=0.0) for comparison in known]
    told = iter(judge(weights, headline=pairs == 1, error=ALPHA / pairs))
    return [
        measure
        if comparison is None
        else replace(measure, judged=next(told), scatters=comparison.p_scatter >= ALPHA)
        for measure, comparison in found
    ]


def _task(
    state: RunState, board: Scoreboard, task: str, step: int, before: int
) -> tuple[Measure, Comparison | None]:
    results = state.evals[task]
    nothing = Measure(name=task, judged=None)
    asked = results.get(step), results.get(before)
    if asked[0] is None or asked[1] is None:
        missing = [at for at, result in zip((step, before), asked, strict=True) if result is None]
        return replace(nothing, reason=_not_at(missing, "not asked in the run")), None
    now, old = (board.evaluation(result) for result in asked if result is not None)
    found = compare_evaluations(now, old, own=board.scores(state).scatter.get(task))
    if found is None:
        return replace(nothing, reason="an accuracy is not known"), None
    # Whichever comes first: nothing is claimed where one has one letter alone.
    found = replace(found, one_letter=now.one_letter or old.one_letter)
    rows = 0 if why_not_paired(now, old) or now.right is None else len(now.right)
    return replace(nothing, reason=found.note, rows=rows), found


def _missing(state: RunState, step: int, before: int) -> str:
    return _not_at([at for at in (step, before) if at not in state.validations], "not measured")


def _not_at(steps: Sequence[int], what: str) -> str:
    places = " and ".join("the start" if step == 0 else f"step {step:,}" for step in steps)
    return f"{what} at {places}"
