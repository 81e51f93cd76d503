"""Find a task's rows on disk and read them; every fault has a file and a line.

A line ends at "\\n" and nowhere else: real rows hold U+2028 and U+0085 raw
inside their texts, where `str.splitlines` would cut them in two. Only rows
that are asked for are parsed, so a run that takes 10,000 rows of a large file
pays for 10,000.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.conversations.conversation import Conversation, RowFault, parse_gsm8k, parse_messages
from engine.conversations.letter_questions import Question, parse_question
from engine.errors import DataError

Item = Conversation | Question

SUFFIXES = (".jsonl", ".parquet")


class Rows(Protocol):
    """Raw rows of one task split, by index from 0: a file's or a hub data set's."""

    @property
    def name(self) -> str:
        """Where the rows come from, for people."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> object:
        """The raw row; `RowFault` when it is not even that."""

    def prefetch(self, indices: Sequence[int]) -> None:
        """Say which rows will be read, for a store that reads many at once."""

    def where(self, index: int) -> str:
        """`file:line` of a row."""


class JsonlRows:
    """A JSONL file, kept as bytes until a row is asked for; blank lines do not count as rows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
        data = data.removeprefix(b"\xef\xbb\xbf")  # a byte order mark is no part of line 1
        numbered = enumerate(data.split(b"\n"), start=1)
        self._lines = [(number, line) for number, line in numbered if line.strip()]

    @property
    def name(self) -> str:
        return str(self._path)

    def __len__(self) -> int:
        return len(self._lines)

    def read(self, index: int) -> object:
        try:
            return json.loads(self._lines[index][1].decode("utf-8"))
        except UnicodeDecodeError as error:
            raise RowFault(f"byte {error.start + 1} is not UTF-8; expected UTF-8 text") from None
        except json.JSONDecodeError as error:
            raise RowFault(
                f"not valid JSON at column {error.colno} ({error.msg}); expected one JSON "
                "object or list on the line"
            ) from None
        except (ValueError, RecursionError):  # an absurdly long number, absurdly deep lists
            raise RowFault("not JSON that can be read; expected one object or list") from None

    def prefetch(self, indices: Sequence[int]) -> None:
        """Nothing to do: the file is in memory."""

    def where(self, index: int) -> str:
        return f"{self._path}:{self._lines[index][0]}"


class ParquetRows:
    """A Parquet file; rows are turned into Python objects when they are named to `prefetch`."""

    def __init__(self, path: Path) -> None:
        # pyarrow: 0.2 s and 60 MB that a run on JSONL files need not pay.
        import pyarrow  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415

        self._path = path
        try:
            self._table: Any = pyarrow.parquet.read_table(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error}).") from None
        except pyarrow.ArrowException as error:
            reason = str(error).partition("\n")[0]
            raise DataError(f"{path}: not a Parquet file ({reason}).") from None
        self._cache: dict[int, object] = {}

    @property
    def name(self) -> str:
        return str(self._path)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def read(self, index: int) -> object:
        if index not in self._cache:
            self.prefetch([index])
        return self._cache[index]

    def prefetch(self, indices: Sequence[int]) -> None:
        rows = self._table.take(list(indices)).to_pylist()
        # A column the row does not use is null there: the same as a missing key.
        used = [{key: value for key, value in row.items() if value is not None} for row in rows]
        self._cache = dict(zip(indices, used, strict=True))

    def where(self, index: int) -> str:
        return f"{self._path}, row {index + 1}"


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


def parse_row(raw: object, *, subject: str = "") -> Item:
    """Conversation or question of a raw row of any known form.

    A conversation `{"messages": [...]}`; nanochat's identity form, a bare list
    of messages; GSM8K `{"question", "answer"}`; multiple choice of ARC, MMLU or
    the plain form (`choices`). `subject` names questions that carry none.

    Raises:
        RowFault: the row is of no known form, or wrong within it.
    """
    if isinstance(raw, list):
        return parse_messages(raw)
    if not isinstance(raw, dict):
        raise RowFault("the row is no JSON object and no list; expected one of them")
    if set(raw) == {"train"} and isinstance(raw["train"], dict):
        raw = raw["train"]  # the hub's MMLU auxiliary_train wraps each row once more
    if "messages" in raw:
        return parse_messages(raw["messages"])
    if "choices" in raw:
        return parse_question(raw, subject=subject)
    if "question" in raw and "answer" in raw:
        return parse_gsm8k(raw["question"], raw["answer"])
    keys = ", ".join(str(key) for key in list(raw)[:6]) or "none"
    raise RowFault(f"the row has the keys {keys}; expected messages, or question with its answer")


def row_id(raw: object) -> str:
    """The hub's id of a row, or an empty text."""
    found = raw.get("id", "") if isinstance(raw, dict) else ""
    return found if isinstance(found, str) else ""
