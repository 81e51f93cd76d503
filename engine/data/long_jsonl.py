"""JSONL files that are too long for memory: rows stay on disk, their places are in memory.

A row costs 16 bytes of memory, however long it is; the operating system keeps the pages that
are read often. Nothing is copied: the file that was opened is read to the end of the run, also
where another has taken its name meanwhile.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import overload

from engine.conversations.conversation import RowFault
from engine.data.dataset import Item, Rows, parse_row, refuse_hollow
from engine.data.json_rows import UTF8_MARK, is_row, parse_json
from engine.errors import DataError
from engine.files import checked
from engine.files.lfs import pointer_fault

LONG = 2**28
"""Bytes from which on a file stays on disk: its rows as objects take three times as much."""
Fault = tuple[str, RowFault]
"""Place and fault of a row."""
AT_ONCE = 256
"""Rows that are looked at together."""
MOST_ROW = 2**28
"""Bytes of a row that stays on disk; it is read whole whenever it is asked for."""
HEAD = 2**16
"""Bytes that tell the encoding."""


class LongJsonl:
    """One row a line, in UTF-8, read from disk whenever it is asked for; see `dataset.Rows`."""

    on_disk = True

    def __init__(self, path: Path) -> None:
        """Find where the lines begin and end.

        Raises:
            DataError: it cannot be read.
        """
        self._path = path
        self._starts, self._lines = array("q"), array("q")
        try:
            self._open()
            self._scan()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self._stat = os.fstat(self._fd)
        refuse_hollow(self._path, self._stat)

    def _scan(self) -> None:
        start = len(UTF8_MARK) if os.pread(self._fd, 3, 0) == UTF8_MARK else 0
        with open(self._fd, "rb", closefd=False, buffering=2**20) as file:
            file.seek(start)
            for number, line in enumerate(iter(partial(file.readline, MOST_ROW + 1), b""), start=1):
                if len(line) > MOST_ROW:
                    raise DataError(
                        f"{self._path}:{number}: a row of more than {MOST_ROW:,} bytes; expected "
                        "one row a line."
                    )
                if line.strip():
                    self._starts.append(start)
                    self._lines.append(number)
                start += len(line)
        self._end = start

    def __del__(self) -> None:
        if (fd := self.__dict__.pop("_fd", None)) is not None:
            os.close(fd)

    def __reduce__(self) -> tuple[type[LongJsonl], tuple[Path]]:
        """For the processes that render: each opens the file itself."""
        return LongJsonl, (self._path,)

    @property
    def name(self) -> str:
        return str(self._path)

    def __len__(self) -> int:
        return len(self._starts)

    def read(self, index: int) -> object:
        """The row.

        Raises:
            RowFault: it is no JSON, or the file was written to since it was opened.
        """
        start = self._starts[index]
        end = self._starts[index + 1] if index + 1 < len(self) else self._end
        now = os.fstat(self._fd)
        if (now.st_size, now.st_mtime_ns) != (self._stat.st_size, self._stat.st_mtime_ns):
            raise RowFault(
                "the file was written to while its rows were in use; expected it to stay as it "
                "was. Put it back and resume, or start anew"
            )
        # Blank lines behind the row come along; JSON allows them.
        return parse_json(os.pread(self._fd, end - start, start).strip())

    def prefetch(self, indices: Sequence[int]) -> None:
        """Nothing to do: the system reads ahead."""

    def where(self, index: int) -> str:
        return f"{self._path}:{self._lines[index]}"


class ItemsOnDisk:
    """Rows of one entry that are looked at and forgotten; what is taken of them is read anew."""

    def __init__(self, rows: Rows, subject: str) -> None:
        """`subject` as in `parse_row`."""
        self._rows, self._subject = rows, subject
        self.sound = array("q")
        """Numbers of the rows without a fault, in the order they were looked at."""

    def look(self, indices: Sequence[int]) -> list[Fault]:
        """The faults of these rows, in this order."""
        faults: list[Fault] = []
        for place, index in enumerate(indices):
            if place % AT_ONCE == 0:
                self._rows.prefetch(indices[place : place + AT_ONCE])
            try:
                parse_row(self._rows.read(index), subject=self._subject)
            except RowFault as fault:
                faults.append((self._rows.where(index), fault))
            else:
                self.sound.append(index)
        return faults

    def take(self, chosen: Sequence[int]) -> tuple[Sequence[Item], Sequence[str]]:
        """Items of these rows; they are told apart by their content."""
        return ReadItems(self._rows, chosen, self._subject), ()


class ReadItems(Sequence[Item]):
    """Rows in a given order, each parsed whenever it is asked for."""

    def __init__(self, rows: Rows, chosen: Sequence[int], subject: str) -> None:
        """`chosen`: their numbers in the file; `subject` as in `parse_row`."""
        self._rows, self._chosen, self._subject = rows, array("q", chosen), subject

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            return ReadItems(self._rows, self._chosen[index], self._subject)
        number = self._chosen[index]
        try:
            return parse_row(self._rows.read(number), subject=self._subject)
        except RowFault as fault:
            raise DataError(f"{self._rows.where(number)}: {fault}.") from None

    def __iter__(self) -> Iterator[Item]:
        for index in range(len(self)):
            yield self[index]


def rows_stay_on_disk(rows: Rows) -> bool:
    """Whether rows are read from disk whenever they are asked for."""
    return bool(getattr(rows, "on_disk", False))


def is_long(size: int) -> bool:
    """Whether rows of so many bytes stay on disk."""
    return size >= LONG


def stays_on_disk(path: Path, together: int = 0) -> bool:
    """Whether a file is long, and has one row a line in UTF-8: any other is read whole.

    `together`: bytes of the files that are read with it.
    """
    try:
        found = path.stat()
        if checked.is_hollow(found) or not is_long(max(found.st_size, together)):
            return False  # what is hollow is refused where it is read
        if pointer_fault(path):
            return False
        with path.open("rb") as file:
            head = file.read(HEAD)
            if not json.detect_encoding(head[:4]).startswith("utf-8"):
                return False
            file.seek(len(UTF8_MARK) if head.startswith(UTF8_MARK) else 0)
            lines = iter(partial(file.readline, MOST_ROW), b"")
            first = next((line for line in lines if line.strip()), b"")
        return is_row(first)
    except OSError:
        return False
