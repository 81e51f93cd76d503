"""Read a CSV of metrics with a `step` column: Lightning's CSVLogger, and others alike.

A row holds what was logged together; empty cells were not logged. Lightning's steps
count from 0, and its last rows of an epoch repeat a step with other columns.
"""

from __future__ import annotations

import csv
import re
from typing import ClassVar

from engine.events import Event
from sftui.readers import Sniffed
from sftui.readers.text import TextReader

_STEPS = ("step", "global_step", "trainer/global_step", "_step", "iteration", "iter", "steps")
MAX_COLUMNS = 2000
_SURE_ROWS = 3


class CsvReader(TextReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "csv"
    words: ClassVar[str] = "CSV of metrics"
    marks: ClassVar[re.Pattern[bytes]] = re.compile(rb"step")

    def __init__(self) -> None:
        super().__init__()
        self._header: list[str] = []
        self._step_at = -1

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        first, _, rest = head.partition(b"\n")
        header = _cells(first.decode("utf-8", "replace"))
        step_at = _step_column(header)
        if step_at < 0 or len(header) < 2:
            return Sniffed(0.0)
        rows = [_cells(line.decode("utf-8", "replace")) for line in rest.split(b"\n", 21)[:20]]
        good = [row for row in rows if len(row) == len(header) and row[step_at].isdecimal()]
        if not good:
            return Sniffed(0.0)
        # A column of steps under its name, row after row: no other format looks like that.
        whole = len(good) >= _SURE_ROWS and len(good) >= len(rows) - 1
        confidence = 0.99 if whole else 0.9
        return Sniffed(
            confidence, f"a header with {header[step_at]!r} and {len(header) - 1} more columns"
        )

    def feed(self, data: bytes) -> list[Event]:
        lines = self._buffer.feed(data)
        self.lines.total += len(lines)
        self._take([line for line in lines if line and not line.isspace()])
        return self._drain()

    def _line(self, line: str) -> bool:
        self._take([line])
        return True

    def _take(self, lines: list[str]) -> None:
        """Rows that have numbers in the same columns are converted together."""
        shape: tuple[bool, ...] = ()
        block: list[list[str]] = []
        for line, cells in zip(lines, map(_cells, lines), strict=True):
            if (
                not self._header
                or self._step_at >= len(cells)
                or not cells[self._step_at].isdecimal()
            ):
                self._convert(shape, block)
                block = []
                if (step_at := _step_column(cells)) >= 0:
                    # Lightning writes its header again when a later row brings a new column.
                    self._header, self._step_at = cells, step_at
                else:
                    self._unknown(line)
                continue
            if len(cells) != len(self._header):
                self._unknown(line)
                continue
            filled = tuple(map(bool, cells))
            if filled != shape:
                self._convert(shape, block)
                shape, block = filled, []
            block.append(cells)
        self._convert(shape, block)

    def _convert(self, shape: tuple[bool, ...], block: list[list[str]]) -> None:
        if not block:
            return
        by_column = list(zip(*block, strict=True))
        steps = [int(cell[:12]) for cell in by_column[self._step_at]]
        names: list[str] = []
        columns: list[list[float]] = []
        for name, filled, cells in zip(self._header, shape, by_column, strict=True):
            if filled and name not in _STEPS:
                try:
                    columns.append(list(map(float, cells)))
                except ValueError:  # words: a column of text
                    continue
                names.append(name)
        if set(names) - {"epoch"}:
            self._block(steps, tuple(names), columns)


def _cells(line: str) -> list[str]:
    if '"' not in line:
        # Most rows are numbers alone: a tenth of what the csv module takes for a line.
        return line.split(",", MAX_COLUMNS)[:MAX_COLUMNS]
    try:
        return next(csv.reader([line]), [])[:MAX_COLUMNS]
    except csv.Error:
        return []


def _step_column(header: list[str]) -> int:
    return next((header.index(name) for name in _STEPS if name in header), -1)
