"""Numbers that texts write: typed by a person, or names of somebody else's files."""

import contextlib
import json
import os
import sys
import tracemalloc
from datetime import datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import RunConfig
from engine.errors import ConfigError
from engine.files import checked
from engine.journal import event_files
from engine.run import foreign, run_dir
from engine.step import run_plan

HOSTILE = ["²", "٣", "१२", "③", "-1", "+1", "1_000", " 1", "1 ", "", "0x1", "9" * 5000]
"""Of what `str.isdigit` or `int` takes alone, and what nobody means by a number."""


@given(st.text(max_size=30) | st.text("0123456789²③٣", max_size=30) | st.sampled_from(HOSTILE))
def test_digits_are_0_to_9_and_few(text):
    """Whatever the text, a number that fits 64 bits or None."""
    found = checked.digits(text)
    plain = 0 < len(text) <= checked.MOST_DIGITS and set(text) <= set("0123456789")
    assert found == (int(text) if plain else None)
    assert found is None or found < checked.LARGEST_WHOLE


@pytest.mark.parametrize("opened", ['{"a":', "[", '[{"a":[', '{"a":[1,{"b":2},'])
def test_json_of_any_depth_is_a_value_or_a_value_error(opened):
    """Whole or cut off, also where the last of several layers of calls has no room."""
    closed = "".join({"{": "}", "[": "]"}[c] for c in reversed(opened) if c in "{[")
    closed = closed.replace("}", "", 1) if '{"b"' in opened else closed
    most = sys.getrecursionlimit()
    for depth in [1, *range(most // 4 - 60, most // 4 + 60), *range(most - 90, most + 20), 99_999]:
        for text in (opened * depth, opened * depth + "1" + closed * depth):
            for form in (text, text.encode()):
                with contextlib.suppress(ValueError):
                    checked.parse_json(form)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_such_text_stops_a_run(tmp_path, monkeypatch, text):
    """A folder among the logs, a host, an entry of data, a number from the keeper."""
    run = run_dir.create(tmp_path, "x", datetime(2026, 1, 2, 3, 4, 5))
    run.manifest.write_text(json.dumps({"id": run.id}))
    if len(text) < 200:
        (run.logs / f"attempt-{text}").mkdir(parents=True)
    assert event_files.next_log_attempt(run) == 1
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        RunConfig().replace(nodes=2, gpus=2, rendezvous=f"host:{text}").check()
    assert run_plan._split_entry(f"MMLU:{text}") == (f"MMLU:{text}", None)
    assert foreign.start_number({foreign.ATTEMPT_VARIABLE: text}) == 1


def test_a_file_is_read_into_as_much_room_as_it_takes(tmp_path):
    """Each read of a small file asked the system for room for the largest one allowed."""
    path = tmp_path / "few"
    path.write_bytes(b"12345")
    tracemalloc.start()
    try:
        assert checked.read_bytes(path, 256 * 2**20) == b"12345"
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 2**20


@pytest.mark.parametrize("limit", [5, 6, 1000])
@pytest.mark.parametrize("said", [0, 2, 5, 9])
def test_a_file_of_another_size_than_it_said_is_read_whole(tmp_path, monkeypatch, said, limit):
    """One that grows while it is read, and those of the kernel, which say that they are empty."""
    path = tmp_path / "grows"
    path.write_bytes(b"12345")
    fstat = os.fstat
    with path.open("rb") as file:
        sizes = {file.fileno(): SimpleNamespace(st_size=said, st_mode=0o100644)}
        # Another thread may ask for a file of its own in the meantime.
        monkeypatch.setattr(os, "fstat", lambda each: sizes.get(each) or fstat(each))
        monkeypatch.setattr(checked, "open_file", lambda _: contextlib.nullcontext(file))
        assert checked.read_bytes(path, limit) == b"12345"
        file.seek(0)
        with pytest.raises(OSError, match="larger than 4 bytes"):
            checked.read_bytes(path, 4)
