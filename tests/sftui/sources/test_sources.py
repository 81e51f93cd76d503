"""Whatever happens to the queue or the files, every event is given out once and in order."""

import os
import signal
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.control import Command, Request
from engine.events import (
    AttemptStarted,
    ControlApplied,
    LogLine,
    RankLost,
    RunFinished,
    Stamp,
    StepFinished,
)
from engine.journal import wire
from engine.journal.event_bus import EventBus
from engine.journal.event_files import JournalWriter
from engine.run.lock import RunLock
from engine.steering.inbox import Inbox
from sftui.sources.live import LiveSource
from sftui.sources.tail import LineTail, TailSource
from tests.conftest import examples
from tests.processes import children, make_run, wait_for

WRITER = """
import sys
from pathlib import Path
from engine.events import StepFinished
from engine.journal.event_files import next_attempt
from engine.run.run_dir import RunDir
from engine.journal.event_bus import EventBus
run = RunDir(Path(sys.argv[1]))
attempt = next_attempt(run)
bus = EventBus(run, run.id, attempt)
print("up", flush=True)
for line in sys.stdin:
    for step in range(int(line)):
        bus.emit(StepFinished(step=step, loss=float(attempt)))
    bus.flush()
    print(bus.last_seq, flush=True)
"""


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


@pytest.fixture
def live(run):
    source = LiveSource(run)
    yield source
    source.close()


def line(seq, t=None, event=LogLine(text="x")):  # noqa: B008
    fields = {name: getattr(event, name) for name in event.__dataclass_fields__}
    return wire.encode(type(event)(**fields | {"stamp": Stamp(seq=seq, t=t, att=1)}))


def collect(source, until, seconds=30.0):
    """Poll until `until(events)` is true."""
    found = []
    wait_for(lambda: found.extend(source.poll()) or until(found), seconds)
    return found


def seqs(events):
    return [event.stamp.seq for event in events]


# ---- the queue ---------------------------------------------------------------------------------


def test_live_events_reach_the_screen_through_the_queue(run, live):
    """The fast path is really used: not one event of a connected run comes by the file."""
    bus = EventBus(run, run.id, 1)
    wait_for(lambda: bus._live.connected)
    for step in range(500):
        bus.emit(StepFinished(step=step, loss=1.0))
    found = collect(live, lambda found: len(found) == 500)
    assert seqs(found) == list(range(1, 501))
    assert live.num_from_queue == 500
    assert live.num_from_file == 0
    assert live.describe() == "live"
    bus.close()


def test_slow_events_come_through_the_queue_too(run, live):
    """One event now and then does not make the screen read the file."""
    bus = EventBus(run, run.id, 1)
    wait_for(lambda: bus._live.connected)
    for step in range(20):
        bus.emit(StepFinished(step=step))
        bus.flush()
        collect(live, lambda found: len(found) == 1)
    assert (live.num_from_queue, live.num_from_file) == (20, 0)
    bus.close()


def test_what_happened_before_the_screen_came_is_filled_from_the_file(run):
    """A screen that connects late has the whole story, in order, nothing twice."""
    bus = EventBus(run, run.id, 1)
    for step in range(300):
        bus.emit(StepFinished(step=step))
    bus.flush()
    live = LiveSource(run)
    wait_for(lambda: bus._live.connected)
    for step in range(300, 310):
        bus.emit(StepFinished(step=step))
    found = collect(live, lambda found: len(found) >= 310)
    assert seqs(found) == list(range(1, 311))
    assert live.num_from_file >= 300
    bus.close()
    live.close()


def test_the_screen_lives_without_a_queue(run, live):
    """No publisher at all: the file alone carries the run to the screen."""
    bus = EventBus(run, run.id, 1, live=False)
    for step in range(50):
        bus.emit(StepFinished(step=step))
    bus.flush()
    assert seqs(collect(live, lambda found: len(found) == 50)) == list(range(1, 51))
    for step in range(50, 60):
        bus.emit(StepFinished(step=step))
    bus.close()
    assert seqs(collect(live, lambda found: len(found) == 10)) == list(range(51, 61))
    assert live.num_from_queue == 0


def test_a_writer_killed_and_followed_by_another_loses_nothing(run, live):
    """SIGKILL of rank 0: its successor's events come through the same queue."""
    expected = []
    for _ in range(2):
        with children() as started:
            process = started.start("-c", WRITER, str(run.path), stdin=-1, stdout=-1)
            process.stdout.readline()
            process.stdin.write(b"200\n")
            process.stdin.flush()
            acknowledged = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            process.wait()
        expected = list(range(1, acknowledged + 1))
    found = collect(live, lambda found: len(found) >= len(expected))
    assert seqs(found) == expected
    assert {event.stamp.att for event in found} == {1, 2}


def test_a_batch_that_never_arrived_is_filled_from_the_file(run, live):
    """A hole in `seq` sends the screen to the file before it goes on."""
    run.events.write_bytes(b"".join(line(seq) for seq in range(1, 11)))
    end = run.events.stat().st_size
    live._server._batches.put((end, line(9) + line(10)))
    assert seqs(collect(live, lambda found: len(found) == 10)) == list(range(1, 11))


def test_a_hole_that_is_in_the_file_too_is_passed_over(run, live):
    """Dropped events are gone; the screen does not wait for them."""
    run.events.write_bytes(line(1) + line(5))
    live._server._batches.put((run.events.stat().st_size, line(5)))
    assert seqs(collect(live, lambda found: len(found) == 2)) == [1, 5]


def test_events_of_a_full_disk_still_reach_the_screen(run, live):
    """What could not be written comes through the queue, and not again when it is."""
    run.events.write_bytes(line(1))
    size = run.events.stat().st_size
    live._server._batches.put((size, line(1)))
    live._server._batches.put((size, line(2) + line(3)))
    assert seqs(collect(live, lambda found: len(found) == 3)) == [1, 2, 3]
    with run.events.open("ab") as file:
        file.write(line(2) + line(3) + line(4))
    assert seqs(collect(live, lambda found: len(found) == 1)) == [4]


@examples(60)
@given(data=st.data())
def test_any_mix_of_queue_and_file_gives_each_event_once_in_order(data, tmp_path_factory):
    """Batches lost, repeated or late, polls of any size: the same story."""
    run = make_run(tmp_path_factory.mktemp("mix"))
    clock = [0.0]
    live = LiveSource(run, clock=lambda: clock[0])
    found = []
    try:
        seq = 0
        for _ in range(data.draw(st.integers(1, 8))):
            batch = b""
            for _ in range(data.draw(st.integers(1, 6))):
                seq += 1
                batch += line(seq)
            with run.events.open("ab") as file:
                file.write(batch)
            for _ in range(data.draw(st.integers(0, 2))):
                live._server._batches.put((run.events.stat().st_size, batch))
            clock[0] += data.draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
            found += live.poll(max_events=data.draw(st.integers(1, 10)))
        for _ in range(2 * seq + 10):
            clock[0] += 1.0
            found += live.poll(max_events=data.draw(st.integers(1, 10)))
    finally:
        live.close()
    assert seqs(found) == list(range(1, seq + 1))


async def test_the_queue_can_be_served_from_inside_a_running_app(run):
    """Under the screen's own stand-ins for stdout and stderr, from start to end."""
    from textual.app import App

    async with App().run_test():
        outputs = (sys.stdout, sys.stderr)
        live = LiveSource(run)
        bus = EventBus(run, run.id, 1)
        bus.emit(LogLine(text="x"))
        found = collect(live, bool)
        bus.close()
        live.close()
        assert (sys.stdout, sys.stderr) == outputs
    assert live.num_from_queue == len(found) == 1


def test_a_screen_without_a_socket_lives_on_the_file(run, monkeypatch):
    """No room for a socket is no reason not to watch."""

    def refuse(run_dir):
        raise OSError("no socket")

    monkeypatch.setattr("sftui.sources.live.LiveServer", refuse)
    live = LiveSource(run)
    run.events.write_bytes(line(1))
    assert seqs(live.poll()) == [1]
    assert live.describe() == "live, read from its file"
    live.close()


# ---- the files ---------------------------------------------------------------------------------


def test_a_tail_follows_a_growing_file(run):
    """Attach: what was, then what comes."""
    source = TailSource(run)
    assert source.poll() == []
    run.events.write_bytes(line(1) + line(2))
    assert seqs(source.poll()) == [1, 2]
    with run.events.open("ab") as file:
        file.write(line(3))
    assert seqs(source.poll()) == [3]
    assert source.poll() == []


def test_a_torn_line_is_completed_later(run):
    """Half a line is neither an event nor an error."""
    source = TailSource(run)
    whole = line(1)
    run.events.write_bytes(whole[:30])
    assert source.poll() == []
    with run.events.open("ab") as file:
        file.write(whole[30:])
    assert seqs(source.poll()) == [1]
    assert source.num_bad_lines == 0


def test_bad_lines_are_counted_and_passed_over(run):
    """Garbage, a newer version, a foreign object: the rest of the log is read."""
    run.events.write_bytes(
        b"garbage\n" + line(1) + b'{"v":99,"type":"x"}\n\xff\xfe\n[]\n' + line(2)
    )
    source = TailSource(run)
    assert seqs(source.poll()) == [1, 2]
    assert source.num_bad_lines == 4
    assert "4 unreadable" in source.describe()


def test_a_replaced_or_shortened_file_is_read_from_its_start(run):
    """Rotation and truncation of a followed file."""
    source = TailSource(run)
    run.events.write_bytes(line(1) + line(2) + line(3))
    assert len(source.poll()) == 3
    os.truncate(run.events, 0)
    assert source.poll() == []
    run.events.write_bytes(line(1))
    assert seqs(source.poll()) == [1]
    fresh = run.path / "fresh"
    fresh.write_bytes(line(7) + line(8))
    fresh.replace(run.events)
    assert seqs(source.poll()) == [7, 8]


def test_an_endless_line_takes_bounded_memory(tmp_path):
    """A gigabyte without a newline is thrown away as it comes."""
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.seek(64 * 1024 * 1024)
        file.write(b"\nafter\n")
    tail = LineTail(path)
    found = []
    wait_for(lambda: found.extend(tail.read()) or tail.ahead() == 0, 60)
    assert found[-1] == b"after"
    assert tail.num_bytes_skipped > 60 * 1024 * 1024
    assert max(map(len, found)) < 2 * 1024 * 1024


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(1, 60), min_size=1, max_size=20))
@examples(60)
def test_lines_do_not_depend_on_how_they_were_written(data, cuts, tmp_path_factory):
    """Any bytes in any pieces give the same lines."""
    path = tmp_path_factory.mktemp("tail") / "log"
    tail = LineTail(path)
    found, start = [], 0
    for cut in [*cuts, len(data)]:
        with path.open("ab") as file:
            file.write(data[start : start + cut])
        start += cut
        while tail.ahead():
            before = tail._offset
            found += tail.read(7)
            if tail._offset == before:
                break
    assert found == data.split(b"\n")[:-1]


def test_a_poll_is_bounded(run):
    """A long log does not freeze the screen."""
    run.events.write_bytes(b"".join(line(seq) for seq in range(1, 5001)))
    source = TailSource(run)
    assert len(source.poll(max_events=100)) == 100
    assert 0 < len(source.poll(max_events=5000, max_seconds=0.0)) < 200
    assert len(collect(source, lambda found: len(found) >= 4700)) >= 4700


def test_a_lost_rank_is_told_between_the_attempts_it_parts(run):
    """Two writers, one story: the supervisor's lines stand where they happened."""
    run.events.write_bytes(line(1, 10.0) + line(2, 20.0) + line(3, 40.0, AttemptStarted()))
    run.supervisor_events.write_bytes(line(1, 30.0, RankLost(rank=1)))
    kinds = [type(event) for event in TailSource(run).poll()]
    assert kinds == [LogLine, LogLine, RankLost, AttemptStarted]


def test_a_quiet_log_beside_a_long_one_is_asked_for_more_once_a_read(run, monkeypatch):
    """The supervisor's was asked of the disk for each of the ranks' events: a third of reading."""
    number = 30_000
    run.events.write_bytes(b"".join(line(seq, float(seq)) for seq in range(1, number + 1)))
    run.supervisor_events.write_bytes(line(1, 0.5, LogLine(text="first")))
    asked, stat = [], os.stat

    def noted(path, *args, **kwargs):
        asked.append(str(path))
        return stat(path, *args, **kwargs)

    source = TailSource(run)
    monkeypatch.setattr(os, "stat", noted)
    found, polls = [], 1
    while more := source.poll():
        polls += 1
        found += more
    assert len(found) == number + 1
    assert found[0].text == "first"
    main = asked.count(str(run.events))
    assert main < 100
    assert asked.count(str(run.supervisor_events)) <= main + 2 * polls


@given(
    own=st.lists(st.integers(1, 30), max_size=30).map(sorted),
    others=st.lists(st.integers(1, 30), max_size=8).map(sorted),
    most=st.integers(1, 40),
)
@examples(100)
def test_two_logs_are_told_in_the_order_of_their_times(own, others, most, tmp_path_factory):
    """However many are taken at once; of one moment, the ranks' come first."""
    run = make_run(tmp_path_factory.mktemp("two"))
    for path, times, text in ((run.events, own, "own"), (run.supervisor_events, others, "other")):
        lines = (line(n, float(t), LogLine(text=text)) for n, t in enumerate(times, start=1))
        path.write_bytes(b"".join(lines))
    source = TailSource(run)
    found = []
    while more := source.poll(max_events=most):
        found += [(event.stamp.t, event.text == "other") for event in more]
    assert found == sorted([(t, False) for t in own] + [(t, True) for t in others])


# ---- life and wishes ---------------------------------------------------------------------------


def test_a_finished_run_is_closed_when_all_is_read(run):
    """Not before its last event, and not while its supervisor still works."""
    run.events.write_bytes(line(1) + line(2, event=RunFinished(status="finished")))
    source = TailSource(run)
    with RunLock.acquire(run):
        assert not source.closed
        source.poll()
        assert not source.closed
    source._liveness._evidence = None
    assert source.closed
    assert source.alive()[0] is False


def test_a_run_that_died_without_a_word_is_closed(run):
    """Whoever wrote is gone; a run whose supervisor is only starting is not."""
    run.events.write_bytes(line(1))
    source = TailSource(run)
    source.poll()
    assert not source.closed, "the manifest is seconds old: the supervisor may be starting"
    os.utime(run.manifest, (1.0, 1.0))
    assert source.closed


def test_a_crash_told_by_the_supervisor_ends_the_story(run, live):
    """`run_finished` comes from whoever could still write it."""
    run.events.write_bytes(line(1))
    JournalWriter(run.supervisor_events, run.id, "sup").write(RunFinished(status="failed"))
    found = collect(live, lambda found: len(found) == 2)
    assert isinstance(found[-1], RunFinished)
    assert live.closed


@pytest.mark.parametrize("kind", [TailSource, LiveSource])
def test_a_wish_reaches_the_inbox(run, kind):
    """Any screen may ask; rank 0 reads it once."""
    source = kind(run)
    source.send(Request(id="a", command=Command.PAUSE))
    assert [request.id for request in Inbox(run, 1).read().requests] == ["a"]
    source.close()


def test_an_answer_comes_back_through_the_queue(run, live):
    """Request, acknowledgement, screen: the whole circle in one process."""
    bus = EventBus(run, run.id, 1)
    wait_for(lambda: bus._live.connected)
    live.send(Request(id="a", command=Command.PAUSE))
    [request] = Inbox(run, 1).read().requests
    bus.emit(ControlApplied(id=request.id, command="pause", step=3))
    [event] = collect(live, lambda found: bool(found))
    assert (event.id, event.step) == ("a", 3)
    assert live.num_from_queue == 1
    bus.close()


def test_sources_need_no_torch_and_no_screen():
    """The screen's process must start fast, and `ctl` needs neither."""
    code = (
        "import sys, sftui.sources.live, sftui.sources.tail;"
        "bad = {'torch', 'textual', 'rich', 'numpy'} & set(sys.modules); sys.exit(str(bad or ''))"
    )
    with children() as started:
        process = started.start("-c", code, stderr=-1)
        assert process.communicate(timeout=60)[1].strip() in (b"", b"''")
    assert "sftui.sources.live" in sys.modules
