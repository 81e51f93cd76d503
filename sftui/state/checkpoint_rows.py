"""The checkpoints in the order in which they are shown, kept as they come.

A run may save a hundred thousand: none of them is sorted again because one more was saved.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, overload

import numpy as np

from sftui.state.records import Checkpoint
from sftui.state.series import Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

_step = attrgetter("step")


class CheckpointRows(Sequence[Checkpoint]):
    """Checkpoints to go on from, whichever trainer saved them, newest first, then what was
    exported, then the start. To be read before the state changes again."""

    def __init__(self, shelf: Shelf, start: Checkpoint | None) -> None:
        self._shelf = shelf
        self._rest = [*shelf.others, start] if start is not None else shelf.others

    def __len__(self) -> int:
        return len(self._shelf.resumable) + len(self._rest)

    @overload
    def __getitem__(self, index: int) -> Checkpoint: ...

    @overload
    def __getitem__(self, index: slice) -> list[Checkpoint]: ...

    def __getitem__(self, index: int | slice) -> Checkpoint | list[Checkpoint]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        resumable = self._shelf.resumable
        place = index % len(self)
        if place < len(resumable):
            return resumable[len(resumable) - 1 - place]
        return self._rest[place - len(resumable)]

    @property
    def exported(self) -> frozenset[int]:
        """Steps of which there is an export."""
        return frozenset(one.step for one in self._shelf.others)

    def listed(self) -> list[Checkpoint]:
        """All of them now, whatever is saved later."""
        return [*reversed(self._shelf.resumable), *self._rest]

    def listed_steps(self) -> NDArray[np.int64]:
        """Steps of `listed`."""
        rest = [one.step for one in self._rest]
        return np.concatenate([self.steps[::-1], np.array(rest, dtype=np.int64)])

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    @property
    def there(self) -> list[Checkpoint]:
        """What was not removed, but the start; the resumable ones rising by step."""
        resumable = self._shelf.resumable
        kept = [resumable[place] for place in np.flatnonzero(~self.removed).tolist()]
        return kept + [one for one in self._shelf.others if not one.removed]

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps of the resumable ones, rising."""
        steps: NDArray[np.int64] = self._shelf.steps.data[: len(self._shelf.resumable)]
        return steps

    @property
    def removed(self) -> NDArray[np.bool_]:
        """Which of `steps` are not on disk any more."""
        removed: NDArray[np.bool_] = self._shelf.removed.data[: len(self._shelf.resumable)]
        return removed

    @property
    def kept(self) -> int:
        """How many there are to resume from."""
        return len(self._shelf.resumable) - int(np.count_nonzero(self.removed))


class Shelf:
    """What `CheckpointRows` read."""

    def __init__(self) -> None:
        self.resumable: list[Checkpoint] = []
        """Rising by step; of one step, the one saved last comes first."""
        self.others: list[Checkpoint] = []
        """In the order in which they were saved."""
        self.steps = Column(np.int64, fill=0)
        self.removed = Column(np.bool_, fill=0)
        self._stale = False

    def __repr__(self) -> str:
        return f"Shelf({self.resumable!r}, {self.others!r})"

    def add(self, saved: Checkpoint) -> None:
        """One that was not there before."""
        if saved.exported:
            self.others.append(saved)
        elif self.resumable and saved.step <= self.resumable[-1].step:
            self._stale = True
        else:
            self.resumable.append(saved)
            self._put(len(self.resumable) - 1, saved)

    def change(self, before: Checkpoint, after: Checkpoint) -> None:
        """One was removed."""
        place = bisect.bisect_left(self.resumable, before.step, key=_step)
        if place < len(self.resumable) and self.resumable[place] is before:
            self.resumable[place] = after
            self._put(place, after)
        else:
            self._stale = True

    def forget(self) -> None:
        """One was saved again, and comes last now; or so many changed that all are looked at."""
        self._stale = True

    def ordered(self, saved: Iterable[Checkpoint]) -> Shelf:
        """Itself, in order; `saved`: all of them in the order in which they were saved."""
        if self._stale:
            every = list(saved)
            self.resumable = [one for one in every if not one.exported]
            self.resumable.sort(key=_step, reverse=True)
            self.resumable.reverse()
            self.others = [one for one in every if one.exported]
            number = len(self.resumable)
            for column in (self.steps, self.removed):
                column.reserve(number)
            self.steps.data[:number] = [one.step for one in self.resumable]
            self.removed.data[:number] = [one.removed for one in self.resumable]
            self._stale = False
        return self

    def _put(self, place: int, saved: Checkpoint) -> None:
        for column in (self.steps, self.removed):
            column.reserve(place + 1)
        self.steps.data[place], self.removed.data[place] = saved.step, saved.removed
