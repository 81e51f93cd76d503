"""What a report counts and the screen's state does not keep: totals, pauses, losses by source.

It is given every event once, in the order of the files, and keeps sums and small arrays
only: a million steps are a few tens of megabytes.
"""

from __future__ import annotations

import math
import statistics
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine import events as ev
from sftui.state.series import all_bounded, bounded

MOST = 256
"""Names, alarms or incidents kept: a log that invents them must not eat memory."""


@dataclass(slots=True, eq=False)
class RankCounts:
    """What one rank said of itself over the whole run."""

    peak_bytes: int | None = None
    total_bytes: int | None = None
    memory_kind: str = ""
    device_name: str | None = None
    host: str = ""
    alloc_retries: int = 0
    seconds_per_token: array[float] = field(default_factory=lambda: array("d"))
    step_seconds: array[float] = field(default_factory=lambda: array("d"))

    def count(self, event: ev.RankHeartbeat) -> None:
        """Take in one heartbeat of this rank."""
        self.peak_bytes = max(
            filter(None, (self.peak_bytes, event.memory_peak_bytes, event.memory_bytes)),
            default=None,
        )
        self.total_bytes = event.memory_total_bytes or self.total_bytes
        self.memory_kind, self.host = event.memory_kind, event.host
        self.device_name = event.device_name or self.device_name
        self.alloc_retries = max(self.alloc_retries, event.alloc_retries or 0)
        if event.seconds_per_token is not None:
            self.seconds_per_token.append(event.seconds_per_token)
        if event.step_seconds is not None:
            self.step_seconds.append(event.step_seconds)

    def own_pace(self) -> float | None:
        """Median own seconds a token, before it waits for others."""
        return statistics.median(self.seconds_per_token) if self.seconds_per_token else None


@dataclass(slots=True, eq=False)
class SourceCounts:
    """Training loss of one source of rows, where the run tells it."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    losses: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True, eq=False)
class Sum:
    """One number of the updates, added up over those that tell it; NaN and infinities left out."""

    total: float
    """An int for counts, which are added exactly."""
    updates: int = 0
    """How many told it."""

    @property
    def mean(self) -> float | None:
        return self.total / self.updates if self.updates else None

    def add(self, values: Sequence[float]) -> None:
        """Values of one update or of many."""
        kind = type(self.total)
        if len(values) == 1:
            finite = [bounded(value) for value in values if math.isfinite(value)]
            self.total += kind(sum(finite))
            self.updates += len(finite)
            return
        numbers = np.asarray(values, dtype=np.float64)
        numbers = all_bounded(numbers[np.isfinite(numbers)])
        self.total += kind(numbers.sum())
        self.updates += len(numbers)


def _sums() -> dict[str, Sum]:
    return {name: Sum(0 if name in ev.STEP_COUNTS else 0.0) for name in ev.STEP_NUMBERS}


@dataclass(slots=True, eq=False)
class AlarmSpan:
    """One alarm from when it was raised to when it was cleared."""

    raised: ev.AlarmRaised
    cleared: ev.AlarmCleared | None = None
    """None: it held to the end of what was read."""


@dataclass(slots=True, eq=False)
class Counts:
    """Sums over one stage of a run or log."""

    sums: dict[str, Sum] = field(default_factory=_sums)
    """By name, each number of `StepFinished`, updates done again included."""
    done_again: int = 0
    """Updates that a later attempt did once more."""
    pauses: list[tuple[float, float]] = field(default_factory=list)
    attempts: list[ev.AttemptStarted] = field(default_factory=list)
    lost_seconds: float = 0.0
    """From the last update before a restart to the restart."""
    lost_ranks: list[ev.RankLost] = field(default_factory=list)
    alarms: list[AlarmSpan] = field(default_factory=list)
    validation_rows: dict[int, int] = field(default_factory=dict)
    ranks: dict[int, RankCounts] = field(default_factory=dict)
    sources: dict[str, SourceCounts] = field(default_factory=dict)
    out_of_memory: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Lines of the log that tell of rows cut, skipped or without a target."""
    _paused_at: float | None = None
    _last_step_t: float | None = None
    _last_t: float | None = None
    _furthest: int = -1

    def count(self, event: ev.Event) -> None:
        """Take in one event."""
        t = event.stamp.t
        match event:
            case ev.StepBatch():
                self._batch(event)
                t = event.times[-1] if event.times else t
            case ev.StepFinished():
                self._step(event)
                self._last_step_t = t if t is not None else self._last_step_t
            case ev.RankHeartbeat():
                if event.rank in self.ranks or len(self.ranks) < MOST:
                    self.ranks.setdefault(event.rank, RankCounts()).count(event)
            case ev.StateChanged():
                self._state(event.state, t)
            case ev.AttemptStarted():
                if len(self.attempts) < MOST:
                    self.attempts.append(event)
                if len(self.attempts) > 1 and t is not None and self._last_step_t is not None:
                    self.lost_seconds += max(0.0, t - self._last_step_t)
                    self._last_step_t = None
            case ev.RankLost():
                if len(self.lost_ranks) < MOST:
                    self.lost_ranks.append(event)
            case ev.AlarmRaised():
                if len(self.alarms) < MOST:
                    self.alarms.append(AlarmSpan(event))
            case ev.AlarmCleared():
                for alarm in self.alarms:
                    if alarm.raised.kind == event.kind and alarm.cleared is None:
                        alarm.cleared = event
            case ev.ValidationFinished():
                if event.rows is not None and event.step is not None:
                    self.validation_rows[event.step] = event.rows
            case ev.LogLine():
                self._line(event.text)
            case _:
                pass
        if t is not None:
            self._last_t = t

    @property
    def paused_seconds(self) -> float:
        """Time paused; a pause that still lasts counts up to the newest event."""
        total = sum(end - start for start, end in self.pauses)
        if self._paused_at is not None and self._last_t is not None:
            total += max(0.0, self._last_t - self._paused_at)
        return total

    def _step(self, event: ev.StepFinished) -> None:
        if event.step is not None:
            self._reached([event.step])
        for name, total in self.sums.items():
            value = getattr(event, name)
            if value is not None:
                total.add((value,))
        for name, loss in event.loss_by_source.items():
            if event.step is not None:
                self._source(name, [event.step], [loss])

    def _batch(self, batch: ev.StepBatch) -> None:
        """The same as from its rows."""
        if not any(map(ev.is_step_column, batch.columns)):
            return
        self._reached(batch.steps)
        if batch.times:
            self._last_step_t = batch.times[-1]
        for name, values in batch.columns.items():
            if name in self.sums:
                self.sums[name].add(values)
            elif name.startswith("loss_by_source/"):
                self._source(name.partition("/")[2], batch.steps, values)

    def _reached(self, steps: Sequence[int]) -> None:
        after = np.asarray(steps, dtype=np.int64)
        before = np.maximum.accumulate(np.concatenate(([self._furthest], after)))
        self.done_again += int((after <= before[:-1]).sum())
        self._furthest = int(before[-1])

    def _source(self, name: str, steps: Iterable[int], losses: Iterable[float]) -> None:
        if name in self.sources or len(self.sources) < MOST:
            source = self.sources.setdefault(name, SourceCounts())
            source.steps.extend(steps)
            source.losses.extend(map(bounded, losses))

    def _state(self, state: str, t: float | None) -> None:
        if state == "paused":
            self._paused_at = t if self._paused_at is None else self._paused_at
        elif self._paused_at is not None and t is not None:
            self.pauses.append((self._paused_at, max(t, self._paused_at)))
            self._paused_at = None

    def _line(self, text: str) -> None:
        lowered = text[:2000].lower()
        if "out of memory" in lowered and len(self.out_of_memory) < 5:
            self.out_of_memory.append(text[:300])
        if "row" in lowered and len(self.notes) < 20:
            words = ("longer than", "truncat", "were cut", "without a", "no target", "skipped")
            if any(word in lowered for word in words):
                self.notes.append(text[:300])
