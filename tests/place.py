"""A folder in which the real program is run as a person would, and looks into what it left.

Each run starts real ranks under the real supervisor on a model of a few thousand
weights; a few seconds of training, some of starting.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

from engine.checkpoints import checkpoint_dir
from engine.control import Command, Request
from engine.events import RunFinished
from engine.journal import wire
from engine.run import run_dir
from engine.run.run_dir import RunDir
from engine.steering import inbox
from tests import tiny
from tests.processes import Children, environment, events, wait_for, wait_for_end


class Place:
    """A folder with a cache and data, in which `sftui` is run as a person would."""

    settings: tuple[str, ...] = tiny.SETTINGS
    """Flags of every run here."""

    write_cache: Callable[[Path], Path] = staticmethod(tiny.write_cache)

    def __init__(self, path: Path, started: Children) -> None:
        self.path = path
        self.started = started
        self.cache = self.write_cache(path / "cache")
        self.data = tiny.write_data(path / "data")
        self.work = path / "work"
        self.work.mkdir()
        self.env = environment(
            NANOCHAT_BASE_DIR=str(self.cache), SFTUI_RUNS=str(self.work / "runs")
        )

    def start(self, *flags: str) -> tuple[RunDir, subprocess.Popen[bytes]]:
        """`sftui run --headless`; returns its run directory once it exists."""
        before = {run.id for run in self.runs()}
        words = ["run", *self.settings, f"--data-dir={self.data}", "--headless", *flags]
        process = self.started.start("-m", "sftui", *words, env=self.env, stdout=-1, stderr=-2)
        wait_for(lambda: {run.id for run in self.runs()} - before or process.poll() is not None)
        [run] = [run for run in self.runs() if run.id not in before]
        return run, process

    def resume(self, run: RunDir, *flags: str) -> subprocess.Popen[bytes]:
        """`sftui run --resume RUN --headless`."""
        words = ["run", f"--resume={run.id}", "--headless", *flags]
        return self.started.start("-m", "sftui", *words, env=self.env, stdout=-1, stderr=-2)

    def runs(self) -> list[RunDir]:
        return run_dir.list_runs(self.work / "runs")

    def ctl(self, run: RunDir, *words: str) -> str:
        """`sftui ctl`, its answer."""
        process = self.started.start(
            "-m", "sftui", "ctl", run.id, *words, env=self.env, stdout=-1, stderr=-2
        )
        out, _ = process.communicate(timeout=60)
        return out.decode().strip()

    def sftui(self, *words: str) -> tuple[int, str]:
        """Any other command: its exit code and what it printed to stdout."""
        process = self.started.start("-m", "sftui", *words, env=self.env, stdout=-1)
        out, _ = process.communicate(timeout=120)
        return process.returncode, out.decode()


class Place2026(Place):
    """With a base of nanochat's newest generation and its recipe."""

    settings = tiny.SETTINGS_2026
    write_cache = staticmethod(tiny.write_cache_2026)


def ended(run: RunDir) -> RunFinished | None:
    found = [e for e in events(run.events) if isinstance(e, RunFinished)]
    return found[-1] if found else None


def of(run: RunDir, kind: type) -> list:
    return [event for event in events(run.events) if isinstance(event, kind)]


def finish(place: Place, run: RunDir, process: subprocess.Popen[bytes]) -> str:
    """Wait for the end; what the command printed. Nothing may be left running."""
    wait_for_end(place.started, process, 90)
    assert process.stdout is not None
    out = process.stdout.read().decode()
    wait_for(lambda: place.started.left() == [], 20)
    return out


def post(run: RunDir, command: Command) -> None:
    """Ask before anybody listens: the ranks find it when they come up."""
    inbox.post(run, Request(id=wire.new_id(), command=command, author="test"))


def final_weights(run: RunDir) -> str:
    newest = checkpoint_dir.list_checkpoints(run)[-1]
    return hashlib.sha256((newest.path / checkpoint_dir.MODEL).read_bytes()).hexdigest()
