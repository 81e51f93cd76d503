"""Follow the files of a run directory: `events.jsonl`, and `supervisor.jsonl` beside it.

It works for any run, alive or finished, whoever started it. A
line that cannot be read is counted and passed over; a torn last line is left until
it is whole.
"""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Callable
from pathlib import Path

from engine.control import Request
from engine.errors import WireError
from engine.events import AttemptStarted, Event, RunFinished, Unknown
from engine.files import checked
from engine.journal import wire
from engine.run import lock
from engine.run.run_dir import RunDir
from engine.steering import inbox

_READ_BYTES = 512 * 1024
"""About 1500 events, 20 ms of decoding: less than one poll."""

_MAX_TORN_BYTES = 16 * wire.MAX_LINE_BYTES
"""Longer without a newline is no event log; it is thrown away as it comes."""

_EVIDENCE_SECONDS = 1.0
"""How long an answer of `alive` holds: it costs some system calls."""

_STARTING_SECONDS = 30.0
"""A run this young may not have its supervisor yet (importing torch on a busy machine)."""


class LineTail:
    """Whole lines appended to a file, by inode and offset; survives rotation and truncation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._offset = 0
        self._torn = b""
        self.num_reopened = 0
        self.num_bytes_skipped = 0

    @property
    def position(self) -> int:
        """File offset behind the last whole line that was given out."""
        return self._offset - len(self._torn)

    def ahead(self) -> int:
        """Bytes in the file that have not been read."""
        try:
            return os.stat(self._path).st_size - self._offset  # noqa: PTH116  ten times a second
        except OSError:
            return 0

    def seek(self, position: int) -> None:
        """Go on from there: the lines before it came by another way."""
        if position > self.position:
            self._offset, self._torn = position, b""

    def read(self, max_bytes: int = _READ_BYTES) -> list[bytes]:
        """The next whole lines, without their newlines; empty when there are none yet."""
        try:
            # Mostly nothing is new: one call, where opening and reading takes ten times as long.
            found = os.stat(self._path, follow_symlinks=False)  # noqa: PTH116  ten times a second
            if found.st_ino == self._inode and found.st_size == self._offset:
                return []
            with checked.open_file(self._path) as file:
                self._check_same(os.fstat(file.fileno()))
                file.seek(self._offset)
                data = file.read(max_bytes)
                hole = checked.skip_hole(file, data)
        except OSError:
            return []
        self._offset += len(data)
        whole, newline, torn = (self._torn + data).rpartition(b"\n")
        if len(torn) > _MAX_TORN_BYTES:
            self.num_bytes_skipped += len(torn)
            torn = b""
        if hole:
            # What is read next is behind it, and part of the same line.
            self._offset += hole
            self.num_bytes_skipped += len(torn) + hole
            torn = b""
        self._torn = torn
        return whole.split(b"\n") if newline else []

    def _check_same(self, found: os.stat_result) -> None:
        if self._inode and (found.st_ino != self._inode or found.st_size < self._offset):
            self._offset, self._torn = 0, b""
            self.num_reopened += 1
        self._inode = found.st_ino


class SequenceFilter:
    """Lets each event of one writer through once, by its `seq`, whichever way its line came."""

    def __init__(self) -> None:
        self._last_seq = 0
        self._unknown = 0
        """Events of kinds that this version does not know."""
        self.num_bad_lines = 0

    def decode(self, line: bytes) -> Event | None:
        """The event of a line; None for one that is blank, unreadable or was let through before."""
        if not line.strip() or (self._unknown >= wire.MOST_UNKNOWN and wire.is_unknown(line)):
            return None
        try:
            event = wire.decode(line)
        except WireError:
            self.num_bad_lines += 1
            return None
        self._unknown += isinstance(event, Unknown)
        return event if self.is_new(event) else None

    def is_new(self, event: Event) -> bool:
        """Whether it was not let through yet; always, for an event without a number."""
        return not event.stamp.seq or event.stamp.seq > self._last_seq

    def follows_a_gap(self, event: Event) -> bool:
        """Whether events between the last one and this one have not come yet."""
        return event.stamp.seq > self._last_seq + 1

    def let_through(self, event: Event) -> None:
        """Note that the event was given out."""
        self._last_seq = max(self._last_seq, event.stamp.seq)

    def restart(self) -> None:
        """Numbers begin again: another file stands under the same name."""
        self._last_seq = 0


class EventTail:
    """The events of one journal, each `seq` once.

    Args:
        seen: shared with another way by which the same events come; None for a filter of its own.
    """

    def __init__(self, path: Path, seen: SequenceFilter | None = None) -> None:
        self._lines = LineTail(path)
        self._seen = seen if seen is not None else SequenceFilter()
        self._undecoded: collections.deque[bytes] = collections.deque()
        self._head: Event | None = None
        self._reopened = 0
        self.num_reads = 0
        """How often the file was asked for more."""

    @property
    def num_bad_lines(self) -> int:
        """Lines that were no events, whichever way they came."""
        return self._seen.num_bad_lines

    def peek(self) -> Event | None:
        """The next event, without taking it."""
        if self._head is None or not self._seen.is_new(self._head):
            # A head that has come by another way in the meantime is passed over.
            self._head = self._next()
        return self._head

    def take(self) -> Event | None:
        """The next event, or None when the file has no more whole lines for now."""
        event, self._head = self.peek(), None
        if event is not None:
            self._seen.let_through(event)
        return event

    @property
    def at_end(self) -> bool:
        """Whether all that was read from the file has been given out."""
        return self._head is None and not self._undecoded

    def is_behind(self) -> bool:
        """Whether the file holds what has not been given out."""
        return not self.at_end or self._lines.ahead() > 0

    def skip_to(self, offset: int) -> None:
        """Read on from there: the lines before it came by another way."""
        self._lines.seek(offset)

    def _next(self) -> Event | None:
        while True:
            if not self._undecoded:
                self._undecoded.extend(self._lines.read())
                self.num_reads += 1
                if self._lines.num_reopened != self._reopened:
                    self._reopened = self._lines.num_reopened
                    self._seen.restart()
                if not self._undecoded:
                    return None
            event = self._seen.decode(self._undecoded.popleft())
            if event is not None:
                return event


class RunLiveness:
    """Whether the run of a directory is alive or has ended; posts requests to it."""

    def __init__(self, run_dir: RunDir, *, now: Callable[[], float] = time.time) -> None:
        self._run_dir = run_dir
        self._now = now
        self._evidence: tuple[bool, str] | None = None
        self._evidence_until = 0.0
        self._was_alive = False
        self._last_alive = ""
        self._ended = False
        # Taken up again after its end: an end from before is history.
        self._resumed_at = self._changed_at(run_dir.resume)

    def saw(self, event: Event) -> None:
        """Note the events that begin and end a run."""
        if isinstance(event, RunFinished):
            self._ended = event.stamp.t is None or event.stamp.t > self._resumed_at
        elif isinstance(event, AttemptStarted):
            self._ended = False

    def alive(self) -> tuple[bool, str]:
        clock = time.monotonic()
        if self._evidence is None or clock >= self._evidence_until:
            self._evidence = lock.evidence(self._run_dir)
            self._evidence_until = clock + _EVIDENCE_SECONDS
            self._was_alive = self._was_alive or self._evidence[0]
            if self._evidence[0]:
                self._last_alive = self._evidence[1]
            elif self._last_alive and not self._run_dir.path.is_dir():
                # Its processes still run: they notice within seconds, and whoever cannot wait
                # has to know which they are.
                words = f"{self._evidence[1]}; a moment ago {self._last_alive}"
                self._evidence = False, f"{words}. It ends by itself within seconds"
        return self._evidence

    def starting(self) -> bool:
        """Whether the run was asked for moments ago and no supervisor has held it since."""
        if self._was_alive or self._ended or not self._young():
            return False
        last = lock.last_holder(self._run_dir)
        return last is None or last.started < self._asked_at() - lock.START_TOLERANCE_SECONDS

    def over(self) -> bool:
        """Whether no more events will come: it ended, or whoever wrote them is gone."""
        if self.alive()[0]:
            return False
        return self._ended or self._was_alive or not self._young()

    def send(self, request: Request) -> None:
        inbox.post(self._run_dir, request)

    def _asked_at(self) -> float:
        """When the run was started or resumed."""
        return max(self._changed_at(self._run_dir.manifest), self._resumed_at)

    def _young(self) -> bool:
        # In the future as well: a clock ahead of ours must not keep anybody waiting.
        return abs(self._now() - self._asked_at()) < _STARTING_SECONDS

    def _changed_at(self, path: Path) -> float:
        """When a file was written, seconds since the epoch; 0 when there is none, and where its
        time is ahead of any clock (an archive, a clock that was set back)."""
        try:
            t = path.stat().st_mtime
        except OSError:
            return 0.0
        return t if t < self._now() + lock.CLOCKS_APART_SECONDS else 0.0


class TailSource:
    """A run by its files alone."""

    def __init__(self, run_dir: RunDir) -> None:
        self._main = EventTail(run_dir.events)
        self._supervisor = EventTail(run_dir.supervisor_events)
        self._liveness = RunLiveness(run_dir)
        self._looked_at = -1
        """Reads of the main log when the supervisor's was last found to hold no more."""

    def poll(self, max_events: int = 2000, max_seconds: float = 0.05) -> list[Event]:
        deadline = time.monotonic() + max_seconds
        events: list[Event] = []
        self._looked_at = -1
        while len(events) < max_events:
            event = self._earliest()
            if event is None:
                break
            self._liveness.saw(event)
            events.append(event)
            if len(events) % 64 == 0 and time.monotonic() >= deadline:
                break
        return events

    def send(self, request: Request) -> None:
        self._liveness.send(request)

    @property
    def closed(self) -> bool:
        # Asked first: what was written before the end is read after it.
        over = self._liveness.over()
        return over and self._main.peek() is None and self._supervisor.peek() is None

    @property
    def settled(self) -> bool:
        """See `Source.settled`."""
        unread = self._main.peek() is not None or self._supervisor.peek() is not None
        return not unread and not self._liveness.starting()

    @property
    def num_bad_lines(self) -> int:
        """Lines that were no events."""
        return self._main.num_bad_lines + self._supervisor.num_bad_lines

    def describe(self) -> str:
        bad = self.num_bad_lines
        return "attached" + (f", {bad} unreadable line{'s' * (bad != 1)}" if bad else "")

    def alive(self) -> tuple[bool, str]:
        return self._liveness.alive()

    def close(self) -> None:
        return

    def _earliest(self) -> Event | None:
        """The older of the two heads: the loss of a rank comes between the two attempts."""
        main = self._main.peek()
        if main is None:
            return self._supervisor.take()
        # What is older than these events of the main log stood in the supervisor's when they
        # were read: it is asked once for each such read, not for each of them.
        if self._looked_at != self._main.num_reads:
            supervisor = self._supervisor.peek()
            if supervisor is None:
                self._looked_at = self._main.num_reads
            elif (main.stamp.t or 0.0) > (supervisor.stamp.t or 0.0):
                return self._supervisor.take()
        return self._main.take()
