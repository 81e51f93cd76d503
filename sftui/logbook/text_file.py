"""A text file by byte offsets: pages read where they lie, and lines counted in a thread.

A page is found backwards or forwards from any offset, so the end of a gigabyte is
there at once. The index is the number of lines up to every 64 kB: 128 kB of memory
for a gigabyte, and enough for the number of the line that is shown.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator
from pathlib import Path

from engine.files import checked
from sftui.logbook.indexed_file import Indexed
from sftui.text.clean import clean

MARK_BYTES = 64 * 1024
BLOCK_BYTES = 1024 * 1024
_PAGE_BYTES = 16 * 1024
MOST_LINE_BYTES = 1024 * 1024
"""A longer line is shown in pieces."""

Line = tuple[int, bytes]
"""Offset of its first byte, and its bytes without the line end."""


class TextFile(Indexed):
    """Reads only when asked; a file that is not there is empty."""

    thread_name = "log lines"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._counts = array("Q")  # line ends in the first (i + 1) * MARK_BYTES bytes
        self._inode = 0

    @property
    def size(self) -> int:
        try:
            return checked.written_size(self.path)
        except OSError:
            return 0

    @property
    def num_bytes(self) -> int:
        """Memory of the index."""
        return self._counts.itemsize * len(self._counts)

    # ---- pages -----------------------------------------------------------------------------

    def read(self, start: int, end: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                return file.read(max(0, end - start))
        except OSError:
            return b""

    def before(self, end: int, most: int) -> list[Line]:
        """The last `most` lines that end at or before `end`, oldest first."""
        if most < 1:
            return []
        room = _PAGE_BYTES
        while True:
            start = max(0, end - room)
            lines = _cut(self.read(start, end), start)
            if start == 0:
                return lines[-most:]
            if len(lines) > most:
                return lines[-most:]
            if room >= MOST_LINE_BYTES:
                # The first may have begun before; that is a piece of a line then.
                return lines[-most:]
            room *= 4

    def after(self, start: int, most: int, limit: int) -> list[Line]:
        """The next `most` lines from `start`, a line's first byte; none goes beyond `limit`."""
        room = _PAGE_BYTES
        while True:
            end = min(limit, start + room)
            data = self.read(start, end)
            if end < limit and room < MOST_LINE_BYTES:
                data = data[: data.rfind(b"\n") + 1]
            lines = _cut(data, start)
            if len(lines) >= most or end >= limit or room >= MOST_LINE_BYTES:
                return lines[:most]
            room *= 4

    def number(self, offset: int) -> int | None:
        """Lines before `offset`; None where it was not counted yet."""
        mark = min(offset // MARK_BYTES, len(self._counts))
        if offset - mark * MARK_BYTES > 4 * BLOCK_BYTES:
            return None
        before = self._counts[mark - 1] if mark else 0
        return before + self.read(mark * MARK_BYTES, offset).count(b"\n")

    # ---- search ----------------------------------------------------------------------------

    def search(
        self, pattern: re.Pattern[str], needle: bytes, low: int, high: int
    ) -> Iterator[tuple[int, list[int]]]:
        """Offsets of the lines in [low, high) that have the pattern, newest first in blocks.

        `needle`: the text of the pattern, in lower case, if it is plain ASCII; else empty:
        every line is decoded then.
        """
        end = high
        while end > low:
            start = max(low, end - BLOCK_BYTES)
            data = self.read(start, end)
            if start > low:
                # Whole lines only; the rest belongs to the next block, further up.
                first = data.find(b"\n", 0, -1) + 1
                start, data = start + first, data[first:]
            if not data:
                return
            yield start, _found(pattern, needle, data, start)
            end = start

    # ---- the thread ------------------------------------------------------------------------

    def _is_behind(self) -> bool:
        return self.size // MARK_BYTES != len(self._counts)

    def _index(self) -> None:
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                whole = min(found.st_size, self.size) // MARK_BYTES
                if (self._inode and found.st_ino != self._inode) or whole < len(self._counts):
                    self._counts = array("Q")  # another file under this name
                self._inode = found.st_ino
                counts = self._counts
                file.seek(len(counts) * MARK_BYTES)
                total = counts[-1] if counts else 0
                while not self._stop.is_set() and len(counts) < whole:
                    data = file.read(min(BLOCK_BYTES, (whole - len(counts)) * MARK_BYTES))
                    if not data:
                        return
                    for at in range(0, len(data), MARK_BYTES):
                        total += data.count(b"\n", at, at + MARK_BYTES)
                        counts.append(total)
        except OSError:
            return  # gone: what was counted stays


def _cut(data: bytes, start: int) -> list[Line]:
    """The lines of a page that begins at `start`; a line cut by its beginning is one too."""
    if not data:
        return []
    pieces = data.split(b"\n")
    if not pieces[-1]:
        pieces.pop()
    lines = []
    for piece in pieces:
        lines.append((start, piece))
        start += len(piece) + 1
    return lines


def _found(pattern: re.Pattern[str], needle: bytes, data: bytes, base: int) -> list[int]:
    if not needle or b"\x1b" in data or b"\r" in data:
        # What is drawn is not what stands there: look at each line as it is drawn.
        return [start for start, line in _cut(data, base) if pattern.search(clean(line))]
    found, low = [], data.lower()
    at = low.find(needle)
    while at >= 0:
        begin = low.rfind(b"\n", 0, at) + 1
        end = low.find(b"\n", at)
        end = end if end >= 0 else len(low)
        if pattern.search(clean(data[begin:end])):
            found.append(base + begin)
        at = low.find(needle, end)
    return found
