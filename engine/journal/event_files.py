"""Event logs as files: the last event, all events of some kinds, one more line.

A journal is only ever appended to. Its last line may be torn (its writer was
killed); readers pass over it and the next writer ends it with a newline.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path

from engine.errors import WireError
from engine.events import TYPE_NAME, AttemptStarted, Event, RunFinished, Stamp
from engine.files import checked
from engine.journal import wire
from engine.run.lock import boot_id
from engine.run.run_dir import RunDir

FIRST_SEQ_VARIABLE = "SFTUI_FIRST_SEQ"
"""Last `seq` before the present supervisor: an end of the run up to there is history."""

_TAIL_BYTES = 4 * wire.MAX_LINE_BYTES
_MOST_TAIL_BYTES = 64 * 1024 * 1024
"""How far back an event is looked for behind what is none."""
_CHUNK_BYTES = 1024 * 1024
_MOST_LINE_BYTES = 16 * wire.MAX_LINE_BYTES
"""What goes on longer without a line end is no event."""


class JournalWriter:
    """A few events of a writer that has no hurry (the supervisor): one synced write each."""

    def __init__(self, path: Path, run_id: str, source: str, attempt: int = 1) -> None:
        self._path = path
        self._stamp = Stamp(run=run_id, src=source, att=attempt, boot=boot_id())

    def write(self, event: Event, attempt: int | None = None) -> None:
        """Append the event.

        Raises:
            OSError: the disk refused.
        """
        last = last_stamp(self._path)
        stamp = dataclasses.replace(
            self._stamp,
            att=attempt or self._stamp.att,
            seq=(last.seq if last else 0) + 1,
            t=time.time(),
            m=time.monotonic(),
        )
        descriptor = open_to_append(self._path)
        try:
            torn = not ends_a_line(descriptor)
            line = wire.encode(dataclasses.replace(event, stamp=stamp))
            os.write(descriptor, b"\n" * torn + line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def last_stamp(path: Path) -> Stamp | None:
    """Stamp with the highest `seq` near the end of a journal; None when it has no event."""
    best: Stamp | None = None
    for event in _last_events(path):
        if best is None or event.stamp.seq > best.seq:
            best = event.stamp
    return best


def next_attempt(run_dir: RunDir) -> int:
    """Number of the attempt that starts now: one more than the event log has seen."""
    last = last_stamp(run_dir.events)
    return last.att + 1 if last else 1


def next_log_attempt(run_dir: RunDir) -> int:
    """Number of the log folder to use next: past the event log's attempts and past existing
    folders, which ranks that died before their first event leave behind."""
    names = (path.name.removeprefix("attempt-") for path in run_dir.logs.glob("attempt-*"))
    taken = [number for number in map(checked.digits, names) if number is not None]
    return max(next_attempt(run_dir), max(taken, default=0) + 1)


def finished(run_dir: RunDir, after_seq: int = 0) -> RunFinished | None:
    """The durable end of the run, if it has one: the only proof of success.

    A run that was taken up again after its end is not finished.

    Args:
        after_seq: ends up to this `seq` are history; a rank gets it as `FIRST_SEQ_VARIABLE`.
    """
    end: RunFinished | None = None
    for event in _last_events(run_dir.events):
        if isinstance(event, RunFinished) and event.stamp.seq > after_seq:
            end = event
        elif isinstance(event, AttemptStarted):
            end = None
    return end


def began(path: Path) -> float | None:
    """Monotonic clock of the first event of this boot; None when there is none yet."""
    boot = boot_id()
    needle = f'"{boot}"'.encode()
    try:
        with checked.open_file(path) as file:
            for line in iter(lambda: file.readline(_MOST_LINE_BYTES), b""):
                checked.skip_hole(file, line)
                # Only lines of this boot are decoded: it may not be the first one.
                event = _try(line) if boot and needle in line else None
                if event is not None and event.stamp.boot == boot and event.stamp.m is not None:
                    return event.stamp.m
    except OSError:
        pass
    return None


def scan(path: Path, *kinds: type[Event]) -> Iterator[Event]:
    """Events of these kinds, in file order; lines of other kinds are not even decoded."""
    needles = [f'"{TYPE_NAME[kind]}"'.encode() for kind in kinds]
    try:
        file = checked.open_file(path)
    except OSError:
        return
    with file:
        rest = b""
        while chunk := file.read(_CHUNK_BYTES):
            checked.skip_hole(file, chunk)
            whole, _, rest = (rest + chunk).rpartition(b"\n")
            if len(rest) > _MOST_LINE_BYTES:
                # No event: what is left of that line is thrown away as it comes.
                rest = b""
            if not any(needle in whole for needle in needles):
                continue
            for line in whole.split(b"\n"):
                if any(needle in line for needle in needles):
                    event = _try(line)
                    if isinstance(event, kinds):
                        yield event


def _last_events(path: Path) -> Iterator[Event]:
    """Events near the end of a journal, in order: hundreds, or all when it is short."""
    try:
        with checked.open_file(path) as file:
            size = file.seek(0, os.SEEK_END)
            for length in (_TAIL_BYTES, min(size, _MOST_TAIL_BYTES)):
                file.seek(max(0, size - length))
                events = [event for line in file.read().split(b"\n") if (event := _try(line))]
                if events:
                    break
    except OSError:
        return
    yield from events


def _try(line: bytes) -> Event | None:
    try:
        return wire.decode(line)
    except WireError:
        return None


def open_to_append(path: Path) -> int:
    """A descriptor for appending; the file is made private to the user."""
    return checked.open_descriptor(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)


def ends_a_line(descriptor: int) -> bool:
    """False when a dead writer left a torn line: the next write must end it first."""
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
