"""Local stores of loggers, written here as their formats say: trackio's database, SwanLab's file.

Neither package is needed to read them, nor to write these.
"""

import contextlib
import json
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.events import Event, RunFinished, StepFinished, ValidationFinished
from sftui.readers import Reader
from sftui.readers.swanlab import SwanLabReader
from sftui.readers.trackio import TrackioReader, with_write_ahead
from sftui.sources.open_log import read_whole
from tests.sftui.readers.reader_checks import assert_any_cut, flat, of, read, stages

Row = tuple[str, int, dict[str, object]]

HF_ROWS: list[Row] = [
    ("dry-lake-1", 0, {"train/loss": 3.5, "train/global_step": 10}),
    ("dry-lake-1", 1, {"train/loss": 3.25, "train/global_step": 20}),
    ("red-hill-2", 0, {"train/loss": 2.5, "train/global_step": 10}),
    ("red-hill-2", 1, {"train/loss": 2.25, "train/global_step": 20, "note": "warm"}),
    ("red-hill-2", 2, {"eval/loss": 2.375, "train/global_step": 20}),
    ("red-hill-2", 3, {"train/loss": "NaN", "train/global_step": 30}),
    ("red-hill-2", 4, {"picture": {"_type": "trackio.image", "width": 5}, "train/global_step": 30}),
]


def losses(events: Sequence[Event]) -> list[tuple[int, float]]:
    known = [e for e in of(StepFinished, list(events)) if e.loss is not None and e.loss == e.loss]
    return [(e.step, e.loss) for e in known]


def trackio_file(path: Path, rows: Sequence[Row], *, run_ids: bool = False) -> sqlite3.Connection:
    """A store of these rows; it stays open, so that what it holds may be in its log alone."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    extra = ", run_id TEXT" if run_ids else ""
    connection.execute(
        "CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, "
        f"run_name TEXT NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL{extra})"
    )
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for at, (run, step, items) in enumerate(rows):
        moment = f"2025-03-01T10:00:{at % 60:02d}"
        names = "timestamp, run_name, step, metrics" + (", run_id" if run_ids else "")
        values: list[object] = [moment, run, step, json.dumps(items)]
        values += [f"id-{run}-{step // 100}"] if run_ids else []
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO metrics ({names}) VALUES ({marks})", values)
    connection.commit()
    return connection


@pytest.mark.parametrize("closed", [True, False])
def test_a_trackio_store_is_read_run_by_run(tmp_path, closed):
    """Every run is a stage; its own step goes before trackio's count of calls.

    While the writer lives, its newest rows lie in the write-ahead log alone.
    """
    path = tmp_path / "project.db"
    connection = trackio_file(path, HF_ROWS)
    if closed:
        connection.close()
    else:
        assert b"red-hill-2" not in path.read_bytes()
    found = read_whole(str(path))
    connection.close()
    assert [stage.start.name for stage in found.recording.stages] == ["dry-lake-1", "red-hill-2"]
    first, last = (
        flat(stage.timeline.events(0, len(stage.timeline))) for stage in found.recording.stages
    )
    assert losses(first) == [(10, 3.5), (20, 3.25)]
    assert losses(last) == [(10, 2.5), (20, 2.25)]
    assert [(e.step, e.loss) for e in of(ValidationFinished, last)] == [(20, 2.375)]
    assert found.source.format == "trackio project"


def test_runs_of_one_name_are_told_by_their_ids(tmp_path):
    """Two runs of one name in a newer store are two stages."""
    rows: list[Row] = [("same", step, {"loss": 9.0 - step / 100}) for step in (0, 1, 2, 100, 101)]
    path = tmp_path / "project.db"
    trackio_file(path, rows, run_ids=True).close()
    assert len(read_whole(str(path)).recording.stages) == 2


def test_30_000_rows_of_a_trackio_store(tmp_path):
    """Many rows, and none lost."""
    path = tmp_path / "project.db"
    trackio_file(path, [("big", step, {"loss": step / 8}) for step in range(30_000)]).close()
    stage = read_whole(str(path)).recording.stages[-1]
    events = flat(stage.timeline.events(0, len(stage.timeline)))
    assert losses(events) == [(step, step / 8) for step in range(30_000)]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_half_a_trackio_store_is_no_traceback(tmp_path, share):
    """A copy that was cut off is read as far as it goes, or refused."""
    path = tmp_path / "project.db"
    trackio_file(path, [("big", step, {"loss": 1.5}) for step in range(2000)]).close()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    try:
        unread = read_whole(str(path)).source.lines.unrecognised
    except UsageError as error:
        unread = "no training step" in str(error)
    assert unread


def test_a_database_of_something_else_is_refused(tmp_path):
    """Any other SQLite file, with what it is called."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (id INTEGER, note TEXT)")
    with pytest.raises(UsageError, match="SQLite database without trackio's table"):
        read_whole(str(path))


def test_frames_without_a_commit_do_not_count(tmp_path):
    """A write-ahead log whose last frames belong to no commit changes nothing."""
    path = tmp_path / "project.db"
    connection = trackio_file(path, HF_ROWS)
    log = (tmp_path / "project.db-wal").read_bytes()
    before = path.read_bytes()
    connection.close()
    open_frame = log[:32] + log[32:36] + bytes(4) + log[40:]
    assert with_write_ahead(before, open_frame[: 32 + 24 + 4096])[20:] == before[20:]
    assert with_write_ahead(before, b"")[20:] == before[20:]


# ---- SwanLab -----------------------------------------------------------------------------------


def swanlab_file(*records: object) -> bytes:
    """`backup.swanlab`: a header, then framed JSON lines that cross no block."""
    data = bytearray(struct.pack("<4sHB", b":SWL", 0xE1D6, 1))

    def put(piece: bytes, kind: int) -> None:
        checksum = zlib.crc32(piece, zlib.crc32(bytes([kind])))
        data.extend(struct.pack("<IHB", checksum, len(piece), kind) + piece)

    for record in records:
        rest = json.dumps(record).encode() + b"\n"
        left = 32768 - len(data) % 32768
        if left < 7:
            data.extend(bytes(left))
            left = 32768
        if len(rest) + 7 <= left:
            put(rest, 1)
            continue
        put(rest[: left - 7], 2)
        rest = rest[left - 7 :]
        while len(rest) > 32768 - 7:
            put(rest[: 32768 - 7], 3)
            rest = rest[32768 - 7 :]
        put(rest, 4)
    return bytes(data)


def scalar(key: str, step: int, value: object) -> dict[str, object]:
    moment = f"2025-03-01T10:00:{step % 60:02d}.000000+00:00"
    metric = {"index": step, "data": value, "create_time": moment}
    return {
        "model_type": "Scalar",
        "data": {"metric": metric, "key": key, "step": step, "epoch": 1},
    }


SWANLAB = [
    {"model_type": "Header", "data": {"backup_type": "DEFAULT", "create_time": "t"}},
    {"model_type": "Experiment", "data": {"name": "swan-3", "tags": []}},
    {"model_type": "Column", "data": {"key": "train/loss", "kid": "0"}},
    scalar("train/loss", 10, 2.5),
    scalar("train/learning_rate", 10, 1e-4),
    scalar("__swanlab__.cpu.pct", 10, 55.0),
    scalar("train/loss", 20, 2.25),
    scalar("eval/loss", 20, 2.375),
    {"model_type": "Log", "data": {"message": "step 5 loss 9.0", "level": "INFO"}},
    scalar("train/loss", 30, "NaN"),
    scalar("train/loss", 40, 2.125),
    {"model_type": "Footer", "data": {"success": True, "create_time": "t"}},
]


def test_a_swanlab_run_is_read(tmp_path):
    """What one call logged is one row; the machine's numbers and printed lines are none."""
    folder = tmp_path / "run-20250301_100000-a1"
    folder.mkdir()
    (folder / "backup.swanlab").write_bytes(swanlab_file(*SWANLAB))
    found = read_whole(str(folder))
    (stage,) = found.recording.stages
    events = flat(stage.timeline.events(0, len(stage.timeline)))
    assert losses(events) == [(10, 2.5), (20, 2.25), (40, 2.125)]
    assert [(e.step, e.loss) for e in of(ValidationFinished, events)] == [(20, 2.375)]
    (end,) = of(RunFinished, events)
    assert (end.status, end.updates) == ("finished", 40)
    assert of(StepFinished, events)[0].lrs == {"lr": 1e-4}
    assert stage.start.settings["name"] == "swan-3"


def test_any_cut_of_a_swanlab_run():
    """However its bytes come."""
    assert_any_cut(SwanLabReader, swanlab_file(*SWANLAB))


def test_records_that_cross_blocks():
    """30,000 scalars lie over many blocks, and some cross from one to the next."""
    data = swanlab_file(*(scalar("loss", step, step / 8) for step in range(30_000)))
    events = read(SwanLabReader, data)
    assert losses(events) == [(step, step / 8) for step in range(30_000)]
    assert len(stages(events)) == 1


@pytest.mark.parametrize("make", [SwanLabReader, TrackioReader])
def test_garbage_behind_the_mark_is_no_traceback(make: Callable[[], Reader]):
    """A mark, and then anything."""
    for mark in (b":SWL\xd6\xe1\x01", b"SQLite format 3\0"):
        assert read(make, mark + bytes(range(256)) * 40) == []


TABLE = "create table metrics(run_name text, step int, timestamp text, metrics text"
ENDLESS = (
    "with recursive c(run_name, step, timestamp, metrics) as (select 'a', 1, '2026', "
    "'{\"loss\": 1}' union all select run_name, step + 1, timestamp, metrics from c)"
)
PROGRAMS = {
    "a view that never ends": f"create view metrics as {ENDLESS} select * from c",
    "a view that finds nothing for ever": (
        f"create view metrics as {ENDLESS} select * from c where step < 0"
    ),
    "cells that are computed to gigabytes": (
        f"{TABLE} generated always as (hex(zeroblob(60000000))));"
        "insert into metrics(run_name, step, timestamp) values ('a', 1, '2026')"
    ),
    "many cells that are computed to megabytes": (
        f"{TABLE} generated always as (printf('%.*c', 3000000, 'x')));"
        "insert into metrics(run_name, step, timestamp) values ('a', 1, '2026')"
        + ", ('a', 2, '2026')"
        * 2000
    ),
    "a table of other columns": "create table metrics(run_name text)",
}


READ_ALL = """
import sys
from pathlib import Path
from sftui.readers.trackio import TrackioReader
for name in sys.argv[1:]:
    reader = TrackioReader()
    reader.feed(Path(name).read_bytes())
    print(len(reader.close()), flush=True)
"""


def test_a_database_that_is_a_program_is_not_run(tmp_path: Path) -> None:
    """What a database computes is a stranger's program; only rows that stand there are read."""
    paths = []
    for number, program in enumerate(PROGRAMS.values()):
        paths.append(tmp_path / f"{number}.db")
        with contextlib.closing(sqlite3.connect(paths[-1])) as connection:
            connection.executescript(program)
            connection.commit()
    try:
        # In a process of its own, which can be ended: SQLite hears no signal.
        done = subprocess.run(
            [sys.executable, "-c", READ_ALL, *map(str, paths)],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"still reading after a minute; read: {late.stdout!r}")
    assert done.stdout.split() == ["0"] * len(PROGRAMS), done.stderr


@given(size=st.sampled_from((512, 4096, 65536, 2**30)), pages=st.integers(0, 2**32 - 1))
def test_a_write_ahead_log_makes_no_pages_that_nobody_wrote(size: int, pages: int) -> None:
    """A commit that says the database has a million pages took half a gigabyte."""
    database = b"SQLite format 3\0" + bytes(4080)
    head = struct.pack(">8I", 0x377F0682, 3007000, size, 0, 1, 2, 0, 0)
    log = head + struct.pack(">6I", 1, pages, 1, 2, 0, 0) + bytes(min(size, 65536))
    assert len(with_write_ahead(database, log)) <= len(database) + size + len(log)
