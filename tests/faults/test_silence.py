"""A hung only rank is noticed by the supervisor, and restarted when asked; causes are said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import load_recipe
from engine.errors import ConfigError
from engine.events import AlarmCleared, AlarmRaised, AttemptStarted, Event, LogLine
from engine.processes.silence import SilenceWatch
from engine.run import lock
from engine.run.run_dir import RunDir
from tests.faults.place import Place, end_of, told
from tests.processes import children, make_run, wait_for


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with children() as started:
        yield Place(tmp_path, started)


class Hung:
    """A child of ours that says it is rank 0 and then nothing more."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        self.beats = 0
        self.beat()

    def beat(self, **fields: object) -> None:
        self.beats += 1
        pid = self.process.pid
        started = lock.process_start(pid)
        record = {"rank": 0, "pid": pid, "started": started, "beat": self.beats, "t": time.time()}
        self.run.heartbeat(0).write_text(json.dumps(record | fields))


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Hung]:
    found = Hung(make_run(tmp_path))
    yield found
    found.process.kill()
    found.process.wait()


def test_silence_is_told_once_and_cleared_when_it_is_over(hung: Hung) -> None:
    """One alarm, with the process; nothing is killed unless asked."""
    said: list[Event] = []
    now = [100.0]
    watch = SilenceWatch(hung.run, said.append, clock=lambda: now[0])
    for now[0] in (100.0, 105.0, 109.0):
        watch.look()
    assert said == []
    for now[0] in (111.0, 150.0, 400.0):
        watch.look()
    [alarm] = said
    assert isinstance(alarm, AlarmRaised)
    assert f"process {hung.process.pid}" in alarm.text
    hung.beat()
    watch.look()
    assert isinstance(said[1], AlarmCleared)
    assert hung.process.poll() is None


def test_a_silent_rank_is_killed_only_when_asked_and_only_a_child_of_ours(hung: Hung) -> None:
    """A heartbeat file may name any process."""
    said: list[Event] = []
    now = [100.0]
    watch = SilenceWatch(hung.run, said.append, restart_seconds=30, clock=lambda: now[0])
    parent = os.getppid()
    hung.beat(pid=parent, started=lock.process_start(parent))
    for now[0] in (100.0, 200.0, 300.0):
        watch.look()
    assert said == []
    hung.beat()
    for now[0] in (300.0, 320.0, 331.0):
        watch.look()
    assert [type(event) for event in said[:2]] == [AlarmRaised, LogLine]
    assert hung.process.wait(10) == -signal.SIGKILL


def test_a_patience_shorter_than_a_busy_machines_pauses_is_refused() -> None:
    """It would kill ranks that are only slow."""
    with pytest.raises(ConfigError, match="restart_silent is 5"):
        load_recipe("starter").replace(restart_silent=5).check()


@pytest.mark.slow
def test_a_hung_only_rank_is_restarted_when_asked(place: Place) -> None:
    """Stopped by SIGSTOP it said nothing for ever, and nobody said it for it."""
    run = place.make("--num-iterations=14", "--checkpoint-every=4", "--restart-silent=20")
    process = place.supervise(run, [{"rank": 0, "step": 6, "action": "stop"}])
    words = ("-m", "sftui", "attach", "--headless", str(run.path))
    viewer = place.children.start(*words, env=place.environment(), stdout=-1, stderr=-2)
    wait_for(lambda: told(run, AlarmRaised), 90)
    assert place.ended(process) == 0
    lines = viewer.communicate(timeout=60)[0].decode()
    assert "no heartbeat of rank 0" in lines
    assert "killed (--restart-silent)" in lines
    end = end_of(run)
    assert end is not None
    assert (end.status, end.updates) == ("finished", 13)
    assert len(told(run, AttemptStarted)) == 2
    assert any("--restart-silent" in event.text for event in told(run, LogLine))


def test_a_supervisor_that_could_not_start_says_why_where_one_looks(tmp_path: Path) -> None:
    """Its cause stood in its log alone, and the screen said to try `--resume`."""
    run = make_run(tmp_path)
    cause = (
        "the lock cannot be locked: No locks available. Put the runs on a file system with locks"
    )
    run.supervisor_log.write_text(f"some warning\nsftui: error: {cause}\n\n")
    assert lock.evidence(run) == (False, f"the supervisor did not start: {cause}")
