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
    view = memoryview(data)
    at, end = 0, len(view)
    while at < end:
        tag, at = _varint(view, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(view, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(view, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ProtobufError(f"wire type {kind}")
        if number == 0 or at + size > end:
            raise ProtobufError("cut off")
        raw = bytes(view[at : at + size])
        at += size
        if kind == 2:
            yield number, raw
        else:
            yield number, struct.unpack("<d" if kind == 1 else "<f", raw)[0]


def signed(value: int) -> int:
    """A varint as the int64 it stands for."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise ProtobufError("cut off")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
