"""The last results of two runs side by side, paired where both kept them item by item.

Where results cannot be paired, `reason` says why, and the verdict rests on counts alone or
is left out.
"""

from __future__ import annotations

import math
import os
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.errors import DataError, SftuiError, UsageError
from engine.evaluation.validation_rows import load_rows
from engine.events import EvalFinished
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui.compare.differences import differences
from sftui.state.records import Validation
from sftui.state.run_state import RunState
from sftui.statistics.loss_statistics import LossDifference, compare_losses, wobble
from sftui.statistics.paired_tests import (
    Evaluation,
    Judged,
    accuracy_of,
    compare_evaluations,
    judge,
    why_not_paired,
)
from sftui.statistics.scores import Scoreboard

LETTERS = string.ascii_uppercase
"""Names of runs, by their places on the command line."""


class Side(Protocol):
    """One run of a comparison."""

    @property
    def title(self) -> str: ...

    @property
    def path(self) -> Path: ...

    @property
    def format(self) -> str: ...

    @property
    def status(self) -> str: ...

    @property
    def stage(self) -> str:
        """Name of the stage that is compared."""
        ...

    @property
    def state(self) -> RunState: ...

    @property
    def run(self) -> RunDir | None:
        """Its directory, when it is one of ours: item by item results lie there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPair:
    """The last evaluation of one task on both sides."""

    task: str
    step_a: int
    step_b: int
    a: Evaluation
    b: Evaluation
    judged: Judged | None
    """B minus A; None where an accuracy is unknown."""
    reason: str
    """Why it is not paired; empty when it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationPair:
    """The last validation of both sides."""

    a: Validation
    b: Validation
    difference: LossDifference | None
    reason: str
    """Why the losses are not paired row by row, or not compared at all; empty when they are."""
    comparable: bool
    """Both are finite and in the same unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs side by side."""

    a: Side
    b: Side
    settings: list[tuple[str, Any, Any]]
    """(name, A's, B's) of those that differ; None where one side does not tell it."""
    validation: ValidationPair | None
    tasks: list[TaskPair]
    only_a: list[str]
    """Tasks that only A was asked."""
    only_b: list[str]
    letters: tuple[str, str] = ("A", "B")
    """The names of both: letters by their places on the command line."""


def check_number(runs: int) -> None:
    """Raise `UsageError` where there are more runs than letters."""
    if runs > len(LETTERS):
        raise UsageError(
            f"{runs} runs to compare; at most {len(LETTERS)}, a letter each. Leave some out."
        )


def of(a: Side, b: Side, letters: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare two runs that were read."""
    return Comparison(
        letters=letters,
        a=a,
        b=b,
        settings=differences(a.state, b.state),
        validation=pair_validations(a, b, letters),
        tasks=pair_tasks(a, b),
        only_a=_only(a.state, b.state),
        only_b=_only(b.state, a.state),
    )


def _task_key(task: str) -> str:
    """One key for the spellings of a task: nanochat's text logs write `starter_facts`."""
    return task.casefold().replace("-", "_").replace(" ", "_")


def _only(ours: RunState, theirs: RunState) -> list[str]:
    known = {_task_key(task) for task in theirs.evals}
    return [task for task in ours.evals if _task_key(task) not in known]


def pair_validations(
    a: Side, b: Side, letters: tuple[str, str] = ("A", "B")
) -> ValidationPair | None:
    """The last of both; None where one of them has none."""
    ours, theirs = a.state.validation_list(), b.state.validation_list()
    if not ours or not theirs:
        return None
    before, now = ours[-1], theirs[-1]
    reason, difference, comparable = "", None, True
    if now.metric != before.metric:
        comparable, reason = False, f"one is {before.metric}, the other {now.metric}"
    elif words := _other_tokens(a.state, b.state):
        comparable, reason = False, words
    elif not (math.isfinite(now.loss) and math.isfinite(before.loss)):
        comparable, reason = False, "one of them is not a finite number"
    else:
        rows_a, rows_b = _rows(a, before), _rows(b, now)
        if rows_a is None or rows_b is None:
            which = letters[0] if rows_a is None else letters[1]
            if rows_a is None and rows_b is None:
                which = "either"
            reason = f"the losses of {which} are not stored row by row"
        elif other := _other_rows(a, b):
            reason, comparable = other, False
        else:
            found = compare_losses(rows_b[0], rows_a[0], ids_now=rows_b[1], ids_before=rows_a[1])
            if isinstance(found, LossDifference):
                difference = found
            else:
                reason = found
    return ValidationPair(
        a=before, b=now, difference=difference, reason=reason, comparable=comparable
    )


def _other_tokens(a: RunState, b: RunState) -> str:
    """Losses a token say nothing of each other where the vocabularies differ."""
    sizes = [
        state.run.effective.get("vocab_size") if state.run is not None else None for state in (a, b)
    ]
    if None in sizes or sizes[0] == sizes[1]:
        return ""
    return f"vocabularies of {sizes[0]} and {sizes[1]} tokens: a token of one is none of the other"


def _rows(shot: Side, validation: Validation) -> tuple[Any, list[str]] | None:
    if shot.run is None or validation.rows_file is None:
        return None
    path = run_dir.named_file(shot.run.path, validation.rows_file)
    if path is None:
        return None
    try:
        found = load_rows(path)
    except DataError:
        return None
    return found.losses, [str(row) for row in found.rows.tolist()]


def _other_rows(a: Side, b: Side) -> str:
    """Why row 5 of one run is not row 5 of the other; empty when it is.

    Rows are stored by number, so the data must be the same for the numbers to mean the same.
    """
    ours, theirs = _manifest(a), _manifest(b)
    digests = ours.get("tokenizer_sha256"), theirs.get("tokenizer_sha256")
    if digests[0] is None or digests[0] != digests[1]:
        return "the tokenizers differ or are not known, so a token of one is none of the other"
    first, second = (_data(shot, manifest) for shot, manifest in ((a, ours), (b, theirs)))
    differ = [name for name in first if first[name] != second[name]]
    if differ:
        return f"other validation rows may have been measured: {', '.join(differ)} differ"
    return ""


def _data(shot: Side, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What decides which rows validation asks, and how long they are."""
    settings = shot.state.run.settings if shot.state.run is not None else {}
    folder = settings.get("data_dir")
    if isinstance(folder, str) and isinstance(manifest.get("cwd"), str):
        # A relative folder is another one elsewhere.
        folder = os.path.normpath(Path(manifest["cwd"]) / folder)
    return {
        "data_dir": folder,
        "max_tokens": settings.get("max_tokens"),
        "the starter's own data": settings.get("source") == "starter",
    }


def _manifest(shot: Side) -> Mapping[str, Any]:
    try:
        return shot.run.read_manifest() if shot.run is not None else {}
    except SftuiError:
        return {}


def pair_tasks(a: Side, b: Side) -> list[TaskPair]:
    """The last evaluation of every task that both were asked."""
    boards = [Scoreboard(s.run.path if s.run is not None else None) for s in (a, b)]
    found: list[tuple[str, int, int, Evaluation, Evaluation]] = []
    scatter: list[float | None] = []
    asked = {_task_key(task): results for task, results in b.state.evals.items()}
    for task, ours in a.state.evals.items():
        theirs = asked.get(_task_key(task))
        if theirs:
            step_a, step_b = max(ours), max(theirs)
            before = boards[0].evaluation(ours[step_a])
            now = boards[1].evaluation(theirs[step_b])
            found.append((task, step_a, step_b, before, now))
            scatter.append(_scatter(ours, theirs))
    comparisons = [
        compare_evaluations(now, before, wobble=own)
        for (*_, before, now), own in zip(found, scatter, strict=True)
    ]
    # All that are shown together are judged together.
    judged = iter(judge([c for c in comparisons if c is not None]))
    return [
        TaskPair(
            task=task,
            step_a=step_a,
            step_b=step_b,
            a=before,
            b=now,
            judged=next(judged) if comparison is not None else None,
            reason=why_not_paired(now, before),
        )
        for (task, step_a, step_b, before, now), comparison in zip(found, comparisons, strict=True)
    ]


def _scatter(*runs: Mapping[int, EvalFinished]) -> float | None:
    """How much the evaluations of both scatter: quadratic mean of what is known."""
    known = []
    for results in runs:
        values = [accuracy_of(results[step]) for step in sorted(results)]
        own = wobble([value for value in values if value is not None])
        if own is not None:
            known.append(own)
    return math.sqrt(sum(own * own for own in known) / len(known)) if known else None
