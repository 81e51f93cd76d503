"""Which alarms are active, and how often they are raised: once when a condition begins.

The same kind is not raised again for 10 minutes and 200 steps, whichever is later. What
was held back is counted in the next text, and a condition that still holds when the
time is over is raised then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.alarms.windows import Reading
from engine.events import UNSTAMPED, AlarmCleared, AlarmKind, AlarmRaised, Severity, Stamp

SEVERITY: Mapping[AlarmKind, Severity] = {
    "nonfinite": "error",
    "spike": "warn",
    "diverging": "error",
    "overfitting": "warn",
    "stall": "error",
    "rank_silent": "error",
    "straggler": "warn",
    "slowdown": "warn",
    "memory_tight": "warn",
    "letter_collapse": "warn",
    "disk_low": "error",
}
"""Every kind that a rule raises, and how bad it is."""

ALL_KINDS: frozenset[AlarmKind] = frozenset(SEVERITY)
CLOCK_KINDS: frozenset[AlarmKind] = frozenset({"stall", "rank_silent"})
"""What a run cannot say of itself: whoever watches it has to."""
EVENT_KINDS = ALL_KINDS - CLOCK_KINDS
"""What rank 0 raises and writes into the event log."""

REPEAT_SECONDS = 600.0
REPEAT_STEPS = 200

Alarm = AlarmRaised | AlarmCleared


@dataclass(slots=True)
class _Kind:
    """Where one kind stands."""

    shown: bool = False
    true: bool = False
    held_back: int = 0
    step: int | None = None
    t: float | None = None


class AlarmBoard:
    """The active alarms. `stamp`, its time `t` and `step` are those of the newest event."""

    def __init__(self, kinds: frozenset[AlarmKind]) -> None:
        self._stamp: Stamp = UNSTAMPED
        self.t: float | None = None
        self.step: int | None = None
        self._kinds = kinds
        self._state = {kind: _Kind() for kind in SEVERITY}
        self._found: list[Alarm] = []

    @property
    def stamp(self) -> Stamp:
        """Who wrote the newest event, and when; a row of many that only moved `t` needs none of
        its own until an alarm is told by it."""
        if self._stamp.t is not self.t:
            self._stamp = dataclasses.replace(self._stamp, t=self.t)
        return self._stamp

    @stamp.setter
    def stamp(self, stamp: Stamp) -> None:
        self._stamp, self.t = stamp, stamp.t

    @property
    def m(self) -> float | None:
        """Of the stamp, on the other clock."""
        return self._stamp.m

    def collect(self) -> list[Alarm]:
        """What changed since the last call."""
        found, self._found = self._found, []
        return found

    def judge(
        self, kind: AlarmKind, reading: Reading | None, words: Callable[[Reading], str]
    ) -> None:
        """Raise the alarm when a reading stands out, clear it when none does.

        Args:
            reading: the number and the limit it passed; None when all is well.
            words: makes the text of the alarm from the reading; called only when one is raised.
        """
        if reading is None:
            self.end(kind)
        else:
            self._begin(kind, reading, words)

    def _begin(self, kind: AlarmKind, reading: Reading, words: Callable[[Reading], str]) -> None:
        state = self._state[kind]
        if state.shown or kind not in self._kinds:
            return
        if not self._due(kind, state):
            state.held_back += not state.true
            state.true = True
            return
        text = words(reading)
        if state.held_back:
            text += f" (x{state.held_back + 1} since step {state.step})"
        state.shown, state.true, state.held_back = True, True, 0
        state.step, state.t = self.step, self.t
        self._found.append(
            AlarmRaised(
                kind=kind,
                severity=SEVERITY[kind],
                value=reading.value,
                limit=reading.limit,
                text=text,
                step=self.step,
                stamp=self._own_stamp(),
            )
        )

    def end(self, kind: AlarmKind) -> None:
        """The condition does not hold (any more)."""
        state = self._state[kind]
        state.true = False
        if state.shown:
            state.shown = False
            self._found.append(AlarmCleared(kind=kind, step=self.step, stamp=self._own_stamp()))

    def end_all(self) -> None:
        for kind in SEVERITY:
            self.end(kind)

    def take_over(self, event: Alarm) -> None:
        """An alarm that the run raised or cleared itself: known, so not raised again."""
        state = self._state.get(event.kind)
        if state is None:
            return
        state.shown = state.true = isinstance(event, AlarmRaised)
        if isinstance(event, AlarmRaised):
            state.step, state.t, state.held_back = self.step, event.stamp.t, 0

    def _due(self, kind: AlarmKind, state: _Kind) -> bool:
        if state.t is None and state.step is None:
            return True
        t, step = self.t, self.step
        if t is not None and state.t is not None and t - state.t < REPEAT_SECONDS:
            return False
        if kind in CLOCK_KINDS or step is None or state.step is None:
            # A stalled run makes no steps that could be waited for.
            return True
        # Steps that go back are another attempt or another run.
        return not 0 <= step - state.step < REPEAT_STEPS

    def _own_stamp(self) -> Stamp:
        # Not the number of the event that caused it: a reader would take it for a repetition.
        return dataclasses.replace(self.stamp, seq=0, src="alarms")
