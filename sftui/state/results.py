"""Validations and evaluations as columns: a hundred thousand cost what a hundred cost.

Each kind of result is a mapping from step to record over a `Table` that charts draw
from. A record is made when it is asked for; what a column cannot hold (file names, a
histogram of letters) is kept beside it for the steps that have it.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Generic, TypeVar, overload

import numpy as np

from engine import events as ev
from sftui.state.records import Validation
from sftui.state.series import Series, Table

Record = TypeVar("Record")

_VERSIONS = itertools.count(1)
"""One count for all results, so that equal versions mean the same results of the same run."""


class Results(Mapping[int, Record], Generic[Record]):
    """Results by step, in rising order of steps. Read-only but for whoever owns it."""

    def __init__(self, table: Table) -> None:
        self.table = table
        """x = step, one column a number; float64 where records give the exact value back."""
        self.version = next(_VERSIONS)
        """Another number after every change; equal only for the same, unchanged results."""

    @abstractmethod
    def at(self, index: int) -> Record:
        """The record of a row of `table`."""

    @property
    def first_step(self) -> int:
        """The lowest step. Raises IndexError when there are no results."""
        return int(self.table.x[0])

    @property
    def last_step(self) -> int:
        """The highest step. Raises IndexError when there are no results."""
        return int(self.table.x[-1])

    @property
    def ordered(self) -> Sequence[Record]:
        """All records in order of steps, made one by one as they are read."""
        return _Ordered(self)

    def index_of(self, step: float) -> int | None:
        """The row of exactly that step."""
        x = self.table.x
        i = int(np.searchsorted(x, step))
        return i if i < len(x) and x[i] == step else None

    def until(self, step: float) -> Record | None:
        """The newest record at or before a step."""
        count = int(np.searchsorted(self.table.x, step, side="right"))
        return self.at(count - 1) if count else None

    def drop_after(self, step: float) -> None:
        """Forget the results of later steps."""
        if self.table.truncate(math.nextafter(step, math.inf)):
            self._dropped_after(step)
            self.version = next(_VERSIONS)

    def _dropped_after(self, step: float) -> None:
        """The rows are gone: forget what was kept beside them."""

    def __getitem__(self, step: int) -> Record:
        index = self.index_of(step)
        if index is None:
            raise KeyError(step)
        return self.at(index)

    def __iter__(self) -> Iterator[int]:
        return iter(self.table.x.astype(np.int64).tolist())

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, step: object) -> bool:
        return isinstance(step, int | float) and self.index_of(step) is not None

    def __repr__(self) -> str:
        return repr(dict(self.items()))


class _Ordered(Sequence[Record]):
    """The records of some results by their place in order of steps."""

    def __init__(self, results: Results[Record]) -> None:
        self._results = results

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        if isinstance(index, slice):
            return [self._results.at(i) for i in range(*index.indices(len(self)))]
        n = len(self)
        if not -n <= index < n:
            raise IndexError(index)
        return self._results.at(index % n)


class Validations(Results[Validation]):
    """Validation losses of one set of rows."""

    def __init__(self) -> None:
        super().__init__(Table(wide=("loss", "seconds", "t")))
        self._first: Validation | None = None
        """Says the metric of all that `_kept` does not hold."""
        self._kept: dict[int, Validation] = {}
        """Those that name a file or another metric."""
        self._best: tuple[float, int] | None = None

    @property
    def metric(self) -> str:
        """`loss` or `bpb`, of the first that came; empty before it."""
        return self._first.metric if self._first is not None else ""

    @property
    def loss(self) -> Series:
        """The losses over steps."""
        return self.table.series("loss")

    @property
    def best(self) -> Validation | None:
        """The lowest finite loss, the first of equals."""
        return None if self._best is None else self[self._best[1]]

    def put(self, found: Validation) -> None:
        """Add one; it replaces an earlier one of its step."""
        if self._first is None:
            self._first = found
        self.table.put(found.step, {"loss": found.loss, "seconds": found.seconds, "t": found.t})
        self._kept.pop(found.step, None)
        if found != self._made(found.step, found.loss, found.seconds, found.t):
            self._kept[found.step] = found
        best = self._best
        if best is not None and best[1] == found.step and not found.loss <= best[0]:
            self._find_best()
        elif math.isfinite(found.loss) and (best is None or (found.loss, found.step) < best):
            self._best = (found.loss, found.step)
        self.version = next(_VERSIONS)

    def at(self, index: int) -> Validation:
        """See `Results.at`."""
        table = self.table
        step = int(table.x[index])
        kept = self._kept.get(step)
        if kept is not None:
            return kept
        seconds, t = float(table.column("seconds")[index]), float(table.column("t")[index])
        return self._made(
            step,
            float(table.column("loss")[index]),
            None if math.isnan(seconds) else seconds,
            None if math.isnan(t) else t,
        )

    def _made(self, step: int, loss: float, seconds: float | None, t: float | None) -> Validation:
        """The record as the columns alone give it back."""
        assert self._first is not None
        return replace(self._first, step=step, loss=loss, seconds=seconds, t=t, rows_file=None)

    def _find_best(self) -> None:
        losses = self.table.column("loss")
        finite = np.flatnonzero(np.isfinite(losses))
        self._best = None
        if len(finite):
            index = int(finite[np.argmin(losses[finite])])
            self._best = (float(losses[index]), int(self.table.x[index]))

    def _dropped_after(self, step: float) -> None:
        for kept in [s for s in self._kept if s > step]:
            del self._kept[kept]
        if self._best is not None and self._best[1] > step:
            self._find_best()


_NUMBERS = ("accuracy", "correct", "total", "chance", "one_letter", "seconds")
_COUNTS = ("correct", "total")


class Evaluations(Results[ev.EvalFinished]):
    """Results of one task: fractions of right answers and, where counts are known, their errors."""

    def __init__(self, task: str) -> None:
        super().__init__(Table(("value", "error"), wide=(*_NUMBERS, "t")))
        self.task = task
        self._stamp = ev.Stamp()
        """Of all results that the columns hold, but for the time."""
        self._kept: dict[int, ev.EvalFinished] = {}
        """Those of which the columns cannot hold everything."""

    @property
    def value(self) -> Series:
        """Fraction of right answers over steps."""
        return self.table.series("value")

    @property
    def error(self) -> Series:
        """Standard error of `value`, sqrt(p (1 - p) / n); NaN where n is not known."""
        return self.table.series("error")

    def put(self, step: int, found: ev.EvalFinished) -> None:
        """Add one; it replaces an earlier one of its step."""
        plain = replace(found.stamp, t=None)
        if not len(self) and not plain.seq:
            self._stamp = plain
        numbers: dict[str, float | None] = {name: getattr(found, name) for name in _NUMBERS}
        value, error = _fraction(found), None
        if value is not None and found.total is not None and found.total > 0:
            error = math.sqrt(value * (1.0 - value) / found.total)
        numbers |= {"value": value, "error": error, "t": found.stamp.t}
        self.table.put(step, numbers)
        self._kept.pop(step, None)
        index = self.index_of(step)
        assert index is not None
        if self.at(index) != found:
            self._kept[step] = found
        self.version = next(_VERSIONS)

    def at(self, index: int) -> ev.EvalFinished:
        """See `Results.at`."""
        table = self.table
        step = int(table.x[index])
        kept = self._kept.get(step)
        if kept is not None:
            return kept
        row = {name: float(table.column(name)[index]) for name in (*_NUMBERS, "t")}
        known = {name: None if math.isnan(value) else value for name, value in row.items()}
        counts = {n: None if (c := known[n]) is None else int(c) for n in _COUNTS}
        return ev.EvalFinished(
            step=step,
            task=self.task,
            stamp=replace(self._stamp, t=known["t"]),
            correct=counts["correct"],
            total=counts["total"],
            accuracy=known["accuracy"],
            chance=known["chance"],
            one_letter=known["one_letter"],
            seconds=known["seconds"],
        )

    def _dropped_after(self, step: float) -> None:
        for kept in [s for s in self._kept if s > step]:
            del self._kept[kept]


def _fraction(found: ev.EvalFinished) -> float | None:
    """In [0, 1]: from the counts where they are known, else as the log gave it."""
    value = found.accuracy
    if found.correct is not None and found.total:
        value = found.correct / found.total
    if value is None or not math.isfinite(value):
        return None
    return min(1.0, max(0.0, value))
