"""Start, wait for and clean up processes in tests. Only recorded ids are ever killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from engine.errors import WireError
from engine.events import Event
from engine.journal import wire
from engine.run import run_dir
from engine.run.run_dir import RunDir

ROOT = Path(__file__).resolve().parents[1]


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> None:
    """Return once `what` is true; fail the test when it does not become so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.005)


def make_run(tmp_path: Path, **manifest: object) -> RunDir:
    """A run directory with a manifest."""
    run = run_dir.create(tmp_path, "test", datetime(2025, 11, 1))
    run.manifest.write_text(json.dumps({"id": run.id, "world_size": 1} | manifest))
    return run


def events(path: Path) -> list[Event]:
    """All whole events of a journal."""
    found = []
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        with contextlib.suppress(WireError):
            found.append(wire.decode(line))
    return found


def environment(**extra: str) -> dict[str, str]:
    """Of a child: it finds the tests' modules, and no launcher's variables of ours.

    Nor a size of the terminal: readline, which pytest imports, exports 80 x 24 to its workers.
    """
    others = ("SFTUI_", "TORCHELASTIC", "COLUMNS", "LINES")
    ours = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    return ours | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | extra


class Children:
    """Processes of one test; all that is left of them is killed at its end."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self.known: dict[int, float] = {}

    def start(
        self, *arguments: str, env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, *arguments],
            env=env or environment(),
            start_new_session=True,
            cwd="/",
            **options,
        )
        self.started.append(process)
        return process

    def note_descendants(self) -> None:
        """Remember the children's children, so that they can be found after a death."""
        for process in self.started:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        self.known[child.pid] = child.create_time()

    def left(self) -> list[int]:
        """Known descendants that still live."""
        found = []
        for pid, born in self.known.items():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(pid)
        return found

    def end(self) -> None:
        self.note_descendants()
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def wait_for_end(children: Children, process: subprocess.Popen[bytes], seconds: float) -> None:
    """Return once `process` has ended; what it started meanwhile is remembered."""

    def ended() -> bool:
        children.note_descendants()
        return process.poll() is not None

    wait_for(ended, seconds)


@contextlib.contextmanager
def children() -> Iterator[Children]:
    """Children that do not outlive the `with` block."""
    found = Children()
    try:
        yield found
    finally:
        found.end()
