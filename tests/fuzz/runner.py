"""Feed a child with inputs, and see that it answers in time, in memory and without a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.pace import slowness

MOST_CPU_SECONDS = 5.0
"""Of one input, in the child and what it started; wall time says little on a busy machine. They are
seconds of a core of its own (see `pace.slowness`)."""

TOO_LONG = f"more than {MOST_CPU_SECONDS:g} s of CPU"

MOST_WAITING_SECONDS = 20.0
"""Of one input that takes no CPU: it waits for something that does not come. A disk does: what is
waited for it does not count."""

POLL_SECONDS = 0.5
"""Between two looks at a child that has not answered."""

MOST_BYTES = 10**9

START_SECONDS = 180.0

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Tally:
    """What was tried of a target, and what was found."""

    inputs: int = 0
    seconds: float = 0.0
    findings: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By kind: the number of the first input, and its story."""
    slowest: tuple[float, int] = (0.0, 0)
    """CPU seconds of the input that took most, and its number: how near the limit is."""

    def note(self, kind: str, number: int, story: str) -> None:
        self.findings[kind] += 1
        self.first.setdefault(kind, (number, story))


class Child:
    """One target in a process of its own, which is started anew when it had to be killed."""

    def __init__(self, target: str, seed: int, module: str = "tests.fuzz.child") -> None:
        self.target, self.seed, self.module = target, seed, module
        self.tally = Tally()
        self._most_cpu = MOST_CPU_SECONDS
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="sftui-fuzz-"))

    def run(self, seconds: float, numbers: Iterator[int]) -> None:
        """Try inputs for so long."""
        self._most_cpu = MOST_CPU_SECONDS * slowness()
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            self.try_one(next(numbers))
        self.tally.seconds += time.monotonic() - began

    def try_one(self, number: int) -> None:
        process = self._started()
        assert process.stdin is not None
        self.tally.inputs += 1
        before = _cpu_seconds(process.pid, living=False)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{number}\n".encode())
            process.stdin.flush()
        answer, why, used = self._answer(process, before)
        self.tally.slowest = max(self.tally.slowest, (used, number))
        if answer is None:
            told = f"{used:.1f} s of CPU; the limit was {self._most_cpu:.1f}"
            self.tally.note(why, number, f"{why} ({told})")
            self.kill()
            return
        if "kind" in answer:
            self.tally.note(answer["kind"], number, answer["story"])
        if answer["peak"] > MOST_BYTES:
            kind = f"more than {MOST_BYTES / 1e9:g} GB"
            self.tally.note(kind, number, f"{answer['peak'] / 1e9:.1f} GB")
            self.kill()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None:
            return self._process
        shutil.rmtree(self._folder)
        desk, scratch = self._folder / "desk", self._folder / "tmp"
        for folder in (desk, scratch):
            folder.mkdir(parents=True)
        words = [sys.executable, "-m", self.module, self.target, str(self.seed), str(desk)]
        # A child that is killed leaves its temporary files, and here they go with its folder.
        environment = _environment() | {"TMPDIR": str(scratch)}
        self._process = subprocess.Popen(
            words, stdin=-1, stdout=-1, cwd=ROOT, start_new_session=True, env=environment
        )
        ready = _line(self._process, lambda waited: waited > START_SECONDS)
        assert ready == b"ready\n", f"the child of {self.target} did not start: {ready!r}"
        return self._process

    def _answer(
        self, process: subprocess.Popen[bytes], before: float
    ) -> tuple[dict[str, Any] | None, str, float]:
        """What the child says of its input, or why it is to be killed; and CPU seconds it took."""
        why, used, disk = "", 0.0, 0.0

        def over(waited: float) -> bool:
            nonlocal why, used, disk
            disk += POLL_SECONDS * _waits_for_disk(process.pid)
            used = _cpu_seconds(process.pid) - before
            if used > self._most_cpu:
                why = TOO_LONG
            elif waited - disk > MOST_WAITING_SECONDS and used < 0.2:
                why = f"waits for more than {MOST_WAITING_SECONDS:g} s"
            return bool(why)

        line = _line(process, over)
        if line:
            used = max(used, _cpu_seconds(process.pid, living=False) - before)
            if used > self._most_cpu:
                return None, TOO_LONG, used
            return json.loads(line), "", used
        return None, why or f"it died: {process.wait()}", used

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                # Its session alone: the child and what it started.
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            self._process = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _line(process: subprocess.Popen[bytes], over: Callable[[float], bool]) -> bytes:
    """The next line of a child; empty when it ended, or when it is `over` (seconds waited)."""
    assert process.stdout is not None
    began = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not selector.select(POLL_SECONDS):
            if over(time.monotonic() - began):
                return b""
    return process.stdout.readline()


def _cpu_seconds(pid: int, *, living: bool = True) -> float:
    """CPU time of a process and of its children that ended; `living`: and of those that live, for
    which all processes of the machine are looked through."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        child = psutil.Process(pid)
        for process in [child, *(child.children(recursive=True) if living else ())]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


def _waits_for_disk(pid: int) -> bool:
    """Whether the process or one that it started is in a read or write of a disk."""
    with contextlib.suppress(psutil.Error):
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_DISK_SLEEP:
                    return True
    return False


def _environment() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SFTUI_")}
    return ours | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONHASHSEED": "0"}
