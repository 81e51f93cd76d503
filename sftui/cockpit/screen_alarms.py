"""The alarms that a screen raises itself: all of them over a foreign log, silence over a run.

A run of ours tells its own alarms, all but those of its own silence. Judging goes
through a queue with a time limit: the picture of a million updates must not wait for it.
Of a replay the queue is its recording, read again piece by piece: a copy of what waits
would take as much room as all the rest.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from engine import events as ev

if TYPE_CHECKING:
    from engine.alarms.alarm_engine import AlarmEngine
    from engine.alarms.board import Alarm

MOST_ROWS = 4000
"""Updates in one slice: a few milliseconds."""

Again = Callable[[int, int], Iterable[ev.Event]]
"""The events of a recording from one position to before another."""


class ScreenAlarms:
    """The alarm rules over a queue of events, worked off in order and in slices of time."""

    def __init__(self, *, foreign: bool, again: Again | None = None) -> None:
        """`foreign`: the log of another program, which raises no alarms itself.

        `again`: where `reach` finds the events of a replay.
        """
        self._foreign = foreign
        self._engine: AlarmEngine | None = None
        self._waiting: deque[ev.Event] = deque()
        self._again = again
        self._fetched = self._reached = 0

    @property
    def busy(self) -> bool:
        """Whether events wait to be judged."""
        return bool(self._waiting) or self._fetched < self._reached

    def take(self, events: Iterable[ev.Event]) -> None:
        """Queue events."""
        for event in events:
            if isinstance(event, ev.StepBatch):
                size = len(event.steps)
                for start in range(0, size, MOST_ROWS):
                    self._waiting.append(event.cut(start, min(size, start + MOST_ROWS)))
            else:
                self._waiting.append(event)

    def reach(self, position: int) -> None:
        """Queue everything before that position of the recording."""
        self._reached = position

    def work(self, max_seconds: float) -> list[Alarm]:
        """Judge waiting events for at most so long; returns the alarms raised and cleared."""
        deadline = time.monotonic() + max_seconds
        found: list[Alarm] = []
        while self.busy:
            if not self._waiting:
                self._fetch()
                continue
            found += self._judge.observe(self._waiting.popleft())
            if time.monotonic() >= deadline:
                break
        return found

    def tick(self, t: float) -> list[Alarm]:
        """Alarms that follow from the time alone, `t`; none while events wait to be judged."""
        return [] if self.busy else self._judge.tick(t)

    def _fetch(self) -> None:
        """The next piece of the recording."""
        assert self._again is not None, "only a recording is reached into"
        start, self._fetched = self._fetched, min(self._reached, self._fetched + MOST_ROWS)
        self.take(self._again(start, self._fetched))

    @property
    def _judge(self) -> AlarmEngine:
        if self._engine is None:
            # Seven modules, which the first picture of a long log does not wait for.
            from engine.alarms.alarm_engine import AlarmEngine  # noqa: PLC0415
            from engine.alarms.board import ALL_KINDS, CLOCK_KINDS  # noqa: PLC0415

            self._engine = AlarmEngine(kinds=ALL_KINDS if self._foreign else CLOCK_KINDS)
        return self._engine
