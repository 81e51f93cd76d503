"""Event lines read by heart say what reading each as JSON says, whatever was done to a line."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from engine.errors import WireError
from engine.journal import wire
from sftui.readers.event_skeleton import EventSkeletons
from sftui.readers.journal import JournalReader
from tests.conftest import examples

NUMBER = st.sampled_from([0.5, 2.0, -0.0, 1e-7, 1e300, math.nan, math.inf]) | st.floats(0, 9)
TEXT = st.sampled_from(["", "GSM8K", 'a "b"\\', "第 3 步", "\x7f", "\n", "ckpt/step-000120"])
COUNT = st.integers(0, 1000) | st.sampled_from([2**53, 10**15, -1])
STAMP = st.builds(
    ev.Stamp,
    run=st.sampled_from(["", "run", 'a"b']),
    seq=st.just(0),
    att=st.integers(1, 2),
    t=st.none() | st.floats(0, 2e9),
    m=st.none() | st.floats(0, 2e3),
    boot=st.sampled_from(["", "b"]),
)
STEP = st.none() | st.integers(0, 5)
EVENT = st.one_of(
    st.builds(ev.ValidationFinished, step=STEP, stamp=STAMP, loss=NUMBER, metric=TEXT),
    st.builds(
        ev.ValidationFinished,
        step=STEP,
        stamp=STAMP,
        loss=NUMBER,
        loss_by_source=st.dictionaries(TEXT, NUMBER, max_size=2),
    ),
    st.builds(
        ev.EvalFinished,
        step=STEP,
        stamp=STAMP,
        task=TEXT,
        correct=st.none() | COUNT,
        accuracy=st.none() | NUMBER,
    ),
    st.builds(ev.CheckpointSaved, step=STEP, stamp=STAMP, path=TEXT, size_bytes=st.none() | COUNT),
    st.builds(ev.RunFinished, stamp=STAMP, status=st.just("finished"), updates=COUNT),
    st.builds(ev.Unknown, stamp=STAMP, type=TEXT, data=st.dictionaries(TEXT, NUMBER)),
)
DAMAGE = st.sampled_from(
    ["٣", "1e5", "1.0", "01", "-", " ", '"', "\\", "null", "NaN", "9" * 16, "\t", "}", ',"x":1']
)


@given(
    st.lists(EVENT, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1), DAMAGE | st.none()), max_size=12),
)
@examples(60)
def test_a_line_by_heart_says_what_its_json_says(
    events: list[ev.Event], again: list[tuple[int, float, str | None]]
) -> None:
    lines = [wire.encode(event).decode().rstrip("\n") for event in events]
    lines += lines  # by heart from the second time on
    for number, place, damage in again:
        line = lines[number % len(events)]
        if damage is not None:
            cut = round(place * len(line))
            line = line[:cut] + damage + line[cut + 1 :]
        lines.append(line)
    by_heart, known = EventSkeletons(), 0
    for line in lines:
        found = by_heart.event(line)
        known += found is not None
        try:
            wanted = wire.decode(line)
        except WireError:
            assert found is None, line
            continue
        assert found is None or repr(found) == repr(wanted), line
        by_heart.learn(line, wanted)


def test_results_are_known_by_heart_after_the_first() -> None:
    """All fields that numbers and texts can fill; a number like 1 in place of 1.0 is no matter."""
    skeletons = EventSkeletons()
    for step in range(3):
        stamp = ev.Stamp(run="run", seq=step + 1, t=1.7e9 + step / 8, m=step / 8, boot="b")
        events: list[ev.Event] = [
            ev.ValidationFinished(step=step, stamp=stamp, loss=2.0 / (1 + step), seconds=1e-7),
            ev.EvalFinished(step=step, stamp=stamp, task="ARC", correct=step, total=4, chance=0.25),
            ev.CheckpointSaved(step=step, stamp=stamp, path=f"ckpt/{step:06}", size_bytes=9),
        ]
        for event in events:
            line = wire.encode(event).decode().rstrip("\n")
            assert skeletons.event(line) == (event if step else None)
            skeletons.learn(line, event)


def test_a_row_whose_numbers_are_no_ascii_digits_is_no_row() -> None:
    """JSON knows no others; a line by heart took them for numbers."""
    reader = JournalReader()
    lines = []
    for step in range(4):
        stamp = ev.Stamp(seq=step + 1, t=1.7e9 + step)
        lines.append(wire.encode(ev.StepFinished(step=step, loss=1.5, stamp=stamp)).decode())
    lines[2] = lines[2].replace("1.5", "1.٥")
    assert not _is_json(lines[2])
    [batch] = reader.feed("".join(lines).encode()) + reader.close()
    assert isinstance(batch, ev.StepBatch)
    assert list(batch.steps) == [0, 1, 3]
    assert reader.lines.unrecognised == 1


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
