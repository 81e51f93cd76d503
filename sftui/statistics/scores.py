"""Every comparison that a table shows, judged together.

The verdict of one difference depends on how many are shown beside it, so no panel judges
by itself: it asks here. Item-by-item results are read once each from the run directory;
without them a comparison is unpaired, and conservative.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine import events as ev
from engine.errors import DataError
from engine.evaluation import eval_items
from engine.run import run_dir
from sftui.state.run_state import RunState
from sftui.statistics.accuracy import Flags
from sftui.statistics.loss_statistics import wobble
from sftui.statistics.paired_tests import (
    CLEAR,
    NO_EVIDENCE,
    Best,
    Comparison,
    Evaluation,
    Judged,
    accuracy_of,
    best_of,
    compare_evaluations,
    judge,
)
from sftui.text import format as fmt
from sftui.text.clean import clean

START, PREVIOUS, BEST, BASELINE = "start", "prev", "best", "base"

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

    cells: Mapping[tuple[str, int, str], Judged]
    """By task, step and what it is compared with."""
    best: Mapping[str, tuple[int, Best]]
    """Task -> step and luck-aware verdict of its best evaluation after the first."""
    notes: Mapping[str, str]
    """Task -> why the baseline's percentage cannot be right."""
    baseline: str = ""
    """Name of the baseline; empty without one."""

    def of(self, task: str, step: int, against: str) -> Judged | None:
        return self.cells.get((task, step, against))


class Scoreboard:
    """Computes the comparisons of a run, again only when an evaluation was added."""

    def __init__(self, folder: Path | None = None, baseline: Yardstick | None = None) -> None:
        """`folder`: the run directory that item files are named from; None for a log."""
        self.baseline = baseline
        self._folder = folder
        self._items: dict[tuple[str, int | None, str], Flags] = {}
        self._judged: tuple[object, Scores] | None = None

    def evaluation(self, result: ev.EvalFinished) -> Evaluation:
        """What is known of one result, its items included where their file is there."""
        return Evaluation(
            correct=result.correct,
            total=result.total,
            accuracy=accuracy_of(result),
            item_set=result.item_set,
            right=self._right(result),
        )

    def scores(self, state: RunState) -> Scores:
        """Every comparison, judged as one family."""
        # Results are frozen and kept by the state, so the same ids are the same results.
        key = tuple((task, id(r)) for task, found in state.evals.items() for r in found.values())
        if self._judged is None or self._judged[0] != key:
            self._judged = None  # not two of them at a time: a long log's are large
            self._judged = key, self._judge(state.evals)
        return self._judged[1]

    def _judge(self, evals: Evals) -> Scores:
        places: list[tuple[str, int, str]] = []
        comparisons: list[Comparison] = []
        pairs: dict[tuple[str, int, int | None], int] = {}
        where: list[int] = []
        best: dict[str, tuple[int, Best]] = {}
        notes: dict[str, str] = {}
        for task, found in evals.items():
            known = {step: self.evaluation(found[step]) for step in sorted(found)}
            values = [value for e in known.values() if (value := e.value) is not None]
            own = wobble(values)
            since_start: list[tuple[int, Comparison]] = []
            for (step, now), others in zip(known.items(), self._others(task, known), strict=True):
                for against, (other, before) in others.items():
                    comparison = compare_evaluations(now, before, wobble=own)
                    if comparison is None:
                        continue
                    if against == START:
                        since_start.append((step, comparison))
                    # The same two evaluations are one comparison, under whatever names.
                    pair = (task, step, other)
                    if pair not in pairs:
                        pairs[pair] = len(comparisons)
                        comparisons.append(comparison)
                    places.append((task, step, against))
                    where.append(pairs[pair])
            top = best_of([comparison for _, comparison in since_start])
            if top is not None:
                best[task] = (since_start[top.index][0], top)
            if self.baseline is not None and found:
                doubt = self.baseline.doubt(task, found[max(found)].total)
                if doubt:
                    notes[task] = doubt
        judged = judge(comparisons)
        return Scores(
            cells={place: judged[i] for place, i in zip(places, where, strict=True)},
            best=best,
            notes=notes,
            baseline=self.baseline.name if self.baseline is not None else "",
        )

    def _others(
        self, task: str, known: Mapping[int, Evaluation]
    ) -> Iterator[dict[str, tuple[int | None, Evaluation]]]:
        """What each of `known`, in order of steps, is compared with: step and result.

        The step is None for what comes from elsewhere. One pass: a long log has thousands.
        """
        base = self.baseline.of(task) if self.baseline is not None else None
        elsewhere: dict[str, tuple[int | None, Evaluation]] = {}
        if base is not None:
            elsewhere[BASELINE] = (None, base)
        first: tuple[int, Evaluation] | None = None
        last = best = first
        for step, now in known.items():
            if first is None or last is None or best is None:
                yield elsewhere
                first = best = (step, now)
            else:
                yield {START: first, PREVIOUS: last, BEST: best, **elsewhere}
                if (now.value or 0.0) > (best[1].value or 0.0):
                    best = (step, now)  # the first of equals stays
            last = (step, now)

    def _right(self, result: ev.EvalFinished) -> Flags | None:
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
            self._items[key] = items.right()
        return self._items[key]


def difference_words(judged: Judged) -> str:
    """`+2.1`, and an arrow when it is clear: colour is never the only carrier."""
    comparison = judged.comparison
    text = fmt.points(comparison.points)
    if judged.verdict == CLEAR:
        text = ("▲" if comparison.difference > 0 else "▼") + text
    return text


def sentence(judged: Judged, *, among: int = 1) -> str:
    """A whole comparison in words: verdict, points, interval, flips.

    `among`: how many evaluations it was the best of.
    """
    found = judged.comparison
    parts = [f"{fmt.points(found.points)} points"]
    if found.kind == "bare":
        parts.append(found.note)
    else:
        parts.append(_interval_words(judged))
        if found.gains is not None:
            parts.append(f"{found.gains} gained, {found.losses} lost")
        else:
            parts.append("unpaired")
    if among > 1:
        parts.append(f"best of {among} looks")
    if judged.held_by == "scatter":
        parts.append("within the scatter of the run's own evaluations")
    return f"{judged.verdict}, {', '.join(parts)}"


def short_sentence(judged: Judged) -> str:
    """Verdict and interval alone, for beside a table that has the points."""
    found = judged.comparison
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


def score_lines(board: Scoreboard, state: RunState) -> list[str]:
    """The last evaluation of every task against the start and the baseline, in words."""
    scores, lines = board.scores(state), []
    for task, found in state.evals.items():
        last, first = max(found), min(found)
        since = "the start" if first == 0 else f"step {first}"
        base = f"the baseline {clean(scores.baseline, 60)}"
        for against, words in ((START, since), (BASELINE, base)):
            judged = scores.of(task, last, against)
            if judged is not None:
                lines.append(
                    f"{clean(task, 40)} at step {last} against {words}: {sentence(judged)}"
                )
        if task in scores.notes:
            lines.append(f"{clean(task, 40)}: baseline {scores.notes[task]}")
    return lines
