"""Read wandb's offline `.wandb` files: the history rows, the config, the exit code."""

from __future__ import annotations

import json
from typing import Any, ClassVar, TypeGuard

from engine.events import RunFinished, Scalar
from sftui.readers.protobuf import ProtobufError, fields, signed
from sftui.readers.record_files import RecordFileReader

# Numbers of `wandb_internal.Record`'s fields.
_HISTORY, _RUN, _EXIT = 2, 17, 18


class WandbReader(RecordFileReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "wandb"
    words: ClassVar[str] = "wandb offline run"
    magic: ClassVar[bytes] = b":W&B"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._auto_step = 0

    def _record(self, record: bytes) -> bool:
        try:
            self._message(record)
        except ProtobufError:
            return False
        return True

    def _message(self, record: bytes) -> None:
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
                        updates=self._reached(),
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
        runtime = items.pop("_runtime", None)
        if self._began is None and _is_time(t) and _is_time(runtime):
            # What the run took counts from here, and not from its first row.
            self._began = t - runtime
        # A program that logs a step of its own means that one; wandb's counts calls.
        at = logged if type(logged) is int else self._auto_step
        self._auto_step = at + 1
        numbers = {
            name: value
            for name, value in items.items()
            if type(value) in (int, float) and abs(value) < 1e300
        }
        if numbers and 0 <= at < 10**12:
            self._object(numbers, at=at, t=float(t) if _is_time(t) else None)

    def _run(self, message: bytes) -> None:
        for number, value in fields(message):
            if number == 4 and isinstance(value, bytes):  # config
                for inner, content in fields(value):
                    if inner == 1 and isinstance(content, bytes):
                        key, setting = _item(content)
                        if key and isinstance(setting, str | int | float | bool | None):
                            self._settings[key] = _scalar(setting)


def _is_time(value: object) -> TypeGuard[int | float]:
    return type(value) in (int, float)


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
