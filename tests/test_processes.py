"""Screen, supervisor and ranks together: whoever dies, the run's story stays whole."""

import json
import os
import pty
import signal

import pytest

from engine.control import Command, Request
from engine.events import AttemptStarted, ControlApplied, RankLost, RunFinished, StepFinished
from engine.journal.wire import new_id
from sftui.sources.live import LiveSource
from sftui.sources.tail import TailSource
from tests.processes import children, environment, events, make_run, wait_for

pytestmark = pytest.mark.slow

LAUNCHER = """
import sys
from pathlib import Path
from engine.processes import launch
from engine.run.run_dir import RunDir
print(launch.start_supervisor(RunDir(Path(sys.argv[1]))), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def started():
    with children() as found:
        yield found


def prepare(tmp_path, **script):
    run = make_run(tmp_path, world_size=2, max_restarts=2)
    (run.path / "fake.json").write_text(json.dumps(script))
    return run


def supervise(started, run):
    """The supervisor as the launcher starts it, but as our child, so that we can wait for it."""
    with run.supervisor_log.open("wb") as log:
        return started.start(
            *("-P", "-m", "engine.supervisor", str(run.path)),
            env=environment(SFTUI_WORKER="tests.fake_worker"),
            stdout=log,
            stderr=log,
        )


def test_a_restarted_rank_reaches_the_screen_through_the_same_queue(tmp_path, started):
    """Rank 1 is killed: its loss, the new attempt, the end; all seen live, in order, once."""
    run = prepare(tmp_path, steps=80, faults=[{"attempt": 1, "rank": 1, "how": "kill"}])
    live = LiveSource(run)
    process = supervise(started, run)
    found = []
    wait_for(lambda: started.note_descendants() or found.extend(live.poll()) or live.closed, 120)
    assert process.wait(10) == 0
    ours = [event.stamp.seq for event in found if event.stamp.src == "r0"]
    assert ours == list(range(1, len(ours) + 1))
    assert live.num_from_queue > live.num_from_file
    kinds = [type(e) for e in found if isinstance(e, AttemptStarted | RankLost | RunFinished)]
    assert kinds == [AttemptStarted, RankLost, AttemptStarted, RunFinished]
    assert started.left() == []
    live.close()


def test_a_run_can_be_watched_and_stopped_by_somebody_else(tmp_path, started):
    """Attach by the files alone, ask for a stop, see the answer and the end."""
    run = prepare(tmp_path)
    process = supervise(started, run)
    tail, found = TailSource(run), []
    wait_for(lambda: found.extend(tail.poll()) or len(found) > 10)
    assert tail.alive()[0]
    request = Request(id=new_id(), command=Command.STOP, author="ctl")
    tail.send(request)
    wait_for(lambda: started.note_descendants() or found.extend(tail.poll()) or tail.closed)
    [answer] = [event for event in found if isinstance(event, ControlApplied)]
    assert (answer.id, answer.outcome) == (request.id, "applied")
    assert isinstance(found[-1], RunFinished)
    assert process.wait(10) == 0
    assert started.left() == []


def test_a_closed_terminal_ends_the_screen_and_not_the_run(tmp_path, started):
    """The launcher's terminal goes (a dropped SSH connection); the run reaches its end."""
    run = prepare(tmp_path, steps=300)
    master, slave = pty.openpty()
    env = environment(SFTUI_WORKER="tests.fake_worker")

    def own_terminal():
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    launcher = started.start(
        *("-c", LAUNCHER, str(run.path)), env=env, stdin=slave, stdout=-1, preexec_fn=own_terminal
    )
    os.close(slave)
    supervisor_pid = int(launcher.stdout.readline())
    wait_for(lambda: any(isinstance(e, StepFinished) for e in events(run.events)))
    started.note_descendants()
    os.close(master)
    assert launcher.wait(30) == -signal.SIGHUP
    assert not any(isinstance(e, RunFinished) for e in events(run.events))
    wait_for(lambda: supervisor_pid not in started.left(), 60)
    [end] = [event for event in events(run.events) if isinstance(event, RunFinished)]
    assert end.status == "finished"
    assert started.left() == []
