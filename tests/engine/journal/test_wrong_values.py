"""One wrong value in a line costs that line: never the run, the reader or another line."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.control import Command, Request
from engine.errors import WireError
from engine.events import Event
from engine.files import checked
from engine.journal import wire
from engine.processes.heartbeat_file import read_record
from engine.steering.inbox import MAX_REQUEST_BYTES, Inbox, post
from sftui.readers.journal import JournalReader
from sftui.state.run_state import RunState
from tests.processes import make_run
from tests.strategies import events

HUGE = 10**400

WRONG: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=5),
    st.sampled_from([HUGE, -HUGE, 10**31, 2**63, -1, 1e308, -1e308, "\ud800", [], {}, [[]]]),
    st.sampled_from([float("nan"), float("inf")]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers() | st.lists(st.text()), max_size=2),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value of a JSON object stands."""
    found = [path] if path else []
    entries = value.items() if isinstance(value, dict) else []
    for key, item in entries:
        found += places(item, (*path, key))
    return found


def change(raw: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        raw = raw[key]
    raw[path[-1]] = value


@given(events(), WRONG, st.data())
def test_an_event_with_one_value_changed_is_read_or_refused(
    event: Event, value: Any, data: st.DataObject
) -> None:
    """Whatever stands where, the line is an event with the right types or a WireError."""
    raw = json.loads(wire.encode(event))
    raw["nf"] = raw.get("nf", {})
    path = data.draw(st.sampled_from(places(raw)))
    change(raw, path, value)
    line = json.dumps(raw)
    with contextlib.suppress(WireError):
        found = wire.decode(line)
        wire.encode(found)
        RunState().apply(found)
    reader = JournalReader()
    state = RunState()
    for read in reader.feed(line.encode() + b"\n") + reader.close():
        state.apply(read)


@given(st.sampled_from(["id", "command", "argument", "author", "t", "attempt", "expires"]), WRONG)
def test_a_request_with_one_value_changed_is_read_or_refused(name: str, value: Any) -> None:
    """A number of 400 digits ended a run for ever."""
    raw = {"id": "a", "command": "lr", "argument": 0.5, "t": 1.0, "v": 1, name: value}
    with contextlib.suppress(WireError):
        request = wire.decode_request(json.dumps(raw))
        assert wire.decode_request(wire.encode_request(request)) == request


@pytest.mark.parametrize("name", ["t", "argument", "expires", "attempt"])
def test_a_number_of_400_digits_is_answered_and_the_next_request_obeyed(
    tmp_path: Path, name: str
) -> None:
    """Rank 0 died of it at its first look, in every attempt and every resumption."""
    run = make_run(tmp_path)
    raw = {"id": "bad", "command": "lr", "argument": 1, "t": 1, "v": 1, name: HUGE}
    run.control.write_text(json.dumps(raw) + "\n")
    post(run, Request(id="good", command=Command.PAUSE))
    batch = Inbox(run, 1).read()
    assert [request.id for request in batch.requests] == ["good"]
    [refusal] = batch.refusals
    assert (refusal.id, refusal.outcome) == ("bad", "rejected")
    assert f"the {name} of lr" in refusal.reason
    assert len(refusal.reason) < 200


def test_a_gigabyte_without_a_line_end_is_read_once_and_in_blocks(tmp_path: Path) -> None:
    """It was read whole, at each look, while somebody appended to it."""
    run = make_run(tmp_path)
    with run.control.open("wb") as file:
        file.truncate(200 * 2**20)  # a hole: it takes no room
    inbox = Inbox(run, 1)
    assert inbox.read() == ([], [])
    assert inbox.num_bad_lines == 1
    with run.control.open("ab") as file:
        file.write(b"more of it")
    assert inbox.read() == ([], [])
    assert len(inbox._torn) <= MAX_REQUEST_BYTES
    post(run, Request(id="good", command=Command.PAUSE))
    assert [request.id for request in inbox.read().requests] == ["good"]
    assert inbox.num_bad_lines == 1


def test_an_event_log_reads_the_same_whichever_way(tmp_path: Path) -> None:
    """The quick way through rows refuses what the full one refuses."""
    good = b'{"v":1,"type":"step_finished","src":"r0","att":1,"seq":%d,"step":%d,"t":%d.5,'
    good += b'"d":{"loss":2.0}}\n'
    rows = [good % (i, i, 1000 + i) for i in range(1, 30)]
    rows[7] = rows[7].replace(b'"step":8', b'"step":%d' % 10**31)
    rows[9] = rows[9].replace(b'"t":1010.5', b'"t":%d.5' % 10**80)
    rows[11] = rows[11].replace(b'"loss":2.0', b'"loss":%d' % HUGE)
    reader = JournalReader()
    state = RunState()
    for event in reader.feed(b"".join(rows)) + reader.close():
        state.apply(event)
    assert (reader.lines.total, reader.lines.unrecognised) == (29, 3)
    assert len(state.steps) == 26


ROW = {"v": 1, "type": "step_finished", "src": "r0", "att": 1, "seq": 2, "step": 1, "t": 1000.5}
ROW |= {"m": 1.5, "run": "r", "boot": "b"}


@given(st.sampled_from(sorted(ROW)), WRONG, st.booleans())
def test_a_row_with_one_value_changed_is_read_as_any_event(
    name: str, value: Any, alone: bool
) -> None:
    """A monotonic clock of 400 digits was a traceback in `replay`; the wire refused it."""
    good = json.dumps(ROW | {"seq": 1, "d": {"loss": 2.0}}, separators=(",", ":"))
    line = json.dumps(ROW | {name: value, "d": {"loss": 2.0}}, separators=(",", ":"))
    try:
        wire.decode(line)
        refused = False
    except WireError:
        refused = True
    reader = JournalReader()
    text = line if alone else f"{good}\n{line}"
    list(reader.feed(text.encode() + b"\n") + reader.close())
    if name not in ("type", "seq", "v"):
        assert reader.lines.unrecognised == int(refused)


@given(st.recursive(WRONG, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_a_heartbeat_of_anything_is_a_record_or_none(value: Any) -> None:
    """The ranks read each other's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rank-0.json"
        path.write_text(json.dumps({"rank": 0, "pid": 1, "memory_bytes": value, "t": value}))
        read_record(path)


@given(WRONG)
def test_checked_values_are_what_they_say_or_a_value_error(value: Any) -> None:
    """No other exception leaves the checks."""
    for check in (checked.whole, checked.number, checked.text, checked.table):
        with contextlib.suppress(ValueError):
            check(value)
    assert len(checked.short(value)) < 200
