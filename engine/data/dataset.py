"""Find a task's rows on disk and read them; every fault has a file and a line.

Only rows that are asked for are parsed, so a run that takes 10,000 rows of a large file
pays for 10,000.
"""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from engine.conversations.conversation import (
    ROW_LOSS_KEYS,
    Conversation,
    RowFault,
    is_gsm8k_answer,
    parse_gsm8k,
    parse_messages,
    parse_pair,
    says_loss,
)
from engine.conversations.letter_questions import Question, parse_question
from engine.conversations.problems import Problem, parse_program
from engine.conversations.row_fault import shown
from engine.data import row_columns
from engine.data.json_rows import as_utf8, parse_json, rows_of_text
from engine.errors import DataError
from engine.files import checked
from engine.files.lfs import pointer_fault

Item = Conversation | Question | Problem

MOST_SOURCE_LETTERS = 60
"""A longer `source` of a row is a text or an address, not the name of a kind of rows."""

SUFFIXES = (".jsonl", ".parquet")


class Rows(Protocol):
    """Raw rows of one task split, by index from 0: a file's or a hub data set's."""

    @property
    def name(self) -> str:
        """Where the rows come from, for people."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> object:
        """The raw row; raises `RowFault` when the entry cannot be read at all."""

    def prefetch(self, indices: Sequence[int]) -> None:
        """Announce the rows that will be read, for a store that reads many at once."""

    def where(self, index: int) -> str:
        """`file:line` of a row."""


def refuse_hollow(path: Path, found: os.stat_result) -> None:
    """Refuse a file of which nearly nothing was written.

    Raises:
        DataError: it says that it has gigabytes, and they are a hole.
    """
    if fault := checked.hollow_fault(path, found):
        raise DataError(f"{fault}.")


def file_bytes(path: Path, data: bytes | None = None) -> bytes:
    """What a data file holds; `data` where that has been read already.

    Raises:
        DataError: it cannot be read, or only points to where the data lie.
    """
    if data is None:
        try:
            found = path.stat()
            if kind := checked.kind_of(found.st_mode):
                raise DataError(f"{path}: is {kind}; expected a file.")
            refuse_hollow(path, found)
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
        except MemoryError:
            raise DataError(f"{path}: is larger than the memory that is there.") from None
    if fault := pointer_fault(path, data):
        raise DataError(f"{fault}.")
    return data


class JsonlRows:
    """A JSONL file, kept as bytes until a row is asked for; blank lines do not count as rows.

    Two other forms that people have under this name are read as well: one JSON array of
    rows, and rows that are written over several lines.
    """

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        """`data`: what the file holds, where that has been read already (unpacked)."""
        self._name = str(path)
        self._lines = rows_of_text(as_utf8(file_bytes(path, data), path), path)

    @property
    def name(self) -> str:
        return self._name

    def __len__(self) -> int:
        return len(self._lines)

    def read(self, index: int) -> object:
        return parse_json(self._lines[index][1])

    def prefetch(self, indices: Sequence[int]) -> None:
        """Nothing to do: the file is in memory."""

    def where(self, index: int) -> str:
        return f"{self._name}:{self._lines[index][0]}"


class TableRows(ABC):
    """Rows of a table of columns, turned into Python objects when they are named to `prefetch`."""

    _cache: Mapping[int, object] = MappingProxyType({})
    """The rows that were named last; a `RowFault` for one that holds what Python cannot."""

    @abstractmethod
    def _take(self, indices: list[int]) -> list[dict[str, object]]:
        """The rows, with every column of the table."""

    def read(self, index: int) -> object:
        if index not in self._cache:
            self.prefetch([index])
        found = self._cache[index]
        if isinstance(found, RowFault):
            raise found
        return found

    def prefetch(self, indices: Sequence[int]) -> None:
        try:
            found: Sequence[object] = [_used(row) for row in self._take(list(indices))]
        except _no_values():
            found = [self._alone(index) for index in indices]
        self._cache = dict(zip(indices, found, strict=True))

    def _alone(self, index: int) -> object:
        """One row, or what is wrong with it."""
        try:
            return _used(self._take([index])[0])
        except _no_values() as error:
            return RowFault(
                f"holds a value that cannot be read ({error}); expected UTF-8 text, and times "
                "within the calendar"
            )


def _no_values() -> tuple[type[Exception], ...]:
    """What a table's cells raise that are no value of Python.

    Text that is no UTF-8 and a day beyond the year 9999 are ValueErrors, a duration that is too
    long an OverflowError; a type of column that Arrow cannot index is an error of Arrow's own.
    """
    import pyarrow  # noqa: PLC0415  as in `ParquetRows`

    return pyarrow.ArrowException, ValueError, OverflowError


def _takeable(table: Any) -> Any:
    """The table with its views of text and bytes as plain columns: `take` does not know views.

    Polars and DuckDB keep text that way, and Parquet files of theirs may say so.
    """
    import pyarrow  # noqa: PLC0415  as in `ParquetRows`

    fields = [_takeable_field(field) for field in table.schema]
    plain = pyarrow.schema(fields, table.schema.metadata)
    return table if plain == table.schema else table.cast(plain)


def _takeable_type(kind: Any) -> Any:
    """A type of Arrow with the views in it, at any depth of lists and structs, made plain."""
    import pyarrow  # noqa: PLC0415  as in `ParquetRows`

    types = pyarrow.types
    if types.is_string_view(kind):
        return pyarrow.large_string()
    if types.is_binary_view(kind):
        return pyarrow.large_binary()
    if types.is_list(kind):
        return pyarrow.list_(_takeable_field(kind.value_field))
    if types.is_large_list(kind):
        return pyarrow.large_list(_takeable_field(kind.value_field))
    if types.is_struct(kind):
        return pyarrow.struct([_takeable_field(field) for field in kind])
    return kind


def _takeable_field(field: Any) -> Any:
    return field.with_type(_takeable_type(field.type))


def _used(row: Mapping[str, object]) -> dict[str, object]:
    """A column the row does not use is null there: the same as a missing key."""
    return {key: value for key, value in row.items() if value is not None}


MOST_PACKED = 100
"""Texts pack to a third, repeated ones to a thirtieth; line ends alone to a thousandth."""
ALWAYS_UNPACKED = 512 * 2**20
"""Of a Parquet file: a column names each text once, so that a long system prompt in tens of
thousands of rows packs to next to nothing."""
_ROWS_AT_ONCE, _BYTES_AT_ONCE = 128, 2**28
_PIECE_BYTES = 2**25
"""Of a table that rows are taken from: the joining of its batches takes so much more for once."""


class ParquetRows(TableRows):
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        # pyarrow: 0.2 s and 60 MB that a run on JSONL files need not pay.
        import pyarrow  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415

        self._path = path
        if fault := pointer_fault(path):
            raise DataError(f"{fault}.")
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                twice = _twice(file.schema_arrow)
                self._pieces: list[Any] = [] if twice else list(_unpacked(file, path))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error}).") from None
        except MemoryError:
            raise DataError(f"{path}: unpacks to more than the memory that is there.") from None
        except _no_values() as error:  # a column's name is no UTF-8
            reason = str(error).partition("\n")[0]
            raise DataError(f"{path}: not a Parquet file ({reason}).") from None
        if twice:
            raise DataError(
                f'{path}: the column "{shown(twice)}" stands twice in it; expected each once. One '
                "of the two would be thrown away: write the file anew."
            )
        self._ends = list(accumulate(piece.num_rows for piece in self._pieces))

    @property
    def name(self) -> str:
        return str(self._path)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _take(self, indices: list[int]) -> list[dict[str, object]]:
        # Piece by piece: of a table in pieces Arrow joins all of them at every call.
        places: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            places.setdefault(bisect_right(self._ends, index), []).append(place)
        found: list[dict[str, object]] = [{}] * len(indices)
        for number, wanted in places.items():
            begin = self._ends[number - 1] if number else 0
            taken = self._pieces[number].take([indices[place] - begin for place in wanted])
            for place, row in zip(wanted, taken.to_pylist(), strict=True):
                found[place] = row
        return found

    def where(self, index: int) -> str:
        return f"{self._path}, row {index + 1}"


def _unpacked(file: Any, path: Path) -> Iterator[Any]:
    """All rows of a Parquet file, as tables of some tens of megabytes.

    Raises:
        DataError: they are so many times the file's size that they are no texts of people.
    """
    import pyarrow  # noqa: PLC0415  as in `ParquetRows`

    most = max(ALWAYS_UNPACKED, MOST_PACKED * path.stat().st_size)
    found, pending = 0, 0
    batches: list[Any] = []

    def joined() -> Any:
        table = pyarrow.Table.from_batches(batches, file.schema_arrow)
        return _takeable(table).combine_chunks()

    for batch in file.iter_batches(_rows_at_once(file.metadata)):
        found += batch.nbytes
        pending += batch.nbytes
        if found > most:
            raise DataError(
                f"{path}: unpacks to more than {most // 2**20:,} MiB, of "
                f"{path.stat().st_size:,} bytes, which rows of texts do not. Write its rows to a "
                ".jsonl file to use them."
            )
        batches.append(batch)
        if pending > _PIECE_BYTES:
            yield joined()
            batches, pending = [], 0
    yield joined()


def _rows_at_once(metadata: Any) -> int:
    """How many rows may be unpacked before their size is looked at.

    No text is longer than its part of a column, which may name it in every row.
    """
    longest = 1
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            part = metadata.row_group(group).column(column)
            # What hardly packs has its length in the file.
            if part.total_uncompressed_size > 20 * part.total_compressed_size:
                longest = max(longest, part.total_uncompressed_size)
    return max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // longest))


class ListRows:
    """Rows that are in memory already: a generator's, or a test's."""

    def __init__(self, name: str, rows: Sequence[object]) -> None:
        self._name = name
        self._rows = rows

    @property
    def name(self) -> str:
        return self._name

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> object:
        return self._rows[index]

    def prefetch(self, indices: Sequence[int]) -> None:
        """Nothing to do."""

    def where(self, index: int) -> str:
        return f"{self._name}, row {index + 1}"


def _twice(fields: Any, before: str = "") -> str:
    """First name that two fields of an Arrow schema or struct share, as a path; else empty."""
    import pyarrow  # noqa: PLC0415  as in `ParquetRows`

    seen: set[str] = set()
    for field in fields:
        name = f"{before}{field.name}"
        if name in seen:
            return name
        seen.add(name)
        kind = field.type
        while pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
            kind = kind.value_type
        if pyarrow.types.is_struct(kind) and (found := _twice(list(kind), f"{name}.")):
            return found
    return ""


def open_rows(path: Path) -> Rows:
    """Rows of a `.jsonl` or `.parquet` file.

    Raises:
        DataError: missing, unreadable, empty, or of another kind.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: expected a name ending in .jsonl or .parquet.")
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path}: {what}; expected a data file. Check the path.")
    rows: Rows = JsonlRows(path) if path.suffix == ".jsonl" else ParquetRows(path)
    if not len(rows):
        raise DataError(f"{path}: holds no rows; expected at least one. Check the file.")
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    path: Path
    note: str = ""
    """Something a person should be told about the choice; usually empty."""


def find_file(data_dir: Path, task: str, split: str) -> FoundFile | None:
    """The file of a task's split in a data folder: `TASK.SPLIT.jsonl` or `.parquet`, or None.

    `chat.SPLIT` stands in for SmolTalk where there is no SmolTalk, with a note.
    """
    for suffix in SUFFIXES:
        path = data_dir / f"{task}.{split}{suffix}"
        if path.is_file():
            return FoundFile(path=path)
    if task == "SmolTalk":
        for suffix in SUFFIXES:
            path = data_dir / f"chat.{split}{suffix}"
            if path.is_file():
                note = f"{path.name} is used in place of SmolTalk.{split}"
                return FoundFile(path=path, note=note)
    return None


def is_gsm8k(name: str) -> bool:
    """Whether a task or file of this name is GSM8K: `GSM8K`, `gsm8k.train`."""
    return name.partition(".")[0].casefold() == "gsm8k"


def parse_row(raw: object, *, subject: str = "") -> Item:
    """Conversation, question or problem of a raw row of any known form.

    A conversation `{"messages": [...]}`; nanochat's identity form, a bare list
    of messages; `{"question", "answer"}`; multiple choice of ARC, MMLU or
    the plain form (`choices`); HumanEval's programs. `subject` is the task's name: it names
    questions that carry none. In GSM8K's rows alone `<<48/2=24>>` is a call of the
    calculator: those of the task of that name, and answers that end as GSM8K's do.

    Raises:
        RowFault: the row is of no known form, or wrong within it.
    """
    if isinstance(raw, Conversation):
        return raw  # of a form whose rows are no messages (`row_columns.convert`)
    if isinstance(raw, list):
        return parse_messages(raw)
    if not isinstance(raw, dict):
        raise RowFault("the row is no JSON object and no list; expected one of them")
    if set(raw) == {"train"} and isinstance(raw["train"], dict):
        raw = raw["train"]  # the hub's MMLU auxiliary_train wraps each row once more
    row_columns.require_text(raw)
    if "messages" in raw:
        found = parse_messages(
            raw["messages"], trained=_row_is_trained(raw), tools=raw.get("tools")
        )
        source = raw.get("source")
        if isinstance(source, str) and 0 < len(source) <= MOST_SOURCE_LETTERS:
            found = dataclasses.replace(found, source=source)
        return found
    if "entry_point" in raw and "test" in raw:
        return parse_program(raw)
    if "choices" in raw:
        if raw.get("weight") == 0 or raw.get("train") is False:
            raise RowFault("the question says that it carries no loss; leave the row out")
        return parse_question(raw, subject=subject)
    if "question" in raw and "answer" in raw:
        if is_gsm8k(subject) or is_gsm8k_answer(raw["answer"]):
            return parse_gsm8k(raw["question"], raw["answer"])
        return parse_pair(raw["question"], raw["answer"], trained=_row_is_trained(raw))
    keys = ", ".join(shown(key) for key in list(raw)[:6]) or "none"
    raise RowFault(f"the row has the keys {keys}; expected messages, or question with its answer")


def _row_is_trained(raw: Mapping[str, object]) -> bool:
    return says_loss(raw, "the row", ROW_LOSS_KEYS) is not False


def row_id(raw: object) -> str:
    """The hub's id of a row, or an empty text."""
    found = raw.get("id", "") if isinstance(raw, dict) else ""
    return found if isinstance(found, str) else ""
