"""Events of a command that is not attached: what a reader makes of its output, as it comes.

The reader comes from the screen's side, which knows every format; here its events are written
into the run's event log, so that everything that reads runs reads these too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from engine.alarms.run_alarms import RunAlarms
from engine.config import RuntimeConfig
from engine.control import Command
from engine.errors import RunDirError
from engine.events import (
    AttemptStarted,
    Event,
    LogLine,
    RunFinished,
    RunStarted,
    StepBatch,
    StepFinished,
)
from engine.journal.event_bus import EventBus
from engine.journal.event_files import next_attempt
from engine.run.lock import hold_event_log
from engine.run.run_dir import RunDir

_BLOCK_BYTES = 256 * 1024
_MOST_HELD = 20_000
"""Events kept until it is known who writes them."""

STEERED = (Command.PAUSE, Command.RESUME, Command.EVALUATE, Command.CHECKPOINT, Command.LR_FACTOR)
"""Commands that need an attached trainer; a stop does not."""


class Follower(Protocol):
    """A reader of any output."""

    def feed(self, data: bytes) -> list[Event]:
        """Events that these bytes complete."""

    def close(self) -> list[Event]:
        """Events of what is left."""


class OutputEvents:
    """Reads one attempt's output; from `follow` on it is the writer of the event log."""

    def __init__(self, run: RunDir, path: Path, make_follower: Callable[[], Follower]) -> None:
        self.run = run
        self.num_steps = 0
        self.last_step: int | None = None
        self.attempt = 0
        self.why = ""
        """Why the output is followed, in words."""
        self._path = path
        self._follower = make_follower()
        self._offset = 0
        self._held: list[Event] = []
        self._bus: EventBus | None = None
        self._writer: int | None = None
        self._left = False
        self._told_start = False

    @property
    def is_writing(self) -> bool:
        """Whether the event log is ours."""
        return self._bus is not None

    def read(self) -> None:
        """Take in what was printed since."""
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            file.seek(self._offset)
            while data := file.read(_BLOCK_BYTES):
                self._offset += len(data)
                self._take(self._follower.feed(data))

    def follow(self, why: str) -> None:
        """Become the writer of the event log, and tell what was read so far."""
        if self._bus is not None or self._left:
            return
        try:
            self._writer = hold_event_log(self.run, 0.5)
        except RunDirError:
            return
        self.why = why
        self.attempt = next_attempt(self.run)
        alarms = RunAlarms(self.run, RuntimeConfig())
        self._bus = EventBus(self.run, self.run.id, self.attempt, watch=alarms.observe)
        held, self._held = self._held, []
        if not any(isinstance(event, RunStarted) for event in held):
            self._start(RunStarted(name=self.run.id))
        self._take(held)
        self._bus.emit(
            LogLine(
                level="warn",
                text=f"not attached ({why}), followed by what it prints: of the keys that steer, "
                "stop alone works, as a signal",
            )
        )

    def emit(self, event: Event) -> None:
        """Write an event of the keeper's own."""
        if self._bus is not None:
            self._bus.emit(event)

    def leave(self) -> None:
        """Let go of the event log: the script has attached after all, or is started again."""
        self._left = True
        self._held = []
        self._close_bus()

    def close_output(self) -> None:
        """The command has ended: take in the rest of what it printed."""
        if self._left:
            return
        self.read()
        self._take(self._follower.close())
        if self._bus is not None:
            self._bus.flush()

    def tell_last(self, end: RunFinished) -> bool:
        """Write the end of the run, if the event log is ours; else False."""
        if self._bus is None:
            return False
        self._bus.emit(end)
        self._close_bus()
        return True

    # ---- inside ------------------------------------------------------------------------------

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, StepBatch):
                self._take(list(event.rows()))
                continue
            if isinstance(event, RunFinished | AttemptStarted):
                # The end is the command's own, and so is the number of its start.
                continue
            if isinstance(event, StepFinished):
                self.num_steps += 1
                self.last_step = event.step
            if self._bus is None:
                if len(self._held) < _MOST_HELD:
                    self._held.append(event)
            elif isinstance(event, RunStarted):
                self._start(event)
            else:
                self._bus.emit(event)

    def _start(self, event: RunStarted) -> None:
        """Tell what the run is; a reader may say more of it later."""
        assert self._bus is not None
        reason = f"not attached: {self.why}"
        planned = None if event.num_iterations is None else event.num_iterations + 1
        self._bus.emit(
            RunStarted(
                name=self.run.id.split("-", 2)[-1],
                source=event.source,
                # A log's planned updates; ours counts the last iteration, which only evaluates.
                num_iterations=planned,
                world_size=event.world_size,
                device=event.device,
                num_parameters=event.num_parameters,
                rows=event.rows,
                settings=event.settings,
                effective={**event.effective, "trainer": f"not attached ({self.why})"},
                unavailable={command.value: reason for command in STEERED},
            )
        )
        if not self._told_start:
            self._told_start = True
            self._bus.emit(AttemptStarted(num_iterations=planned))

    def _close_bus(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None
