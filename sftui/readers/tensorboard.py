"""Read TensorBoard event files: scalars by tag, step and wall time.

Framing (TFRecord): length as 8 bytes, its checksum, the message, its checksum; the
checksum is CRC-32C, turned and offset. A record whose length is damaged cannot be
skipped safely, so reading stops there and the rest is counted as unread.

Each scalar is a record of its own, and most logs write the same tags at every step: records
that differ from those of the step before in step, time and value alone are read as columns.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.events import Event
from sftui.readers import Sniffed
from sftui.readers.objects import ObjectReader
from sftui.readers.protobuf import ProtobufError, fields, signed

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""An image or a graph may be large; more is damage."""
_HEADER = struct.Struct("<QI")
_CRC_BYTES = 4
_WALL = struct.Struct("<xd")
"""Of an event: the tag of its first field, and the time."""
_VALUE = struct.Struct("<f")
_STEP_AT = 10
"""Where an event has its step, if time and step come first."""
_MOST_STEP = 10**12
_MOST_KINDS = 4096
_LEAST_CYCLES = 8
_MOST_PATIENCE = 64


@dataclass(slots=True)
class _Record:
    """A record of a scalar, by its place in the bytes of a row."""

    at: int
    step_end: int
    value_at: int
    tag: str


class TensorBoardReader(ObjectReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "tensorboard"
    words: ClassVar[str] = "TensorBoard event file"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._data = b""
        self._skip = 0
        self._broken = False
        self._open: tuple[int, float | None] | None = None
        self._numbers_of_step: dict[str, float] = {}
        self._tags: dict[bytes, str] = {}
        """Tags by what stands between the step and the value of an event."""
        self._lengths: dict[int, int] = {}
        """Checksums of lengths."""
        self._row_at = -1
        """Where the open row begins in the bytes at hand; -1 for elsewhere."""
        self._records: list[_Record] = []
        """Its records, as far as each is a scalar in the usual form."""
        self._closed: tuple[str, ...] = ()
        """Tags of the row before."""
        self._patience = self._waits = 0
        """Rows to wait for the next try to read many at once."""

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        if len(head) < _HEADER.size:
            return Sniffed(0.0)
        length, crc = _HEADER.unpack_from(head)
        if length > MAX_RECORD_BYTES or masked_crc32c(head[:8]) != crc:
            return Sniffed(0.0)
        return Sniffed(1.0, "a TFRecord with the right checksum")

    def feed(self, data: bytes) -> list[Event]:
        if self._broken:
            return []
        data = self._data + data
        at, size = 0, len(data)
        self._row_at = -1
        while size - at >= _HEADER.size:
            length, crc = _HEADER.unpack_from(data, at)
            if length > MAX_RECORD_BYTES or self._checksum(length) != crc:
                self._broken = True
                self.lines.total += 1
                self.lines.unrecognised += 1
                break
            end = at + _HEADER.size + length + _CRC_BYTES
            if end > size:
                break
            read = self._many(data, at)
            if read > at:
                at = read
                continue
            self._record(data[at + _HEADER.size : end - _CRC_BYTES], at)
            at = end
        self._data = b"" if self._broken else data[at:]
        return self._drain()

    def close(self) -> list[Event]:
        self._flush()
        if self._data:  # a record that is not whole
            self.lines.total += 1
            self.lines.unrecognised += 1
        self._settle_results()
        return self._drain()

    def _checksum(self, length: int) -> int:
        found = self._lengths.get(length)
        if found is None:
            if len(self._lengths) >= _MOST_KINDS:
                self._lengths.clear()
            found = self._lengths[length] = masked_crc32c(length.to_bytes(8, "little"))
        return found

    def _record(self, message: bytes, at: int) -> None:
        """An event, whose record begins at `at` of the bytes at hand."""
        self.lines.total += 1
        usual = _usual(message)
        if usual is not None:
            step, step_end = usual
            tag = self._tags.get(message[step_end:-4])
            if tag is not None and step < _MOST_STEP:
                (t,) = _WALL.unpack_from(message)
                (value,) = _VALUE.unpack_from(message, len(message) - 4)
                start = at + _HEADER.size
                self._scalar(step, t if math.isfinite(t) else None, tag, value, at)
                self._records.append(
                    _Record(at, start + step_end, start + len(message) - _VALUE.size, tag)
                )
                return
        self._any_record(message, usual, at)

    def _any_record(self, message: bytes, usual: tuple[int, int] | None, at: int) -> None:
        step, t = 0, None
        scalars: list[tuple[str, float]] = []
        try:
            for number, value in fields(message):
                if number == 1 and isinstance(value, float):
                    t = value if math.isfinite(value) else None
                elif number == 2 and isinstance(value, int):
                    step = signed(value)
                elif number == 5 and isinstance(value, bytes):
                    scalars += _scalars(value)
        except ProtobufError:
            self.lines.unrecognised += 1
            self._row_at = -1
            return
        for tag, scalar in scalars:
            if 0 <= step < _MOST_STEP:
                self._scalar(step, t, tag, scalar, at)
        self._row_at = -1  # no row of scalars in the usual form alone
        if usual is not None and len(scalars) == 1 and len(self._tags) < _MOST_KINDS:
            between = message[usual[1] : -4]
            if _ends_with_its_value(between, scalars[0][0]):
                self._tags[between] = scalars[0][0]

    def _scalar(self, step: int, t: float | None, tag: str, value: float, at: int) -> None:
        # Each tag is a record of its own: those of one step are one row again.
        if self._open is not None and (self._open[0] != step or tag in self._numbers_of_step):
            self._flush()
        if self._open is None:
            self._open = (step, t)
            self._row_at, self._records = at, []
        self._numbers_of_step[tag] = value

    def _flush(self) -> None:
        if self._open is not None:
            (step, t), numbers = self._open, self._numbers_of_step
            self._open, self._numbers_of_step = None, {}
            self._closed = tuple(numbers)
            self._object(numbers, at=step, t=t)

    # ---- many rows at once -------------------------------------------------------------------

    def _many(self, data: bytes, at: int) -> int:
        """Read rows that repeat the open one from `at` on; where the next record begins."""
        tags = self._closed
        if self._row_at < 0 or len(self._records) != len(tags) or not tags:
            return at
        if tuple(record.tag for record in self._records) != tags:
            return at
        if self._waits:
            self._waits -= 1
            return at
        start, records = self._row_at, self._records
        template = np.frombuffer(data, np.uint8, at - start, start)
        checked = _checked(template, records, start)
        width = at - start
        found = np.frombuffer(data, np.uint8, (len(data) - at) // width * width, at)
        # The last one stays: its row may go on.
        rows = _alike_rows(found.reshape(-1, width), template, checked)[:-1]
        columns = _columns_of(rows, records, start) if len(rows) >= _LEAST_CYCLES else None
        if columns is None:
            self._patience = min(_MOST_PATIENCE, 2 * self._patience + 1)
            self._waits = self._patience
            return at
        self._patience = 0
        self._flush()
        steps, times, values = columns
        self.lines.total += len(rows) * len(records)
        self._objects(dict(zip(tags, values, strict=True)), steps, times)
        self._row_at = -1
        return at + len(rows) * width


def _usual(message: bytes) -> tuple[int, int] | None:
    """Step of an event that begins with time and step, and where that ends; None for another."""
    if len(message) < _STEP_AT + 8 or message[0] != 0x09 or message[_STEP_AT - 1] != 0x10:
        return None
    step, at = 0, _STEP_AT
    while at < len(message) - 4 and at < _STEP_AT + 8:
        byte = message[at]
        step |= (byte & 0x7F) << 7 * (at - _STEP_AT)
        at += 1
        if byte < 0x80:
            return step, at
    return None


def _ends_with_its_value(between: bytes, tag: str) -> bool:
    """Whether an event with this after its step holds one scalar of that tag, which its last four
    bytes are: two numbers are put there, and both must be read."""
    for value in (1.5, -3.25):
        try:
            found = [
                scalar
                for number, content in fields(between + _VALUE.pack(value))
                if number == 5 and isinstance(content, bytes)
                for scalar in _scalars(content)
            ]
        except ProtobufError:
            return False
        if found != [(tag, value)]:
            return False
    return True


def _checked(template: NDArray[np.uint8], records: Sequence[_Record], start: int) -> NDArray[Any]:
    """Bits in which another row must agree: all but steps, times, values and their checksums."""
    bits = np.full(len(template), 0xFF, dtype=np.uint8)
    for record in records:
        message = record.at - start + _HEADER.size
        bits[message + 1 : message + _STEP_AT - 1] = 0
        bits[message + _STEP_AT : record.step_end - start] = 0x80  # as many bytes
        value = record.value_at - start
        bits[value : value + _VALUE.size + _CRC_BYTES] = 0
    return bits


def _alike_rows(
    rows: NDArray[np.uint8], template: NDArray[np.uint8], checked: NDArray[Any]
) -> NDArray[np.uint8]:
    """The first of the rows, as far as all agree with the template."""
    for most in (_LEAST_CYCLES, len(rows)):
        other = (((rows[:most] ^ template) & checked) != 0).any(axis=1)
        if other.any():
            return rows[: int(other.argmax())]
    return rows


def _columns_of(
    rows: NDArray[np.uint8], records: Sequence[_Record], start: int
) -> tuple[list[int], list[float], list[list[float]]] | None:
    """Steps, times and values of rows; None where they are not each of one step and moment."""
    steps: NDArray[np.int64] | None = None
    values = []
    for record in records:
        step_at = record.at - start + _HEADER.size + _STEP_AT
        step = np.zeros(len(rows), dtype=np.int64)
        for place, at in enumerate(range(step_at, record.step_end - start)):
            step |= (rows[:, at].astype(np.int64) & 0x7F) << 7 * place
        if steps is not None and not np.array_equal(steps, step):
            return None
        steps = step
        values.append(_numbers(rows, record.value_at - start, "<f4"))
    times = _numbers(rows, records[0].at - start + _HEADER.size + 1, "<f8")
    if steps is None or steps.max() >= _MOST_STEP or not np.isfinite(times).all():
        return None
    return steps.tolist(), times.tolist(), [each.astype(np.float64).tolist() for each in values]


def _numbers(rows: NDArray[np.uint8], at: int, kind: str) -> NDArray[Any]:
    """The number at one place of every row."""
    size = np.dtype(kind).itemsize
    return np.ascontiguousarray(rows[:, at : at + size]).view(kind)[:, 0]


def _scalars(summary: bytes) -> list[tuple[str, float]]:
    """Tags and numbers of a summary: plain values, and tensors that hold one number."""
    found = []
    for number, value in fields(summary):
        if number != 1 or not isinstance(value, bytes):
            continue
        tag, scalar = "", None
        for inner, content in fields(value):
            if inner == 1 and isinstance(content, bytes):
                tag = content.decode("utf-8", "replace")[:200]
            elif inner == 2 and isinstance(content, float):
                scalar = content
            elif inner == 8 and isinstance(content, bytes):
                scalar = _tensor(content)
        if tag and scalar is not None:
            found.append((tag, scalar))
    return found


def _tensor(message: bytes) -> float | None:
    """The number of a tensor that has no dimensions; None for any other."""
    kind, content, single = 0, b"", None
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 2 and isinstance(value, bytes) and any(n == 2 for n, _ in fields(value)):
            return None
        elif number == 4 and isinstance(value, bytes):
            content = value
        elif number in (5, 6):
            if isinstance(value, float):
                single = value
            elif isinstance(value, bytes) and len(value) == (4 if number == 5 else 8):
                single = struct.unpack("<f" if number == 5 else "<d", value)[0]
    layout = {1: "<f", 2: "<d", 3: "<i", 9: "<q"}.get(kind)
    if layout and len(content) == struct.calcsize(layout):
        return float(struct.unpack(layout, content)[0])
    return single if kind in (1, 2) else None


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC = _crc_table()


def masked_crc32c(data: bytes) -> int:
    """TFRecord's checksum of a few bytes (a table in Python: not for megabytes)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
