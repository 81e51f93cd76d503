"""Every comparison that a table shows, judged in one place.

The verdict of one difference depends on how many are shown beside it, so no panel judges
by itself: it asks here. Item-by-item results are read once each from the run directory;
without them a comparison is unpaired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from engine import events as ev
from engine.errors import DataError
from engine.evaluation import eval_items
from engine.run import run_dir
from sftui.state.results import Evaluations
from sftui.state.run_state import RunState
from sftui.statistics.accuracy import subject_numbers
from sftui.statistics.cells import ByTask, Cells, GoldCells
from sftui.statistics.families import BASELINE, START, History, Shown
from sftui.statistics.paired_tests import (
    CLEAR,
    NO_EVIDENCE,
    Best,
    Evaluation,
    Judged,
)
from sftui.statistics.scatter import Scatter
from sftui.statistics.scored import accuracy_of
from sftui.statistics.task_rows import TaskRows
from sftui.text import format as fmt
from sftui.text.clean import clean

Evals = Mapping[str, Mapping[int, ev.EvalFinished]]


class Yardstick(Protocol):
    """Accuracies from elsewhere, by task; a `Baseline` is one."""

    @property
    def name(self) -> str: ...

    @property
    def flags(self) -> Sequence[str]:
        """The flags of `sftui report` that name it again."""
        ...

    def of(self, task: str) -> Evaluation | None: ...

    def doubt(self, task: str, total: int | None) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All comparisons of a run's evaluations."""

    cells: Cells
    """By task, step and what it is compared with."""
    gold: Mapping[tuple[str, int], Judged]
    """By task and step: the probability of the right letter against the first evaluation's."""
    best: Mapping[str, tuple[int, Best]]
    """Task -> step and verdict of its best evaluation after the first."""
    notes: Mapping[str, str]
    """Task -> why its baseline is not what it seems."""
    scatter: Mapping[str, Scatter]
    """Task -> how much its accuracy scatters from checkpoint to checkpoint, where known."""
    baseline: str = ""
    """Name of the baseline; empty without one."""

    @property
    def compared(self) -> int:
        """Differences that were corrected for together: all but those of the newest to the
        start."""
        return self.cells.compared

    def of(self, task: str, step: int, against: str) -> Judged | None:
        return self.cells.get((task, step, against))


class Scoreboard:
    """Judges once per evaluation, not once per frame."""

    def __init__(self, folder: Path | None = None, baseline: Yardstick | None = None) -> None:
        """`folder`: the run directory that item files are named from; None for a log."""
        self.baseline = baseline
        self._folder = folder
        self._items: dict[tuple[str, int | None, str], _Items] = {}
        self._subjects: dict[str, NDArray[Any] | None] = {}
        self._judged: tuple[object, Scores] | None = None
        self._tasks: dict[str, TaskRows] = {}
        self._history, self._gold_history = History(), History()

    def evaluation(self, result: ev.EvalFinished) -> Evaluation:
        """What is known of one result, its items included where their file is there."""
        items = self._read(result)
        return Evaluation(
            correct=result.correct,
            total=result.total,
            accuracy=accuracy_of(result),
            item_set=result.item_set,
            right=items.right if items is not None else None,
            gold=items.gold if items is not None else None,
            clusters=items.clusters if items is not None else None,
            letters=result.letters,
        )

    def scores(self, state: RunState) -> Scores:
        """Every comparison; what is judged with what is told in `paired_tests`.

        One more evaluation is compared once: nothing is judged anew but the number of those that
        are corrected for, and a verdict is made when it is looked at.
        """
        key = tuple((task, _version(found)) for task, found in state.evals.items())
        if self._judged is None or self._judged[0] != key:
            self._take_in(state.evals)
            self._judged = key, self._scores()
        return self._judged[1]

    def _take_in(self, evals: Evals) -> None:
        """What has come since the last time; all anew where earlier results have changed."""
        before = {task: rows.length for task, rows in self._tasks.items()}
        newest = max((rows.last_step for rows in self._tasks.values()), default=-1)
        same = all(
            task in evals and rows.grown_from(evals[task]) and rows.grow()
            for task, rows in self._tasks.items()
        )
        if not same:
            self._tasks, before = {}, {}
        for task, found in evals.items():
            if found and task not in self._tasks:
                base = self.baseline.of(task) if self.baseline is not None else None
                self._tasks[task] = TaskRows(found, self.evaluation, base)
        ordered = {task: self._tasks[task] for task in evals if task in self._tasks}
        self._tasks = ordered
        if not same or any(
            rows.length > before.get(task, 0) and rows.steps[before.get(task, 0)] < newest
            for task, rows in ordered.items()
        ):
            # One that came late: what was shown in between is not what would be shown now.
            self._history, self._gold_history = History(), History()

    def _scores(self) -> Scores:
        counted = {task: rows.rows() for task, rows in self._tasks.items() if rows.counted}
        gold = {
            task: found.rows()
            for task, rows in self._tasks.items()
            if (found := rows.gold).compared
        }
        cells = Cells(dict(self._tasks), Shown(counted), self._history)
        return Scores(
            cells=cells,
            gold=GoldCells(dict(self._tasks), Shown(gold), self._gold_history),
            best=ByTask(self._tasks, cells.best),
            notes=ByTask(self._tasks, self._note),
            scatter=ByTask(self._tasks, cells.scatter),
            baseline=self.baseline.name if self.baseline is not None else "",
        )

    def _note(self, task: str) -> str | None:
        if self.baseline is None:
            return None
        rows = self._tasks[task]
        return self.baseline.doubt(task, rows.evaluation(rows.length - 1).total) or None

    def _read(self, result: ev.EvalFinished) -> _Items | None:
        if self._folder is None or result.items_file is None:
            return None
        key = (result.task, result.step, result.items_file)
        if key not in self._items:
            path = run_dir.named_file(self._folder, result.items_file)
            if path is None:
                return None
            try:
                items = eval_items.load_items(path)
            except DataError:
                return None
            # A second evaluation of the step may have written the file anew.
            if items.item_set != result.item_set or items.correct != result.correct:
                return None
            if items.item_set not in self._subjects:
                self._subjects[items.item_set] = subject_numbers(items.subjects)
            self._items[key] = _Items(
                right=items.right(),
                gold=items.gold_probabilities() if items.by_letter else None,
                clusters=self._subjects[items.item_set],
            )
        return self._items[key]


def _version(found: Mapping[int, ev.EvalFinished]) -> object:
    """Equal for the same results alone; those of a state know it without being read."""
    return found.version if isinstance(found, Evaluations) else tuple(map(id, found.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Items:
    """What is kept of an item file."""

    right: NDArray[Any]
    gold: NDArray[Any] | None
    """None where answers are written out."""
    clusters: NDArray[Any] | None


def difference_words(judged: Judged) -> str:
    """`+2.1`, and an arrow when it is clear: colour is never the only carrier. A hollow arrow:
    it was clear when it was the newest."""
    comparison = judged.comparison
    up = comparison.difference > 0
    text = fmt.points(comparison.points)
    if judged.verdict == CLEAR:
        return ("▲" if up else "▼") + text
    return ("△" if up else "▽") + text if judged.was_clear else text


def sentence(judged: Judged, *, among: int = 1, of: str = "") -> str:
    """A whole comparison in words: verdict, points, interval, flips.

    Args:
        among: how many evaluations it is the best of.
        of: what changed, where it is not the accuracy.
    """
    found = judged.comparison
    if judged.held_by == "letter" and found.one_letter is not None:
        return f"{one_letter_words(found.one_letter)} ({fmt.points(found.points)} points)"
    parts = [f"{fmt.points(found.points)} points{f' of {of}' if of else ''}"]
    if found.kind == "bare":
        parts.append(found.note)
    else:
        parts.append(_interval_words(judged))
        if found.gains is not None:
            parts.append(f"{found.gains} gained, {found.losses} lost")
        elif found.kind == "unpaired":
            other = OTHER_QUESTIONS if "not the same items" in found.note else "unpaired"
            parts.append(other)
    if found.by_subject:
        parts.append("questions of a subject move together")
    if among > 1:
        parts.append(f"best of {among} evaluations")
    parts += _why_not_clear(judged)
    return f"{judged.verdict}, {', '.join(parts)}"


def one_letter_words(found: tuple[str, float]) -> str:
    """What replaces a claim on the accuracy where one letter has most answers."""
    letter, share = found
    return (
        f"{fmt.percent(share, 0)} of the answers are {clean(letter, 4)}: the accuracy is that "
        "letter's share, not what the model knows"
    )


def _why_not_clear(judged: Judged) -> list[str]:
    words = []
    if judged.was_clear:
        words.append("was clear when it was the newest")
    if judged.held_by == "number":
        words.append("not clear after correction for what it is judged with")
    if judged.held_by == "scatter":
        words.append("within the scatter of the run's own checkpoints")
    return words


def short_sentence(judged: Judged) -> str:
    """Verdict and interval alone, for beside a table that has the points."""
    found = judged.comparison
    if judged.held_by == "letter" and found.one_letter is not None:
        letter, share = found.one_letter
        return f"no claim: {fmt.percent(share, 0)} answer {clean(letter, 4)}"
    if found.kind == "bare":
        return f"{judged.verdict}, {found.note}"
    if _contradicts(judged):
        return f"{judged.verdict}, p {found.p:.2g}"
    return f"{judged.verdict}, {_interval_words(judged)}"


def _interval_words(judged: Judged) -> str:
    """The interval, and the p of the test where the two seem to contradict each other."""
    found = judged.comparison
    low, high = (fmt.points(100 * bound) for bound in (found.low, found.high))
    words = f"95% [{low}, {high}]"
    return f"{words}, p {found.p:.2g}" if _contradicts(judged) else words


def _contradicts(judged: Judged) -> bool:
    """Whether the interval leaves out 0 though the exact test has no evidence; rare, and close."""
    found = judged.comparison
    return judged.verdict == NO_EVIDENCE and not found.low <= 0 <= found.high


def first_words(step: int) -> str:
    """What the first evaluation is called: a log of another program may begin later."""
    return "start" if step == 0 else f"step {fmt.count(step)}"


GOLD = "probability of the right letter"
OTHER_QUESTIONS = "unpaired: other questions"
"""Of a difference between two evaluations that did not ask the same."""


def score_lines(
    board: Scoreboard, state: RunState, from_start: Mapping[str, str] | None = None
) -> list[str]:
    """The last evaluation of every task against the first and the baseline, in words.

    `from_start`: lines that stand in the place of the first, of tasks whose start is known from
    elsewhere.
    """
    scores, lines = board.scores(state), []
    for task, found in state.evals.items():
        last, first = max(found), min(found)
        since = "the start" if first == 0 else f"step {first}"
        base = f"the baseline {clean(scores.baseline, 60)}"
        if elsewhere := (from_start or {}).get(task):
            lines.append(elsewhere)
        for against, words in ((START, since), (BASELINE, base)):
            judged = scores.of(task, last, against)
            if elsewhere and against == START:
                continue
            if judged is not None:
                lines.append(
                    f"{clean(task, 40)} at step {last} against {words}: {sentence(judged)}"
                )
        gold = scores.gold.get((task, last))
        if gold is not None:
            lines.append(
                f"{clean(task, 40)}, {GOLD}, at step {last} against {since}: {sentence(gold)}"
            )
        if task in scores.notes:
            lines.append(f"{clean(task, 40)}: baseline {scores.notes[task]}")
    return lines
