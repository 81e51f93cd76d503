"""Signals to a process that trains with its owner's loop: a stop with a checkpoint, or none."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sftui
from engine.attach import signals
from engine.events import CheckpointSaved, RunFinished
from engine.run.run_dir import RunDir
from tests.engine.attach.steered import events
from tests.engine.attach.test_loop import Loop


@pytest.fixture(autouse=True)
def _ctrl_c_is_pythons_own() -> Iterator[None]:
    """As on a terminal: a shell's background job, which tests may be, ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(*numbers: int) -> dict[int, Callable[[RunDir], None]]:
    """Signals to this process before the boundary of step 3."""

    def act(run: RunDir) -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    return {3: act}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_and_the_first_ctrl_c_stop_at_a_step_with_a_checkpoint(
    tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    # torchrun hands a terminal's Ctrl-C on: the second one within a second is the same person.
    with pytest.raises(sftui.RunStopped):
        Loop(tmp_path).train(attach=True, at=send(number, number))
    (run,) = Path("runs").iterdir()
    (end,) = events(run, RunFinished)
    assert (end.status, end.step) == ("stopped", 3)
    assert [e.step for e in events(run, CheckpointSaved)] == [3]
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_is_pythons_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "INSISTING_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        Loop(tmp_path).train(attach=True, at=send(signal.SIGINT, signal.SIGINT))


def test_a_hang_up_changes_nothing_for_the_training(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    run = loop.train(attach=True, at=send(signal.SIGHUP))
    assert sorted(loop.losses) == list(range(8))
    (end,) = events(run.run, RunFinished)
    assert (end.status, end.updates) == ("finished", 8)


HUNG_UP = """
import os, sys, time
from pathlib import Path
from engine.attach.signals import StopSignals
from engine.run.run_dir import RunDir

StopSignals(RunDir(Path(sys.argv[1])), 0, lambda: None).install()
Path(sys.argv[1], "ready").touch()
while not Path(sys.argv[1], "gone").exists():
    time.sleep(0.02)
print("said into the dark", flush=True)
"""


def test_what_is_printed_after_a_hang_up_goes_to_the_run(tmp_path: Path) -> None:
    """A dead terminal refuses what is written to it, which would end the training."""
    master, slave = pty.openpty()
    command = [sys.executable, "-c", HUNG_UP, str(tmp_path)]
    child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    end = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < end:
        time.sleep(0.02)
    child.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    os.close(master)
    (tmp_path / "gone").touch()
    assert child.wait(timeout=60) == 0
    assert (RunDir(tmp_path).rank_log(1, 0) / "stdout.log").read_text() == "said into the dark\n"
