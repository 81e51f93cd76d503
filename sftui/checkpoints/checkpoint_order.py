"""The rows of the checkpoint browser in the order that a person chose.

A run may have a hundred thousand checkpoints: a row is made when it is shown, and an order is one
column of numbers that numpy sorts. What is not known stands last, whichever way the others go.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from engine.checkpoints.checkpoint_dir import CheckpointInfo
from sftui.checkpoints.checkpoint_row import CheckpointRow
from sftui.state.checkpoint_columns import Figures
from sftui.state.checkpoint_rows import Listed
from sftui.state.records import Checkpoint
from sftui.state.results import Results
from sftui.state.run_state import RunState

SAVED, VAL, SIZE, AGE = "checkpoint", "val", "size", "age"
"""Names of the columns beside those of the tasks, which have the tasks' own names."""


@dataclass(frozen=True, slots=True)
class Order:
    """Which column the rows stand by, and which way."""

    column: str = SAVED
    turned: bool = False
    """The other way round than one looks for first."""

    def by(self, column: str) -> Order:
        """By this column; the other way round where it is this one already."""
        return Order(column, not self.turned if column == self.column else False)

    @property
    def rises(self) -> bool:
        """Whether the lowest number stands first: of losses the lowest is looked for, and of ages;
        of steps, accuracies and sizes the highest."""
        return (self.column in (VAL, AGE)) != self.turned


class Rows(Sequence[CheckpointRow]):
    """Rows by their place, each made when it is read. What they show is of one moment."""

    def __init__(
        self,
        known: Sequence[Checkpoint],
        disk: Mapping[int, CheckpointInfo],
        best: int | None,
        exported: Set[int] = frozenset(),
        steps: NDArray[np.int64] | None = None,
    ) -> None:
        """
        Args:
            known: newest first, then exports, then the start.
            disk: by step, what lies on disk.
            best: step of the lowest validation loss.
            exported: steps of which there is an export.
            steps: [N] of `known`, where somebody has them.
        """
        self.known, self.disk = known, disk
        self._best, self._exported = best, exported
        self._order: NDArray[np.intp] | None = None
        if steps is None:
            steps = np.array([c.step for c in known], dtype=np.int64)
        self.steps = steps
        """In the order of `known`."""
        # Nearly in order already, which sorting is fast at; `np.unique` takes ten times as long.
        rising = np.sort(steps[::-1])
        self.measured = min(1, len(steps)) + int(np.count_nonzero(rising[1:] != rising[:-1]))
        """How many different weights there are to choose from."""

    def place_of(self, wanted: Checkpoint) -> int | None:
        """Where a checkpoint stands now; None where it is not there any more."""
        found = [i for i in np.flatnonzero(self.steps == wanted.step).tolist()
                 if self.known[i].path == wanted.path]  # fmt: skip
        return self._place(found[0]) if found else None

    def place_of_step(self, step: int) -> int | None:
        """Where the first checkpoint of that step stands, one to go on from if there is one."""
        found = np.flatnonzero(self.steps == step)
        return self._place(int(found[0])) if len(found) else None

    def _place(self, index: int) -> int:
        return index if self._order is None else int(np.flatnonzero(self._order == index)[0])

    def ordered(self, order: NDArray[np.intp] | None) -> Rows:
        """The same rows in another order: places in `known`, None for its own."""
        rows = copy.copy(self)
        rows._order = order
        return rows

    def __len__(self) -> int:
        return len(self.known)

    @overload
    def __getitem__(self, index: int) -> CheckpointRow: ...

    @overload
    def __getitem__(self, index: slice) -> list[CheckpointRow]: ...

    def __getitem__(self, index: int | slice) -> CheckpointRow | list[CheckpointRow]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        place = index % len(self)
        return self._row(place if self._order is None else int(self._order[place]))

    def _row(self, i: int) -> CheckpointRow:
        known = self.known[i]
        own = known.kind == "sftui"
        # Of several of one step, saved by two attempts, the newest is what lies on disk.
        newest = not i or self.known[i - 1].step != known.step or self.known[i - 1].kind != "sftui"
        info = self.disk.get(known.step) if own and newest else None
        return CheckpointRow(
            known=known,
            info=info,
            best=self._best == known.step and not known.exported,
            marked=info is not None and info.marked,
            exported=own and known.step in self._exported,
        )


def ordered(rows: Rows, state: RunState, order: Order) -> Rows:
    """The rows by a column: its numbers, equal ones as they were, unknown ones last."""
    if order == Order():
        return rows.ordered(None)
    numbers = _numbers(rows, state, order.column)
    if not order.rises:
        numbers = -numbers
    return rows.ordered(np.argsort(numbers, kind="stable"))


def columns(state: RunState) -> list[str]:
    """Names of the columns to order by, from left to right."""
    return [SAVED, VAL, *state.evals, SIZE, AGE]


def _numbers(rows: Rows, state: RunState, column: str) -> NDArray[np.float64]:
    """[N] of a column in the order of `rows.known`; NaN where unknown."""
    if column == SAVED:
        return rows.steps.astype(np.float64)
    if column == VAL:
        found = _figures(rows)
        measured = _at(state.validations, "loss", rows.steps)
        return _finite(np.where(found.told, found.losses, measured))
    if column == SIZE:
        sizes = _figures(rows).sizes
        sizes[_removed(rows)] = np.nan
        for i in np.flatnonzero(np.isin(rows.steps, list(rows.disk))).tolist():
            info = rows._row(i).info
            sizes[i] = sizes[i] if info is None else info.size_bytes
        return sizes
    if column == AGE:
        # The oldest has the lowest time.
        return -_finite(_figures(rows).times)
    results = state.evals.get(column)
    return np.full(len(rows), np.nan) if results is None else _at(results, "value", rows.steps)


def _figures(rows: Rows) -> Figures:
    return rows.known.figures if isinstance(rows.known, Listed) else Figures.of(rows.known)


def _removed(rows: Rows) -> NDArray[np.bool_]:
    if isinstance(rows.known, Listed):
        return rows.known.removed
    return np.array([c.removed for c in rows.known], dtype=np.bool_)


def _finite(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _at(found: Results[Any], column: str, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """What was measured at exactly these steps."""
    x, values = found.table.x, np.asarray(found.table.column(column), dtype=np.float64)
    if not len(x):
        return np.full(len(steps), np.nan)
    at = np.minimum(np.searchsorted(x, steps), len(x) - 1)
    return _finite(np.where(x[at] == steps, values[at], np.nan))
