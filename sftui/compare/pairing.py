"""The last results of two runs side by side, paired where both kept them item by item.

Where results cannot be paired, `reason` says why, and the verdict rests on counts alone or
is left out.
"""

from __future__ import annotations

import math
import os
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.data import row_digests
from engine.errors import DataError, SftuiError, UsageError
from engine.evaluation.validation_rows import RowLosses, load_rows
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui.compare.differences import differences
from sftui.state.records import Validation
from sftui.state.run_state import RunState
from sftui.statistics.loss_statistics import LossDifference, compare_losses
from sftui.statistics.paired_tests import Comparison as Evidence
from sftui.statistics.paired_tests import (
    Evaluation,
    Judged,
    compare_evaluations,
    compare_gold,
    judge,
    why_not_paired,
)
from sftui.statistics.scatter import Scatter
from sftui.statistics.scores import Scoreboard
from sftui.statistics.validation_scores import LossBoard, loss_comparison, shared_weights

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
    """B minus A, of these two checkpoints; None where an accuracy is unknown."""
    gold: Judged | None
    """B minus A of the probability of the right letter; None where it is not known."""
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
    judged: Judged | None = None
    """B minus A over the rows of both; None where they are not paired."""
    means: tuple[float, float] | None = None
    """A's and B's mean over the paired rows, where that is not the printed loss: other rows were
    asked too, or they had other parts in it."""


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
    """Two that were read."""
    return of_all([(letters[0], a), (letters[1], b)])[0]


def of_all(runs: Sequence[tuple[str, Side]]) -> list[Comparison]:
    """Each of the others against the first; all that is compared is judged as one family."""
    (letter, first), *others = runs
    tasks = [_paired_tasks(first, other) for _, other in others]
    losses = [pair_validations(first, other, (letter, name)) for name, other in others]
    # The accuracies of all pairs together, and the validations of all pairs together.
    told = iter(judge([c for pairs in tasks for _, c, _ in pairs if c is not None], headline=True))
    gold = iter(judge([g for pairs in tasks for _, _, g in pairs if g is not None]))
    said = iter(judge([c for _, c in losses if c is not None]))
    found = []
    for (name, other), pairs, (validation, change) in zip(others, tasks, losses, strict=True):
        found.append(
            Comparison(
                letters=(letter, name),
                a=first,
                b=other,
                settings=differences(first.state, other.state),
                validation=validation
                if validation is None or change is None
                else replace(validation, judged=next(said)),
                tasks=[
                    replace(
                        pair,
                        judged=next(told) if comparison is not None else None,
                        gold=next(gold) if probability is not None else None,
                    )
                    for pair, comparison, probability in pairs
                ],
                only_a=_only(first.state, other.state),
                only_b=_only(other.state, first.state),
            )
        )
    return found


def _task_key(task: str) -> str:
    """One key for the spellings of a task: nanochat's text logs write `starter_facts`."""
    return task.casefold().replace("-", "_").replace(" ", "_")


def _only(ours: RunState, theirs: RunState) -> list[str]:
    known = {_task_key(task) for task in theirs.evals}
    return [task for task in ours.evals if _task_key(task) not in known]


def pair_validations(
    a: Side, b: Side, letters: tuple[str, str] = ("A", "B")
) -> tuple[ValidationPair | None, Evidence | None]:
    """The last of both and what is to be judged of them; None where one of them has none."""
    ours, theirs = a.state.validation_list(), b.state.validation_list()
    if not ours or not theirs:
        return None, None
    before, now = ours[-1], theirs[-1]
    plain = ValidationPair(a=before, b=now, difference=None, reason="", comparable=True)
    if now.metric != before.metric:
        words = f"one is {before.metric}, the other {now.metric}"
        return replace(plain, comparable=False, reason=words), None
    if words := _other_tokens(a.state, b.state):
        return replace(plain, comparable=False, reason=words), None
    if not (math.isfinite(now.loss) and math.isfinite(before.loss)):
        return replace(plain, comparable=False, reason="one of them is not a finite number"), None
    rows_a, rows_b = rows_of(a, before), rows_of(b, now)
    if rows_a is None or rows_b is None:
        which = letters[0] if rows_a is None else letters[1]
        if rows_a is None and rows_b is None:
            which = "either"
        return replace(plain, reason=f"the losses of {which} are not stored row by row"), None
    places, words = common_rows(a, b, rows_a, rows_b)
    if places is None:
        return replace(plain, comparable=False, reason=words), None
    return _paired_rows(plain, rows_a, rows_b, places, _loss_scatter(a, b))


def _paired_rows(
    plain: ValidationPair,
    before: RowLosses,
    now: RowLosses,
    places: tuple[NDArray[Any], NDArray[Any]],
    own: Scatter | None,
) -> tuple[ValidationPair, Evidence | None]:
    """B minus A over the rows that both were asked."""
    at_a, at_b = places
    whole = len(at_a) == len(before.losses) == len(now.losses)
    weights = shared_weights(now, before) if whole and np.array_equal(at_a, at_b) else None
    found = compare_losses(now.losses[at_b], before.losses[at_a], weights=weights)
    if not isinstance(found, LossDifference):
        return replace(plain, reason=found), None
    reason = "" if whole else f"{len(at_a)} rows were asked of both, the others are left out"
    means = None
    if weights is None:
        known = np.isfinite(now.losses[at_b]) & np.isfinite(before.losses[at_a])
        means = (
            float(before.losses[at_a][known].mean()),
            float(now.losses[at_b][known].mean()),
        )
    pair = replace(plain, difference=found, reason=reason, means=means)
    return pair, loss_comparison(found, own)


def _loss_scatter(*sides: Side) -> Scatter | None:
    """Of the validations of both runs."""
    known = []
    for side in sides:
        board = LossBoard(side.run.path if side.run is not None else None)
        board.changes(side.state.validation_list())
        known.append(board.scatter)
    return _scatter(*known)


def common_rows(
    a: Side, b: Side, ours: RowLosses, theirs: RowLosses
) -> tuple[tuple[NDArray[Any], NDArray[Any]] | None, str]:
    """Places of the rows that both were asked, in A's file and in B's; or why none can be told.

    By the digest of each row where both files hold them; else the rows of both, if it can be
    shown that row 5 of one is row 5 of the other.
    """
    if ours.digests is not None and theirs.digests is not None:
        same = np.array_equal(ours.digests, theirs.digests)
        if same:
            everywhere = np.arange(len(ours.digests))
            return (everywhere, everywhere), ""
        _, at_a, at_b = np.intersect1d(ours.digests, theirs.digests, return_indices=True)
        if len(at_a) < 2:
            return None, f"{len(at_a)} validation rows are the same on both sides"
        return (at_a, at_b), ""
    if words := _other_rows(a, b):
        return None, words
    if not np.array_equal(ours.rows, theirs.rows):
        return None, "other validation rows were measured"
    everywhere = np.arange(len(ours.rows))
    return (everywhere, everywhere), ""


def _other_tokens(a: RunState, b: RunState) -> str:
    """Losses a token say nothing of each other where the vocabularies differ."""
    sizes = [
        state.run.effective.get("vocab_size") if state.run is not None else None for state in (a, b)
    ]
    if None in sizes or sizes[0] == sizes[1]:
        return ""
    return f"vocabularies of {sizes[0]} and {sizes[1]} tokens: a token of one is none of the other"


def rows_of(shot: Side, validation: Validation) -> RowLosses | None:
    """Losses row by row of a run's validation; None where they are not kept."""
    if shot.run is None or validation.rows_file is None:
        return None
    path = run_dir.named_file(shot.run.path, validation.rows_file)
    if path is None:
        return None
    try:
        return load_rows(path)
    except DataError:
        return None


def _other_rows(a: Side, b: Side) -> str:
    """Why row 5 of one run is not row 5 of the other; empty when it is.

    For files of earlier versions, which hold no digest of each row: what decides the rows must be
    the same, and where the manifests hold a digest of all rows, that must be.
    """
    ours, theirs = _manifest(a), _manifest(b)
    digests = ours.get("tokenizer_sha256"), theirs.get("tokenizer_sha256")
    if digests[0] is None or digests[0] != digests[1]:
        return "the tokenizers differ or are not known, so a token of one is none of the other"
    first, second = _validation_digests(ours), _validation_digests(theirs)
    length = [_settings(shot).get("max_tokens") for shot in (a, b)]
    if first and second:
        if length[0] != length[1]:
            return "validation rows may have been cut at other lengths: max_tokens differ"
        return "" if first == second else "other validation rows were measured"
    known = _data(a, ours), _data(b, theirs)
    differ = [name for name in known[0] if known[0][name] != known[1][name]]
    if differ:
        return f"other validation rows may have been measured: {', '.join(differ)} differ"
    return ""


def _validation_digests(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Of a manifest: the digests of its validation rows, source by source."""
    found = manifest.get(row_digests.KEY)
    if not isinstance(found, Mapping):
        return {}
    return {k: v for k, v in found.items() if str(k).startswith(f"{row_digests.VALIDATION} ")}


def _settings(shot: Side) -> Mapping[str, Any]:
    return shot.state.run.settings if shot.state.run is not None else {}


def _data(shot: Side, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What decides which rows validation asks, and how long they are."""
    settings = _settings(shot)
    folder = settings.get("data_dir")
    if isinstance(folder, str) and isinstance(manifest.get("cwd"), str):
        # A relative folder is another one elsewhere.
        folder = os.path.normpath(Path(manifest["cwd"]) / folder)
    own = settings.get("source") == "starter"
    return {
        "data_dir": folder,
        "max_tokens": settings.get("max_tokens"),
        "validation": settings.get("validation"),
        "skip_bad_rows": settings.get("skip_bad_rows"),
        "the starter's own data": own,
        # Runs of earlier versions shuffled their validation rows with the seed.
        "seed": None if own else settings.get("seed"),
    }


def _manifest(shot: Side) -> Mapping[str, Any]:
    try:
        return shot.run.read_manifest() if shot.run is not None else {}
    except SftuiError:
        return {}


def _paired_tasks(a: Side, b: Side) -> list[tuple[TaskPair, Evidence | None, Evidence | None]]:
    """The last evaluation of every task that both were asked, and what is to be judged of it."""
    boards = [Scoreboard(s.run.path if s.run is not None else None) for s in (a, b)]
    scores = [board.scores(side.state) for board, side in zip(boards, (a, b), strict=True)]
    asked = {_task_key(task): task for task, results in b.state.evals.items() if results}
    found: list[tuple[TaskPair, Evidence | None, Evidence | None]] = []
    for task, ours in a.state.evals.items():
        name = asked.get(_task_key(task))
        if name is None or not ours:
            continue
        theirs = b.state.evals[name]
        step_a, step_b = max(ours), max(theirs)
        before, now = boards[0].evaluation(ours[step_a]), boards[1].evaluation(theirs[step_b])
        own = _scatter(scores[0].scatter.get(task), scores[1].scatter.get(name))
        pair = TaskPair(
            task=task,
            step_a=step_a,
            step_b=step_b,
            a=before,
            b=now,
            judged=None,
            gold=None,
            reason=why_not_paired(now, before),
        )
        difference = compare_evaluations(now, before, own=own)
        if difference is not None and before.one_letter is not None:
            # Whichever run is named first: nothing is claimed where one has one letter alone.
            difference = replace(difference, one_letter=now.one_letter or before.one_letter)
        found.append((pair, difference, compare_gold(now, before)))
    return found


def _scatter(*sides: Scatter | None) -> Scatter | None:
    """How much the checkpoints of both scatter: the mean variance of what is known."""
    known = [own for own in sides if own is not None]
    if not known:
        return None
    return Scatter(
        beyond=sum(own.beyond for own in known) / len(known),
        total=sum(own.total for own in known) / len(known),
        freedom=sum(own.freedom for own in known),
    )
