"""Logs of trainers by name, each in our own words and numbers: steps, losses and results."""

import pytest

from engine.events import (
    CheckpointSaved,
    EvalFinished,
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
