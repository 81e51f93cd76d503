"""Rows that are objects with names: JSON lines, a trainer's state, wandb's history, event files.

They share the meaning of their names (`layouts`) and the evidence of the `ledger`; what is
special to a format, as where its clock is, stays with its reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.events import Event
from sftui.readers.layouts import Layout, layout_of
from sftui.readers.ledger import LedgerReader
from sftui.readers.pairs import Row
from sftui.readers.quantities import clock, quantity

MOST_LAYOUTS = 2000


class ObjectReader(LedgerReader):
    """See the module."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._layouts: dict[tuple[Any, ...], Layout] = {}
        self._plain_layouts: dict[tuple[str, ...], Layout] = {}
        self._block_layout: Layout | None = None
        self._waiting: list[list[float | None]] = []
        self._waiting_steps: list[int] = []
        self._waiting_times: list[float] = []

    def _line(self, line: str) -> bool:
        raise AssertionError("the file holds objects, not lines")

    def _object(
        self,
        items: Mapping[str, Any],
        *,
        at: int | None = None,
        t: float | None = None,
        entry: bool = False,
    ) -> bool:
        """One row; `at` is its step, where its names do not say it. False for nothing in it."""
        if self.overturned:
            return True
        if self._is_summary(items):
            self._flush_block()
            runtime = number_of(items["train_runtime"])
            self._end_of_run(number_of(items.get("train_loss")), runtime, items.get("step"))
            return True
        plain = _plain_numbers(items)
        if plain is not None and (known := self._plain_layouts.get(tuple(items))):
            if known.goes_in_blocks and (known.counters or at is not None):
                self._wait(known, plain, at, t)
                return True
            return self._give(known, plain, at, t, entry)
        row = Row(items)
        key = tuple((p.name, p.total, p.split, bool(p.unit), p.whole) for p in row.pairs)
        layout = self._layouts.get(key)
        if layout is None:
            if len(self._layouts) >= MOST_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[key] = layout_of(row.pairs, self.names)
        if plain is not None and len(plain) == len(row.numbers):
            if len(self._plain_layouts) >= MOST_LAYOUTS:
                self._plain_layouts.clear()
            self._plain_layouts[tuple(items)] = layout
        return self._give(layout, row.numbers, at, t, entry)

    def _objects(
        self, columns: Mapping[str, list[float]], steps: Sequence[int], times: Sequence[float]
    ) -> None:
        """Many rows of the same numbers, as `_object` of each with its step and time."""
        known = self._plain_layouts.get(tuple(columns))
        if known is not None and known.goes_in_blocks and not self.overturned:
            self._flush_block()
            given = () if known.counters else steps
            by_index = dict(enumerate(columns.values()))
            self._take_rows(known, by_index, len(steps), times, given)
            return
        for i, (step, row) in enumerate(
            zip(steps, zip(*columns.values(), strict=True), strict=True)
        ):
            row_of = dict(zip(columns, row, strict=True))
            self._object(row_of, at=step, t=times[i] if times else None)

    def _wait(
        self, layout: Layout, row: list[float | None], at: int | None, t: float | None
    ) -> None:
        """Keep a row until one of another kind comes."""
        if layout is not self._block_layout or (t is None) is bool(self._waiting_times):
            self._flush_block()
            self._block_layout = layout
        self._waiting.append(row)
        if at is not None and not layout.counters:
            self._waiting_steps.append(at)
        if t is not None:
            self._waiting_times.append(t)

    def _flush_block(self) -> None:
        """Give the rows that wait for others of their kind."""
        layout, rows = self._block_layout, self._waiting
        if layout is not None and rows:
            times, steps = self._waiting_times, self._waiting_steps
            self._waiting, self._waiting_times, self._waiting_steps = [], [], []
            columns = dict(enumerate(zip(*rows, strict=True)))
            self._take_rows(layout, columns, len(rows), times, steps)

    def _emit(self, event: Event) -> None:
        self._flush_block()
        super()._emit(event)

    def _drain(self) -> list[Event]:
        self._flush_block()
        return super()._drain()

    def _give(
        self,
        layout: Layout,
        row: Sequence[float | None],
        at: int | None,
        t: float | None,
        entry: bool,
    ) -> bool:
        self._flush_block()
        return self._take_row(layout, row, t=t, at=at, entry=entry)

    def _is_summary(self, items: Mapping[str, Any]) -> bool:
        """Newer transformers log `train_runtime` with every loss; the end alone has its mean."""
        return "train_runtime" in items and "train_loss" in items and "loss" not in items


_NUMBERS = frozenset([int, float])


def _plain_numbers(items: Mapping[str, Any]) -> list[float | None] | None:
    """The values of an object of numbers alone; None for any other."""
    values = items.values()
    if not _NUMBERS.issuperset(map(type, values)):
        return None
    try:
        return list(map(float, values))
    except OverflowError:
        return None


def number_of(value: Any) -> float | None:
    """The number of a JSON value that is one or holds one as text; None for any other."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    if isinstance(value, str):
        try:
            return quantity(value)
        except ValueError:
            return clock(value)
    return None
