"""A hundred thousand validations, evaluations and checkpoints are no other case than a hundred."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.drawing.canvas import Grid
from sftui.state.records import Checkpoint
from sftui.state.run_state import RunState
from sftui.statistics import chatcore_looks
from sftui.statistics.chatcore import CHANCE
from sftui.statistics.scores import Scoreboard
from sftui.view.view import View
from sftui.widgets import accuracy_chart
from sftui.widgets.accuracy_chart import AccuracyChart
from sftui.widgets.benchmarks import Benchmarks
from sftui.widgets.checkpoint_panel import CheckpointPanel
from sftui.widgets.loss_chart import LossChart
from sftui.widgets.now import Now
from sftui.widgets.panel import Panel
from sftui.widgets.run_header import RunHeader
from sftui.widgets.small_summary import SmallSummary
from sftui.widgets.validation_table import ValidationTable
from tests.conftest import examples

PANELS: tuple[type[Panel], ...] = (
    Benchmarks, ValidationTable, AccuracyChart, LossChart, CheckpointPanel, Now, RunHeader,
    SmallSummary,
)  # fmt: skip


def results(step: int, noise: random.Random) -> Iterator[ev.Event]:
    stamp = ev.Stamp(src="csv", t=1.7e9 + step / 10)
    falling = math.exp(-step / 1000)
    loss = 1 + falling + noise.gauss(0, 0.02)
    right = round(700 - 300 * falling + noise.gauss(0, 10))
    yield ev.ValidationFinished(step=step, loss=loss, stamp=stamp)
    yield ev.EvalFinished(step=step, task="GSM8K", correct=right, total=1000, stamp=stamp)
    yield ev.CheckpointSaved(step=step, path=f"checkpoints/{step}", stamp=stamp)


def painted(length: int) -> dict[str, float]:
    """CPU seconds that each panel takes after one more of each; the least of some times."""
    state, noise = RunState(), random.Random(0)
    for step in range(length):
        for event in results(step, noise):
            state.apply(event)
    view = View(now=lambda: 1.8e9)
    panels = [kind(state, view, id=kind.__name__) for kind in PANELS]
    spent = dict.fromkeys((panel.id or "" for panel in panels), math.inf)
    for step in range(length, length + 6):
        for event in results(step, noise):
            state.apply(event)
        for panel in panels:
            begin = time.process_time()
            panel.paint(Grid(24, 100))
            hash(panel.clock)  # what a second of the clock costs
            took = time.process_time() - begin
            spent[panel.id or ""] = min(spent[panel.id or ""], took)
    return spent


def test_one_more_of_a_hundred_thousand_results_is_painted_as_one_of_a_hundred() -> None:
    """Every panel that shows them; some passes over columns are all that may grow."""
    few, many = painted(100), painted(100_000)
    for name, seconds in many.items():
        assert seconds < 6 * few[name] + 0.006, (name, seconds, few[name])


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.none() | st.integers(0, 9), st.booleans()), max_size=30
    )
)
@examples(60)
def test_the_best_evaluation_and_what_all_reach_are_those_of_all_rows(
    told: list[tuple[int, int | None, bool]],
) -> None:
    """Steps in any order, measured again and dropped; asked for after each or in the end."""
    state = RunState()
    found: dict[int, tuple[float, float]] = {}
    for step, right, counted in told:
        if right is None:  # the run was taken up again from here
            state.apply(ev.AttemptStarted(start_step=step, stamp=ev.Stamp(att=state.attempt + 1)))
            found = {at: value for at, value in found.items() if at <= step}
            continue
        total = 9 if counted else None
        stamp = ev.Stamp(att=state.attempt)
        result = ev.EvalFinished(
            step=step, task="T", correct=right if counted else None, total=total,
            accuracy=right / 9 if right % 3 else math.nan, stamp=stamp,
        )  # fmt: skip
        state.apply(result)
        value = right / 9 if counted or right % 3 else math.nan
        found[step] = (value, math.sqrt(value * (1 - value) / 9) if counted else 0.0)
        evals = state.evals["T"]
        assert evals[step].correct == result.correct
        assert evals[step] is evals[step], "made once"
    if not found:
        return
    evals = state.evals["T"]
    steps = sorted(found)
    assert list(evals) == steps
    best = max(steps, key=lambda at: (np.nan_to_num(found[at][0]), -at))
    assert evals.top_step == best
    reach = [pair for pair in found.values() if not math.isnan(pair[0])]
    if not reach:
        assert evals.reach is None
        return
    assert evals.reach == pytest.approx(
        (min(v - e for v, e in reach), max(v + e for v, e in reach)), abs=1e-6
    )


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("part", [None, (1200.5, 1900.0), (0.0, 7000.0)])
def test_a_line_through_many_evaluations_is_that_through_all_of_them(
    part: tuple[float, float] | None, unknown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tasks of 6,000, one with errors: the cells do not tell that some were left out."""
    state, noise = RunState(), random.Random(0)
    for step in range(0, 12_000, 2):
        right = None if unknown and step % 70 == 0 else 300 + noise.randrange(200)
        state.apply(
            ev.EvalFinished(step=step, task="counted", correct=right, total=1000, accuracy=None)
        )
        state.apply(ev.EvalFinished(step=step + 1, task="plain", accuracy=noise.random() / 2))
    view = View(now=lambda: 1.8e9)
    view.viewport.part = part
    grids = []
    for many in (4, math.inf):
        monkeypatch.setattr(accuracy_chart, "_MANY", many)
        grid = Grid(24, 100)
        AccuracyChart(state, view, id="accuracy").paint(grid)
        grids.append(grid)
    assert not grids[0].changed_from(grids[1]).any()
    assert sum(map(str.isspace, grids[0].lines()[10])) < 90, "and there are lines"


@given(st.lists(st.tuples(st.sampled_from("srx"), st.integers(0, 6), st.booleans()), max_size=25))
@examples(60)
def test_checkpoints_stand_in_the_order_of_a_sort(told: list[tuple[str, int, bool]]) -> None:
    """Saved, saved again, removed and exported in any order; looked at or not in between."""
    state = RunState()
    for what, step, looked in told:
        path = f"checkpoints/{step}" + ("x" if what == "x" else "")
        kind: Any = "nanochat" if what == "x" else "sftui"
        if what == "r":
            state.apply(ev.CheckpointRemoved(step=step, path=path))
        else:
            state.apply(ev.CheckpointSaved(step=step, path=path, kind=kind))
        if looked:
            list(state.checkpoint_rows())
    every = list(state.checkpoints.values())
    wanted: list[Checkpoint] = sorted(
        (one for one in every if one.kind == "sftui"), key=lambda one: one.step, reverse=True
    )
    rows = state.checkpoint_rows()
    assert rows.steps.tolist() == [one.step for one in wanted][::-1]
    assert rows.removed.tolist() == [one.removed for one in wanted][::-1]
    assert rows.kept == sum(not one.removed for one in wanted)
    wanted += [one for one in every if one.kind != "sftui"]
    assert list(rows) == rows[:] == wanted
    assert [rows[i - len(rows)] for i in range(len(rows))] == wanted
    with pytest.raises(IndexError):
        rows[len(rows)]


@given(
    st.lists(
        st.tuples(st.sampled_from(list(CHANCE)), st.integers(0, 4), st.booleans()), max_size=40
    )
)
@examples(40)
def test_the_newest_chatcore_is_that_of_the_last_look(told: list[tuple[str, int, bool]]) -> None:
    state = RunState()
    for task, step, counted in told:
        right, total = (30, 100) if counted else (None, None)
        found = ev.EvalFinished(step=step, task=task, correct=right, total=total, accuracy=0.3)
        state.apply(found)
    looks = chatcore_looks.looks(Scoreboard(), state)
    newest = chatcore_looks.newest_score(state)
    assert newest == (looks[-1].scores[0] if looks else None)
