"""Rows of any log to events: which number is the training loss, of which step, of which run.

Each row is read as the rows before it suggest. When a later one overturns that, `overturned`
says why, and whoever feeds the reader starts again from the first byte with `again()`, which
knows what has been settled. A reading of the whole log so depends on all of it, not on where
it was cut.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from engine.events import (
    ACCURACY_COLUMN,
    EvalFinished,
    LogLine,
    ValidationFinished,
    is_result_column,
)
from sftui.readers import leftovers
from sftui.readers.counters import MOST_PASSES, Axis, BarTrack, Decisions
from sftui.readers.layouts import EVALUATED, NAMELESS, Counter, Layout
from sftui.readers.meanings import Names
from sftui.readers.quantities import whole
from sftui.readers.rows import WIDE
from sftui.readers.text import TextReader

if TYPE_CHECKING:
    from sftui.readers.bars import Bar

MOST_PENDING = 1000
"""Results that wait for the next loss to say which run they are of."""
_ROWS_OF_A_RUN = 3

_PERCENT = 1.5
"""More than that is no fraction with a rounding error."""
_WORTH_A_BLOCK = 4
_WORTH_A_RISE = 16
"""Rows of rising steps among others that are worth a try as a block."""
_MOST_STEPS = 10**12
_FIRST_MOMENT = 1e8
"""Seconds since 1970 are more; a duration is less."""

Numbers = Sequence[float | None] | Mapping[int, float | None]
Columns = Mapping[int, Sequence[float | None]]


class LedgerReader(TextReader):
    """See the module; a subclass cuts its format into rows and gives them to `_take`."""

    carries: ClassVar[bool] = False
    """Whether its lines print the last result again until there is a newer one."""
    file_name = ""
    """Of the log; where a table does not name its numbers, this may."""

    def __init__(self, names: Names | None = None, settled: Decisions | None = None) -> None:
        super().__init__()
        self.names = names or Names()
        self.settled = settled or Decisions()
        self.overturned = ""
        self._axes: dict[str, Axis] = {}
        self._bars = BarTrack(self.settled)
        self._epoch: int | None = None
        self._epochs: int | None = None
        self._planned: int | None = None
        self._primary = ""
        self._tally: dict[str, list[int]] = {}
        self._seen: dict[tuple[str, ...], dict[str, int | None]] = {}
        self._results: list[tuple[int, str, str, float, bool, float | None]] = []
        self._carried: dict[str, float] = {}
        self._running_results: dict[
            tuple[str, str], tuple[int, str, str, float, bool, float | None]
        ]
        self._running_results = {}
        """Of an evaluation that goes on batch by batch: its last numbers so far."""
        self._fractions: set[str] = set()
        self._loss_step = -1
        """The last step that named itself beside its loss."""
        self._num_results = 0
        self._entries = 0
        self._counted = False
        self._epoch_rows = 0
        self._row_count = 0
        self._last_entry: tuple[frozenset[str], float, str] | None = None

    def again(self) -> Self:
        """A fresh reader that knows what this one has found out."""
        fresh = type(self)(self.names, self.settled)
        fresh.file_name = self.file_name
        self.settled.passes += 1
        return fresh

    def _settle_end(self) -> None:
        self._settle_running()
        self._settle_results()
        self._say_leftovers()

    def _say_leftovers(self) -> None:
        """A line in the log of the screen about those that could not be read."""
        lines = self.lines
        if lines.with_numbers and self._running and not self.overturned:
            found = leftovers.sentence(lines.with_numbers, lines.shapes)
            text = f"sftui: {found}. --map says what a name means."
            self._emit(LogLine(text=text, level="info", stamp=self._stamp))

    # ---- what a row says -------------------------------------------------------------------

    def _take(
        self,
        layout: Layout,
        numbers: Numbers,
        *,
        rank: int | None = None,
        t: float | None = None,
        bar: Bar | None = None,
        at: int | None = None,
        entry: bool = False,
    ) -> bool:
        """One row; False when it tells nothing. `at`: its step, where the format has it.

        `entry`: it is one of many without a step, to be counted if nothing tells.
        """
        if self.overturned:
            return True  # void, as all that was read: nothing more is to be settled by it
        if layout.rank >= 0:
            rank = whole(_get(numbers, layout.rank))
        if t is None and layout.time >= 0:
            t = _moment(numbers[layout.time])
        self._note_epoch(layout, numbers)
        loss = _get(numbers, layout.losses[0][0]) if layout.losses else None
        if rank is not None and not self._leads(rank, loss is not None):
            return True
        has_result = bool(layout.accuracies) or any(
            _get(numbers, place) is not None for place, *_ in layout.validations
        )
        if loss is None and not has_result:
            return self._other_row(layout, numbers, bar=bar, t=t, at=at)
        step, total, stepped = self._step_of(layout, numbers, bar, at, loss is not None, entry)
        if step is None:
            return False
        if loss is not None and stepped is None and not has_result and self._loss_step == step:
            return self._summary_loss(loss)
        if loss is not None:
            self._settle_running()
            self._loss_step = step if stepped else -1
            self._training(layout, numbers, step, total, t, stepped is not False, has_result)
        elif layout.columns or layout.free:
            self._extras(layout, numbers, step)
        running = loss is None and _is_of_a_batch(layout, bar)
        carried = self.carries and loss is not None
        self._take_results(layout, numbers, step, t, carried=carried, running=running)
        return True

    def _summary_loss(self, loss: float) -> bool:
        """A loss without a step, where the step has one: behind the batches of an evaluation it is
        their mean, else nobody knows of what; False then."""
        for key, (step, metric, name, _, scored, t) in self._running_results.items():
            if not scored:
                self._running_results[key] = (step, metric, name, loss, scored, t)
                self._settle_running()
                return True
        return False

    def _take_rows(
        self,
        layout: Layout,
        columns: Columns,
        num_rows: int,
        times: Sequence[float | None] = (),
        given: Sequence[int] = (),
    ) -> None:
        """Many rows of one layout, in columns by index: as `_take` of each, but fast.

        `given`: their steps, where the format has them and no number of the layout counts.
        """
        if self.overturned or self._take_block(layout, columns, num_rows, times, given):
            return
        first = 0
        for end in _ends_of_rises(layout, columns, num_rows, given):
            if end - first > _WORTH_A_RISE:
                # The first may be another run's, which is for `_take` to say.
                self._take_singly(layout, columns, range(first, first + 1), times, given)
                first += 1
                rise = {at: column[first:end] for at, column in columns.items()}
                here = times[first:end], given[first:end]
                if self.overturned or self._take_block(layout, rise, end - first, *here):
                    first = end
            self._take_singly(layout, columns, range(first, end), times, given)
            first = end

    def _take_singly(
        self,
        layout: Layout,
        columns: Columns,
        rows: range,
        times: Sequence[float | None],
        given: Sequence[int],
    ) -> None:
        """Some rows of a block, one by one."""
        by_index = [columns.get(at, ()) for at in range(max(columns, default=-1) + 1)]
        for row in rows:
            numbers = [column[row] if column else None for column in by_index]
            t = times[row] if times else None
            self._take_row(layout, numbers, t=t, at=given[row] if given else None)

    def _take_row(
        self,
        layout: Layout,
        numbers: Numbers,
        *,
        t: float | None = None,
        at: int | None = None,
        entry: bool = False,
    ) -> bool:
        """`_take` of a row whose format may have its step; such a row may be metrics alone."""
        if layout.counters:
            at = None
        if layout.tells or at is None:
            return self._take(layout, numbers, t=t, at=at, entry=entry)
        if t is None and layout.time >= 0:
            t = _moment(numbers[layout.time])
        self._note_epoch(layout, numbers)
        row = self._row_of(layout, numbers)
        if not set(row) - {"epoch"}:
            return False
        self._plain_row(at, row, None, t)
        return True

    def _take_block(
        self,
        layout: Layout,
        columns: Columns,
        num_rows: int,
        times: Sequence[float | None],
        given: Sequence[int],
    ) -> bool:
        """Rows of rising steps at once; False where each must be looked at."""
        parts = layout.parts
        if parts is None or not layout.goes_in_blocks:
            return False
        if num_rows < _WORTH_A_BLOCK and num_rows * len(parts) < WIDE:
            return False
        name = layout.losses[0][1] if layout.losses else ""
        if not (self._is_main(name) if name else given or _is_telling(layout)):
            return False
        results = self._result_columns(layout, columns)
        if name:  # a column of words has no number at all
            loss, *others = parts
            others = [part for part in others if columns[part[1]].count(None) < num_rows]
            parts = (loss, *others)
        if results is None or any(None in columns[at] for _, at, _ in parts):
            return False
        placed = self._places_of_block(layout, columns, given, apart=bool(results))
        if placed is None:
            return False
        steps, total = placed
        before, count = self._step, self._num_rows
        if name:
            self._begin_updates(name, steps)
        elif given:
            total = None  # a metric that the format gives a step says nothing of the plan
        if name or not self._running:
            self._enter_stage(steps[0], total)
        else:
            self._enter(steps[0], total)
        if layout.time >= 0 and not times:
            times = [_moment(value) for value in columns[layout.time]]
        wanted = [_divided(columns[at], per) for _, at, per in parts]
        names = tuple(part[0] for part in parts)
        self._keep_block(names, steps, wanted, results, times)
        if name:
            self._num_rows += num_rows
            self._loss_step = self._step
        else:  # as `_plain_row` of each
            self._num_rows = count
            self._step = before if self._row_count else self._step
        return True

    def _begin_updates(self, name: str, steps: Sequence[int]) -> None:
        """A block of updates with this loss comes."""
        self._settle_running()
        self._settle_results()
        if not self._num_rows and self._running:
            self._first_step = steps[0]
        self._is_primary(name, mixed=False)
        self._tally[name][0] += len(steps) - 1
        self._row_count += len(steps)
        self.settled.stepped = True

    def _keep_block(
        self,
        names: tuple[str, ...],
        steps: Sequence[int],
        columns: list[Sequence[float]],
        results: Mapping[str, list[float]],
        times: Sequence[float | None],
    ) -> None:
        timed = bool(times) and None not in times
        if results:
            self._num_results += len(steps) * len(results)
            names = (*names, *results)
            columns += [self._new_results(name, each) for name, each in results.items()]
        if not self._rows.fits(names) or self._rows_timed != timed:
            self._out += self._rows.drain(self._stamp)
        self._rows_timed = timed
        self._rows.extend(steps, names, columns, times if timed else ())  # type: ignore[arg-type]
        self._step = steps[-1]

    def _places_of_block(
        self, layout: Layout, columns: Columns, given: Sequence[int], *, apart: bool
    ) -> tuple[Sequence[int], int | None] | None:
        """Steps and planned steps of rows; None where each must be looked at.

        `apart`: no two may be of one step.
        """
        if layout.counters:
            numbered: Sequence[float | None] = columns[layout.counters[0].at]
        elif given:
            numbered = given
        else:
            return None
        wide = np.asarray(numbered, dtype=np.float64)  # None, an unknown one, as NaN
        found = wide.astype(np.int64) if (np.abs(wide) < _MOST_STEPS).all() else None
        if found is None or (found != wide).any() or (np.diff(found) < apart).any():
            return None
        steps = array("q")
        steps.frombytes(found.tobytes())
        if steps[0] < max(self._step, 0):
            return None
        rows = (0, len(steps) - 1)
        ends = [{at: column[row] for at, column in columns.items()} for row in rows]
        if not layout.counters:
            for numbers in ends:
                self._note_epoch(layout, numbers)
            return steps, self._planned
        counter = layout.counters[0]
        totals = columns[counter.total] if counter.total >= 0 else (None,)
        if totals[0] != totals[-1]:
            return None
        total: int | None = None
        for row, numbers in zip(rows, ends, strict=True):
            self._note_epoch(layout, numbers)
            step, total = self._placed(counter.name, steps[row], whole(totals[0]), layout)
            if step != steps[row] or self.overturned:
                return None
        return steps, total

    def _result_columns(self, layout: Layout, columns: Columns) -> dict[str, list[float]] | None:
        """The results of a block by column; None where they must be looked at one by one."""
        found: dict[str, list[float]] = {}
        for name, at in layout.result_parts or ():
            values = [value for value in columns[at] if value is not None]
            if len(values) < len(columns[at]) or math.isnan(sum(values)):
                return None
            if name.startswith(ACCURACY_COLUMN):
                task = name.removeprefix(ACCURACY_COLUMN)
                wide = [self._fraction(task, value) for value in values]
                if None in wide and any(value is not None for value in wide):
                    return None
                # What is no accuracy at all is a number like any other.
                name = f"val/{task}_accuracy" if None in wide else name
                values = values if None in wide else wide  # type: ignore[assignment]
            found[name] = values
        return None if found.keys() & set(layout.part_names) else found

    def _new_results(self, column: str, values: list[float]) -> list[float]:
        """NaN for those that only repeat the one before, where a log prints the last again."""
        if not self.carries or not is_result_column(column):
            return values
        kind, _, name = column.partition(":")
        key = f"accuracy/{name}" if kind + ":" == ACCURACY_COLUMN else f"{name}/"
        before = [self._carried.get(key, math.nan), *values[:-1]]
        self._carried[key] = values[-1]
        return [math.nan if now == old else now for now, old in zip(values, before, strict=True)]

    def _is_main(self, name: str) -> bool:
        """Whether a loss of this name is taken for the training's."""
        stage = self._stages + (not self._running)
        return (stage, name) not in self.settled.secondary and self._primary in ("", name)

    def _note_epoch(self, layout: Layout, numbers: Numbers) -> None:
        if layout.epochs >= 0 and (epochs := whole(_get(numbers, layout.epochs))):
            self._epochs = epochs
        if layout.planned >= 0 and (planned := whole(_get(numbers, layout.planned))):
            self._planned = planned
        epoch = _get(numbers, layout.epoch)
        if epoch is not None and math.isfinite(epoch) and 0 <= epoch < 10**9:
            self._epoch = int(epoch)
            if self._epoch == 0 and not self.settled.from_zero and epoch == 0:
                self.settled.from_zero = True
                if any(axis.first_epoch not in (None, 0) for axis in self._axes.values()):
                    self._overturn("epochs are counted from zero")

    def _leads(self, rank: int, has_loss: bool) -> bool:
        """Whether the numbers of this rank count: those of the lowest that prints losses."""
        settled = self.settled
        if settled.lead is None or rank < settled.lead:
            if not has_loss:
                return settled.lead is None
            if settled.lead is not None:
                self._overturn(f"rank {rank} prints losses too, and it counts")
            settled.lead = rank
        return rank == settled.lead

    def _other_row(
        self, layout: Layout, numbers: Numbers, *, bar: Bar | None, t: float | None, at: int | None
    ) -> bool:
        """A row without a loss or result: metrics of a step, if it names one."""
        if not _is_telling(layout) or not (layout.counters or at is not None):
            return False
        step, total, _ = self._step_of(layout, numbers, bar, at, False, False)
        if step is None:
            return False
        row = self._row_of(layout, numbers)
        if row:
            self._plain_row(step, row, total, t)
        return bool(row)

    # ---- the step --------------------------------------------------------------------------

    def _step_of(
        self,
        layout: Layout,
        numbers: Numbers,
        bar: Bar | None,
        at: int | None,
        has_loss: bool,
        entry: bool,
    ) -> tuple[int | None, int | None, bool | None]:
        """Step, planned steps and whether the step is more than an epoch; None for the last one
        that was named, where a row names none."""
        if at is not None:
            return at, self._planned, True
        counter = self._best(layout, numbers, has_loss) if layout.counters else None
        of_results = not has_loss and layout.is_validation
        if counter is not None and of_results and (counter.name == "/" or counter.evaluated):
            counter = None  # how many batches were evaluated
        if counter is not None:
            value = whole(_get(numbers, counter.at))
            if value is not None:
                total = whole(_get(numbers, counter.total))
                if total is None and bar is not None and bar.done == value:
                    total = bar.total
                step, total = self._placed(counter.name, value, total, layout)
                return step, total, True
        if bar is not None and has_loss:
            step, total = self._placed("bar", bar.done, bar.total, layout)
            return step, total, True
        if entry:
            return *self._step_of_entry(has_loss), True
        epoch = whole(_get(numbers, layout.epoch))
        if epoch is not None and not self.settled.stepped:
            return epoch, whole(_get(numbers, layout.epochs)), False
        if has_loss and not self._row_count:
            return None, None, False
        return max(self._step, 0), self._total, None

    def _best(self, layout: Layout, numbers: Numbers, has_loss: bool) -> Counter | None:
        """The counter of a row that is the step, going by how each of them moves."""
        settled = self.settled
        if len(layout.counters) == 1:
            only = layout.counters[0]
            return None if whole(_get(numbers, only.at)) is None else only
        known = [c for c in layout.counters if whole(_get(numbers, c.at)) is not None]
        good = [c for c in known if c.name not in settled.demoted] or known
        if not good:
            return None
        best = good[0]
        if len(known) > 1 and has_loss:
            values = {c.name: whole(_get(numbers, c.at)) for c in layout.counters}
            before = self._seen.get(tuple(values))
            self._seen[tuple(values)] = values
            if before is not None and best.name not in settled.demoted:
                self._compare(layout.counters, before, values, best)
        return best

    def _compare(
        self,
        counters: Sequence[Counter],
        before: Mapping[str, int | None],
        now: Mapping[str, int | None],
        best: Counter,
    ) -> None:
        """Demote the best name if it stands still or falls while another counter rises."""
        rises = falls = False
        for counter in counters:
            old, new = before[counter.name], now[counter.name]
            if old is None or new is None:
                continue
            if counter is best:
                falls = new <= old
            elif counter.name not in self.settled.demoted and counter.order < NAMELESS:
                rises = rises or new > old
        if falls and rises:
            self.settled.demoted.add(best.name)
            self._overturn(f"{best.name!r} does not count every step")

    def _reads_decimal_commas(self) -> None:
        """A loss was printed with a comma that parts no thousands."""
        if not self.settled.decimal_commas:
            self.settled.decimal_commas = True
            self._overturn("its numbers have decimal commas")

    def _placed(
        self, name: str, value: int, total: int | None, layout: Layout
    ) -> tuple[int, int | None]:
        axis = self._axes.get(name)
        if axis is None:
            axis = self._axes[name] = Axis(name)
        named = layout.epoch >= 0
        nested = (
            named and layout.epoch < min(c.at for c in layout.counters) if layout.counters else True
        )
        nested = nested or (name == "/" and self._epoch is not None)
        if name == "/" and self._epoch is not None:
            self.settled.within.add("/")
        epochs = self._epochs
        if not layout.counters or name in ("/", "bar") or epochs:
            nested = nested and (bool(epochs) or name in ("/", "bar"))
        else:
            nested = False
        step, planned, found = axis.place(value, total, self._epoch, epochs, nested, self.settled)
        if found:
            self._overturn(found)
        if planned is not None and step > planned and name not in self.settled.within:
            planned = None
        return step, planned if planned is not None else self._planned

    def _step_of_entry(self, has_loss: bool) -> tuple[int, int | None]:
        """Of an entry that prints no step: the training's bar, or a count of the entries."""
        bars = self._bars
        if not has_loss:
            place = bars.step_of_result()
            if place is not None and place == bars.total and not self._row_count:
                place = bars.forget()  # an evaluation of as many batches, before the first step
            return place if place is not None else max(self._step, 0), bars.total
        place, found = bars.step_of_loss()
        if found:
            self._overturn(found)
        if place is not None and (place > max(self._step, 0) or bars.begun or self._ended):
            return place, bars.total
        self._entries += 1
        self._counted = self._counted or place is None
        return max(self._step + 1, self._entries), bars.total

    # ---- rows and results ------------------------------------------------------------------

    def _training(
        self,
        layout: Layout,
        numbers: Numbers,
        step: int,
        total: int | None,
        t: float | None,
        stepped: bool,
        mixed: bool,
    ) -> None:
        at, name, _ = layout.losses[0]
        if (name == self._primary or self._ended) and self._is_fresh(step, total):
            self._new_run()
        row = self._row_of(layout, numbers)
        if not stepped and self._row_count > self._epoch_rows:
            row = {}
        if stepped and not self.settled.stepped:
            self.settled.stepped = True
            if self._epoch_rows:
                self._overturn("losses have steps, so their epochs are no steps")
        self._epoch_rows += not stepped
        loss = numbers[at]
        assert loss is not None
        if self._is_primary(name, mixed):
            row["loss"] = loss
            self._row_count += 1
        else:
            row = {f"{name}": loss}
        if "loss" in row:
            if total is None and self._total is not None and self.settled.within:
                self._total = None  # of one epoch; how many there are is not known
                self._say_start()
            self._settle_results()
            if not self._num_rows and self._running:
                self._first_step = step
            self._plain_row(step, row, total, t, train=True)
        elif self._running:
            self._plain_row(step, row, total, t)

    def _row_of(self, layout: Layout, numbers: Numbers) -> dict[str, float]:
        row: dict[str, float] = {}
        for at, column, scale in layout.columns:
            if (value := _get(numbers, at)) is not None:
                row[column] = value if scale == 1.0 else value / round(1 / scale)
        epoch = _get(numbers, layout.epoch)
        if epoch is not None and (row or layout.losses):
            row["epoch"] = epoch
        for at, name in layout.free:
            if (value := _get(numbers, at)) is not None:
                row.setdefault(name, value)
        return row

    def _plain_row(
        self,
        step: int,
        row: Mapping[str, float],
        total: int | None,
        t: float | None,
        *,
        train: bool = False,
    ) -> None:
        if not train and not self._running:
            self._enter_stage(step, total)
        before, count = self._step, self._num_rows
        self._row(step, row, total=total, t=t)
        if not train:  # a metric says nothing of how far the run is, unless nothing else does
            self._num_rows = count
            if self._row_count:
                self._step = before

    def _extras(self, layout: Layout, numbers: Numbers, step: int) -> None:
        row = {
            name: value
            for name, value in self._row_of(layout, numbers).items()
            if name.startswith("val/")
            or (name not in _OF_AN_UPDATE and not name.startswith("lrs/"))
        }
        if row:
            self._plain_row(step, row, None, None)

    def _begins_again(self, step: int) -> bool:
        return False  # only a loss says so: `_is_fresh`

    def _is_fresh(self, step: int, total: int | None) -> bool:
        """Whether a loss of this step is the first of another run."""
        if not self._running or step >= self._step:
            return False
        if self._ended:
            return True
        again = step <= self._first_step
        other = total is not None and self._total is not None and total != self._total
        return again and (self._num_rows >= _ROWS_OF_A_RUN or other)

    def _new_run(self) -> None:
        """The stage that goes on is over: what comes is of another run."""
        self._out += self._rows.drain(self._stamp)
        self._running = False
        self._total = None
        self._primary, self._tally, self._carried = "", {}, {}
        self._axes = {name: axis for name, axis in self._axes.items() if axis.epoch is not None}
        self._bars.begun = False
        self._entries = 0

    def _is_primary(self, name: str, mixed: bool) -> bool:
        """Whether a loss of this name is the training's; another may be printed more often."""
        counts = self._tally.setdefault(name, [0, 0])
        counts[mixed] += 1
        stage = self._stages + (not self._running)
        if (stage, name) in self.settled.secondary:
            return False
        if not self._primary:
            self._primary = name
        if name == self._primary:
            return True
        if _is_better(counts, self._tally[self._primary]):
            self.settled.secondary.add((stage, self._primary))
            self._overturn(f"{name!r} is the training loss, not {self._primary!r}")
        return False

    def _take_results(
        self,
        layout: Layout,
        numbers: Numbers,
        step: int,
        t: float | None,
        *,
        carried: bool,
        running: bool,
    ) -> None:
        for at, name, metric in layout.validations:
            value = _get(numbers, at)
            if value is None or (carried and self._is_carried(f"{metric}/{name}", value)):
                continue
            self._add_result(step, t, metric, name, value, False, running=running)
        for at, task, total_at in layout.accuracies:
            value = _get(numbers, at)
            total = _get(numbers, total_at)
            if value is None:
                continue
            share = value / total if total else self._fraction(task, value)
            if share is None or not 0 <= share <= 1:
                if self._running:
                    self._plain_row(step, {f"val/{task}_accuracy": value}, None, None)
                continue
            if not (carried and self._is_carried(f"accuracy/{task}", share)):
                self._add_result(step, t, "", task, share, True, running=running)

    def _fraction(self, task: str, value: float) -> float | None:
        """An accuracy between 0 and 1, though it may be printed as `52.3`; None for no accuracy."""
        percent = self.settled.percent
        if _PERCENT < value <= 100 and task not in percent:
            percent.add(task)
            if task in self._fractions:
                self._overturn(f"accuracies of {task} are in percent")
        if task in percent:
            return value / 100 if 0 <= value <= 100 else None
        self._fractions.add(task)
        return value if 0 <= value <= 1 else None

    def _is_carried(self, name: str, value: float) -> bool:
        """A result that later rows print again until there is a newer one."""
        before = self._carried.get(name)
        self._carried[name] = value
        return before == value or (before is not None and before != before and value != value)

    def _add_result(
        self,
        step: int,
        t: float | None,
        metric: str,
        name: str,
        value: float,
        scored: bool,
        *,
        running: bool = False,
    ) -> None:
        self._num_results += 1
        key = metric, name
        if running:
            if self._running_results and key not in self._running_results:
                self._running_results = {
                    k: each for k, each in self._running_results.items() if each[0] == step
                }
            self._running_results[key] = step, metric, name, value, scored, t
            return
        self._running_results.pop(key, None)  # it was of the batches so far
        self._settle_running()
        self._results.append((step, metric, name, value, scored, t))
        waits = self._running and self._num_rows and step < self._step
        waits = waits and (step <= self._first_step or self._ended)
        if not waits or len(self._results) >= MOST_PENDING:
            self._settle_results()

    def _settle_running(self) -> None:
        """An evaluation that went batch by batch is over: its last numbers are its results."""
        running, self._running_results = self._running_results, {}
        for step, metric, name, value, scored, t in running.values():
            self._num_results -= 1  # counted already
            self._add_result(step, t, metric, name, value, scored)

    def _settle_results(self) -> None:
        results, self._results = self._results, []
        for step, metric, name, value, scored, t in results:
            if not self._running:
                self._enter_stage(step, None)
            stamp = self._stamp if t is None else self._stamp.at(t)
            self._measured = max(self._measured, step)
            if scored:
                self._emit(EvalFinished(step=step, task=name, accuracy=value, stamp=stamp))
            else:
                self._emit(
                    ValidationFinished(
                        step=step, loss=value, metric=metric, set_name=name, stamp=stamp
                    )
                )

    def _reached(self) -> int | None:
        """Those that wait to be settled count too."""
        waiting = [step for step, *_ in (*self._results, *self._running_results.values())]
        known = [step for step in (super()._reached(), *waiting) if step is not None]
        return max(known, default=None)

    def _enter_stage(self, step: int, total: int | None) -> None:
        self._enter(step, total if total is not None else self._planned)

    def _end_of_run(self, loss: float | None, seconds: float | None, place: object = None) -> None:
        """A summary says that the run came to its end; `place` is the step it names, if any."""
        if self._running:
            named = place if isinstance(place, int) and 0 <= place < 10**12 else 0
            step = max(self._step, self._bars.place or 0, named)
            mean = math.nan if loss is None else loss
            self._row(step, {"train_mean_loss": mean})
            self._finish(seconds)
            self._bars.after_end()

    def _overturn(self, why: str) -> None:
        if self.settled.passes < MOST_PASSES and not self.overturned:
            self.overturned = why


TELLING = ("loss", "acc", "reward", "ppl", "perplexity", "bpb", "error", "norm")
TELLING_ALONE = (
    *("lr", "kl", "entropy", "score", "scores", "return", "returns", "advantage", "advantages"),
    *("f1", "bleu", "rouge", "wer", "cer", "mse", "mae", "rmse", "iou", "auc", "psnr", "fid"),
)
"""Words that tell nothing as a part of another: in `lower` is no `wer`."""
_TELLING = re.compile(
    rf"{'|'.join(TELLING)}|(?:\b|_)(?:{'|'.join(TELLING_ALONE)})(?![a-z0-9])", re.IGNORECASE
)
"""A row is about training when a number of it is called so; "4 of 9 shards at step 0" is not."""


def _is_telling(layout: Layout) -> bool:
    return bool(layout.columns) or any(_TELLING.search(name) for _, name in layout.free)


def _ends_of_rises(
    layout: Layout, columns: Columns, num_rows: int, given: Sequence[int]
) -> list[int]:
    """Where rows of rising steps end, each the place of the next row; the last is `num_rows`."""
    numbered: Sequence[float | None] = given
    if layout.counters:
        numbered = columns.get(layout.counters[0].at, ())
    if len(numbered) != num_rows:
        return [num_rows]
    steps = np.asarray(numbered, dtype=np.float64)
    apart = 1 if layout.result_parts else 0  # results of one step are looked at one by one
    falls = np.flatnonzero(~(np.diff(steps) >= apart))
    return [*(falls + 1).tolist(), num_rows]


def _is_of_a_batch(layout: Layout, bar: Bar | None) -> bool:
    """Whether the results of a row are those of an evaluation up to a batch of it."""
    if bar is not None and bar.split in EVALUATED and bar.done < bar.total:
        return True
    counters = [c for c in layout.counters if c.total >= 0]
    return layout.is_validation and any(c.name == "/" or c.evaluated for c in counters)


_OF_AN_UPDATE = frozenset({"epoch", "grad_norm", "seconds", "tokens_per_second", "lr_mult"})


def _get(numbers: Numbers, at: int) -> float | None:
    return numbers[at] if at >= 0 else None


def _divided(column: Sequence[float | None], per: int) -> Sequence[float]:
    """The numbers of a column in which all are known."""
    if per == 1:
        return column  # type: ignore[return-value]
    return [value / per for value in column]  # type: ignore[operator]


def _moment(value: float | None) -> float | None:
    """Seconds since 1970 of a time in seconds or milliseconds; None for a duration."""
    if value is None or not _FIRST_MOMENT <= value < 1e14:
        return None
    return value if value < 1e11 else value / 1000


def _is_better(new: Sequence[int], old: Sequence[int]) -> bool:
    """Whether a loss is the training's rather than the one that was taken for it.

    Each is counted alone and beside a validation: what always stands beside one is an estimate
    that the evaluation made.
    """
    alone, beside = new
    old_alone, old_beside = old
    if not old_alone and alone >= 2:
        return alone * 10 >= old_beside
    return bool(alone) >= bool(old_alone) and alone + beside >= 3 + 2 * (old_alone + old_beside)
