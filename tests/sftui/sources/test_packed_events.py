"""A packed list of events answers as the list of the events does, to the bit."""

import math
import struct
import tracemalloc
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.sources import packed_events
from sftui.sources.marks import Mark, Marks
from sftui.sources.packed_events import PackedEvents
from sftui.sources.recording import Timeline

WHOLE = st.integers(-3, 3) | st.integers()
REAL = st.sampled_from([0.1, 2.345678, -0.0, 0.0, math.nan, math.inf, 1e300, 1.7e9]) | st.floats()
TEXT = st.sampled_from(["", "GSM8K", "ckpt/step-000120", "a\0b", "\ud800", "第 3 步"]) | st.text()
ANY = WHOLE | REAL | TEXT | st.none() | st.booleans()
TABLE = st.dictionaries(TEXT, ANY, max_size=3) | st.just({"a": {"b": 1.0}})
VALUE = ANY | TABLE | st.lists(WHOLE, max_size=2) | st.tuples(REAL)


@st.composite
def any_event(draw: st.DrawFn) -> ev.Event:
    """Of any kind, its fields holding whatever a reader may ever put there."""
    kind = draw(st.sampled_from([*ev.TYPE_NAME, ev.Unknown]))
    of_stamp: dict[str, Any] = {field.name: draw(ANY) for field in fields(ev.Stamp)}
    stamp = ev.Stamp(**of_stamp)
    values: dict[str, Any] = {
        field.name: draw(VALUE) for field in fields(kind) if field.name != "stamp"
    }
    return kind(**values, stamp=stamp)


def bits(value: Any) -> Any:
    """Tells apart what `==` does not: types, zeros, and NaN from NaN."""
    if type(value) is float:
        return struct.pack("d", value)
    if isinstance(value, dict):
        return [(bits(key), bits(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [bits(item) for item in value]
    if isinstance(value, ev.Event | ev.Stamp):
        return type(value), [bits(getattr(value, field.name)) for field in fields(value)]
    return type(value), value


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_events, "BLOCK", 6)
        patch.setattr(packed_events, "NEWEST", 3)
        patch.setattr(packed_events, "_FEW", 1)
        yield


@given(st.lists(any_event(), max_size=8), st.lists(st.integers(0, 7), max_size=40), st.randoms())
def test_every_event_comes_back_as_it_came(
    some: list[ev.Event], again: list[int], order: Any
) -> None:
    """Those of one shape in any number, in any order, asked for in any order."""
    events = [*some, *(some[number] for number in again if number < len(some))]
    packed = PackedEvents()
    for event in events:
        packed.append(event)
    assert len(packed) == len(events)
    assert [bits(event) for event in packed] == [bits(event) for event in events]
    places = list(range(len(events)))
    order.shuffle(places)
    for place in places:
        assert bits(packed[place]) == bits(events[place])
    for outside in (-1, len(events)):
        with pytest.raises(IndexError):
            packed[outside]


MARKED = st.sampled_from(
    [
        ev.ValidationFinished(step=1, loss=2.0),
        ev.ValidationFinished(step=1, loss=math.nan, set_name="other"),
        ev.EvalFinished(step=1, task="ARC", correct=1, total=4),
        ev.EvalFinished(step=1, task="MMLU", accuracy=0.25),
        ev.EvalFinished(step=2, task="ARC", accuracy=math.nan),
        ev.EvalProgress(step=1, task="ARC", done=1, total=4),
        ev.CheckpointSaved(step=1, path="ckpt/step-1"),
        ev.AttemptStarted(start_step=1, stamp=ev.Stamp(att=1)),
        ev.AttemptStarted(start_step=1, stamp=ev.Stamp(att=2)),
        ev.StepFinished(step=3, loss=1.0),
        ev.RankLost(rank=1),
        ev.RunFinished(status="finished"),
    ]
)


@given(st.lists(MARKED, max_size=40))
def test_marks_made_when_they_are_read_say_what_was_said_as_they_came(
    events: list[ev.Event],
) -> None:
    """One for each event worth it, one for all evaluations of a step that follow each other."""
    timeline = Timeline()
    wanted: list[tuple[int, str, int | None, list[ev.Event]]] = []
    for event in events:
        timeline.append(event)
        alone = Marks(alone_events := PackedEvents())
        alone_events.append(event)
        alone.add(event, 0, 1, 0.0)
        if not alone:
            continue
        [mark] = alone
        last = wanted[-1] if wanted else None
        joins = last is not None and last[1] == mark.kind == "eval" and last[2] == mark.step
        together = [*wanted.pop()[3], event] if joins else [event]
        wanted.append((len(timeline), mark.kind, mark.step, together))
    found: list[Mark] = list(timeline.marks)
    assert [(m.position, m.kind, m.step) for m in found] == [w[:3] for w in wanted]
    for mark, (position, _, _, together) in zip(found, wanted, strict=True):
        assert mark.label.count(",") == len(together) - 1
        assert all(e.task in mark.label for e in together if isinstance(e, ev.EvalFinished))
        assert mark.seconds == timeline.seconds_at(position)
    assert list(timeline.marks)[-3:] == list(timeline.marks[-3:])


def test_results_at_every_step_take_a_fifth_of_their_memory() -> None:
    def result(number: int) -> ev.Event:
        step, t = number // 3, 1.7e9 + number / 30
        stamp = ev.Stamp(run="run", seq=number + 1, t=t, m=t - 1.6e9, boot="b")
        if number % 3 == 0:
            by_source = {"math": 1 / (1 + step), "chat": 2 / (1 + step)}
            return ev.ValidationFinished(step=step, loss=t, stamp=stamp, loss_by_source=by_source)
        if number % 3 == 1:
            return ev.EvalFinished(
                step=step, task="GSM8K"[:], correct=step, total=1000, stamp=stamp
            )
        return ev.CheckpointSaved(step=step, path=f"checkpoints/{step:06d}", stamp=stamp)

    number = 12_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_events, "BLOCK", 1024)
        patch.setattr(packed_events, "NEWEST", 1024)
        patch.setattr(packed_events, "_FEW", 16)
        timeline = Timeline()
        tracemalloc.start()
        try:
            for place in range(number):
                timeline.append(result(place))
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert taken < 200 * number, "as objects each takes 1,000 bytes, its mark included"
        found = list(timeline.events(0, number))
        for place in (0, 1, 2, 5_000, number - 1):
            assert bits(found[place]) == bits(result(place))


def test_an_accuracy_of_zero_is_told_with_its_number():
    """Where every answer is wrong the mark says 0.00 %, not the task alone."""
    events = PackedEvents()
    marks = Marks(events)
    events.append(ev.EvalFinished(step=3, task="GSM8K", correct=0, total=20))
    marks.add(events[0], place=0, position=1, seconds=0.0)
    assert [mark.label for mark in marks] == ["GSM8K 0.00 %"]
