"""Faults of the event log: acknowledged events survive, losses are counted, clocks may jump."""

import dataclasses
import json
import os
import subprocess
import sys
import time

import pytest

from engine import trainer
from engine.checkpoints import checkpoint_dir
from engine.checkpoints.checkpoint_dir import MODEL
from engine.events import (
    AlarmCleared,
    AlarmRaised,
    CheckpointSaved,
    EventsDropped,
    LogLine,
    Stamp,
    StepFinished,
)
from engine.journal import event_bus
from sftui import run_json
from sftui.sources import snapshot
from sftui.state.run_state import RunState
from tests.faults.place import Place, end_of, fill, read_only, small_disk, told, work
from tests.processes import ROOT, environment, events
from tests.sftui.fake_run import fake_run

# ---- 14, 18, 43: every operation of the log in turn ---------------------------------------------

WRITER = """
import json, os, signal, sys
from datetime import datetime
from pathlib import Path
from engine.journal import event_bus
from engine.run import run_dir
from engine.events import ControlApplied, StepFinished
from engine.journal.event_files import next_attempt
from tests.faults.disk import failing

how, folder = sys.argv[1], Path(sys.argv[2])
event_bus.RETRY_SECONDS = 0.01

def tell(run, first, say):
    bus = event_bus.EventBus(
        run, run.id, next_attempt(run), live=False, write=lambda fd, data: os.write(fd, data)
    )
    for number in range(first, first + 4):
        bus.emit(StepFinished(step=number))
        bus.emit(ControlApplied(id=str(number), command="pause"))
        if bus.flush(5):
            say(number)
    bus.close()

def one(n):
    run = run_dir.create(folder / str(n), "test", datetime(2026, 1, 2, 3, 4, 5))
    acknowledged = []
    if how == "fail":
        with failing(n) as disk:
            tell(run, 0, acknowledged.append)
        return disk.hit, acknowledged, run
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with failing(n, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            tell(run, 0, lambda number: WRITE(writer, b"%d\\n" % number))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        acknowledged = [int(line) for line in lines]
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status), acknowledged, run

WRITE = os.write
n = 1
while True:
    hit, acknowledged, run = one(n)
    if not hit:
        break
    tell(run, 100, acknowledged.append)
    print(json.dumps([str(run.path), acknowledged]))
    n += 1
"""


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_the_log_may_break_at_any_file_operation(how, tmp_path):
    """Faults 14 and 43: a kill or an error at each write and sync in turn.

    Every acknowledged event is in the file once, numbers rise strictly over the attempts, and
    at most the one line that was being written cannot be read.
    """
    done = subprocess.run(
        [sys.executable, "-c", WRITER, how, str(tmp_path)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) >= 12
    from pathlib import Path

    for folder, acknowledged in found:
        path = Path(folder) / "events.jsonl"
        read = events(path)
        answers = [event.id for event in read if hasattr(event, "command")]
        assert {str(number) for number in acknowledged} <= set(answers)
        assert len(answers) == len(set(answers))
        if how == "fail":
            assert acknowledged == [0, 1, 2, 3, 100, 101, 102, 103]
        numbers = [event.stamp.seq for event in read]
        assert numbers == sorted(set(numbers))
        assert path.read_bytes().count(b"\n") - len(read) <= 1


# ---- 14: a real full disk under a real run -------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    """Retry at once, so that a test need not wait."""
    monkeypatch.setattr(event_bus, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(trainer, "SAVE_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(trainer, "SAVE_MEETINGS", 2)


class Schedule:
    """Does things when a step begins; otherwise the real accumulation."""

    def __init__(self, monkeypatch, **actions):
        accumulate = trainer.accumulate_gradients

        def at_step(session, batch):
            action = actions.get(f"at_{batch.step}")
            if action is not None:
                action()
            return accumulate(session, batch)

        monkeypatch.setattr(trainer, "accumulate_gradients", at_step)


def test_a_disk_that_is_full_for_a_while_costs_a_checkpoint_and_no_step(
    tmp_path, monkeypatch, impatient
):
    """Faults 14 and 15: full from step 3 to step 7; the run ends with the bits of an unbroken one.

    The banner is raised and cleared, the checkpoint of step 4 is refused by name, every step is
    in the log or counted as dropped.
    """
    with small_disk(tmp_path / "disk", "3m") as disk:
        place = Place(tmp_path)
        whole = place.make("--run=whole")
        work(whole)
        place.root = disk / "runs"
        run = place.make("--run=full")
        ballast = []
        Schedule(
            monkeypatch,
            at_3=lambda: ballast.append(fill(disk)),
            at_7=lambda: (time.sleep(0.1), ballast[0].unlink()),
        )
        work(run)
        assert end_of(run).status == "finished"
        newest = checkpoint_dir.verify(run.checkpoint(12))
        assert (newest.path / MODEL).read_bytes() == (whole.checkpoint(12) / MODEL).read_bytes()
        alarms = told(run, AlarmRaised, AlarmCleared)
        assert [(type(a), a.kind) for a in alarms] == [
            (AlarmRaised, "event_log_blocked"),
            (AlarmCleared, "event_log_blocked"),
        ]
        assert "No space left" in alarms[0].text
        dropped = sum(event.count for event in told(run, EventsDropped))
        assert len(told(run, StepFinished)) + dropped >= 12
        refused = [event for event in told(run, LogLine) if event.level == "error"]
        words = [event.text for event in refused]
        assert len(words) == 2, words
        assert words[0].startswith("results of step 4 were not saved: No space left")
        assert words[1].startswith("checkpoint of step 4 was not saved: ")
        assert "MiB left" in words[1]
        saved = [event.step for event in told(run, CheckpointSaved) if event.kind == "sftui"]
        assert saved == [8, 12]


def test_a_run_waits_for_room_for_its_last_checkpoint(tmp_path, monkeypatch, impatient):
    """No full disk may cost a person the result: room is made, and the run ends well."""
    with small_disk(tmp_path / "disk", "3m") as disk:
        place = Place(tmp_path)
        place.root = disk / "runs"
        run = place.make("--checkpoint-every=0")
        ballast = []
        Schedule(monkeypatch, at_11=lambda: ballast.append(fill(disk)))
        save, tries = trainer.save_checkpoint, []

        def counted(session, step, reason):
            tries.append(step)
            if len(tries) == 3:
                ballast[0].unlink()
            return save(session, step, reason)

        monkeypatch.setattr(trainer, "save_checkpoint", counted)
        work(run)
        assert tries == [12, 12, 12]
        assert (end_of(run).status, end_of(run).reason) == ("finished", "all iterations done")
        assert checkpoint_dir.verify(run.checkpoint(12)).step == 12
        assert any("waits to save its last checkpoint" in e.text for e in told(run, LogLine))


# ---- 16, 17: no room, no right to write ----------------------------------------------------------


def launched(place, *flags):
    """`sftui run --headless`: exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "sftui", "run", *place.flags(*flags), "--headless"],
        env=place.environment(SFTUI_WORKER="tests.faults.none"),
        cwd=place.path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


def test_a_run_that_cannot_be_saved_is_not_started(tmp_path):
    """Fault 16: refused with the size needed and the size there; nothing is left behind."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        place = Place(tmp_path)
        place.root = disk / "runs"
        fill(disk, leave=70_000)
        code, said = launched(place)
        assert code == 2
        assert "MiB" in said
        assert "--runs-dir" in said
        assert not place.root.exists()


def test_a_read_only_place_is_said_before_anything_starts(tmp_path):
    """Fault 17: one line, exit code 2, no traceback."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        place = Place(tmp_path)
        place.root = disk / "runs"
        read_only(disk)
        code, said = launched(place)
    assert code == 2
    assert "Read-only file system" in said
    assert "--runs-dir" in said
    assert "Traceback" not in said


# ---- 45, 46: clocks and boots -------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_durations_do_not_follow_a_clock_that_is_set(jump):
    """Fault 45: elapsed time and pace come from the monotonic clock, order from the numbers."""
    story = fake_run(until=200, finish=False)
    honest, jumped = RunState(), RunState()
    for number, event in enumerate(story):
        honest.apply(event)
        if number > len(story) // 2:
            stamp = dataclasses.replace(event.stamp, t=event.stamp.t + jump)
            event = dataclasses.replace(event, stamp=stamp)
        jumped.apply(event)
    assert jumped.last_t - jumped.first_t == pytest.approx(honest.last_t - honest.first_t)
    assert jumped.eta_seconds() == pytest.approx(honest.eta_seconds())
    since = jumped.steps.column("since_start")
    assert (since[1:] > since[:-1]).all()
    assert jumped.clock_moved == pytest.approx(jump)


def test_a_run_of_an_earlier_boot_is_shown_as_ended(tmp_path):
    """Fault 46: the machine was restarted; the run is interrupted, and resuming is offered."""
    place = Place(tmp_path)
    run = place.make("--num-iterations=6")
    stamp = Stamp(run=run.id, seq=1, t=time.time(), m=5.0, boot="another boot")
    from engine.journal import wire

    run.events.write_bytes(wire.encode(StepFinished(step=0, loss=1.0, stamp=stamp)))
    import socket

    run.lock.write_text(
        json.dumps({"pid": 1, "host": socket.gethostname(), "started": 1.0, "boot": "another boot"})
    )
    assert run_json.to_dict(snapshot.read_run(run))["status"] == "interrupted"
    from engine.run import lock

    alive, why = lock.evidence(run)
    assert not alive
    assert "restarted" in why
    # Not one that is only just starting.
    os.utime(run.manifest, (time.time() - 100, time.time() - 100))
    seen = subprocess.run(
        [sys.executable, "-m", "sftui", "attach", run.id, "--headless"],
        env=place.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert seen.returncode == 1
    assert f"interrupted, {why}" in seen.stderr
    assert f"sftui run --resume {run.id}" in seen.stderr
    done = subprocess.run(
        [sys.executable, "-m", "sftui", "run", "--resume", run.id, "--dry-run"],
        env=place.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"resume      {run.id}" in done.stdout
