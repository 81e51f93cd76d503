"""The evaluations of one task as columns, each judged against the first and the one before.

They grow with the task: a new evaluation is compared once, and nothing that was compared before is
looked at again. Those of which counts alone are known are compared in columns, however many come
at once; those whose answers are known item by item one by one.
"""

# K evaluations of a task, W = K - 3 windows of four consecutive ones.

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import events as ev
from sftui.state.results import Evaluations
from sftui.state.series import Column
from sftui.statistics.families import Differences, Floats, Rows, row_of
from sftui.statistics.monotone import MonotoneFit
from sftui.statistics.paired_tests import (
    Comparison,
    Evaluation,
    compare_evaluations,
    compare_gold,
    p_normal,
    why_not_paired,
)
from sftui.statistics.run_scatter import Curve, explained_by, row_share
from sftui.statistics.scatter import FEWEST, WEIGHTS

Found = Mapping[int, ev.EvalFinished]

RETRIED = 8
"""Newest evaluations whose file of items is looked for again where it could not be read."""


class TaskRows:
    """See the module; rows are only ever added."""

    def __init__(
        self,
        found: Found,
        known: Callable[[ev.EvalFinished], Evaluation],
        base: Evaluation | None = None,
    ) -> None:
        """
        Args:
            known: what is known of a result, with its items.
            base: an accuracy from elsewhere that all are compared with as well.
        """
        self.found, self._known, self.baseline = found, known, base
        self._rewrites = found.table.rewrites if isinstance(found, Evaluations) else -1
        self.length = 0
        self._steps = Column(np.int64, fill=0)
        self._values, self._totals, self._corrects, self._explained = (
            Column(np.float64) for _ in range(4)
        )
        self._tops = Column(np.int64, fill=0)
        """Row of the best evaluation up to each row."""
        self._records: dict[int, ev.EvalFinished] = {}
        """Of rows of which more than counts is known."""
        self.items: dict[int, Evaluation] = {}
        """Of rows whose answers are known."""
        self.counted = False
        """Whether there is anything that a difference can be judged by."""
        self.start, self.previous = Differences(), Differences()
        self.base = Differences() if base is not None else None
        self._fit = MonotoneFit()
        self.gold = GoldRows()
        self.grow()

    # ---- what is there -----------------------------------------------------------------------

    @property
    def steps(self) -> NDArray[np.int64]:
        steps: NDArray[np.int64] = self._steps.data[: self.length]
        return steps

    @property
    def values(self) -> Floats:
        """Accuracies, NaN where unknown."""
        return self._values.data[: self.length]

    @property
    def tops(self) -> NDArray[np.int64]:
        """[K] the row of the best evaluation up to each; the first of equals."""
        tops: NDArray[np.int64] = self._tops.data[: self.length]
        return tops

    def curve(self) -> Curve:
        """All of them, to tell their scatter."""
        windows = max(0, self.length - FEWEST + 1)
        explained = self._explained.data[:windows] if self.counted else np.zeros(windows)
        return Curve(values=self.values, explained=explained, fit=self._fit.rest)

    def rows(self) -> Rows:
        """All of them, to be judged; later growth leaves what this holds as it is."""
        curve = self.curve()
        return Rows(
            self.steps, self.start, self.previous, curve, self.length, curve.scatter(), self.base
        )

    @property
    def compared(self) -> int:
        """How many differences to the first and to the one before there are, each counted once,
        without the newest to the first."""
        known = ~np.isnan(self.values)
        start = int(np.count_nonzero(known[1:-1])) if self.length and known[0] else 0
        return start + int(np.count_nonzero(known[2:] & known[1:-1]))

    @property
    def last_step(self) -> int:
        return int(self.steps[-1])

    def row_of(self, step: int) -> int | None:
        """The row of exactly that step."""
        row = int(np.searchsorted(self.steps, step))
        return row if row < self.length and self.steps[row] == step else None

    def best(self) -> tuple[int, int, int] | None:
        """Row of the best after the first, its place among those and how many they are."""
        change = self.start.difference if self.counted else self.values - self.values[:1]
        there = np.flatnonzero(~np.isnan(change[1:])) + 1
        if not len(there):
            return None
        place = int(np.argmax(change[there]))
        return int(there[place]), place, len(there)

    def evaluation(self, row: int) -> Evaluation:
        """What is known of a row."""
        if row in self.items:
            return self.items[row]
        if row in self._records:
            return self._known(self._records[row])
        value = _known(self._values, row)
        if not self.counted:
            return Evaluation(accuracy=value)
        correct, total = _known(self._corrects, row), _known(self._totals, row)
        return Evaluation(
            correct=None if correct is None else int(correct),
            total=None if total is None else int(total),
            accuracy=value,
        )

    # ---- growth ------------------------------------------------------------------------------

    def grown_from(self, found: Found) -> bool:
        """Whether `found` is what these rows are of, with further rows at most."""
        return (
            isinstance(found, Evaluations)
            and found is self.found
            and found.table.rewrites == self._rewrites
            and len(found) >= self.length
            and not self._found_again()
        )

    def _found_again(self) -> bool:
        """Whether a file of items is there now that was not when its evaluation came."""
        newest = [row for row in list(self._records)[-RETRIED:] if row not in self.items]
        records = [self._records[row] for row in newest]
        return any(r.items_file is not None and _has_items(self._known(r)) for r in records)

    def grow(self) -> bool:
        """Take in what has come; False when all has to be read anew, for it tells more now."""
        begin = self.length
        steps, correct, total, accuracy, records = _columns(self.found, begin)
        if not len(steps):
            return True
        items = {row: e for row, r in records.items() if _has_items(e := self._known(r))}
        counted = bool(items) or bool((total > 0).any())
        if counted and not self.counted and begin:
            return False
        self.counted |= counted
        self._records |= records
        self.items |= items
        known = np.isfinite(correct) & (total > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.where(known, correct / total, accuracy)
        values = np.where(np.isfinite(values), np.clip(values, 0.0, 1.0), np.nan)
        self.length = begin + len(steps)
        self._put(self._steps, begin, steps)
        self._put(self._values, begin, values)
        self._find_tops(begin)
        if self.counted:
            self._put(self._corrects, begin, correct)
            self._put(self._totals, begin, total)
            self._explain(begin)
            rows = np.arange(begin, self.length)
            self._compare(self.start, rows, np.zeros_like(rows), rows > 0)
            # The second against the one before is the second against the first.
            self._compare(self.previous, rows, rows - 1, rows > 1)
        if self.base is not None:
            for row in range(begin, self.length):
                self.base.add(self._against_base(row))
        for row in range(begin, self.length) if self.items else ():
            self.gold.grow(int(steps[row - begin]), self.items.get(row))
        return True

    def _put(self, column: Column, begin: int, numbers: NDArray[Any]) -> None:
        column.reserve(self.length)
        column.data[begin : self.length] = numbers

    def _find_tops(self, begin: int) -> None:
        """The best up to each of the rows from `begin` on; unknown counts as none right."""
        values = np.nan_to_num(self.values[begin:])
        top = int(self._tops.data[begin - 1]) if begin else 0
        highest = np.maximum.accumulate(np.concatenate([[self._value_of(top)], values]))
        rows = np.arange(begin, self.length)
        better = np.where(values > highest[:-1], rows, 0)
        self._put(self._tops, begin, np.maximum.accumulate(np.maximum(better, top)))

    def _value_of(self, row: int) -> float:
        return float(np.nan_to_num(self._values.data[row]))

    def _against_base(self, row: int) -> Comparison | None:
        assert self.baseline is not None
        return compare_evaluations(self.evaluation(row), self.baseline)

    def _explain(self, begin: int) -> None:
        """What the questions explain of the windows that end in the rows from `begin` on."""
        first = max(0, begin - FEWEST + 1)
        windows = self.length - FEWEST + 1
        if windows <= first:
            return
        values, totals = self._values.data[first : self.length], self._totals.data
        totals = totals[first : self.length]
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = np.where(totals > 0, values * (1 - values) / totals, 0.0)
        shares = np.nan_to_num(shares)
        explained = np.zeros(windows - first)
        for place, weight in enumerate(WEIGHTS):
            explained += weight**2 * shares[place : place + len(explained)]
        self._explained.reserve(windows)
        self._explained.data[first:windows] = explained
        if self.items:
            # Where all four answered the same questions, those say more than the counts.
            for window in range(first, windows):
                four = range(window, window + FEWEST)
                if all(row in self.items for row in four):
                    known = [self.items[row] for row in four]
                    self._explained.data[window] = explained_by(known)

    def _compare(
        self,
        into: Differences,
        rows: NDArray[np.int64],
        others: NDArray[np.int64],
        real: NDArray[np.bool_],
    ) -> None:
        """Add the differences of `rows` to `others`, where they are `real`."""
        columns = self._by_counts(rows[real], others[real])
        found = [np.full(len(rows), np.nan) for _ in columns]
        for column, numbers in zip(found, columns, strict=True):
            column[real] = numbers
        begin = int(rows[0])
        if self.items:
            for row, other in zip(rows[real].tolist(), others[real].tolist(), strict=True):
                if row in self.items:
                    both = self.evaluation(row), self.evaluation(other)
                    one = row_of(compare_evaluations(*both))
                    for column, number in zip(found, one, strict=True):
                        column[row - begin] = number
        into.extend(*found)

    def _by_counts(
        self, rows: NDArray[np.int64], others: NDArray[np.int64]
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """As `compare_evaluations` of pairs whose items are not known."""
        new, old = self._values.data[rows], self._values.data[others]
        n1, n0 = self._totals.data[rows], self._totals.data[others]
        error, p = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        both = (n1 > 0) & (n0 > 0) & np.isfinite(new) & np.isfinite(old)
        n1, n0 = n1[both], n0[both]
        k1, k0 = np.rint(new[both] * n1), np.rint(old[both] * n0)
        p1, p0 = k1 / n1, k0 / n0
        difference = new - old
        difference[both] = p1 - p0
        error[both] = np.hypot(np.sqrt(p1 * (1 - p1) / n1), np.sqrt(p0 * (1 - p0) / n0))
        pooled = (k1 + k0) / (n1 + n0)
        spread = np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0))
        pairs = zip(np.abs(p1 - p0).tolist(), spread.tolist(), strict=True)
        # The same function as of one pair: equal to the last bit.
        p[both] = [p_normal(change, width) for change, width in pairs]
        return difference, error, p, p


class GoldRows:
    """The evaluations of a task whose probabilities of the right letter are known, each against
    the first."""

    def __init__(self) -> None:
        self._steps = Column(np.int64, fill=0)
        self._values, self._explained = Column(np.float64), Column(np.float64)
        self._items: list[Evaluation] = []
        self._start, self._previous = Differences(), Differences()
        self._alike = True
        """Whether all were asked the same questions: else nothing is known of their scatter."""

    def grow(self, step: int, found: Evaluation | None) -> None:
        """One more evaluation of the task; None where its items are not known."""
        if found is None or found.gold is None:
            return
        self._items.append(found)
        row, count = len(self._items) - 1, len(self._items)
        first = self._items[0]
        self._alike = self._alike and not (row and why_not_paired(found, first))
        for column in (self._steps, self._values):
            column.reserve(count)
        self._steps.data[row] = step
        self._values.data[row] = np.nanmean(np.asarray(found.gold, dtype=np.float64))
        if self._alike and count >= FEWEST:
            table = np.array([e.gold for e in self._items[-FEWEST:]], dtype=np.float64)
            self._explained.reserve(count - FEWEST + 1)
            self._explained.data[count - FEWEST] = row_share(table)[0]
        self._start.add(compare_gold(found, first) if row else None)
        self._previous.add(None)

    @property
    def compared(self) -> bool:
        """Whether there is any difference."""
        return bool((~np.isnan(self._start.difference)).any())

    def evaluation(self, row: int) -> Evaluation:
        return self._items[row]

    def row_of(self, step: int) -> int | None:
        """The row of exactly that step."""
        steps = self._steps.data[: len(self._items)]
        row = int(np.searchsorted(steps, step))
        return row if row < len(steps) and steps[row] == step else None

    def rows(self) -> Rows:
        """All of them, to be judged."""
        count = len(self._items)
        # Without a curve that can be told, every difference of it is unknown.
        values = self._values.data[: count if self._alike else 0]
        explained = self._explained.data[: max(0, len(values) - FEWEST + 1)]
        curve = Curve(values=values, explained=explained)
        steps = self._steps.data[:count]
        own = curve.scatter()
        return Rows(steps, self._start, self._previous, curve, count, own, lenient=False)


def _known(column: Column, row: int) -> float | None:
    value = float(column.data[row])
    return None if math.isnan(value) else value


def _has_items(found: Evaluation) -> bool:
    """Whether more than counts is known of it."""
    return found.right is not None or found.gold is not None or bool(found.letters)


def _columns(
    found: Found, begin: int
) -> tuple[NDArray[np.int64], Floats, Floats, Floats, dict[int, ev.EvalFinished]]:
    """Steps, right answers, questions and accuracies from a row on, and the records of rows of
    which more is known."""
    if isinstance(found, Evaluations):
        table = found.table
        records = found.kept_from(begin)
        numbers = (table.column(name)[begin:] for name in ("correct", "total", "accuracy"))
        correct, total, accuracy = (np.asarray(column, dtype=np.float64) for column in numbers)
        steps = table.x[begin:].astype(np.int64)
    else:
        every = [found[step] for step in sorted(found)][begin:]
        steps = np.array(sorted(found)[begin:], dtype=np.int64)
        correct, total, accuracy = (
            np.array([np.nan if (n := getattr(r, name)) is None else n for r in every], dtype=float)
            for name in ("correct", "total", "accuracy")
        )
        records = dict(enumerate(every, start=begin))
    told = {row: r for row, r in records.items() if r.item_set or r.items_file or r.letters}
    return steps, correct, total, accuracy, told
