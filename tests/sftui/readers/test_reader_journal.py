"""Our own event log: every event once, in any cut, whatever was written badly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import MetricLogged, RunStarted, Stamp, StepBatch, StepFinished, Unknown
from engine.journal import wire
from sftui.readers.journal import JournalReader
from sftui.sources.tail import EventTail
from tests.sftui.readers.reader_checks import assert_any_cut, assert_same, flat, of, read
from tests.strategies import events, same


def step(seq: int, **numbers) -> StepFinished:
    stamp = Stamp(run="r", src="r0", seq=seq, t=1e9 + seq, boot="b")
    return StepFinished(step=seq, stamp=stamp, **numbers)


RUN = [
    RunStarted(name="r", stamp=Stamp(run="r", seq=1, t=1e9)),
    *[step(seq, loss=1.0 / seq, lrs={"wte": 0.5, "head": 0.1}, tokens=seq) for seq in range(2, 14)],
    step(14, loss=float("nan")),
    MetricLogged(step=14, values={"mfu": 0.4}, stamp=Stamp(run="r", seq=15, t=1e9 + 15)),
    MetricLogged(step=14, values={"loss": 0.4}, stamp=Stamp(run="r", seq=16, t=1e9 + 16)),
]


def lines(listed) -> bytes:
    return b"".join(wire.encode(event) for event in listed)


def unnumbered(event):
    """An event without what a batch does not keep of its stamp."""
    fields = {name: getattr(event, name) for name in event.__dataclass_fields__}
    stamp = event.stamp
    if isinstance(event, StepFinished | MetricLogged):
        fields["stamp"] = Stamp(run=stamp.run, src=stamp.src, att=stamp.att, t=stamp.t)
    return type(event)(**fields)


def assert_says(got, expected) -> None:
    """The same events, but for the numbers of updates."""
    assert_same([unnumbered(e) for e in got], [unnumbered(e) for e in expected])


def test_a_run_is_read_back():
    """Events come back as written; updates in columns, a NaN among them kept."""
    reader = JournalReader()
    got = reader.feed(lines(RUN)) + reader.close()
    assert [len(event.steps) for event in got if isinstance(event, StepBatch)] == [12, 1]
    assert_says(flat(got), RUN)
    assert (reader.lines.total, reader.lines.unrecognised) == (len(RUN), 0)


@given(st.lists(events(), max_size=8))
def test_any_events_are_read_back(listed):
    """Whatever can be written can be read, columns or not."""
    numbered = []
    for seq, event in enumerate(listed, 1):
        fields = {name: getattr(event, name) for name in event.__dataclass_fields__}
        stamp = Stamp(run="r", src="r0", att=event.stamp.att, seq=seq, t=event.stamp.t)
        numbered.append(type(event)(**fields | {"stamp": stamp}))
    assert_says(read(JournalReader, lines(numbered)), numbered)


def test_cut_at_every_byte():
    """A journal cut anywhere gives the events of the whole."""
    assert_any_cut(JournalReader, lines(RUN[:4] + RUN[-4:]))


TURNS = [
    RunStarted(name="r", stamp=Stamp(run="r", seq=1, t=1e9)),
    *[
        event
        for seq in range(2, 40, 2)
        for event in (
            step(seq, loss=1e-7 * seq, lrs={"wte": -0.5, "x1": 3e22}, tokens=seq),
            MetricLogged(
                step=seq, values={"mfu": seq / 3}, stamp=Stamp(run="r", seq=seq + 1, t=2e9)
            ),
        )
    ],
]


def test_two_kinds_of_rows_by_turns():
    """Lines that are read by the skeleton of an earlier one say what their JSON says."""
    reader = JournalReader()
    assert_says(flat(reader.feed(lines(TURNS)) + reader.close()), TURNS)
    assert len(reader._skeletons) == 2, "or this tests nothing"
    assert_any_cut(JournalReader, lines(TURNS[:7]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"tokens":8', b'"tokens":08'),
        (b'"tokens":8', b'"tokens":8,"tokens":9'),
        (b'"tokens":8', b'"tokens":null'),
        (b'"tokens":8', b'"tokens":"8"'),
        (b'"step":8', b'"step":-8'),
        (b'"v":1', b'"v":2'),
        (b"}}", b"}"),
        (b"}}", b"}}}"),
    ],
)
def test_a_line_that_is_nearly_like_the_others_is_read_as_json(old, new):
    """The skeleton takes no line that JSON would refuse or read otherwise."""
    written = lines(TURNS).splitlines(keepends=True)
    changed = [
        line.replace(old, new) if b'"step":8,' in line and b"step_finished" in line else line
        for line in written
    ]
    assert changed != written
    got = flat(read(JournalReader, b"".join(changed)))
    slowly = JournalReader()
    slowly._matched = lambda line: None
    assert_same(got, flat(slowly.feed(b"".join(changed)) + slowly.close()))


def test_a_line_written_twice_counts_once():
    """After a short write the writer repeats a batch; its numbers tell."""
    data = lines(RUN)
    assert len(of(StepFinished, read(JournalReader, data, data))) == 13


def test_bad_lines_are_counted():
    """Torn lines, other JSON and newer versions are counted, and the rest is read."""
    reader = JournalReader()
    bad = b'{"v":1,"type":"step_fin\n[1]\nnot json\n{"v":99,"type":"x"}\n{"v":1,"type":"new"}\n\n'
    got = flat(reader.feed(bad + lines(RUN[:3])) + reader.close())
    assert (reader.lines.total, reader.lines.unrecognised) == (9, 5)
    assert same(got[-1].loss, 1 / 3)


@given(st.binary(max_size=500))
def test_garbage_gives_no_exception(data):
    """Bytes of anything are counted, not raised about."""
    reader = JournalReader()
    reader.feed(b'{"type":"step_finished"' + data + b"\n" + data)
    reader.close()
    JournalReader.sniff(data)
    assert reader.lines.read >= 0


def test_millions_of_lines_that_are_no_events_cost_little(monkeypatch):
    """Twenty megabytes of line ends, or of one letter a line, took a minute to pass over."""
    decoded = []
    real = wire.decode
    monkeypatch.setattr(wire, "decode", lambda line: decoded.append(line) or real(line))
    odd = b"\n" * 30_000 + b"x\n" * 30_000 + b"no event, and longer than one\n" * 30_000 + b" \t\n"
    reader = JournalReader()
    got = [*reader.feed(lines(RUN) + odd + b' \t{"v":1}\n'), *reader.close()]
    assert_says(flat(got), RUN)
    assert reader.lines.unrecognised == 60_001
    assert len(decoded) <= len(RUN) + 1


def unknown(count: int, first_seq: int) -> list[bytes]:
    """Lines of another version's, each of a kind of its own."""
    return [
        wire.encode(Unknown(type=f"t{n}", stamp=Stamp(run="r", src="r0", seq=n, t=1e9 + n)))
        for n in range(first_seq, first_seq + count)
    ]


def test_a_log_of_unknown_events_costs_little(monkeypatch, tmp_path):
    """300,000 took 5 to 8 s of every command: what says nothing here is counted, not read."""
    decoded = []
    real = wire.decode
    monkeypatch.setattr(wire, "decode", lambda line: decoded.append(line) or real(line))
    last = step(40_000, loss=0.5)
    odd, end = unknown(12_000, 15), unknown(2, 50_000)
    whole = b"".join([*map(wire.encode, RUN[:14]), *odd, wire.encode(last), *end])
    for cut in (len(whole), len(whole) // 2):
        decoded.clear()
        reader = JournalReader()
        got = flat([*reader.feed(whole[:cut]), *reader.feed(whole[cut:]), *reader.close()])
        known = [event for event in got if not isinstance(event, Unknown)]
        assert_says(known, [*RUN[:14], last])
        assert reader.lines.unrecognised == 12_002
        assert len(decoded) <= wire.MOST_UNKNOWN + len(RUN) + 4
        # The last one still tells the clock.
        assert got[-1].stamp.t == 1e9 + 50_001
    # A screen reads them by another way; a line that is no event at all is still a bad one.
    (tmp_path / "events.jsonl").write_bytes(whole + b"x\n")
    tail = EventTail(tmp_path / "events.jsonl")
    decoded.clear()
    taken = list(iter(tail.take, None))
    assert [e for e in taken if not isinstance(e, Unknown)][-1] == last
    assert tail.num_bad_lines == 1
    assert len(decoded) <= wire.MOST_UNKNOWN + len(RUN) + 2
