"""Read wandb's offline `.wandb` files: the history rows, the config, the exit code.

A row of history is a list of items, each a key and a number as JSON text, in any order. Rows
with the keys of the row before them, whose values are all plain numbers, are cut by one regular
expression and converted together; any other row is read field by field.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeGuard

from engine.events import Event, RunFinished, Scalar
from engine.files import checked
from sftui.readers.protobuf import ProtobufError, fields, signed
from sftui.readers.record_files import RecordFileReader

# Numbers of `wandb_internal.Record`'s fields.
_HISTORY, _RUN, _EXIT = 2, 17, 18

_ITEM = re.compile(
    # Item and its length, a byte; key or nested keys, which are part of it; the value, its
    # length, and a number in JSON.
    rb"\n[\x00-\x7f]([\n\x12][^\x82]{0,125})\x82\x01[\x00-\x7f]"
    rb"(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)(?=\n|\x12[\x00-\x7f]\x08|\Z)"
)
_AROUND = 5
"""Bytes of an item beside its key and value."""
_MOST = 1e300
"""Numbers of rows are smaller."""
_STEP_DIGITS = 13
"""Steps have fewer."""
_STEP, _TIME, _RUNTIME = "_step", "_timestamp", "_runtime"
_SUMMARY = frozenset({"train_runtime"})


class _Alike(NamedTuple):
    """Rows of the same keys."""

    keys: int
    """How many there are."""
    cells: Callable[[dict[bytes, bytes]], tuple[bytes, ...]]
    """The values in order of `names`; raises KeyError for a row of other keys."""
    names: tuple[str, ...]
    """Sorted, as all rows are; step and time among them."""


class WandbReader(RecordFileReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "wandb"
    words: ClassVar[str] = "wandb offline run"
    magic: ClassVar[bytes] = b":W&B"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._auto_step = 0
        self._alike: _Alike | None = None
        self._cells: list[tuple[bytes, ...]] = []
        """Of rows that are like the one before."""

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
                self._row_of_history(value)
            elif number == _RUN:
                self._flush_alike()
                self._run(value)
            elif number == _EXIT:
                self._flush_alike()
                if not self._running:
                    continue
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

    # ---- rows that are alike -----------------------------------------------------------------

    def _row_of_history(self, message: bytes) -> None:
        """Keep a row that is like the one before; read any other."""
        found = _ITEM.findall(message)
        values = dict(found)
        taken = sum(map(len, values)) + sum(map(len, values.values())) + _AROUND * len(found)
        rest = message[taken:]
        counted = not rest or (rest[0] == 0x12 and rest[1:2] == bytes([len(rest) - 2]))
        if not counted or len(values) != len(found):  # there is more than numbers and a step
            self._flush_alike()
            self._history(message)
            return
        alike = self._alike
        if alike is not None and alike.keys == len(values):
            try:
                self._cells.append(alike.cells(values))
            except KeyError:
                pass
            else:
                return
        self._flush_alike()
        self._history(message)
        self._alike = _alike(values)

    def _flush_alike(self) -> None:
        """Give the rows that are alike."""
        rows, self._cells = self._cells, []
        alike = self._alike
        if alike is None or not rows:
            return
        texts = dict(zip(alike.names, zip(*rows, strict=True), strict=True))
        numbers = {name: list(map(float, column)) for name, column in texts.items()}
        numbers.pop(_RUNTIME, None)
        times = numbers.pop(_TIME, [])
        del numbers[_STEP]
        small = all(min(column) > -_MOST and max(column) < _MOST for column in numbers.values())
        counts = b"".join(texts[_STEP]).isdigit() and max(map(len, texts[_STEP])) < _STEP_DIGITS
        if not small or not counts:
            for row in rows:  # each to be looked at
                self._history_of(
                    dict(zip(alike.names, map(checked.parse_json, row), strict=True)), None
                )
            return
        steps = list(map(int, texts[_STEP]))
        self._auto_step = steps[-1] + 1
        self._objects(numbers, steps, times)

    def _drain(self) -> list[Event]:
        self._flush_alike()
        return super()._drain()

    # ---- any row -----------------------------------------------------------------------------

    def _history(self, message: bytes) -> None:
        items: dict[str, Any] = {}
        step: int | None = None
        for number, value in fields(message):
            if number == 1 and isinstance(value, bytes):
                key, content = _item(value)
                items[key] = content
            elif number == 2 and isinstance(value, bytes):
                step = next((signed(v) for n, v in fields(value) if isinstance(v, int)), 0)
        self._history_of(items, step)

    def _history_of(self, items: dict[str, Any], step: int | None) -> None:
        """A row; `step` is wandb's own count, where the row has it."""
        logged = items.pop(_STEP, step)
        t = items.pop(_TIME, None)
        runtime = items.pop(_RUNTIME, None)
        if self._began is None and _is_time(t) and _is_time(runtime):
            # What the run took counts from here, and not from its first row.
            self._began = t - runtime
        # A program that logs a step of its own means that one; wandb's counts calls.
        at = logged if type(logged) is int else self._auto_step
        self._auto_step = at + 1
        numbers = {
            name: value
            for name, value in sorted(items.items())
            if type(value) in (int, float) and abs(value) < _MOST
        }
        if numbers and 0 <= at < 10 ** (_STEP_DIGITS - 1):
            self._object(numbers, at=at, t=float(t) if _is_time(t) else None)

    def _run(self, message: bytes) -> None:
        for number, value in fields(message):
            if number == 4 and isinstance(value, bytes):  # config
                for inner, content in fields(value):
                    if inner == 1 and isinstance(content, bytes):
                        key, setting = _item(content)
                        if key and isinstance(setting, str | int | float | bool | None):
                            self._settings[key] = _scalar(setting)


def _alike(values: dict[bytes, bytes]) -> _Alike | None:
    """What rows with these keys are; None where they are not to be taken together."""
    keys = {}
    try:
        for key in values:
            name, _ = _item(key)
            keys[name] = key
    except ProtobufError:
        return None
    names = tuple(sorted(keys))
    numbers = len(names) - len({_STEP, _TIME, _RUNTIME} & keys.keys())
    if len(keys) < len(values) or _STEP not in keys or not numbers or _SUMMARY & keys.keys():
        return None
    return _Alike(len(names), operator.itemgetter(*(keys[name] for name in names)), names)


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
                value = checked.parse_json(content)
            except ValueError:
                value = None
    return (key or "/".join(nested))[:200], value


def _scalar(value: Any) -> Scalar:
    return value[:300] if isinstance(value, str) else value
