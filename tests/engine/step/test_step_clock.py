"""A rank's own time, before it waits for the others."""

import pytest
import torch

from engine.step import step_clock
from engine.step.step_clock import FORWARD_SHARE, OwnClock

CPU = torch.device("cpu")


@pytest.fixture
def now(monkeypatch):
    times = [100.0]
    monkeypatch.setattr(step_clock.time, "monotonic", lambda: times[0])
    return times


def test_time_ends_where_waiting_begins(now):
    """What follows `end` (the other ranks' slowness) is not counted."""
    clock = OwnClock(CPU)
    clock.begin()
    now[0] += 3.0
    clock.end([1000, 1000, 1000])
    now[0] += 50.0
    assert clock.seconds_per_token() == pytest.approx(3.0 / (2000 + FORWARD_SHARE * 1000))


@pytest.mark.parametrize("counts", [(1, 2), (3, 4), (1, 8)])
def test_unequal_numbers_of_micro_steps_make_no_straggler(now, counts):
    """Equally fast ranks with more and fewer micro-steps differ by less than the alarm's 25 %."""
    found = []
    for number in counts:
        clock = OwnClock(CPU)
        clock.begin()
        # Forward 0.4, backward 0.6 seconds; the last backward is not in it.
        now[0] += number * 1.0 - 0.6
        clock.end([1000] * number)
        found.append(clock.seconds_per_token())
    assert max(found) / min(found) < 1.05


def test_a_rank_without_tokens_says_nothing(now):
    """Before the first step, and in a step whose rows all went to other ranks."""
    clock = OwnClock(CPU)
    assert clock.seconds_per_token() is None
    clock.begin()
    now[0] += 1.0
    clock.end([0])
    assert clock.seconds_per_token() is None
