"""A run or log in memory: its stages, and the place of each event on a clock.

A position counts events, updates inside a `StepBatch` included, so it is the same
whether the reader gave batches or single events. The clock of a stage is its log's
own time where the updates have one, else the time they say they took, else one
second a step (d16 on two GPUs took about that).
"""

from __future__ import annotations

import bisect
import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from engine import events as ev
from sftui.sources.marks import Marks
from sftui.sources.packed_events import PackedEvents
from sftui.sources.packed_numbers import Packed
from sftui.sources.text_position import ByteMarks
from sftui.state.records import RunClock

_LONGEST = 1e6
"""No step takes longer than 11 days; a torn number must not stretch the clock."""

_HELD = {
    ev.ValidationFinished: "validations",
    ev.EvalStarted: "evals",
    ev.EvalProgress: "evals",
    ev.EvalFinished: "evals",
    ev.RankHeartbeat: "ranks",
    ev.CheckpointSaved: "checkpoints",
}

_MAY_COME_LATER = (
    ev.ValidationFinished,
    ev.EvalFinished,
    ev.CheckpointSaved,
    ev.MetricLogged,
    ev.SampleGenerated,
    ev.LogLine,
)
"""Kinds that carry their own step, so that updates of later steps may come before them."""

_APART, _APART_SHARE = 2.0, 0.02
"""Seconds, or part of the whole, by which a run's own word and its events may differ and still
speak of the same time."""

_BEAT_SECONDS = 20.0
"""Two thirds of the silence after which a rank is called dead."""


class _Rows:
    """All rows of a stage that have the same columns and the same stamp: one array a column."""

    __slots__ = ("columns", "stamp", "steps", "times")

    def __init__(self, stamp: ev.Stamp, names: Iterable[str]) -> None:
        self.stamp = stamp
        self.steps = Packed[int]("q")
        self.times = Packed[float]("d")
        self.columns = {name: Packed[float]("d") for name in names}

    def extend(self, batch: ev.StepBatch) -> None:
        if len(batch.steps) == 1 and len(batch.times) <= 1:
            # Where results part all rows, there is one in each batch.
            self.steps.append(batch.steps[0])
            for t in batch.times:
                self.times.append(t)
            for name, values in batch.columns.items():
                self.columns[name].append(values[0])
            return
        self.steps.extend(batch.steps)
        self.times.extend(batch.times)
        for name, values in batch.columns.items():
            self.columns[name].extend(values)

    def batch(self, start: int, stop: int) -> ev.StepBatch:
        """The rows from `start` to before `stop`, which is not empty."""
        return ev.StepBatch(
            step=self.steps[stop - 1],
            stamp=self.stamp,
            steps=self.steps[start:stop],
            columns={name: column[start:stop] for name, column in self.columns.items()},
            times=self.times[start:stop],
        )


class Timeline:
    """The events of one stage, in order. Positions run from 0 (nothing yet) to `length`.

    Rows of batches lie in columns, every other event in a packed list, with its position. So a
    number costs two to eight bytes, however small the pieces are in which a reader gave it.
    """

    def __init__(self) -> None:
        self._others = PackedEvents()
        self._other_at = array("q")  # position of each of them
        self._rows: dict[object, _Rows] = {}
        self._runs: list[_Rows] = []  # stretches of rows of one kind, in order ...
        self._run_at = array("q")  # ... the number of rows before each, of all kinds ...
        self._run_first = array("q")  # ... and where it begins among its own
        self._num_rows = 0
        self._clock = Packed[float]("d")  # seconds of each position, never falling
        self._steps = Packed[int]("q")  # highest step up to and including each position
        # The last of each, not to be unpacked for every event that comes.
        self._now = 0.0
        self._top = -1
        self._first_t: float | None = None
        self._wall = RunClock()
        self._last_update: int | None = None
        self._told: float | None = None  # how long the run took, by its own word
        self.clock_kind = ""
        """`time`, `duration` or `steps`, once an update has been seen."""
        self.marks = Marks(self._others)
        self.num_updates = 0
        self.end: ev.RunFinished | None = None
        """The last word of the log on how the program ended."""
        self.holds: frozenset[str] = frozenset()
        """What there is of validations, evals, ranks and checkpoints, wherever the clock is."""

    def __len__(self) -> int:
        return len(self._clock)

    @property
    def seconds(self) -> float:
        """The clock at the end."""
        return self._now

    @property
    def failed(self) -> bool:
        """Whether the log says that the program ended by an error."""
        return self.end is not None and self.end.status == "failed"

    @property
    def took(self) -> float:
        """The clock at the end as it is told: by the run's own word, where that means the same.

        It counts from the start of the process or leaves out the first steps, so it may be a
        little shorter than the way from the first event to the last."""
        told = self._told
        if told is None:
            return self._now
        # A clock made of the times of updates is no better than what the run says of itself.
        near = self._now - told <= max(_APART, _APART_SHARE * self._now)
        return told if near or self.clock_kind == "duration" else self._now

    @property
    def last_step(self) -> int | None:
        """The highest step so far."""
        return self._top if self._top >= 0 else None

    def append(self, event: ev.Event) -> None:
        """Add an event behind the others."""
        if isinstance(event, ev.StepBatch):
            self._append_batch(event)
            return
        now = self._now
        t, step = self._wall.at(event.stamp), event.step
        if t is not None and not math.isfinite(t):
            t = None
        if isinstance(event, ev.StepFinished):
            self.num_updates += 1
            if not self.clock_kind:
                self.clock_kind = _kind(t is not None, event.seconds is not None)
            if self.clock_kind == "duration":
                spent = event.seconds or 0.0
                now += min(max(spent, 0.0), _LONGEST) if math.isfinite(spent) else 0.0
            elif self.clock_kind == "steps" and step is not None:
                before = self._last_update
                now += max(0, step - before) if before is not None else 0
            if step is not None:
                self._last_update = max(step, self._last_update or step)
        if self.clock_kind in ("", "time") and t is not None:
            if self._first_t is None:
                self._first_t = t
            now = max(now, t - self._first_t)
        if isinstance(event, ev.RunFinished) and self.clock_kind != "steps":
            now = self._end_at(now, event.seconds)
        self._other_at.append(len(self._clock))
        self._others.append(event)
        self._now = now
        if step is not None and step > self._top:
            self._top = step
        self._clock.append(now)
        self._steps.append(self._top)
        self._mark(event, now)

    def _end_at(self, now: float, told: float | None) -> float:
        """The clock at the end of the run, which may say itself how long it took."""
        if told is None or not 0.0 <= told < math.inf:
            return now
        self._told = told
        return max(now, told)

    def _append_row(self, batch: ev.StepBatch) -> bool:
        """A batch of one row, by a clock that goes by its time; whether it was one."""
        if len(batch.steps) != 1 or len(batch.times) != 1 or self.clock_kind != "time":
            return False
        step, t, first = batch.steps[0], batch.times[0], self._first_t
        if first is None or not math.isfinite(t):
            return False
        self.num_updates += 1
        self._now, self._top = max(self._now, t - first), max(self._top, step)
        self._last_update = max(step, self._last_update or step)
        self._keep(batch)
        self._clock.append(self._now)
        self._steps.append(self._top)
        return True

    def _append_batch(self, batch: ev.StepBatch) -> None:
        if self._append_row(batch):
            return
        steps = np.asarray(batch.steps, dtype=np.int64)
        if not len(steps):
            return
        self.num_updates += len(steps)
        now, top = self._now, self._top
        if not self.clock_kind:
            self.clock_kind = _kind(bool(batch.times), "seconds" in batch.columns)
        highest = np.maximum.accumulate(np.maximum(steps, top))
        if self.clock_kind == "time" and batch.times:
            times = np.asarray(batch.times, dtype=np.float64)
            times = np.where(np.isfinite(times), times, 0.0)
            if self._first_t is None:
                self._first_t = float(times[0])
            clock = np.maximum.accumulate(np.maximum(times - self._first_t, now))
        elif self.clock_kind == "duration" and "seconds" in batch.columns:
            spent = np.asarray(batch.columns["seconds"], dtype=np.float64)
            spent = np.where(np.isfinite(spent), np.clip(spent, 0.0, _LONGEST), 0.0)
            clock = now + np.cumsum(spent)
        elif self.clock_kind == "steps":
            before = self._last_update if self._last_update is not None else int(steps[0])
            reached = np.maximum.accumulate(np.maximum(steps, before))
            clock = now + (reached - before).astype(np.float64)
        else:
            clock = np.full(len(steps), now)
        self._last_update = max(int(steps.max()), self._last_update or int(steps[0]))
        self._keep(batch)
        self._now, self._top = float(clock[-1]), int(highest[-1])
        self._clock.extend(clock)
        self._steps.extend(highest)

    def _keep(self, batch: ev.StepBatch) -> None:
        stamp = batch.stamp
        if batch.times and stamp.t is not None:
            stamp = replace(stamp, t=None)
        key = (stamp, bool(batch.times), *batch.columns)
        rows = self._rows.get(key)
        if rows is None:
            rows = self._rows[key] = _Rows(stamp, batch.columns)
            for name in filter(ev.is_result_column, batch.columns):
                self.holds |= {"validations" if name.startswith(ev.VALIDATION_COLUMN) else "evals"}
        if not self._runs or self._runs[-1] is not rows:
            self._runs.append(rows)
            self._run_at.append(self._num_rows)
            self._run_first.append(len(rows.steps))
        rows.extend(batch)
        self._num_rows += len(batch.steps)

    def _mark(self, event: ev.Event, seconds: float) -> None:
        held = _HELD.get(type(event))
        if held is not None and held not in self.holds:
            self.holds |= {held}
        if isinstance(event, ev.RunFinished):
            self.end = event
        self.marks.add(event, len(self._others) - 1, len(self), seconds)

    def events(self, start: int, stop: int) -> Iterator[ev.Event]:
        """The events from position `start` to `stop`, in order; batches are cut to fit."""
        stop = min(stop, len(self))
        index = bisect.bisect_left(self._other_at, start)
        while start < stop:
            at = self._other_at[index] if index < len(self._others) else stop
            end = min(at, stop)
            if start < end:
                yield from self._batches(start - index, end - index)
            if end < stop:
                yield self._others[index]
                index, end = index + 1, end + 1
            start = end

    def news(self, start: int, stop: int) -> Iterator[ev.Event]:
        """The same in fewer events: a row may come before an event that was before it.

        For a state that is far behind. A heartbeat a second and an evaluation every 50 steps
        would otherwise make tens of thousands of small batches. What changes the course of the
        run keeps its place, and no heartbeat comes later than `_BEAT_SECONDS` after its time:
        between two heartbeats of a rank there is never so much that it would seem dead.
        """
        stop = min(stop, len(self))
        index = bisect.bisect_left(self._other_at, start)
        row = start - index
        later: list[ev.Event] = []
        clock = self._clock[start:stop]
        since = start
        while index < len(self._others) and (at := self._other_at[index]) < stop:
            event = self._others[index]
            beat = isinstance(event, ev.RankHeartbeat)
            if beat:
                waits = clock[at - start] - clock[since - start] < _BEAT_SECONDS
            else:
                waits = isinstance(event, _MAY_COME_LATER) and event.step is not None
            if not waits:
                yield from self._whole_batches(row, at - index)
                yield from later
                row, since, later = at - index, at, []
            if waits or beat:
                later.append(event)
            else:
                yield event
            index += 1
        yield from self._whole_batches(row, stop - index)
        yield from later

    def _batches(self, start: int, stop: int) -> Iterator[ev.StepBatch]:
        """Rows, counted without the other events, in order."""
        for rows, first, last in self._stretches(start, stop):
            yield rows.batch(first, last)

    def _whole_batches(self, start: int, stop: int) -> Iterator[ev.StepBatch]:
        """The same, those of one kind together as long as the stamp is the same."""
        found: dict[int, tuple[_Rows, int, int]] = {}
        for rows, first, last in self._stretches(start, stop):
            if found and next(iter(found.values()))[0].stamp != rows.stamp:
                yield from (kind.batch(a, b) for kind, a, b in found.values())
                found = {}
            _, begin, _ = found.get(id(rows), (rows, first, last))
            found[id(rows)] = (rows, begin, last)
        yield from (kind.batch(a, b) for kind, a, b in found.values())

    def _stretches(self, start: int, stop: int) -> Iterator[tuple[_Rows, int, int]]:
        run = max(0, bisect.bisect_right(self._run_at, start) - 1)
        while start < stop:
            end = self._run_at[run + 1] if run + 1 < len(self._runs) else self._num_rows
            last = min(end, stop)
            first = self._run_first[run] + start - self._run_at[run]
            yield self._runs[run], first, first + last - start
            start = last
            run += 1

    def at_seconds(self, seconds: float) -> int:
        """The position behind everything that has happened by then."""
        return bisect.bisect_right(self._clock, seconds)

    def at_step(self, step: int) -> int:
        """The position behind the last event of `step`, or of the last step before it."""
        return bisect.bisect_right(self._steps, step)

    def seconds_at(self, position: int) -> float:
        """The clock of the last event before `position`."""
        return self._clock[position - 1] if 0 < position <= len(self) else 0.0

    def step_at(self, position: int) -> int | None:
        """The highest step before `position`."""
        step = self._steps[position - 1] if 0 < position <= len(self) else -1
        return step if step >= 0 else None


@dataclass(slots=True)
class Stage:
    """One program of a log (or the whole of a run of ours)."""

    start: ev.RunStarted
    """The newest: a later line may name what the first could not."""
    timeline: Timeline

    @property
    def name(self) -> str:
        return self.start.name


class Recording:
    """All stages of what a reader has read so far; grows while a file is being read."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.where = ByteMarks()
        self.version = 0
        """Raised when all of it was thrown away, to be read again."""
        self._prelude: list[ev.Event] = []
        self._ranked = _Ranked()

    def clear(self) -> None:
        """Forget everything: the log is read again from its start."""
        self.stages, self._prelude, self.where = [], [], ByteMarks()
        self._ranked = _Ranked()
        self.version += 1

    def extend(self, events: Iterable[ev.Event]) -> None:
        """Add events; a `RunStarted` of another run than before begins a stage."""
        for event in events:
            if isinstance(event, ev.RunStarted):
                stage = self.stages[-1] if self.stages else None
                if stage is None or stage.start.stamp.run != event.stamp.run:
                    stage = Stage(event, Timeline())
                    self.stages.append(stage)
                    for early in self._prelude:
                        stage.timeline.append(early)
                    self._prelude = []
                stage.start = event
            if self.stages:
                self.stages[-1].timeline.append(event)
            else:
                self._prelude.append(event)

    def note(self, offset: int) -> None:
        """All so far came from the first `offset` bytes of the file."""
        if self.stages:
            self.where.note(len(self.stages) - 1, len(self.stages[-1].timeline), offset)

    def preferred(self, *, newest: bool = False) -> int | None:
        """The stage to open: the last SFT stage with updates, else the last with most to show.

        One that failed, and after which nothing trained, comes before them: it is why somebody
        reads the log. `newest`: the last with updates, whatever it is, for a growing log.
        """
        # All but the last are over and stay as they are; a growing log is asked at every look.
        while self._ranked.count < len(self.stages) - 1:
            self._ranked.add(self.stages[self._ranked.count])
        found = replace(self._ranked)
        for stage in self.stages[found.count :]:
            found.add(stage)
        if found.failed is not None and not found.trained_since and not newest:
            return found.failed
        return found.newest if newest else found.best


@dataclass(slots=True)
class _Ranked:
    """The stages from the first on, and which of them is to be opened."""

    count: int = 0
    failed: int | None = None
    """The last that failed."""
    trained_since: bool = False
    """One after it had updates."""
    best: int | None = None
    newest: int | None = None
    _best_rank: int = -1
    _newest_rank: int = -1

    def add(self, stage: Stage) -> None:
        """The next one."""
        index, timeline = self.count, stage.timeline
        self.count += 1
        trained = timeline.num_updates > 0
        if timeline.failed:
            self.failed, self.trained_since = index, False
        elif trained:
            self.trained_since = True
        rank = 2 * trained + bool(timeline.marks)
        sure = 4 if rank >= 2 else rank
        if (of_any := sure if "sft" in stage.name.lower() else rank) >= self._best_rank:
            self.best, self._best_rank = index, of_any
        if sure >= self._newest_rank:
            self.newest, self._newest_rank = index, sure


def _kind(has_time: bool, has_duration: bool) -> str:
    return "time" if has_time else "duration" if has_duration else "steps"
