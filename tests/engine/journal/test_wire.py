"""Events survive the wire."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.control import Command, Request
from engine.errors import WireError
from engine.events import KINDS, RunFinished, Stamp, StepFinished, Unknown
from engine.journal import wire
from tests.strategies import events, same


@given(events())
def test_an_event_survives_the_wire(event):
    """Whatever happened reads back as it was, NaN and infinity included."""
    assert same(wire.decode(wire.encode(event)), event)


@given(events())
def test_an_event_is_one_line_of_bounded_size(event):
    """One event is one write call."""
    line = wire.encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= wire.MAX_LINE_BYTES


@given(st.binary(max_size=200))
def test_any_bytes_give_an_event_or_a_wire_error(line):
    """A foreign or torn line never raises anything else."""
    with contextlib.suppress(WireError):
        wire.decode(line)


@given(events(), st.data())
def test_a_torn_line_gives_an_event_or_a_wire_error(event, data):
    """A writer killed in the middle of a line costs that line only."""
    line = wire.encode(event)
    cut = data.draw(st.integers(0, len(line) - 2))
    with pytest.raises(WireError):
        wire.decode(line[:cut])


def test_every_kind_has_a_name_of_its_own():
    """The name on the wire is the snake_case of the class name."""
    assert KINDS["step_finished"] is StepFinished
    assert len(set(KINDS.values())) == len(KINDS)


def test_nan_is_strict_json_and_comes_back_as_nan():
    """A diverged loss is the news; the line is still valid JSON for other tools."""
    line = wire.encode(StepFinished(step=3, loss=math.nan, lrs={"a/b": math.inf}))
    assert b"NaN" not in line
    assert b"Infinity" not in line
    back = wire.decode(line)
    assert isinstance(back, StepFinished)
    assert math.isnan(back.loss)
    assert back.lrs == {"a/b": math.inf}


def test_an_unknown_kind_is_kept():
    """A newer writer's event is counted, not fatal, and written back unchanged."""
    event = wire.decode(b'{"v":1,"type":"moon_rose","seq":4,"step":2,"d":{"x":1}}')
    assert event == Unknown(type="moon_rose", data={"x": 1}, step=2, stamp=Stamp(src="", seq=4))
    assert wire.decode(wire.encode(event)) == event


@given(events() | st.text(max_size=9).map(lambda name: Unknown(type=name)), st.binary(max_size=9))
def test_a_kind_is_told_from_its_line_alone(event, end):
    """What passes for an unknown kind unread would have been one, or no event at all."""
    for line in (wire.encode(event), wire.encode(event)[:-1] + end):
        said = wire.is_unknown(line)
        with contextlib.suppress(UnicodeDecodeError):
            assert wire.is_unknown(line.decode()) == said
        if said:
            with contextlib.suppress(WireError):
                assert isinstance(wire.decode(line), Unknown)
        elif end == b"":
            assert not isinstance(event, Unknown) or not event.type.isascii() or '"' in event.type


def test_unknown_fields_are_ignored_and_a_newer_major_is_refused():
    """Small additions are readable by old versions; a new format says so."""
    line = b'{"v":1,"type":"log_line","d":{"text":"hi","shade":"blue"}}'
    assert wire.decode(line).text == "hi"
    with pytest.raises(WireError, match="Upgrade"):
        wire.decode(b'{"v":2,"type":"log_line","d":{"text":"hi"}}')


def test_a_huge_text_is_cut_but_the_event_arrives():
    """A 2 MB line of some library never breaks the event file."""
    line = wire.encode(KINDS["log_line"](text="x" * 2_000_000))
    assert len(line) <= wire.MAX_LINE_BYTES
    assert wire.decode(line).text.startswith("xxx")


def test_a_request_survives_the_wire():
    """Requests come back as asked."""
    asked = Request(id="a1", command=Command.LR_FACTOR, argument=0.5, author="ctl", t=12.5)
    assert wire.decode_request(wire.encode_request(asked)) == asked


def test_a_request_with_an_unknown_command_can_be_rejected_by_its_id():
    """A typo in a script gets an answer instead of silence."""
    with pytest.raises(WireError) as caught:
        wire.decode_request(b'{"id":"q","command":"explode"}')
    assert caught.value.args[1] == "q"


WORD = "x" * 70_000
LONG = {
    "a writer": RunFinished(status="failed", stamp=Stamp(seq=1, src=WORD)),
    "a run": RunFinished(status="failed", stamp=Stamp(seq=1, run=WORD, boot=WORD)),
    "a name in a table": StepFinished(step=1, loss=1.0, lrs={WORD: 1.0}),
    "many names": StepFinished(step=1, loss=1.0, lrs={f"name {n}": 1.0 for n in range(20_000)}),
    "a kind": Unknown(type=WORD, data={WORD: [WORD] * 9}),
    "tables in tables": Unknown(
        type="t", data={f"a{n}": {f"b{m}": {"c" * 99: 1} for m in range(99)} for n in range(99)}
    ),
}


@pytest.mark.parametrize("what", LONG)
def test_an_event_of_any_size_is_one_line_of_bounded_length(what):
    """What was no text in the payload was never cut: the writer went round for ever."""
    line = wire.encode(LONG[what])
    assert len(line) <= wire.MAX_LINE_BYTES
    assert line.count(b"\n") == 1
    assert wire.decode(line).stamp.seq == LONG[what].stamp.seq
