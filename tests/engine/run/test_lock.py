"""One run, one driver; and who it is, dead or alive."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from engine.errors import RunDirError
from engine.run import lock
from engine.run.lock import RunLock
from tests.processes import children, make_run, wait_for

HOLD = """
import sys
from pathlib import Path
from engine.run.lock import RunLock
from engine.run.run_dir import RunDir
lock = RunLock.acquire(RunDir(Path(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def test_a_second_driver_is_refused_and_told_who_holds_the_run(run):
    """Two runs in one directory would destroy each other."""
    with RunLock.acquire(run):
        with pytest.raises(RunDirError, match=f"process {os.getpid()}"):
            RunLock.acquire(run)
        assert lock.is_running(run)
    assert not lock.is_running(run)
    RunLock.acquire(run).release()


def test_a_killed_holder_frees_the_lock_at_once(run):
    """However it died; and the file still says who it was."""
    with children() as started:
        process = started.start("-c", HOLD, str(run.path), stdin=-1, stdout=-1)
        process.stdout.readline()
        assert lock.holder(run).pid == process.pid
        assert lock.evidence(run) == (True, f"the supervisor (pid {process.pid}) holds the lock")
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        assert lock.holder(run) is None
        alive, why = lock.evidence(run)
        assert not alive
        assert f"pid {process.pid}) is gone" in why


def test_a_child_of_the_holder_does_not_inherit_the_lock(run):
    """A rank that outlives its supervisor must not hold the run for it."""
    held = RunLock.acquire(run)
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        close_fds=False,
    )
    try:
        held.release()
        # The parent of a vfork may run on just before the child's descriptors are closed.
        wait_for(lambda: lock.holder(run) is None, 5)
    finally:
        child.communicate()


def test_looking_does_not_disturb_taking(run):
    """Any number of screens may ask who holds the run while somebody takes it."""
    for _ in range(50):
        assert lock.holder(run) is None
        with RunLock.acquire(run):
            assert lock.holder(run).pid == os.getpid()


def test_a_restarted_machine_is_told_from_a_dead_supervisor(run):
    """The boot id differs: nothing of that run can be alive here."""
    with RunLock.acquire(run):
        pass
    raw = json.loads(run.lock.read_text())
    run.lock.write_text(json.dumps(raw | {"boot": "another"}))
    if lock.boot_id():
        assert "restarted" in lock.evidence(run)[1]


def test_a_used_again_process_id_is_not_taken_for_the_old_process():
    """Ids come round: the start time must fit too."""
    born = lock.process_start(os.getpid())
    assert lock.is_alive(os.getpid(), born)
    assert not lock.is_alive(os.getpid(), born - 1000)
    assert not lock.is_alive(2**22 + 12345, None)


def test_a_beating_rank_without_a_supervisor_is_a_living_run(run):
    """Ranks started by torchrun, or orphaned and saving, are alive."""
    record = {"rank": 0, "pid": os.getpid(), "host": lock.socket.gethostname()}
    record["started"] = lock.process_start(os.getpid())
    path = run.heartbeat(0)
    path.write_text(json.dumps(record))
    assert lock.evidence(run)[0]
    old = path.stat().st_mtime - 100
    os.utime(path, (old, old))
    assert not lock.evidence(run)[0]


@pytest.mark.parametrize(("ahead", "alive"), [(60, True), (3 * 24 * 3600, False), (2e9, False)])
def test_a_beat_from_the_future_is_no_life(run, ahead, alive):
    """Clocks of two machines differ by less than a day; an archive holds any time."""
    record = {"rank": 0, "pid": os.getpid(), "host": lock.socket.gethostname()}
    run.heartbeat(0).write_text(json.dumps(record))
    t = time.time() + ahead
    os.utime(run.heartbeat(0), (t, t))
    assert lock.evidence(run)[0] == alive


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "host": 3}'])
def test_a_damaged_lock_file_raises_nothing(run, text):
    """The text names the holder for a person; the lock itself is the kernel's."""
    run.lock.write_text(text)
    lock.evidence(run)
    with RunLock.acquire(run):
        assert lock.holder(run).pid == os.getpid()


WRITER = """
import sys
from pathlib import Path
from engine.run import lock
from engine.run.run_dir import RunDir
lock.hold_event_log(RunDir(Path(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_event_log_has_one_writer(tmp_path):
    """A second one waits, is told when it waited in vain, and goes on when the first is killed."""
    run = make_run(tmp_path)
    with children() as started:
        first = started.start("-c", WRITER, str(run.path), stdin=-1, stdout=-1)
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(RunDirError, match="still written by an older rank"):
            lock.hold_event_log(run, patience_seconds=0.05)
        assert run.events.stat().st_mode & 0o077 == 0
        first.kill()
        first.wait()
        os.close(lock.hold_event_log(run, patience_seconds=5))
