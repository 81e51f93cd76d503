"""What `RunState` keeps of the events, as small records.

Validation and evaluation results belong to weights: `step` is the number of
updates in them, so 0 is the starting checkpoint.
"""

from __future__ import annotations

import bisect
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from engine import events as ev
from sftui.state.series import Table


class Topic(enum.Flag):
    """What an event touched, so that only stale panels are painted again."""

    NOTHING = 0
    RUN = enum.auto()
    STEPS = enum.auto()
    VALIDATION = enum.auto()
    EVALS = enum.auto()
    CHECKPOINTS = enum.auto()
    RANKS = enum.auto()
    CONTROLS = enum.auto()
    LOG = enum.auto()
    ALARMS = enum.auto()
    SAMPLES = enum.auto()
    VIEW = enum.auto()
    """No event: the person changed how the run is looked at."""
    ALL = (
        RUN
        | STEPS
        | VALIDATION
        | EVALS
        | CHECKPOINTS
        | RANKS
        | CONTROLS
        | LOG
        | ALARMS
        | SAMPLES
        | VIEW
    )


ShownPhase = Literal[ev.PhaseName, "evaluate"]
"""`evaluate`: the tasks, which have events of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of work; `end` is None while it lasts."""

    name: ShownPhase
    detail: str
    start: float | None
    end: float | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Validation loss of the weights after `step` updates."""

    step: int
    loss: float
    metric: str
    seconds: float | None
    t: float | None
    rows_file: str | None = None
    """Losses row by row, relative to the run directory."""
    loss_by_source: Mapping[str, float] = field(default_factory=dict)
    """Token mean of each source of rows; empty with one source."""
    set_name: str = ""
    """Which rows, where a log names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A row of the checkpoint list; the starting weights have no path."""

    step: int
    path: str | None
    size_bytes: int | None
    reason: ev.CheckpointReason | Literal["start"]
    kind: ev.CheckpointKind | Literal["start"]
    val_loss: float | None
    t: float | None
    """When it was saved, jumps of the clock taken out as in `RunState.last_t`."""
    removed: bool = False

    @property
    def exported(self) -> bool:
        """Whether it is a result for other programs, and no checkpoint to go on from."""
        return self.kind == "nanochat" or self.reason == "export"


@dataclass(slots=True, kw_only=True)
class Alarm:
    """The newest alarm of its kind, and how often that kind was raised."""

    event: ev.AlarmRaised
    count: int = 1
    active: bool = True


RANK_COLUMNS = ("memory_bytes", "load", "power_watts", "temperature_celsius", "step_seconds")


@dataclass(slots=True, eq=False)
class Rank:
    """The newest heartbeat of one rank and its memory over time."""

    last: ev.RankHeartbeat
    memory: Table = field(default_factory=lambda: Table(RANK_COLUMNS))
    """x = wall clock in seconds; `load` is of the GPU, or of the CPU where there is none."""
    lost: str | None = None
    """Why the rank is gone; None while it is there."""


class RunClock:
    """The wall clock without its jumps: within one boot, durations are the monotonic clock's."""

    __slots__ = ("_offsets",)

    def __init__(self) -> None:
        self._offsets: dict[str, float] = {}

    def at(self, stamp: ev.Stamp) -> float | None:
        """When an event was, by the clock as it stood at the first event of that boot."""
        if stamp.t is None or stamp.m is None or not stamp.boot:
            return stamp.t
        return self.corrected(stamp.boot, stamp.t, stamp.m)

    def corrected(self, boot: str, t: float, m: float) -> float:
        """The same of a wall clock and a monotonic clock, in whole microseconds."""
        return round(self._offsets.setdefault(boot, t - m) + m, 6)


class SeenNumbers:
    """Sequence numbers already applied, as disjoint closed intervals."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, seq: int) -> bool:
        """False when `seq` was there already."""
        starts, ends = self._starts, self._ends
        if ends and seq == ends[-1] + 1:  # the usual case, in constant time
            ends[-1] = seq
            return True
        i = bisect.bisect_right(starts, seq)
        if i and seq <= ends[i - 1]:
            return False
        joins_left = i > 0 and ends[i - 1] == seq - 1
        joins_right = i < len(starts) and starts[i] == seq + 1
        if joins_left and joins_right:
            ends[i - 1] = ends[i]
            del starts[i], ends[i]
        elif joins_left:
            ends[i - 1] = seq
        elif joins_right:
            starts[i] = seq
        else:
            starts.insert(i, seq)
            ends.insert(i, seq)
        return True


def closed(phase: Phase, t: float | None) -> Phase:
    """The phase, ended at `t` if it had no end yet."""
    if phase.end is not None:
        return phase
    return replace(phase, end=t)
