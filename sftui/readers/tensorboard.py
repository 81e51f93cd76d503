"""Read TensorBoard event files: scalars by tag, step and wall time.

Framing (TFRecord): length as 8 bytes, its checksum, the message, its checksum; the
checksum is CRC-32C, turned and offset. A record whose length is damaged cannot be
skipped safely, so reading stops there and the rest is counted as unread.
"""

from __future__ import annotations

import math
import struct
from typing import Any, ClassVar

from engine.events import Event
from sftui.readers import Sniffed
from sftui.readers.objects import ObjectReader
from sftui.readers.protobuf import ProtobufError, fields, signed

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""An image or a graph may be large; more is damage."""
_HEADER = struct.Struct("<QI")
_CRC_BYTES = 4


class TensorBoardReader(ObjectReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "tensorboard"
    words: ClassVar[str] = "TensorBoard event file"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._data = bytearray()
        self._skip = 0
        self._broken = False
        self._open: tuple[int, float | None] | None = None
        self._numbers_of_step: dict[str, float] = {}

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
        self._data += data
        at, held = 0, memoryview(self._data)
        while len(held) - at >= _HEADER.size:
            length, crc = _HEADER.unpack_from(held, at)
            if length > MAX_RECORD_BYTES or masked_crc32c(bytes(held[at : at + 8])) != crc:
                self._broken = True
                self.lines.total += 1
                self.lines.unrecognised += 1
                break
            end = at + _HEADER.size + length + _CRC_BYTES
            if end > len(held):
                break
            self._record(bytes(held[at + _HEADER.size : end - _CRC_BYTES]))
            at = end
        held.release()
        del self._data[: len(self._data) if self._broken else at]
        return self._drain()

    def close(self) -> list[Event]:
        self._flush()
        if self._data:  # a record that is not whole
            self.lines.total += 1
            self.lines.unrecognised += 1
        self._settle_results()
        return self._drain()

    def _record(self, message: bytes) -> None:
        self.lines.total += 1
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
            return
        for tag, scalar in scalars:
            if 0 <= step < 10**12:
                self._scalar(step, t, tag, scalar)

    def _scalar(self, step: int, t: float | None, tag: str, value: float) -> None:
        # Each tag is a record of its own: those of one step are one row again.
        if self._open is not None and (self._open[0] != step or tag in self._numbers_of_step):
            self._flush()
        if self._open is None:
            self._open = (step, t)
        self._numbers_of_step[tag] = value

    def _flush(self) -> None:
        if self._open is not None:
            (step, t), numbers = self._open, self._numbers_of_step
            self._open, self._numbers_of_step = None, {}
            self._object(numbers, at=step, t=t)


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
