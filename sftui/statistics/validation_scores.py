"""Validation losses: is a change real, or the noise of the rows, or the wobble of checkpoints?

A validation always asks the same rows, so a change is judged by the differences of the
rows (`loss_statistics.compare_losses`), whose error is a tenth of what two means suggest, and
by how much the run's validations scatter beyond that. Without the file of a validation's rows
there is the scatter alone, from four validations on.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError
from engine.evaluation.validation_rows import RowLosses, load_rows
from engine.run import run_dir
from sftui.state.records import Validation
from sftui.state.results import Ordered, Validations
from sftui.statistics.accuracy import ALPHA, special_functions
from sftui.statistics.families import PREVIOUS, START, Differences, History, Rows, Shown
from sftui.statistics.loss_statistics import LossDifference, compare_losses
from sftui.statistics.paired_tests import CLEAR, Comparison, Judged, judge, turned
from sftui.statistics.run_scatter import Curve, row_share
from sftui.statistics.scatter import FEWEST, Scatter, p_all_beyond, p_beyond

VALIDATION = "validation"
"""What stands in the place of a task's name."""

Basis = Literal["rows", "scatter", "nothing", "others"]

MOST_JUDGED = 500
"""Newest validations that are judged beside the first: of a log that validates with every row,
the screen, the command line and the report all judge these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossChange:
    """A validation loss minus an earlier one, in nats."""

    judged: Judged
    basis: Basis
    """What the verdict rests on; `nothing` where there is neither rows nor enough validations,
    `others` where the two were measured on other rows and so do not compare."""
    rows: int = 0
    """Paired rows."""

    @property
    def change(self) -> float:
        """Of the printed losses, or of the mean over rows where these are not the same number
        (`by_rows`); the error and the verdict are of this very number."""
        return self.judged.comparison.difference

    @property
    def error(self) -> float | None:
        """Standard error over rows; None where the rows are not known."""
        return self.judged.comparison.error if self.basis == "rows" else None

    @property
    def clear(self) -> bool:
        """Beyond chance among all changes it is judged with."""
        return self.judged.verdict == CLEAR


class Compared(NamedTuple):
    """A change before it is judged."""

    comparison: Comparison
    basis: Basis
    rows: int = 0
    """Paired rows."""


class Changes(Mapping[tuple[int, str], LossChange]):
    """Change by step and by what it is against, each judged when it is looked at."""

    def __init__(
        self, rows: Rows, compare: Callable[[int, int], Compared], *, by_rows: bool
    ) -> None:
        """
        Args:
            compare: the change of one validation against another, by their places.
            by_rows: whether any of them is known row by row.
        """
        self._places = {step: place for place, step in enumerate(rows.steps.tolist())}
        self._rows, self._compare, self._by_rows = rows, compare, by_rows
        self._shown, self._history = Shown({VALIDATION: rows}), History()
        self._known: dict[tuple[int, int], LossChange] = {}

    def __getitem__(self, key: tuple[int, str]) -> LossChange:
        place = self._places.get(key[0], 0)
        if not place or key[1] not in (START, PREVIOUS):
            raise KeyError(key)
        other = 0 if key[1] == START else place - 1
        if (place, other) not in self._known:
            self._known[place, other] = self._judge(place, other)
        return self._known[place, other]

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for step, place in self._places.items():
            if place:
                yield step, START
                yield step, PREVIOUS

    def __len__(self) -> int:
        return 2 * max(0, len(self._places) - 1)

    def _judge(self, place: int, other: int) -> LossChange:
        found = self._compare(place, other)
        against = PREVIOUS if other else START

        def past() -> bool:
            return self._history.was_clear(self._shown, VALIDATION, place, against)

        if place == self._rows.count - 1 and not other:
            [judged] = judge([found.comparison], headline=True, error=ALPHA)
            judged = judged if judged.verdict == CLEAR else replace(judged, past=past)
        else:
            judged = self._shown.judged(found.comparison, self._shown.beside, past)
        return LossChange(judged=judged, basis=found.basis, rows=found.rows)

    @property
    def basis(self) -> Basis | None:
        """The best that any of them rests on; None without a change."""
        if not self:
            return None
        if self._by_rows:
            return "rows"
        known = np.concatenate([self._rows.start.p, self._rows.previous.p])
        return "scatter" if bool((~np.isnan(known)).any()) else "nothing"


class LossBoard:
    """Judges once per validation, not once per frame."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: the run directory that row files are named from; None for a log."""
        self._folder = folder
        self._rows: dict[str, RowLosses] = {}
        self._pairs: dict[tuple[str, str], LossDifference | None] = {}
        self._judged: tuple[object, Changes] | None = None
        self._at_least: Scatter | None = None
        """`scatter`, and no less of it than the losses are rounded."""
        self.scatter: Scatter | None = None
        """Of the run's validations, beyond what their rows explain; of the newest `changes`."""

    def changes(self, validations: Sequence[Validation]) -> Changes:
        """Change by step and by what it is against; `validations` in order of steps.

        Of more than `MOST_JUDGED`, the newest against the first and each other.
        """
        # Records by value: a state makes them when they are read, so one id may mean many.
        known = validations.version if isinstance(validations, Ordered) else None
        key: object = tuple(validations) if known is None else known
        if self._judged is None or self._judged[0] != key:
            if len(validations) > MOST_JUDGED + 1:
                validations = [validations[0], *validations[-MOST_JUDGED:]]
            self._judged = key, self._judge(list(validations))
        return self._judged[1]

    def alike(self, now: Validation, before: Validation) -> bool:
        """False where the rows of both are known and differ; nothing is known of a log's."""
        tables = self._load(now), self._load(before)
        return tables[0] is None or tables[1] is None or same_rows(tables[0], tables[1])

    def of_other_rows(self, validations: Sequence[Validation]) -> frozenset[int]:
        """Steps of those that asked other rows than the last of them, as far as is known.

        The rows of each lie in a file, so of many MOST_JUDGED are looked at, evenly apart, and each
        says it of those since the one before.
        """
        if self._folder is None:
            return frozenset()
        last, parts = len(validations) - 1, min(len(validations) - 1, MOST_JUDGED)
        found: set[int] = set()
        begin = 0
        for place in [last * part // parts for part in range(parts)]:
            if not self.alike(validations[place], validations[-1]):
                found |= {each.step for each in validations[begin : place + 1]}
            begin = place + 1
        return frozenset(found)

    def between(self, found: Validations, step: int, before: int) -> Compared | None:
        """The loss of one step minus that of another, whichever came first, not judged yet; None
        where one of them was not measured."""
        rows = found.index_of(max(step, before)), found.index_of(min(step, before))
        if rows[0] is None or rows[1] is None or step == before:
            return None
        self.changes(found.ordered)
        late, early = found.at(rows[0]), found.at(rows[1])
        tables = self._load(late), self._load(early)
        pair = self._paired([early, late], [tables[1], tables[0]], 1, 0)
        if pair is not None:
            compared = Compared(loss_comparison(pair, self.scatter), "rows", pair.rows)
        elif not self.alike(late, early):
            compared = _of_other_rows(late.loss - early.loss)
        else:
            places = np.arange(rows[1], rows[0] + 1)
            if len(places) > MOST_JUDGED:
                # A part of a curve that falls, chosen beforehand, falls as well.
                places = np.linspace(rows[1], rows[0], MOST_JUDGED).round().astype(np.int64)
            losses = np.asarray(found.table.column("loss"), dtype=np.float64)[places]
            compared = Compared(*_by_scatter(losses.tolist(), self._at_least))
        if step >= before:
            return compared
        return compared._replace(comparison=turned(compared.comparison))

    def _judge(self, validations: list[Validation]) -> Changes:
        tables = [self._load(v) for v in validations]
        curve = _curve(validations, tables)
        self.scatter = own = curve.scatter()
        at_least = self._at_least = _beyond_rounding(own, [v.loss for v in validations])
        losses = np.array([v.loss for v in validations], dtype=np.float64)
        steps = np.array([v.step for v in validations], dtype=np.int64)
        places = np.arange(len(validations))
        paired = {
            (place, other): found
            for place in places[1:].tolist()
            for other in {0, place - 1}
            if (found := self._paired(validations, tables, place, other)) is not None
        }
        # [K] whether the rows are those of the first, and those of the one before.
        as_first = np.array([self.alike(v, validations[0]) for v in validations], dtype=bool)
        as_before = np.array(
            [True, *itertools.starmap(self.alike, itertools.pairwise(validations))]
        )
        start, previous = (
            _columns(losses, places, others, at_least, paired, real)
            for others, real in (
                (np.zeros_like(places), (places > 0) & as_first),
                # The second against the one before is the second against the first.
                (places - 1, (places > 1) & as_before[: len(places)]),
            )
        )

        def compare(place: int, other: int) -> Compared:
            found = paired.get((place, other))
            if found is not None:
                return Compared(loss_comparison(found, own), "rows", found.rows)
            if not (as_before[place] if other else as_first[place]):
                return _of_other_rows(float(losses[place] - losses[other]))
            return Compared(*_by_scatter(losses[other : place + 1].tolist(), at_least))

        rows = Rows(steps, start, previous, curve, len(steps), own, lenient=False)
        return Changes(rows, compare, by_rows=bool(paired))

    def _paired(
        self,
        validations: Sequence[Validation],
        tables: Sequence[RowLosses | None],
        place: int,
        other: int,
    ) -> LossDifference | None:
        """The difference row by row of two validations; worked out once."""
        now, before = tables[place], tables[other]
        names = validations[place].rows_file, validations[other].rows_file
        if now is None or before is None or names[0] is None or names[1] is None:
            return None
        key = names[0], names[1]
        if key not in self._pairs:
            self._pairs[key] = _paired(now, before)
        return self._pairs[key]

    def _load(self, validation: Validation) -> RowLosses | None:
        name = validation.rows_file
        if self._folder is None or name is None:
            return None
        if name not in self._rows:
            path = run_dir.named_file(self._folder, name)
            if path is None:
                return None
            try:
                self._rows[name] = load_rows(path)
            except DataError:
                return None
        return self._rows[name]


def same_rows(now: RowLosses, before: RowLosses) -> bool:
    """Whether place i of both is one row: by its digest where both have it, else by number."""
    if now.digests is not None and before.digests is not None:
        return np.array_equal(now.digests, before.digests)
    return np.array_equal(now.rows, before.rows)


def shared_weights(now: RowLosses, before: RowLosses) -> NDArray[Any] | None:
    """Parts of the rows in the printed losses, where they are the same on both sides."""
    if now.weights is None or before.weights is None:
        return None
    return now.weights if np.array_equal(now.weights, before.weights) else None


def _paired(now: RowLosses | None, before: RowLosses | None) -> LossDifference | None:
    if now is None or before is None or not same_rows(now, before):
        return None
    found = compare_losses(now.losses, before.losses, weights=shared_weights(now, before))
    return found if isinstance(found, LossDifference) else None


def loss_comparison(found: LossDifference, own: Scatter | None) -> Comparison:
    """What is judged of a paired difference; `own` is the scatter of the run's validations."""
    return Comparison(
        kind="loss",
        difference=found.mean,
        error=found.error,
        low=found.low,
        high=found.high,
        p=loss_p(found),
        p_scatter=p_beyond(found.mean, found.error, own),
    )


def _of_other_rows(change: float) -> Compared:
    """The difference of two losses that do not compare."""
    nan = math.nan
    note = "measured on other rows"
    found = Comparison(
        kind="bare", difference=change, error=nan, low=nan, high=nan, p=nan, note=note
    )
    return Compared(found, "others")


def _by_scatter(span: Sequence[float], own: Scatter | None) -> tuple[Comparison, Basis]:
    """The last of `span` minus its first, without rows: beyond t * sqrt(2) * scatter, or not known.

    Where nothing is left beside a curve that only falls or only rises, the order is the evidence.
    """
    nan = math.nan
    change = span[-1] - span[0]
    unknown = Comparison(kind="bare", difference=change, error=nan, low=nan, high=nan, p=nan)
    if own is None or not math.isfinite(change):
        return unknown, "nothing"
    if own.beyond <= 0:
        p = p_of_order(span)
        if len(span) <= FEWEST or p is None:
            return unknown, "nothing"
        return replace(unknown, kind="loss", p=p), "scatter"
    p = p_beyond(change, 0.0, own)
    if own.freedom < 1 and p >= ALPHA:
        return unknown, "nothing"  # one window of four tells no error
    half = math.sqrt(2) * own.deviation * _t95(own.freedom)
    found = Comparison(
        kind="loss",
        difference=change,
        error=math.sqrt(2) * own.deviation,
        low=change - half,
        high=change + half,
        p=p,
    )
    return found, "scatter"


def _beyond_rounding(own: Scatter | None, losses: Sequence[float]) -> Scatter | None:
    """The scatter, and no less of it than half a unit of the last digit that the log prints.

    Losses of few digits often repeat the one before, and the median of their differences then
    knows nothing of the others.
    """
    if own is None or own.beyond <= 0:
        return own
    floor = (_last_digit(losses) / 2) ** 2
    return replace(own, beyond=max(own.beyond, floor), total=max(own.total, floor))


def _last_digit(losses: Sequence[float]) -> float:
    """One unit of the last decimal place that any of these losses has: 0.01 of 0.4 and 0.43."""
    return 10.0 ** min((_exponent(loss) for loss in losses if math.isfinite(loss)), default=-17)


@functools.lru_cache(4096)
def _exponent(loss: float) -> int:
    """Of the last decimal place of a finite number, as it is printed."""
    exponent = Decimal(repr(loss)).as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent


def p_of_order(span: Sequence[float]) -> float | None:
    """The last of `p_of_orders`; None in place of NaN."""
    found = float(p_of_orders(np.asarray(span, dtype=np.float64))[-1])
    return None if math.isnan(found) else found


def p_of_orders(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[K] probability that the first 1, 2, ... K values, in an order drawn at random, only fall or
    only rise.

    2 / n! for n different values; equal ones (a loss that is printed with few digits) can change
    places unseen: 2 * product(m!) / n! for groups of m equal values. NaN where they do neither, or
    are all equal.
    """
    out = np.full(len(values), np.nan)
    rises = falls = True
    alike, logarithm, same = True, 0.0, 1
    for i, (before, now) in enumerate(itertools.pairwise(values.tolist()), start=1):
        rises, falls = rises and now >= before, falls and now <= before
        if not rises and not falls:
            break
        alike, same = (alike, same + 1) if now == before else (False, 1)
        # log of the product of all m!, one factor of m at a time
        logarithm += math.log(same)
        if not alike:
            out[i] = min(1.0, 2 * math.exp(logarithm - math.lgamma(i + 2)))
    return out


def loss_p(found: LossDifference) -> float:
    """Two-sided p that nothing changed."""
    if math.isnan(found.z):
        return 1.0 if found.mean == 0 else 0.0
    return 2 * float(special_functions().stdtr(found.rows - 1, -abs(found.z)))


def _columns(
    losses: NDArray[np.float64],
    places: NDArray[np.int64],
    others: NDArray[np.int64],
    own: Scatter | None,
    paired: Mapping[tuple[int, int], LossDifference],
    real: NDArray[np.bool_],
) -> Differences:
    """What `loss_comparison` and `_by_scatter` say of all validations against `others`, where they
    are `real`. The p of a change that is judged by the scatter is that of the scatter: it has no
    error of its own that the scatter would be added to."""
    change = np.where(real, losses[places] - losses[others], np.nan)
    error, p = np.full(len(places), np.nan), np.full(len(places), np.nan)
    told = np.isfinite(change)
    if own is not None and own.beyond > 0:
        p[told] = p_all_beyond(change[told], np.zeros(int(told.sum())), own)
        if own.freedom < 1:
            p[~(p < ALPHA)] = np.nan
    elif own is not None and not others.any():
        # Of a change to the one before there are two values, and of so few nothing is known.
        known = p_of_orders(losses)
        p[FEWEST:] = np.where(told, known, np.nan)[FEWEST:]
    for (place, other), found in paired.items():
        if real[place] and others[place] == other:
            change[place], error[place], p[place] = found.mean, found.error, loss_p(found)
    out = Differences()
    out.extend(change, error, p, p)
    return out


def _t95(freedom: float) -> float:
    return float(special_functions().stdtrit(freedom, 1 - ALPHA / 2))


def _curve(validations: Sequence[Validation], tables: Sequence[RowLosses | None]) -> Curve:
    """The validations as one curve, with what their rows explain of its third differences."""
    values = np.array([v.loss for v in validations], dtype=np.float64)
    explained = np.zeros(max(0, len(values) - FEWEST + 1))
    known = [t for t in tables if t is not None]
    alike = len(known) == len(tables) and all(same_rows(t, known[0]) for t in known[1:])
    if known and alike and len(known) >= FEWEST:
        table = np.array([t.losses for t in known])
        finite = np.isfinite(table).all(axis=0)
        weights = shared_weights(known[0], known[-1])
        parts = np.ones(table.shape[1]) if weights is None else weights
        parts = np.where(finite, parts, 0.0)
        if parts.sum() > 0:
            parts, table = parts / parts.sum(), np.where(finite, table, 0.0)
            values, explained = table @ parts, row_share(table, parts)
    return Curve(values=values, explained=explained, loss=True)
