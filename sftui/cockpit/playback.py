"""The keys of a replay: play, scrub, step, speed, jump, stage.

A key moves the clock of the source and nothing else. What was on the screen comes
again as events, so every panel shows the state at that moment; a source that had to go
back says so by its `generation`, and the cockpit starts a fresh state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sftui.sources.clock import SPEEDS, WATCH_SPEED
from sftui.sources.recording import Mark
from sftui.sources.replay import ReplaySource
from sftui.view.replay_status import Tape, TapeMark

SCRUB_PARTS = 100
"""Presses of a scrub key from one end to the other."""


class Playback:
    """The clock of one replay, for keys and for the bar."""

    def __init__(self, source: ReplaySource, *, why: str = "", follow: bool = False) -> None:
        self.source = source
        self.why = why
        """What was recognised in the file, and by what."""
        self.follow = follow
        self.generation = source.generation
        self._marks: tuple[object, tuple[TapeMark, ...]] = (None, ())

    def tape(self) -> Tape:
        """How it stands now."""
        source = self.source
        position, length = source.position, source.length
        stages = source.stages
        stage = source.stage or 0
        timeline = stages[stage].timeline if stage < len(stages) else None
        total = source.seconds_total
        seconds = min(source.seconds, total)
        return Tape(
            part=_part(seconds, total, position, length),
            seconds=seconds,
            total_seconds=total,
            clock=source.clock_kind,
            step=source.step,
            last_step=timeline.last_step if timeline is not None else None,
            speed=source.speed,
            paused=source.paused,
            at_end=position >= length,
            following=self.follow,
            loading=source.loading,
            stage=stage,
            stages=tuple(found.name for found in stages),
            marks=self._marks_of(source.marks, stage, total, length),
            holds=timeline.holds if timeline is not None else frozenset(),
        )

    def words(self) -> str:
        """What is played and how it was recognised, for the header."""
        words = self.source.describe()
        return f"{words} ({self.why})" if self.why else words

    @property
    def at_end(self) -> bool:
        return self.source.position >= self.source.length

    @property
    def idle(self) -> bool:
        """Nothing comes by itself: no tick is needed until a key is pressed."""
        source = self.source
        return not source.loading and (source.paused or self.at_end)

    def restarted(self) -> bool:
        """True once after the events began again from the start of a stage."""
        before, self.generation = self.generation, self.source.generation
        return before != self.generation

    # ---- keys ------------------------------------------------------------------------------

    def toggle(self) -> None:
        """Stand still, go on, or play from the start when it stands at the end."""
        source = self.source
        if self.at_end and not source.loading:
            source.seek(0)
            if math.isinf(source.speed):
                source.speed = WATCH_SPEED
            source.paused = False
            return
        source.paused = not source.paused

    def scrub(self, by: int) -> None:
        """Hundredths of the stage, back or on."""
        total, length = self.source.seconds_total, self.source.length
        if total > 0:
            here = min(self.source.seconds, total)
            self.seek_part((here + by * total / SCRUB_PARTS) / total)
        else:
            self.source.seek(self.source.position + by * max(1, length // SCRUB_PARTS))

    def seek_part(self, part: float) -> None:
        """To a place on the bar, 0 to 1."""
        part = min(1.0, max(0.0, part))
        total = self.source.seconds_total
        if part == 1.0:
            self.source.seek_end()
        elif total > 0:
            self.source.seek_seconds(part * total)
        else:
            self.source.seek(round(part * self.source.length))

    def step(self, by: int) -> None:
        """Updates, back or on; it then stands still."""
        self.source.step_by(by)

    def change_speed(self, by: int) -> str:
        """To the next of `SPEEDS`; what it is now, in words."""
        source = self.source
        nearest = min(range(len(SPEEDS)), key=lambda i: abs(_log(SPEEDS[i]) - _log(source.speed)))
        source.speed = SPEEDS[min(len(SPEEDS) - 1, max(0, nearest + by))]
        if math.isinf(source.speed):
            self.to_end()  # all at once is now
        return self.tape().speed_words

    def jump(self, by: int) -> str:
        """To the next or previous event worth seeing; its words, empty at the ends."""
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
        if self.follow:
            self.source.paused = False

    def next_stage(self) -> str:
        """Play the next stage of the file; what a person must know if there is none."""
        stages = self.source.stages
        if len(stages) < 2:
            return "This file has one stage only."
        self.source.select_stage(((self.source.stage or 0) + 1) % len(stages))
        return ""

    def _marks_of(
        self, marks: Sequence[Mark], stage: int, total: float, length: int
    ) -> tuple[TapeMark, ...]:
        """The marks on the bar; made anew only when the file or the stage changed."""
        key = (stage, len(marks), total, length)
        if self._marks[0] != key:
            found = tuple(
                TapeMark(_part(mark.seconds, total, mark.position, length), mark.kind)
                for mark in marks
            )
            self._marks = (key, found)
        return self._marks[1]


def _part(seconds: float, total: float, position: int, length: int) -> float:
    """A place along the stage: by its clock, or by events where no time passes."""
    if length and position >= length:
        return 1.0
    if total > 0:
        return min(1.0, max(0.0, seconds / total))
    return position / length if length else 0.0


def _log(speed: float) -> float:
    return math.log(min(speed, 1e9))
