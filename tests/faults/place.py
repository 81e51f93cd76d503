"""Where faults are injected: tiny runs, the real worker in this process or in its own, a full disk.

A run here is the real one (manifest, tokenizer, data, checkpoints) on a model of a few
thousand weights. `work` runs rank 0 inside the test, so a test can patch what should fail;
`Place.start` runs the whole program, with faults named in the environment (`worker.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from engine.events import Event, RunFinished
from engine.processes import launch, orphan
from engine.run.run_dir import RunDir
from sftui.commands.run_flags import parse_run
from tests import tiny
from tests.processes import Children, environment, events, wait_for, wait_for_end

WORKER = "tests.faults.worker"
"""The real worker, with faults injected."""


class Place:
    """A folder with a nanochat cache and data, in which `sftui` is run as a person would."""

    def __init__(self, path: Path, started: Children | None = None) -> None:
        self.path = path
        self.started = started
        self.cache = tiny.write_cache(path / "cache")
        self.data = tiny.write_data(path / "data")
        self.root = path / "runs"

    @property
    def children(self) -> Children:
        """Where the processes of this place are started; a place that starts none needs none."""
        assert self.started is not None, "this place starts no processes"
        return self.started

    def flags(self, *extra: str) -> list[str]:
        return [*tiny.SETTINGS, f"--data-dir={self.data}", "--device-type=cpu", *extra]

    def make(self, *extra: str) -> RunDir:
        """A run directory as the launcher makes it; nothing is started."""
        parsed, typed = parse_run(self.flags(*extra))
        before = os.environ.get("NANOCHAT_BASE_DIR")
        os.environ["NANOCHAT_BASE_DIR"] = str(self.cache)
        try:
            prepared = launch.prepare(parsed.settings, frozenset(typed))
            return launch.create(
                prepared, self.root, command=["sftui"], cwd=self.path, now=datetime.now()
            )
        finally:
            os.environ.pop("NANOCHAT_BASE_DIR")
            if before is not None:
                os.environ["NANOCHAT_BASE_DIR"] = before

    def environment(self, faults: Sequence[dict[str, object]] = (), **extra: str) -> dict[str, str]:
        env = {"NANOCHAT_BASE_DIR": str(self.cache), "SFTUI_RUNS": str(self.root)}
        if faults:
            env |= {"SFTUI_WORKER": WORKER, "SFTUI_FAULTS": json.dumps(faults)}
        return environment(**env | extra)

    def supervise(
        self, run: RunDir, faults: Sequence[dict[str, object]] = (), **extra: str
    ) -> subprocess.Popen[bytes]:
        """The supervisor of a run that `make` made, as our child."""
        with run.supervisor_log.open("ab") as log:
            return self.children.start(
                *("-P", "-m", "engine.supervisor", str(run.path)),
                env=self.environment(faults, **extra),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ended(self, process: subprocess.Popen[bytes], seconds: float = 120.0) -> int:
        """Exit code of a supervisor; nothing it started may live on."""
        wait_for_end(self.children, process, seconds)
        wait_for(lambda: self.children.left() == [], 20)
        return int(process.returncode)


def work(run: RunDir) -> int | None:
    """Rank 0 in this process, from its first import to its last words; its exit code."""
    from engine import worker

    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "_exit", _leave)
        patch.setattr(orphan, "end_with_parent", lambda: True)
        for name in ("SFTUI_SUPERVISOR_PID", "SFTUI_FIRST_SEQ", "SFTUI_CONTROL_BYTES"):
            patch.delenv(name, raising=False)
        try:
            return worker.main([str(run.path)])
        except _Left as left:
            return left.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


class _Left(BaseException):
    def __init__(self, code: int) -> None:
        self.code = code


def _leave(code: int) -> None:
    raise _Left(code)


def told(run: RunDir, *kinds: type[Event]) -> list:
    """Events of these kinds by rank 0 and the supervisor, in the order of their times."""
    found = [*events(run.events), *events(run.supervisor_events)]
    found.sort(key=lambda event: event.stamp.t or 0.0)
    return [event for event in found if isinstance(event, kinds)]


def end_of(run: RunDir) -> RunFinished | None:
    found = told(run, RunFinished)
    return found[-1] if found else None


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "2m") -> Iterator[Path]:
    """A private file system of that size at `folder`; skips where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _mount("-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)):
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def read_only(folder: Path) -> None:
    """Make a mounted `small_disk` read-only."""
    assert _mount("-o", "remount,ro", str(folder))


def _mount(*arguments: str) -> bool:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0
    except OSError:
        return False


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill the disk under `folder` to the last byte but `leave`; the file to delete for room."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass
        if leave:
            os.ftruncate(file.fileno(), max(0, file.tell() - leave))
    return ballast
