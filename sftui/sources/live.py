"""A run with a queue: events as they happen, the file for whatever the queue lacks.

The queue is fast and may vanish. Each batch says how far the file was written when
it was sent, so after a batch the file is read on from exactly there: to fill a gap
in `seq`, or alone when the file grows and nothing comes through the queue.
"""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Callable

from engine.control import Request
from engine.events import Event
from engine.journal.live_queue import LiveServer
from engine.run.run_dir import RunDir
from sftui.sources.tail import EventTail, RunLiveness, SequenceFilter

SILENCE_SECONDS = 0.4
"""How long the file may be ahead before we read it: a batch follows its write in a few ms."""

_FILE_CHECK_SECONDS = 0.1
"""Between two checks of the files (two stat calls)."""


class LiveSource:
    """The screen's end of a run that it started.

    Args:
        server: made before, so that its address is in the run directory when the ranks
            start; None makes one. Without a socket the source lives on the file alone.
    """

    def __init__(
        self,
        run_dir: RunDir,
        server: LiveServer | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._seen = SequenceFilter()
        self._main = EventTail(run_dir.events, self._seen)
        self._supervisor = EventTail(run_dir.supervisor_events)
        self._liveness = RunLiveness(run_dir)
        self._server = server
        if server is None:
            with contextlib.suppress(OSError):
                self._server = LiveServer(run_dir)
        self._batch: collections.deque[bytes] = collections.deque()
        self._batch_end = 0
        self._ahead_since: float | None = None
        self._next_check = 0.0
        self.num_from_queue = 0
        self.num_from_file = 0

    def poll(self, max_events: int = 2000, max_seconds: float = 0.05) -> list[Event]:
        start = self._clock()
        events: list[Event] = []

        def room() -> bool:
            if len(events) % 64 == 0 and self._clock() - start >= max_seconds:
                return not events
            return len(events) < max_events

        while room() and self._next_batch():
            self._take_batch(events, room)
        if not self._batch:
            self._read_files(events, room, start)
        for event in events:
            self._liveness.saw(event)
        return events

    def send(self, request: Request) -> None:
        self._liveness.send(request)

    @property
    def closed(self) -> bool:
        over = self._liveness.over()
        unread = self._next_batch() or self._main.peek() or self._supervisor.peek()
        return over and not unread

    @property
    def settled(self) -> bool:
        """See `Source.settled`."""
        behind = self._main.is_behind() or self._supervisor.is_behind()
        unread = self._next_batch() or behind
        return not unread and not self._liveness.starting()

    def describe(self) -> str:
        """The same words while nothing is wrong: a count would paint the header every second."""
        return "live" if self.num_from_queue else "live, read from its file"

    def alive(self) -> tuple[bool, str]:
        return self._liveness.alive()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    # ---- the queue ---------------------------------------------------------------------------

    def _next_batch(self) -> bool:
        """Whether lines from the queue wait to be given out."""
        while not self._batch:
            found = self._server.get() if self._server is not None else None
            if found is None:
                return False
            self._batch_end, lines = found
            self._batch.extend(line for line in lines.split(b"\n") if line)
        return True

    def _take_batch(self, events: list[Event], room: Callable[[], bool]) -> None:
        """Give out one batch, or as much of it as there is room for."""
        before = len(events)
        from_file = 0
        while self._batch and room():
            event = self._seen.decode(self._batch[0])
            if event is not None and self._seen.follows_a_gap(event):
                # The lines between are in the file: they were written before this was sent.
                from_file += self._fill(event.stamp.seq, events, room)
                if not room():
                    break
            self._batch.popleft()
            if event is not None:
                self._seen.let_through(event)
                events.append(event)
        count = len(events) - before - from_file
        if not self._batch:
            self._main.skip_to(self._batch_end)
            self._ahead_since = None
        self.num_from_queue += count

    def _fill(self, before: int, events: list[Event], room: Callable[[], bool]) -> int:
        """Give out what the file has with a `seq` below `before`; returns how many."""
        count = 0
        while room():
            head = self._main.peek()
            if head is None or head.stamp.seq >= before:
                break
            self._main.take()
            events.append(head)
            count += 1
        self.num_from_file += count
        return count

    # ---- the files ---------------------------------------------------------------------------

    def _read_files(self, events: list[Event], room: Callable[[], bool], now: float) -> None:
        if now < self._next_check and self._main.at_end:
            return
        self._next_check = now + _FILE_CHECK_SECONDS
        if not self._main.is_behind():
            self._ahead_since = None
        elif self._ahead_since is None:
            self._ahead_since = now
        if self._server is None or (
            self._ahead_since is not None and now - self._ahead_since >= SILENCE_SECONDS
        ):
            while room() and (event := self._main.take()) is not None:
                self.num_from_file += 1
                events.append(event)
        if not self._main.is_behind():
            # What the supervisor says of a rank's end comes after that rank's last words.
            while room() and (event := self._supervisor.take()) is not None:
                events.append(event)
