"""Columns and single events are two ways to say the same to `RunState`."""

from array import array

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.events import AttemptStarted, RunStarted, Stamp, StepBatch, ValidationFinished
from sftui.state.run_state import RunState

_value = st.floats(width=32, allow_nan=True, allow_infinity=True)
_NAMES = (
    *("loss", "loss_micro_last", "lr_mult", "grad_norm", "lrs/wte", "tokens", "mfu", "loss/x"),
    *("validation:loss", "validation:bpb", "accuracy:MMLU"),
)


@st.composite
def batches(draw) -> StepBatch:
    """Rows of any order, as a log may print them."""
    steps = draw(st.lists(st.integers(0, 40), min_size=1, max_size=12))
    if draw(st.booleans()):
        steps = sorted(set(steps))
    names = draw(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=5, unique=True))
    columns = {}
    for name in names:
        value = st.integers(0, 10**6) if name == "tokens" else _value
        columns[name] = array("d", draw(st.lists(value, min_size=len(steps), max_size=len(steps))))
    # A row without a number would be seen at its time by one way and not at all by the other.
    assume(all(any(not np.isnan(c[i]) for c in columns.values()) for i in range(len(steps))))
    times = array("d", [1e9 + s for s in steps]) if draw(st.booleans()) else array("d")
    stamp = Stamp(att=draw(st.integers(1, 2)), t=times[-1] if times else None)
    return StepBatch(
        step=steps[-1], stamp=stamp, steps=array("q", steps), columns=columns, times=times
    )


def facts(state: RunState) -> list:
    """All that a screen could see of the updates, NaN printed."""
    tables = {"steps": state.steps, **state.metrics}
    out: list = [state.updates, state.nonfinite, state.badge, state.first_t, state.last_t]
    out += [state.last_step and state.last_step.step, len(state.replaced), state.attempt]
    for name, table in tables.items():
        columns = {n: table.column(n).tolist() for n in sorted(table.names)}
        known = {n: c for n, c in columns.items() if not np.isnan(c).all()}
        out.append((name, table.x.tolist(), str(known)))
    validations = (state.validations, *state.other_validations.values())
    out += [(str(found), str(found.best)) for found in validations]
    out += [str(found) for found in state.evals.values()]
    return out


@given(st.lists(batches(), max_size=5), st.booleans())
def test_a_batch_and_its_rows_give_one_state(parts, with_head):
    """Folding the columns at once is folding their rows one by one."""
    whole, single = RunState(), RunState()
    if with_head:
        for state in (whole, single):
            state.apply(RunStarted(name="run", stamp=Stamp(t=1e9)))
            state.apply(AttemptStarted(start_step=0))
    for batch in parts:
        whole.apply(batch)
        for event in batch.rows():
            single.apply(event)
    assert facts(whole) == facts(single)


@given(batches(), st.integers(0, 12), st.integers(0, 12))
def test_a_cut_batch_is_its_rows_cut(batch, start, stop):
    """`cut` takes rows as a slice takes items."""
    start, stop = sorted((min(start, len(batch.steps)), min(stop, len(batch.steps))))
    steps = [event.step for event in batch.cut(start, stop).rows()]
    assert steps == [e.step for i in range(start, stop) for e in batch.cut(i, i + 1).rows()]


def test_results_of_later_steps_stay():
    """A batch leaves validations alone unless a new attempt begins with it."""
    state = RunState()
    state.apply(ValidationFinished(step=0, loss=1.0))
    state.apply(
        StepBatch(step=2, steps=array("q", [0, 1, 2]), columns={"loss": array("d", [3, 2, 1])})
    )
    assert state.validations[0].loss == 1.0
    assert state.steps.column("loss").tolist() == [3, 2, 1]


_UPDATES = ("loss", "grad_norm", "lrs/wte", "tokens")


@st.composite
def updates_in_any_order(draw) -> StepBatch:
    """Updates whose steps and times rise, fall and come again, as ranks print into one log."""
    rows = draw(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 30)), min_size=9))
    names = draw(st.lists(st.sampled_from(_UPDATES), min_size=1, unique=True))
    columns = {}
    for name in names:
        value = st.integers(0, 10**6) if name == "tokens" else _value.filter(lambda v: v == v)
        columns[name] = array("d", draw(st.lists(value, min_size=len(rows), max_size=len(rows))))
    times = array("d", [1e9 + t for _, t in rows]) if draw(st.booleans()) else array("d")
    stamp = Stamp(att=draw(st.integers(1, 3)), t=times[-1] if times else None)
    steps = array("q", [step for step, _ in rows])
    return StepBatch(step=steps[-1], stamp=stamp, steps=steps, columns=columns, times=times)


@given(st.lists(st.one_of(updates_in_any_order(), batches()), max_size=4))
def test_updates_in_any_order_give_the_state_of_their_rows(parts):
    whole, single = RunState(), RunState()
    for batch in parts:
        whole.apply(batch)
        for event in batch.rows():
            single.apply(event)
    assert facts(whole) == facts(single)


def test_a_step_that_stands_thousands_of_times_is_folded_once(monkeypatch):
    """Eight ranks that print every step into one log: columns, not 100,000 events."""
    steps = array("q", [at // 16 + at % 2 for at in range(100_000)])
    batch = StepBatch(
        step=steps[-1], steps=steps, columns={"loss": array("d", map(float, range(100_000)))}
    )
    made = []
    rows = StepBatch.rows

    def counted(self):
        made.append(len(self.steps))
        return rows(self)

    monkeypatch.setattr(StepBatch, "rows", counted)
    state = RunState()
    state.apply(batch)
    assert len(state.steps) == len(set(steps))
    assert state.steps.last("loss") == 99_999.0
    assert sum(made) <= 1
