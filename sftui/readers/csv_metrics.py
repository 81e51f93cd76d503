"""Read a table of metrics: Lightning's CSVLogger, Keras' CSVLogger, exports of wandb and
TensorBoard, a data frame's `to_csv`; parted by commas, tabs or semicolons.

A row holds what was logged together; empty cells were not logged. Lightning's steps
count from 0, and its last rows of an epoch repeat a step with other columns.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Sequence
from typing import Any, ClassVar

from engine.events import Event
from sftui.readers import Sniffed
from sftui.readers.layouts import EVALUATED, Layout, Pair, is_accuracy, layout_of
from sftui.readers.ledger import LedgerReader
from sftui.readers.meanings import (
    NAMING,
    TRAINING_WORDS,
    VALUES,
    Kind,
    Names,
    is_split_key,
    meaning,
    split_of,
    words_of,
)
from sftui.readers.quantities import is_decimal_comma, quantity, whole

MAX_COLUMNS = 2000
_SURE_ROWS = 3
_DELIMITERS = (",", "\t", ";", "|")
_SPACES = " "
"""Columns under each other, as a data frame is printed; an index may have no name."""
_LINES_BEFORE_HEADER = 20
_WORTH_A_RUN = 4
_MOST_HEADERS, _LONGEST_KEPT = 64, 4096
"""Of headers that are remembered, and of the characters of one."""
_OF_A_HEADER = (
    *("_delimiter", "_header", "_step_at", "_layouts", "_long", "_split_at", "_marked"),
    *("_names", "_runs"),
)
"""What `CsvReader._take_header` finds out."""
_RANGE = re.compile(r".*__(?:MIN|MAX)")
_EXPORTED = re.compile(r"(.+?) - (.+)")
_TAG = re.compile(r"run-.*?-?tag-(.+)\.csv")
_TENSORBOARD = ["Wall time", "Step", "Value"]
_MLFLOW = re.compile(r"\d{13} [-+]?[\d.a-zA-Z+-]{1,40} \d{1,12}")
"""A line of a metric's file in an MLflow store: milliseconds, value, step, and no header."""
_DOTTED = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+")
"""A count with its thousands parted by dots, in a table whose decimals have commas."""
_DURATION = re.compile(r"\d{1,4}:\d\d(?::\d\d)?")
_BOXES = str.maketrans("│┃║┆┊", "|||||")
"""What parts the columns of tables that are drawn, as rich and polars print them."""


class CsvReader(LedgerReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "csv"
    words: ClassVar[str] = "CSV of metrics"
    marks: ClassVar[re.Pattern[bytes]] = re.compile(rb"step|epoch|iter", re.IGNORECASE)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._delimiter = ","
        self._header: list[str] = []
        self._names: list[str] = []
        self._step_at = -1
        self._split_at = -1
        self._runs: list[str] = []
        """Runs side by side in one export; their rows wait in `_held` for the end."""
        self._held: list[tuple[tuple[tuple[bool, ...], str], list[list[str]]]] = []
        self._long: tuple[int, int] | None = None
        """Columns of names and values, where every row holds one number."""
        self._marked = False
        """A word in a row says what its numbers are."""
        self._layouts: dict[tuple[tuple[bool, ...], str], Layout] = {}
        self._headers: dict[str, dict[str, Any]] = {}
        """What came of the last different headers: a script that restarts writes one again."""

    @classmethod
    def sniff(cls, head: bytes, names: Names | None = None) -> Sniffed:
        names = names or Names()
        lines = head[: 256 * 1024].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        lines = [line for line in lines[:60] if line.strip()]
        for number, raw in enumerate(lines[:_LINES_BEFORE_HEADER]):
            line = _unboxed(raw.decode("utf-8", "replace").removeprefix("\ufeff"))
            if _MLFLOW.fullmatch(line) and all(_MLFLOW.fullmatch(_text(each)) for each in lines):
                return Sniffed(0.99, "lines of milliseconds, a value and a step")
            delimiter = _delimiter_of(line)
            header = _cells(line, delimiter)
            step_at = _step_column(header, names)
            if step_at < 0 or len(header) < 2:
                continue
            rest = lines[number + 1 : number + 21]
            width = len(header)
            rows = [_cells(_unboxed(_text(each)), delimiter, width) for each in rest]
            if delimiter == _SPACES and not _is_table(header, rows):
                continue
            good = [
                row for row in rows if len(row) == width and _may_count(row[step_at], delimiter)
            ]
            if not good:
                continue
            # A column of steps under its name, row after row: no other format looks like that.
            sure = len(good) >= _SURE_ROWS and len(good) >= len(rows) - 1
            return Sniffed(
                0.99 if sure else 0.9,
                f"a header with {header[step_at].strip()!r} and {len(header) - 1} more columns",
            )
        return Sniffed(0.0)

    def feed(self, data: bytes) -> list[Event]:
        lines = self._buffer.feed(data)
        self.lines.total += len(lines)
        self._take_lines([_unboxed(line) for line in lines if line and not line.isspace()])
        return self._drain()

    def _line(self, line: str) -> bool:
        self._take_lines([line])
        return True

    def _take_lines(self, lines: list[str]) -> None:
        """Rows, many at once where they are nothing but numbers."""
        if len(lines) < _WORTH_A_RUN:
            self._take_each(lines)
            return
        if self._step_at < 0:  # a header has as many commas as its rows
            self._take_each(lines[:1])
            lines = lines[1:]
        for (plain, *_), group in itertools.groupby(lines, key=_build):
            run = list(group)
            if not (plain and len(run) >= _WORTH_A_RUN and self._take_run(run)):
                self._take_each(run)

    def _take_run(self, lines: list[str]) -> bool:
        """Rows of numbers in the same columns, cut and converted all at once; False where a
        single one of them is anything else, and nothing was taken.

        As `_take_each`, but with a few calls a column instead of a dozen a row.
        """
        width, step_at = len(self._header), self._step_at
        if self._delimiter != "," or self._marked or self._runs or not 0 <= step_at < width:
            return False
        cells = ",".join(lines).split(",")
        if len(cells) != width * len(lines) or width > MAX_COLUMNS:
            return False
        if not all(map(str.isdecimal, cells[step_at::width])):
            return False
        filled = tuple(map(bool, cells[:width]))
        columns: dict[int, Sequence[float | None]] = {}
        for at, full in enumerate(filled):
            column = cells[at::width]
            if not full:
                if any(column):
                    return False
            elif self._names[at]:
                try:
                    columns[at] = list(map(float, column))
                except ValueError:
                    return False
            elif not all(column):
                return False
        if not self.overturned:
            self._take_rows(self._layout((filled, "")), columns, len(lines))
        return True

    def _take_each(self, lines: list[str]) -> None:
        """Rows that have numbers in the same columns are converted together."""
        kind: tuple[tuple[bool, ...], str] = ((), "")
        block: list[list[str]] = []
        width, step_at, delimiter = len(self._header), self._step_at, self._delimiter
        for line in lines:
            cells = _cells(line, delimiter, width)
            if delimiter != "," and 0 <= step_at < len(cells):
                cells[step_at] = self._without_dots(cells[step_at])
            if step_at >= len(cells) or step_at < 0 or not _counts(cells[step_at]):
                self._convert(kind, block)
                block = []
                self._take_header(line)
                width, step_at, delimiter = len(self._header), self._step_at, self._delimiter
                continue
            if len(cells) != width:
                self._convert(kind, block)
                block = []
                self._unknown(line)
                continue
            found = tuple(map(bool, cells)), self._split_of(cells) if self._marked else ""
            if found != kind:
                self._convert(kind, block)
                kind, block = found, []
            block.append(cells)
        self._convert(kind, block)

    def _without_dots(self, cell: str) -> str:
        """A step of `1.200`: twelve hundred, where the table's decimals have commas."""
        dotted = _DOTTED.fullmatch(cell) and (self.settled.decimal_commas or not _counts(cell))
        return cell.replace(".", "") if dotted else cell

    def _take_header(self, line: str) -> None:
        if self._step_at < 0 and _MLFLOW.fullmatch(line):
            name = self.file_name or "value"
            self._delimiter, self._step_at = _SPACES, 2
            self._header = self._names = ["timestamp", name, "step"]
            self._take_each([line])
            return
        if known := self._headers.get(line):
            vars(self).update(known)
            return
        delimiter = _delimiter_of(line)
        cells = _cells(line, delimiter)
        step_at = _step_column(cells, self.names)
        if step_at < 0:
            self._unknown(line)
            return
        # Lightning writes its header again when a later row brings a new column.
        self._delimiter, self._header, self._step_at = delimiter, cells, step_at
        self._layouts = {}
        self._long = _long_columns(cells)
        words = [words_of(name) for name in cells]
        self._split_at = next(
            (i for i, key in enumerate(words) if is_split_key(key) and i not in (self._long or ())),
            -1,
        )
        self._marked = self._long is not None or self._split_at >= 0
        runs = list(dict.fromkeys(m[1] for name in cells if (m := _EXPORTED.fullmatch(name))))
        self._names = [_plain_name(name, one_run=len(runs) == 1) for name in cells]
        self._runs = runs if len(runs) > 1 and _is_export(cells, step_at) else []
        if cells == _TENSORBOARD:
            tag = _TAG.fullmatch(self.file_name)
            self._names[2] = tag[1] if tag else self.file_name.rsplit(".", 1)[0] or "Value"
        if len(line) > _LONGEST_KEPT:
            return
        if len(self._headers) >= _MOST_HEADERS:
            self._headers.clear()
        self._headers[line] = {name: getattr(self, name) for name in _OF_A_HEADER}

    def _split_of(self, cells: Sequence[str]) -> str:
        """The split of a row; of a long table, the name of its number."""
        split = split_of(cells[self._split_at]) if self._split_at >= 0 else ""
        if self._long is None:
            return split
        name = cells[self._long[0]]
        return f"{split}/{name}" if split in EVALUATED and not split_of(name) else name

    def _layout(self, kind: tuple[tuple[bool, ...], str]) -> Layout:
        found = self._layouts.get(kind)
        if found is None:
            filled, split = kind
            names = list(self._names)
            if self._long is not None:
                names[self._long[1]], names[self._long[0]], split = split, "", ""
            pairs = [
                Pair(name, at, -1, split)
                for at, (name, full) in enumerate(zip(names, filled, strict=True))
                if full and name and not _RANGE.fullmatch(name) and at != self._split_at
            ]
            found = self._layouts[kind] = layout_of(pairs, self.names)
            _take_accuracy(found)
        return found

    def _end(self) -> None:
        """Runs that were exported side by side are read one after another."""
        runs, self._runs = self._runs, []
        header = [name.strip() for name in self._header]
        for run in runs:
            self._settle_results()
            if self._running:
                self._new_run()
            self.stage_name = run
            self._layouts = {}
            self._names = [_name_in(run, name) for name in header]
            for kind, block in self._held:
                self._convert(kind, block)

    def _convert(self, kind: tuple[tuple[bool, ...], str], block: list[list[str]]) -> None:
        if not block or self.overturned:
            return
        if self._runs:
            self._held.append((kind, block))
            return
        layout = self._layout(kind)
        columns: dict[int, Sequence[float | None]] = {}
        for at, cells in enumerate(zip(*block, strict=True)):
            if kind[0][at] and self._names[at] and at != self._split_at:
                try:
                    columns[at] = list(map(float, cells))
                except ValueError:  # words, or numbers in another dress
                    columns[at] = self._quantities(cells)
        self._take_rows(layout, columns, len(block))

    def _quantities(self, cells: Sequence[str]) -> list[float | None]:
        if self._delimiter != "," and any(map(is_decimal_comma, cells)):
            self._reads_decimal_commas()
        commas = self.settled.decimal_commas
        return [_number(cell, decimal_commas=commas) for cell in cells]


def _long_columns(header: Sequence[str]) -> tuple[int, int] | None:
    small = ["_".join(words_of(name)) for name in header]
    naming = [at for at, name in enumerate(small) if name in NAMING]
    values = [at for at, name in enumerate(small) if name in VALUES]
    return (naming[0], values[0]) if len(naming) == len(values) == 1 else None


def _plain_name(name: str, *, one_run: bool) -> str:
    """wandb's export calls a column `RUN - train/loss`; pandas gives an index no name."""
    name = name.strip()
    if name.startswith("Unnamed: "):
        return ""
    match = _EXPORTED.fullmatch(name)
    return match[2] if match and one_run else name


def _is_export(header: Sequence[str], step_at: int) -> bool:
    """Whether each column but the step's is of a run, and one of them a loss."""
    matches = [_EXPORTED.fullmatch(name.strip()) for at, name in enumerate(header) if at != step_at]
    kinds = {meaning(match[2]).kind for match in matches if match}
    return all(matches) and bool(kinds & {Kind.LOSS, Kind.VALIDATION})


def _name_in(run: str, name: str) -> str:
    """What a column of an export is called in this run; empty for another run's."""
    if name.startswith(f"{run} - "):
        return name.removeprefix(f"{run} - ")
    return "" if _EXPORTED.fullmatch(name) else name


def _cells(line: str, delimiter: str = ",", width: int = 0) -> list[str]:
    """The cells of a line; `width`: of a table of blanks, how many its header has."""
    if delimiter == _SPACES:
        if not width:
            cells = re.split(r"\s{2,}", line.strip())
            return (cells if len(cells) > 1 else line.split())[:MAX_COLUMNS]
        cells = ["" if cell == "NaN" else cell for cell in line.split()[:MAX_COLUMNS]]
        return cells[1:] if len(cells) == width + 1 else cells
    if '"' not in line:
        # Most rows are numbers alone: a tenth of what the csv module takes for a line.
        cells = line.split(delimiter, MAX_COLUMNS)
        if len(cells) > MAX_COLUMNS:
            cells.pop()
        return cells if delimiter == "," else [cell.strip() for cell in cells]
    try:
        return next(csv.reader([line], delimiter=delimiter), [])[:MAX_COLUMNS]
    except csv.Error:
        return []


def _delimiter_of(line: str) -> str:
    best = max(_DELIMITERS, key=lambda delimiter: (line.count(delimiter), delimiter == ","))
    return best if best in line else _SPACES


def _step_column(header: list[str], names: Names) -> int:
    """The column that counts: of steps where there is one, else of epochs; -1 for none."""
    if any(len(name) > 200 or "=" in name or ": " in name for name in header):
        return -1
    found = [(names.of(name.strip()), i) for i, name in enumerate(header) if name.strip()]
    steps = [(each.order, i) for each, i in found if each.kind is Kind.STEP]
    epochs = [i for each, i in found if each.kind is Kind.EPOCH]
    return min(steps)[1] if steps else epochs[0] if epochs else -1


def _is_table(header: list[str], rows: list[list[str]]) -> bool:
    """Whether lines parted by blanks are one: numbers under names, a loss among them."""
    losses = any(meaning(name).kind in (Kind.LOSS, Kind.VALIDATION) for name in header)
    whole_rows = [row for row in rows if len(row) == len(header)]
    cells = (cell for row in whole_rows for cell in row)
    numbers = all(not c or _number(c) is not None or _DURATION.fullmatch(c) for c in cells)
    return losses and len(whole_rows) == len(rows) and numbers


def _build(line: str) -> tuple[bool, int, int, bool]:
    """Equal for rows that may have numbers in the same columns; whether they are plain first."""
    return '"' not in line, line.count(","), line.count(",,"), line[:1] == ","


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def _unboxed(line: str) -> str:
    """A row of a table that is drawn, with plain bars between its cells."""
    return line if line.isascii() else line.translate(_BOXES)


def _take_accuracy(layout: Layout) -> None:
    """Beside `Training Loss` and `Validation Loss`, the one accuracy is the evaluation's."""
    accuracies = [each for each in layout.free if is_accuracy(each[1])]
    training = bool(layout.losses and TRAINING_WORDS & set(words_of(layout.losses[0][1])))
    if training and layout.validations and not layout.accuracies and len(accuracies) == 1:
        layout.free.remove(accuracies[0])
        layout.accuracies.append((accuracies[0][0], "eval", -1))


def _may_count(cell: str, delimiter: str) -> bool:
    return _is_step(cell) or (delimiter != "," and bool(_DOTTED.fullmatch(cell.strip())))


def _counts(cell: str) -> bool:
    return cell.isdecimal() or _is_step(cell)


def _is_step(cell: str) -> bool:
    cell = cell.lstrip()  # some pad their columns
    return cell[:1].isdigit() and whole(_number(cell)) is not None


def _number(cell: str, *, decimal_commas: bool = False) -> float | None:
    try:
        return quantity(cell, decimal_commas=decimal_commas)
    except ValueError:
        return None
