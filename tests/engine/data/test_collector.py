"""Rows are made without Python's search for cycles: they have none, and are many."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.data.collector import collector_paused
from engine.data.row_files import open_path
from engine.data.task_rows import parse_into


@pytest.fixture
def searches() -> Iterator[list[int]]:
    """Generations that the collector searched."""
    found: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            found.append(info["generation"])

    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)


def test_no_search_while_rows_are_read_and_parsed(tmp_path: Path, searches: list[int]) -> None:
    path = tmp_path / "rows.jsonl"
    said = '[{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]\n'
    path.write_text(said * 20_000)
    rows = open_path(path)
    parsed: dict[int, Any] = {}
    searches.clear()
    faults = parse_into(parsed, rows, range(len(rows)), "rows")
    assert (len(parsed), faults[:1]) == (20_000, [])
    assert len(searches) <= 1, "the one that was due"
    table = tmp_path / "rows.csv"
    table.write_text("prompt,completion\n" + "a,b\n" * 20_000)
    searches.clear()
    assert len(open_path(table)) == 20_000
    assert len(searches) <= 1
    assert gc.isenabled()


def test_one_in_another_leaves_the_collector_as_it_was() -> None:
    with collector_paused():
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with pytest.raises(KeyError), collector_paused():
            raise KeyError
        assert not gc.isenabled()
    finally:
        gc.enable()
