"""The saved checkpoints of a run by their paths, as columns: a run may save at every step.

A path is mostly a name with a number in it, `checkpoints/step-000120`: the name is kept once, the
number in a column. A record is made when it is asked for; what the columns cannot give back is
kept beside them.
"""

from __future__ import annotations

import bisect
import math
import re
from array import array
from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sftui.state.records import Checkpoint

_NUMBER = re.compile(r"([0-9]{1,15})([^0-9]*)\Z")
"""The last number of a path, and what comes behind it."""
_UNKNOWN_SIZE = -1
_MOST_SIZE = 2**63
_MOST_WORDS = 256
_PIECE = 1024
"""Rows read at a time, where all are."""
_SINGLY = 3
"""A record that is made by itself takes as long as so many of those that are made together."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of N checkpoints, [N] each, NaN where unknown."""

    losses: NDArray[np.float64]
    told: NDArray[np.bool_]
    """Where a checkpoint has a validation loss of its own, if only NaN."""
    sizes: NDArray[np.float64]
    """Bytes."""
    times: NDArray[np.float64]

    @staticmethod
    def of(saved: Sequence[Checkpoint]) -> Figures:
        """Of records."""
        # An unknown number is NaN in an array of floats.
        return Figures(
            np.array([one.val_loss for one in saved], dtype=np.float64),
            np.array([one.val_loss is not None for one in saved], dtype=np.bool_),
            np.array([one.size_bytes for one in saved], dtype=np.float64),
            np.array([one.t for one in saved], dtype=np.float64),
        )

    def __add__(self, more: Figures) -> Figures:
        names = (field.name for field in fields(self))
        both = ((getattr(self, name), getattr(more, name)) for name in names)
        return Figures(*map(np.concatenate, both))


_Name = tuple[str, int, str]
"""What stands before the number of a path, its digits, and what stands behind it."""


class Checkpoints(Mapping[str, Checkpoint]):
    """By path, in the order in which they were saved; one saved again comes last.

    Each has a row that stays its own until it is saved again. Read-only but for the state.
    """

    def __init__(self) -> None:
        self._names: dict[_Name, int] = {}
        self._name_list: list[_Name] = []
        self._places: list[_Places] = []
        """By name: the rows of its numbers."""
        self._words: dict[str, int] = {}
        self._word_list: list[Any] = []
        """Reasons and kinds, as they came."""
        self._name, self._number = array("i"), array("q")
        self._steps, self._sizes = array("q"), array("q")
        self._reasons, self._kinds = array("B"), array("B")
        self._losses, self._times = array("d"), array("d")
        self._removed = bytearray()
        self._kept: dict[int, Checkpoint] = {}
        """By row, those of which the columns cannot hold everything."""
        self._again: set[int] = set()
        """Rows whose checkpoint was saved again, in a later row."""

    def put(self, saved: Checkpoint) -> tuple[int, bool]:
        """Its row, and whether that path was there before."""
        assert saved.path is not None, "only the start has none"
        row = len(self._steps)
        name, number = self._parted(saved.path)
        before = self._places[name].put(number, row)
        if before is not None:
            self._again.add(before)
        self._name.append(name)
        self._number.append(number)
        self._removed.append(saved.removed)
        if not self._add(saved):
            self._kept[row] = saved
        return row, before is not None

    def remove(self, path: str) -> int | None:
        """Mark one as removed: its row; None for a path that is not there."""
        row = self.row_of(path)
        if row is not None:
            self._removed[row] = True
            if row in self._kept:
                self._kept[row] = replace(self._kept[row], removed=True)
        return row

    def row_of(self, path: str) -> int | None:
        """Where it lies; None for a path that is not there."""
        head, width, tail, number = _cut(path)
        name = self._names.get((head, width, tail))
        return None if name is None else self._places[name].row_of(number)

    def at(self, row: int) -> Checkpoint:
        """The record of a row."""
        return next(self._made(row, row + 1))

    def at_all(self, rows: Sequence[int]) -> Iterator[Checkpoint]:
        """The records of some rows or of all, in the order of `rows`."""
        if len(rows) * _SINGLY < len(self._steps):
            return map(self.at, rows)
        made = list(self._made(0, len(self._steps)))
        return (made[row] for row in rows)

    def rows(self) -> Iterator[int]:
        """All of them, in the order in which they were saved."""
        return (row for row in range(len(self._steps)) if row not in self._again)

    def step_at(self, row: int) -> int:
        """The step of a row."""
        return self._steps[row]

    @property
    def removed(self) -> bytes:
        """Of every row as it is now, 1 for one that was removed."""
        return bytes(self._removed)

    def is_removed(self, row: int) -> bool:
        return bool(self._removed[row])

    def is_exported(self, row: int) -> bool:
        """As `Checkpoint.exported`."""
        if row in self._kept:
            return self._kept[row].exported
        kind, reason = self._word_list[self._kinds[row]], self._word_list[self._reasons[row]]
        return bool(kind == "nanochat" or reason == "export")

    def figures(self, rows: NDArray[np.int64]) -> Figures:
        """The numbers of some rows."""
        losses, sizes = np.array(self._losses), np.array(self._sizes, dtype=np.float64)
        told = ~np.isnan(losses)
        sizes[sizes == _UNKNOWN_SIZE] = np.nan
        for row, saved in self._kept.items():
            told[row] = saved.val_loss is not None
            sizes[row] = math.nan if saved.size_bytes is None else saved.size_bytes
        return Figures(losses[rows], told[rows], sizes[rows], np.array(self._times)[rows])

    def __getitem__(self, path: str) -> Checkpoint:
        row = self.row_of(path)
        if row is None:
            raise KeyError(path)
        return self.at(row)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.row_of(path) is not None

    def __len__(self) -> int:
        return len(self._steps) - len(self._again)

    def __iter__(self) -> Iterator[str]:
        return (saved.path for saved in self._records() if saved.path is not None)

    def values(self) -> ValuesView[Checkpoint]:
        return _Values(self)

    def items(self) -> ItemsView[str, Checkpoint]:
        return _Items(self)

    def __repr__(self) -> str:
        return repr(dict(self.items()))

    def _records(self) -> Iterator[Checkpoint]:
        """All of them, many at a time: a call for each number would take three times as long."""
        for start in range(0, len(self._steps), _PIECE):
            made = self._made(start, min(len(self._steps), start + _PIECE))
            if not self._again:
                yield from made
                continue
            for row, saved in enumerate(made, start):
                if row not in self._again:
                    yield saved

    def _made(self, start: int, stop: int) -> Iterator[Checkpoint]:
        """The records of some rows."""
        part, names, words = slice(start, stop), self._name_list, self._word_list
        for row, name, number, step, size, reason, kind, loss, t, removed in zip(
            range(start, stop),
            self._name[part],
            self._number[part],
            self._steps[part],
            self._sizes[part],
            self._reasons[part],
            self._kinds[part],
            self._losses[part],
            self._times[part],
            self._removed[part],
            strict=True,
        ):
            if row in self._kept:
                yield self._kept[row]
                continue
            head, width, tail = names[name]
            yield Checkpoint(
                step=step,
                path=f"{head}{number:0{width}}{tail}" if width else head,
                size_bytes=None if size == _UNKNOWN_SIZE else size,
                reason=words[reason],
                kind=words[kind],
                val_loss=None if math.isnan(loss) else loss,
                t=None if math.isnan(t) else t,
                removed=bool(removed),
            )

    def _add(self, saved: Checkpoint) -> bool:
        """Fill the columns; whether they give the record back."""
        reason, kind = self._word(saved.reason), self._word(saved.kind)
        size, loss, t = saved.size_bytes, saved.val_loss, saved.t
        holds = size is not None and 0 <= size < _MOST_SIZE
        fits = (
            reason is not None
            and kind is not None
            and (size is None or holds)
            and not (loss is not None and math.isnan(loss))
            and not (t is not None and math.isnan(t))
        )
        self._steps.append(saved.step)
        self._sizes.append(size if size is not None and holds else _UNKNOWN_SIZE)
        self._reasons.append(reason or 0)
        self._kinds.append(kind or 0)
        self._losses.append(math.nan if loss is None else loss)
        self._times.append(math.nan if t is None else t)
        return fits

    def _word(self, word: str) -> int | None:
        """The number of a word; None for one too many."""
        number = self._words.get(word)
        if number is None and len(self._word_list) < _MOST_WORDS:
            number = self._words[word] = len(self._word_list)
            self._word_list.append(word)
        return number

    def _parted(self, path: str) -> tuple[int, int]:
        """The number of its name, and the number in it."""
        head, width, tail, number = _cut(path)
        key = (head, width, tail)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = len(self._name_list)
            self._name_list.append(key)
            self._places.append(_Places())
        return name, number


class _Places:
    """The rows of some numbers."""

    __slots__ = ("_numbers", "_rows")

    def __init__(self) -> None:
        self._numbers, self._rows = array("q"), array("q")
        """Rising, and the row of each."""

    def put(self, number: int, row: int) -> int | None:
        """The row that it had before."""
        numbers = self._numbers
        if not numbers or number > numbers[-1]:
            numbers.append(number)
            self._rows.append(row)
            return None
        place = bisect.bisect_left(numbers, number)
        if numbers[place] == number:
            before, self._rows[place] = self._rows[place], row
            return before
        numbers.insert(place, number)
        self._rows.insert(place, row)
        return None

    def row_of(self, number: int) -> int | None:
        place = bisect.bisect_left(self._numbers, number)
        found = place < len(self._numbers) and self._numbers[place] == number
        return self._rows[place] if found else None


class _Values(ValuesView[Checkpoint]):
    _mapping: Checkpoints

    def __iter__(self) -> Iterator[Checkpoint]:
        return self._mapping._records()


class _Items(ItemsView[str, Checkpoint]):
    _mapping: Checkpoints

    def __iter__(self) -> Iterator[tuple[str, Checkpoint]]:
        return ((saved.path or "", saved) for saved in self._mapping._records())


def _cut(path: str) -> tuple[str, int, str, int]:
    """Name and number of a path: before the number, its digits, behind it, the number."""
    found = _NUMBER.search(path)
    if found is None:
        return path, 0, "", 0
    digits, tail = found.groups()
    return path[: found.start()], len(digits), tail, int(digits)
