"""Files of rows that are no files, or that hold nothing of what they say they hold."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.data import long_jsonl
from engine.data.row_files import open_path
from engine.errors import DataError
from tests import memory

ROW = b'{"prompt": "a", "completion": "b"}\n'
TERABYTE = 2**40


@pytest.mark.parametrize("size", [10**9, TERABYTE])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.tsv"])
@pytest.mark.parametrize("begin", [b"", ROW * 3, b"prompt,completion\na,b\n"])
def test_a_file_that_is_a_hole_is_refused_at_once(
    tmp_path: Path, name: str, begin: bytes, size: int
) -> None:
    """It was read into memory, as one row of a terabyte."""
    path = tmp_path / name
    path.write_bytes(begin)
    os.truncate(path, size)
    with pytest.raises(DataError, match="are written; expected a whole file"):
        open_path(path)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.json"])
def test_a_pipe_of_rows_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="is a pipe; expected a data file"):
        open_path(tmp_path / name)


def test_a_row_that_has_no_end_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_jsonl, "LONG", 1000)
    monkeypatch.setattr(long_jsonl, "MOST_ROW", 10_000)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROW * 50 + b'{"prompt": "' + b"x" * 20_000)
    with pytest.raises(DataError, match=r"rows\.jsonl:51: a row of more than 10,000 bytes"):
        open_path(path)
    path.write_bytes(ROW * 50)
    assert len(open_path(path)) == 50


def test_a_table_of_a_hundred_thousand_columns_is_read_at_once(tmp_path: Path) -> None:
    """Each name was looked for among all others: 200,000 took minutes."""
    path = tmp_path / "rows.csv"
    names = ",".join(f"c{number}" for number in range(100_000))
    path.write_text(f"{names}\n{','.join('x' * 100_000)}\n")
    began = time.process_time()
    assert len(open_path(path)) == 1
    assert time.process_time() - began < 5.0
    path.write_text(f"{names},c7\nx\n")
    with pytest.raises(DataError, match='the column "c7" stands twice'):
        open_path(path)


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.csv.gz"])
def test_a_file_that_unpacks_to_a_thousand_times_its_size_is_refused(
    tmp_path: Path, name: str
) -> None:
    """600 kB of line ends took 5.5 GB."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"\n" * 68_000_000, 6))
    before = memory.peak_bytes()
    with pytest.raises(DataError, match="more than 100 times its size"):
        open_path(path)
    assert memory.peak_bytes() - before < 400 * 2**20
    path.write_bytes(
        gzip.compress(ROW * 100_000 if "json" in name else b"a,b\n" + b"1,2\n" * 10**5)
    )
    assert len(open_path(path)) == 100_000


OTHER_KINDS = {
    "gzip": (gzip.compress(ROW * 9), "rename it to end in .gz"),
    "bzip2": (bz2.compress(ROW * 9), "bunzip2"),
    "xz": (lzma.compress(ROW * 9), "unxz"),
    "zip archive": (b"PK\x03\x04" + bytes(60), "unpack it"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(60), "zstd -d"),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv"])
def test_a_file_of_another_kind_under_a_text_name_is_told_once(
    tmp_path: Path, kind: str, name: str
) -> None:
    """Each of its "lines" was told to be no UTF-8."""
    content, advice = OTHER_KINDS[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=kind) as refused:
        open_path(path)
    assert advice in str(refused.value).lower()


def test_a_parquet_file_under_a_text_name_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    pq.write_table(pa.table({"prompt": ["a"], "completion": ["b"]}), path)
    with pytest.raises(DataError, match=r"is a Parquet file; .*Rename it to end in \.parquet"):
        open_path(path)
    path.write_bytes(ROW.replace(b"{", b'{"PAR1": 1, ', 1))
    assert len(open_path(path)) == 1
