"""Fill a recording from files, in a thread, so that the first picture need not wait for the last.

The first block is small and comes quickly; then 1 MB at a time. The reader is
chosen by content once there is enough of it, so a file may still be empty when it
is opened to be followed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from io import BufferedReader
from pathlib import Path

from engine.events import Event, LogLine, StepBatch
from engine.files import checked
from sftui.readers import LineCounts, Reader
from sftui.readers.envelopes import Envelope, envelope_of
from sftui.sources.heap import return_large_arrays
from sftui.sources.recording import Recording
from sftui.sources.text_position import PIECE_BYTES

FIRST_BLOCK_BYTES, FIRST_ROWS = 64 * 1024, 20
"""Of a long file so much is read before its first picture, and again until it holds so many rows or
a whole block was read: fewer are no curve, and a row of a thousand numbers takes 50 kB."""
SHORT_BYTES = 2 * 1024 * 1024
"""A file of this size is read at once; of a longer one, a first block for the first picture."""
HOLD_SECONDS = 3.0
"""The rest of a long file waits so long, so that it does not compete with the first paint."""
BLOCK_BYTES = 1024 * 1024
"""As fast as larger ones, and a quarter of the memory in flight."""
POLL_SECONDS = 0.5
"""How often a followed file is checked for new lines."""
SILENT_SECONDS = 60.0
"""Longer without a line, and a followed log is called silent (evaluations take that long)."""
MOST_UNRECOGNISED_BYTES = 8 * 1024 * 1024
"""A followed file that has shown no known line by then is let go of, byte by byte."""

_REMEMBERED_BYTES = 256
_NOT_TEXT = frozenset({"sftui", "tensorboard", "wandb", "swanlab", "trackio"})
"""Formats whose files are not shown as text."""

Choose = Callable[[bytes], Reader | None]
"""The reader for a file that starts with these bytes; None while there are too few of them."""


class FileFeed:
    """Reads one file (and the small journals beside it) into a recording."""

    def __init__(
        self,
        path: Path,
        recording: Recording,
        choose: Choose,
        *,
        lock: threading.Lock,
        follow: bool = False,
        beside: Iterable[Event] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`beside`: events of another file, merged by their times (a supervisor's)."""
        self._path = path
        self._recording = recording
        self._choose = choose
        self._lock = lock
        self._follow = follow
        self._beside = sorted(beside, key=lambda event: event.stamp.t or 0.0)
        self._now = now
        self._reader: Reader | None = None
        self._fresh = False
        self._head = b""
        self._last = b""
        self._read_bytes = 0
        self._total_bytes = 0
        self._grew_at = now()
        self._stop = threading.Event()
        self._begun = threading.Event()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self.done = False
        self.error = ""
        self.reread = ""
        """Why lines that had been shown were read again in another way."""
        self._envelope: Envelope | None = None
        self.restarts = 0
        """Times the file was replaced or emptied while it was followed."""

    # ---- what a ReplaySource asks ----------------------------------------------------------

    @property
    def lines(self) -> LineCounts:
        return self._reader.lines if self._reader is not None else LineCounts()

    @property
    def format(self) -> str:
        if self._reader is None:
            return "nothing recognised yet"
        return self._reader.format

    @property
    def damage(self) -> str:
        return self._envelope.fault if self._envelope is not None else ""

    @property
    def share(self) -> float:
        return min(1.0, self._read_bytes / self._total_bytes) if self._total_bytes else 1.0

    @property
    def text_path(self) -> Path | None:
        """The file, unless its format is not shown as text."""
        known = self._reader is not None and self._reader.name in _NOT_TEXT
        return None if known or self._envelope is not None else self._path

    @property
    def journal_path(self) -> Path | None:
        """The file, if it is known to be a journal of ours."""
        ours = self._reader is not None and self._reader.name == "sftui"
        return self._path if ours else None

    def evidence(self) -> tuple[bool, str]:
        if self.error:
            return False, self.error
        silent = self._now() - self._grew_at
        if silent < SILENT_SECONDS:
            return True, "the file grows"
        return False, f"no new line for {silent:.0f} s"

    def read_on(self) -> None:
        self._wanted.set()

    def close(self) -> None:
        self._stop.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    # ---- reading ---------------------------------------------------------------------------

    def start(self, patience_seconds: float = 0.0) -> None:
        """Read on in a thread; wait for it a little, so that short logs are whole at once.

        A long one has then begun, and goes on when `read_on` says that the first was seen.
        """
        return_large_arrays()  # before the first other thread gets a heap of its own
        self._thread = threading.Thread(target=self._run, name="replay reader", daemon=True)
        self._thread.start()
        if patience_seconds:
            self._begun.wait(patience_seconds)

    def read_all(self) -> None:
        """Read to the end here and now."""
        self.read_on()
        self._run()

    def _run(self) -> None:
        try:
            while self._read_through():
                pass
        except OSError as error:
            self.error = f"cannot be read: {error.strerror}"
        except Exception as error:  # a fault of a reader: say so, and do not leave a screen waiting
            self.error = f"could not be read on: {error!r}"
        self._finish()

    def _read_through(self) -> bool:
        """Read to the end; whether the last lines ask to begin again in another way."""
        with contextlib.ExitStack() as files:
            self._read_on(files)
        if self._stop.is_set() or self._reader is None:
            return False
        if self._envelope is not None:
            for piece in self._envelope.close():
                self._add(self._reader.feed(piece))
        self._add(self._reader.close())
        return self._begin_again()

    def _read_on(self, files: contextlib.ExitStack) -> None:
        file = files.enter_context(self._path.open("rb"))
        size = FIRST_BLOCK_BYTES
        while not self._stop.is_set():
            self._total_bytes = max(self._read_bytes, os.fstat(file.fileno()).st_size)
            block = file.read(size)
            if block:
                self._read_bytes += len(block)
                self._last = (self._last + block[-_REMEMBERED_BYTES:])[-_REMEMBERED_BYTES:]
                self._grew_at = self._now()
                self._take(block)
                self._read_bytes += checked.skip_hole(file, block)
                if self._begin_again():
                    file.seek(0)
                    size = FIRST_BLOCK_BYTES
                    continue
                size = BLOCK_BYTES
                if self._total_bytes > SHORT_BYTES and not self._begun.is_set():
                    if not self._makes_a_curve():
                        size = FIRST_BLOCK_BYTES
                        continue
                    self._begun.set()
                    self._wanted.wait(HOLD_SECONDS)
                continue
            if not self._follow:
                break
            self._begun.set()
            self._stop.wait(POLL_SECONDS)
            file = self._same_or_newer(file, files)

    def _makes_a_curve(self) -> bool:
        """Whether what was read so far is worth a first picture."""
        stages = self._recording.stages
        rows = len(stages[-1].timeline) if stages else 0
        return rows >= FIRST_ROWS or self._read_bytes >= BLOCK_BYTES

    def _begin_again(self) -> bool:
        """Whether what was read so far is void: then with a reader that knows better."""
        again = getattr(self._reader, "again", None)
        why = getattr(self._reader, "overturned", "")
        if not why or again is None or self.restarts:
            return False
        if self._wanted.is_set() and self._begun.is_set():
            self.reread = why  # of what nobody has seen yet there is nothing to say
        self._reader = again()
        self._envelope = None
        self._read_bytes, self._last, self._head = 0, b"", b""
        self._fresh = True
        with self._lock:
            self._recording.clear()
        return True

    def _same_or_newer(self, file: BufferedReader, files: contextlib.ExitStack) -> BufferedReader:
        """The open file, or the one that stands under its name now.

        A rotated log goes on in a new file; a truncated one starts over in the same.
        """
        try:
            there = self._path.stat()
        except OSError:
            return file  # between two files of a rotation
        here = os.fstat(file.fileno())
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            if file.peek(1):
                return file  # what was written before the rotation is read first
            fresh = self._path.open("rb")
            files.close()
            file = files.enter_context(fresh)
            what = "another file stands under this name now; reading it from its start"
        elif self._is_overwritten(file.fileno()):
            file.seek(0)
            what = "the file was emptied or written over; reading it from its start"
        else:
            return file
        self._read_bytes, self._last = 0, b""
        self._take(b"\n")  # the line that was cut off is not continued by the new file
        with self._lock:
            self._recording.where.clear()
        # In the log of the stage that ends here; the next stage may have none of it, the
        # header has.
        self._add([LogLine(text=f"{self._path.name}: {what}", level="warn")])
        self.restarts += 1
        return file

    def _is_overwritten(self, descriptor: int) -> bool:
        """Whether what was read last no longer stands there: the file was emptied since.

        Its size alone would not tell once the new log is as long as the old one was.
        """
        at = self._read_bytes - len(self._last)
        return os.pread(descriptor, len(self._last), at) != self._last

    def _take(self, block: bytes) -> None:
        if self._reader is None:
            self._head += block
            self._reader = self._choose(self._head)
            if self._reader is None:
                self._head = self._head[-MOST_UNRECOGNISED_BYTES:]
                return
            block, self._head = self._head, b""
            self._fresh = True
        if self._fresh:
            self._fresh = False
            self._envelope = envelope_of(block)
        offset = self._read_bytes - len(block)
        size = PIECE_BYTES if self._reader.name not in _NOT_TEXT else BLOCK_BYTES
        plain = [block] if self._envelope is None else self._envelope.open(block)
        for part in plain:
            pieces = []
            for at in range(0, len(part), size):
                piece = part[at : at + size]
                pieces.append((offset + at + len(piece), self._merged(self._reader.feed(piece))))
            # Once for all: whoever polls holds this lock for long while much is read.
            with self._lock:
                for end, events in pieces:
                    self._recording.extend(events)
                    if self._envelope is None:
                        self._recording.note(end)

    def _add(self, events: list[Event]) -> None:
        events = self._merged(events)
        with self._lock:
            self._recording.extend(events)

    def _merged(self, events: list[Event]) -> list[Event]:
        if not self._beside:
            return events
        out: list[Event] = []
        for event in events:
            first = event.times[0] if isinstance(event, StepBatch) and event.times else None
            t = event.stamp.t if first is None else first
            while self._beside and t is not None and (self._beside[0].stamp.t or 0.0) < t:
                out.append(self._beside.pop(0))
            out.append(event)
        return out

    def _finish(self) -> None:
        if not self._stop.is_set():
            with self._lock:
                self._recording.extend(self._beside)
                self._beside = []
        self.done = True
        self._begun.set()
