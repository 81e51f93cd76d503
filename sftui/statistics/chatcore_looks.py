"""ChatCORE of a run's evaluations: at each step where all its tasks were asked, and its change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from engine import events as ev
from sftui.state.results import Evaluations
from sftui.state.run_state import RunState
from sftui.state.series import Doubles
from sftui.statistics.chatcore import CHANCE, LETTERS, ChatCore, chatcore, chatcore_change
from sftui.statistics.paired_tests import Evaluation, Judged, judge, why_not_paired
from sftui.statistics.scores import Scoreboard, first_words
from sftui.text import format as fmt

Evals = Mapping[str, Mapping[int, ev.EvalFinished]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCoreLook:
    """The two numbers at one step, as far as their tasks are there."""

    step: int
    scores: tuple[ChatCore, ...]
    since: int | None = None
    """First step that has them too; None for that one itself."""
    judged: Mapping[str, Judged] = field(default_factory=dict)
    """Change since then by name, where the same questions were asked."""


def looks(board: Scoreboard, state: RunState) -> list[ChatCoreLook]:
    """All of them in order of steps, worked out once an evaluation; none without counts."""
    key = tuple((task, results.version) for task, results in state.evals.items())
    known = _KNOWN.get(board)
    if known is None or known[0] != key:
        known = _KNOWN[board] = key, _looks(board, state)
    return known[1]


def newest_score(state: RunState) -> ChatCore | None:
    """The first number of the newest step whose tasks give one; found from the newest back."""
    evals = {task: state.evals[task] for task in CHANCE if state.evals.get(task)}
    # No number without the counts of all tasks that are asked for their letter.
    if any(task not in evals for task in LETTERS):
        return None
    shared = _counted(evals[LETTERS[0]])
    for task in LETTERS[1:]:
        shared = np.intersect1d(shared, _counted(evals[task]), assume_unique=True)
    for step in shared[::-1].astype(int).tolist():
        if scores := chatcore(_counts(evals, step)):
            return scores[0]
    return None


def _counted(found: Evaluations) -> Doubles:
    """Steps whose right answers and questions are known; none of a log of bare accuracies."""
    if not found.table.written("correct"):
        return np.empty(0)
    return found.table.x[(found.table.column("total") > 0) & (found.table.column("correct") >= 0)]


def _counts(evals: Evals, step: int) -> dict[str, tuple[int, int]]:
    """Right answers and questions of the tasks that were asked at a step."""
    found = {task: results[step] for task, results in evals.items() if step in results}
    return {
        task: (result.correct, result.total)
        for task, result in found.items()
        if result.correct is not None and result.total
    }


_KNOWN: WeakKeyDictionary[Scoreboard, tuple[object, list[ChatCoreLook]]] = WeakKeyDictionary()


def _looks(board: Scoreboard, state: RunState) -> list[ChatCoreLook]:
    evals = {task: state.evals[task] for task in CHANCE if task in state.evals}
    if any(task not in evals or not len(_counted(evals[task])) for task in LETTERS):
        return []
    steps = sorted(set().union(*(found.keys() for found in evals.values())) if evals else ())
    found: list[ChatCoreLook] = []
    first: dict[str, Evaluation] = {}
    for step in steps:
        at = {task: results[step] for task, results in evals.items() if step in results}
        scores = chatcore(_counts(evals, step))
        if not scores:
            continue
        now = {task: board.evaluation(result) for task, result in at.items()}
        if not found:
            first = now
            found.append(ChatCoreLook(step=step, scores=tuple(scores)))
            continue
        found.append(
            ChatCoreLook(
                step=step,
                scores=tuple(scores),
                since=found[0].step,
                judged=change(now, first),
            )
        )
    return found


def change(now: Mapping[str, Evaluation], before: Mapping[str, Evaluation]) -> dict[str, Judged]:
    """ChatCORE now against before by name, judged together; none where the questions differ."""
    flips: dict[str, tuple[int, int, int]] = {}
    letter: tuple[str, float] | None = None
    for task, new in now.items():
        old = before.get(task)
        if old is None or why_not_paired(new, old):
            continue
        assert new.right is not None
        assert old.right is not None
        pairs = list(zip(new.right, old.right, strict=True))
        gained = sum(bool(a) and not b for a, b in pairs)
        lost = sum(bool(b) and not a for a, b in pairs)
        flips[task] = (gained, lost, len(pairs))
        letter = letter or new.one_letter
    comparisons = chatcore_change(flips, one_letter=letter)
    return dict(zip(comparisons, judge(list(comparisons.values()), headline=True), strict=True))


def number(value: float) -> str:
    """`0.1234`, as nanochat prints it."""
    return f"{value:.4f}"


def words(score: ChatCore) -> str:
    """`ChatCORE 0.1234 [0.0911, 0.1605]`."""
    return f"{score.name} {number(score.value)} [{number(score.low)}, {number(score.high)}]"


def change_words(judged: Judged) -> str:
    """`clear, +0.0312 [0.0100, 0.0524], p 0.004`."""
    found = judged.comparison
    interval = f"[{found.low:+.4f}, {found.high:+.4f}]"
    text = f"{judged.verdict}, {found.difference:+.4f} {interval}, p {found.p:.2g}"
    if judged.held_by == "letter" and found.one_letter is not None:
        letter, share = found.one_letter
        text += f", {fmt.percent(share, 0)} of the answers of a task are {letter}"
    return text


def lines(board: Scoreboard, state: RunState) -> list[str]:
    """The newest look in words, and its change since the first."""
    found = looks(board, state)
    if not found:
        return []
    last = found[-1]
    out = [f"{words(score)} at step {last.step}" for score in last.scores]
    if last.since is not None:
        since = first_words(last.since)
        since = f"the {since}" if last.since == 0 else since
        out += [
            f"{name} at step {last.step} against {since}: {change_words(judged)}"
            for name, judged in last.judged.items()
        ]
    return out


def score_dict(score: ChatCore) -> dict[str, Any]:
    """For `--json`."""
    return {
        "name": score.name,
        "value": round(score.value, 6),
        "interval": [round(score.low, 6), round(score.high, 6)],
        "tasks": list(score.tasks),
    }


def look_dicts(board: Scoreboard, state: RunState) -> list[dict[str, Any]]:
    """For `--json`: one entry a step."""
    return [
        {
            "step": look.step,
            "scores": [score_dict(score) for score in look.scores],
            "since": look.since,
            "against": {name: _judged_dict(judged) for name, judged in look.judged.items()},
        }
        for look in looks(board, state)
    ]


def scores_of(side: Mapping[str, Evaluation]) -> list[ChatCore]:
    """ChatCORE of one side of a comparison, as far as its tasks and their counts are there."""
    return chatcore(
        {
            task: (found.correct, found.total)
            for task, found in side.items()
            if found.correct is not None and found.total
        }
    )


def change_dicts(
    now: Mapping[str, Evaluation], before: Mapping[str, Evaluation]
) -> dict[str, dict[str, Any]]:
    """For `--json` of a comparison: both values, and the change where it is paired."""
    judged = change(now, before)
    pairs = zip(scores_of(before), scores_of(now), strict=False)
    return {
        ours.name: {
            "a": score_dict(ours),
            "b": score_dict(theirs),
            "change": _judged_dict(judged[ours.name]) if ours.name in judged else None,
        }
        for ours, theirs in pairs
        if ours.name == theirs.name
    }


def _judged_dict(judged: Judged) -> dict[str, Any]:
    found = judged.comparison
    return {
        "difference": round(found.difference, 6),
        "interval": [round(found.low, 6), round(found.high, 6)],
        "p": round(found.p, 6),
        "verdict": judged.verdict,
    }
