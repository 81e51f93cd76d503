"""Wishes are applied between steps, on all ranks at the same step, and answered once."""

import itertools
import json
import math
import os
import signal
import socket
import threading

import pytest
import torch

from engine.control import Command, Request
from engine.distributed import Ranks
from engine.events import ControlApplied, RunFinished, Stamp, StateChanged
from engine.journal import wire
from engine.journal.event_bus import EventBus
from engine.run import resume_file
from engine.steering import steering as steering_module
from engine.steering.inbox import post
from engine.steering.steering import Steering
from tests.processes import children, environment, events, make_run, wait_for

ALONE = Ranks(device=torch.device("cpu"))


class Notes:
    """A bus that keeps what it is given."""

    def __init__(self):
        self.events = []
        self.lost_folder = ""

    def folder_in_place(self):
        return True

    def emit(self, event):
        self.events.append(event)

    def answers(self):
        return {e.id: (e.outcome, e.step) for e in self.events if isinstance(e, ControlApplied)}

    def states(self):
        return [event.state for event in self.events if isinstance(event, StateChanged)]


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


@pytest.fixture
def bus():
    return Notes()


@pytest.fixture
def steering(run, bus):
    return Steering(run, bus, ALONE, 1)


def ask(run, name, command, argument=None, **rest):
    post(run, Request(id=name, command=command, argument=argument, author="test", **rest))


# ---- one rank, no process group ----------------------------------------------------------------


def test_without_wishes_nothing_happens(steering, bus):
    """No request, no event, no decision."""
    decision = steering.at_boundary(0)
    assert decision == steering_module.Decision()
    assert bus.events == []


def test_pause_and_resume_are_wanted_states(run, steering, bus):
    """Pause twice is one pause; each request has its answer at its step."""
    ask(run, "a", Command.PAUSE)
    ask(run, "b", Command.PAUSE)
    assert steering.at_boundary(5).paused
    ask(run, "c", Command.RESUME)
    assert not steering.wait_while_paused(5).paused
    assert bus.answers() == {"a": ("applied", 5), "b": ("applied", 5), "c": ("applied", 5)}
    assert bus.states() == ["paused", "running"]
    assert [e.reason for e in bus.events if isinstance(e, ControlApplied)][1] == "already paused"


def test_opposite_wishes_of_two_screens_are_taken_in_file_order(run, steering, bus):
    """The last one counts, both are answered."""
    ask(run, "a", Command.PAUSE)
    ask(run, "b", Command.RESUME)
    assert not steering.at_boundary(1).paused
    assert len(bus.answers()) == 2
    assert bus.states() == []


def test_evaluation_and_checkpoint_work_while_paused(run, steering, bus):
    """The trainer is woken for the work, and goes back to the pause."""
    ask(run, "p", Command.PAUSE)
    steering.at_boundary(3)
    ask(run, "e", Command.EVALUATE)
    ask(run, "c", Command.CHECKPOINT)
    decision = steering.wait_while_paused(3)
    assert [request.id for request in decision.evaluate] == ["e"]
    assert [request.id for request in decision.checkpoint] == ["c"]
    assert decision.paused
    assert set(bus.answers()) == {"p"}, "work is answered when it is done"
    steering.acknowledge(decision.evaluate, 3)
    steering.acknowledge(decision.checkpoint, 3, "rejected", "disk full")
    assert bus.answers() == {"p": ("applied", 3), "e": ("applied", 3), "c": ("rejected", 3)}


def test_two_hundred_keys_have_one_effect_and_two_hundred_answers(run, steering, bus):
    """Somebody leans on the key: one evaluation serves them all."""
    for index in range(200):
        ask(run, f"e{index}", Command.EVALUATE)
    decision = steering.at_boundary(1)
    assert len(decision.evaluate) == 200
    steering.acknowledge(decision.evaluate, 1)
    assert len(bus.answers()) == 200
    assert not steering.at_boundary(2).evaluate


def test_stop_beats_what_is_queued_behind_it(run, steering, bus):
    """What came before it is still done; what came after is refused; a second stop hurries."""
    ask(run, "e", Command.EVALUATE)
    ask(run, "s", Command.STOP)
    ask(run, "c", Command.CHECKPOINT)
    ask(run, "s2", Command.STOP)
    decision = steering.at_boundary(9)
    assert decision.stop
    assert decision.hurry
    assert decision.stop_reason == "stop asked for by test"
    assert [request.id for request in decision.evaluate] == ["e"]
    assert decision.checkpoint == ()
    assert bus.answers() == {"s": ("applied", 9), "c": ("rejected", 9), "s2": ("applied", 9)}
    assert bus.states() == ["stopping"]


def test_a_notice_that_many_processes_hear_is_one_wish(run, steering, bus):
    """A cluster signals supervisor and launcher alike: no hurry, the checkpoint is saved."""
    ask(run, "s", Command.STOP)
    for name in ("t", "u"):
        post(run, Request(id=name, command=Command.STOP, author="SIGTERM"))
    decision = steering.at_boundary(9)
    assert decision.stop
    assert not decision.hurry
    assert bus.answers() == {"s": ("applied", 9), "t": ("applied", 9), "u": ("applied", 9)}


def test_a_stop_ends_a_pause(run, steering):
    """Nobody has to resume in order to stop."""
    ask(run, "p", Command.PAUSE)
    steering.at_boundary(1)
    ask(run, "s", Command.STOP)
    decision = steering.wait_while_paused(1)
    assert decision.stop
    assert not decision.paused


def test_what_comes_after_the_end_is_refused(run, steering, bus):
    """No request is left without an answer."""
    ask(run, "p", Command.PAUSE)
    ask(run, "s", Command.STOP)
    steering.finish(12)
    assert bus.answers() == {"p": ("rejected", 12), "s": ("applied", 12)}


@pytest.mark.parametrize("factor", [None, 0.0, -1.0, float("inf"), 1e6])
def test_a_nonsense_factor_is_rejected(run, steering, bus, factor):
    """And the learning rate stays what it was."""
    line = {"id": "x", "command": "lr", "argument": factor}
    run.control.write_text(json.dumps(line) + "\n")
    assert steering.at_boundary(1).lr_factor == 1.0
    # What is no finite number is refused where the line is read, before there is a step.
    step = None if factor is not None and math.isinf(factor) else 1
    assert bus.answers() == {"x": ("rejected", step)}


def test_a_factor_is_kept(run, steering):
    """Until the next one."""
    ask(run, "x", Command.LR_FACTOR, 0.1)
    assert steering.at_boundary(1).lr_factor == 0.1
    assert steering.at_boundary(2).lr_factor == 0.1


def test_resume_for_a_number_of_steps(run, steering, bus):
    """`resume 3` runs three steps and pauses again."""
    ask(run, "p", Command.PAUSE)
    steering.at_boundary(10)
    ask(run, "r", Command.RESUME, 3.0)
    assert not steering.wait_while_paused(10).paused
    assert [steering.at_boundary(step).paused for step in (11, 12, 13)] == [False, False, True]
    assert bus.states() == ["paused", "running", "paused"]


def test_an_alarm_can_pause_and_stop(steering):
    """Without any screen."""
    steering.request_pause("diverging")
    assert steering.at_boundary(1).paused
    steering.request_stop("no number")
    decision = steering.wait_while_paused(1)
    assert (decision.stop, decision.stop_reason) == (True, "no number")


def test_a_lost_supervisor_stops_the_ranks(run, bus, monkeypatch):
    """Nobody would restart them, and nobody holds the lock."""
    monkeypatch.setenv("SFTUI_SUPERVISOR_PID", str(os.getppid() + 1))
    decision = Steering(run, bus, ALONE, 1).at_boundary(1)
    assert (decision.stop, decision.stop_reason) == (True, "the supervisor is gone")


@pytest.mark.parametrize("whose", ["supervisor", "torchrun"])
def test_of_several_agents_only_the_supervisor_ends_the_run(run, bus, monkeypatch, whose):
    """Another torchrun may take the place of a dead one; nobody takes the supervisor's."""
    ours = os.getppid()
    if whose == "supervisor":
        monkeypatch.setenv("SFTUI_SUPERVISOR_PID", str(ours))
    else:
        monkeypatch.delenv("SFTUI_SUPERVISOR_PID", raising=False)
    two = Ranks(device=torch.device("cpu"), world_size=2, local_world_size=1)
    steering = Steering(run, bus, two, 1)
    assert not steering.at_boundary(1).stop
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert steering.at_boundary(2).stop
    assert steering.agent_lost == (whose == "torchrun")


def test_the_signal_of_a_parents_death_is_not_taken_for_a_wish_to_stop(run, bus, monkeypatch):
    """The kernel's SIGTERM comes when the thread that started us dies, before the whole parent."""
    ours = os.getppid()
    monkeypatch.setenv("SFTUI_SUPERVISOR_PID", str(ours))
    steering = Steering(run, bus, ALONE, 1)
    steering.request_shutdown()
    parents = itertools.chain([ours] * 3, itertools.repeat(1))
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    decision = steering.at_boundary(1)
    assert (decision.stop, decision.stop_reason) == (True, "the supervisor is gone")


def test_sigterm_only_sets_a_flag(run, steering):
    """The step goes on to its end; the next boundary stops."""
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    try:
        steering.handle_signals()
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert not steering.at_boundary(1).stop
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(lambda: steering._shutdown)
        decision = steering.at_boundary(2)
        assert (decision.stop, decision.stop_reason) == (True, "a rank got SIGTERM")
    finally:
        for number, handler in zip(
            (signal.SIGTERM, signal.SIGINT, signal.SIGHUP), before, strict=True
        ):
            signal.signal(number, handler)


# ---- over restarts -----------------------------------------------------------------------------


def restarted(run, *requests, end=None):
    """A second attempt after one that was asked `requests`, each at its own step."""
    bus = EventBus(run, run.id, 1, live=False)
    steering = Steering(run, bus, ALONE, 1)
    for step, (command, argument) in requests:
        ask(run, f"{command.value}-{step}", command, argument)
        steering.at_boundary(step)
    if end:
        bus.emit(RunFinished(status=end))
    bus.close()
    return Steering(run, Notes(), ALONE, 2)


def test_a_pause_outlives_a_killed_rank(run):
    """The restarted ranks wait as well; they do not train while somebody thinks they pause."""
    assert restarted(run, (50, (Command.PAUSE, None))).at_boundary(20).paused


def test_a_stop_outlives_a_killed_rank(run):
    """A rank that dies while stopping does not start the run over."""
    decision = restarted(run, (50, (Command.STOP, None))).at_boundary(20)
    assert decision.stop
    assert not decision.hurry


def test_a_run_taken_up_after_its_end_runs(run):
    """Yesterday's stop is history."""
    decision = restarted(run, (50, (Command.STOP, None)), end="stopped").at_boundary(50)
    assert not decision.stop


@pytest.mark.parametrize("what", ["pause", "stop"])
def test_what_an_alarm_did_outlives_a_killed_rank(run, what):
    """Nobody asked for it, so no answer tells; and the same alarm is not raised again."""
    bus = EventBus(run, run.id, 1, live=False)
    steering = Steering(run, bus, ALONE, 1)
    (steering.request_pause if what == "pause" else steering.request_stop)("the loss diverges")
    steering.at_boundary(50)
    bus.close()
    decision = Steering(run, Notes(), ALONE, 2).at_boundary(20)
    assert (decision.paused, decision.stop) == (what == "pause", what == "stop")
    if what == "pause":
        ask(run, "r", Command.RESUME)
        assert not Steering(run, Notes(), ALONE, 2).at_boundary(20).paused


@pytest.mark.parametrize("reason", ["a rank got SIGTERM", "the supervisor is gone"])
def test_a_stop_for_the_machines_sake_ends_one_attempt_only(run, bus, reason):
    """A lost agent's peers save and leave in order to come back."""
    stopping = StateChanged(state="stopping", reason=reason, step=9, stamp=Stamp(seq=1))
    run.events.write_bytes(wire.encode(stopping))
    assert not Steering(run, bus, ALONE, 2).at_boundary(9).stop


def test_a_run_taken_up_after_everything_died_runs(run, bus):
    """Power went in a pause, so nothing has an end: a requeued job must not wait for a person."""
    taken_up = resume_file.Resumption(created=0.0, attempt=2, world_size=1, device_type="cpu")
    resume_file.append(run, taken_up)
    restarted(run, (50, (Command.LR_FACTOR, 0.5)), (60, (Command.PAUSE, None)))
    decision = Steering(run, bus, ALONE, 2).at_boundary(70)
    assert not decision.paused
    assert decision.lr_factor == 0.5


def test_a_clock_that_was_set_back_does_not_undo_the_last_wish(run, bus):
    """Fault 45: order is that of the file; a resume behind a pause stays a resume."""
    told = [("pause", 7200.0), ("resume", 60.0), ("lr", 50.0), ("lr", 40.0)]
    lines = [
        wire.encode(
            ControlApplied(
                id=str(seq),
                command=command,
                argument=float(seq) if command == "lr" else None,
                step=10 * seq,
                stamp=Stamp(seq=seq, t=t),
            )
        )
        for seq, (command, t) in enumerate(told, 1)
    ]
    run.events.write_bytes(b"".join(lines))
    decision = Steering(run, bus, ALONE, 2).at_boundary(99)
    assert (decision.paused, decision.lr_factor) == (False, 4.0)


def test_a_factor_takes_effect_again_where_it_did(run):
    """Resumed from before the change, the run repeats it at the same step: same bits."""
    again = restarted(run, (50, (Command.LR_FACTOR, 0.5)), (70, (Command.LR_FACTOR, 2.0)))
    factors = {step: again.at_boundary(step).lr_factor for step in (49, 50, 69, 70, 99)}
    assert factors == {49: 1.0, 50: 0.5, 69: 0.5, 70: 2.0, 99: 2.0}
    # A new wish outranks what the first attempt was asked for further on.
    ask(run, "new", Command.LR_FACTOR, 3.0)
    assert again.at_boundary(60).lr_factor == 3.0
    assert again.at_boundary(75).lr_factor == 3.0


# ---- two ranks ---------------------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_ranks(started, run, tmp_path, world_size=2, timeout="60"):
    port, outs = str(free_port()), []
    for rank in range(world_size):
        outs.append(tmp_path / f"out-{rank}")
        started.start(
            "-m",
            "tests.steering_rank",
            str(run.path),
            str(outs[-1]),
            "1",
            timeout,
            env=environment(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(world_size),
                LOCAL_WORLD_SIZE=str(world_size),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port,
            ),
        )
    return outs


def decisions(out):
    text = out.read_text() if out.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.slow
def test_two_ranks_act_at_the_same_step(run, tmp_path):
    """Pause, evaluation, checkpoint, factor, SIGTERM to one rank: both decide alike."""
    with children() as started:
        outs = start_ranks(started, run, tmp_path)
        wait_for(lambda: len(decisions(outs[1])) > 5)
        ask(run, "lr", Command.LR_FACTOR, 0.25)
        ask(run, "p", Command.PAUSE)
        wait_for(lambda: decisions(outs[1])[-1][1])
        ask(run, "e", Command.EVALUATE)
        ask(run, "c", Command.CHECKPOINT)
        wait_for(lambda: any(line[2] or line[3] for line in decisions(outs[1])))
        ask(run, "r", Command.RESUME)
        wait_for(lambda: not decisions(outs[1])[-1][1])
        # The rank that is not in charge is told to go: both go, at one step.
        started.started[1].send_signal(signal.SIGTERM)
        for process in started.started:
            assert process.wait(60) == 0
    first, second = decisions(outs[0]), decisions(outs[1])
    assert first == second
    assert first[-1] == ["end", "a rank got SIGTERM"]
    answers = {e.id: e.outcome for e in events(run.events) if isinstance(e, ControlApplied)}
    assert answers == dict.fromkeys(["lr", "p", "e", "c", "r"], "applied")
    assert first[-2][6] == 0.25
    states = [e.state for e in events(run.events) if isinstance(e, StateChanged)]
    assert states == ["paused", "running", "stopping"]


@pytest.mark.slow
def test_a_pause_outlasts_the_collectives_timeout(run, tmp_path):
    """Ranks stay in touch while paused, so a pause may be as long as a night."""
    with children() as started:
        outs = start_ranks(started, run, tmp_path, timeout="2")
        ask(run, "p", Command.PAUSE)
        wait_for(lambda: decisions(outs[1]) and decisions(outs[1])[-1][1])
        done = threading.Event()
        done.wait(5)  # the promise is about time passing: more than twice the timeout
        assert all(process.poll() is None for process in started.started)
        ask(run, "s", Command.STOP)
        for process in started.started:
            assert process.wait(60) == 0
    assert decisions(outs[0])[:-1] == decisions(outs[1])[:-1]


@pytest.mark.slow
def test_a_rank_that_dies_in_a_pause_is_noticed(run, tmp_path):
    """The other one ends with an error within the timeout, so that both can be restarted."""
    with children() as started:
        outs = start_ranks(started, run, tmp_path, timeout="20")
        ask(run, "p", Command.PAUSE)
        wait_for(lambda: decisions(outs[1]) and decisions(outs[1])[-1][1])
        started.started[1].send_signal(signal.SIGKILL)
        assert started.started[0].wait(30) != 0
