"""Faults of controls: every request gets one answer, whatever the run is doing meanwhile."""

import subprocess
import sys
import time

import pytest

from engine import measure, trainer
from engine.checkpoints import checkpoint_dir, checkpointer
from engine.control import Command, Request
from engine.events import AttemptStarted, ControlApplied, RunFinished, StepFinished
from engine.journal import event_files, wire
from engine.steering import inbox
from tests.faults.place import Place, end_of, fill, small_disk, told, work


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def post(run, command, **fields):
    request = Request(**{"id": wire.new_id(), "command": command, "author": "test"} | fields)
    inbox.post(run, request)
    return request.id


def answers(run):
    return {event.id: (event.outcome, event.step) for event in told(run, ControlApplied)}


def at_step(monkeypatch, step, action):
    """Do something when the gradients of a step are due."""
    accumulate = trainer.accumulate_gradients

    def acting(session, batch):
        if batch.step == step:
            action()
        return accumulate(session, batch)

    monkeypatch.setattr(trainer, "accumulate_gradients", acting)


def one_end(run, status="stopped"):
    [end] = told(run, RunFinished)
    assert end.status == status
    assert checkpoint_dir.verify(run.checkpoint(end.step)).step == end.step
    return end.step


# ---- 57: stop meanwhile ---------------------------------------------


def test_a_stop_during_an_evaluation_ends_the_run_after_it(place, monkeypatch):
    """Fault 57: the evaluation is finished, then all stop with a checkpoint; one end."""
    run = place.make()
    answer, asked = measure.answer_task, []

    def asking(*arguments, **options):
        if run.checkpoint(4).exists() and not asked:
            asked.append(post(run, Command.STOP))
        return answer(*arguments, **options)

    monkeypatch.setattr(measure, "answer_task", asking)
    work(run)
    assert one_end(run) == 8
    assert answers(run) == {asked[0]: ("applied", 8)}


def test_a_stop_while_a_checkpoint_is_written_waits_for_it(place, monkeypatch):
    """Fault 57: both checkpoints are whole, and the end comes once."""
    run = place.make()
    save = checkpointer._save_tensors

    def slow(path, tensors):
        time.sleep(0.1)
        return save(path, tensors)

    monkeypatch.setattr(checkpointer, "_save_tensors", slow)
    at_step(monkeypatch, 4, lambda: post(run, Command.STOP))
    work(run)
    assert one_end(run) == 5
    assert [info.step for info in checkpoint_dir.list_checkpoints(run)] == [4, 5]


def test_a_second_stop_does_not_wait_for_a_disk_without_room(place, monkeypatch):
    """Fault 57: told twice, the run ends without its checkpoint, and says so."""
    monkeypatch.setattr(trainer, "SAVE_RETRY_SECONDS", 0.05)
    run = place.make()

    def full(*arguments):
        if len(told(run, ControlApplied)) == 1:
            post(run, Command.STOP)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_dir, "commit", full)
    at_step(monkeypatch, 2, lambda: post(run, Command.STOP))
    work(run)
    [end] = told(run, RunFinished)
    assert end.status == "stopped"
    assert "checkpoint of step 3 was not saved" in end.reason
    assert [outcome for outcome, _ in answers(run).values()] == ["applied", "applied"]


def test_what_is_asked_while_the_run_waits_for_room_is_answered(place, monkeypatch):
    """An evaluation asked for too late is refused, not forgotten."""
    monkeypatch.setattr(trainer, "SAVE_RETRY_SECONDS", 0.02)
    run = place.make("--checkpoint-every=0", "--num-iterations=4")
    commit, tries = checkpoint_dir.commit, []

    def full_twice(*arguments):
        tries.append(1)
        if len(tries) < 3:
            post(run, Command.EVALUATE)
            raise OSError(28, "No space left on device")
        return commit(*arguments)

    monkeypatch.setattr(checkpoint_dir, "commit", full_twice)
    work(run)
    assert one_end(run, "finished") == 3
    assert [outcome for outcome, _ in answers(run).values()] == ["rejected", "rejected"]


# ---- 53: requests that must not be carried out ---------------------------------------------


def test_forged_stale_and_repeated_requests_change_nothing(place):
    """Fault 53: each id is answered once, with the reason; the run ends as if nobody had asked."""
    run = place.make()
    twice = post(run, Command.CHECKPOINT)
    inbox.post(run, Request(id=twice, command=Command.STOP, author="forger"))
    old = post(run, Command.STOP, attempt=0)
    late = post(run, Command.STOP, expires=time.time() - 1)
    factor = post(run, Command.LR_FACTOR, argument=1e9)
    with run.control.open("ab") as file:
        file.write(b'{"v":1,"id":"unknown","command":"explode"}\n')
        file.write(b'{"v":1,"command":"stop"}\n[1]\n\xff\xfe\n{"v":1,"id":7,"command":"stop"}\n')
        file.write(b'{"v":1,"id":"half","command":"sto')
    work(run)
    assert one_end(run, "finished") == 12
    assert {key: outcome for key, (outcome, _) in answers(run).items()} == {
        twice: "applied",
        old: "rejected",
        late: "expired",
        factor: "rejected",
        "unknown": "rejected",
    }
    assert len(told(run, ControlApplied)) == 5
    assert len(told(run, StepFinished)) == 12


def test_an_attempt_answers_what_the_dead_one_did_not_and_nothing_twice(place, monkeypatch):
    """Fault 53 over a crash: answered requests stay answered, open ones get their answer."""
    run = place.make()
    first = post(run, Command.CHECKPOINT)
    opened = []

    def die():
        opened.append(post(run, Command.CHECKPOINT))
        raise RuntimeError("power")

    with monkeypatch.context() as patch:
        at_step(patch, 5, die)
        assert work(run) == 1
    assert work(run) == 0
    assert len(told(run, AttemptStarted)) == 2
    assert [event.id for event in told(run, ControlApplied)] == [first, opened[0]]
    assert {outcome for outcome, _ in answers(run).values()} == {"applied"}


# ---- the command line of it ---------------------------------------------


def test_a_request_that_does_not_fit_on_the_disk_is_an_error_at_once(tmp_path):
    """Nobody waits two minutes for an answer to a request that was never written whole."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        place = Place(tmp_path)
        place.root = disk / "runs"
        run = place.make()
        from engine.run.lock import RunLock

        with RunLock.acquire(run):
            run.control.write_bytes(b"x" * 4095 + b"\n")
            fill(disk)
            done = subprocess.run(
                [sys.executable, "-m", "sftui", "ctl", run.id, "pause"],
                env=place.environment(),
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
            )
    assert done.returncode == 2
    assert "Make room" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_answer_by_the_supervisor_reaches_who_asked(place, monkeypatch):
    """The ranks are gone; what the supervisor answered in their place is not called silence."""
    from sftui.commands import ctl

    monkeypatch.setattr(ctl, "ALIVE_SECONDS", 0.0)
    run = place.make()
    looks = []

    def alive():
        looks.append(1)
        if len(looks) == 2:
            [request] = inbox.Inbox(run, 1).read().requests
            event_files.JournalWriter(run.supervisor_events, run.id, "sup").write(
                inbox.late_answer(request)
            )
        return len(looks) == 1

    answer = ctl.ask(run, Command.STOP, timeout_seconds=20, alive=alive)
    assert answer.outcome == "applied"
    assert "ending anyway" in answer.reason
    assert end_of(run) is None
