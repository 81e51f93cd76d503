"""`sftui run --gpus 2` over a base of nanochat's newest generation, from the keyboard.

    python -m tests.walks.nanochat_2026 --base DIR --data-dir DIR --out DIR

Starts, watches, pauses, evaluates all five tasks by key, stops, takes the run up again, exports,
asks the export its validation in a run of its own, and talks to it; a picture at every station.
`--base` is a NANOCHAT_BASE_DIR and is copied, `--data-dir` has TASK.SPLIT.jsonl files. Some ten
minutes on two quiet cores for a model of two million parameters.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from engine import events as ev
from engine.run import run_dir
from engine.run.run_dir import RunDir
from tests.processes import events
from tests.walks.terminal import Size, Terminal, WalkError, opened

SIZE: Size = (160, 48)

SIZES_OF_A_BASE = ("--max-seq-len", "--device-batch-size", "--total-batch-size")


class Walk:
    """One walk: its terminal, its run, and where pictures go."""

    def __init__(self, terminal: Terminal, work: Path, out: Path, chromium: str) -> None:
        self.terminal, self.work, self.out, self.chromium = terminal, work, out, chromium
        self.stations = 0

    def station(self, name: str) -> None:
        """A picture of the screen as it is."""
        self.stations += 1
        path = self.out / f"{self.stations:02d}-{name}.svg"
        self.terminal.picture(path, self.chromium)
        print(f"{name}: {path.with_suffix('.png' if self.chromium else '.svg')}", flush=True)

    def run(self) -> RunDir:
        """The newest run."""
        return run_dir.list_runs(self.work / "runs")[-1]

    def validation(self) -> ev.ValidationFinished:
        """The last one of the newest run."""
        found = [
            each for each in events(self.run().events) if isinstance(each, ev.ValidationFinished)
        ]
        return found[-1]


def train(walk: Walk, data: Path) -> None:
    """Start to export; the run is paused, evaluated, stopped and taken up on the way."""
    terminal = walk.terminal
    terminal.command("sftui", "run", "--gpus", "2", "--data-dir", str(data))
    terminal.wait("start-up")
    terminal.wait("evaluating", seconds=300)
    walk.station("start-up")
    terminal.wait("RUNNING", seconds=900)
    terminal.wait("step 5/", "step 6/", "step 7/", "step 8/", seconds=300)
    walk.station("live")
    terminal.press("Space")
    terminal.wait("PAUSED")
    terminal.press("i")
    terminal.wait("The optimizer")
    walk.station("settings")
    terminal.press("Escape", "e")
    terminal.wait("evaluating")
    walk.station("evaluating")
    terminal.wait("eval on request by", seconds=900)
    walk.station("evaluated")
    terminal.press("Space")
    terminal.wait("RUNNING")
    terminal.press("x")
    terminal.wait("Stop this run?")
    walk.station("asked")
    terminal.press("y")
    terminal.wait("STOPPED")
    walk.station("stopped")
    terminal.press("q")
    terminal.wait("go on:")
    terminal.command("clear;", "sftui", "run", "--resume", walk.run().id)
    terminal.wait("RUNNING", seconds=300)
    terminal.wait("FINISHED", seconds=3600)
    walk.station("finished")
    terminal.press("v")
    terminal.wait("ChatCORE")
    walk.station("benchmarks")
    terminal.press("q")
    terminal.wait("exported to")


def export_and_check(walk: Walk, data: Path) -> None:
    """The export's own validation is the run's last one, by a run that starts from it.

    Raises:
        WalkError: it is another number.
    """
    terminal, last = walk.terminal, walk.validation()
    manifest = walk.run().read_manifest()["config"]
    terminal.command("clear;", "sftui", "export", walk.run().id, "--output", "elsewhere")
    terminal.wait("elsewhere", seconds=60)
    flags = [f"{flag}={manifest[flag[2:].replace('-', '_')]}" for flag in SIZES_OF_A_BASE]
    words = ("--recipe", "nanochat", "--source", "sft", "--gpus", "2", "--num-iterations", "2")
    terminal.command(
        *("clear;", "sftui", "run", "--headless", *words, *flags),
        *("--data-dir", str(data), "--eval-tasks", "''", "--run", "fresh"),
    )
    terminal.wait("finished; all iterations done", seconds=900)
    [first, *_] = [
        each for each in events(walk.run().events) if isinstance(each, ev.ValidationFinished)
    ]
    print(f"validation: {last.loss!r} at the end, {first.loss!r} from the export", flush=True)
    if first.loss != last.loss:
        raise WalkError(f"the export's validation is {first.loss!r}, its run's {last.loss!r}")


def talk(walk: Walk) -> None:
    """A question and an answer."""
    terminal = walk.terminal
    terminal.command("clear;", "sftui", "chat", walk.run().id)
    terminal.wait("> ", seconds=120)
    terminal.type("What is 7 + 5?")
    terminal.press("Enter")
    terminal.wait("tokens", seconds=120)
    walk.station("chat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("walk"))
    parser.add_argument("--chromium", default=shutil.which("chromium") or "")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    out, data = args.out.absolute(), args.data_dir.absolute()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copytree(args.base, work / "base")
        own = {
            "NANOCHAT_BASE_DIR": str(work / "base"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }
        stations: tuple[Callable[[Walk, Path], None], ...] = (train, export_and_check)
        with opened(SIZE, folder=work, environment=own) as terminal:
            walk = Walk(terminal, work, out, args.chromium)
            for each in stations:
                each(walk, data)
            talk(walk)


if __name__ == "__main__":
    main()
