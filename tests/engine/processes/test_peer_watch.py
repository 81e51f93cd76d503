"""A rank that waits in C for a dead peer leaves within seconds of the SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.processes import peer_watch
from engine.processes.peer_watch import PeerWatch
from engine.run.lock import process_start
from engine.run.run_dir import RunDir

STUCK = """
import ctypes, signal, sys, threading
from pathlib import Path
from engine.processes.peer_watch import PeerWatch
from engine.run.run_dir import RunDir
# As a rank has it: a handler in Python, which never runs while C does not return.
signal.signal(signal.SIGTERM, lambda *_: print("handler", flush=True))
watch = PeerWatch(RunDir(Path(sys.argv[1])), rank=0, world_size=2)
if sys.argv[2] == "watched":
    watch.start()
print("ready", flush=True)
libc = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
libc.pthread_mutex_lock(mutex)  # held by ourselves: no signal interrupts this wait
"""


def beat(run: RunDir, rank: int, *, pid: int, host: str | None = None, number: int = 1) -> None:
    path = run.heartbeat(rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "rank": rank,
        "pid": pid,
        "host": host or socket.gethostname(),
        "started": process_start(pid),
        "t": time.time(),
        "beat": f"{pid}:{number}",
    }
    path.write_text(json.dumps(record))


def stuck(run: RunDir, watched: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(run.path), watched], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_a_rank_stuck_in_c_leaves_within_five_seconds_of_its_peers_death(tmp_path: Path) -> None:
    """The same wait without the watch outlives the signal: that is what cost 30 s."""
    run = RunDir(tmp_path)
    peer = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], text=True)
    left = stuck(run, "watched")
    stays = stuck(run, "alone")
    try:
        beat(run, 1, pid=peer.pid)
        for process in (left, stays):
            process.send_signal(signal.SIGTERM)
        # Told to stop while the peer lives: the main thread's business.
        with pytest.raises(subprocess.TimeoutExpired):
            left.wait(1.5)
        peer.kill()
        peer.wait()
        began = time.monotonic()
        assert left.wait(5.0) == 1
        assert time.monotonic() - began < 5.0
        assert stays.poll() is None
    finally:
        for process in (left, stays, peer):
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def watch_of(run: RunDir, gone: list[int], monkeypatch: pytest.MonkeyPatch) -> PeerWatch:
    monkeypatch.setattr(peer_watch, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(peer_watch, "SILENT_SECONDS", 0.3)
    watch = PeerWatch(run, rank=0, world_size=2, leave=gone.append)
    watch.start()
    return watch


def wait(seconds: float, until: list[int]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until:
        time.sleep(0.01)


@pytest.fixture
def quiet_sigterm() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_silent_peer_of_another_machine_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet_sigterm: None
) -> None:
    """Its process cannot be asked for; while it beats it lives."""
    run = RunDir(tmp_path)
    gone: list[int] = []
    watch = watch_of(run, gone, monkeypatch)
    beat(run, 1, pid=1, host="elsewhere")
    os.kill(os.getpid(), signal.SIGTERM)
    for number in range(2, 12):
        beat(run, 1, pid=1, host="elsewhere", number=number)
        time.sleep(0.05)
        assert gone == []
    wait(3.0, gone)
    assert gone == [1]
    watch.close()


@pytest.mark.parametrize("what", ["a stopped peer", "an earlier attempt", "closed", "no signal"])
def test_nobody_leaves_without_a_death(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet_sigterm: None
) -> None:
    """A process that lives silently here, a dead one's file of before, the end of the run."""
    run = RunDir(tmp_path)
    gone: list[int] = []
    if what == "an earlier attempt":
        beat(run, 1, pid=2**22 - 3)
        old = json.loads(run.heartbeat(1).read_text()) | {"t": time.time() - 60}
        run.heartbeat(1).write_text(json.dumps(old))
    watch = watch_of(run, gone, monkeypatch)
    if what == "a stopped peer":
        beat(run, 1, pid=os.getpid())
    elif what != "an earlier attempt":
        beat(run, 1, pid=2**22 - 3)
    if what == "closed":
        watch.close()
    if what != "no signal":
        os.kill(os.getpid(), signal.SIGTERM)
    wait(0.8, gone)
    assert gone == []
    if what != "closed":
        watch.close()
    time.sleep(0.1)  # its thread closes the socket
