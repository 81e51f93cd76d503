"""Read our own event log: `events.jsonl` (rank 0) or `supervisor.jsonl` of a run directory.

Each line is an event already. A sequence number that was seen is a line written
twice and is passed over; updates become a `StepBatch`, be they ever so few, stamped by attempt
and time but not by number: the numbers have done their work here.
Their times are without the jumps of the wall clock, as `RunState` has them of single events.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from engine.errors import WireError
from engine.events import (
    TYPE_NAME,
    AlarmCleared,
    AlarmRaised,
    CheckpointRemoved,
    CheckpointSaved,
    CheckpointStarted,
    Event,
    MetricLogged,
    RankHeartbeat,
    Stamp,
    StepFinished,
    Unknown,
)
from engine.files import checked
from engine.journal import wire
from sftui.readers import LineBuffer, LineCounts, Sniffed
from sftui.readers.event_skeleton import EventSkeletons
from sftui.readers.rows import Rows
from sftui.readers.skeleton import Skeleton
from sftui.state.records import RunClock

_STEP = TYPE_NAME[StepFinished]
_METRIC = TYPE_NAME[MetricLogged]
_STEP_FIELDS = frozenset(StepFinished.__slots__)
_NOT_FREE = tuple(_STEP_FIELDS)
"""A metric named like a field of `StepFinished` cannot stand in a `StepBatch` beside them."""

_MEANWHILE: tuple[type[Event], ...] = (
    AlarmCleared,
    AlarmRaised,
    CheckpointRemoved,
    CheckpointSaved,
    CheckpointStarted,
    RankHeartbeat,
)
"""They say at which step they were, and mean the same behind updates that came after them."""

MOST_SKELETONS = 4
"""Kinds of rows known by heart: updates, now and then free metrics, at the turn of an attempt."""

_SHORTEST = len('{"v":1,"type":""}')
_BEGINNINGS = "{ \t"


class JournalReader:
    """See the module; one instance reads one file from its start.

    Args:
        to_its_end: nobody looks before all is read. What changes nothing about updates
            (checkpoints, heartbeats, alarms) then waits until they are a batch, and follows it in
            its order: a run that saves at every second update is read in batches too.
    """

    name: ClassVar[str] = "sftui"

    def __init__(self, *, to_its_end: bool = False) -> None:
        self.lines = LineCounts()
        self._buffer = LineBuffer()
        self._rows = Rows()
        self._rows_stamp = Stamp()
        self._skeletons: list[tuple[Skeleton, Stamp]] = []
        """The newest kinds of rows, the one that goes on first."""
        self._events_alike = EventSkeletons()
        """Of everything that is no row."""
        self._texts: list[tuple[str, ...]] = []
        """Rows that the first skeleton has matched, as texts: seq, step, t, m and values."""
        self._may_wait = _MEANWHILE if to_its_end else ()
        self._waiting: list[Event] = []
        """What came between the updates of the batch that is being made."""
        self._last_seq = 0
        self._unknown = 0
        """Events of kinds that this version does not know."""
        self._clock = RunClock()

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        good = bad = 0
        for line in head[: head.rfind(b"\n") + 1].split(b"\n", 50)[:50]:
            if line.strip():
                try:
                    if not (b'"v":' in line and b'"src":' in line):
                        raise WireError("an object of another program")
                    wire.decode(line)
                    good += 1
                except WireError:
                    bad += 1
        if good <= bad:
            return Sniffed(0.0)
        return Sniffed(0.99, f"{good} of its first {good + bad} lines are sftui's events")

    @property
    def format(self) -> str:
        return "sftui event log"

    @property
    def stage(self) -> str | None:
        return None

    def feed(self, data: bytes) -> list[Event]:
        return self._events(self._buffer.feed(data))

    def close(self) -> list[Event]:
        last = self._buffer.close()
        return [] if last is None else self._events([last])

    def _events(self, lines: list[str]) -> list[Event]:
        self.lines.total += len(lines)
        out: list[Event] = []
        counted = ""
        for line in lines:
            if len(line) < _SHORTEST or line[0] not in _BEGINNINGS:
                # Millions of them cost little more than their bytes.
                if line and not line.isspace():
                    self.lines.unrecognised += 1
                continue
            if self._unknown >= wire.MOST_UNKNOWN and wire.is_unknown(line):
                self.lines.unrecognised += 1
                counted = line
                continue
            if (texts := self._matched(line)) is not None:
                if self._new(int(texts[0])):
                    if not self._texts:
                        skeleton, stamp = self._skeletons[0]
                        self._open(skeleton.names, stamp, out)
                    self._texts.append(texts)
                continue
            if line.isspace() or self._row(line, out):
                continue
            event = self._events_alike.event(line)
            if event is None:
                try:
                    event = wire.decode(line)
                except WireError:
                    self.lines.unrecognised += 1
                    continue
                if isinstance(event, Unknown):
                    self._unknown += 1
                    self.lines.unrecognised += 1
                else:
                    self._events_alike.learn(line, event)
            self._clock.at(event.stamp)
            if self._new(event.stamp.seq) and not self._waits(event):
                self._drain(out)
                out.append(event)
        self._drain(out)
        if counted:
            with contextlib.suppress(WireError):
                event = wire.decode(counted)
                if self._new(event.stamp.seq):
                    out.append(event)
        return out

    def _waits(self, event: Event) -> bool:
        """Whether it may come behind the rows that are gathered, and then it will."""
        if not (self._rows or self._texts) or not isinstance(event, self._may_wait):
            return False
        if event.step is None and isinstance(event, CheckpointSaved):
            return False  # it is taken for one of the newest update
        self._waiting.append(event)
        return True

    def _drain(self, out: list[Event]) -> None:
        """The rows that were gathered, then what came between them."""
        self._convert()
        out += self._rows.drain(self._rows_stamp, least=1)
        out += self._waiting
        self._waiting = []

    def _matched(self, line: str) -> tuple[str, ...] | None:
        """A row of a kind that was seen before, in texts."""
        for place, (skeleton, _) in enumerate(self._skeletons):
            found = skeleton.match(line)
            if found is None:
                continue
            if place:
                self._convert()
                self._skeletons.insert(0, self._skeletons.pop(place))
            return found.groups()
        return None

    def _convert(self) -> None:
        """The matched rows to numbers, column by column."""
        if not self._texts:
            return
        skeleton, stamp = self._skeletons[0]
        _, steps, times, monotonic, *columns = zip(*self._texts, strict=True)
        self._texts = []
        self._rows.extend(
            map(int, steps),
            skeleton.names,
            [map(float, column) for column in columns],
            self._times(stamp, times, monotonic),
        )

    def _open(self, names: tuple[str, ...], stamp: Stamp, out: list[Event]) -> None:
        """Make sure that rows like these can follow; what cannot stand before them goes out."""
        if stamp != self._rows_stamp or not self._rows.fits(names):
            self._drain(out)
        self._rows_stamp = stamp

    def _new(self, seq: int) -> bool:
        if not seq:
            return True
        if seq <= self._last_seq:
            return False
        self._last_seq = seq
        return True

    def _row(self, line: str, out: list[Event]) -> bool:
        """An update or free metrics, straight to columns; False for any other line."""
        if _STEP not in line and _METRIC not in line:
            return False
        try:
            raw = checked.parse_json(line)
        except ValueError:
            return False
        row = _flattened(raw) if isinstance(raw, dict) else None
        if row is None:
            return False
        self._convert()
        names, values = row
        if not self._new(raw["seq"]):
            return True
        run, boot = raw.get("run", ""), raw.get("boot", "")
        stamp = Stamp(run=run, src=raw.get("src", ""), att=raw["att"], boot=boot)
        self._open(names, stamp, out)
        with contextlib.suppress(ValueError):
            self._skeletons.insert(0, (Skeleton(line, names), stamp))
            del self._skeletons[MOST_SKELETONS:]
        self._rows.extend(
            [raw["step"]],
            names,
            [[value] for value in values],
            self._times(stamp, [raw["t"]], [raw.get("m")]),
        )
        return True

    def _times(
        self, stamp: Stamp, times: Iterable[Any], monotonic: Iterable[Any]
    ) -> Iterator[float]:
        """The wall clock of rows without its jumps, from their two clocks."""
        boot = stamp.boot
        for t, m in zip(times, monotonic, strict=True):
            known = boot and m is not None and m != ""
            yield self._clock.corrected(boot, float(t), float(m)) if known else float(t)


def _flattened(raw: dict[str, Any]) -> tuple[tuple[str, ...], list[float]] | None:
    """Names and numbers of a plain row; None where anything is missing, nested or no number."""
    data = raw.get("d")
    kind = raw.get("type")
    if kind == _METRIC and isinstance(data, dict) and data.keys() == {"values"}:
        data = data["values"]
        if not isinstance(data, dict) or any(name.startswith(_NOT_FREE) for name in data):
            return None
    elif kind != _STEP or not isinstance(data, dict) or not data.keys() <= _STEP_FIELDS:
        return None
    if raw.get("v") != wire.VERSION or "nf" in raw:
        return None
    if any(type(raw.get(name)) is not int for name in ("step", "seq", "att")):
        return None
    m = raw.get("m", 0.0)
    if m is not None and (type(m) not in (float, int) or not 0 <= m < wire.LAST_TIME):
        return None
    if type(raw.get("t")) is not float:
        return None
    if any(type(raw.get(name, "")) is not str for name in ("src", "run", "boot")):
        return None
    if abs(raw["att"]) >= checked.LARGEST_WHOLE:
        return None
    if (
        not 0 <= raw["step"] < 2**53
        or not 0 <= raw["seq"] < 2**63
        or not 0 <= raw["t"] < wire.LAST_TIME
    ):
        return None
    names: list[str] = []
    values: list[float] = []
    for name, value in data.items():
        if type(value) is dict:
            names += [f"{name}/{key}" for key in value]
            values += value.values()
        else:
            names.append(name)
            values.append(value)
    # What is no row here is read in full, with a check of every field.
    if not names or any(
        type(value) is not float and not (type(value) is int and abs(value) < 2**63)
        for value in values
    ):
        return None
    return tuple(names), values
