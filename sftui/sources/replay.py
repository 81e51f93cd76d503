"""A recording as a source of events, by a clock that can be set.

`poll` gives the events that the clock has reached. Since `RunState` only goes forward, going
back (or to another stage) raises `generation`: the caller starts a fresh `RunState` when it
sees a new number, and the poll gives everything from the stage's start again. With batches that
costs milliseconds at a million updates.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from engine.control import Request
from engine.errors import UsageError
from engine.events import Event, RunFinished, StepBatch
from sftui.readers import LineCounts
from sftui.sources.bar_marks import BarMarks
from sftui.sources.clock import ReplayClock
from sftui.sources.feed_protocol import Feed, Finished
from sftui.sources.marks import Mark
from sftui.sources.recording import Recording, Stage, Timeline
from sftui.sources.text_position import end_of_share, end_of_stage, end_of_step
from sftui.text.clean import clean
from sftui.view.replay_status import ReplayStatus, part_of

_PART = 20_000
"""Positions looked through at one go: some milliseconds, and 3 MB of 20 series."""


class ReplaySource:
    """A `Source` over a recording, with a clock that can be set."""

    def __init__(
        self,
        recording: Recording,
        feed: Feed | None = None,
        *,
        lock: threading.Lock | None = None,
        speed: float = math.inf,
        follow: bool = False,
        columnar: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`columnar`: give `StepBatch`es, for a state that takes them; else single events.

        `lock` guards the recording while `feed` adds to it. `follow` keeps to the newest stage.
        """
        self._recording = recording
        self._feed: Feed = feed or Finished()
        self._lock = lock or threading.Lock()
        self._follow = follow
        self._columnar = columnar
        self._clock = ReplayClock(speed=speed, now=now)
        self._stage: int | None = None
        self._chosen = False
        self._generation = 0
        self._version = recording.version
        self._delivered = 0
        self._hurry = False  # a seek has left the picture wrong until all has come
        self._half: Iterator[Event] | None = None  # the rest of a batch that is being spelled out
        self._text_key: tuple[int, int, int] | None = None
        self._text_end: int | None = None
        self._bar_marks = BarMarks()
        self._keep_to_preferred()

    # ---- source ----------------------------------------------------------------------------

    def poll(self, max_events: int = 2000, max_seconds: float = 0.05) -> list[Event]:
        """The events the clock has reached; of a new `generation`, from its first event on.

        After a seek, `max_events` is not kept to: the picture is wrong until all has come.
        """
        if self._delivered:
            self._feed.read_on()
        with self._lock:
            self._keep_to_preferred()
            target = self._target()
            hurry = self._hurry or self._clock.speed == math.inf
            deadline = time.monotonic() + max_seconds
            events: list[Event] = []
            while self._half is not None or self._delivered < target:
                if self._columnar:
                    stop = min(target, self._delivered + _PART)
                    events += self._timeline().news(self._delivered, stop)
                    self._delivered = stop
                    late = time.monotonic() >= deadline
                else:
                    event = self._next(target)
                    if event is not None:
                        events.append(event)
                    late = len(events) % 64 == 0 and time.monotonic() >= deadline
                if late or (len(events) >= max_events and not hurry):
                    break
            else:
                self._hurry = False
            return events

    def send(self, request: Request) -> None:
        """Always refused.

        Raises:
            UsageError: a replay has no run behind it.
        """
        raise UsageError(
            f"{request.command.value} needs a run that is alive; this is a replay. "
            "`sftui attach` shows a running run."
        )

    @property
    def closed(self) -> bool:
        with self._lock:
            at_end = self._half is None and self._delivered >= len(self._timeline())
            return self._feed.done and at_end

    def describe(self) -> str:
        words = f"replay, {self._feed.format}"
        if not self._feed.done and not self._follow:
            words += f", reading {100 * self._feed.share:.0f} %"
        if self._follow:
            words = f"following, {self._feed.format}"
        if self._feed.restarts:
            times = "once" if self._feed.restarts == 1 else f"{self._feed.restarts} times"
            words += f", replaced or emptied {times}"
        if why := self._feed.reread:
            words += f", read again from its start: {why}"
        if self._feed.damage:
            words += f", the file {self._feed.damage}"
        if self.lines.unrecognised:
            words += f", {self.lines.unrecognised:,} of {self.lines.total:,} lines unrecognised"
        if self.lines.with_numbers:
            words += f", {self.lines.with_numbers:,} of them with numbers"
        return words

    @property
    def settled(self) -> bool:
        """A replay's verdict is on its file."""
        return True

    def alive(self) -> tuple[bool, str]:
        return self._feed.evidence() if self._follow else (True, "a replay")

    def close(self) -> None:
        self._feed.close()

    # ---- what is played --------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Raised when the events start again; a new number asks for a fresh `RunState`."""
        return self._generation

    @property
    def lines(self) -> LineCounts:
        return self._feed.lines

    @property
    def format(self) -> str:
        """What was recognised, in words."""
        return self._feed.format

    @property
    def loading(self) -> bool:
        """Whether the file is still being read (or followed)."""
        return not self._feed.done

    def read_on(self) -> None:
        """Read the rest of a long file, without waiting for its first picture."""
        self._feed.read_on()

    @property
    def text_path(self) -> Path | None:
        """The file that is played, if its lines are for people to read."""
        return self._feed.text_path

    @property
    def journal_path(self) -> Path | None:
        """The file that is played, if it is a journal of ours."""
        return self._feed.journal_path

    def text_end(self) -> int | None:
        """How far in that file the clock is: an offset behind a line; None for all of it."""
        with self._lock:
            stage, position = self._stage, self._target()
            last = stage is None or stage == len(self._recording.stages) - 1
            if stage is None or (last and position >= len(self._timeline())):
                return None
            key = (stage, position, len(self._recording.where))
            if key != self._text_key:
                self._text_key, self._text_end = key, self._find_text_end(stage, position)
            return self._text_end

    @property
    def stages(self) -> list[Stage]:
        """All stages found so far, in the order of the log."""
        with self._lock:
            return list(self._recording.stages)

    @property
    def stage(self) -> int | None:
        """Index of the stage that is played."""
        return self._stage

    @property
    def following(self) -> bool:
        """Whether it keeps to what is written to the file."""
        return self._follow

    @property
    def at_end(self) -> bool:
        """Whether the clock is behind all that was read."""
        with self._lock:
            return self._target() >= len(self._timeline())

    def status(self) -> ReplayStatus:
        """Clock, speed, stage and marks, all of the same moment."""
        with self._lock:
            timeline, clock, stage = self._timeline(), self._clock, self._stage
            position, length, total = self._target(), len(timeline), timeline.seconds
            seconds, took = min(clock.seconds(timeline), total), timeline.took
            return ReplayStatus(
                part=part_of(seconds, total, position, length),
                seconds=took if position >= length else seconds * (took / total if total else 1.0),
                total_seconds=took,
                clock=timeline.clock_kind or "steps",
                step=timeline.step_at(position),
                last_step=timeline.last_step if stage is not None else None,
                speed=clock.speed,
                paused=clock.paused,
                at_end=position >= length,
                following=self._follow,
                loading=not self._feed.done,
                stage=stage or 0,
                stages=tuple(found.name for found in self._recording.stages),
                ends=tuple(_end_words(found.timeline.end) for found in self._recording.stages),
                marks=self._bar_marks.of(timeline),
                holds=timeline.holds if stage is not None else frozenset(),
                unread=not self._feed.done and self._feed.share < 1.0,
            )

    def select_stage(self, index: int) -> None:
        """Play another stage, from its start or, at infinite speed, all of it."""
        with self._lock:
            if 0 <= index < len(self._recording.stages):
                self._chosen = True
                self._enter(index)

    @property
    def marks(self) -> list[Mark]:
        """Evaluations, checkpoints, controls and alarms of the stage, in order."""
        with self._lock:
            return list(self._timeline().marks)

    @property
    def length(self) -> int:
        """Positions of the stage: how many events it has so far."""
        with self._lock:
            return len(self._timeline())

    @property
    def seconds_total(self) -> float:
        """The clock at the end of what was read."""
        with self._lock:
            return self._timeline().seconds

    @property
    def clock_kind(self) -> str:
        """What the clock rests on: time (of the log), duration (of the steps), or steps."""
        with self._lock:
            return self._timeline().clock_kind or "steps"

    # ---- the clock -------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """How many events have happened by the clock."""
        with self._lock:
            return self._target()

    @property
    def seconds(self) -> float:
        """The clock."""
        with self._lock:
            return self._clock.seconds(self._timeline())

    @property
    def step(self) -> int | None:
        """The highest step the clock has reached."""
        with self._lock:
            return self._timeline().step_at(self._target())

    @property
    def speed(self) -> float:
        return self._clock.speed

    @speed.setter
    def speed(self, speed: float) -> None:
        """Times the clock; `math.inf` shows all there is.

        Raises:
            UsageError: no positive number.
        """
        with self._lock:
            self._clock.set_speed(speed, self._timeline())

    @property
    def paused(self) -> bool:
        return self._clock.paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        """Stand still, or go on; from within a log, never by a jump to its end."""
        with self._lock:
            self._clock.set_paused(paused, self._timeline())

    def seek(self, position: int) -> None:
        """Set the clock right behind the event before `position`."""
        with self._lock:
            self._seek(position)

    def seek_seconds(self, seconds: float) -> None:
        """Set the clock to a time of the stage."""
        with self._lock:
            self._seek(self._timeline().at_seconds(seconds))
            self._clock.set_seconds(seconds, self._timeline())

    def seek_step(self, step: int) -> None:
        """Set the clock behind all that belongs to `step` or to a step before it."""
        with self._lock:
            self._seek(self._timeline().at_step(step))

    def seek_end(self) -> None:
        """Everything that has been read."""
        with self._lock:
            self._seek(len(self._timeline()))

    def next_mark(self) -> Mark | None:
        """Jump to the next event worth seeing; None (and no jump) behind the last."""
        with self._lock:
            marks = self._timeline().marks
            index = int(np.searchsorted(marks.positions, self._target(), side="right"))
            if index == len(marks):
                return None
            self._seek(marks[index].position)
            return marks[index]

    def previous_mark(self) -> Mark | None:
        """Jump to the event worth seeing before this place."""
        with self._lock:
            marks = self._timeline().marks
            index = int(np.searchsorted(marks.positions, self._target())) - 1
            if index < 0:
                return None
            self._seek(marks[index].position)
            return marks[index]

    def step_by(self, steps: int) -> None:
        """Go some steps forward or back, and stand still there."""
        with self._lock:
            timeline = self._timeline()
            here = timeline.step_at(self._target())
            self._seek(timeline.at_step((here if here is not None else -1) + steps))
            self._clock.stop()

    @property
    def delivered(self) -> int:
        """The position up to which `poll` gave the events of this `generation`."""
        return self._delivered

    def again(self, start: int, stop: int) -> list[Event]:
        """What `poll` gave between two positions, as few events."""
        with self._lock:
            return list(self._timeline().news(start, stop))

    def events_until(self, position: int) -> list[Event]:
        """Everything of the stage before `position`, for a state of one's own."""
        with self._lock:
            return list(self._timeline().events(0, position))

    # ---- inside: the lock is held ----------------------------------------------------------

    def _timeline(self) -> Timeline:
        if self._stage is None:
            self._keep_to_preferred()
        stages = self._recording.stages
        return stages[self._stage].timeline if self._stage is not None else _NOTHING

    def _keep_to_preferred(self) -> None:
        if self._recording.version != self._version:
            # What was given is void: later lines showed that the log is to be read otherwise.
            self._version = self._recording.version
            self._generation += self._stage is not None
            self._stage, self._chosen = None, False
            self._delivered, self._half = 0, None
        if not self._chosen:
            preferred = self._recording.preferred(newest=self._follow)
            if preferred is not None and preferred != self._stage:
                self._enter(preferred)
            # Once read to its end, a log opens where it opened.
            self._chosen = self._feed.done

    def _enter(self, index: int) -> None:
        if self._stage is not None:
            self._generation += 1
        self._stage = index
        self._delivered, self._half = 0, None
        self._clock.enter(self._timeline())

    def _target(self) -> int:
        return self._clock.target(self._timeline())

    def _seek(self, position: int) -> None:
        position = min(max(0, position), len(self._timeline()))
        if self._stage is None:
            return
        self._chosen = True
        if position < self._delivered:
            self._generation += 1
            self._delivered, self._half = 0, None
        self._hurry = True
        self._clock.seek(position, self._timeline())

    def _find_text_end(self, stage: int, position: int) -> int | None:
        where, path = self._recording.where, self._feed.text_path
        at_end = position >= len(self._timeline())
        marks = where.end_of(stage) if at_end else where.around(stage, position)
        if marks is None or path is None:
            return None
        (low_stage, low_position, low), (high_stage, high_position, high) = marks
        try:
            with path.open("rb") as file:
                # The line that the mark cut has not been read by it.
                start = max(0, low - 4096)
                file.seek(start)
                data = file.read(high - start)
        except OSError:
            return None
        skip = data.rfind(b"\n", 0, low - start) + 1
        start, data = start + skip, data[skip:]
        step = self._timeline().step_at(position)
        found = None
        if at_end:
            found = end_of_stage(data)
        elif step is not None:
            found = end_of_step(data, step, entered=low_stage < stage)
        if found is None:
            events = high_position - low_position if low_stage == high_stage else high_position
            done = position - low_position if low_stage == stage else position
            found = end_of_share(data, min(1.0, max(0.0, done / events if events > 0 else 0.0)))
        return start + found

    def _next(self, target: int) -> Event | None:
        """The next single event; None for the start or the end of a batch."""
        if self._half is not None:
            event = next(self._half, None)
            if event is None:
                self._half = None
            return event
        timeline = self._timeline()
        event = next(timeline.events(self._delivered, target))
        if isinstance(event, StepBatch):
            self._delivered += len(event.steps)
            self._half = event.rows()
            return None
        self._delivered += 1
        return event


_NOTHING = Timeline()


def replay_events(
    events: Iterable[Event],
    *,
    speed: float = math.inf,
    columnar: bool = True,
    now: Callable[[], float] = time.monotonic,
) -> ReplaySource:
    """A replay of events that are all there."""
    recording = Recording()
    recording.extend(events)
    return ReplaySource(recording, speed=speed, columnar=columnar, now=now)


def _end_words(end: RunFinished | None) -> str:
    if end is None:
        return ""
    return end.status + (f": {clean(end.reason, 120)}" if end.reason else "")
