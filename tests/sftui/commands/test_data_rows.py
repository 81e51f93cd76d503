"""`sftui data` shows rows as the model sees them."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from engine.conversations.chat_format import Rendered
from engine.errors import UsageError
from engine.step.rows_of_step import SeenRow
from sftui.cli import main
from sftui.commands.checkpoint_flags import DataFlags
from sftui.commands.data_rows import Summary, print_rows
from tests import hf_material

SAID = [
    {"role": "user", "content": "what is two?"},
    {"role": "assistant", "content": "four\x1b[2J"},
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    hf_material.tokenizer().save_pretrained(tmp_path / "model")
    rows = [{"messages": SAID}, {"messages": SAID[:1]}, {"messages": [*SAID[:1], "x"]}]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def flags(place: Path, **others: object) -> DataFlags:
    return DataFlags(file=place / "chat.jsonl", model=place / "model", **others)  # type: ignore[arg-type]


def test_supervised_tokens_stand_between_marks(place: Path) -> None:
    """And a row's own escape bytes reach no terminal."""
    text = "\n".join(print_rows(flags(place)))
    spoken = text.partition("⟦")[2].partition("⟧")[0].replace("·", "")
    assert spoken == "four[2J<|im_end|>"
    assert "\x1b" not in text
    assert "3 rows" in text
    assert "1 cannot be used; the first:" in text
    assert "chat.jsonl:3" in text
    assert "1 have no supervised token" in text


def test_json_gives_ids_and_mask_of_every_row(place: Path) -> None:
    found = [json.loads(line) for line in print_rows(flags(place, json=True))]
    assert len(found) == 3
    assert len(found[0]["ids"]) == len(found[0]["mask"]) == len(found[0]["tokens"])
    spoken = "".join(t for t, m in zip(found[0]["tokens"], found[0]["mask"], strict=True) if m)
    assert spoken == "four\x1b[2J<|im_end|>"
    assert not any(found[1]["mask"])
    assert "message 2" in found[2]["fault"]


def test_it_begins_where_it_was_told(place: Path) -> None:
    found = [json.loads(line) for line in print_rows(flags(place, json=True, first=3))]
    assert [row["where"].rpartition(":")[2] for row in found] == ["3"]


def test_a_command_without_a_model_says_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="--model DIR"):
        list(print_rows(DataFlags()))
    assert main(["data", "nowhere.jsonl", "--model", "nowhere"]) == 2
    assert "nowhere.jsonl" in capsys.readouterr().err


def test_no_row_is_kept_for_what_is_said_of_all() -> None:
    """A thousand rows of a thousand tokens: a file of any length needs the room of one row."""
    summary = Summary(1000)
    tracemalloc.start()
    for _ in range(1000):
        ids = [7] * 1000
        summary.add(SeenRow(where="f:1", rendered=Rendered(ids, [0, *[1] * 999], 3)))
        summary.add(SeenRow(where="f:2", rendered=None, fault="not JSON"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    assert list(summary.lines()) == [
        "2,000 rows",
        "1,000 cannot be used; the first: f:2: not JSON",
        "1,003 to 1,003 tokens, half of them at most 1,003",
        "999,000 of 1,000,000 tokens supervised",
        "1,000 lose their end at 1,000 tokens (--max-tokens)",
    ]
