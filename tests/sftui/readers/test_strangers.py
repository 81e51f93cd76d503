"""Logs of trainers by name, each in our own words and numbers: steps, losses and results."""

import pytest

from engine.events import (
    CheckpointSaved,
    EvalFinished,
    MetricLogged,
    RunFinished,
    StepFinished,
    ValidationFinished,
)
from sftui.sources.open_log import read_whole
from tests.sftui.readers.reader_checks import flat, of
from tests.sftui.readers.strangers import SAMPLES, Sample


def opened(folder, text: str | bytes, name: str = "some.log"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_whole(str(path))


def check(found, sample: Sample) -> None:
    """What was read is what the sample says."""
    stages = found.recording.stages
    assert len(stages) == sample.stages
    last = stages[-1]
    events = flat(last.timeline.events(0, len(last.timeline)))
    by_step = {e.step: e.loss for e in of(StepFinished, events) if e.loss is not None}
    assert sorted(by_step.items()) == sample.losses
    assert last.start.num_iterations == sample.planned
    results = of(ValidationFinished, events)
    by_set = {(e.set_name, e.step): e.loss for e in results}
    val = sorted((step, loss) for (_, step), loss in by_set.items())
    assert val == sorted(sample.val)
    if sample.sets:
        assert {e.set_name for e in results} == set(sample.sets)
    scores = {(e.task, e.step): e.accuracy for e in of(EvalFinished, events)}
    assert sorted((s, a) for (_, s), a in scores.items()) == sorted(sample.evals)
    assert bool(of(RunFinished, events)) == sample.ended
    saved = [e.step for e in of(CheckpointSaved, events)]
    assert tuple(saved) == sample.checkpoints


@pytest.mark.parametrize("trainer", SAMPLES)
def test_a_trainers_log_is_read_as_it_says(trainer, tmp_path):
    """Every trainer of the list: steps as printed, losses, plan, results, the end."""
    check(opened(tmp_path, SAMPLES[trainer].text), SAMPLES[trainer])


REWARDS = {
    "bars": "step {step} | reward {value} | kl 0.01\n",
    "dashes": "step:{step} - actor/entropy:{value} - critic/score/mean:0.5\n",
    "words": "iteration {step}: accuracy {value} f1 0.4\n",
}


@pytest.mark.parametrize("form", REWARDS)
def test_lines_of_rewards_without_a_loss_open_as_rows_of_them_do(form, tmp_path):
    """A log of reinforcement learning or of scores alone: every number is a series."""
    text = "".join(REWARDS[form].format(step=step, value=step / 100) for step in range(1, 6))
    (stage,) = opened(tmp_path, text).recording.stages
    rows = of(MetricLogged, flat(stage.timeline.events(0, len(stage.timeline))))
    assert [row.step for row in rows] == [1, 2, 3, 4, 5]
    assert [next(iter(row.values.values())) for row in rows] == [0.01, 0.02, 0.03, 0.04, 0.05]
