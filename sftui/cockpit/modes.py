"""What differs between the screen over a run and the screen over a replay.

The cockpit asks its mode and never which of the two it is. `Playback` is the replay's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from engine.events import Event
from engine.run.run_dir import RunDir
from sftui.cockpit.screen_alarms import ScreenAlarms
from sftui.logbook.log_book import LogBook
from sftui.sources import Source
from sftui.view.replay_status import ReplayStatus

TICK_SECONDS = 0.1
"""Between two ticks while something moves."""


class Mode(Protocol):
    """A run that goes on, or the replay of one, as the cockpit sees it."""

    @property
    def takes_requests(self) -> bool:
        """Whether there is a run that can be asked for something."""

    @property
    def at_present(self) -> bool:
        """Whether the state on screen is that of now, so that it may be compared with the disk."""

    @property
    def opening(self) -> bool:
        """Whether the first frame of a long log is due, which does not wait for alarms."""

    def ages_to(self, newest: float | None) -> float:
        """The time of day to which ages are counted, when the newest event is of `newest`."""

    def log_book(self) -> LogBook:
        """The log over what was written: a journal, or the file of another program."""

    def text_end(self) -> int | None:
        """Offset in the text file behind which nothing has happened yet; None for no limit."""

    def new_alarms(self) -> ScreenAlarms:
        """The rules that raise alarms which are not among the events."""

    def judge(self, alarms: ScreenAlarms, events: Sequence[Event]) -> None:
        """Queue the events that `poll` just gave for the alarm rules."""

    def silence(self, alarms: ScreenAlarms, t: float) -> list[Event]:
        """Alarms that follow from the time alone: it is `t` now and no event came."""

    def restarted(self) -> bool:
        """True once after the events began again from the start of a stage."""

    def status(self) -> ReplayStatus | None:
        """The clock of a replay; None over a run."""

    def transport(self) -> str:
        """Where the events come from, in words."""

    def pace(self, *, ended: bool, judging: bool) -> float | None:
        """Seconds until the next tick, 0 for none at all; None: by how long nothing came.

        `ended`: the run told its end; `judging`: alarms are still being worked out.
        """


class Live:
    """A run that goes on, or went on when the screen opened."""

    takes_requests = True
    at_present = True
    opening = False

    def __init__(
        self, source: Source, *, now: Callable[[], float], folder: Path | None = None
    ) -> None:
        """`folder`: the run directory; None where there is none."""
        self._source = source
        self._now = now
        self._folder = folder

    def ages_to(self, newest: float | None) -> float:
        return self._now()

    def log_book(self) -> LogBook:
        return LogBook() if self._folder is None else LogBook(RunDir(self._folder).events)

    def text_end(self) -> int | None:
        return None

    def new_alarms(self) -> ScreenAlarms:
        return ScreenAlarms(foreign=False)

    def judge(self, alarms: ScreenAlarms, events: Sequence[Event]) -> None:
        alarms.take(events)

    def silence(self, alarms: ScreenAlarms, t: float) -> list[Event]:
        return [*alarms.tick(t)]

    def restarted(self) -> bool:
        return False

    def status(self) -> ReplayStatus | None:
        return None

    def transport(self) -> str:
        return self._source.describe()

    def pace(self, *, ended: bool, judging: bool) -> float | None:
        return 0.0 if ended and self._source.closed else None
