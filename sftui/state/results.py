"""Validations and evaluations as columns: a hundred thousand cost what a hundred cost.

Each kind of result is a mapping from step to record over a `Table` that charts draw
from. A record is made when it is asked for; what a column cannot hold (file names, a
histogram of letters) is kept beside it for the steps that have it.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Generic, TypeVar, overload

import numpy as np

from engine import events as ev
from sftui.state.records import Validation
from sftui.state.series import Doubles, Floats, Series, Table, bounded
from sftui.state.step_columns import Results as Columns

Record = TypeVar("Record")

_MOST_MADE = 1024
_VERSIONS = itertools.count(1)
"""One count for all results, so that equal versions mean the same results of the same run."""


class Results(Mapping[int, Record], Generic[Record]):
    """Results by step, in rising order of steps. Read-only but for whoever owns it."""

    def __init__(self, table: Table) -> None:
        self.table = table
        """x = step, one column a number; float64 where records give the exact value back."""
        self.version = next(_VERSIONS)
        """Another number after every change; equal only for the same, unchanged results."""
        self._made: dict[int, Record] = {}
        """Records of rows that were made lately: a panel asks for the same again and again."""
        self._rewrites = table.rewrites
        """Of the table, when what is remembered of its rows was true."""

    def at(self, index: int) -> Record:
        """The record of a row of `table`; made once while the row does not change."""
        self._follow()
        made = self._made.get(index)
        if made is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            made = self._made[index] = self._make(index)
        return made

    @abstractmethod
    def _make(self, index: int) -> Record:
        """`at`, anew."""

    def _follow(self) -> None:
        """Forget what was remembered of rows that have changed since."""
        if self._rewrites != self.table.rewrites:
            self._rewrites = self.table.rewrites
            self._forget()

    def _forget(self) -> None:
        self._made = {}

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
        return Ordered(self)

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


class Ordered(Sequence[Record]):
    """The records of some results by their place in order of steps."""

    def __init__(self, results: Results[Record]) -> None:
        self._results = results

    @property
    def version(self) -> int:
        """See `Results.version`."""
        return self._results.version

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
    """Validation losses of one set of rows; finite ones no larger than a training loss is kept, so
    that squares and distances of them are finite too."""

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
    def set_name(self) -> str:
        """Of the first that came; empty where the log names none."""
        return self._first.set_name if self._first is not None else ""

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
        loss = bounded(found.loss)
        if loss != found.loss and not math.isnan(loss):
            found = replace(found, loss=loss)
        if self._first is None:
            self._first = found
        self.table.put(found.step, {"loss": found.loss, "seconds": found.seconds, "t": found.t})
        self._kept.pop(found.step, None)
        if not self._in_columns(found):
            self._kept[found.step] = found
        best = self._best
        if best is not None and best[1] == found.step and not found.loss <= best[0]:
            self._find_best()
        elif math.isfinite(found.loss) and (best is None or (found.loss, found.step) < best):
            self._best = (found.loss, found.step)
        self.version = next(_VERSIONS)

    def extend(self, found: Columns, metric: str) -> None:
        """Add many at once; their steps rise and start after the last one."""
        steps, losses = found.steps, found.values
        if self._first is None:
            self._first = Validation(
                step=int(steps[0]), loss=float(losses[0]), metric=metric, seconds=None, t=None
            )
        self.table.extend(steps, {"loss": losses} | _times(found))
        finite = np.flatnonzero(np.isfinite(losses))
        if len(finite):
            i = int(finite[np.argmin(losses[finite])])
            lowest = (float(losses[i]), int(steps[i]))
            self._best = lowest if self._best is None else min(self._best, lowest)
        self.version = next(_VERSIONS)

    def _make(self, index: int) -> Validation:
        table = self.table
        step = int(table.x[index])
        kept = self._kept.get(step)
        if kept is not None:
            return kept
        assert self._first is not None
        loss = table.value("loss", index)
        return replace(
            self._first,
            step=step,
            loss=math.nan if loss is None else loss,
            seconds=table.value("seconds", index),
            t=table.value("t", index),
            rows_file=None,
        )

    def _in_columns(self, found: Validation) -> bool:
        """Whether `at` gives it back from the columns alone."""
        first = self._first
        return (
            found.rows_file is None
            and _fit((found.seconds, found.t))
            and (
                found is first
                or (
                    first is not None
                    and found.metric == first.metric
                    and found.set_name == first.set_name
                    and found.loss_by_source == first.loss_by_source
                )
            )
        )

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
        if not len(self):
            self._first = None  # whatever comes next may be of another metric


_NUMBERS = ("accuracy", "correct", "total", "chance", "one_letter", "seconds")
_COUNTS = ("correct", "total")
_BLANK = ev.EvalFinished(step=0, task="")
_BESIDE = {
    f.name: getattr(_BLANK, f.name)
    for f in fields(_BLANK)
    if f.name not in (*_NUMBERS, "step", "task", "stamp")
}
"""What the columns do not hold, and its value where there is nothing to keep."""
_beside = attrgetter(*_BESIDE)
_NOTHING_BESIDE = tuple(_BESIDE.values())
_numbers = attrgetter(*_NUMBERS)
_who = attrgetter("run", "src", "boot")
"""What stamps of one writer share."""
_CLOCKS = ("t", "m")
_EXACT = 2**53
"""Whole numbers below it come back from a column of float64 ..."""
_EXACT_ATTEMPT = 2**24
"""... and of float32."""


class Evaluations(Results[ev.EvalFinished]):
    """Results of one task: fractions of right answers and, where counts are known, their errors."""

    def __init__(self, task: str) -> None:
        super().__init__(Table(("value", "error", "att"), wide=(*_NUMBERS, *_CLOCKS, "seq")))
        self.task = task
        self._stamp = ev.Stamp()
        """Of all results that the columns hold, but for their times and numbers; the attempt where
        the column `att` has none."""
        self._kept: dict[int, ev.EvalFinished] = {}
        """Those of which the columns cannot hold everything."""
        self._peaks = _Peaks()

    @property
    def top_step(self) -> int:
        """Step of the highest fraction, the first of equals; an unknown one counts as none right.

        Raises IndexError when there are no results.
        """
        self._follow()
        self._peaks.grow(self.value.y, self.error.y)
        return int(self.table.x[self._peaks.top_row])

    @property
    def reach(self) -> tuple[float, float] | None:
        """The lowest and the highest that any fraction reaches with its error; None for none."""
        self._follow()
        self._peaks.grow(self.value.y, self.error.y)
        return (self._peaks.low, self._peaks.high) if self._peaks.low <= self._peaks.high else None

    def _forget(self) -> None:
        super()._forget()
        self._peaks = _Peaks()

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
        stamp = found.stamp
        if not len(self):
            self._stamp = replace(stamp, t=None, m=None, seq=0)
        numbers: dict[str, float | None] = dict(zip(_NUMBERS, _numbers(found), strict=True))
        value, error = _fraction(found), None
        if value is not None and found.total is not None and found.total > 0:
            error = math.sqrt(value * (1.0 - value) / found.total)
        numbers["t"], numbers["m"], numbers["seq"] = stamp.t, stamp.m, stamp.seq or None
        fits = _fit(numbers.values()) and self._in_columns(step, found)
        numbers["value"], numbers["error"] = value, error
        if stamp.att != self._stamp.att:
            numbers["att"] = stamp.att
        self.table.put(step, numbers)
        self._kept.pop(step, None)
        if not fits:
            self._kept[step] = found
        self.version = next(_VERSIONS)

    def _make(self, index: int) -> ev.EvalFinished:
        table = self.table
        step = int(table.x[index])
        kept = self._kept.get(step)
        if kept is not None:
            return kept
        known = {name: table.value(name, index) for name in (*_NUMBERS, *_CLOCKS, "seq")}
        counts = {n: None if (c := known[n]) is None else int(c) for n in _COUNTS}
        return ev.EvalFinished(
            step=step,
            task=self.task,
            stamp=replace(
                self._stamp,
                t=known["t"],
                m=known["m"],
                seq=int(known["seq"] or 0),
                att=self._attempt(index),
            ),
            correct=counts["correct"],
            total=counts["total"],
            accuracy=known["accuracy"],
            chance=known["chance"],
            one_letter=known["one_letter"],
            seconds=known["seconds"],
        )

    def kept_from(self, index: int) -> dict[int, ev.EvalFinished]:
        """Rows from `index` on whose record is kept whole, with it."""
        if not self._kept:
            return {}
        kept, steps = self._kept, self.table.x[index:].tolist()
        return {row: kept[step] for row, step in enumerate(steps, start=index) if step in kept}

    def _attempt(self, index: int) -> int:
        attempt = self.table.value("att", index)
        return self._stamp.att if attempt is None else int(attempt)

    def _in_columns(self, step: int, found: ev.EvalFinished) -> bool:
        """Whether `at` gives it back from the columns alone."""
        stamp, plain = found.stamp, self._stamp
        return (
            found.step == step
            and found.task == self.task
            and _beside(found) == _NOTHING_BESIDE
            and _who(stamp) == _who(plain)
            and (stamp.att == plain.att or 0 <= stamp.att < _EXACT_ATTEMPT)
        )

    def extend(self, found: Columns, stamp: ev.Stamp) -> None:
        """Add many without counts at once; their steps rise and start after the last one."""
        accuracies = found.values
        if not len(self):
            self._stamp = replace(stamp, t=None, m=None, seq=0)
        values = np.where(np.isfinite(accuracies), np.clip(accuracies, 0.0, 1.0), np.nan)
        columns = {"value": values, "accuracy": accuracies} | _times(found)
        if stamp.att != self._stamp.att:
            columns["att"] = np.full(len(values), float(stamp.att))
        if stamp.m is not None:
            columns["m"] = np.full(len(values), stamp.m)
        self.table.extend(found.steps, columns)
        self.version = next(_VERSIONS)

    def _dropped_after(self, step: float) -> None:
        for kept in [s for s in self._kept if s > step]:
            del self._kept[kept]


class _Peaks:
    """Extremes of rows of fractions that only grow: each row is looked at once."""

    __slots__ = ("_seen", "_top", "high", "low", "top_row")

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        """Of the known fractions with their errors, an unknown error taken for none."""
        self.top_row = 0
        self._top = -math.inf
        self._seen = 0

    def grow(self, values: Floats, errors: Floats) -> None:
        """Look at the rows that have come since."""
        values, errors = values[self._seen :], errors[self._seen :]
        if not len(values):
            return
        known = np.nan_to_num(values)
        row = int(np.argmax(known))
        if known[row] > self._top:
            self._top, self.top_row = float(known[row]), self._seen + row
        self._seen += len(values)
        there = ~np.isnan(values)
        if there.any():
            wide, half = values[there].astype(np.float64), np.nan_to_num(errors[there])
            self.low = min(self.low, float((wide - half).min()))
            self.high = max(self.high, float((wide + half).max()))


def _fit(values: Iterable[float | None]) -> bool:
    """Whether columns of float64, in which NaN stands for unknown, give these back."""
    return all(
        value is None or (value == value and (type(value) is float or abs(value) < _EXACT))
        for value in values
    )


def _times(found: Columns) -> dict[str, Doubles]:
    return {} if found.times is None else {"t": found.times}


def _fraction(found: ev.EvalFinished) -> float | None:
    """In [0, 1]: from the counts where they are known, else as the log gave it."""
    value = found.accuracy
    if found.correct is not None and found.total:
        value = found.correct / found.total
    if value is None or not math.isfinite(value):
        return None
    return min(1.0, max(0.0, value))
