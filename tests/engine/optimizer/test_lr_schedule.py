"""The schedule is nanochat's straight line unless asked otherwise."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import OptimConfig
from engine.errors import ConfigError
from engine.optimizer.lr_schedule import LrSchedule, TransformersSchedule
from tests.conftest import SHARED, examples, needs_shared


@needs_shared
def test_multipliers_are_nanochats() -> None:
    """Every multiplier of the recorded run is met exactly."""
    steps = json.loads((SHARED / "nanochat/ref/steps_1rank.json").read_text())["steps"]
    schedule = LrSchedule(num_iterations=225)
    assert [schedule.multiplier(step["step"]) for step in steps] == [step["lrm"] for step in steps]


def test_the_last_update_still_moves() -> None:
    """The last update, two before the number of iterations, uses 2 / iterations."""
    assert LrSchedule(num_iterations=10).multiplier(8) == pytest.approx(0.2)


def test_warmup_rises_to_one() -> None:
    """Warm-up ends at 1, where the decay begins."""
    schedule = LrSchedule(num_iterations=20, warmup_steps=4)
    assert [schedule.multiplier(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_is_half_way_down_in_the_middle() -> None:
    """The cosine starts at 1, passes 1/2 in the middle and follows the textbook between."""
    schedule = LrSchedule(num_iterations=100, shape="cosine")
    assert schedule.multiplier(0) == 1.0
    assert schedule.multiplier(50) == pytest.approx(0.5)
    assert schedule.multiplier(25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


@given(
    num_iterations=st.integers(1, 200),
    warmup=st.integers(0, 199),
    shape=st.sampled_from(["linear", "cosine"]),
    floor=st.floats(0, 1),
)
def test_it_stays_in_range_and_never_rises_after_warmup(
    num_iterations: int, warmup: int, shape: str, floor: float
) -> None:
    """Any setting gives multipliers in [0, 1] that fall, not below the floor, after the warm-up."""
    warmup = min(warmup, num_iterations - 1)
    schedule = LrSchedule(
        num_iterations=num_iterations,
        warmup_steps=warmup,
        shape=shape,  # type: ignore[arg-type]
        min_lr_ratio=floor,
    )
    values = [schedule.multiplier(step) for step in range(num_iterations + 2)]
    assert all(0 <= value <= 1 for value in values)
    decay = values[warmup:]
    assert decay == sorted(decay, reverse=True)
    assert decay[-1] == floor


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_iterations": 0},
        {"num_iterations": 5, "warmup_steps": 5},
        {"num_iterations": 5, "warmup_steps": -1},
        {"num_iterations": 5, "shape": "square"},
        {"num_iterations": 5, "min_lr_ratio": 1.5},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, object]) -> None:
    """A setting out of range is a ConfigError that names it."""
    name = "shape" if "shape" in wrong else list(wrong)[-1]
    with pytest.raises(ConfigError, match=name):
        LrSchedule(**wrong)  # type: ignore[arg-type]


SCHEDULES = {
    "linear": "polynomial",
    "cosine": "cosine_with_min_lr",
    "constant": "constant_with_warmup",
    "wsd": "warmup_stable_decay",
}
"""Ours -> transformers' own with a floor."""


@examples(30)
@given(
    updates=st.integers(1, 60),
    warmup=st.integers(0, 70),
    shape=st.sampled_from(list(SCHEDULES)),
    # polynomial takes no end of 0 against a rate of 1, and none of 1.
    floor=st.sampled_from([0.0, 0.1, 0.5]),
    share=st.floats(0, 1),
)
def test_schedules_of_a_hugging_face_model_are_transformers_step_by_step(
    updates: int, warmup: int, shape: str, floor: float, share: float
) -> None:
    import torch
    from transformers import get_scheduler

    if shape == "linear":
        # transformers' polynomial divides by what the warm-up leaves.
        warmup = min(warmup, updates - 1)
    settings = OptimConfig(
        lr_schedule=shape,  # type: ignore[arg-type]
        warmup_steps=warmup,
        final_lr_frac=floor,
        warmdown_ratio=share,
    )
    ours = TransformersSchedule.of(settings, updates)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    decay = min(math.ceil(share * updates), max(updates - warmup, 0))
    more: dict[str, Any] = {
        "linear": {"lr_end": floor},
        "cosine": {"min_lr_rate": floor},
        "constant": {},
        "wsd": {"num_decay_steps": decay, "min_lr_ratio": floor},
    }[shape]
    theirs = get_scheduler(
        SCHEDULES[shape], optimizer, num_warmup_steps=warmup, num_training_steps=updates,
        scheduler_specific_kwargs=more,
    )  # fmt: skip
    for step in range(updates):
        assert ours.multiplier(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12), step
        optimizer.step()
        theirs.step()


def test_a_plain_line_and_cosine_are_transformers_without_a_floor() -> None:
    import torch
    from transformers import get_scheduler

    for shape in ("linear", "cosine"):
        settings = OptimConfig(lr_schedule=shape, warmup_ratio=0.25)
        ours = TransformersSchedule.of(settings, 10)
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        theirs = get_scheduler(shape, optimizer, num_warmup_steps=3, num_training_steps=10)
        for step in range(10):
            assert ours.multiplier(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
            optimizer.step()
            theirs.step()
