"""What is due at a step: nanochat's rule, and nothing twice after a resumption."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from engine.config import RunConfig
from engine.session import Due, Progress

EVERY = st.integers(min_value=1, max_value=7)
NEVER_OR_EVERY = st.integers(min_value=0, max_value=7)


@st.composite
def runs(draw: st.DrawFn) -> tuple[RunConfig, int]:
    """Settings of when things are due, and the last step of the run."""
    config = RunConfig().replace(
        eval_every=draw(EVERY),
        eval_metrics_every=draw(EVERY),
        sample_every=draw(NEVER_OR_EVERY),
        checkpoint_every=draw(NEVER_OR_EVERY),
    )
    return config, draw(st.integers(min_value=0, max_value=30))


def walk(
    config: RunConfig, last: int, progress: Progress, stop: int | None = None
) -> dict[int, Due]:
    """What a run that goes on from `progress` does at each step, up to `stop` or its end."""
    found = {}
    for step in range(progress.step, (last if stop is None else stop) + 1):
        progress.step = step
        due = found[step] = progress.due(config, step, last)
        if due.validation:
            progress.val_step = step
        if due.tasks:
            progress.eval_step = step
        if due.samples:
            progress.sample_step = step
    return found


def steps(found: dict[int, Due], name: str) -> list[int]:
    return [step for step, due in found.items() if getattr(due, name)]


@given(runs())
def test_the_start_the_end_and_every_nth_step_are_measured(run: tuple[RunConfig, int]) -> None:
    """Validation and questions always at both ends; samples too, unless none are wanted."""
    config, last = run
    found = walk(config, last, Progress())
    for name, every in (
        ("validation", config.eval.eval_every),
        ("tasks", config.eval.eval_metrics_every),
        ("samples", config.eval.sample_every),
    ):
        wanted = sorted({*range(0, last + 1, every), last}) if every else []
        assert steps(found, name) == wanted


@given(runs())
def test_checkpoints_are_due_between_the_ends_only(run: tuple[RunConfig, int]) -> None:
    """The start is where the run came from, and the last step is saved after the loop."""
    config, last = run
    every = config.checkpoint.checkpoint_every
    wanted = list(range(every, last, every)) if every else []
    assert steps(walk(config, last, Progress()), "checkpoint") == wanted


@given(runs(), st.data())
def test_a_resumed_run_measures_nothing_twice(
    run: tuple[RunConfig, int], data: st.DataObject
) -> None:
    """Stopped at any step, after its measurements, both parts do what one run does."""
    config, last = run
    stopped = Progress()
    first = walk(config, last, stopped, data.draw(st.integers(min_value=0, max_value=last)))
    again = walk(config, last, Progress.from_state(stopped.to_state()))
    whole = walk(config, last, Progress())
    for name in ("validation", "tasks", "samples"):
        assert steps(first, name) + steps(again, name) == steps(whole, name)


def test_progress_survives_a_checkpoint() -> None:
    """Everything but a loss that is older than the checkpoint, which keeps another name."""
    progress = Progress(
        step=8, val_loss=1.5, val_step=4, eval_step=8, sample_step=0, accuracies={"MMLU": 0.25},
        best_loss=1.5, best_step=4,
    )  # fmt: skip
    state = progress.to_state()
    assert state["val_loss"] is None
    assert dataclasses.asdict(Progress.from_state(state)) == dataclasses.asdict(progress)
