"""Rank 0 tells what is wrong, beside the events it follows from, and acts where it is told to."""

import math
from datetime import datetime

import pytest

from engine.alarms.run_alarms import RunAlarms
from engine.config import RuntimeConfig
from engine.events import AlarmRaised, LogLine, StepFinished
from engine.journal.event_bus import EventBus
from engine.run import run_dir
from tests.processes import events


@pytest.fixture
def run(tmp_path):
    return run_dir.create(tmp_path, "test", datetime(2026, 1, 1))


class Control:
    """Notes what an alarm asks for."""

    def __init__(self):
        self.asked = []

    def request_pause(self, reason):
        self.asked.append(("pause", reason))

    def request_stop(self, reason):
        self.asked.append(("stop", reason))


def steps(bus, losses):
    for step, loss in enumerate(losses):
        bus.emit(StepFinished(step=step, loss=loss, grad_norm=1.0, seconds=0.1))


def run_with(run, losses, **settings):
    control = Control()
    run_alarms = RunAlarms(run, RuntimeConfig(**settings))
    run_alarms.run_control = control
    bus = EventBus(run, run.id, 1, live=False, watch=run_alarms.observe)
    steps(bus, losses)
    assert bus.close()
    return control, [e.kind for e in events(run.events) if isinstance(e, AlarmRaised)]


RAMP = [1.0 + 0.001 * (i % 7) for i in range(200)] + [1.0 + 0.02 * i for i in range(100)]


def test_a_nan_is_in_the_event_log_right_behind_its_step(run):
    """Whoever reads the file later sees the alarm without computing it."""
    _, kinds = run_with(run, [1.0] * 40 + [math.nan])
    assert kinds == ["nonfinite"]


@pytest.mark.parametrize("what", ["pause", "stop"])
def test_a_diverging_run_is_paused_or_stopped_where_the_setting_says_so(run, what):
    """With no screen anywhere."""
    control, kinds = run_with(run, RAMP, on_diverging=what)
    assert "diverging" in kinds
    assert {asked for asked, _ in control.asked} == {what}


def test_by_default_an_alarm_only_warns(run):
    """No alarm stops a run by itself."""
    control, kinds = run_with(run, RAMP)
    assert "diverging" in kinds
    assert control.asked == []


def test_a_broken_rule_costs_the_alarms_and_no_event(run):
    """The log is worth more than its commentary."""

    def broken(event):
        raise ZeroDivisionError

    bus = EventBus(run, run.id, 1, live=False, watch=broken)
    steps(bus, [1.0, 2.0])
    assert bus.close()
    found = events(run.events)
    assert len([e for e in found if isinstance(e, StepFinished)]) == 2
    assert [e.text for e in found if isinstance(e, LogLine)] == [
        "the alarms are off: ZeroDivisionError()"
    ]


def test_a_restart_does_not_repeat_an_alarm(run):
    """The next attempt knows what was already said."""
    run_with(run, [1.0] * 40 + [math.nan])
    run_alarms = RunAlarms(run, RuntimeConfig())
    bus = EventBus(run, run.id, 2, live=False, watch=run_alarms.observe)
    bus.emit(StepFinished(step=41, loss=math.nan))
    assert bus.close()
    kinds = [e.kind for e in events(run.events) if isinstance(e, AlarmRaised)]
    assert kinds == ["nonfinite"]
