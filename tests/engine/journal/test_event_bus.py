"""Events leave rank 0 whole, in order, and without holding it up."""

import errno
import json
import os
import signal
import threading
import time

import numpy as np
import pytest

from engine.events import (
    AlarmCleared,
    AlarmRaised,
    CheckpointSaved,
    ControlApplied,
    EventsDropped,
    LogLine,
    RunFinished,
    Stamp,
    StepFinished,
)
from engine.journal import event_bus, wire
from engine.journal.event_bus import EventBus
from engine.journal.event_files import last_stamp
from engine.run.run_dir import RunDir
from tests.processes import children, events, make_run, wait_for


class FlakyDisk:
    """A disk that can be filled and freed; a full one may take part of a write first."""

    def __init__(self):
        self.full = False
        self.room = 0
        self.writes = 0

    def write(self, descriptor, data):
        self.writes += 1
        if not self.full:
            return os.write(descriptor, data)
        if self.room:
            taken, self.room = self.room, 0
            return os.write(descriptor, data[:taken])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def bus_for(run, **options):
    return EventBus(run, run.id, options.pop("attempt", 1), live=False, **options)


def test_events_are_written_in_order_with_stamps(run):
    """What was emitted is in the file, numbered from 1, with both clocks and the boot id."""
    bus = bus_for(run)
    for step in range(100):
        bus.emit(StepFinished(step=step, loss=1.0))
    assert bus.close()
    found = events(run.events)
    assert [event.step for event in found] == list(range(100))
    assert [event.stamp.seq for event in found] == list(range(1, 101))
    assert all(event.stamp.t and event.stamp.m and event.stamp.run == run.id for event in found)


def test_a_second_attempt_continues_the_numbers(run):
    """`seq` rises strictly over all attempts, so a reader can order and deduplicate by it."""
    for attempt in (1, 2, 3):
        bus = bus_for(run, attempt=attempt)
        bus.emit(LogLine(text=f"attempt {attempt}"))
        bus.close()
    found = events(run.events)
    assert [(e.stamp.att, e.stamp.seq) for e in found] == [(1, 1), (2, 2), (3, 3)]


def test_a_torn_last_line_costs_itself_alone(run):
    """A writer killed in the middle of a line spoils neither its successor nor the numbers."""
    run.events.write_bytes(wire.encode(LogLine(text="a")) + b'{"v":1,"type":"log_l')
    bus = bus_for(run)
    bus.emit(LogLine(text="b"))
    bus.close()
    assert [event.text for event in events(run.events)] == ["a", "b"]
    assert run.events.read_bytes().count(b"\n") == 3


def test_a_batch_is_one_write_of_whole_lines(run):
    """Many events between two writes cost one system call."""
    disk = FlakyDisk()
    bus = bus_for(run, write=disk.write)
    for step in range(500):
        bus.emit(StepFinished(step=step))
    bus.close()
    assert len(events(run.events)) == 500
    assert disk.writes < 20


def test_a_full_disk_keeps_the_newest_and_says_what_was_lost(run):
    """Training goes on; the alarm is raised and cleared; one event counts the losses."""
    disk = FlakyDisk()
    bus = bus_for(run, write=disk.write, limit=50)
    bus.emit(LogLine(text="before"))
    assert bus.flush()
    disk.full, disk.room = True, 30
    bus.emit(CheckpointSaved(step=1, path="ckpt/step-1"))
    assert not bus.flush(0.05)
    for step in range(200):
        if step % 40 == 39:
            bus.flush(0.05)
        bus.emit(StepFinished(step=step))
    bus.flush(0.05)
    disk.full = False
    assert bus.close(timeout=10)
    found = events(run.events)
    steps = [event.step for event in found if isinstance(event, StepFinished)]
    dropped = [event for event in found if isinstance(event, EventsDropped)]
    assert steps == list(range(steps[0], 200))
    assert sum(event.count for event in dropped) == 200 - len(steps) > 0
    assert any(isinstance(event, CheckpointSaved) for event in found)
    alarms = [type(event) for event in found if isinstance(event, AlarmRaised | AlarmCleared)]
    assert alarms == [AlarmRaised, AlarmCleared]
    # The line that the full disk cut is the only one that cannot be read.
    whole = run.events.read_bytes().split(b"\n")[:-1]
    assert len(whole) == len(found) + 1


def test_a_hung_disk_holds_up_nobody_but_its_thread(run):
    """While a write hangs, `emit` returns, and only kinds that may be lost are lost."""
    hang, free = threading.Event(), threading.Event()

    def write(descriptor, data):
        hang.set()
        free.wait(10)
        return os.write(descriptor, data)

    bus = bus_for(run, write=write, limit=10)
    bus.emit(LogLine(text="first"))
    assert hang.wait(10)
    for step in range(30):
        bus.emit(StepFinished(step=step))
        bus.emit(LogLine(text=f"kept {step}"))
    free.set()
    assert bus.close()
    found = events(run.events)
    assert sum(isinstance(event, LogLine) for event in found) == 31
    steps = sum(isinstance(event, StepFinished) for event in found)
    dropped = sum(event.count for event in found if isinstance(event, EventsDropped))
    assert steps < 30
    assert steps + dropped == 30


def test_acknowledged_events_are_synced_at_once(run, monkeypatch):
    """A checkpoint, an answer and the end of the run are on the disk, not in its cache."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    bus = bus_for(run)
    for event in (
        CheckpointSaved(path="ckpt/step-1"),
        ControlApplied(id="a", command="pause"),
        RunFinished(status="finished"),
    ):
        before = len(synced)
        bus.emit(event)
        wait_for(lambda before=before: len(synced) > before, 5)
    bus.close()
    assert synced[-1] == run.events.stat().st_size


def test_an_event_that_json_cannot_hold_is_counted_not_fatal(run):
    """A programming mistake in one event ends neither the run nor the log."""
    bus = bus_for(run)
    bus.emit(StepFinished(step=1, loss=np.float32(1.0)))
    bus.emit(LogLine(text="after"))
    bus.close()
    found = events(run.events)
    [dropped] = [event for event in found if isinstance(event, EventsDropped)]
    assert dropped.count == 1
    assert "StepFinished" in dropped.reason
    assert [event.text for event in found if isinstance(event, LogLine)] == ["after"]


def test_the_files_are_private(run):
    """A run's log may quote the user's data: nobody else reads it."""
    bus = bus_for(run)
    bus.close()
    assert run.events.stat().st_mode & 0o077 == 0
    assert run.run_log.stat().st_mode & 0o077 == 0


WRITER = """
import sys
from pathlib import Path
from engine.events import ControlApplied, StepFinished
from engine.journal.event_files import next_attempt
from engine.run.run_dir import RunDir
from engine.journal.event_bus import EventBus
run = RunDir(Path(sys.argv[1]))
bus = EventBus(run, run.id, next_attempt(run), live=False)
step = 0
while True:
    for _ in range(20):
        bus.emit(StepFinished(step=step, loss=1.0, tokens=123456))
        step += 1
    bus.emit(ControlApplied(id=str(step), command="pause"))
    bus.flush()
    sys.stdout.write(f"{bus.last_seq}\\n")
    sys.stdout.flush()
"""


def test_a_killed_writer_loses_nothing_it_had_acknowledged(run):
    """What `flush` returned for is in the file after SIGKILL at any moment."""
    acknowledged = 0
    for _ in range(3):
        with children() as started:
            process = started.start("-c", WRITER, str(run.path), stdout=-1)
            for _ in range(10):
                acknowledged = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
            acknowledged = int(rest[-1]) if rest else acknowledged
        seqs = [event.stamp.seq for event in events(run.events)]
        assert seqs == sorted(set(seqs))
        assert seqs[-1] >= acknowledged
    assert last_stamp(run.events).att == 3


def test_run_log_is_written_beside_the_journal(run):
    """`run.log` has the person's lines as they happen."""
    bus = bus_for(run)
    bus.emit(LogLine(text="hello"))
    bus.flush()
    assert run.run_log.read_text() == "hello\n"
    bus.close()


def test_lines_are_json_for_other_tools(run):
    """Anybody may read the journal with a JSON parser."""
    bus = bus_for(run)
    bus.emit(StepFinished(step=1, loss=float("nan")))
    bus.close()
    [line] = run.events.read_text().splitlines()

    def refuse(name):
        raise AssertionError(name)

    assert json.loads(line, parse_constant=refuse)["nf"] == {"loss": "nan"}


def test_a_flush_after_the_end_does_not_wait(tmp_path):
    """A save that outlives the log of its process must not stand still for it."""
    run = make_run(tmp_path)
    bus = EventBus(run, run.id, 1, live=False)
    assert bus.close()
    began = time.monotonic()
    assert not bus.flush(timeout=30)
    assert time.monotonic() - began < 10


def to_a_link(path, victim):
    path.symlink_to(victim)


def to_a_folder(path, victim):
    path.mkdir()
    (path / "kept").write_text("theirs")


def to_a_pipe(path, victim):
    os.mkfifo(path)


def to_another_runs_log(path, victim):
    victim.rename(path)


@pytest.mark.parametrize(
    ("replace", "named"),
    [
        (to_a_link, "a link"),
        (to_a_folder, "a folder"),
        (to_a_pipe, "a pipe"),
        (to_another_runs_log, "the log of another run"),
    ],
)
def test_what_takes_the_logs_name_is_put_aside_and_no_event_is_lost(
    replace, named, run, tmp_path, monkeypatch
):
    """A link, a folder, a pipe, a foreign log: not written to, named with what to do, healed.

    The run wrote on into a file without a name, its end was lost, and it counted as failed.
    """
    monkeypatch.setattr(event_bus, "LOOK_SECONDS", 0.02)
    foreign = wire.encode(
        StepFinished(step=99, stamp=Stamp(run="other", src="r0", att=1, seq=40, t=5.0))
    )
    victim = tmp_path / "victim"
    victim.write_bytes(foreign)
    bus = bus_for(run)
    bus.emit(StepFinished(step=0))
    assert bus.flush()
    run.events.unlink()
    replace(run.events, victim)
    time.sleep(0.2)
    bus.emit(StepFinished(step=1))
    bus.emit(RunFinished(status="finished"))
    assert bus.close()
    assert run.events.is_file(), "the run has its log again"
    assert not run.events.is_symlink()
    found = events(run.events)
    assert [event.step for event in found if isinstance(event, StepFinished)] == [0, 1]
    assert isinstance(found[-1], RunFinished)
    assert [event.stamp.seq for event in found] == list(range(1, len(found) + 1))
    [line] = [event.text for event in found if isinstance(event, LogLine)]
    assert f"replaced by {named}" in line
    assert f"pid {os.getpid()}" in line
    aside = run.path / "events.jsonl.aside"
    assert aside.name in line
    if replace is to_a_folder:
        assert (aside / "kept").read_text() == "theirs"
    else:
        assert os.path.lexists(aside)
    theirs = aside if replace is to_another_runs_log else victim
    assert theirs.read_bytes() == foreign


def test_a_log_that_is_replaced_in_the_last_moment_has_the_end(run, monkeypatch):
    """The next look would come after the end of the run."""
    monkeypatch.setattr(event_bus, "LOOK_SECONDS", 60.0)
    bus = bus_for(run)
    bus.emit(StepFinished(step=0))
    assert bus.flush()
    copy = run.path / "copy"
    copy.write_bytes(run.events.read_bytes())
    copy.replace(run.events)
    bus.emit(RunFinished(status="finished"))
    bus.close()
    assert any(isinstance(event, RunFinished) for event in events(run.events))


def test_a_log_that_cannot_be_made_again_is_said_once(run, monkeypatch):
    """The sentence reaches run.log and the screens; the events follow when a file can be made."""
    monkeypatch.setattr(event_bus, "LOOK_SECONDS", 0.02)
    bus = bus_for(run)
    bus.emit(StepFinished(step=0))
    assert bus.flush()

    def refuse(path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(event_bus, "open_to_append", refuse)
        run.events.unlink()
        time.sleep(0.2)
    wait_for(run.events.exists, 5)
    bus.close()
    said = [event.text for event in events(run.events) if isinstance(event, LogLine)]
    assert len(said) == 2
    assert "Read-only file system" in said[0]
    assert "written again" in said[1]


def test_a_log_that_is_cut_says_what_was_lost(run, monkeypatch):
    """`> events.jsonl` leaves the file and takes its lines; nobody said so."""
    monkeypatch.setattr(event_bus, "LOOK_SECONDS", 0.02)
    bus = bus_for(run)
    bus.emit(StepFinished(step=0))
    assert bus.flush()
    size = run.events.stat().st_size
    os.truncate(run.events, 5)
    time.sleep(0.2)
    bus.emit(StepFinished(step=1))
    bus.close()
    found = events(run.events)
    assert [event.step for event in found if isinstance(event, StepFinished)] == [1]
    said = [event.text for event in found if isinstance(event, LogLine)]
    assert len(said) == 1
    assert f"{size - 5:,} bytes of events are lost" in said[0]


def test_a_folder_that_takes_the_runs_place_is_not_written_to(run, tmp_path, monkeypatch):
    """`mv RUN elsewhere; mv OTHER RUN`: its log was taken for our own, replaced one."""
    monkeypatch.setattr(event_bus, "LOOK_SECONDS", 0.1)
    bus = bus_for(run)
    bus.emit(StepFinished(step=0))
    assert bus.flush()
    other = tmp_path / "other"
    other.mkdir()
    moved = RunDir(run.path.rename(tmp_path / "elsewhere"))
    other.rename(run.path)
    bus.emit(StepFinished(step=1))
    wait_for(lambda: bus.lost_folder, 5)
    bus.emit(RunFinished(status="stopped", reason=bus.lost_folder))
    bus.close()
    assert list(run.path.iterdir()) == []
    found = events(moved.events)
    assert [event.step for event in found if isinstance(event, StepFinished)] == [0, 1]
    assert f"moved to {moved.path}" in found[-1].reason
    assert "since its newest checkpoint is lost" in found[-1].reason
