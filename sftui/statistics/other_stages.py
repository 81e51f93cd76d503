"""The start and the end of a training whose log evaluates them with a program of their own.

nanochat's chat_eval runs between two trainings: what it says is of the end of the first, which
is the start of the second. A stage whose first evaluation came after some training is compared
with that start, where the log holds it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine import events as ev
from sftui.state.run_state import RunState
from sftui.statistics.paired_tests import Evaluation, Judged, compare_evaluations, judge
from sftui.statistics.scores import Scoreboard, sentence
from sftui.text.clean import clean

Found = tuple[str, ev.EvalFinished]
"""Name of the stage, and its result."""


class StageOfLog(Protocol):
    """One program of a log."""

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> RunState: ...


MOST_PROGRAMS = 100
"""Programs before and behind a training that are looked at: each stage of a log asks for its own,
and a log may hold thousands that train nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromStart:
    """The last result of a task against the start's, which other stages of the log hold."""

    task: str
    first: int
    """Step of the stage's own first evaluation."""
    last: int
    stages: tuple[str, str]
    """Names of those that hold the start's and the last result."""
    before: Evaluation
    now: Evaluation
    judged: Judged | None
    """None where an accuracy is unknown."""


def start_results(stages: Sequence[StageOfLog], shown: int) -> Mapping[str, Found]:
    """Task -> result of the starting checkpoint of stage `shown`, from the stages before it."""
    return _results(stages, range(shown - 1, -1, -1))


def from_other_stages(
    stages: Sequence[StageOfLog], shown: int, board: Scoreboard
) -> dict[str, FromStart]:
    """Tasks that stage `shown` did not ask its start, but another stage did; one family."""
    mine = stages[shown]
    asked = {task: by_step for task, by_step in mine.state.evals.items() if by_step}
    if all(min(by_step) == 0 for by_step in asked.values()):
        return {}
    starts = start_results(stages, shown)
    ends = _results(stages, range(shown + 1, len(stages)))
    pairs: dict[str, tuple[Found, Found]] = {}
    for task, by_step in asked.items():
        if min(by_step) == 0 or task not in starts:
            continue
        # On the same number of questions where the end was asked them too: a subset differs.
        end = ends.get(task)
        same = end is not None and end[1].total == starts[task][1].total
        own = (mine.name, by_step[max(by_step)])
        pairs[task] = starts[task], end if same and end is not None else own
    known = {
        task: (board.evaluation(start[1]), board.evaluation(end[1]))
        for task, (start, end) in pairs.items()
    }
    comparisons = {
        task: found
        for task, (before, now) in known.items()
        if (found := compare_evaluations(now, before)) is not None
    }
    words = dict(zip(comparisons, judge(list(comparisons.values()), headline=True), strict=True))
    return {
        task: FromStart(
            task=task,
            first=min(mine.state.evals[task]),
            last=max(mine.state.evals[task]),
            stages=(start[0], end[0]),
            before=known[task][0],
            now=known[task][1],
            judged=words.get(task),
        )
        for task, (start, end) in pairs.items()
    }


def from_start_words(found: FromStart) -> str:
    """As `scores.score_lines` says it, with the stages that the results come from."""
    start, end = (clean(name, 40) for name in found.stages)
    told = sentence(found.judged) if found.judged is not None else "an accuracy is not known"
    return (
        f"{clean(found.task, 40)} at step {found.last} (stage {end}) against the start "
        f"(stage {start}): {told}"
    )


def _results(stages: Sequence[StageOfLog], order: Iterable[int]) -> Mapping[str, Found]:
    found: dict[str, Found] = {}
    for number in itertools.islice(order, MOST_PROGRAMS):
        stage = stages[number]
        if len(stage.state.steps):
            break  # another training: these are other weights
        for task, by_step in stage.state.evals.items():
            if by_step:
                found.setdefault(task, (stage.name, by_step[max(by_step)]))
    return found
