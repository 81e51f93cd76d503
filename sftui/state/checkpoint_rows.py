"""The checkpoints in the order in which they are shown, kept as they come.

A run may save a hundred thousand: none of them is sorted again because one more was saved.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, overload

import numpy as np

from sftui.state.checkpoint_columns import Checkpoints, Figures
from sftui.state.records import Checkpoint
from sftui.state.series import Column

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Made(Sequence[Checkpoint]):
    """Records by their place, each made when it is read."""

    @overload
    def __getitem__(self, index: int) -> Checkpoint: ...

    @overload
    def __getitem__(self, index: slice) -> list[Checkpoint]: ...

    def __getitem__(self, index: int | slice) -> Checkpoint | list[Checkpoint]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._at(index % len(self))

    @abstractmethod
    def _at(self, place: int) -> Checkpoint:
        """The record of a place from 0 on that is there."""


class CheckpointRows(_Made):
    """Checkpoints to go on from, whichever trainer saved them, newest first, then what was
    exported, then the start. To be read before the state changes again."""

    def __init__(self, saved: Checkpoints, shelf: Shelf, start: Checkpoint | None) -> None:
        self._saved, self._shelf, self._start = saved, shelf, start

    def __len__(self) -> int:
        shelf = self._shelf
        return shelf.number + len(shelf.others) + (self._start is not None)

    def _at(self, place: int) -> Checkpoint:
        shelf = self._shelf
        if place < shelf.number:
            return self._saved.at(int(shelf.rows.data[shelf.number - 1 - place]))
        place -= shelf.number
        if place < len(shelf.others):
            return self._saved.at(shelf.others[place])
        assert self._start is not None
        return self._start

    @property
    def exported(self) -> frozenset[int]:
        """Steps of which there is an export."""
        return frozenset(map(self._saved.step_at, self._shelf.others))

    def listed(self) -> Listed:
        """All of them now, whatever is saved or removed later."""
        return Listed(self._saved, self._shelf, self._start)

    def listed_steps(self) -> NDArray[np.int64]:
        """Steps of `listed`."""
        rest = [self._saved.step_at(row) for row in self._shelf.others]
        rest += [] if self._start is None else [self._start.step]
        return np.concatenate([self.steps[::-1], np.array(rest, dtype=np.int64)])

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    @property
    def there(self) -> list[Checkpoint]:
        """What was not removed, but the start; the resumable ones rising by step."""
        rows = self._shelf.rows.data[: self._shelf.number][~self.removed].tolist()
        rows += [row for row in self._shelf.others if not self._saved.is_removed(row)]
        return list(self._saved.at_all(rows))

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps of the resumable ones, rising."""
        steps: NDArray[np.int64] = self._shelf.steps.data[: self._shelf.number]
        return steps

    @property
    def removed(self) -> NDArray[np.bool_]:
        """Which of `steps` are not on disk any more."""
        removed: NDArray[np.bool_] = self._shelf.removed.data[: self._shelf.number]
        return removed

    @property
    def kept(self) -> int:
        """How many there are to resume from."""
        return self._shelf.number - int(np.count_nonzero(self.removed))


class Listed(_Made):
    """The rows of a moment; each is made when it is read."""

    def __init__(self, saved: Checkpoints, shelf: Shelf, start: Checkpoint | None) -> None:
        others = np.array(shelf.others, dtype=np.int64)
        self._saved = saved
        self._rows = np.concatenate([shelf.rows.data[: shelf.number][::-1], others])
        self._removed = saved.removed
        self._rest = [] if start is None else [start]

    def __len__(self) -> int:
        return len(self._rows) + len(self._rest)

    def _at(self, place: int) -> Checkpoint:
        if place >= len(self._rows):
            return self._rest[place - len(self._rows)]
        row = int(self._rows[place])
        return self._then(row, self._saved.at(row))

    def __iter__(self) -> Iterator[Checkpoint]:
        rows = self._rows.tolist()
        for row, saved in zip(rows, self._saved.at_all(rows), strict=True):
            yield self._then(row, saved)
        yield from self._rest

    @property
    def figures(self) -> Figures:
        """The numbers of all of them."""
        return self._saved.figures(self._rows) + Figures.of(self._rest)

    @property
    def removed(self) -> NDArray[np.bool_]:
        """Which are not on disk any more."""
        gone = np.frombuffer(self._removed, dtype=np.bool_)[self._rows]
        return np.concatenate([gone, np.array([one.removed for one in self._rest], dtype=np.bool_)])

    def _then(self, row: int, saved: Checkpoint) -> Checkpoint:
        """It, with what was known of its removal."""
        removed = bool(self._removed[row])
        return saved if saved.removed == removed else replace(saved, removed=removed)


class Shelf:
    """What `CheckpointRows` read: rows of the saved checkpoints in order."""

    def __init__(self) -> None:
        self.number = 0
        """How many of the columns are filled."""
        self.rows = Column(np.int64, fill=0)
        """Of the resumable ones, rising by step; of one step, the one saved last comes first."""
        self.steps = Column(np.int64, fill=0)
        self.removed = Column(np.bool_, fill=0)
        """Of `rows`."""
        self.others: list[int] = []
        """Rows of the rest, in the order in which they were saved."""
        self._stale = False

    def __repr__(self) -> str:
        rows = self.rows.data[: self.number].tolist()
        return f"Shelf({rows!r}, {self.others!r})"

    def add(self, saved: Checkpoints, row: int) -> None:
        """One that was not there before."""
        if saved.is_exported(row):
            self.others.append(row)
        elif self.number and saved.step_at(row) <= self.steps.data[self.number - 1]:
            self._stale = True
        else:
            self.number += 1
            for column in (self.rows, self.steps, self.removed):
                column.reserve(self.number)
            self.rows.data[self.number - 1] = row
            self.steps.data[self.number - 1] = saved.step_at(row)
            self.removed.data[self.number - 1] = saved.is_removed(row)

    def change(self, saved: Checkpoints, row: int) -> None:
        """One was removed."""
        place = int(np.searchsorted(self.steps.data[: self.number], saved.step_at(row)))
        if place < self.number and self.rows.data[place] == row:
            self.removed.data[place] = saved.is_removed(row)
        else:
            self._stale = True

    def change_many(self, saved: Checkpoints) -> None:
        """Any number were removed."""
        gone = np.frombuffer(saved.removed, dtype=np.bool_)
        self.removed.data[: self.number] = gone[self.rows.data[: self.number]]

    def forget(self) -> None:
        """One was saved again, and comes last now."""
        self._stale = True

    def ordered(self, saved: Checkpoints) -> Shelf:
        """Itself, in order."""
        if self._stale:
            every = list(saved.rows())
            rows = [row for row in every if not saved.is_exported(row)]
            rows.sort(key=saved.step_at, reverse=True)
            rows.reverse()
            self.others = [row for row in every if saved.is_exported(row)]
            self.number = len(rows)
            for column in (self.rows, self.steps, self.removed):
                column.reserve(self.number)
            self.rows.data[: self.number] = rows
            self.steps.data[: self.number] = list(map(saved.step_at, rows))
            self.removed.data[: self.number] = list(map(saved.is_removed, rows))
            self._stale = False
        return self
