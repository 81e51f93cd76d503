"""Rank 0's alarms: emitted behind the events they follow from, and acted on if a setting says so.

Runs on the publisher thread, never on the trainer's. After a restart it first takes in
what earlier attempts wrote, so that the alarms go on where they were.
"""

from __future__ import annotations

from typing import Protocol

from engine.alarms.alarm_engine import AlarmEngine
from engine.alarms.board import EVENT_KINDS
from engine.config import RuntimeConfig
from engine.events import (
    AlarmRaised,
    AttemptStarted,
    CheckpointSaved,
    EvalFinished,
    Event,
    PhaseStarted,
    RankHeartbeat,
    RunStarted,
    StateChanged,
    StepFinished,
    ValidationFinished,
)
from engine.journal.event_files import scan
from engine.run.run_dir import RunDir


class RunControl(Protocol):
    """What an alarm may request of the run; implemented by `Steering`."""

    def request_pause(self, reason: str) -> None: ...

    def request_stop(self, reason: str) -> None: ...


class RunAlarms:
    """Observes every stamped event and returns the alarms that follow from it."""

    def __init__(self, run: RunDir, runtime: RuntimeConfig) -> None:
        self._engine = AlarmEngine(kinds=EVENT_KINDS, run_id=run.id)
        self._on_diverging = runtime.on_diverging
        self.run_control: RunControl | None = None
        """Set once the ranks have joined; before that nothing can diverge."""
        for event in scan(
            run.events,
            RunStarted,
            AttemptStarted,
            PhaseStarted,
            StateChanged,
            StepFinished,
            ValidationFinished,
            EvalFinished,
            CheckpointSaved,
            RankHeartbeat,
            AlarmRaised,
        ):
            self._engine.observe(event)

    def observe(self, event: Event) -> list[Event]:
        """Alarms that `event` raises or clears."""
        alarms: list[Event] = list(self._engine.observe(event))
        for alarm in alarms:
            if isinstance(alarm, AlarmRaised) and alarm.kind == "diverging":
                self._act(alarm)
        return alarms

    def _act(self, alarm: AlarmRaised) -> None:
        if self.run_control is None:
            return
        # From the publisher thread to what the trainer thread reads: see `Steering.request_pause`.
        reason = f"the loss diverges: {alarm.text}"
        if self._on_diverging == "pause":
            self.run_control.request_pause(reason)
        elif self._on_diverging == "stop":
            self.run_control.request_stop(reason)
