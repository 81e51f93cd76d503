"""Faults of supervisor and ranks under real training: all act together, and the end tells why."""

import fcntl
import functools
import json
import os
import signal
import time

import pytest

from engine.checkpoints import checkpoint_dir
from engine.checkpoints.checkpoint_dir import MODEL
from engine.events import (
    AttemptStarted,
    ControlApplied,
    LogLine,
    PhaseStarted,
    RankLost,
    RunFinished,
    StepFinished,
)
from engine.processes import elastic
from engine.run import lock, run_dir
from tests.faults.place import Place, end_of, told, work
from tests.processes import children, events, wait_for


@pytest.fixture
def place(tmp_path):
    with children() as started:
        yield Place(tmp_path, started)


def steps(run):
    return [event.step for event in told(run, StepFinished)]


def weights(run):
    newest = checkpoint_dir.list_checkpoints(run)[-1]
    return newest.step, (newest.path / MODEL).read_bytes()


def resume(place, run, *flags):
    """`sftui run --resume RUN --headless`, as a cluster would type it when it requeues the job."""
    process = place.started.start(
        *("-m", "sftui", "run", "--resume", run.id, "--headless", *flags),
        env=place.environment(),
        stdout=-1,
        stderr=-2,
    )
    out, _ = process.communicate(timeout=110)
    place.started.note_descendants()
    assert process.returncode == 0, out.decode()
    return out.decode()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_preemption_stops_two_ranks_at_one_step_and_a_requeue_goes_on(place):
    """Faults 11 and 67: SIGTERM to the supervisor, a checkpoint, the same command on one rank.

    No step is lost and none is done twice.
    """
    run = place.make("--gpus=2", "--checkpoint-every=0", "--eval-every=99")
    faults = [{"rank": rank, "step": 5, "action": "wait"} for rank in (0, 1)]
    process = place.supervise(run, faults)
    wait_for(lambda: place.started.note_descendants() or len(steps(run)) == 5, 120)
    process.send_signal(signal.SIGTERM)
    (run.path / "go").touch()
    assert place.ended(process) == 0
    [answer] = told(run, ControlApplied)
    assert (answer.command, answer.author, answer.outcome) == ("stop", "SIGTERM", "applied")
    assert end_of(run).status == "stopped"
    reached = end_of(run).step
    assert reached == 6
    assert checkpoint_dir.verify(run.checkpoint(reached)).step == reached

    said = resume(place, run, "--gpus=1")
    assert end_of(run).status == "finished", said
    assert steps(run) == list(range(12))
    assert [event.start_step for event in told(run, AttemptStarted)] == [0, reached]
    assert any("plan of 2" in event.text for event in told(run, LogLine))
    assert lock.holder(run) is None


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["the launcher", "every process"])
def test_preemption_of_a_whole_job_waits_for_the_checkpoint(place, whom):
    """Fault 11 as batch systems and containers do it: SIGTERM to their own child, or to all.

    The launcher must not leave before the run: with it goes the job, and what is left of it
    is killed.
    """
    place.root.mkdir()
    faults = [{"rank": 0, "step": 5, "action": "wait"}]
    launcher = place.started.start(
        *("-m", "sftui", "run", *place.flags("--checkpoint-every=0", "--headless")),
        env=place.environment(faults),
        stdout=-1,
        stderr=-2,
    )
    wait_for(lambda: list(place.root.glob("*/run.json")), 60)
    [run] = run_dir.list_runs(place.root)
    wait_for(lambda: place.started.note_descendants() or len(steps(run)) == 5, 120)
    launcher.send_signal(signal.SIGTERM)
    for pid in place.started.left() if whom == "every process" else ():
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: run.control.stat().st_size, 20)
    (run.path / "go").touch()
    out = launcher.communicate(timeout=60)[0].decode()
    assert launcher.returncode == 0, out
    assert end_of(run).status == "stopped", out
    assert checkpoint_dir.verify(run.checkpoint(6)).step == end_of(run).step == 6
    assert not lock.is_running(run)
    wait_for(lambda: place.started.left() == [], 20)
    assert {answer.outcome for answer in told(run, ControlApplied)} == {"applied"}


@pytest.mark.slow
def test_a_killed_supervisor_leaves_a_checkpoint_and_a_free_lock(place):
    """Fault 3: SIGKILL of the supervisor of two training ranks; nothing lives on."""
    run = place.make("--gpus=2", "--checkpoint-every=0", "--num-iterations=9999")
    process = place.supervise(run)
    wait_for(lambda: place.started.note_descendants() or len(steps(run)) > 5, 120)
    process.kill()
    process.wait()
    assert lock.holder(run) is None
    wait_for(lambda: place.started.left() == [], 60)
    assert end_of(run).status == "stopped"
    assert end_of(run).reason == "the supervisor is gone"
    newest = checkpoint_dir.list_checkpoints(run)[-1]
    assert checkpoint_dir.verify(newest.path).step == end_of(run).step
    assert lock.evidence(run)[0] is False


@pytest.mark.slow
def test_ranks_that_are_still_starting_end_with_their_supervisor(place):
    """Fault 3 while torch is being imported: no orphan comes up later and writes into the run.

    Found by the kill torture: such an orphan's "stopped" was taken for the end of the session
    that had taken the run up again meanwhile.
    """
    run = place.make("--gpus=2", "--num-iterations=9")
    process = place.supervise(run)
    wait_for(lambda: told(run, PhaseStarted), 60)
    place.started.note_descendants()
    assert len(place.started.left()) == 2
    process.kill()
    process.wait()
    again = place.supervise(run)
    assert place.ended(again) == 0
    [end] = told(run, RunFinished)
    assert end.status == "finished"
    assert steps(run) == list(range(8))
    numbers = [event.stamp.seq for event in events(run.events)]
    assert numbers == sorted(set(numbers))


def test_a_rank_that_was_left_behind_is_waited_for_and_then_named(place, monkeypatch):
    """A stopped orphan cannot end; whoever takes the run up is told, and nothing is mixed."""
    from engine import supervisor

    patient = functools.partial(lock.hold_event_log, patience_seconds=0.05)
    monkeypatch.setattr(supervisor, "hold_event_log", patient)
    run = place.make()
    with run.events.open("ab") as orphan:
        fcntl.flock(orphan, fcntl.LOCK_EX)
        assert supervisor.main([str(run.path)]) == 2
    assert end_of(run).status == "failed"
    assert "still written by an older rank" in end_of(run).reason
    assert lock.holder(run) is None
    assert run.events.read_bytes() == b""


@pytest.mark.slow
def test_a_rank_that_dies_at_the_same_step_again_and_again_ends_the_run(place):
    """Faults 4 and 6: restarts from the last checkpoint, then an end that names the cause."""
    run = place.make("--max-restarts=1", "--checkpoint-every=2")
    # Saved in the background: a rank may die before that is done, and then goes back further.
    faults = [{"step": 5, "action": "kill", "attempt": "any", "after": "ckpt/step-4"}]
    assert place.ended(place.supervise(run, faults), 120) == 1
    assert [event.start_step for event in told(run, AttemptStarted)] == [0, 4]
    lost = told(run, RankLost)
    assert [(event.rank, event.reason) for event in lost] == [(0, "killed by SIGKILL")] * 2
    assert end_of(run).status == "failed"
    assert "killed by SIGKILL" in end_of(run).reason
    assert checkpoint_dir.newest_valid(run)[0].step == 4


@pytest.mark.slow
def test_the_same_full_memory_twice_is_not_tried_a_third_time(place):
    """Fault 22: the real worker's error comes through with its size; no loop."""
    run = place.make("--max-restarts=3")
    faults = [{"step": 5, "action": "memory", "attempt": "any"}]
    assert place.ended(place.supervise(run, faults), 120) == 1
    assert len(told(run, AttemptStarted)) == 2
    assert "Tried to allocate 3.00 GiB" in end_of(run).reason
    assert "Tried to allocate 3.00 GiB" in told(run, RankLost)[0].reason


def test_a_resumed_run_replaces_what_the_dead_attempt_did_after_its_checkpoint(place):
    """Fault 66: steps 5 and 6 are in the log twice; every reader shows the later ones."""
    whole = place.make("--run=whole")
    work(whole)
    run = place.make("--run=again")
    from engine import trainer

    with pytest.MonkeyPatch.context() as patch:
        accumulate = trainer.accumulate_gradients

        def die(session, batch):
            if batch.step == 7:
                # A save is made beside the steps: let the one before be whole.
                session.checkpointer.wait()
                raise RuntimeError("power")
            return accumulate(session, batch)

        patch.setattr(trainer, "accumulate_gradients", die)
        assert work(run) == 1
    assert work(run) == 0
    assert steps(run) == [*range(7), *range(4, 12)]
    begin = told(run, PhaseStarted)[0].stamp.m
    assert end_of(run).seconds == pytest.approx(end_of(run).stamp.m - begin, abs=0.1)
    assert weights(run) == weights(whole)
    from sftui import run_json
    from sftui.sources import snapshot

    shown = run_json.to_dict(snapshot.read_run(run))["stages"][0]
    assert shown["steps"]["logged"] == 12
    state = snapshot.read_run(run).state
    losses = {event.step: event.loss for event in told(run, StepFinished)}
    assert state.steps.column("loss").tolist() == pytest.approx(list(losses.values()), rel=1e-6)


def test_whatever_elastic_raises_the_run_gets_its_end(monkeypatch, tmp_path):
    """A launcher that breaks is a reason, not a traceback without an end."""

    def broken(*arguments):
        def launch(*more):
            raise RuntimeError("the store is gone")

        return launch

    monkeypatch.setattr(elastic, "elastic_launch", broken)
    agent = elastic.Agent(command=("true",), local_world_size=1, run_id="x")
    failure = elastic.run_ranks(agent, lambda rank: tmp_path, lambda starts, failure: None)
    assert "the store is gone" in failure.reason


def wait_for_attempt(place, process, run, number):
    """Until it trains or the run has ended: two minutes from where the one before began to train.

    A limit for all of them is the machine's speed: at a load of 16 each takes a minute.
    """

    def begun():
        place.children.note_descendants()
        time.sleep(0.1)
        return process.poll() is not None or len(told(run, AttemptStarted)) >= number

    wait_for(begun, 120)


@pytest.mark.torture
@pytest.mark.timeout(1500)
def test_ten_kills_of_one_rank_cost_ten_restarts_and_no_bit(place):
    """Fault 5, ten times over: each first restart succeeds, also right after another."""
    flags = ("--gpus=2", "--num-iterations=25", "--checkpoint-every=2", "--eval-every=99")
    whole = place.make(*flags, "--run=whole")
    assert place.ended(place.supervise(whole)) == 0
    run = place.make(*flags, "--run=killed", "--max-restarts=10")
    # Once the checkpoint before it is whole: a save is made beside the steps.
    faults = [
        {
            "rank": 1,
            "step": 2 * n + 1,
            "action": "kill",
            "attempt": n,
            "after": f"ckpt/step-{2 * n}",
        }
        for n in range(1, 11)
    ]
    process = place.supervise(run, faults)
    for attempt in range(1, 12):
        wait_for_attempt(place, process, run, attempt)
    assert place.ended(process) == 0
    assert end_of(run).status == "finished"
    lost = [(event.rank, event.reason) for event in told(run, RankLost)]
    assert lost == [(1, "killed by SIGKILL")] * 10
    starts = [event.start_step for event in told(run, AttemptStarted)]
    assert starts == [0, *range(2, 22, 2)]
    assert weights(run) == weights(whole)


@pytest.mark.torture
@pytest.mark.timeout(300)
def test_a_stopped_rank_is_noticed_and_restarted(place):
    """Fault 8: SIGSTOP of rank 1; an alarm within 15 s, then the timeout, then a restart."""
    from engine.events import AlarmRaised

    run = place.make("--gpus=2", "--eval-every=99", "--checkpoint-every=2")
    faults = [{"rank": 1, "step": 5, "action": "stop"}]
    process = place.supervise(run, faults, SFTUI_COLLECTIVE_TIMEOUT="30")
    assert place.ended(process, 250) == 0
    assert end_of(run).status == "finished"
    [alarm] = [event for event in told(run, AlarmRaised) if event.kind == "rank_silent"]
    stopped_at = max(e.stamp.m for e in told(run, StepFinished) if e.stamp.att == 1)
    assert alarm.stamp.m - stopped_at < 15
    assert [event.start_step for event in told(run, AttemptStarted)] == [0, 4]
    assert sorted(set(steps(run))) == list(range(12))


@pytest.mark.torture
@pytest.mark.timeout(300)
def test_a_pause_longer_than_every_timeout_changes_no_bit(place):
    """Fault 54 on two training ranks: 20 s of pause against a timeout of 5 s."""
    whole = place.make("--gpus=2", "--run=whole")
    assert place.ended(place.supervise(whole)) == 0
    run = place.make("--gpus=2", "--run=paused")
    from engine.control import Command, Request
    from engine.journal import wire
    from engine.steering import inbox

    inbox.post(run, Request(id=wire.new_id(), command=Command.PAUSE, author="test"))
    process = place.supervise(run, SFTUI_COLLECTIVE_TIMEOUT="5")
    wait_for(lambda: told(run, ControlApplied), 60)
    paused_at = told(run, ControlApplied)[0].stamp.m
    wait_for(lambda: time.monotonic() - paused_at > 20, 30)
    inbox.post(run, Request(id=wire.new_id(), command=Command.RESUME, author="test"))
    assert place.ended(process) == 0
    assert len(told(run, AttemptStarted)) == 1
    assert [type(event) for event in told(run, RunFinished)] == [RunFinished]
    assert weights(run) == weights(whole)
    assert json.loads(run.manifest.read_text())["world_size"] == 2
