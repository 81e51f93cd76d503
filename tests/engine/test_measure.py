"""What a run tells of itself beside its losses, from a whole tiny run."""

import math

import numpy as np
import pytest

from engine import trainer
from engine.evaluation.validation_rows import load_rows
from engine.events import MetricLogged, RankHeartbeat, StepFinished, ValidationFinished
from tests.faults.place import Place, told, work

GROUPS = ("lm_head", "matrices", "wte")


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def row_error(run, now, before):
    """Standard error of the mean of the row-wise differences, from the files."""
    losses = [load_rows(run.path / event.rows_file).losses for event in (now, before)]
    change = losses[0] - losses[1]
    change = change[np.isfinite(change)]
    return change.std(ddof=1) / math.sqrt(len(change))


def test_a_validation_is_told_with_its_error_against_the_best_before_it(place):
    """The first has nothing to be compared with; every other one is paired with the lowest."""
    run = place.make("--eval-every=2")
    assert work(run) == 0
    validations = told(run, ValidationFinished)
    assert validations[0].paired_error is None
    for index in range(1, len(validations)):
        best = min(validations[:index], key=lambda event: event.loss)
        assert validations[index].paired_error == pytest.approx(
            row_error(run, validations[index], best)
        )
    assert len(validations) > 3


def test_a_resumed_run_pairs_with_rows_of_the_attempt_before(place):
    """The lowest loss may have been measured by an attempt that died."""
    run = place.make("--eval-every=2", "--checkpoint-every=4")
    with pytest.MonkeyPatch.context() as patch:
        accumulate = trainer.accumulate_gradients

        def die(session, batch):
            if batch.step == 5:
                # The save of step 4 is made beside the steps.
                session.checkpointer.wait()
                raise RuntimeError("power")
            return accumulate(session, batch)

        patch.setattr(trainer, "accumulate_gradients", die)
        assert work(run) == 1
    assert work(run) == 0
    validations = told(run, ValidationFinished)
    last = validations[-1]
    best = min(validations[:-1], key=lambda event: event.loss)
    assert last.paired_error == pytest.approx(row_error(run, last, best))
    resumed = [event for event in validations if event.stamp.att == 2]
    assert all(event.paired_error is not None for event in resumed)


def test_a_run_tells_how_far_its_weights_go(place):
    """At its first and last update; a resumed run goes on from the start of the whole."""
    whole, again = place.make("--run=whole"), place.make("--run=again", "--checkpoint-every=4")
    assert work(whole) == 0
    with pytest.MonkeyPatch.context() as patch:
        accumulate = trainer.accumulate_gradients

        def die(session, batch):
            if batch.step == 5:
                # A save is made beside the steps: let the one before be whole.
                session.checkpointer.wait()
                raise RuntimeError("power")
            return accumulate(session, batch)

        patch.setattr(trainer, "accumulate_gradients", die)
        assert work(again) == 1
    assert work(again) == 0
    first, last = told(whole, MetricLogged)
    updates = [event.step for event in told(whole, StepFinished)]
    assert (first.step, last.step) == (updates[0], updates[-1])
    for group in GROUPS:
        ratio, distance = f"train/update_ratio/{group}", f"train/distance/{group}"
        assert 0 < last.values[ratio] < first.values[ratio], "the learning rate falls to zero"
        assert 0 < first.values[distance] < last.values[distance]
    assert told(again, MetricLogged)[-1].values == last.values


def test_a_rank_tells_its_own_time_per_token(place):
    """In its heartbeat, less than the whole step's time by its tokens."""
    run = place.make()
    from engine.processes.heartbeat import Heartbeat

    with pytest.MonkeyPatch.context() as patch:
        # Beats by the clock are rarer than the steps of so small a model.
        seen = []
        at_step = Heartbeat.at_step

        def look(self, step, seconds_per_token=None):
            at_step(self, step, seconds_per_token)
            seen.append(self.sample())

        patch.setattr(Heartbeat, "at_step", look)
        assert work(run) == 0
    assert seen[0].seconds_per_token is None
    assert isinstance(seen[1], RankHeartbeat)
    whole = {event.step: event.seconds / event.tokens for event in told(run, StepFinished)}
    for beat in seen[1:]:
        assert 0 < beat.seconds_per_token < 3 * whole[beat.at_step - 1]
