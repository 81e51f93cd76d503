"""The order of the checkpoint browser's rows, and a list of a hundred thousand."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.checkpoints.checkpoint_list import CheckpointList
from sftui.checkpoints.checkpoint_order import AGE, SAVED, SIZE, VAL, Order, Rows, columns, ordered
from sftui.checkpoints.checkpoint_row import CheckpointRow
from sftui.drawing.canvas import Grid
from sftui.state.records import Checkpoint
from sftui.state.run_state import RunState
from sftui.statistics.scored import accuracy_of
from sftui.view.view import View
from sftui.widgets.checkpoint_table import CheckpointTable
from tests.conftest import examples
from tests.sftui.fake_run import START

MANY = 100_000


def saved(step: int, **values: object) -> Checkpoint:
    known = {"path": f"c{step}", "size_bytes": None, "val_loss": None, "t": None, **values}
    return Checkpoint(step=step, reason="schedule", kind="hf", **known)  # type: ignore[arg-type]


def run_of(losses: dict[int, float], rights: dict[int, int]) -> RunState:
    state = RunState()
    told: list[ev.Event] = [ev.ValidationFinished(step=s, loss=x) for s, x in losses.items()]
    told += [ev.EvalFinished(step=s, task="T", correct=k, total=9) for s, k in rights.items()]
    for event in told:
        state.apply(event)
    return state


def number(state: RunState, row: CheckpointRow, column: str) -> float | None:
    """What the row shows in a column."""
    if column == SAVED:
        return row.step
    if column == VAL:
        return state.checkpoint_loss(row.known)
    if column == SIZE:
        return None if row.known.removed else row.known.size_bytes
    if column == AGE:
        return None if row.known.t is None else -row.known.t
    result = state.evals[column].get(row.step)
    return None if result is None else accuracy_of(result)


numbers = st.floats(0, 9) | st.sampled_from([math.nan, 1.0, 2.0])


@given(
    st.lists(st.integers(0, 12), max_size=12, unique=True),
    st.dictionaries(st.integers(0, 12), numbers, max_size=9),
    st.dictionaries(st.integers(0, 12), st.integers(0, 9), min_size=1, max_size=9),
    st.data(),
)
@examples(25)
def test_rows_stand_by_what_they_show_and_unknown_ones_last(
    steps: list[int], losses: dict[int, float], rights: dict[int, int], data: st.DataObject
) -> None:
    """By any column, either way; rows that show the same stay as they were."""
    state = run_of(losses, rights)
    known = [
        saved(
            step,
            size_bytes=data.draw(st.none() | st.integers(0, 3)),
            val_loss=data.draw(st.none() | numbers),
            t=data.draw(st.none() | st.floats(0, 3)),
        )
        for step in sorted(steps, reverse=True)
    ]
    rows = Rows(known, {}, None)
    for column in columns(state):
        for turned in (False, True):
            order = Order(column, turned)
            shown = list(ordered(rows, state, order))
            values = [number(state, row, column) for row in shown]
            told = [v for v in values if v is not None and math.isfinite(v)]
            # What is known comes first.
            assert told == values[: len(told)]
            assert told == sorted(told, reverse=not order.rises)
            assert sorted(row.step for row in shown) == sorted(steps)
            if not told:
                assert [row.known for row in shown] == known
        again = ordered(rows, state, order)
        assert [again.place_of(row.known) for row in again] == list(range(len(rows)))


def test_the_first_way_round_is_what_one_looks_for() -> None:
    """The lowest loss, the highest accuracy, the newest; the same column again turns it."""
    state = run_of({1: 3.0, 2: 1.0, 3: 2.0}, {1: 9, 2: 5, 3: 7})
    rows = Rows([saved(3, t=3.0), saved(2, t=2.0), saved(1, t=1.0)], {}, 2)

    def steps(order: Order) -> list[int]:
        return [row.step for row in ordered(rows, state, order)]

    assert steps(Order(VAL)) == [2, 3, 1]
    assert steps(Order("T")) == [1, 3, 2]
    assert steps(Order(AGE)) == [3, 2, 1]
    assert steps(Order()) == [3, 2, 1]
    assert steps(Order().by(VAL).by(VAL)) == [1, 3, 2]


@pytest.fixture(scope="module")
def many() -> RunState:
    """A hundred thousand checkpoints of another trainer, each with its loss and two tasks."""
    state = RunState()
    rng = np.random.default_rng(1)
    losses = rng.random(MANY)
    for step in range(MANY):
        state.apply(
            ev.CheckpointSaved(step=step, path=f"c{step}", kind="hf", val_loss=float(losses[step]))
        )
    for step in range(0, MANY, 100):
        state.apply(ev.EvalFinished(step=step, task="T", correct=step % 90, total=90))
        state.apply(ev.ValidationFinished(step=step, loss=float(losses[step])))
    return state


def test_a_hundred_thousand_rows_cost_what_a_hundred_cost(many: RunState) -> None:
    """A key is answered within a tenth of a second of CPU: moved, sorted, drawn."""
    table = CheckpointTable(many, View(now=lambda: START), CheckpointList(None), id="table")
    table.reload()
    table.move(MANY)
    table.paint(Grid(40, 150))  # scipy is imported for the first judgement
    table.move(-MANY)
    spent: dict[str, float] = {}
    for name, press in (
        ("down", lambda: table.move(1)),
        ("end", lambda: table.move(MANY)),
        ("sort", table.sort_next),
        ("turn", table.sort_turned),
        ("sort by the task", table.sort_next),
        ("again, once a second", table.reload),
    ):
        before = time.process_time()
        press()
        table.paint(Grid(40, 150))
        spent[name] = time.process_time() - before
    assert max(spent.values()) < 0.1, spent
    assert table.chosen is not None
