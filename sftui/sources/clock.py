"""The clock of a replay: where it stands in a stage, and how fast it goes."""

from __future__ import annotations

import math
from collections.abc import Callable

from engine.errors import UsageError
from sftui.sources.recording import Timeline

SPEEDS = (1.0, 2.0, 4.0, 8.0, 16.0, 60.0, 250.0, 1000.0, math.inf)
"""Times the clock; infinite shows all there is at once."""

WATCH_SPEED = 60.0
"""A run of half an hour in half a minute."""


def check_speed(speed: float) -> None:
    """Raise for a speed that no clock can have.

    Raises:
        UsageError: no positive number.
    """
    if not speed > 0:
        raise UsageError(f"--speed {speed:g} is no speed; use 1 to 1000, or inf.")


class ReplayClock:
    """Set to a position of a timeline, it goes on from there; the timeline may grow."""

    def __init__(self, *, speed: float, now: Callable[[], float]) -> None:
        self._now = now
        self._speed = speed
        self._paused = False
        self._at_seconds = 0.0  # the clock, when it was last set ...
        self._at_now = now()  # ... and when that was
        self._at_position: int | None = 0  # set by a seek: exact where many share one second

    @property
    def speed(self) -> float:
        """Times the log's own time; infinite is always at the end."""
        return self._speed

    @property
    def paused(self) -> bool:
        return self._paused

    def set_speed(self, speed: float, timeline: Timeline) -> None:
        """Go on from here at another speed.

        Raises:
            UsageError: no positive number.
        """
        check_speed(speed)
        self.hold(self.target(timeline), timeline)
        self._speed = speed

    def set_paused(self, paused: bool, timeline: Timeline) -> None:
        """Stand still, or go on.

        At infinite speed, going on from within a log would be a jump to its end; it goes on at
        `WATCH_SPEED` instead.
        """
        if not paused and self._speed == math.inf and self.target(timeline) < len(timeline):
            self._speed = WATCH_SPEED
        self.hold(self.target(timeline), timeline)
        self._paused = paused

    def stop(self) -> None:
        """Stand still exactly where it was set."""
        self._paused = True

    def hold(self, position: int, timeline: Timeline) -> None:
        """Go on from a position."""
        self._at_seconds = timeline.seconds_at(position)
        self._at_now = self._now()
        self._at_position = position

    def seek(self, position: int, timeline: Timeline) -> None:
        """Go on from a chosen position."""
        if self._speed == math.inf and position < len(timeline):
            self._paused = True  # at that speed it would be at the end at once
        self.hold(position, timeline)

    def enter(self, timeline: Timeline) -> None:
        """Another stage, from its start or, at infinite speed, all of it."""
        self.hold(0, timeline)
        if self._speed == math.inf:
            self._at_position = None

    def set_seconds(self, seconds: float, timeline: Timeline) -> None:
        """A time between two events, to go on from."""
        self._at_seconds = min(max(0.0, seconds), timeline.seconds)

    def seconds(self, timeline: Timeline) -> float:
        """What it shows."""
        if self._speed == math.inf and not self._paused and self._at_position is None:
            return timeline.seconds
        passed = 0.0 if self._paused else (self._now() - self._at_now) * self._speed
        if math.isinf(passed) or math.isnan(passed):
            return timeline.seconds
        return min(self._at_seconds + passed, timeline.seconds)

    def target(self, timeline: Timeline) -> int:
        """How many events have happened by it."""
        if self._speed == math.inf and not self._paused:
            return len(timeline)
        held = min(self._at_position or 0, len(timeline))
        if self._paused and self._at_position is not None:
            return held
        return max(held, timeline.at_seconds(self.seconds(timeline)))
