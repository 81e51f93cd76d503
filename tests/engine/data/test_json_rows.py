"""Rows however somebody's program wrote them: every one is read, or the reason is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conversations.row_fault import RowFault, shown
from engine.data.dataset import open_rows
from engine.data.json_rows import parse_json
from engine.errors import DataError
from tests.conftest import examples

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 132735\n"
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.fixed_dictionaries({"messages": VALUES, "id": TEXTS}), min_size=1, max_size=6)
ENCODINGS = st.sampled_from(
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)


def as_lines(rows: list[Any], *, ascii_only: bool) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows) + "\n"


def as_array(rows: list[Any], *, ascii_only: bool) -> str:
    return json.dumps(rows, ensure_ascii=ascii_only, indent=2)


def as_one_line_array(rows: list[Any], *, ascii_only: bool) -> str:
    return json.dumps(rows, ensure_ascii=ascii_only) + "\n"


def as_tall_objects(rows: list[Any], *, ascii_only: bool) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=ascii_only, indent=1) for row in rows)


FORMS = st.sampled_from([as_lines, as_array, as_one_line_array, as_tall_objects])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@examples(150)
@given(
    rows=ROWS,
    form=FORMS,
    encoding=ENCODINGS,
    ascii_only=st.booleans(),
    ends=st.sampled_from(["\n", "\r\n"]),
)
def test_the_same_rows_come_out_of_every_form_and_encoding(
    place: Path, rows: list[Any], form: Any, encoding: str, ascii_only: bool, ends: str
) -> None:
    """Lines, one array, rows over several lines; UTF-8, 16 and 32, with and without a mark."""
    path = place / "a.jsonl"
    path.write_bytes(form(rows, ascii_only=ascii_only).replace("\n", ends).encode(encoding))

    found = open_rows(path)
    assert [found.read(index) for index in range(len(found))] == rows


@examples(60)
@given(rows=ROWS, form=FORMS, encoding=ENCODINGS)
def test_a_row_is_named_by_the_line_it_begins_in(
    place: Path, rows: list[Any], form: Any, encoding: str
) -> None:
    """Whatever the form, an editor that goes to that line finds the row."""
    path = place / "a.jsonl"
    path.write_bytes(form(rows, ascii_only=True).encode(encoding))
    lines = form(rows, ascii_only=True).split("\n")

    found = open_rows(path)
    assert len(found) == len(rows)
    numbers = [int(found.where(index).rpartition(":")[2]) for index in range(len(found))]
    assert numbers == sorted(numbers)
    assert all(lines[number - 1].lstrip().startswith(("{", "[{")) for number in numbers)


def test_a_conversation_alone_in_its_file_stays_one_row(tmp_path: Path) -> None:
    """nanochat's identity form is a list of messages: one row, on one line or on many."""
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for text in (json.dumps(talk), json.dumps(talk, indent=2), f"{json.dumps(talk)}\n" * 2):
        path = tmp_path / "a.jsonl"
        path.write_text(text)
        rows = open_rows(path)
        assert [rows.read(index) for index in range(len(rows))] == [talk] * text.count('"user"')


@examples(100)
@given(
    before=st.integers(0, 3),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10),
    first=VALUES,
    second=VALUES,
    depth=st.integers(0, 3),
    between=st.booleans(),
)
def test_a_key_twice_in_one_object_is_named(
    place: Path, before: int, key: str, first: Any, second: Any, depth: int, between: bool
) -> None:
    """However deep, and also where both say the same: one of the two would be thrown away."""
    named = json.dumps(key)
    middle = '"between, of another name": 1, ' if between else ""
    bad = f"{{{named}: {json.dumps(first)}, {middle}{named}: {json.dumps(second)}}}"
    for _ in range(depth):
        bad = f'{{"outer": [0, {bad}]}}'
    path = place / "a.jsonl"
    path.write_text("".join(f"{json.dumps({'n': n})}\n" for n in range(before)) + bad + "\n")
    rows = open_rows(path)

    assert [rows.read(n) for n in range(before)] == [{"n": n} for n in range(before)]
    with pytest.raises(RowFault, match="twice") as caught:
        rows.read(before)
    assert shown(json.dumps(key, ensure_ascii=False), 80) in str(caught.value)
    assert rows.where(before) == f"{path}:{before + 1}"


def test_the_same_key_in_two_objects_is_nobodys_fault(tmp_path: Path) -> None:
    """Two messages each have a role."""
    row = {"messages": [{"role": "user"}, {"role": "assistant"}], "role": "x"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    assert open_rows(tmp_path / "a.jsonl").read(0) == row


@pytest.mark.parametrize("cut", [1, 7, 40, 400])
def test_an_array_that_is_cut_off_is_refused_at_its_line(tmp_path: Path, cut: int) -> None:
    """Half of the rows must not pass for all of them."""
    path = tmp_path / "a.jsonl"
    whole = as_array([{"messages": [n]} for n in range(40)], ascii_only=True)
    path.write_text(whole[:-cut])
    with pytest.raises(DataError, match=r"a\.jsonl:\d+: the file is one JSON array .*broken"):
        open_rows(path)


def test_utf16_that_is_cut_in_a_character_is_refused_as_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_lines([{"a": 1}] * 3, ascii_only=True).encode("utf-16")[:-1])
    with pytest.raises(DataError, match=r"a\.jsonl:3: begins as UTF-16"):
        open_rows(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_git_lfs_pointer_is_named_as_one(tmp_path: Path, name: str) -> None:
    """A clone without `git lfs pull` has a text in the place of the rows."""
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(DataError, match=r"Git LFS pointer of a file of 132,735 bytes.*lfs pull"):
        open_rows(tmp_path / name)


def test_a_parquet_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """At the top or within a struct: as in JSON, one of the two would be lost."""
    import pyarrow
    import pyarrow.parquet

    inner = pyarrow.struct([("role", pyarrow.string()), ("role", pyarrow.string())])
    tables = {
        "messages": pyarrow.table([[1], [2]], names=["messages", "messages"]),
        "messages.role": pyarrow.table(
            [pyarrow.array([None], pyarrow.list_(inner))], names=["messages"]
        ),
    }
    for name, table in tables.items():
        path = tmp_path / "a.parquet"
        pyarrow.parquet.write_table(table, path)
        with pytest.raises(DataError, match=f'column "{name}" stands twice'):
            open_rows(path)


def test_a_large_array_is_read_row_by_row(tmp_path: Path) -> None:
    """100,000 rows of one array, and a line of 10 MB among them."""
    rows: list[object] = [{"messages": n} for n in range(100_000)]
    rows[50_000] = {"messages": "x" * 10_000_000}
    path = tmp_path / "a.jsonl"
    path.write_text(as_array(rows, ascii_only=True))
    found = open_rows(path)
    assert len(found) == 100_000
    assert [found.read(index) for index in (0, 50_000, 99_999)] == [
        rows[index] for index in (0, 50_000, 99_999)
    ]
    assert found.where(99_999).endswith(f":{99_999 * 3 + 2}")


@examples(300)
@given(
    st.text(alphabet=" \t\n\r\x0b\xa0[]{},:\"'-+.019truefalsnNIity#qü", max_size=12).map(str.encode)
)
def test_what_is_no_json_is_said_in_the_words_of_the_parser(line: bytes) -> None:
    """Whether or not its first character gave it away."""
    expected, words = parsed(line)
    try:
        assert repr(parse_json(line)) == repr(expected)
    except RowFault as fault:
        found = str(fault)
    else:
        found = ""
    assert found.startswith(words)
    assert bool(found) == bool(words)


def parsed(line: bytes) -> tuple[Any, str]:
    """What Python's parser makes of a line, or what it says of it."""
    try:
        return json.loads(line), ""
    except json.JSONDecodeError as error:
        return None, f"not valid JSON at column {error.colno} ({error.msg})"
