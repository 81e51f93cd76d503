"""Read wandb's offline `.wandb` files: the history rows, the config, the exit code.

Framing: 7 bytes (":W&B", a magic number, a version), then LevelDB log blocks of 32 KiB.
A record is checksum (4 bytes), length (2), kind (1: whole, 2-4: first, middle, last
piece) and data; it never crosses a block, whose last 6 bytes may be padding.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from engine.events import Event, RunFinished, Scalar
from sftui.readers import Sniffed
from sftui.readers.objects import ObjectReader
from sftui.readers.protobuf import ProtobufError, fields, signed

_MAGIC = b":W&B"
_FILE_HEADER = 7
_BLOCK = 32 * 1024
_RECORD_HEADER = 7
MAX_RECORD_BYTES = 64 * 1024 * 1024
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4

# Numbers of `wandb_internal.Record`'s fields.
_HISTORY, _RUN, _EXIT = 2, 17, 18


class WandbReader(ObjectReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "wandb"
    words: ClassVar[str] = "wandb offline run"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._data = bytearray()
        self._offset = 0  # of `_data` in the file
        self._parts = bytearray()
        self._broken = False
        self._auto_step = 0

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        return Sniffed(1.0, "wandb's file header") if head[:4] == _MAGIC else Sniffed(0.0)

    def feed(self, data: bytes) -> list[Event]:
        if self._broken:
            return []
        self._data += data
        at = 0
        if self._offset == 0:
            if len(self._data) < _FILE_HEADER:
                return []
            at = _FILE_HEADER
        while not self._broken:
            left = _BLOCK - (self._offset + at) % _BLOCK
            if left < _RECORD_HEADER:
                if len(self._data) < at + left:
                    break
                at += left
                continue
            if len(self._data) < at + _RECORD_HEADER:
                break
            length = int.from_bytes(self._data[at + 4 : at + 6], "little")
            kind = self._data[at + 6]
            if kind == 0 and length == 0 and left > _RECORD_HEADER:
                if len(self._data) < at + left:
                    break
                at += left  # a block that was preallocated and never filled
                continue
            if kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or _RECORD_HEADER + length > left:
                self._broken = True
                self._count(read=False)
                break
            end = at + _RECORD_HEADER + length
            if len(self._data) < end:
                break
            self._piece(kind, bytes(self._data[at + _RECORD_HEADER : end]))
            at = end
        del self._data[:at]
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
        if kind in (_WHOLE, _FIRST):
            self._parts.clear()
        if len(self._parts) + len(data) <= MAX_RECORD_BYTES:
            self._parts += data
        if kind in (_WHOLE, _LAST):
            record = bytes(self._parts)
            self._parts.clear()
            try:
                self._record(record)
                self._count(read=True)
            except ProtobufError:
                self._count(read=False)

    def _record(self, record: bytes) -> None:
        for number, value in fields(record):
            if not isinstance(value, bytes):
                continue
            if number == _HISTORY:
                self._history(value)
            elif number == _RUN:
                self._run(value)
            elif number == _EXIT and self._running:
                exit_fields = dict(fields(value))
                code, seconds = exit_fields.get(1, 0), exit_fields.get(2)
                self._emit(
                    RunFinished(
                        status="finished" if code == 0 else "failed",
                        reason="" if code == 0 else f"exit code {code!r}",
                        updates=self._step,
                        seconds=float(seconds) if isinstance(seconds, int) else None,
                        stamp=self._stamp,
                    )
                )

    def _history(self, message: bytes) -> None:
        items: dict[str, Any] = {}
        step: int | None = None
        for number, value in fields(message):
            if number == 1 and isinstance(value, bytes):
                key, content = _item(value)
                items[key] = content
            elif number == 2 and isinstance(value, bytes):
                step = next((signed(v) for n, v in fields(value) if isinstance(v, int)), 0)
        logged = items.pop("_step", step)
        t = items.pop("_timestamp", None)
        items.pop("_runtime", None)
        # A program that logs a step of its own means that one; wandb's counts calls.
        at = logged if type(logged) is int else self._auto_step
        self._auto_step = at + 1
        numbers = {
            name: value
            for name, value in items.items()
            if type(value) in (int, float) and abs(value) < 1e300
        }
        if numbers and 0 <= at < 10**12:
            moment = float(t) if type(t) in (int, float) else None
            self._object(numbers, at=at, t=moment)

    def _run(self, message: bytes) -> None:
        for number, value in fields(message):
            if number == 4 and isinstance(value, bytes):  # config
                for inner, content in fields(value):
                    if inner == 1 and isinstance(content, bytes):
                        key, setting = _item(content)
                        if key and isinstance(setting, str | int | float | bool | None):
                            self._settings[key] = _scalar(setting)


def _item(message: bytes) -> tuple[str, Any]:
    """Key and JSON value of a history or config item; nested keys are joined by slashes."""
    key, value = "", None
    nested: list[str] = []
    for number, content in fields(message):
        if not isinstance(content, bytes):
            continue
        if number == 1:
            key = content.decode("utf-8", "replace")
        elif number == 2:
            nested.append(content.decode("utf-8", "replace"))
        elif number == 16:
            try:
                value = json.loads(content)
            except (ValueError, RecursionError):
                value = None
    return (key or "/".join(nested))[:200], value


def _scalar(value: Any) -> Scalar:
    return value[:300] if isinstance(value, str) else value
