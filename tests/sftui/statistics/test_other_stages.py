"""A training whose start was evaluated by another program of the same log."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui import report, run_json
from sftui.commands import show
from sftui.sources import snapshot
from sftui.state.run_state import RunState
from sftui.statistics.other_stages import MOST_PROGRAMS, from_other_stages, from_start_words
from sftui.statistics.paired_tests import CLEAR
from sftui.statistics.scores import Scoreboard
from tests.conftest import SHARED, needs_shared

STARTED_LATE = SHARED / "logs" / "nanochat" / "speedrun_d20_2gpu_oct2025.log"


@dataclass(frozen=True)
class Part:
    """One program of a log: steps that it trained, and (step, right of 1,000) of one task."""

    name: str
    steps: int = 0
    evals: tuple[tuple[int, int], ...] = ()
    state: RunState = field(default_factory=RunState)

    def __post_init__(self) -> None:
        for step in range(self.steps):
            self.state.apply(ev.StepFinished(step=step, loss=1.0))
        for at, right in self.evals:
            self.state.apply(ev.EvalFinished(step=at, task="MMLU", correct=right, total=1000))


right = st.integers(0, 1000)


@given(right, right, st.lists(right, min_size=1, max_size=5), right)
def test_the_start_is_that_of_the_stage_before(
    before: int, start: int, during: list[int], end: int
) -> None:
    """Not of an earlier training, not of the stage's own first evaluation."""
    evals = tuple((100 * i, value) for i, value in enumerate(during, start=1))
    log = [
        Part("chat_eval", evals=((0, before),)),
        Part("mid_train", steps=3),
        Part("chat_eval", evals=((0, start),)),
        Part("chat_sft", steps=600, evals=evals),
        Part("chat_eval", evals=((0, end),)),
    ]
    found = from_other_stages(log, 3, Scoreboard())["MMLU"]
    assert found.judged is not None
    assert found.judged.comparison.difference == pytest.approx((end - start) / 1000)
    assert "against the start (stage chat_eval)" in from_start_words(found)
    assert (found.first, found.last) == (100, 100 * len(during))


def test_the_stages_own_start_is_not_replaced() -> None:
    """Where the training itself asked its start, that is the same questions."""
    log = [
        Part("chat_eval", evals=((0, 300),)),
        Part("chat_sft", steps=3, evals=((0, 310), (3, 500))),
    ]
    assert from_other_stages(log, 1, Scoreboard()) == {}


@needs_shared
def test_show_and_report_say_the_same_of_a_start_that_was_evaluated_elsewhere() -> None:
    """The speedrun's first own evaluation is of step 200; against the start nothing is shown."""
    shot = snapshot.read(str(STARTED_LATE))
    lines = [line for line in show.summary_lines(shot) if " against " in line]
    assert len(lines) == 2
    assert all("against the start (stage chat_eval): no evidence" in line for line in lines)
    told = json.loads(run_json.as_json(shot))["stages"][shot.shown]["from_start"]
    assert {each["task"] for each in told} == {"MMLU", "ARC-Easy"}
    text = report.markdown(report.open_facts(str(STARTED_LATE), command="x"), "en", stem="r")
    for each in told:
        assert each["verdict"] != CLEAR
        assert f"{each['points']:+.2f} points from the start" in text


def test_a_log_of_thousands_of_evaluations_is_not_looked_through_for_each() -> None:
    """The nearest programs that trained nothing are asked; of all, 40,000 would ask each other."""
    looks = 0

    class Looked:
        name = "chat_eval"

        def __init__(self, part: Part) -> None:
            self._part = part

        @property
        def state(self) -> RunState:
            nonlocal looks
            looks += 1
            return self._part.state

    one = Looked(Part("chat_eval", evals=((100, 300),)))
    log = [one] * 5000
    found = from_other_stages(log, 2500, Scoreboard())
    assert found["MMLU"].stages == ("chat_eval", "chat_eval")
    assert looks < 5 * MOST_PROGRAMS
    looks = 0
    asked_its_start = Looked(Part("chat_sft", evals=((0, 300), (9, 310))))
    assert from_other_stages([*log, asked_its_start], 5000, Scoreboard()) == {}
    assert looks == 1
