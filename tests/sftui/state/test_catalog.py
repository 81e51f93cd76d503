"""Every number is a curve: results in columns give back what was put in, and all are listed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.state.catalog import Catalog
from sftui.state.records import Validation
from sftui.state.results import Evaluations, Validations
from sftui.state.run_state import RunState
from sftui.statistics.validation_scores import LossBoard
from tests.sftui.fake_run import fake_run

_LOSS = st.floats(0, 9) | st.just(math.inf) | st.just(math.nan)
_SECONDS = st.none() | st.floats(0, 99)


@st.composite
def validations(draw: st.DrawFn) -> Validation:
    """Any validation of a short run, some with a file, some of another metric."""
    return Validation(
        step=draw(st.integers(0, 30)),
        loss=draw(_LOSS),
        metric=draw(st.sampled_from(("loss", "loss", "bpb"))),
        seconds=draw(_SECONDS),
        t=draw(_SECONDS),
        rows_file=draw(st.sampled_from((None, None, "evals/rows.npz"))),
    )


@given(st.lists(validations(), max_size=30), st.none() | st.integers(0, 30))
def test_validations_in_columns_are_those_that_were_put_in(
    found: list[Validation], cut: int | None
) -> None:
    """The columns against a plain dict: records to the bit, order, best and newest."""
    columns, plain = Validations(), {}
    for validation in found:
        columns.put(validation)
        plain[validation.step] = validation
    if cut is not None:
        columns.drop_after(cut)
        plain = {step: each for step, each in plain.items() if step <= cut}
    assert repr(list(columns.items())) == repr(sorted(plain.items()))
    finite = [each for each in plain.values() if math.isfinite(each.loss)]
    best = min(finite, key=lambda each: (each.loss, each.step), default=None)
    assert columns.best == best
    assert repr(list(columns.ordered)) == repr([plain[step] for step in sorted(plain)])
    for place in range(-1, 32):
        before = [step for step in plain if step <= place]
        assert repr(columns.until(place)) == repr(plain[max(before)] if before else None)


@st.composite
def evaluations(draw: st.DrawFn) -> ev.EvalFinished:
    """Any result of one task: with and without counts, letters, times and files."""
    total = draw(st.none() | st.integers(1, 200))
    return ev.EvalFinished(
        step=draw(st.integers(0, 30)),
        task="arc",
        total=total,
        correct=None if total is None else draw(st.integers(0, total)),
        accuracy=draw(st.none() | st.floats(0, 1)),
        chance=draw(st.none() | st.just(0.25)),
        seconds=draw(_SECONDS),
        letters=draw(st.sampled_from(({}, {"A": 3}))),
        items_file=draw(st.sampled_from((None, "evals/items.npz"))),
        stamp=ev.Stamp(src="log", run="r", t=draw(_SECONDS), seq=draw(st.integers(0, 1))),
    )


@given(st.lists(evaluations(), max_size=30), st.none() | st.integers(0, 30))
def test_evaluations_in_columns_are_those_that_were_put_in(
    found: list[ev.EvalFinished], cut: int | None
) -> None:
    """The columns against a plain dict, and the errors of those with counts."""
    columns, plain = Evaluations("arc"), {}
    for result in found:
        assert result.step is not None
        columns.put(result.step, result)
        plain[result.step] = result
    if cut is not None:
        columns.drop_after(cut)
        plain = {step: each for step, each in plain.items() if step <= cut}
    assert list(columns.items()) == sorted(plain.items(), key=lambda item: item[0])
    for i, step in enumerate(sorted(plain)):
        result = plain[step]
        error = float(columns.error.y[i])
        if result.correct is None or not result.total:
            assert math.isnan(error)
        else:
            p = result.correct / result.total
            assert error == pytest.approx(math.sqrt(p * (1 - p) / result.total), abs=1e-7)


def test_every_change_of_results_is_another_version() -> None:
    """What judges once per change may trust the version, across runs too."""
    seen = set()
    for _ in range(2):
        found = Evaluations("arc")
        seen.add(found.version)
        for step in (1, 2):
            found.put(step, ev.EvalFinished(step=step, task="arc", accuracy=0.5))
            seen.add(found.version)
        found.drop_after(1)
        seen.add(found.version)
    assert len(seen) == 8


def test_every_number_of_a_run_is_a_curve() -> None:
    """Updates, rates, validation, accuracies, free metrics and ranks, each with its points."""
    state = RunState()
    for event in fake_run():
        state.apply(event)
    state.apply(ev.MetricLogged(step=3, values={"reward": 0.5, "loss": 7.0}))
    catalog = Catalog(state)
    names = catalog.names()
    assert len(set(names)) == len(names)
    assert names[0] == "loss"
    for name in ("grad_norm", "val/loss", "accuracy/MMLU", "reward", "metric/loss"):
        assert name in names
    assert any(name.startswith("lr/") for name in names)
    assert any(name.startswith("rank 0/memory") for name in names)
    for name in names:
        series = catalog.series(name)
        assert len(series.x) == len(series.y) > 0
        assert not series.empty
    assert catalog.series("val/loss").y[0] == pytest.approx(state.validations[0].loss)
    assert catalog.entry("accuracy/MMLU").error is not None
    with pytest.raises(KeyError):
        catalog.entry("no such curve")


def test_results_of_many_steps_are_read_one_by_one() -> None:
    """The newest of a hundred thousand validations is one record, not a list of them."""
    state = RunState()
    event = ev.ValidationFinished(step=0, loss=1.0, stamp=ev.Stamp(src="csv"))
    for step in range(100_000):
        state.apply(replace(event, step=step, loss=2.0 - step / 100_000))
    assert state.best_validation is not None
    assert state.best_validation.step == state.validation_list()[-1].step == 99_999
    assert state.newest_place == 99_999
    low, high = state.validations.loss.columns(0, 99_999, 100)
    # A group of points belongs to the part in which it starts: half a part at most.
    assert low[0] == pytest.approx(2.0 - 999 / 100_000, abs=0.5 / 100)
    assert high[0] == 2.0


def test_changes_of_validations_are_judged_anew_when_one_is_another() -> None:
    """Records are made when they are read: what was judged is known by value, not by identity."""
    board, state = LossBoard(), RunState()
    for step, loss in ((0, 2.0), (50, 1.5)):
        state.apply(ev.ValidationFinished(step=step, loss=loss))
    assert board.changes(state.validation_list())[50, "start"].change == -0.5
    state.apply(ev.ValidationFinished(step=50, loss=1.0))
    assert board.changes(state.validation_list())[50, "start"].change == -1.0
