"""Evaluations are judged as they come, and as if all had been judged anew each time."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.state.records import Validation
from sftui.state.run_state import RunState
from sftui.statistics import families
from sftui.statistics.families import BASELINE, BEST, PREVIOUS, START
from sftui.statistics.monotone import MonotoneFit, monotone_rest
from sftui.statistics.paired_tests import Evaluation
from sftui.statistics.scores import Scoreboard
from sftui.statistics.validation_scores import MOST_JUDGED, LossBoard, p_of_order, p_of_orders
from tests.conftest import examples
from tests.sftui.statistics import judged_anew
from tests.sftui.statistics.judged_anew import Told, told

ITEMS = 60


class Memory(Scoreboard):
    """The product's judge with items in memory: of the evaluations that name a set of them."""

    def evaluation(self, result: ev.EvalFinished) -> Evaluation:
        found = super().evaluation(result)
        if not result.item_set:
            return found
        rng = np.random.default_rng([result.step or 0, result.correct or 0])
        right = np.zeros(ITEMS, dtype=bool)
        right[rng.permutation(ITEMS)[: result.correct or 0]] = True
        return replace(found, right=right)


class Elsewhere:
    """A baseline of one task."""

    name, flags = "base", ()

    def of(self, task: str) -> Evaluation | None:
        return Evaluation(correct=500, total=1000) if task == "T0" else None

    def doubt(self, task: str, total: int | None) -> str:
        return ""


def history(seed: int, length: int, kind: str) -> list[ev.Event]:
    """Evaluations of one to three tasks as a run writes them: rising or not, wobbling or not, with
    restarts that go back, evaluations that are done again, and some that come late."""
    rng = random.Random(seed)
    out: list[ev.Event] = []
    attempt, step = 1, 0
    rise, wobble = rng.choice([0, 0, 0.004, 0.02]), rng.choice([0, 0.01, 0.06])
    total = ITEMS if kind == "items" else rng.choice([100, 1000, 20_000])
    tasks = [f"T{i}" for i in range(rng.randint(1, 3))]
    for _ in range(length):
        for task in tasks:
            if rng.random() < 0.1:
                continue
            level = min(0.95, 0.4 + rise * step / 10 + rng.gauss(0, wobble))
            right = sum(rng.random() < level for _ in range(min(total, 200))) * total
            correct = right // min(total, 200)
            found = ev.EvalFinished(
                step=step, task=task, correct=correct, total=total,
                item_set="x" if kind == "items" else None,
                letters={"A": total} if kind == "letters" and rng.random() < 0.2 else {},
                stamp=ev.Stamp(seq=len(out) + 1, att=attempt),
            )  # fmt: skip
            if kind == "bare" and task == "T0":
                found = replace(found, correct=None, total=None, accuracy=correct / total)
            out.append(found)
        step += rng.choice([10, 10, 10, 5, 1])
        if rng.random() < 0.05:
            attempt, step = attempt + 1, max(0, step - 30)
            out.append(
                ev.AttemptStarted(
                    start_step=step, world_size=1, stamp=ev.Stamp(seq=len(out) + 1, att=attempt)
                )
            )
    if rng.random() < 0.3 and len(out) > 4:
        late = out.pop(rng.randrange(len(out)))
        out.append(replace(late, stamp=replace(late.stamp, att=attempt)))
    return out


def known(board: Scoreboard, state: RunState) -> dict[str, dict[int, Evaluation]]:
    return {
        task: {step: board.evaluation(found[step]) for step in found}
        for task, found in state.evals.items()
        if found
    }


def same(ours: Told, anew: Told) -> bool:
    """Equal to the last word; a p that two libraries work out may differ in its last digits."""
    mine, theirs = (replace(one.comparison, p_scatter=0.0) for one in (ours, anew))
    numbers = [
        (ours.p_adjusted, anew.p_adjusted),
        (ours.comparison.p_scatter, anew.comparison.p_scatter),
    ]
    return (
        repr(mine) == repr(theirs)
        and (ours.verdict, ours.held_by, ours.was_clear)
        == (anew.verdict, anew.held_by, anew.was_clear)
        and all(a == pytest.approx(b, rel=1e-9, abs=1e-300, nan_ok=True) for a, b in numbers)
    )


@given(
    st.integers(0, 10**9),
    st.integers(1, 14),
    st.sampled_from(["counts", "items", "letters", "bare"]),
    st.booleans(),
    st.sampled_from([0, 2000]),
)
@examples(60)
def test_evaluations_judged_as_they_come_are_judged_as_if_anew(
    seed: int, length: int, kind: str, with_base: bool, exactly: int
) -> None:
    """Restarts, repeats and late ones included; looked at after some of them, never all."""
    rng = random.Random(seed)
    base: Any = Elsewhere() if with_base else None
    board, state = Memory(None, base), RunState()
    events = history(seed, length, kind)
    bases = {"T0": Elsewhere().of("T0")} if with_base else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(families, "EXACTLY", exactly)
        for i, event in enumerate(events):
            state.apply(event)
            if not state.evals or (i < len(events) - 1 and rng.random() < 0.7):
                continue
            board.scores(state)
            if rng.random() < 0.5 and i < len(events) - 1:
                continue
            ours = {place: told(judged) for place, judged in board.scores(state).cells.items()}
            anew = judged_anew.cells(known(board, state), bases)
            assert ours.keys() == anew.keys()
            for place, wanted in anew.items():
                assert same(ours[place], wanted), (place, ours[place], wanted)
            afresh = Memory(None, base).scores(state)
            assert all(same(told(judged), ours[place]) for place, judged in afresh.cells.items())
            judged = [j for (_, _, name), j in ours.items() if name in (START, PREVIOUS)]
            assert afresh.compared == board.scores(state).compared <= len(judged)


def test_what_is_judged_in_columns_has_every_word_at_least_once() -> None:
    """Histories like those above have every verdict, and every reason that holds one back."""
    words: set[tuple[str, str]] = set()
    for seed in range(60):
        board, state = Scoreboard(), RunState()
        for event in history(seed, 14, "counts"):
            state.apply(event)
        if state.evals:
            cells = board.scores(state).cells
            words |= {(j.verdict, j.held_by) for j in cells.values()}
            words |= {("was clear", "") for j in cells.values() if j.was_clear}
    assert {word for word, _ in words} >= {"clear", "suggestive", "no evidence", "was clear"}
    assert {why for _, why in words} >= {"number", "scatter", "best"}


@given(st.lists(st.floats(-3, 3), max_size=40), st.lists(st.integers(0, 40), max_size=6))
@examples(50)
def test_a_fit_that_grows_is_the_fit_of_all(values: list[float], lengths: list[int]) -> None:
    grown, found = MonotoneFit(), np.array(values)
    for length in lengths:
        assert grown.rest(found[:length]) == monotone_rest(found[:length])


@given(st.integers(0, 10**9), st.integers(2, 40), st.sampled_from([0.0, 0.01, 0.1]))
@examples(30)
def test_validations_in_columns_are_judged_as_one_by_one(
    seed: int, length: int, noise: float
) -> None:
    rng = random.Random(seed)
    fall, digits = rng.choice([0.0, 0.02, 0.2]), rng.choice([1, 2, 9])
    found = [
        Validation(
            step=10 * i,
            loss=round(2 - fall * i + rng.gauss(0, noise), digits),
            metric="loss",
            seconds=None,
            t=None,
        )
        for i in range(length)
    ]
    if rng.random() < 0.2:
        found[rng.randrange(length)] = replace(found[0], step=10 * rng.randrange(1), loss=math.nan)
        found.sort(key=lambda v: v.step)
    if len({v.step for v in found}) < len(found):
        return
    board = LossBoard()
    changes = board.changes(found)
    made = {
        (found[i].step, found[j].step): changes._compare(i, j).comparison
        for i in range(1, length)
        for j in {0, i - 1}
    }
    anew = judged_anew.losses({v.step: v.loss for v in found}, made)
    assert set(changes) == set(anew)
    for place, wanted in anew.items():
        ours = changes[place].judged
        assert (ours.verdict, ours.held_by) == (wanted.verdict, wanted.held_by), place
        assert ours.p_adjusted == pytest.approx(wanted.p_adjusted, rel=1e-9, nan_ok=True)
    bases = [change.basis for change in changes.values()]
    assert changes.basis == min(bases, key=["rows", "scatter", "nothing"].index)


@given(st.lists(st.sampled_from([1.0, 1.1, 1.2, 1.5, 2.0, math.nan]), max_size=9), st.booleans())
@examples(60)
def test_the_order_of_every_beginning_is_that_of_the_beginning(
    values: list[float], ordered: bool
) -> None:
    values = sorted(values) if ordered else values
    for end, p in enumerate(p_of_orders(np.array(values)), start=1):
        alone = p_of_order(values[:end])
        assert p == pytest.approx(math.nan if alone is None else alone, rel=1e-12, nan_ok=True)


TURNS = 16
"""Of each the quickest counts."""


@pytest.mark.parametrize("wobble", [0.01, 0.06])
def test_one_more_of_a_hundred_thousand_evaluations_costs_what_it_costs_of_a_hundred(
    wobble: float,
) -> None:
    """The CPU time of judging one more and of reading the cells of a screen, 160 of them.

    Beside each a few passes over a column are timed: on a busy machine they take several times as
    long, and so do those of the judge.
    """
    spent, passes = {}, []
    column = np.random.default_rng(1).random(100_000)
    for length in (100, 100_000):
        rng = np.random.default_rng(0)
        state: Any = SimpleNamespace(evals={})
        table = RunState()
        rights = np.clip(
            rng.normal(600 + 200 * np.linspace(0, 1, length + TURNS), 1000 * wobble), 0, 1000
        )
        board = Scoreboard()
        put = [
            ev.EvalFinished(step=step, task="MMLU", correct=int(right), total=1000)
            for step, right in enumerate(rights.tolist())
        ]
        for event in put[:length]:
            table.apply(event)
        state.evals = table.evals
        board.scores(state)
        turns = []
        for event in put[length:]:
            table.apply(event)
            begin = time.process_time()
            scores = board.scores(state)
            for step in range(event.step - 40, event.step + 1):
                for against in (START, PREVIOUS, BEST, BASELINE):
                    found = scores.of("MMLU", step, against)
                    assert found is None or found.was_clear is not None
            assert scores.best["MMLU"][1].among == event.step
            between = time.process_time()
            np.diff(column, n=3)
            passes.append(time.process_time() - between)
            turns.append(between - begin)
        spent[length] = min(turns)
    # 8,000 times as much was compared anew: now some passes over columns are all that grows.
    judged = [turn - 7 * beside for turn, beside in zip(turns, passes[-TURNS:], strict=True)]
    assert min(judged) < 4 * spent[100], (spent, passes)


@pytest.mark.parametrize("length", [1, 2, 501, 100_000])
def test_of_many_validations_the_rows_of_few_are_read(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first third asked other rows than the rest."""
    found = [
        Validation(step=i, loss=2.0, metric="loss", seconds=None, t=None) for i in range(length)
    ]
    border, looked = length // 3, []

    def alike(self: LossBoard, now: Validation, before: Validation) -> bool:
        looked.append(now.step)
        return now.step >= border

    monkeypatch.setattr(LossBoard, "alike", alike)
    other = LossBoard(Path("run")).of_other_rows(found)
    assert other == set(range(len(other)))
    assert abs(len(other) - border) <= length // MOST_JUDGED
    assert len(looked) <= MOST_JUDGED
