"""Data files: finding them, reading them, and saying what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.conversations.conversation import Conversation, RowFault
from engine.conversations.letter_questions import Question
from engine.data.dataset import find_file, open_rows, parse_row, row_id
from engine.errors import DataError
from tests.conftest import SHARED, needs_shared

ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def write(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"\n".join(lines))
    return path


def test_lines_end_at_newlines_only(tmp_path: Path) -> None:
    """U+2028 and U+0085 inside a text do not cut the row in two."""
    text = "one\u2028two\u0085three\rfour"
    raw = json.dumps({"text": text}, ensure_ascii=False).replace("\\r", "\\r").encode()
    rows = open_rows(write(tmp_path / "a.jsonl", raw, raw))

    assert len(rows) == 2
    assert rows.read(1) == {"text": text}


def test_blank_lines_marks_and_carriage_returns_are_no_rows(tmp_path: Path) -> None:
    """A byte order mark, CRLF ends and empty lines are harmless, and line numbers stay true."""
    rows = open_rows(write(tmp_path / "a.jsonl", b"\xef\xbb\xbf[1]\r", b"", b"  ", b"[2]\r", b""))

    assert [rows.read(index) for index in range(len(rows))] == [[1], [2]]
    assert rows.where(1) == f"{tmp_path / 'a.jsonl'}:4"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"a": ', "not valid JSON at column 7"),
        (b"\xff\xfe", "byte 1 is not UTF-8"),
        (b"[" * 100_000, "not JSON that can be read"),
        (b"9" * 5000, "not JSON that can be read"),
    ],
)
def test_a_line_that_is_no_json_is_a_fault(tmp_path: Path, line: bytes, words: str) -> None:
    """Whatever stands on the line, reading it ends in words and not in a crash."""
    rows = open_rows(write(tmp_path / "a.jsonl", line))

    with pytest.raises(RowFault, match=words):
        rows.read(0)


def test_parquet_rows_are_the_same_rows(tmp_path: Path) -> None:
    """A Parquet file gives what the JSONL file of the same rows gives."""
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    table = pyarrow.Table.from_pylist(
        [{**ROW, "id": None, "choices": None}, ROW, {**ROW, "id": "x"}]
    )
    pyarrow.parquet.write_table(table, path)
    rows = open_rows(path)
    rows.prefetch([0, 2])

    assert len(rows) == 3
    assert rows.read(0) == ROW
    assert parse_row(rows.read(2)) == parse_row(ROW)
    assert row_id(rows.read(2)) == "x"
    assert parse_row(rows.read(1)) == parse_row(ROW)
    assert rows.where(1) == f"{path}, row 2"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", None, "does not exist"),
        ("a.jsonl", b"\n \n", "holds no rows"),
        ("a.parquet", b"nothing of the kind", "not a Parquet file"),
        ("a.csv", b"a,b", "expected a name ending in .jsonl or .parquet"),
    ],
)
def test_a_file_that_is_no_data_is_refused(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    """Missing, empty and foreign files are named with what was expected."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(DataError, match=words) as caught:
        open_rows(path)
    assert str(path) in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder with a data file's name is called a folder."""
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        open_rows(tmp_path / "a.jsonl")


def test_chat_stands_in_for_smoltalk_and_says_so(tmp_path: Path) -> None:
    """`chat.train` is used only where there is no `SmolTalk.train`, with a note."""
    chat = write(tmp_path / "chat.train.jsonl", b"[]")
    found = find_file(tmp_path, "SmolTalk", "train")
    assert found is not None
    assert found.path == chat
    assert "in place of SmolTalk.train" in found.note
    assert find_file(tmp_path, "GSM8K", "train") is None

    own = write(tmp_path / "SmolTalk.train.parquet", b"")
    found = find_file(tmp_path, "SmolTalk", "train")
    assert found is not None
    assert (found.path, found.note) == (own, "")


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (ROW, Conversation),
        (ROW["messages"], Conversation),
        ({"question": "q", "answer": "a"}, Conversation),
        ({"question": "q", "choices": ["a", "b"], "answer": 1, "subject": "s"}, Question),
        ({"train": {"question": "q", "choices": ["a", "b"], "answer": 1}}, Question),
    ],
)
def test_every_known_form_is_recognised(raw: Any, kind: type) -> None:
    """Conversations, identity lists, word problems and questions, wrapped ones too."""
    assert type(parse_row(raw)) is kind


@pytest.mark.parametrize("raw", [3, "text", None, {}, {"text": "a"}, {"question": "q"}])
def test_an_unknown_form_says_what_was_expected(raw: object) -> None:
    """A row of no known form names its keys."""
    with pytest.raises(RowFault, match="expected"):
        parse_row(raw)


@needs_shared
@pytest.mark.parametrize(
    "path", sorted((SHARED / "data").glob("*.jsonl")), ids=lambda path: path.name
)
def test_every_row_of_the_real_files_can_be_read(path: Path) -> None:
    """26,000 real rows of all forms parse without a fault."""
    rows = open_rows(path)
    for index in range(len(rows)):
        parse_row(rows.read(index))
