"""The alarms that a screen raises itself: all of them over a foreign log, silence over a run.

A run of ours tells its own alarms, all but those of its own silence. Judging goes
through a queue with a time limit: the picture of a million updates must not wait for it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

from engine import events as ev
from engine.alarm_board import ALL_KINDS, CLOCK_KINDS, Alarm
from engine.alarms import AlarmEngine

MOST_ROWS = 4000
"""Updates judged at one go: a few milliseconds."""


class Lookout:
    """Events in, alarms out, in the order of the events."""

    def __init__(self, *, foreign: bool) -> None:
        """`foreign`: the log of another program, which raises no alarms itself."""
        self._engine = AlarmEngine(kinds=ALL_KINDS if foreign else CLOCK_KINDS)
        self._waiting: deque[ev.Event] = deque()

    @property
    def busy(self) -> bool:
        """Whether events wait to be judged."""
        return bool(self._waiting)

    def take(self, events: Iterable[ev.Event]) -> None:
        """Events to be judged when there is time."""
        for event in events:
            if isinstance(event, ev.StepBatch):
                size = len(event.steps)
                for start in range(0, size, MOST_ROWS):
                    self._waiting.append(event.cut(start, min(size, start + MOST_ROWS)))
            else:
                self._waiting.append(event)

    def work(self, max_seconds: float) -> list[Alarm]:
        """Judge for so long; what was found."""
        deadline = time.monotonic() + max_seconds
        found: list[Alarm] = []
        while self._waiting:
            found += self._engine.observe(self._waiting.popleft())
            if time.monotonic() >= deadline:
                break
        return found

    def tick(self, t: float) -> list[Alarm]:
        """It is `t` now, and nothing came: what that means."""
        return [] if self._waiting else self._engine.tick(t)
