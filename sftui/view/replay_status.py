"""What a replay is at: the clock, its speed, and the marks along the bar.

Widgets know no source. They get this instead, made anew at every tick by `playback`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TapeMark:
    """A place on the bar worth jumping to."""

    part: float
    """Along the stage, 0 to 1."""
    kind: str
    """validation, eval, checkpoint, control, alarm, lost, attempt or end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tape:
    """A replay as it stands now."""

    part: float
    """How far the clock is, 0 to 1."""
    seconds: float
    total_seconds: float
    clock: str
    """What the clock rests on: `time` (the log's own), `duration` (of the steps) or `steps`."""
    step: int | None
    last_step: int | None
    """Of the whole stage, as far as it was read."""
    speed: float
    """Times the clock; infinite shows all there is."""
    paused: bool
    at_end: bool
    following: bool
    loading: bool
    stage: int
    """Counted from 0."""
    stages: tuple[str, ...]
    marks: tuple[TapeMark, ...] = ()
    holds: frozenset[str] = frozenset()
    """What the stage has, as far as it was read: validations, evals, ranks, checkpoints."""

    @property
    def setting(self) -> tuple[object, ...]:
        """What does not change by the clock going on."""
        flags = (self.speed, self.paused, self.at_end, self.loading)
        return (*flags, self.stages, self.stage, self.holds)

    @property
    def moving(self) -> bool:
        """Whether the clock runs."""
        return not self.paused and not self.at_end and not math.isinf(self.speed)

    @property
    def over(self) -> bool:
        """Whether the log has been read to its end and no more of it is waited for."""
        return self.at_end and not (self.following or self.loading)

    @property
    def speed_words(self) -> str:
        """`60×`, or `all at once`."""
        return "all at once" if math.isinf(self.speed) else f"{self.speed:g}×"
