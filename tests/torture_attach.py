"""Random kills over a kept TRL script of two ranks: `python -m tests.torture_attach [--kills 50]`.

Each round starts `sftui run -- torchrun ...` with a screen that follows, ends one of keeper,
launcher, rank 0, rank 1 and screen at a random moment (with -9, or another signal that it may get:
`KINDS`) until the run has its end, and takes a run up again whose keeper is gone or that such a
signal stopped. Then: the losses are those of an unbroken run, every line of the event log that
was on disk at a kill is still there, every answer stands in it once, and no process is left. The
seed of a failure is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import psutil

from engine.control import Command, Request
from engine.events import ControlApplied, StepFinished
from engine.journal.event_files import finished, scan
from engine.run import foreign, lock
from engine.run.run_dir import RunDir
from engine.steering import inbox

STEPS = 40
SCRIPT = Path(__file__).parent / "engine" / "attach" / "small_trainer.py"
QUIET = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "MKL_CBWR": "COMPATIBLE",
}
KINDS = {
    "keeper": ("KILL", "KILL", "TERM"),
    "launcher": ("KILL", "KILL", "TERM"),
    "rank 0": ("KILL", "KILL", "SEGV", "TERM"),
    "rank 1": ("KILL", "KILL", "ABRT", "TERM"),
    "screen": ("KILL", "HUP", "TERM"),
}
"""Signals by what gets them, the more often the likelier. TERM stops a run with a checkpoint."""


def torchrun(output: Path) -> list[str]:
    """The script on two ranks."""
    options = json.dumps({"steps": STEPS, "save_steps": 5, "eval_steps": 10, "slow": 0.2})
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node", "2", str(SCRIPT), str(output), options]


def losses(output: Path) -> list[float]:
    """Loss of every step, as the trainer keeps it beside its last checkpoint."""
    state = json.loads((output / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def processes(run: RunDir) -> dict[str, int]:
    """Pids of the run's processes, by what they are."""
    found: dict[str, int] = {}
    held = lock.holder(run)
    if held is not None:
        found["keeper"] = held.pid
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get(foreign.RUN_DIR_VARIABLE) != str(run.path):
                continue
            rank = environment.get("RANK")
            found[f"rank {rank}" if rank is not None else "launcher"] = process.pid
        except (psutil.Error, OSError):
            continue
    return found


class Round:
    """One run, killed until it is whole."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.children: list[subprocess.Popen[bytes]] = []
        self.seen = b""
        """Whole lines of the event log, as they were at the newest look."""
        self.run = foreign.create(
            folder / "runs",
            f"torture-{seed}",
            command=torchrun(folder / f"out-{seed}"),
            cwd=folder,
            now=datetime.now(),
            max_restarts=100,
            kept=True,
        )

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        """One of our own commands."""
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ) | QUIET,
            start_new_session=True,
        )
        self.children.append(child)
        return child

    def play(self, most_kills: int) -> int:
        """Kill until the end; the number of kills."""
        self.spawn("sftui.commands.keep", str(self.run.path))
        screen = self.spawn("sftui", "attach", "--headless", str(self.run.path))
        kills = 0
        give_up = time.monotonic() + 900
        while not self.is_whole():
            assert time.monotonic() < give_up, "the run has no end"
            self.wait(kills < most_kills)
            self.ask()
            there = processes(self.run) | {"screen": screen.pid}
            target = self.random.choice(list(KINDS))
            if kills < most_kills and target in there:
                kind = self.random.choice(KINDS[target])
                try:
                    os.kill(there[target], signal.Signals[f"SIG{kind}"])
                except ProcessLookupError:
                    continue
                kills += 1
                print(f"  {kind:4} to {target}, {self.updates()} updates done", flush=True)
            if screen.poll() is not None:
                screen = self.spawn("sftui", "attach", "--headless", str(self.run.path))
            idle = not lock.is_running(self.run) and not processes(self.run)
            if idle and not self.is_whole():
                self.spawn("sftui", "run", "--headless", "--resume", str(self.run.path))
                time.sleep(5)
        return kills

    def wait(self, kills: bool) -> None:
        """Until the moment of the next kill: mostly some updates on, else while Pythons start."""
        if not kills:
            time.sleep(1)
            return
        if self.random.random() < 0.25:
            time.sleep(self.random.uniform(1, 10))
            return
        before, end = self.updates(), time.monotonic() + 90
        while time.monotonic() < end and not self.is_whole() and self.updates() == before:
            if not lock.is_running(self.run) and not processes(self.run):
                return  # it is over, or has to be taken up again
            time.sleep(0.2)
        time.sleep(self.random.uniform(0, 3))

    def is_whole(self) -> bool:
        """Whether the training came to its end; a stopped one is taken up again."""
        end = finished(self.run)
        # Killed twice while it started: the keeper gives up by design, a person goes on.
        failed = end is not None and end.status == "failed"
        assert not failed or "twice before it trained" in end.reason, end
        return end is not None and end.status == "finished"

    def updates(self) -> int:
        """Updates told of."""
        steps = scan(self.run.events, StepFinished)
        return max((event.step or 0 for event in steps), default=-1) + 1

    def ask(self) -> None:
        """Ask for something harmless now and then, and note what is on disk."""
        request = f"ask-{time.time_ns()}"
        command = self.random.choice((Command.EVALUATE, Command.RESUME))
        inbox.post(self.run, Request(id=request, command=command, author="t", t=time.time()))
        now = self.run.events.read_bytes() if self.run.events.exists() else b""
        assert now.startswith(self.seen), "the event log lost what it had"
        self.seen = now[: now.rfind(b"\n") + 1]

    def judge(self, wanted: list[float]) -> None:
        """Assert what must be true of a run that is over."""
        end = time.monotonic() + 60
        while processes(self.run) and time.monotonic() < end:
            time.sleep(0.5)
        for child in self.children:
            # Keepers and screens go by themselves when the run is over.
            child.wait(max(1.0, end - time.monotonic()))
        assert not processes(self.run), processes(self.run)
        found = finished(self.run)
        assert found is not None
        assert found.status == "finished", found
        assert found.updates == STEPS, found
        assert losses(self.folder / f"out-{self.run.id.rpartition('-')[2]}") == wanted
        assert self.run.events.read_bytes().startswith(self.seen)
        beside = [path.name for path in self.run.path.parent.iterdir() if path.name[0] != "."]
        assert all("-torture-" in name for name in beside), f"a run that nobody asked for: {beside}"
        told_steps = {e.step for e in scan(self.run.events, StepFinished)}
        assert told_steps == set(range(STEPS)), sorted(set(range(STEPS)) - told_steps)
        told = [
            e.id for e in scan(self.run.events, ControlApplied) if isinstance(e, ControlApplied)
        ]
        assert len(told) == len(set(told))


def main() -> int:
    """Play rounds until there were so many kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            torchrun(folder / "plain"), env=dict(os.environ) | QUIET, check=True, cwd=folder
        )
        unbroken = losses(folder / "plain")
        kills, seed = 0, wanted.seed
        while kills < wanted.kills:
            print(f"round with seed {seed}", flush=True)
            one = Round(folder, seed)
            kills += one.play(min(5, wanted.kills - kills))
            one.judge(unbroken)
            print(f"  whole after {kills} kills in all", flush=True)
            seed += 1
    print(f"{kills} kills in {seed - wanted.seed} rounds: whole, every one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
