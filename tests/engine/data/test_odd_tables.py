"""Parquet files whose cells or names are no values of Python: one row's fault, or the file's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conversations.conversation import RowFault
from engine.data import dataset
from engine.data.dataset import ParquetRows
from engine.data.task_rows import parse_into
from engine.errors import DataError
from tests import memory
from tests.conftest import examples

SOUND = {
    "messages": [{"role": "user", "content": "two?"}, {"role": "assistant", "content": "four"}]
}


def texts(values: list[bytes]) -> Any:
    """A column of texts of these bytes, UTF-8 or not: other programs check them no better."""
    return pa.array(values, pa.binary()).view(pa.string())


LONGS = st.integers(-(2**63), 2**63 - 1)
CELLS = st.one_of(
    st.binary(max_size=8).map(lambda value: texts([value])),
    st.integers(-(2**31), 2**31 - 1).map(lambda day: pa.array([day], pa.int32()).cast(pa.date32())),
    st.integers(-(2**63), 2**63 - 1).map(
        lambda n: pa.array([n], pa.int64()).view(pa.duration("s"))
    ),
    st.integers(-(2**63), 2**63 - 1).map(
        lambda n: pa.array([n], pa.int64()).view(pa.timestamp("ms"))
    ),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@examples(100)
@given(CELLS)
def test_a_cell_costs_its_row_at_most(place: Path, cell: Any) -> None:
    """Beside two sound rows, whatever stands in a column of the one between them."""
    path = place / "rows.parquet"
    pieces = [pa.table({**{name: [value] for name, value in SOUND.items()}, "more": more})
              for more in (pa.nulls(1, cell.type), cell, pa.nulls(1, cell.type))]  # fmt: skip
    pq.write_table(pa.concat_tables(pieces), path)
    parsed: dict[int, Any] = {}
    faults = parse_into(parsed, ParquetRows(path), range(3), "rows")
    assert {0, 2} <= parsed.keys()
    assert len(parsed) + len(faults) == 3
    for where, fault in faults:
        assert where.endswith("rows.parquet, row 2")
        assert "holds a value that cannot be read" in str(fault)


def test_text_that_is_no_text_and_a_day_of_no_calendar_are_named(place: Path) -> None:
    path = place / "named.parquet"
    day = pa.array([None, 2**30], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"prompt": texts([b"\xff\xfe", b"a"]), "day": day}), path)
    rows = ParquetRows(path)
    rows.prefetch([0, 1])
    with pytest.raises(RowFault, match="can't decode byte 0xff"):
        rows.read(0)
    with pytest.raises(RowFault, match=r"days=1073741824"):
        rows.read(1)


def test_a_column_whose_name_is_no_text_is_refused(place: Path) -> None:
    path = place / "broken.parquet"
    pq.write_table(pa.table({"Zq9": ["a"], "completion": ["b"]}), path)
    path.write_bytes(path.read_bytes().replace(b"Zq9", b"\xf0q9"))
    with pytest.raises(DataError, match="not a Parquet file"):
        ParquetRows(path)


SAID = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}]
VIEWS: dict[str, tuple[Any, list[Any]]] = {
    "text": (pa.string_view(), ["a", None, "c" * 40]),
    "bytes": (pa.binary_view(), [b"a", None, b"c" * 40]),
    "list": (pa.list_(pa.string_view()), [["a", None], None, []]),
    "large list": (pa.large_list(pa.string_view()), [["a"], [], None]),
    "struct": (
        pa.struct([("role", pa.string_view()), ("content", pa.string_view())]),
        [SAID[0], None, SAID[1]],
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_text_are_read_as_text(place: Path, name: str) -> None:
    """Polars and DuckDB keep text as views, of which Arrow cannot take single rows."""
    kind, values = VIEWS[name]
    path = place / "views.parquet"
    pq.write_table(pa.table({"rows": pa.array(values, kind)}), path)
    rows = ParquetRows(path)
    rows.prefetch([2, 0, 1])
    assert [rows.read(index) for index in range(3)] == [
        {} if value is None else {"rows": value} for value in values
    ]


def test_a_type_that_arrow_cannot_index_is_a_fault_of_the_row(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place / "unknown.parquet"
    pq.write_table(pa.table({"rows": ["a", "b"]}), path)

    def no_kernel(_: ParquetRows, __: list[int]) -> list[dict[str, object]]:
        raise pa.ArrowNotImplementedError("no kernel")

    monkeypatch.setattr(ParquetRows, "_take", no_kernel)
    rows = ParquetRows(path)
    rows.prefetch([0, 1])
    with pytest.raises(RowFault, match="no kernel"):
        rows.read(0)


def test_a_table_that_unpacks_to_a_thousand_times_its_size_is_refused_early(place: Path) -> None:
    """722 bytes took nine minutes and gigabytes: a column names a text once for all its rows."""
    path = place / "bomb.parquet"
    rows = 1100
    long = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * 10**6])
    table = pa.table({"prompt": long, "completion": ["b"] * rows})
    pq.write_table(table.replace_schema_metadata(None), path, compression="zstd",
                   store_schema=False)  # fmt: skip
    assert path.stat().st_size < 2_000
    before, began = memory.peak_bytes(), time.process_time()
    with pytest.raises(DataError, match="unpacks to more than 512 MiB") as refused:
        ParquetRows(path)
    assert memory.peak_bytes() - before < 1000 * 2**20
    assert time.process_time() - began < 5.0
    assert "\n" not in str(refused.value)


def test_a_long_prompt_in_each_of_many_rows_is_no_bomb(place: Path) -> None:
    """The file is smaller by three orders than its rows."""
    path = place / "prompts.parquet"
    prompt = "Be brief and kind. " * 500
    asked = [f"what is {number}?" for number in range(20_000)]
    table = pa.table({"system": [prompt] * 20_000, "prompt": asked, "completion": asked[::-1]})
    pq.write_table(table, path, compression="zstd")
    rows = ParquetRows(path)
    assert len(rows) == 20_000
    rows.prefetch([19_999, 3, 3])
    assert rows.read(19_999) == {"system": prompt, "prompt": asked[-1], "completion": asked[0]}
    assert rows.read(3) == {"system": prompt, "prompt": asked[3], "completion": asked[-4]}


@examples(30)
@given(st.lists(st.integers(0, 9), max_size=20), st.integers(1, 5), st.data())
def test_rows_are_the_same_in_whatever_pieces_they_are_read(
    place: Path, numbers: list[int], size: int, data: st.DataObject
) -> None:
    """Of groups of rows, and of columns that name each value once."""
    path = place / "pieces.parquet"
    names = pa.array([f"n{number}" for number in numbers], pa.string()).dictionary_encode()
    table = pa.table({"name": names, "said": pa.array([[n] for n in numbers], pa.list_(pa.int8()))})
    pq.write_table(table, path, row_group_size=size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "_PIECE_BYTES", data.draw(st.sampled_from([0, 40, 2**20])))
        patch.setattr(dataset, "_ROWS_AT_ONCE", size)
        rows = ParquetRows(path)
    assert len(rows) == len(numbers)
    for index in data.draw(st.permutations(range(len(numbers)))):
        assert rows.read(index) == {"name": f"n{numbers[index]}", "said": [numbers[index]]}
