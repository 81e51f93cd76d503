"""What a replay is at: the clock, its speed, and the marks along the bar.

Widgets know no source. They get this instead, made anew at every tick by
`ReplaySource.status`, which alone knows clock and stage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sftui.sources.marks import MarkKind


@dataclass(frozen=True, slots=True)
class ReplayMark:
    """A place on the bar worth jumping to."""

    part: float
    """Along the stage, 0 to 1."""
    kind: MarkKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayStatus:
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
    ends: tuple[str, ...] = ()
    """How each stage ended, by the log: `finished`, `stopped`, `failed: why`; empty without a
    word of it."""
    marks: tuple[ReplayMark, ...] = ()
    holds: frozenset[str] = frozenset()
    """What the stage has, as far as it was read: validations, evals, ranks, checkpoints."""
    unread: bool = False
    """Whether the file holds more than was read: what is judged of a part of it is soon untrue."""

    @property
    def setting(self) -> tuple[object, ...]:
        """What does not change by the clock going on."""
        flags = (self.speed, self.paused, self.at_end, self.loading, self.unread)
        return (*flags, self.stages, self.stage, self.holds)

    @property
    def moving(self) -> bool:
        """Whether the clock runs."""
        return not self.paused and not self.at_end and not math.isinf(self.speed)

    @property
    def idle(self) -> bool:
        """Nothing comes by itself: no tick is needed until a key is pressed."""
        return not self.loading and (self.paused or self.at_end)

    @property
    def over(self) -> bool:
        """Whether the log has been read to its end and no more of it is waited for."""
        return self.at_end and not (self.following or self.loading)

    @property
    def speed_words(self) -> str:
        """`60×`, or `all at once`."""
        return "all at once" if math.isinf(self.speed) else f"{self.speed:g}×"


def part_of(seconds: float, total: float, position: int, length: int) -> float:
    """A place along a stage, 0 to 1: by its clock, or by events where no time passes."""
    if length and position >= length:
        return 1.0
    if total > 0:
        return min(1.0, max(0.0, seconds / total))
    return position / length if length else 0.0
