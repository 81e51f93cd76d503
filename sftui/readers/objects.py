"""Rows that are objects with names: JSON lines, a trainer's state, wandb's history, event files.

They share the meaning of their names (`layouts`) and the evidence of the `ledger`; what is
special to a format, as where its clock is, stays with its reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sftui.readers.layouts import Layout, layout_of
from sftui.readers.ledger import LedgerReader
from sftui.readers.pairs import Row
from sftui.readers.quantities import clock, quantity

MOST_LAYOUTS = 2000
_TIME_NAMES = ("_timestamp", "timestamp", "time", "wall_time")
_FIRST_TIME = 1e8
"""Seconds since 1970 are more; a duration is less."""


class ObjectReader(LedgerReader):
    """See the module."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._layouts: dict[tuple[Any, ...], Layout] = {}

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
            runtime = number_of(items["train_runtime"])
            self._end_of_run(number_of(items.get("train_loss")), runtime)
            return True
        row = Row(items)
        key = tuple((p.name, p.total, p.split, bool(p.unit), p.whole) for p in row.pairs)
        layout = self._layouts.get(key)
        if layout is None:
            if len(self._layouts) >= MOST_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[key] = layout_of(row.pairs, self.names)
        if t is None:
            t = _time_of(items)
        if layout.counters:
            at = None
        if layout.tells or at is None:
            return self._take(layout, row.numbers, t=t, at=at, entry=entry)
        self._note_epoch(layout, row.numbers)
        numbers = self._row_of(layout, row.numbers)
        if not set(numbers) - {"epoch"}:
            return False
        self._plain_row(at, numbers, None, t)
        return True

    def _is_summary(self, items: Mapping[str, Any]) -> bool:
        """Newer transformers log `train_runtime` with every loss; the end alone has its mean."""
        return "train_runtime" in items and "train_loss" in items and "loss" not in items


def _time_of(items: Mapping[str, Any]) -> float | None:
    for name in _TIME_NAMES:
        value = items.get(name)
        if type(value) in (int, float) and value >= _FIRST_TIME:
            return float(value) if value < 1e11 else float(value) / 1000
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
