"""Take protocol-buffer messages apart without their schema: enough for two log formats.

A dozen lines instead of a dependency: tensorboard and wandb bring protobuf, and
wandb alone some 100 MB, to read a handful of fields whose numbers never change.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

Value = int | float | bytes


class ProtobufError(Exception):
    """The bytes are no message."""


def fields(data: bytes | memoryview) -> Iterator[tuple[int, Value]]:
    """Field numbers and raw values: varints as int, fixed64 and fixed32 as little-endian
    bytes read as double and float, strings and messages as bytes.

    Raises:
        ProtobufError: the bytes are cut off or no message.
    """
    data = bytes(data)
    at, end = 0, len(data)
    while at < end:
        # Most numbers that frame a field take one byte.
        tag = data[at]
        at += 1
        if tag > _ONE_BYTE:
            tag, at = _varint(data, at - 1)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size = data[at] if at < end else _ONE_BYTE + 1
            at += 1
            if size > _ONE_BYTE:
                size, at = _varint(data, at - 1)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ProtobufError(f"wire type {kind}")
        stop = at + size
        if number == 0 or stop > end:
            raise ProtobufError("cut off")
        raw = data[at:stop]
        at = stop
        if kind == 2:
            yield number, raw
        else:
            yield number, struct.unpack("<d" if kind == 1 else "<f", raw)[0]


def signed(value: int) -> int:
    """A varint as the int64 it stands for."""
    return value - (1 << 64) if value >= 1 << 63 else value


_ONE_BYTE = 0x7F
"""The largest number that a varint writes in one."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ProtobufError("cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
