"""The conclusions a report draws, each by a fixed rule: tasks, validation, checkpoint to keep.

"Better" is said of a task only when its difference is `clear`. A starting checkpoint that
was never beaten is the one to keep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sftui.report.report_facts import Facts
from sftui.statistics.accuracy import accuracy, items_needed, smallest_detectable
from sftui.statistics.block_trend import block_trend
from sftui.statistics.loss_statistics import trend
from sftui.statistics.paired_tests import CLEAR, NO_EVIDENCE, SUGGESTIVE, Judged
from sftui.statistics.scores import START

RISE = 0.005
"""Relative rise of a validation loss that is worth a finding where no rows are stored."""

Direction = Literal["up", "down", "flat", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOutcome:
    """One task, its last evaluation against the first one of the run."""

    task: str
    first: int
    last: int
    judged: Judged | None
    """None with a single evaluation."""
    evaluations: int

    @property
    def word(self) -> str:
        return self.judged.verdict if self.judged is not None else NO_EVIDENCE

    @property
    def up(self) -> bool:
        """Clearly better."""
        return self.judged is not None and self.word == CLEAR and self.difference > 0

    @property
    def down(self) -> bool:
        return self.judged is not None and self.word == CLEAR and self.difference < 0

    @property
    def difference(self) -> float:
        return self.judged.comparison.difference if self.judged is not None else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationOutcome:
    """Start, best and last validation."""

    first_step: int
    first: float
    last_step: int
    last: float
    best_step: int
    best: float
    clear: bool
    """The change from the first to the last is beyond the noise of the rows."""
    has_rows: bool

    @property
    def change(self) -> float:
        return self.last - self.first

    @property
    def relative(self) -> float:
        return self.change / abs(self.first) if self.first else math.nan

    @property
    def start_is_best(self) -> bool:
        return self.best_step == self.first_step

    @property
    def direction(self) -> Direction:
        """Up or down where the change is clear by its rows or, without rows, over 0.5 %."""
        if self.last_step == self.first_step:
            return "unknown"
        if self.clear or (not self.has_rows and abs(self.relative) > RISE):
            return "up" if self.change > 0 else "down"
        return "flat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Which weights to keep."""

    step: int | None
    """None: nothing was measured that could tell."""
    reason: Literal["start", "best-val", "best-val-gone", "last-gain", "last-best", "unmeasured"]
    path: str | None = None


def task_outcomes(facts: Facts) -> list[TaskOutcome]:
    """Every task of the run, in its own order."""
    found = []
    for task in facts.tasks:
        steps = facts.evaluated_steps(task)
        first, last = steps[0], steps[-1]
        found.append(
            TaskOutcome(
                task=task,
                first=first,
                last=last,
                judged=facts.scores.of(task, last, START),
                evaluations=len(steps),
            )
        )
    return found


def validation_outcome(facts: Facts) -> ValidationOutcome | None:
    """None without a validation that is a number."""
    known = facts.finite_validations()
    if not known:
        return None
    (first_step, first), (last_step, last) = known[0], known[-1]
    best_step, best = min(known, key=lambda pair: (pair[1], pair[0]))
    change = facts.loss_changes.get((last_step, "start"))
    return ValidationOutcome(
        first_step=first_step,
        first=first,
        last_step=last_step,
        last=last,
        best_step=best_step,
        best=best,
        clear=change is not None and change.clear,
        has_rows=change is not None and change.error is not None,
    )


def keep(facts: Facts) -> Keep:
    """The checkpoint to keep, by what was measured."""
    tasks, validation = task_outcomes(facts), validation_outcome(facts)
    gains = [task for task in tasks if task.up]
    losses = [task for task in tasks if task.down]
    if gains and not losses:
        last = max(task.last for task in gains)
        return Keep(step=last, reason="last-gain", path=_path(facts, last))
    if validation is None or validation.last_step == validation.first_step:
        return Keep(step=None, reason="unmeasured")
    if validation.start_is_best and validation.first_step == 0:
        return Keep(step=0, reason="start")
    if validation.best_step == validation.last_step:
        last = validation.last_step
        return Keep(step=last, reason="last-best", path=_path(facts, last))
    path = _path(facts, validation.best_step)
    reason: Literal["best-val", "best-val-gone"] = "best-val" if path else "best-val-gone"
    return Keep(step=validation.best_step, reason=reason, path=path)


def _path(facts: Facts, step: int) -> str | None:
    for row in facts.state.checkpoints.values():
        if row.step == step and not row.removed and row.path:
            return row.path
    return None


def repeated_rows_fall(facts: Facts) -> tuple[float, float] | None:
    """Mean training loss of the first and the last epoch when it fell clearly; else None."""
    steps, losses = facts.losses
    epochs = facts.epochs
    if len(epochs) < 2 or len(losses) < 20:
        return None
    means = []
    for start, end in epochs:
        inside = losses[(steps >= start) & (steps < end)]
        if len(inside) < 5:
            return None
        means.append((float(inside.mean()), float(inside.std(ddof=1)) / math.sqrt(len(inside))))
    (before, error0), (after, error1) = means[0], means[-1]
    if before - after > 2 * math.hypot(error0, error1):
        return before, after
    return None


def still_falling(facts: Facts) -> bool:
    """Whether the last half of the validations falls by a fifth of the whole fall or more.

    A curve that has levelled out has a falling line too, but nothing left to gain.
    """
    known = facts.finite_validations()
    half = known[len(known) // 2 :]
    found = trend([s for s, _ in half], [v for _, v in half])
    if found is None or found.slope >= 0:
        return False
    return half[0][1] - half[-1][1] >= 0.2 * (known[0][1] - known[-1][1])


def training_trend(facts: Facts) -> tuple[float, float, float] | None:
    """(slope, low, high) of the training loss per 1000 steps over the last half.

    From means of 20 steps: neighbouring steps are too much alike to count singly.
    """
    steps, losses = facts.losses
    half = len(steps) // 2
    found = block_trend(steps[half:], losses[half:])
    if found is None:
        return None
    return 1000 * found.slope, 1000 * found.low, 1000 * found.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharpness:
    """What the evaluations of a task could have seen at all."""

    task: str
    total: int
    unpaired: float
    """Smallest true change seen in four of five repetitions, in points."""
    paired: float
    """The same when item results are compared and agree at a correlation of 0.5."""
    items_for_two_points: int
    """Unpaired."""


def sharpness(facts: Facts, task: str) -> Sharpness | None:
    """None where the number of questions is unknown."""
    results = facts.state.evals[task]
    first = results[min(results)]
    value, total = facts.board.evaluation(first).value, first.total
    if value is None or not total or not 0 < value < 1:
        return None
    return Sharpness(
        task=task,
        total=total,
        unpaired=100 * smallest_detectable(total, value, correlation=0.0),
        paired=100 * smallest_detectable(total, value, correlation=0.5),
        items_for_two_points=items_needed(0.02, value, correlation=0.0),
    )


def at_chance(facts: Facts, task: str) -> bool | None:
    """Whether the last evaluation cannot be told from guessing; None without a chance level."""
    results = facts.state.evals[task]
    last = results[max(results)]
    chance = chance_of(facts, task)
    if last.correct is None or not last.total or chance is None:
        return None
    found = accuracy(last.correct, last.total, chance=chance)
    return found.p_chance is not None and found.p_chance >= 0.05


FOUR_CHOICES = ("mmlu", "arc-easy", "arc-challenge")


def chance_of(facts: Facts, task: str) -> float | None:
    """The run's own chance level, else a quarter for the well-known four-choice tasks."""
    results = facts.state.evals[task]
    told = results[max(results)].chance
    if told is not None:
        return told
    return 0.25 if task.lower().replace("_", "-") in FOUR_CHOICES else None


def letter_share(facts: Facts, task: str) -> tuple[str, float] | None:
    """The commonest answer of the last evaluation and its share, where letters are known."""
    results = facts.state.evals[task]
    letters = results[max(results)].letters
    total = sum(letters.values())
    if not total:
        return None
    letter = max(letters, key=lambda name: (letters[name], name))
    return letter, letters[letter] / total


def slow_rank(facts: Facts) -> tuple[int, float] | None:
    """The rank that is slowest per token, and by how much, when that is over a tenth."""
    paces = {n: pace for n, r in facts.counts.ranks.items() if (pace := r.own_pace()) is not None}
    if len(paces) < 2:
        return None
    slowest = max(paces, key=lambda n: paces[n])
    others = sorted(pace for n, pace in paces.items() if n != slowest)
    middle = others[len(others) // 2]
    return (
        (slowest, paces[slowest] / middle) if middle > 0 and paces[slowest] > 1.1 * middle else None
    )


def any_evidence(facts: Facts) -> bool:
    """Whether any task moved beyond `no evidence`."""
    return any(task.word in (CLEAR, SUGGESTIVE) for task in task_outcomes(facts))
