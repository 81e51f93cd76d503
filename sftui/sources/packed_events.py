"""A growing list of events that takes a twentieth of their memory, and gives each back as it came.

A run may measure and save at every step: three hundred thousand events, each an object with a
stamp of its own, are 250 MB. Events of one shape (the same kind, the same types in its fields, the
same keys in its tables) differ in numbers and in texts: of a block of them a column of packed
numbers is kept, one compressed text, and once whatever is the same in all. What fits no column
stays as it is. The newest are not packed, because they are asked for as they come.
"""

from __future__ import annotations

import zlib
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

import numpy as np

from engine import events as ev
from sftui.sources.packed_numbers import Block, packed

BLOCK = 1024
"""Events packed, and unpacked, at a time: two milliseconds."""
NEWEST = 4 * BLOCK
"""So many are not packed: what a reader adds between two looks of a screen."""
_FEW = 16
"""Of one shape, so few of a block are kept as they are."""

_STAMP = tuple(field.name for field in fields(ev.Stamp))
_SEPARATOR = "\0"
_HALVES = "surrogatepass"
"""Half a character is written too: JSON can name one."""

Shape = tuple[Any, ...]
"""The kind of an event, then the shape of each of its values: a type, or keys and types."""
Column = Callable[[], Sequence[Any]]
"""Gives the values of one field, in order."""
_Setter = Callable[[Any, Any], None]


class PackedEvents:
    """Like a list of events, for `append`, `len` and an index from 0 on."""

    __slots__ = ("_blocks", "_newest", "_unpacked", "_unpacked_number")

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._newest: list[ev.Event] = []
        # The block that was asked for last: whoever asks for one event asks for the next.
        self._unpacked: list[ev.Event] = []
        self._unpacked_number = -1

    def __len__(self) -> int:
        return len(self._blocks) * BLOCK + len(self._newest)

    def append(self, event: ev.Event) -> None:
        self._newest.append(event)
        if len(self._newest) >= NEWEST + BLOCK:
            self._blocks.append(_Block(self._newest[:BLOCK]))
            del self._newest[:BLOCK]

    def __getitem__(self, index: int) -> ev.Event:
        """Raises IndexError for one that is not there."""
        if index < 0:
            raise IndexError(index)
        number, place = divmod(index, BLOCK)
        if number >= len(self._blocks):
            return self._newest[index - len(self._blocks) * BLOCK]
        if number != self._unpacked_number:
            self._unpacked = self._blocks[number].events()
            self._unpacked_number = number
        return self._unpacked[place]

    def __iter__(self) -> Iterator[ev.Event]:
        return (self[index] for index in range(len(self)))


class _Block:
    """Some events, by their shapes."""

    __slots__ = ("_groups", "_which")

    def __init__(self, events: list[ev.Event]) -> None:
        found: dict[Shape, tuple[list[ev.Event], list[tuple[Any, ...]]]] = {}
        numbers: dict[Shape, int] = {}
        which = array("H")
        for event in events:
            kind = type(event)
            values = _fields_of(kind).read(event)
            shape = (kind, *map(_shape, values))
            alike, rows = found.setdefault(shape, ([], []))
            alike.append(event)
            rows.append(values)
            which.append(numbers.setdefault(shape, len(numbers)))
        self._which = which
        """The group of each event."""
        self._groups = [
            _Group(shape, rows) if len(rows) > _FEW else alike
            for shape, (alike, rows) in found.items()
        ]

    def events(self) -> list[ev.Event]:
        """All of them, made anew."""
        made = [
            iter(group.events() if isinstance(group, _Group) else group) for group in self._groups
        ]
        return [next(made[number]) for number in self._which]


class _Group:
    """Events of one shape as columns."""

    __slots__ = ("_columns", "_kind", "_number")

    def __init__(self, shape: Shape, rows: list[tuple[Any, ...]]) -> None:
        self._kind: type[ev.Event] = shape[0]
        self._number = len(rows)
        columns = zip(*rows, strict=True)
        self._columns = [
            _column(form, values) for form, values in zip(shape[1:], columns, strict=True)
        ]

    def events(self) -> list[ev.Event]:
        """All of them, made anew."""
        kind, number = self._kind, self._number
        made = [kind.__new__(kind) for _ in range(number)]
        stamps = [ev.Stamp.__new__(ev.Stamp) for _ in range(number)]
        slots, columns = _fields_of(kind), iter(self._columns)
        # Field by field, because a call for each event and field takes three times as long.
        for setter in slots.of_stamp:
            deque(map(setter, stamps, next(columns)()), maxlen=0)
        for setter in slots.own:
            deque(map(setter, made, next(columns)()), maxlen=0)
        deque(map(_set_stamp, made, stamps), maxlen=0)
        return made


class _Fields:
    """How the values of one kind of events are read and written: those of its stamp, then its
    own. They are written into the slots, which know nothing of an event being frozen."""

    __slots__ = ("of_stamp", "own", "read")

    def __init__(self, kind: type[ev.Event]) -> None:
        names = [field.name for field in fields(kind) if field.name != "stamp"]
        self.read = attrgetter(*(f"stamp.{name}" for name in _STAMP), *names)
        self.own: list[_Setter] = [getattr(kind, name).__set__ for name in names]
        self.of_stamp: list[_Setter] = [getattr(ev.Stamp, name).__set__ for name in _STAMP]


_FIELDS: dict[type[ev.Event], _Fields] = {}


def _fields_of(kind: type[ev.Event]) -> _Fields:
    known = _FIELDS.get(kind)
    if known is None:
        known = _FIELDS[kind] = _Fields(kind)
    return known


_set_stamp: _Setter = getattr(ev.Event, "stamp").__set__  # noqa: B009


def _shape(value: object) -> Any:
    kind = type(value)
    if kind is dict:
        assert isinstance(value, dict)
        # The keys by their types, because 1, 1.0 and True are one key.
        return tuple(value), tuple(map(type, value)), tuple(map(type, value.values()))
    return kind


def _column(form: Any, values: Sequence[Any]) -> Column:
    """Values of one shape, as small as they can be had."""
    if isinstance(form, tuple):
        return _tables(form, values)
    first = values[0]
    if form is str or form is int:
        if all(value == first for value in values):
            return _same(first, len(values))
        return _texts(values) if form is str else _numbers(values, np.int64)
    if form is float:
        return _numbers(values, np.float64)
    if all(value is first for value in values):
        return _same(first, len(values))
    return lambda: values


def _same(value: Any, number: int) -> Column:
    return lambda: [value] * number


def _numbers(values: Sequence[Any], dtype: type[np.generic]) -> Column:
    try:
        block: Block = packed(np.array(values, dtype=dtype))
    except OverflowError:
        return lambda: values
    number = len(values)
    return lambda: block.unpacked("q" if dtype is np.int64 else "d", 0, number).tolist()


def _texts(values: Sequence[str]) -> Column:
    if any(_SEPARATOR in value for value in values):
        return lambda: values
    together = zlib.compress(_SEPARATOR.join(values).encode("utf-8", _HALVES), 1)
    return lambda: zlib.decompress(together).decode("utf-8", _HALVES).split(_SEPARATOR)


def _tables(form: tuple[Any, ...], values: Sequence[dict[Any, Any]]) -> Column:
    keys, _, kinds = form
    if not keys:
        return _same(values[0], len(values))
    rows = zip(*(value.values() for value in values), strict=True)
    columns = [_column(kind, row) for kind, row in zip(kinds, rows, strict=True)]

    def tables() -> Sequence[Any]:
        return [
            dict(zip(keys, row, strict=True))
            for row in zip(*(column() for column in columns), strict=True)
        ]

    return tables
