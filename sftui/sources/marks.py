"""The events of a stage that are worth jumping to: numbers for each, its words when it is read.

A run may have a hundred thousand results and checkpoints. What a bar needs of them (place, time,
kind) lies in arrays; the label is made of the events, which the timeline keeps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from engine import events as ev
from sftui.sources.packed_events import PackedEvents
from sftui.state.series import Column

MarkKind = Literal["validation", "eval", "checkpoint", "control", "alarm", "lost", "attempt", "end"]
KINDS: tuple[MarkKind, ...] = get_args(MarkKind)
"""A kind by its number."""

_NOTABLE: Mapping[type[ev.Event], MarkKind] = {
    ev.ValidationFinished: "validation",
    ev.EvalFinished: "eval",
    ev.CheckpointSaved: "checkpoint",
    ev.ControlApplied: "control",
    ev.AlarmRaised: "alarm",
    ev.RankLost: "lost",
    ev.RunFinished: "end",
}
_NUMBER = {kind: number for number, kind in enumerate(KINDS)}
_EVAL = _NUMBER["eval"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An event worth jumping to."""

    position: int
    """Right behind the event: what a screen that stands here has just seen."""
    seconds: float
    """On the clock of the stage."""
    step: int | None
    kind: MarkKind
    label: str


class Marks(Sequence[Mark]):
    """The marks of the events of one stage, in order."""

    def __init__(self, events: PackedEvents) -> None:
        """`events`: in which the events of `add` lie."""
        self._events = events
        self._length = 0
        self._positions = Column(np.int64, fill=0)
        self._seconds = Column(np.float64)
        self._kinds = Column(np.int8, fill=0)
        self._first = Column(np.int64, fill=0)
        self._last = Column(np.int64, fill=0)
        """The place in `_events` of the first and the last event of each mark."""
        self._columns = (self._positions, self._seconds, self._kinds, self._first, self._last)
        self._step: int | None = None
        """Of the last mark."""

    def add(self, event: ev.Event, place: int, position: int, seconds: float) -> None:
        """One more event, if it is worth a mark.

        Args:
            place: in the events.
            position: right behind it.
            seconds: on the clock of the stage.
        """
        kind = _NOTABLE.get(type(event))
        if isinstance(event, ev.AttemptStarted) and event.stamp.att > 1:
            kind = "attempt"
        if kind is None:
            return
        number, index = _NUMBER[kind], self._length - 1
        again = number == _EVAL and index >= 0 and self._kinds.data[index] == _EVAL
        # One round of evaluation is one place, behind its last task.
        if not (again and self._step == event.step):
            index += 1
            self._length += 1
            if index >= len(self._kinds.data):
                for column in self._columns:
                    column.reserve(self._length)
            self._kinds.data[index] = number
            self._first.data[index] = place
        self._positions.data[index] = position
        self._seconds.data[index] = seconds
        self._last.data[index] = place
        self._step = event.step

    @property
    def positions(self) -> NDArray[np.int64]:
        """Of all of them; a view that is valid until the next change, as the others."""
        return self._positions.data[: self._length]

    @property
    def seconds(self) -> NDArray[np.float64]:
        return self._seconds.data[: self._length]

    @property
    def kinds(self) -> NDArray[np.int8]:
        """Numbers of `KINDS`."""
        return self._kinds.data[: self._length]

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Mark: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Mark]: ...

    def __getitem__(self, index: int | slice) -> Mark | Sequence[Mark]:
        if isinstance(index, slice):
            return [self._made(i) for i in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return self._made(index % self._length)

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def _made(self, index: int) -> Mark:
        last = self._events[int(self._last.data[index])]
        kind = KINDS[self._kinds.data[index]]
        first = int(self._first.data[index])
        events: list[Any] = [last]
        if kind == "eval":
            between = map(self._events.__getitem__, range(first, int(self._last.data[index])))
            events = [*(one for one in between if isinstance(one, ev.EvalFinished)), last]
        return Mark(
            position=int(self._positions.data[index]),
            seconds=float(self._seconds.data[index]),
            step=last.step,
            kind=kind,
            label=", ".join(map(_label, events)),
        )


def _label(event: ev.Event) -> str:
    match event:
        case ev.ValidationFinished():
            named = f" {event.set_name}" if event.set_name else ""
            return f"validation{named} {event.metric} {event.loss:.4f}"
        case ev.EvalFinished():
            accuracy = event.accuracy
            if accuracy is None and event.correct is not None and event.total:
                accuracy = event.correct / event.total
            if accuracy is None or not math.isfinite(accuracy):
                return event.task
            return f"{event.task} {100 * accuracy:.2f} %"
        case ev.CheckpointSaved():
            return f"checkpoint {event.path}"
        case ev.ControlApplied():
            return f"{event.command} {event.outcome}"
        case ev.AlarmRaised():
            return event.text or event.kind
        case ev.RankLost():
            return "rank lost" if event.rank is None else f"rank {event.rank} lost"
        case ev.AttemptStarted():
            return f"attempt {event.stamp.att} from step {event.start_step}"
        case ev.RunFinished():
            return event.status
        case _:
            return ""
