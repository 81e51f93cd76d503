"""The conclusions a report draws, each by a fixed rule: tasks, validation, checkpoint to keep.

"Better" is said of a task only when its difference is `clear`, and "than the start" only where
the start was measured. Harm is a conclusion like any other: a checkpoint that is clearly worse
is not recommended without saying so, and the start is always a candidate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sftui.report.report_facts import Facts
from sftui.statistics.accuracy import (
    accuracy,
    items_needed,
    paired_detectable,
    paired_items_needed,
    smallest_detectable,
)
from sftui.statistics.block_trend import block_trend
from sftui.statistics.families import START
from sftui.statistics.loss_statistics import trend
from sftui.statistics.paired_tests import (
    CLEAR,
    NO_EVIDENCE,
    SUGGESTIVE,
    Evaluation,
    Judged,
)
from sftui.statistics.validation_scores import LossChange

Direction = Literal["up", "down", "flat", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOutcome:
    """One task, its last evaluation against the start, or against the first that there is."""

    task: str
    first: int
    """Step of the first evaluation; 0 is the start."""
    last: int
    before: Evaluation
    """The start's, or the first one's."""
    now: Evaluation
    judged: Judged | None
    """None with a single evaluation."""
    evaluations: int
    stages: tuple[str, str] = ("", "")
    """Stages of the log that hold the start's and the last result, where these are others."""
    gold: Judged | None = None
    """The same of the probability of the right letter, where it is known."""

    @property
    def from_start(self) -> bool:
        """What it is compared with is the start itself."""
        return self.first == 0 or bool(self.stages[0])

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
    def hint(self) -> Literal["", "up", "down"]:
        """Which way a difference points that is not clear."""
        if self.judged is None or self.word != SUGGESTIVE:
            return ""
        return "up" if self.difference > 0 else "down"

    @property
    def one_letter(self) -> tuple[str, float] | None:
        """The letter that has most answers now, and its share."""
        return self.now.one_letter

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
    found: LossChange | None
    """The change from the first to the last as it is judged; None with a single validation."""
    of_other_rows: int = 0
    """Validations that were measured on other rows than the last; none of them is the best."""
    alone: bool = False
    """No other validation asked the rows of the last."""

    @property
    def change(self) -> float:
        """What error and verdict are of: over the rows where these are known."""
        return self.found.change if self.found is not None else self.last - self.first

    @property
    def relative(self) -> float:
        return self.change / abs(self.first) if self.first else math.nan

    @property
    def clear(self) -> bool:
        return self.found is not None and self.found.clear

    @property
    def has_rows(self) -> bool:
        return self.found is not None and self.found.basis == "rows"

    @property
    def start_is_best(self) -> bool:
        return self.best_step == self.first_step

    @property
    def direction(self) -> Direction:
        """Up or down where the change is clear; unknown where nothing tells its error."""
        if self.found is None or self.found.basis in ("nothing", "others"):
            return "unknown"
        if not self.clear:
            return "flat"
        return "up" if self.change > 0 else "down"


Reason = Literal[
    "start", "start-worse", "trade", "best-val", "last-gain", "last-best", "unmeasured"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Which weights to keep."""

    step: int | None
    """None: nothing was measured that could tell."""
    reason: Reason
    path: str | None = None
    up: tuple[str, ...] = ()
    """Tasks on which that step (of a trade: the last one) is clearly better."""
    down: tuple[str, ...] = ()
    """And clearly worse."""
    nearest: tuple[int, str] | None = None
    """Step and path of the kept checkpoint nearest to a step that has none."""


def task_outcomes(facts: Facts) -> list[TaskOutcome]:
    """Every task of the run, in its own order."""
    found = []
    for task in facts.tasks:
        steps = facts.evaluated_steps(task)
        elsewhere = facts.from_other_stages.get(task)
        if elsewhere is not None:
            found.append(
                TaskOutcome(
                    task=task,
                    first=elsewhere.first,
                    last=elsewhere.last,
                    before=elsewhere.before,
                    now=elsewhere.now,
                    judged=elsewhere.judged,
                    evaluations=len(steps),
                    stages=elsewhere.stages,
                )
            )
            continue
        first, last = steps[0], steps[-1]
        results = facts.state.evals[task]
        found.append(
            TaskOutcome(
                task=task,
                first=first,
                last=last,
                before=facts.board.evaluation(results[first]),
                now=facts.board.evaluation(results[last]),
                judged=facts.scores.of(task, last, START),
                evaluations=len(steps),
                gold=facts.scores.gold.get((task, last)),
            )
        )
    return found


def validation_outcome(facts: Facts) -> ValidationOutcome | None:
    """None without a validation that is a number."""
    known = facts.finite_validations()
    if not known:
        return None
    (first_step, first), (last_step, last) = known[0], known[-1]
    other = facts.validated_on_other_rows()
    alike = [pair for pair in known if pair[0] not in other]
    best_step, best = min(alike, key=lambda pair: (pair[1], pair[0]))
    return ValidationOutcome(
        first_step=first_step,
        first=first,
        last_step=last_step,
        last=last,
        best_step=best_step,
        best=best,
        found=facts.loss_changes.get((last_step, START)) if last_step != first_step else None,
        of_other_rows=len(other),
        alone=len(alike) == 1,
    )


def keep(facts: Facts) -> Keep:
    """The checkpoint to keep, by what was measured; the start is a candidate."""
    tasks, validation = task_outcomes(facts), validation_outcome(facts)
    up = tuple(task.task for task in tasks if task.up)
    down = tuple(task.task for task in tasks if task.down)
    if down and (up or (validation is not None and validation.direction == "down")):
        last = max(task.last for task in tasks if task.task in (*up, *down))
        return _at(facts, last, "trade", up, down)
    if down:
        return Keep(step=min(t.first for t in tasks if t.down), reason="start-worse", down=down)
    if up:
        return _at(facts, max(task.last for task in tasks if task.up), "last-gain", up, down)
    if validation is None or validation.alone:
        return Keep(step=None, reason="unmeasured")
    if validation.start_is_best and validation.first_step == 0:
        return Keep(step=0, reason="start")
    step = validation.best_step
    if validation.last <= validation.best:
        step = validation.last_step  # of equals the last: it was trained longest
    reason: Reason = "last-best" if step == validation.last_step else "best-val"
    return _at(facts, step, reason, *_clear_at(facts, step))


def _clear_at(facts: Facts, step: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tasks on which the evaluation of this step is clearly better and clearly worse."""
    clear = {
        task: judged.comparison.difference
        for task in facts.tasks
        if (judged := facts.scores.of(task, step, START)) is not None and judged.verdict == CLEAR
    }
    return tuple(t for t, d in clear.items() if d > 0), tuple(t for t, d in clear.items() if d < 0)


def _at(
    facts: Facts, step: int, reason: Reason, up: tuple[str, ...], down: tuple[str, ...]
) -> Keep:
    path = _path(facts, step)
    nearest = None if path else _nearest(facts, step)
    return Keep(step=step, reason=reason, path=path, up=up, down=down, nearest=nearest)


def _nearest(facts: Facts, step: int) -> tuple[int, str] | None:
    kept = [
        (row.step, row.path)
        for row in facts.state.checkpoints.values()
        if not row.removed and row.path and row.step
    ]
    return min(kept, key=lambda found: (abs(found[0] - step), found[0])) if kept else None


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
    """What the evaluations of a task can see at all."""

    task: str
    total: int
    seen: float
    """Smallest true change, in points, that a test finds in four of five repetitions."""
    for_two_points: int
    """Questions with which two points are."""
    flipped: int | None
    """Answers that changed from the first to the last, which `seen` comes from; None where they
    are not known and the two are taken for separate samples."""


MOST_POINTS = 100.0
"""What two accuracies can differ by; a test that needs more sees nothing."""


def sharpness(facts: Facts, outcome: TaskOutcome) -> Sharpness | None:
    """None where the number of questions is unknown, and where no number of them would help."""
    value, total = outcome.before.value, outcome.before.total
    if value is None or not total or outcome.one_letter is not None:
        return None
    found = outcome.judged.comparison if outcome.judged is not None else None
    if found is not None and found.gains is not None and found.losses is not None:
        # At least one answer a side, or nothing flipped would mean that anything is seen.
        flipped = max(2, found.gains + found.losses)
        return Sharpness(
            task=outcome.task,
            total=total,
            seen=100 * paired_detectable(flipped, total),
            for_two_points=paired_items_needed(0.02, flipped / total),
            flipped=found.gains + found.losses,
        )
    if not 0 < value < 1:
        return None
    return Sharpness(
        task=outcome.task,
        total=total,
        seen=100 * smallest_detectable(total, value, correlation=0.0),
        for_two_points=items_needed(0.02, value, correlation=0.0),
        flipped=None,
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
