"""What is judged with what, and that a colour is never taken back without a word."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine import events as ev
from sftui.statistics.families import BEST, PREVIOUS, START
from sftui.statistics.paired_tests import CLEAR, NOT_JUDGED, SUGGESTIVE, Evaluation, holm, mcnemar
from sftui.statistics.scores import Scoreboard, Scores
from tests.conftest import examples

ITEMS = 200


class Memory(Scoreboard):
    """The product's judge with item results in memory."""

    def __init__(self, held: dict[tuple[str, int], NDArray[np.bool_]]) -> None:
        super().__init__()
        self.held = held

    def evaluation(self, result: ev.EvalFinished) -> Evaluation:
        assert result.step is not None
        right = self.held[result.task, result.step]
        return Evaluation(correct=result.correct, total=result.total, item_set="x", right=right)


def scores(held: dict[tuple[str, int], NDArray[np.bool_]]) -> Scores:
    evals: dict[str, dict[int, ev.EvalFinished]] = {}
    for (task, step), right in held.items():
        evals.setdefault(task, {})[step] = ev.EvalFinished(
            task=task, step=step, correct=int(right.sum()), total=len(right), item_set="x"
        )
    state: Any = SimpleNamespace(evals=evals)
    return Memory(held).scores(state)


def run(seed: int, evals: int, tasks: int, gain: float) -> dict[tuple[str, int], Any]:
    """Answers of a run whose accuracy grows by `gain`."""
    rng, held = np.random.default_rng(seed), {}
    for task in range(tasks):
        hard = rng.normal(size=ITEMS)
        for k in range(evals):
            level = 0.5 - gain * k / max(1, evals - 1)
            held[f"T{task}", 10 * k] = hard + 0.7 * rng.normal(size=ITEMS) > level
    return held


worlds = st.builds(
    run, st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 3), st.sampled_from([0, 0.5, 1])
)


@given(worlds)
@examples(40)
def test_a_colour_once_shown_is_not_taken_back_without_a_word(held: dict[Any, Any]) -> None:
    """What was clear after any evaluation is clear at the end, or says that it was."""
    steps = sorted({step for _, step in held})
    final = scores(held)
    for step in steps[1:]:
        then = scores({place: right for place, right in held.items() if place[1] <= step})
        for place, judged in then.cells.items():
            now = final.cells[place]
            if judged.verdict == CLEAR and now.verdict != CLEAR:
                assert now.was_clear, (place, step)


@given(worlds)
@examples(20)
def test_the_newest_is_judged_by_itself_and_the_best_never(held: dict[Any, Any]) -> None:
    """Holm over the tasks of mid-p; no later evaluation, no other comparison counts."""
    found = scores(held)
    last = max(step for _, step in held)
    tasks = sorted({task for task, _ in held})
    ps = []
    for task in tasks:
        now, start = held[task, last], held[task, 0]
        gains, losses = int((now & ~start).sum()), int((~now & start).sum())
        ps.append(mcnemar(gains, losses, mid=True))
    for task, p, adjusted in zip(tasks, ps, holm(ps), strict=True):
        judged = found.of(task, last, START)
        assert judged is not None
        if judged.comparison.p_scatter <= p:
            assert (judged.verdict == CLEAR) == (adjusted < 0.05)
        best = found.of(task, last, BEST)
        assert best is not None
        assert best.verdict == NOT_JUDGED
        if last == 10:
            assert found.of(task, last, PREVIOUS) is judged


@given(worlds)
@examples(20)
def test_all_others_together_may_be_wrong_in_one_run_of_a_hundred(held: dict[Any, Any]) -> None:
    """They stand beside the headline, which has 5 % for itself."""
    found = scores(held)
    last = max(step for _, step in held)
    for (_, step, against), judged in found.cells.items():
        if against == BEST or (step == last and (against == START or step == 10)):
            continue
        assert (judged.verdict == CLEAR) == (judged.p_adjusted < 0.01)


def test_a_cell_that_chance_gives_in_one_run_of_forty_has_no_colour() -> None:
    """14 gained, 3 lost at the second of three evaluations: p .013, of two .025."""
    start = np.zeros(ITEMS, dtype=bool)
    start[:3] = True
    later = np.zeros(ITEMS, dtype=bool)
    later[3:17] = True
    found = scores({("T", 0): start, ("T", 10): later, ("T", 20): later})
    cell = found.of("T", 10, START)
    newest = found.of("T", 20, START)
    assert cell is not None
    assert newest is not None
    assert cell.p_adjusted == pytest.approx(0.0254, abs=1e-4)
    assert cell.verdict == SUGGESTIVE
    assert newest.verdict == CLEAR


def test_thirty_thousand_evaluations_are_judged_in_seconds() -> None:
    """A log of that many evaluations, without items."""
    evals = {
        step: ev.EvalFinished(task="MMLU", step=step, correct=250 + step % 7, total=1024)
        for step in range(30_000)
    }
    state: Any = SimpleNamespace(evals={"MMLU": evals})
    found = Scoreboard().scores(state)
    assert found.of("MMLU", 29_999, START) is not None
    assert found.compared == pytest.approx(60_000, abs=5)
