"""The training loss's alarms: silent where nothing is wrong, heard where something is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine.alarms.alarm_engine import AlarmEngine
from engine.alarms.loss_rule import LossRule
from tests.loss_worlds import FAULT_WORLDS, NULL_WORLDS, World, falling, gauss, ramp

RUNS = 30
"""Of the thousand of `tests/benchmarks/alarm_rates.py`: enough to see a rule that is broken."""

BOUNDED = [world for world in (*NULL_WORLDS, *FAULT_WORLDS) if world.limit and not world.long]


def heard(losses: list[float]) -> dict[str, int]:
    """First step of each alarm over these losses."""
    found: dict[str, int] = {}
    batch = ev.StepBatch(step=len(losses) - 1, steps=range(len(losses)), columns={"loss": losses})
    for alarm in AlarmEngine().observe(batch):
        if isinstance(alarm, ev.AlarmRaised):
            found.setdefault(alarm.kind, alarm.step or 0)
    return found


@pytest.mark.parametrize("world", BOUNDED, ids=lambda world: world.name)
def test_alarms_are_rare_where_nothing_is_wrong_and_come_where_something_is(world: World) -> None:
    """Of 30 runs at most two have a false alarm, and a planted fault is missed as rarely."""
    assert world.limit is not None
    runs = [heard(world.make(np.random.default_rng([7, seed])).tolist()) for seed in range(RUNS)]
    if world.fault is None:
        assert sum(bool(kinds) for kinds in runs) <= 2 + (world.limit > 1)
    else:
        missed = sum(world.fault not in kinds for kinds in runs)
        # A limit of 60 %: 18 of 30, and three standard errors of that.
        assert missed <= 2 if world.limit >= 95 else missed <= 20


def test_a_short_run_is_judged_before_its_hundredth_step() -> None:
    """A loss that doubles at step 40 of 120 is told while it can still be stopped."""
    rng = np.random.default_rng(0)
    found = heard((falling(120) + ramp(120, 40, 20, 1.5) + gauss(rng, 120)).tolist())
    assert 50 < found["diverging"] < 80


def test_a_run_that_never_gets_below_its_start_is_told() -> None:
    """Without a best stretch worth the name the first losses are what is compared with."""
    rng = np.random.default_rng(0)
    engine = AlarmEngine()
    losses = falling(120) + ramp(120, 10, 10, 3.0) + gauss(rng, 120)
    found = [
        a
        for i, x in enumerate(losses)
        for a in engine.observe(ev.StepFinished(step=i, loss=float(x)))
    ]
    assert [type(a) for a in found] == [ev.AlarmRaised]
    assert "where the run began" in getattr(found[0], "text", "")


def test_a_loss_that_rises_at_first_and_falls_ever_after_is_no_alarm() -> None:
    """New data lifts many a good run by a third before it falls."""
    rng = np.random.default_rng(0)
    path = 1.3 + 0.5 * np.minimum(np.arange(700) / 12, 1) * np.exp(-np.arange(700) / 200)
    assert heard((path + gauss(rng, 700, 0.02)).tolist()) == {}


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-6, 1e6), st.integers(0, 2**16))
def test_alarms_do_not_depend_on_the_unit_of_the_loss(scale: float, seed: int) -> None:
    """Nats, bits or a sum over tokens: the same run raises the same alarms."""
    rng = np.random.default_rng(seed)
    losses = falling(300) + ramp(300, 150, 30, rng.uniform(-0.3, 1.0)) + gauss(rng, 300)
    losses[200:203] += rng.uniform(0, 1)
    once, again = heard(losses.tolist()), heard((scale * losses).tolist())
    assert once == again


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9) | st.just(0.0), max_size=200))
def test_any_finite_losses_are_judged(losses: list[float]) -> None:
    """Losses at, around and below zero, tiny and huge: a reading is a number or none."""
    rule = LossRule()
    for loss in losses:
        rule.add(loss)
        assert rule.mark is None or math.isfinite(rule.mark.value)
        assert rule.diverging is None or math.isfinite(rule.diverging.loss)
        assert rule.best is None or min(losses) <= rule.best <= max(losses) * (1 + 1e-9) + 1e-9


def test_tails_that_are_usual_in_a_run_are_no_spikes_in_it() -> None:
    """Marks that come singly all the time make two in a row no news; four in a row are."""
    rng = np.random.default_rng(3)
    losses = np.maximum(1.2 + 0.0375 * rng.standard_t(2, 6000), 0.05)
    assert heard(losses.tolist()) == {}
    losses[5000:5004] = 2.5
    assert heard(losses.tolist())["spike"] in range(5001, 5004)
