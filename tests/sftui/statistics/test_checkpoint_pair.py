"""Two checkpoints of a run: better, worse, or not to be told apart, by the tests of `compare`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from engine.evaluation.eval_items import save_items
from engine.evaluation.validation_rows import RowLosses, save_rows
from engine.run.run_dir import RunDir
from sftui.checkpoints.pair_words import headline, measure_lines, sentence
from sftui.compare import pairing
from sftui.state.run_state import RunState
from sftui.statistics.checkpoint_pair import CheckpointPair, told_apart
from sftui.statistics.paired_tests import CLEAR, NO_EVIDENCE
from sftui.statistics.scores import Scoreboard
from sftui.statistics.validation_scores import VALIDATION, LossBoard
from tests.conftest import examples
from tests.sftui.statistics.test_scores import items

ROWS, QUESTIONS = 60, 80


@dataclass(frozen=True)
class World:
    """Results of checkpoints by step; losses row by row, answers question by question."""

    losses: Mapping[int, np.ndarray]
    rights: Mapping[int, list[bool]]

    def state(self, folder: Path | None, steps: tuple[int, ...] = ()) -> RunState:
        """The run of these checkpoints; by default of all, whose files it writes to `folder`."""
        state, seq = RunState(), 0
        for step in steps or tuple(self.losses):
            losses, right = self.losses[step], self.rights[step]
            names = f"evals/step-{step}.val.npz", f"evals/step-{step}.MMLU.npz"
            if folder is not None and not steps:
                where = np.arange(len(losses))
                digests = where.astype(np.uint64) + 7
                weights = np.full(len(losses), 1 / len(losses))
                found = RowLosses(losses=losses, rows=where, weights=weights, digests=digests)
                save_rows(folder / names[0], found)
                save_items(folder / names[1], items(right))
            told: tuple[ev.Event, ...] = (
                ev.ValidationFinished(
                    step=step, loss=float(losses.mean()), metric="loss", rows_file=names[0]
                ),
                ev.EvalFinished(
                    step=step, task="MMLU", correct=sum(right), total=len(right),
                    item_set="s" * 64, items_file=names[1],
                ),
            )  # fmt: skip
            for event in told:
                seq += 1
                state.apply(dataclasses.replace(event, stamp=ev.Stamp(seq=seq)))
        return state


def pair_of(
    world: World, folder: Path | None, step: int, before: int, among: int = 2
) -> CheckpointPair:
    state = world.state(folder)
    return told_apart(state, Scoreboard(folder), LossBoard(folder), step, before, among)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Two checkpoints, from alike to clearly better by one number and worse by the other."""
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    shift = draw(st.sampled_from([0.0, 0.003, 0.02, 0.2])) * draw(st.sampled_from([-1, 1]))
    spread = draw(st.sampled_from([0.0, 0.05]))
    flipped = draw(st.integers(0, 30))
    base = rng.normal(2.0, 0.5, ROWS)
    right = rng.random(QUESTIONS) < 0.5
    other = right.copy()
    towards = draw(st.sampled_from([0.0, 0.5, 1.0]))
    other[:flipped] = rng.random(flipped) < towards
    now = base + shift + rng.normal(0.0, spread, ROWS)
    return World({10: base, 20: now}, {10: right.tolist(), 20: other.tolist()})


@dataclass(frozen=True)
class Side:
    """A run for `compare`."""

    state: RunState
    run: RunDir
    title: str = "run"
    format: str = "sftui"
    status: str = "finished"
    stage: str = ""

    @property
    def path(self) -> Path:
        return self.run.path


@given(worlds(), st.integers(2, 9))
@examples(10)
def test_the_verdict_is_symmetric_never_made_of_nothing_and_that_of_compare(
    tmp_path_factory: pytest.TempPathFactory, world: World, among: int
) -> None:
    """Seen from the other side better is worse; among more checkpoints nothing more is clear; of
    two there is one pair, judged as `sftui compare` judges two runs that ended there."""
    folder = tmp_path_factory.mktemp("run")
    judges = world.state(folder), Scoreboard(folder), LossBoard(folder)
    there, back = told_apart(*judges, 20, 10, 2), told_apart(*judges, 10, 20, 2)
    turned = {"better": "worse", "worse": "better"}
    assert back.verdict == turned.get(there.verdict, there.verdict)
    for one, other in zip(there.measures, back.measures, strict=True):
        assert one.judged is not None
        assert other.judged is not None
        a, b = one.judged.comparison, other.judged.comparison
        assert (a.difference, a.low, a.high) == pytest.approx((-b.difference, -b.high, -b.low))
        assert (a.gains, a.losses) == (b.losses, b.gains)
        assert a.p == pytest.approx(b.p)
    if np.array_equal(world.losses[10], world.losses[20]) and world.rights[10] == world.rights[20]:
        assert there.verdict == "alike"
    many = told_apart(*judges, 20, 10, among)
    for one, fewer in zip(many.measures, there.measures, strict=True):
        assert one.sign in (0, fewer.sign)
    a_run, b_run = (Side(world.state(folder, (step,)), RunDir(folder)) for step in (10, 20))
    compared = pairing.of(a_run, b_run)
    assert compared.validation is not None
    validation, task = there.measures
    for measure, judged in (
        (validation, compared.validation.judged),
        (task, compared.tasks[0].judged),
    ):
        assert measure.judged is not None
        assert judged is not None
        assert measure.judged.verdict == judged.verdict
        assert measure.judged.comparison.difference == pytest.approx(judged.comparison.difference)
        assert measure.judged.comparison.p == pytest.approx(judged.comparison.p)


def test_the_best_of_many_that_are_alike_is_no_better_than_the_worst() -> None:
    """Picked for its accuracy among twelve that differ by luck alone it beats the worst at p < .05
    in most runs; it may be called better in one of twenty."""
    rng = np.random.default_rng(5)
    better, plain, runs = 0, 0, 120
    for _ in range(runs):
        counts = rng.binomial(200, 0.5, 12)
        state = RunState()
        for i, count in enumerate(counts.tolist()):
            event = ev.EvalFinished(step=10 * i, task="MMLU", correct=count, total=200)
            state.apply(dataclasses.replace(event, stamp=ev.Stamp(seq=i + 1)))
        best, worst = 10 * int(counts.argmax()), 10 * int(counts.argmin())
        pair = told_apart(state, Scoreboard(), LossBoard(), best, worst, 12)
        [task] = [measure for measure in pair.measures if measure.name == "MMLU"]
        assert task.judged is not None
        plain += task.judged.comparison.p < 0.05
        better += pair.verdict == "better"
    assert plain > runs / 2
    assert better <= 0.05 * runs + 3


def sample(shift: float, gained: int) -> World:
    """Ten and twenty: all rows shifted, and so many questions gained."""
    base, right = np.linspace(1.0, 3.0, ROWS), [i < 40 for i in range(QUESTIONS)]
    noise = np.where(np.arange(ROWS) % 2, 0.01, -0.01)
    now = [i < 40 + gained for i in range(QUESTIONS)]
    return World({10: base, 20: base + shift + noise}, {10: right, 20: now})


def test_the_sentence_says_by_what_and_how_much(tmp_path: Path) -> None:
    """Better, worse, a trade, not to be told apart, and where nothing can be said, why."""
    better = pair_of(sample(-0.2, 20), tmp_path, 20, 10)
    words = sentence(better)
    assert words.startswith("step 20 is better than step 10: validation 0.2000 lower [0.19")
    assert "MMLU +25.0 points [" in words
    assert headline(better) == "step 20 is better than step 10 by validation, MMLU"
    assert [m.rows for m in better.measures] == [ROWS, QUESTIONS]
    assert all(", clear, " in line for _, line in measure_lines(better))
    trade = pair_of(sample(0.2, 20), tmp_path, 20, 10)
    assert (trade.verdict, trade.measures[0].name) == ("trade", VALIDATION)
    assert "worse: validation 0.2000 higher" in sentence(trade)
    alike = pair_of(sample(0.0, 0), tmp_path, 20, 10)
    assert sentence(alike) == "step 20 and step 10 cannot be told apart by validation, MMLU"
    one = pair_of(sample(0.0, 6), tmp_path, 20, 10, among=9)
    assert "cannot be told apart: MMLU a hint, not clear among 36 pairs" in sentence(one)
    assert one.measures[1].judged is not None
    assert one.measures[1].judged.verdict not in (CLEAR, NO_EVIDENCE)


def test_without_rows_and_counts_nothing_is_said(tmp_path: Path) -> None:
    """A log that tells two losses, an accuracy without its number, or no number at all."""
    world = sample(-0.2, 20)
    bare = RunState()
    seq = 0
    for step, loss in ((10, 2.0), (20, 1.5)):
        for event in (
            ev.ValidationFinished(step=step, loss=loss, metric="loss"),
            ev.EvalFinished(step=step, task="MMLU", accuracy=loss / 4),
        ):
            seq += 1
            bare.apply(dataclasses.replace(event, stamp=ev.Stamp(seq=seq)))
    board, losses = Scoreboard(tmp_path), LossBoard(tmp_path)
    pair = told_apart(bare, board, losses, 20, 10, 2)
    assert pair.verdict == "unknown"
    assert "which is better cannot be said: no paired rows" in sentence(pair)
    missing = told_apart(bare, board, losses, 20, 15, 2)
    assert sentence(missing).endswith("cannot be said: no number was measured at both")
    state = world.state(None)
    unpaired = told_apart(state, Scoreboard(), LossBoard(), 20, 10, 2)
    assert unpaired.measures[0].known is False
    assert "unpaired" in measure_lines(unpaired)[1][1]
    assert told_apart(state, board, losses, 20, 20, 2).verdict == "same"


def test_what_the_run_did_not_ask_may_have_been_asked_of_the_checkpoint() -> None:
    """`sftui eval`, and `e` in the browser, ask a checkpoint: no line says that nobody did."""
    world = World({10: np.ones(ROWS), 20: np.ones(ROWS)}, {10: [True] * 9, 20: [True] * 9})
    pair = told_apart(world.state(None, (20,)), Scoreboard(None), LossBoard(None), 20, 10, 2)
    words = {measure.name: line for measure, line in measure_lines(pair)}
    assert words["MMLU"] == "not asked in the run at step 10"
