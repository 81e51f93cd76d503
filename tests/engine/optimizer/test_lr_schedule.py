"""The schedule is nanochat's straight line unless asked otherwise."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.optimizer.lr_schedule import LrSchedule
from tests.conftest import SHARED, needs_shared


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
