"""Where the entries of a journal begin: an offset and a kind for each, the text left on disk.

Made in a thread, a block at a time, once the log is scrolled further back than the
memory goes. A line is read and decoded when it is shown.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import WireError
from engine.events import Event
from engine.files import checked
from engine.journal import wire
from sftui.logbook.event_lines import entry
from sftui.logbook.indexed_file import Indexed
from sftui.logbook.kinds import ENTRY, kind_of_line

BLOCK_BYTES = 512 * 1024
"""A regular expression holds the interpreter for this long: a few milliseconds."""
_TYPE_WITHIN = 16
"""A line says its type first, behind its version."""
_READ_BYTES = 4096
_MOST_READ = 500
_SEQ = re.compile(rb'"seq":\s?(\d+)')
_RANK = re.compile(rb'"rank":\s?(\d+)')
_SEARCH_ROWS = 2048

Rows = NDArray[np.int64]


class JournalRows(Indexed):
    """Grows in its thread alone; readers see a length and what lies before it."""

    thread_name = "log index"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._offsets: NDArray[Any] = np.empty(1024, dtype=np.int64)
        self._kinds: NDArray[Any] = np.empty(1024, dtype=np.uint8)
        self._length = 0
        self._indexed = 0  # bytes
        self._inode = 0
        self._read: dict[int, Event | None] = {}  # lines in sight or nearly
        self._matching: tuple[int, int, Rows] = (0, 0, np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return self._length

    @property
    def share(self) -> float:
        """Indexed so far, 0 to 1."""
        size = self._size()
        return min(1.0, self._indexed / size) if size else 1.0

    @property
    def num_bytes(self) -> int:
        """Memory of the index."""
        return self._offsets.nbytes + self._kinds.nbytes

    # ---- rows ------------------------------------------------------------------------------

    def matching(self, kinds: int, stop: int) -> Rows:
        """The rows before `stop` that are of these kinds, rising."""
        known, until, rows = self._matching
        if known != kinds or until > stop:
            known, until, rows = kinds, 0, rows[:0]
        if until < stop:
            more = np.flatnonzero(self._kinds[until:stop] & kinds) + until
            rows = np.concatenate((rows, more))
            self._matching = (kinds, stop, rows)
        return rows

    def before(self, seq: int) -> int:
        """How many rows stand before the event of that number."""
        low, high = 0, self._length
        try:
            with self._path.open("rb") as file:
                while low < high:
                    middle = (low + high) // 2
                    file.seek(int(self._offsets[middle]))
                    found = _SEQ.search(file.read(200))
                    if found is None or int(found[1]) < seq:
                        low = middle + 1
                    else:
                        high = middle
        except OSError:
            return 0
        return low

    def events(self, rows: Sequence[int]) -> list[Event | None]:
        """The events of rising rows; None where the line cannot be read any more."""
        unread = [row for row in rows if row not in self._read]
        if unread:
            if len(self._read) > _MOST_READ:
                self._read = {row: self._read[row] for row in rows if row in self._read}
            with contextlib.suppress(OSError), self._path.open("rb") as file:
                for row, line in self._lines(file, np.asarray(unread, dtype=np.int64)):
                    self._read[row] = _decoded(line)
        return [self._read.get(row) for row in rows]

    def search(
        self, pattern: re.Pattern[str], needle: bytes, kinds: int, low: int, high: int
    ) -> Iterator[tuple[int, list[int]]]:
        """Rows from `low` to before `high` whose entry has the pattern, newest first in blocks.

        `needle`: the text of the pattern, in lower case, if it is plain ASCII; else empty.
        A line that is ASCII, has no escapes and lacks it is not decoded at all.
        """
        with self._path.open("rb") as file:
            for end in range(high, low, -_SEARCH_ROWS):
                start = max(low, end - _SEARCH_ROWS)
                rows = np.flatnonzero(self._kinds[start:end] & kinds) + start
                lines = self._lines(file, rows)
                yield (
                    start,
                    [r for r, line in lines if _may_have(line, needle) and _has(pattern, line)],
                )

    def _lines(self, file: Any, rows: Rows) -> Iterator[tuple[int, bytes]]:
        """The raw lines of rising rows, those that lie close together in one read."""
        at, near = 0, 0
        while at < len(rows):
            first = int(self._offsets[rows[at]])
            near = at + 1
            while near < len(rows) and self._offsets[rows[near]] - first < BLOCK_BYTES:
                if self._offsets[rows[near]] - self._offsets[rows[near - 1]] > BLOCK_BYTES // 4:
                    break
                near += 1
            last = int(self._offsets[rows[near - 1]])
            file.seek(first)
            data = file.read(last - first + _READ_BYTES)
            if data.find(b"\n", last - first) < 0:
                data += file.read(wire.MAX_LINE_BYTES)
            for row in rows[at:near].tolist():
                begin = int(self._offsets[row]) - first
                end = data.find(b"\n", begin)
                yield row, data[begin : end if end >= 0 else len(data)]
            at = near

    # ---- the thread ------------------------------------------------------------------------

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def _is_behind(self) -> bool:
        return self._size() > self._indexed

    def _index(self) -> None:
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if self._inode and (found.st_ino != self._inode or found.st_size < self._indexed):
                    self._length = self._indexed = 0  # another file under this name
                    self._read = {}
                self._inode = found.st_ino
                file.seek(self._indexed)
                torn = b""
                while not self._stop.is_set() and (data := file.read(BLOCK_BYTES)):
                    whole, newline, rest = data.rpartition(b"\n")
                    if not newline:
                        torn += rest
                        if hole := checked.skip_hole(file, data):
                            self._indexed += len(torn) + hole
                            torn = b""
                        if len(torn) > 16 * wire.MAX_LINE_BYTES:  # no event is that long
                            self._indexed += len(torn)
                            torn = b""
                        continue
                    begun = time.thread_time()
                    block = torn + whole + newline
                    self._add(block, self._indexed)
                    self._indexed += len(block)
                    torn = rest
                    # The interpreter is the screen's for as long: keys are pressed meanwhile.
                    self._stop.wait(time.thread_time() - begun)
        except OSError:
            return  # gone: what was indexed stays

    def _add(self, block: bytes, base: int) -> None:
        offsets: list[int] = []
        kinds: list[int] = []
        for match in ENTRY.finditer(block):
            begin = block.rfind(b"\n", 0, match.start()) + 1
            if match.start() - begin > _TYPE_WITHIN:
                continue  # a field of the same name, further in
            bits = kind_of_line(match[1], block[begin : block.find(b"\n", match.end())])
            if bits:
                offsets.append(base + begin)
                kinds.append(bits)
        n, end = self._length, self._length + len(offsets)
        if end > len(self._offsets):
            room = max(end, int(1.5 * len(self._offsets)))
            self._offsets = np.concatenate((self._offsets[:n], np.empty(room - n, dtype=np.int64)))
            self._kinds = np.concatenate((self._kinds[:n], np.empty(room - n, dtype=np.uint8)))
        self._offsets[n:end] = offsets
        self._kinds[n:end] = kinds
        self._length = end  # last: who reads sees whole rows only


def _decoded(line: bytes) -> Event | None:
    try:
        return wire.decode(line)
    except WireError:
        return None


def _may_have(line: bytes, needle: bytes) -> bool:
    if not needle or b'"log_line"' not in line[: 2 * _TYPE_WITHIN]:
        return True  # words of other events are made of numbers
    if b"\\" in line or not line.isascii() or needle in line.lower():
        return True
    # `rank 1: ` stands before the text of a line that a rank wrote.
    rank = _RANK.search(line)
    if rank is None:
        return False
    return b":" in needle or needle.startswith(b" ") or needle in b"rank %b: " % rank[1]


def _has(pattern: re.Pattern[str], line: bytes) -> bool:
    event = _decoded(line)
    said = entry(event) if event is not None else None
    return said is not None and pattern.search(said.text) is not None
