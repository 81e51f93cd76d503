"""Two machines, played by two agents on this one: the supervisor's, and one of plain torchrun."""

import signal
import socket
import sys
from pathlib import Path

import pytest

from engine.checkpoints import checkpoint_dir
from engine.control import Command, Request
from engine.events import AttemptStarted, ControlApplied, LogLine, RunFinished, StepFinished
from engine.journal import wire
from engine.processes import machines
from engine.steering import inbox
from tests.faults.place import Place, end_of, told
from tests.processes import children, wait_for

TORCHRUN = str(Path(sys.executable).with_name("torchrun"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def place(tmp_path):
    with children() as started:
        yield Place(tmp_path, started)


def second_machine(place, run, env):
    """What the supervisor says to type on the other machine, typed."""
    [line] = [e.text for e in told(run, LogLine) if "On each, with this run directory" in e.text]
    words = line.partition("torchrun ")[2].split()
    assert words[-4:] == ["-P", "-m", "engine.worker", str(run.path)]
    words[words.index("python")] = sys.executable
    words[-2] = env["SFTUI_WORKER"]
    with (run.logs / "second.log").open("ab") as log:
        return place.started.start(TORCHRUN, *words, env=env, stdout=log, stderr=log)


def worker_of(agent):
    """Id of the rank that an agent has started."""
    import psutil

    found = psutil.Process(agent.pid).children()
    return found[0].pid if found else None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_agent_is_survived(place):
    """SIGKILL of the second machine's agent: all save, wait for it to come back, and go on.

    Nothing is trained twice, because its rank lived long enough to say that its agent is gone.
    """
    run = place.make(
        "--gpus=2",
        "--nodes=2",
        f"--rendezvous=127.0.0.1:{free_port()}",
        "--checkpoint-every=0",
        "--eval-every=99",
        "--eval-metrics-every=99",
    )
    faults = [{"rank": rank, "step": 5, "action": "wait"} for rank in (0, 1)]
    env = place.environment(faults, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
    first = place.supervise(run, faults)
    wait_for(lambda: told(run, LogLine), 60)
    second = second_machine(place, run, env)
    wait_for(lambda: place.started.note_descendants() or len(told(run, StepFinished)) == 5, 120)
    second.send_signal(signal.SIGKILL)
    second.wait()
    (run.path / "go").touch()
    wait_for(lambda: any("agent of one machine" in e.text for e in told(run, LogLine)), 60)
    assert end_of(run) is None
    # The step that was open is finished, then all leave.
    saved = checkpoint_dir.list_checkpoints(run)[-1].step
    assert saved == 6
    third = second_machine(place, run, env)
    assert place.ended(first, 200) == 0
    assert third.wait(60) == 0
    assert end_of(run).status == "finished"
    assert [event.start_step for event in told(run, AttemptStarted)] == [0, saved]
    assert [event.step for event in told(run, StepFinished)] == list(range(12))
    assert checkpoint_dir.verify(run.checkpoint(12)).step == 12


@pytest.mark.torture
@pytest.mark.timeout(300)
def test_the_first_machines_supervisor_ends_the_run_for_all(place):
    """Fault 3 on two machines: all save and end; the run is taken up again on one."""
    flags = ("--checkpoint-every=0", "--eval-every=99", "--eval-metrics-every=99")
    meeting = f"--rendezvous=127.0.0.1:{free_port()}"
    run = place.make("--gpus=2", "--nodes=2", meeting, *flags)
    faults = [{"rank": rank, "step": 5, "action": "wait"} for rank in (0, 1)]
    env = place.environment(faults, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
    first = place.supervise(run, faults)
    wait_for(lambda: told(run, LogLine), 60)
    second_machine(place, run, env)
    wait_for(lambda: place.started.note_descendants() or len(told(run, StepFinished)) == 5, 120)
    first.kill()
    first.wait()
    (run.path / "go").touch()
    wait_for(lambda: place.started.left() == [], 60)
    [end] = told(run, RunFinished)
    assert (end.status, end.reason, end.step) == ("stopped", "the supervisor is gone", 6)
    assert checkpoint_dir.verify(run.checkpoint(6)).step == 6
    again = place.started.start(
        *("-m", "sftui", "run", "--resume", run.id, "--nodes=1", "--headless"),
        env=place.environment(),
        stdout=-3,
        stderr=-3,
    )
    assert again.wait(120) == 0
    assert end_of(run).status == "finished"
    assert [event.step for event in told(run, StepFinished)] == list(range(12))


@pytest.mark.slow
def test_a_rendezvous_port_that_is_taken_is_said(place):
    """Fault 48: somebody else listens there; the run ends with a reason instead of hanging."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        run = place.make("--gpus=2", "--nodes=2", f"--rendezvous=127.0.0.1:{port}")
        process = place.supervise(run, SFTUI_RENDEZVOUS_SECONDS="5")
        assert place.ended(process, 60) == 1
    assert end_of(run).status == "failed"
    assert f"cannot meet at 127.0.0.1:{port}: Address already in use" in end_of(run).reason
    assert "--rendezvous" in end_of(run).reason


@pytest.mark.slow
def test_machines_that_never_come_end_the_run_with_a_reason(place):
    """Nobody joins: after the patience, one line says so, and the lock is free."""
    address = f"127.0.0.1:{free_port()}"
    run = place.make("--gpus=2", "--nodes=2", f"--rendezvous={address}")
    process = place.supervise(run, SFTUI_RENDEZVOUS_SECONDS="1")
    assert place.ended(process, 60) == 1
    [end] = told(run, RunFinished)
    assert end.status == "failed"
    assert "could not be brought together" in end.reason


@pytest.mark.slow
@pytest.mark.parametrize("who", ["ctl", "SIGTERM"])
def test_a_stop_is_heard_while_machines_are_waited_for(place, who):
    """No rank is there to read it, and the wait may be half an hour."""
    run = place.make("--gpus=2", "--nodes=2", f"--rendezvous=127.0.0.1:{free_port()}")
    process = place.supervise(run)
    wait_for(lambda: told(run, LogLine), 60)
    if who == "ctl":
        request = Request(id=wire.new_id(), command=Command.STOP, author="ctl", attempt=1)
        inbox.post(run, request)
    else:
        process.send_signal(signal.SIGTERM)
    assert place.ended(process, 60) == 0
    [end] = told(run, RunFinished)
    assert (end.status, end.reason, end.step) == ("stopped", f"stop asked for by {who}", 0)
    [answer] = told(run, ControlApplied)
    assert (answer.author, answer.outcome) == (who, "applied")


def test_the_command_for_the_other_machines_is_whole(place):
    """It names everything that must agree: nodes, ranks a node, rendezvous, run, folder."""
    run = place.make(
        "--gpus=8", "--target-examples-per-step=16", "--nodes=2", "--rendezvous=a:29400"
    )
    text = machines.other_machines(run, run.read_manifest())
    for part in (
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1",
        "--nnodes 2",
        "--nproc-per-node 4",
        "--rdzv-endpoint a:29400",
        f"--rdzv-id {run.id}",
        f"engine.worker {run.path}",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--nodes=2"], "nodes is 2 without rendezvous"),
        (["--nodes=2", "--rendezvous=here"], "rendezvous is 'here'; expected HOST:PORT"),
        (["--gpus=3", "--nodes=2", "--rendezvous=a:1"], "gpus is 3, which 2 nodes cannot share"),
    ],
)
def test_settings_of_several_machines_are_checked(place, flags, words):
    """Before anything is started, in one line."""
    from engine.errors import ConfigError

    with pytest.raises(ConfigError, match=words):
        place.make(*flags)
