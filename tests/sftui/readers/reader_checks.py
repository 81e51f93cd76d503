"""What the tests of all readers share: flat events, any chunking, stages."""

import math
from collections.abc import Callable, Iterable

from hypothesis import strategies as st

from engine.events import Event, MetricLogged, RunStarted, StepBatch, StepFinished
from sftui.readers import Reader
from tests.strategies import same

Stage = tuple[RunStarted, list[Event]]


def flat(events: Iterable[Event]) -> list[Event]:
    """The same events with every batch spelled out."""
    out: list[Event] = []
    for event in events:
        out.extend(event.rows() if isinstance(event, StepBatch) else [event])
    return out


def read(make: Callable[[], Reader], *chunks: bytes) -> list[Event]:
    return read_by(make, *chunks)[1]


def read_by(make: Callable[[], Reader], *chunks: bytes) -> tuple[Reader, list[Event]]:
    """The reader that read to the end, and its events; as often as lines overturn a reading."""
    reader = make()
    while True:
        events: list[Event] = []
        for chunk in chunks:
            events += reader.feed(chunk)
        events += reader.close()
        if not getattr(reader, "overturned", ""):
            return reader, flat(events)
        reader = reader.again()  # type: ignore[attr-defined]


def stages(events: list[Event]) -> list[Stage]:
    """The events of each stage under its newest `RunStarted`; what precedes it is left out."""
    found: list[Stage] = []
    for event in events:
        if isinstance(event, RunStarted):
            if found and found[-1][0].stamp.run == event.stamp.run:
                found[-1] = (event, found[-1][1])
            else:
                found.append((event, []))
        elif found:
            found[-1][1].append(event)
    return found


def of(kind: type, events: list[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


def assert_same(left: list[Event], right: list[Event]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert same(a, b), (a, b)


def assert_any_cut(make: Callable[[], Reader], data: bytes) -> None:
    """Cut once at every byte: the same events and counts, and no exception."""
    whole, expected = read_by(make, data)
    for cut in range(len(data) + 1):
        reader, events = read_by(make, data[:cut], data[cut:])
        assert_same(events, expected)
        assert reader.lines == whole.lines


def chunkings(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """The same bytes in any pieces, empty ones too."""
    cuts = st.lists(st.integers(0, len(data)), max_size=12).map(sorted)
    return cuts.map(lambda at: [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)])


def free_values(events: list[Event], name: str) -> list[float]:
    """The values of one free metric, in order."""
    return [e.values[name] for e in of(MetricLogged, events) if name in e.values]


def losses(events: list[Event]) -> list[float]:
    """The training loss that each line prints, under whichever name."""
    steps: list[StepFinished] = of(StepFinished, events)
    printed = [e.loss_micro_last if e.loss is None else e.loss for e in steps]
    return [math.nan if loss is None else loss for loss in printed]
