"""Where the events of rank 0 go: `events.jsonl`, the live queue and `run.log`.

`emit` runs on the trainer thread and only appends to a deque. A publisher thread
does everything that can wait for a disk or a screen: stamping, encoding, writing.
A line is written by one write call and never rewritten, so a kill costs at most
the line being written; whoever opens the file next ends that torn line.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from engine.events import (
    DROPPABLE,
    AlarmCleared,
    AlarmRaised,
    AttemptStarted,
    CheckpointSaved,
    ControlApplied,
    Event,
    EventsDropped,
    LogLine,
    RunFinished,
    Stamp,
    StateChanged,
)
from engine.files import written
from engine.journal import wire
from engine.journal.event_files import ends_a_line, last_stamp, open_to_append
from engine.journal.folder_watch import (
    LOOK_SECONDS,
    FolderWatch,
    lines_to_write_again,
    log_was_replaced,
    no_copy,
)
from engine.journal.live_queue import LivePublisher
from engine.journal.run_log import RunLog
from engine.run.lock import boot_id
from engine.run.run_dir import RunDir

BATCH_SECONDS = 0.03
"""How long events are gathered before one write; too short to be seen on a screen."""

SYNC_SECONDS = 5.0
"""A sync costs 3.8 ms (7.5 % of a 50 ms step), so it is rare; power loss may cost this much."""

RETRY_SECONDS = 1.0
"""Between two tries to write to a disk that refused."""

DEFAULT_LIMIT = 20_000
"""Events kept in memory while a disk is full or hung: minutes of a fast run, some 10 MB."""

SYNCED: frozenset[type[Event]] = frozenset({CheckpointSaved, ControlApplied, RunFinished})
"""Kinds that are synced to disk at once: others act on them."""

URGENT: frozenset[type[Event]] = SYNCED | {StateChanged, AttemptStarted, AlarmRaised}
"""Kinds that do not wait for the batch."""

_MAX_WRITE_BYTES = 256 * 1024


@dataclasses.dataclass(slots=True)
class _Line:
    data: bytes
    droppable: bool


class EventBus:
    """The one way events leave rank 0; `emit` never blocks and never raises.

    Args:
        run_dir: where the files lie.
        run_id: goes into every stamp.
        attempt: of these ranks, counted from 1 (`journal.next_attempt`).
        limit: events kept in memory before the droppable kinds are given up.
        live: whether a screen may listen through the queue.
        watch: sees every stamped event and gives events that follow from it (alarms).
        write: `os.write`, or a disk that fails, in tests.
    """

    def __init__(
        self,
        run_dir: RunDir,
        run_id: str,
        attempt: int,
        *,
        limit: int = DEFAULT_LIMIT,
        live: bool = True,
        watch: Callable[[Event], Iterable[Event]] | None = None,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        self._limit = limit
        self._os_write = write
        self._watch = watch
        self._stamp = Stamp(run=run_id, src="r0", att=attempt, boot=boot_id())
        last = last_stamp(run_dir.events)
        self._seq = last.seq if last else 0
        self._file = open_to_append(run_dir.events)
        self._offset = os.fstat(self._file).st_size
        self._torn = not ends_a_line(self._file)

        self._arrived: collections.deque[tuple[Event, float, float] | threading.Event] = (
            collections.deque()
        )
        self._overflowed = 0
        self._count_lock = threading.Lock()

        self._pending: collections.deque[_Line] = collections.deque()
        self._lost = 0
        self._lost_reason = ""
        self._blocked = ""
        self._retry_at = 0.0
        self._dirty = False
        self._must_sync = False
        self._synced_at = time.monotonic()

        self._log = RunLog()
        self._log_file = open_to_append(run_dir.run_log)
        self._log_torn = not ends_a_line(self._log_file)
        self._live = LivePublisher(run_dir) if live else None

        self._run_dir = run_dir
        self._folder = FolderWatch(run_dir)
        self._look_at = 0.0
        self._refused = False
        """Whether it was said that the log has lost its name and gets no new file."""
        self.lost_folder = ""
        """What became of the run's folder, in words; empty while it is in its place."""

        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._publish, name="events", daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Hand over an event; about 1 us. Only `DROPPABLE` kinds are given up when full."""
        kind = type(event)
        if len(self._arrived) >= self._limit and kind in DROPPABLE:
            with self._count_lock:
                self._overflowed += 1
            return
        self._arrived.append((event, time.time(), time.monotonic()))
        if kind in URGENT:
            self._wake.set()

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was emitted is on the disk; False when it is not, in that time."""
        done = threading.Event()
        self._arrived.append(done)
        self._wake.set()
        deadline = time.monotonic() + timeout
        while not done.wait(min(0.1, max(0.0, deadline - time.monotonic()))):
            # After `close` there is no thread left that writes.
            if time.monotonic() >= deadline or not self._thread.is_alive():
                break
        return done.is_set()

    def close(self, timeout: float = 10.0) -> bool:
        """Flush and end the threads; False when something could not be written."""
        if self._stopping:
            return True
        flushed = self.flush(timeout)
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout if flushed else 1.0)
        if self._live is not None:
            self._live.close()
        if not self._thread.is_alive():
            os.close(self._file)
            os.close(self._log_file)
            self._folder.close()
        return flushed

    def folder_in_place(self) -> bool:
        """Whether what has the name of the run's folder is still that folder, at this moment."""
        return self._folder.in_place()

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest event that has been stamped."""
        return self._seq

    # ---- the publisher thread ----------------------------------------------------------------

    def _publish(self) -> None:
        waiting: list[threading.Event] = []
        while True:
            self._wake.wait(BATCH_SECONDS)
            self._wake.clear()
            stopping = self._stopping
            self._look_at_folder()
            fresh, flushes = self._stamp_arrived()
            waiting += flushes
            written = self._write_pending()
            if fresh and self._live is not None:
                self._live.offer(self._offset, fresh)
            self._sync(force=bool(waiting))
            if written:
                for done in waiting:
                    done.set()
                waiting.clear()
            if stopping:
                return

    def _look_at_folder(self) -> None:
        """Notice a folder that is gone, and take up an event log that was replaced."""
        now = time.monotonic()
        # At the end once more: what was replaced in the last second would keep the end for itself.
        if (now < self._look_at and not self._stopping) or self.lost_folder:
            return
        self._look_at = now + LOOK_SECONDS
        self.lost_folder = self._folder.lost()
        # In another folder lies another run's log: what is missing from its place is not replaced.
        if not self._folder.in_place():
            return
        if log_was_replaced(self._run_dir.events, self._file):
            try:
                self._take_up_new_log()
            except OSError as error:
                # The disk may refuse, or the folder be going just now: the next look tries again.
                self._tell_refusal(error.strerror or str(error))
        elif (size := os.fstat(self._file).st_size) < self._offset:
            text = (
                f"events.jsonl was cut under the run: {self._offset - size:,} bytes of events are "
                f"lost (rank 0 is pid {os.getpid()}), and the run goes on"
            )
            self._offset, self._torn = size, not ends_a_line(self._file)
            self.emit(LogLine(level="warn", text=text))

    def _tell_refusal(self, reason: str) -> None:
        """Say once that the log has lost its name and gets no new file."""
        if not self._refused:
            text = (
                f"events.jsonl was deleted or replaced under the run, and no other can be made of "
                f"it ({reason}). Rank 0 (pid {os.getpid()}) keeps the events, and writes them once "
                f"it can: see what stands at {self._run_dir.events}"
            )
            self.emit(LogLine(level="error", text=text))
        self._refused = True

    def _take_up_new_log(self) -> None:
        """Go on in the file that has the name now, with every line that it lacks.

        What has the name and is no copy of the log is put aside first, never written to.
        """
        path = self._run_dir.events
        what = no_copy(path, self._file)
        aside = written.put_aside(path) if what else None
        last = last_stamp(path)
        fresh = open_to_append(path)
        try:
            # It may not be locked by anybody; where there are no locks this changes nothing.
            with contextlib.suppress(OSError):
                fcntl.flock(fresh, fcntl.LOCK_EX | fcntl.LOCK_NB)
            torn = not ends_a_line(fresh)
            count = 0
            for line in lines_to_write_again(self._file, last.seq if last else 0):
                self._os_write(fresh, b"\n" * torn + line)
                torn, count = False, count + 1
        except OSError:
            os.close(fresh)
            raise
        old, self._file = self._file, fresh
        os.close(old)
        self._offset, self._torn, self._refused = os.fstat(fresh).st_size, torn, False
        how = "deleted or replaced under the run"
        if aside is not None:
            how = (
                f"replaced by {what} under the run (rank 0 is pid {os.getpid()}), which was put "
                f"aside as {aside.name}: remove it when nobody needs it"
            )
        text = (
            f"events.jsonl was {how}; {count:,} lines were written again, and the run goes on in "
            "the new file"
        )
        self.emit(LogLine(level="warn", text=text))

    def _stamp_arrived(self) -> tuple[list[bytes], list[threading.Event]]:
        """Stamp and encode what has arrived; returns the lines, and the waiting flushes."""
        fresh: list[bytes] = []
        flushes: list[threading.Event] = []
        log: list[str] = []
        for item in self._notices_and_arrivals():
            if isinstance(item, threading.Event):
                flushes.append(item)
                continue
            event, wall, monotonic = item
            stamp = dataclasses.replace(self._stamp, seq=self._seq + 1, t=wall, m=monotonic)
            try:
                event = dataclasses.replace(event, stamp=stamp)
                line = wire.encode(event)
                log += self._log.lines(event)
            except Exception as error:
                # It holds something that JSON cannot express. The run must not fail because of
                # that, and the loss must not be silent.
                self._lose(1, f"{type(event).__name__} cannot be written: {error}")
                continue
            self._seq += 1
            fresh.append(line)
            self._pending.append(_Line(line, type(event) in DROPPABLE))
            self._must_sync = self._must_sync or type(event) in SYNCED
            self._emit_followers(event)
        if log:
            self._write_log(log)
        self._shrink_pending()
        return fresh, flushes

    def _emit_followers(self, event: Event) -> None:
        if self._watch is None:
            return
        try:
            for follower in self._watch(event):
                self.emit(follower)
        except Exception as error:
            # A mistake in a rule must cost the alarms, never the event log.
            self._watch = None
            self.emit(LogLine(text=f"the alarms are off: {error!r}", level="error"))

    def _notices_and_arrivals(
        self,
    ) -> Iterator[tuple[Event, float, float] | threading.Event]:
        with self._count_lock:
            overflowed, self._overflowed = self._overflowed, 0
        if overflowed:
            self._lose(overflowed, "events came faster than they could be written")
        # Losses to a full disk are reported when there is room again.
        if self._lost and not self._blocked:
            notice = EventsDropped(count=self._lost, reason=self._lost_reason)
            self._lost, self._lost_reason = 0, ""
            yield notice, time.time(), time.monotonic()
        while self._arrived:
            yield self._arrived.popleft()

    def _lose(self, count: int, reason: str) -> None:
        self._lost += count
        self._lost_reason = reason

    def _shrink_pending(self) -> None:
        """Keep memory bounded while the disk refuses: the oldest droppable lines go."""
        excess = len(self._pending) - self._limit
        if excess <= 0:
            return
        kept: collections.deque[_Line] = collections.deque()
        dropped = 0
        for line in self._pending:
            if line.droppable and dropped < excess:
                dropped += 1
            else:
                kept.append(line)
        self._pending = kept
        if dropped:
            self._lose(dropped, f"the event log could not be written: {self._blocked}")

    def _write_pending(self) -> bool:
        """Write whole batches of lines; True when nothing is left."""
        if self._blocked and time.monotonic() < self._retry_at and not self._stopping:
            return not self._pending
        while self._pending:
            batch = self._next_batch()
            # A retry after a short write first ends the torn line it left behind.
            data = b"\n" * self._torn + b"".join(batch)
            try:
                count = self._os_write(self._file, data)
            except OSError as error:
                self._block(error.strerror or str(error))
                return False
            self._account(data, count, batch)
        if self._blocked:
            self._unblock()
        return True

    def _next_batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        for line in self._pending:
            if batch and size + len(line.data) > _MAX_WRITE_BYTES:
                break
            batch.append(line.data)
            size += len(line.data)
        return batch

    def _account(self, data: bytes, count: int, batch: list[bytes]) -> None:
        """Take off what was written whole; a line written in part stays, to be written again."""
        if count <= 0:
            return
        self._offset += count
        self._dirty = True
        covered = count - int(self._torn)
        for line in batch:
            if covered < len(line):
                break
            covered -= len(line)
            self._pending.popleft()
        self._torn = data[count - 1 : count] != b"\n"

    def _block(self, reason: str) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if not self._blocked:
            self._blocked = reason
            self.emit(
                AlarmRaised(
                    kind="event_log_blocked",
                    severity="error",
                    text=f"events.jsonl cannot be written ({reason}). Training goes on; "
                    "make room, and the newest events will be written then.",
                )
            )

    def _unblock(self) -> None:
        self._blocked = ""
        self.emit(AlarmCleared(kind="event_log_blocked"))

    def _sync(self, *, force: bool) -> None:
        now = time.monotonic()
        due = self._must_sync or force or now - self._synced_at >= SYNC_SECONDS
        if self._dirty and due:
            with contextlib.suppress(OSError):
                os.fsync(self._file)
            self._dirty = self._must_sync = False
            self._synced_at = now

    def _write_log(self, lines: list[str]) -> None:
        text = "\n" * self._log_torn + "".join(f"{line}\n" for line in lines)
        data = text.encode("utf-8", "replace")
        # run.log retells events.jsonl; a full disk is reported there, once.
        with contextlib.suppress(OSError):
            self._log_torn = os.write(self._log_file, data) < len(data)
