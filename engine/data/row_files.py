"""Files and folders of rows: which reader opens which, by name and by what lies in them."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from engine.conversations.row_fault import RowFault, shown
from engine.data.collector import collector_paused
from engine.data.dataset import (
    MOST_PACKED,
    JsonlRows,
    ParquetRows,
    Rows,
    TableRows,
    file_bytes,
)
from engine.data.json_rows import as_utf8
from engine.data.long_jsonl import LongJsonl, is_long, rows_stay_on_disk, stays_on_disk
from engine.errors import DataError
from engine.files import checked
from engine.files.lfs import pointer_fault

JSON, TABLES, PARQUET = (".jsonl", ".json", ".ndjson"), (".csv", ".tsv"), (".parquet",)
PLAIN = (*JSON, *TABLES, *PARQUET)
ENDINGS = (*PLAIN, *(f"{each}.gz" for each in (*JSON, *TABLES)))
"""Of files that can be read."""

DISK_SET, DISK_SETS = "dataset_info.json", "dataset_dict.json"
"""What `datasets.save_to_disk` writes into a folder: of one split, of several."""

SPLITS = {
    "train": ("train",),
    "test": ("test", "validation", "valid", "val", "eval", "dev"),
}
"""What the files, or splits, of training and validation rows are called."""

_ALWAYS_UNPACKED = 64 * 2**20
MAX_UNPACKED = 2**34
"""16 GiB: a file of zeros unpacks to a thousand times its size."""

_BLOCK_BYTES = 2**20

MOST_FILES = 10_000

_WORD = re.compile("[a-z0-9]+")


def is_named(path: str) -> bool:
    """Whether a name is that of a data file."""
    return path.endswith(ENDINGS)


def name_of(path: Path) -> str:
    """What the rows of a file are called: its name without the endings."""
    name = path.name
    ending = next((each for each in sorted(ENDINGS, key=len, reverse=True) if name.endswith(each)),
                  "")  # fmt: skip
    return name.removesuffix(ending) or name


def open_path(path: Path, split: str = "train") -> Rows:
    """Rows of a data file, of a folder of them, or of a folder of `datasets`.

    `split`: `train` or `test`; of a folder with files or sets of both it takes the one.

    Raises:
        DataError: missing, unreadable, empty, or of another kind.
    """
    if path.is_dir():
        rows = _folder(path, split)
    elif not path.is_file():
        found = f"is {checked.kind_of(path.stat().st_mode)}" if path.exists() else "does not exist"
        raise DataError(f"{path}: {found}; expected a data file or folder. Check the path.")
    else:
        rows = _file(path)
    if not len(rows):
        raise DataError(f"{path}: holds no rows; expected at least one. Check the file.")
    return rows


def _file(path: Path, together: int = 0) -> Rows:
    """`together`: bytes of all the files that are read with it."""
    name = path.name
    if not is_named(name):
        raise DataError(
            f"{path}: expected a name ending in {', '.join(PLAIN)} (or one of the first five with "
            ".gz), or a folder."
        )
    if name.endswith(PARQUET):
        return ParquetRows(path)
    if name.endswith(JSON) and stays_on_disk(path, together):
        return LongJsonl(path)
    data = _unpacked(path) if name.endswith(".gz") else None
    if name.removesuffix(".gz").endswith(JSON):
        return JsonlRows(path, data)
    return CsvRows(path, data)


def _unpacked(path: Path) -> bytes:
    """What a gzip file holds.

    Raises:
        DataError: it is none, is cut off, or unpacks to more than `MAX_UNPACKED`.
    """
    if fault := pointer_fault(path):
        raise DataError(f"{fault}.")
    try:
        # Of the size on disk, asked while it is unpacked: the trailer's word is 32 bits.
        most = min(MAX_UNPACKED, max(_ALWAYS_UNPACKED, MOST_PACKED * path.stat().st_size))
        with gzip.open(path) as file:
            found = io.BytesIO()
            # In blocks: memory for all that is asked for is taken before the first byte is read.
            while found.tell() <= most and (block := file.read(_BLOCK_BYTES)):
                found.write(block)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be unpacked ({error}); expected a whole gzip file. Is it cut off?"
        ) from None
    except MemoryError:
        raise DataError(
            f"{path}: unpacks to more than the memory that is there. Unpack it."
        ) from None
    if most < found.tell() <= MAX_UNPACKED:
        raise DataError(
            f"{path}: unpacks to more than {MOST_PACKED} times its size, which rows of texts do "
            "not. Unpack it to look at it."
        )
    if found.tell() > MAX_UNPACKED:
        raise DataError(f"{path}: unpacks to more than {MAX_UNPACKED // 2**30} GiB. Unpack it.")
    return found.getvalue()


class CsvRows:
    """A table whose first line names the columns; every cell is a text."""

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        self._path = path
        data = file_bytes(path, data)
        try:
            text = as_utf8(data, path).decode("utf-8")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise DataError(
                f"{path}:{line}: byte {error.start + 1} is not UTF-8; expected UTF-8 text. Save "
                "the table as UTF-8."
            ) from None
        self._rows: list[tuple[int, list[str]]] = []
        self._columns: list[str] = []
        self._read(text)

    @property
    def name(self) -> str:
        return str(self._path)

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> object:
        _, cells = self._rows[index]
        if len(cells) != len(self._columns):
            raise RowFault(
                f"the row has {len(cells)} cells, the first line names {len(self._columns)} "
                "columns; expected as many (is a quote missing?)"
            )
        return dict(zip(self._columns, cells, strict=True))

    def prefetch(self, indices: Sequence[int]) -> None:
        """Nothing to do: the file is in memory."""

    def where(self, index: int) -> str:
        return f"{self._path}:{self._rows[index][0]}"

    def _read(self, text: str) -> None:
        before = csv.field_size_limit(2**31 - 1)
        try:
            first = 1
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter(text))
            with collector_paused():
                for cells in reader:
                    if any(cells):
                        self._rows.append((first, cells))
                    first = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{self._path}:{first}: no table ({error}).") from None
        finally:
            csv.field_size_limit(before)
        if self._rows:
            self._columns = [name.strip() for name in self._rows.pop(0)[1]]
        twice = [name for name, found in Counter(self._columns).items() if found > 1]
        if twice:
            raise DataError(
                f'{self._path}: the column "{shown(twice[0])}" stands twice in the first line; '
                "expected each once. Rename one."
            )

    def _delimiter(self, text: str) -> str:
        """Of the first line: a tab of a .tsv, else whichever of comma and semicolon is commoner."""
        if self._path.name.removesuffix(".gz").endswith(".tsv"):
            return "\t"
        head = text.partition("\n")[0]
        return ";" if head.count(";") > head.count(",") else ","


class JoinedRows:
    """The rows of several files one after another."""

    def __init__(self, name: str, parts: Sequence[Rows]) -> None:
        self._name = name
        self._parts = list(parts)
        self._ends = list(accumulate(len(part) for part in parts))
        self.on_disk = any(rows_stay_on_disk(part) for part in parts)

    @property
    def name(self) -> str:
        return self._name

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, index: int) -> object:
        part, local = self._place(index)
        return self._parts[part].read(local)

    def prefetch(self, indices: Sequence[int]) -> None:
        by_part: dict[int, list[int]] = {}
        for index in indices:
            part, local = self._place(index)
            by_part.setdefault(part, []).append(local)
        for part, wanted in by_part.items():
            self._parts[part].prefetch(wanted)

    def where(self, index: int) -> str:
        part, local = self._place(index)
        return self._parts[part].where(local)

    def _place(self, index: int) -> tuple[int, int]:
        part = bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)


class SetRows(TableRows):
    """One split of a data set of the library `datasets`."""

    def __init__(self, data: Any, name: str) -> None:
        self._data = data
        self._name = name
        # The library maps its Arrow files into memory; as objects its rows need not be there.
        self.on_disk = is_long(data.data.nbytes)

    @property
    def name(self) -> str:
        return self._name

    def __len__(self) -> int:
        return len(self._data)

    def _take(self, indices: list[int]) -> list[dict[str, object]]:
        found: list[dict[str, object]] = self._data.select(indices).to_list()
        return found

    def where(self, index: int) -> str:
        return f"{self._name}, row {index + 1}"


def _folder(path: Path, split: str) -> Rows:
    if (path / DISK_SETS).is_file() or (path / DISK_SET).is_file():
        return _disk_set(path, split)
    files = list(_files_in(path))
    if not files:
        raise DataError(
            f"{path}: is a folder without data files; expected {', '.join(PLAIN)} in it, or what "
            "save_to_disk writes."
        )
    chosen = _of_split(path, files, split)
    # What is too long for memory is all of them together.
    total = sum(each.stat().st_size for each in chosen)
    return JoinedRows(str(path), [_file(each, total) for each in chosen])


def _files_in(path: Path) -> Iterator[Path]:
    """Data files below a folder, in the order of their names; hidden ones are nobody's rows."""
    found = 0
    for each in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in each.relative_to(path).parts)
        if is_named(each.name) and not hidden and each.is_file():
            found += 1
            if found > MOST_FILES:
                raise DataError(f"{path}: holds more than {MOST_FILES:,} data files; expected "
                                "fewer. Name a smaller folder.")  # fmt: skip
            yield each


def _of_split(path: Path, files: Sequence[Path], split: str) -> Sequence[Path]:
    """The files of one split, where their names tell splits apart; else all."""

    def kind(file: Path) -> str:
        parts = file.relative_to(path).parts
        # The first word of each: train-00000-of-00001.parquet, but not trainers.jsonl.
        words = {word for part in parts for word in _WORD.findall(part.casefold())[:1]}
        for name, starts in SPLITS.items():
            if not words.isdisjoint(starts):
                return name
        return ""

    kinds = {file: kind(file) for file in files}
    found = [file for file in files if kinds[file] == split]
    if found:
        return found
    if split != "train" and "train" in kinds.values():
        raise DataError(
            f"{path}: holds training files and none whose name begins with "
            f"{', '.join(SPLITS[split])}. Name a file, or leave --validation out: rows are then "
            "held out."
        )
    return [file for file in files if not kinds[file]] or list(files)


def _disk_set(path: Path, split: str) -> Rows:
    # datasets: 1 s and 80 MB that a run on files of its own need not pay.
    import datasets  # noqa: PLC0415

    datasets.disable_progress_bars()
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # the library and Arrow raise all kinds
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise DataError(f"{path}: cannot be read as a data set ({reason}).") from None
    if isinstance(found, datasets.Dataset):
        return SetRows(found, str(path))
    chosen = split_of(list(found), split, str(path))
    return SetRows(found[chosen], f"{path} ({chosen})")


def split_of(names: Sequence[str], split: str, where: str) -> str:
    """Which of a data set's splits is meant by `train` or `test`, or by its own name.

    Raises:
        DataError: none of them.
    """
    if split in names:
        return split
    for start in SPLITS.get(split, ()):
        if found := [name for name in names if name.casefold().startswith(start)]:
            return found[0]
    if split == "train" and len(names) == 1:
        return names[0]
    raise DataError(f"{where}: has no split {split}; expected one of {', '.join(names)}.")
