"""The differences of a run at one moment, each compared and judged when it is looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from sftui.statistics.accuracy import ALPHA
from sftui.statistics.families import (
    BASELINE,
    BEST,
    PREVIOUS,
    START,
    History,
    Shown,
)
from sftui.statistics.paired_tests import (
    BESIDE,
    CLEAR,
    Best,
    Comparison,
    Evaluation,
    Judged,
    compare_evaluations,
    compare_gold,
    judge,
    not_judged,
)
from sftui.statistics.scatter import Scatter
from sftui.statistics.task_rows import TaskRows

Value = TypeVar("Value")
Place = tuple[str, int, str]
"""Task, step, what it is compared with."""


class ByTask(Mapping[str, Value], Generic[Value]):
    """What is worked out of a task when it is asked for; a task of which nothing is has none."""

    def __init__(self, tasks: Mapping[str, TaskRows], of: Callable[[str], Value | None]) -> None:
        self._names, self._of = list(tasks), of
        self._known: dict[str, Value | None] = {}

    def __getitem__(self, task: str) -> Value:
        if task not in self._known:
            self._known[task] = self._of(task) if task in self._names else None
        found = self._known[task]
        if found is None:
            raise KeyError(task)
        return found

    def __iter__(self) -> Iterator[str]:
        return (task for task in self._names if task in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Cells(Mapping[Place, Judged]):
    """All differences of the accuracies: to the first evaluation, the one before, the best before
    and the baseline. To be read before the next evaluations are taken in."""

    def __init__(self, tasks: Mapping[str, TaskRows], shown: Shown, history: History) -> None:
        """`shown`: of those tasks that have counts."""
        self._tasks, self._shown, self._history = tasks, shown, history
        self._known: dict[tuple[str, int, int | None], Judged | None] = {}
        self._newest: dict[str, dict[str, Judged]] = {}
        self._evaluations: dict[tuple[str, int], Evaluation] = {}
        history.keep(shown)

    def __getitem__(self, place: Place) -> Judged:
        found = self._find(*place)
        if found is None:
            raise KeyError(place)
        return found

    def __iter__(self) -> Iterator[Place]:
        for task, rows in self._tasks.items():
            for step in rows.steps.tolist():
                for against in (START, PREVIOUS, BEST, BASELINE):
                    if self._find(task, step, against) is not None:
                        yield task, step, against

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def compared(self) -> int:
        """How many are corrected for together with the start and the one before."""
        return sum(rows.compared for rows in self._tasks.values())

    def best(self, task: str) -> tuple[int, Best] | None:
        """The best evaluation after the first: its step, and the verdict that its row shows."""
        rows = self._tasks[task]
        found = rows.best()
        if found is None:
            return None
        row, index, among = found
        step = int(rows.steps[row])
        return step, Best(index=index, among=among, judged=self[task, step, START])

    def scatter(self, task: str) -> Scatter | None:
        """How much the accuracy of a task scatters from checkpoint to checkpoint, where known."""
        rows = self._shown.tasks.get(task)
        return rows.own if rows is not None else self._tasks[task].curve().scatter()

    def _find(self, task: str, step: int, against: str) -> Judged | None:
        rows = self._tasks.get(task)
        row = rows.row_of(step) if rows is not None else None
        if rows is None or row is None or (row == 0 and against != BASELINE):
            return None
        other: int | None
        match against:
            case "start":
                other = 0
            case "prev":
                other = row - 1
            case "best":
                other = int(rows.tops[row - 1])
            case _:
                other = None
        key = task, row, other
        if key not in self._known:
            self._known[key] = self._judge(task, row, other)
        found = self._known[key]
        if against == BEST and found is not None:
            return not_judged(found.comparison, "best")
        return found

    def _judge(self, task: str, row: int, other: int | None) -> Judged | None:
        """The difference of `row` to another one, or to the baseline for None: one comparison,
        under whatever names."""
        against = BASELINE if other is None else START if other == 0 else PREVIOUS
        if row == self._tasks[task].length - 1 and against != PREVIOUS:
            return self._of_newest(against).get(task)
        comparison = self._compare(task, row, other)
        if comparison is None:
            return None
        shown = self._shown
        if task not in shown.tasks:  # no counts: nothing is claimed
            return judge([comparison], error=BESIDE)[0]
        if other is None:
            return shown.judged(comparison, shown.beside_baseline)
        return shown.judged(
            comparison,
            shown.beside,
            # One to the best before alone is of no family; it is never shown with a verdict.
            lambda: self._history.was_clear(shown, task, row, against),
        )

    def _of_newest(self, against: str) -> dict[str, Judged]:
        """The newest of every task against the start or the baseline, judged together."""
        if against not in self._newest:
            other = 0 if against == START else None
            compared = {
                task: comparison
                for task, rows in self._tasks.items()
                if (rows.length > 1 or other is None)
                and (comparison := self._compare(task, rows.length - 1, other)) is not None
            }
            judged = judge(list(compared.values()), headline=True, error=ALPHA)
            found = dict(zip(compared, judged, strict=True))
            if against == START:
                found = {task: self._with_past(task, one) for task, one in found.items()}
            self._newest[against] = found
        return self._newest[against]

    def _with_past(self, task: str, found: Judged) -> Judged:
        if found.verdict == CLEAR or task not in self._shown.tasks:
            return found
        row, shown = self._tasks[task].length - 1, self._shown
        return replace(found, past=lambda: self._history.was_clear(shown, task, row, START))

    def _compare(self, task: str, row: int, other: int | None) -> Comparison | None:
        rows = self._tasks[task]
        before = rows.baseline if other is None else self._evaluation(task, other)
        if before is None:
            return None
        judged = self._shown.tasks.get(task)
        own = judged.own if judged is not None else None
        if judged is not None and row == rows.length - 1 and not other:
            own = judged.own_of_newest
        return compare_evaluations(self._evaluation(task, row), before, own=own)

    def _evaluation(self, task: str, row: int) -> Evaluation:
        """Made once: a row is compared with several, and several with it."""
        found = self._evaluations.get((task, row))
        if found is None:
            found = self._evaluations[task, row] = self._tasks[task].evaluation(row)
        return found


class GoldCells(Mapping[tuple[str, int], Judged]):
    """The probability of the right letter of every evaluation against the first, as `Cells`."""

    def __init__(self, tasks: Mapping[str, TaskRows], shown: Shown, history: History) -> None:
        self._tasks, self._shown, self._history = tasks, shown, history
        self._known: dict[tuple[str, int], Judged] = {}
        history.keep(shown)

    def __getitem__(self, place: tuple[str, int]) -> Judged:
        if place not in self._known:
            task, step = place
            rows = self._shown.tasks.get(task)
            row = None if rows is None else self._tasks[task].gold.row_of(step)
            if rows is None or row is None or math.isnan(rows.start.difference[row]):
                raise KeyError(place)
            self._known |= (
                self._newest() if row == rows.count - 1 else {place: self._judge(task, row)}
            )
        return self._known[place]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        for task, rows in self._shown.tasks.items():
            for step in rows.steps[~np.isnan(rows.start.difference)].tolist():
                yield task, step

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _compare(self, task: str, row: int) -> Comparison:
        own = self._shown.tasks[task].own
        rows = self._tasks[task]
        first, now = (rows.gold.evaluation(r) for r in (0, row))
        found = compare_gold(now, first, own=own)
        assert found is not None
        return found

    def _newest(self) -> dict[tuple[str, int], Judged]:
        last = {
            (task, int(rows.steps[rows.count - 1])): self._compare(task, rows.count - 1)
            for task, rows in self._shown.tasks.items()
            if not math.isnan(rows.start.difference[rows.count - 1])
        }
        judged = judge(list(last.values()), headline=True, error=ALPHA)
        found = dict(zip(last, judged, strict=True))
        for (task, step), one in found.items():
            if one.verdict != CLEAR:
                found[task, step] = replace(
                    one, past=self._past(task, self._shown.tasks[task].count - 1)
                )
        return found

    def _past(self, task: str, row: int) -> Callable[[], bool]:
        return lambda: self._history.was_clear(self._shown, task, row, START)

    def _judge(self, task: str, row: int) -> Judged:
        shown = self._shown
        return shown.judged(
            self._compare(task, row),
            shown.beside,
            self._past(task, row),
        )
