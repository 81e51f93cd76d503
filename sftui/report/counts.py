"""What a report counts and the screen's state does not keep: tokens, pauses, losses by source.

It hears every event once, in the order of the files, and keeps sums and small arrays
only: a million steps are a few tens of megabytes.
"""

from __future__ import annotations

import math
import statistics
from array import array
from dataclasses import dataclass, field

from engine import events as ev

MOST = 256
"""Names, alarms or incidents kept: a log that invents them must not eat memory."""


@dataclass(slots=True, eq=False)
class RankTally:
    """What one rank said of itself over the whole run."""

    peak_bytes: int | None = None
    total_bytes: int | None = None
    memory_kind: str = ""
    device_name: str | None = None
    host: str = ""
    alloc_retries: int = 0
    seconds_per_token: array[float] = field(default_factory=lambda: array("d"))
    step_seconds: array[float] = field(default_factory=lambda: array("d"))

    def hear(self, event: ev.RankHeartbeat) -> None:
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
class SourceTally:
    """Training loss of one source of rows, where the run tells it."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    losses: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True, eq=False)
class Tally:
    """Sums over one stage of a run or log."""

    tokens: int = 0
    supervised: int = 0
    steps_with_tokens: int = 0
    steps_with_supervised: int = 0
    done_again: int = 0
    """Updates that a later attempt did once more."""
    pauses: list[tuple[float, float]] = field(default_factory=list)
    attempts: list[ev.AttemptStarted] = field(default_factory=list)
    lost_seconds: float = 0.0
    """From the last update before a restart to the restart."""
    losses: list[ev.RankLost] = field(default_factory=list)
    alarms: list[ev.AlarmRaised] = field(default_factory=list)
    validation_rows: dict[int, int] = field(default_factory=dict)
    ranks: dict[int, RankTally] = field(default_factory=dict)
    sources: dict[str, SourceTally] = field(default_factory=dict)
    out_of_memory: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Lines of the log that tell of rows cut, skipped or without a target."""
    _paused_at: float | None = None
    _last_step_t: float | None = None
    _last_t: float | None = None
    _furthest: int = -1

    def hear(self, event: ev.Event) -> None:
        """Count one event."""
        t = event.stamp.t
        match event:
            case ev.StepBatch():
                for name in ("tokens", "supervised_tokens"):
                    if name in event.columns:
                        finite = [int(v) for v in event.columns[name] if math.isfinite(v)]
                        self._count(name, sum(finite), len(finite))
            case ev.StepFinished():
                self._step(event)
                self._last_step_t = t if t is not None else self._last_step_t
            case ev.RankHeartbeat():
                if event.rank in self.ranks or len(self.ranks) < MOST:
                    self.ranks.setdefault(event.rank, RankTally()).hear(event)
            case ev.StateChanged():
                self._state(event.state, t)
            case ev.AttemptStarted():
                if len(self.attempts) < MOST:
                    self.attempts.append(event)
                if len(self.attempts) > 1 and t is not None and self._last_step_t is not None:
                    self.lost_seconds += max(0.0, t - self._last_step_t)
                    self._last_step_t = None
            case ev.RankLost():
                if len(self.losses) < MOST:
                    self.losses.append(event)
            case ev.AlarmRaised():
                if len(self.alarms) < MOST:
                    self.alarms.append(event)
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
            if event.step <= self._furthest:
                self.done_again += 1
            self._furthest = max(self._furthest, event.step)
        if event.tokens is not None:
            self._count("tokens", event.tokens, 1)
        if event.supervised_tokens is not None:
            self._count("supervised_tokens", event.supervised_tokens, 1)
        for name, loss in event.loss_by_source.items():
            if event.step is not None and (name in self.sources or len(self.sources) < MOST):
                source = self.sources.setdefault(name, SourceTally())
                source.steps.append(event.step)
                source.losses.append(loss)

    def _count(self, name: str, total: int, steps: int) -> None:
        if name == "tokens":
            self.tokens += total
            self.steps_with_tokens += steps
        else:
            self.supervised += total
            self.steps_with_supervised += steps

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
