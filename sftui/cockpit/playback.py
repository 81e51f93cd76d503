"""The screen over a replay: its clock under keys, and what such a screen does otherwise.

A key moves the clock of the source and nothing else. What was on the screen comes
again as events, so every panel shows the state at that moment; a source that had to go
back says so by its `generation`, and the cockpit starts a fresh state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.events import Event
from engine.run.run_dir import RunDir
from sftui.cockpit.modes import TICK_SECONDS
from sftui.cockpit.screen_alarms import ScreenAlarms
from sftui.logbook.log_book import LogBook
from sftui.sources.clock import SPEEDS, WATCH_SPEED
from sftui.sources.marks import Mark
from sftui.sources.replay import ReplaySource
from sftui.view.replay_status import ReplayStatus

SCRUB_PARTS = 100
"""Presses of a scrub key from one end to the other."""
FOLLOW_TICK_SECONDS = 0.3
"""Between two ticks over a log that is followed at its end: the file is read twice a second."""


class Playback:
    """A `Mode`: the replay of one file. It keeps nothing of the clock; the source does."""

    takes_requests = False

    def __init__(
        self,
        source: ReplaySource,
        *,
        why: str = "",
        folder: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`why`: what was recognised in the file, and by what. `folder`: of a run of ours."""
        self.source = source
        self._why = why
        self._folder = folder
        self._now = now
        self._generation = source.generation

    # ---- mode ------------------------------------------------------------------------------

    @property
    def at_present(self) -> bool:
        """In the middle of a replay the disk says nothing: what was there then may be gone."""
        return self.source.at_end

    @property
    def opening(self) -> bool:
        return self.source.loading

    def ages_to(self, newest: float | None) -> float:
        """Nothing is older than the newest event: ages are as they were then."""
        return self._now() if newest is None else newest

    def log_book(self) -> LogBook:
        if self._folder is not None:
            return LogBook(RunDir(self._folder).events)
        return LogBook(self.source.journal_path, self.source.text_path)

    def text_end(self) -> int | None:
        return self.source.text_end()

    def new_alarms(self) -> ScreenAlarms:
        return ScreenAlarms(foreign=self._folder is None, again=self.source.again)

    def judge(self, alarms: ScreenAlarms, events: Sequence[Event]) -> None:
        """The recording has the events: only how far they came is handed over."""
        alarms.reach(self.source.delivered)

    def silence(self, alarms: ScreenAlarms, t: float) -> list[Event]:
        """A log that stands still is not silent."""
        return []

    def restarted(self) -> bool:
        before, self._generation = self._generation, self.source.generation
        return before != self._generation

    def status(self) -> ReplayStatus:
        return self.source.status()

    def transport(self) -> str:
        """What is played and how it was recognised."""
        words = self.source.describe()
        return f"{words} ({self._why})" if self._why else words

    def pace(self, *, ended: bool, judging: bool) -> float | None:
        if judging:
            return TICK_SECONDS
        status = self.status()
        if status.idle:
            return 0.0
        if status.moving:
            return TICK_SECONDS
        return FOLLOW_TICK_SECONDS if status.following and status.at_end else None

    # ---- keys ------------------------------------------------------------------------------

    def toggle(self) -> None:
        """Pause or go on; at the end, play from the start."""
        source = self.source
        if source.at_end and not source.loading:
            source.seek(0)
            if math.isinf(source.speed):
                source.speed = WATCH_SPEED
            source.paused = False
            return
        source.paused = not source.paused

    def scrub(self, by: int) -> None:
        """Seek by so many hundredths of the stage."""
        total, length = self.source.seconds_total, self.source.length
        if total > 0:
            here = min(self.source.seconds, total)
            self.seek_part((here + by * total / SCRUB_PARTS) / total)
        else:
            self.source.seek(self.source.position + by * max(1, length // SCRUB_PARTS))

    def seek_part(self, part: float) -> None:
        """Seek to a place on the bar, 0 to 1."""
        part = min(1.0, max(0.0, part))
        total = self.source.seconds_total
        if part == 1.0:
            self.source.seek_end()
        elif total > 0:
            self.source.seek_seconds(part * total)
        else:
            self.source.seek(round(part * self.source.length))

    def step(self, by: int) -> None:
        """Seek by so many updates, and pause."""
        self.source.step_by(by)

    def change_speed(self, by: int) -> str:
        """Take the next of `SPEEDS`; returns the new speed in words."""
        source = self.source
        nearest = min(range(len(SPEEDS)), key=lambda i: abs(_log(SPEEDS[i]) - _log(source.speed)))
        source.speed = SPEEDS[min(len(SPEEDS) - 1, max(0, nearest + by))]
        if math.isinf(source.speed):
            self.to_end()  # all at once is now
        return self.status().speed_words

    def set_speed(self, speed: float) -> str:
        """Play so many times as fast; returns the speed in words."""
        self.source.speed = speed
        if math.isinf(speed):
            self.to_end()
        return self.status().speed_words

    def jump(self, by: int) -> str:
        """Seek to the next or previous mark; returns its words, empty when there is none."""
        mark: Mark | None
        mark = self.source.next_mark() if by > 0 else self.source.previous_mark()
        if mark is None:
            return ""
        at = f"step {mark.step}: " if mark.step is not None else ""
        return at + mark.label

    def to_start(self) -> None:
        self.source.seek(0)
        self.source.paused = True

    def to_end(self) -> None:
        self.source.seek_end()
        if self.source.following:
            self.source.paused = False

    def next_stage(self) -> str:
        """Play the next stage of the file; returns a sentence when there is only one."""
        stages = self.source.stages
        if len(stages) < 2:
            return "This file has one stage only."
        self.source.select_stage(((self.source.stage or 0) + 1) % len(stages))
        return ""


def _log(speed: float) -> float:
    return math.log(min(speed, 1e9))
