"""Read trackio's local store: a SQLite database of a project, one row a call of `trackio.log`.

Table `metrics`: `run_name` (newer ones also `run_id`), `step`, `timestamp` and the numbers as
JSON. Every run is a stage, in the order in which they began. What SQLite has not yet moved from
its write-ahead log (`NAME.db-wal`) into the database is read from there.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar, Self

from engine.events import Event
from engine.files import checked
from sftui.readers import Sniffed
from sftui.readers.objects import ObjectReader

_MAGIC = b"SQLite format 3\0"
MAX_BYTES = 512 * 1024 * 1024
"""It is read whole; a million rows take about half of it."""
_MOST_CELL_BYTES = 8 * 1024 * 1024
_INSTRUCTIONS, _CALL_EVERY = 20_000_000, 1000
"""Of SQLite's machine, besides one a byte of the database; a row takes about ten. 20 million take
a fifth of a second."""
_WAL_HEADER, _FRAME_HEADER = 32, 24


class TrackioReader(ObjectReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "trackio"
    words: ClassVar[str] = "trackio project"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._data = bytearray()
        self.write_ahead = b""
        """The bytes of the file beside it that holds the newest pages."""

    def again(self) -> Self:
        fresh = super().again()
        fresh.write_ahead = self.write_ahead
        return fresh

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        ours = head.startswith(_MAGIC) and b"run_name" in head and b"metrics" in head
        return Sniffed(1.0, "a SQLite database with metrics of runs") if ours else Sniffed(0.0)

    def feed(self, data: bytes) -> list[Event]:
        self._data += data[: max(0, MAX_BYTES - len(self._data))]
        return []

    def close(self) -> list[Event]:
        database = with_write_ahead(self._data, self.write_ahead)
        try:
            with contextlib.closing(sqlite3.connect(":memory:")) as connection:
                _bound(connection, len(database))
                connection.deserialize(database)
                for run, rows in _runs_of(connection):
                    self._run(run, rows)
        # Cut off, damaged, or more than a table: what was read before stays. A number of a cell
        # that no column has, or a text that is none, are errors of other kinds.
        except (sqlite3.Error, OverflowError, MemoryError, UnicodeError):
            self.lines.total += 1
            self.lines.unrecognised += 1
        self._settle_results()
        return self._drain()

    def _run(self, run: str, rows: list[tuple[int, str, str]]) -> None:
        """The rows of one run, each with step, time and numbers."""
        self._flush_block()
        self._settle_results()
        if self._running:
            self._new_run()
        self.stage_name = run
        for step, moment, text in rows:
            self.lines.total += 1
            items = _numbers(text)
            known = items is not None and self._object(items, at=step, t=_moment(moment))
            self.lines.unrecognised += not known


def with_write_ahead(database: bytes | bytearray, log: bytes) -> bytes:
    """The database with the committed pages of its write-ahead log in place.

    Frames after the last commit, or of an older use of the file (another salt), do not count.
    """
    data = bytearray(database)
    if len(data) > 20:
        data[18] = data[19] = 1  # one in memory has no log of its own
    size = int.from_bytes(log[8:12], "big")
    if size < 512 or len(log) < _WAL_HEADER + _FRAME_HEADER + size:
        return bytes(data)
    salt = log[16:24]
    waiting: dict[int, bytes] = {}
    # Pages that neither file holds were never written, whatever a commit says.
    most = -(-len(data) // size) + len(log) // (_FRAME_HEADER + size)
    for at in range(_WAL_HEADER, len(log) - _FRAME_HEADER - size + 1, _FRAME_HEADER + size):
        page, pages = (int.from_bytes(log[at + i : at + i + 4], "big") for i in (0, 4))
        if log[at + 8 : at + 16] != salt or not page:
            break
        waiting[page] = log[at + _FRAME_HEADER : at + _FRAME_HEADER + size]
        if pages:
            _put(data, waiting, size, min(pages, most))
            waiting = {}
    data[18] = data[19] = 1
    return bytes(data)


def _put(data: bytearray, pages: dict[int, bytes], size: int, count: int) -> None:
    """Write the pages of a commit, after which there are `count` of them."""
    length = count * size
    if length <= MAX_BYTES:
        data.extend(b"\0" * (length - len(data)))
        for page, content in pages.items():
            if page <= count:
                data[(page - 1) * size : page * size] = content
        del data[length:]


def _bound(connection: sqlite3.Connection, num_bytes: int) -> None:
    """Let a database do what a table of so many bytes can need, and no more.

    A database may hold a view that never ends, or columns that are computed to gigabytes.
    """
    for limit, most in (
        (sqlite3.SQLITE_LIMIT_LENGTH, _MOST_CELL_BYTES),
        (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 10),
        (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100),
    ):
        connection.setlimit(limit, most)
    budget = _INSTRUCTIONS + num_bytes
    left = iter(range(budget // _CALL_EVERY, -1, -1))
    connection.set_progress_handler(lambda: next(left, 0) == 0, _CALL_EVERY)


def _runs_of(connection: sqlite3.Connection) -> Iterator[tuple[str, list[tuple[int, str, str]]]]:
    """Runs with their rows, by their first row; older stores hold several projects."""
    kinds = connection.execute("SELECT type, sql FROM sqlite_master WHERE name = 'metrics'")
    if not any(kind == "table" and "VIRTUAL" not in str(sql)[:40].upper() for kind, sql in kinds):
        return  # a view is a program
    # Computed columns are not listed.
    columns = {row[1] for row in connection.execute("PRAGMA table_info(metrics)")}
    if not {"run_name", "step", "timestamp", "metrics"} <= columns:
        return
    keys = [name for name in ("project_name", "run_id", "run_name") if name in columns]
    chosen = ", ".join(["run_name", "step", "timestamp", "metrics", *keys])
    found: dict[tuple[Any, ...], tuple[str, list[tuple[int, str, str]]]] = {}
    for name, step, moment, text, *key in connection.execute(
        f"SELECT {chosen} FROM metrics ORDER BY rowid"
    ):
        if isinstance(step, int) and 0 <= step < 10**12:
            found.setdefault(tuple(key), (str(name), []))[1].append((step, moment, text))
    yield from found.values()


def _numbers(text: Any) -> dict[str, Any] | None:
    """The numbers of a row; pictures and tables, which say their `_type`, are left out."""
    try:
        items = checked.parse_json(text)
    except (TypeError, ValueError):
        return None
    if not isinstance(items, dict):
        return None
    return {k: v for k, v in items.items() if not (isinstance(v, dict) and "_type" in v)}


def _moment(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
