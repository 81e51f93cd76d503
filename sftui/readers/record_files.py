"""Files of framed records, as wandb and SwanLab keep a run: LevelDB's log format.

7 bytes of header (a mark, a magic number, a version), then blocks of 32 KiB. A record is
checksum (4 bytes), length (2), kind (1: whole, 2-4: first, middle, last piece) and data; it
never crosses a block, whose last 6 bytes may be padding.
"""

from __future__ import annotations

from typing import Any, ClassVar

from engine.events import Event
from sftui.readers import Sniffed
from sftui.readers.objects import ObjectReader

_FILE_HEADER = 7
_BLOCK = 32 * 1024
_RECORD_HEADER = 7
MAX_RECORD_BYTES = 64 * 1024 * 1024
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class RecordFileReader(ObjectReader):
    """See the module; a subclass reads one record after another (`_record`)."""

    magic: ClassVar[bytes]
    """The first bytes of its files."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._data = b""
        self._offset = 0  # of `_data` in the file
        self._parts = bytearray()
        self._broken = False

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        found = head[: len(cls.magic)] == cls.magic
        return Sniffed(1.0, f"the file header of a {cls.words}") if found else Sniffed(0.0)

    def _record(self, record: bytes) -> bool:
        """Read one record; False when it is no record of the format."""
        raise NotImplementedError

    def feed(self, data: bytes) -> list[Event]:
        if self._broken:
            return []
        data = self._data + data
        at, size = 0, len(data)
        if self._offset == 0:
            if size < _FILE_HEADER:
                self._data = data
                return []
            at = _FILE_HEADER
        while not self._broken:
            left = _BLOCK - (self._offset + at) % _BLOCK
            if left < _RECORD_HEADER:
                if size < at + left:
                    break
                at += left
                continue
            if size < at + _RECORD_HEADER:
                break
            length, kind = data[at + 4] | data[at + 5] << 8, data[at + 6]
            if kind == 0 and length == 0 and left > _RECORD_HEADER:
                if size < at + left:
                    break
                at += left  # a block that was preallocated and never filled
                continue
            if kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or _RECORD_HEADER + length > left:
                self._broken = True
                self._count(read=False)
                break
            end = at + _RECORD_HEADER + length
            if size < end:
                break
            self._piece(kind, data[at + _RECORD_HEADER : end])
            at = end
        self._data = data[at:]
        self._offset += at
        return self._drain()

    def close(self) -> list[Event]:
        if (self._data and not self._broken and self._offset) or self._parts:
            self._count(read=False)
        self._settle_results()
        return self._drain()

    def _count(self, *, read: bool) -> None:
        self.lines.total += 1
        self.lines.unrecognised += not read

    def _piece(self, kind: int, data: bytes) -> None:
        if kind == _WHOLE:
            self._parts.clear()
            self._count(read=self._record(data))
            return
        if kind == _FIRST:
            self._parts.clear()
        if len(self._parts) + len(data) <= MAX_RECORD_BYTES:
            self._parts += data
        if kind == _LAST:
            record = bytes(self._parts)
            self._parts.clear()
            self._count(read=self._record(record))
