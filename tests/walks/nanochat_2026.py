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
import tempfile
from pathlib import Path

from engine import events as ev
from engine.run import run_dir
from engine.run.run_dir import RunDir
from tests.processes import events
from tests.walks.terminal import Terminal, WalkError

SIZE = (160, 48)

SIZES_OF_A_BASE = ("max_seq_len", "device_batch_size", "total_batch_size")
"""What an SFT checkpoint of nanochat does not tell."""


def newest(place: Path) -> RunDir:
    return run_dir.list_runs(place / "runs")[0]


def validations(run: RunDir) -> list[ev.ValidationFinished]:
    return [each for each in events(run.events) if isinstance(each, ev.ValidationFinished)]


def train(at: Terminal, data: Path) -> None:
    """Start to export; the run is paused, evaluated, stopped and taken up on the way."""
    at.shell(f"sftui run --gpus 2 --data-dir {data}")
    at.see("evaluating", seconds=300)
    at.picture("start-up")
    at.see("RUNNING", seconds=900)
    at.see(r"step [5-9]/", seconds=300)
    at.whole()
    at.picture("live")
    at.press("Space")
    at.see("PAUSED")
    at.press("i")
    at.see("The optimizer")
    at.picture("settings")
    at.press("Escape")
    at.gone("The optimizer")
    at.press("e")
    at.see("evaluating", seconds=300)
    at.picture("evaluating")
    at.see("eval on request by", seconds=900)
    at.whole()
    at.picture("evaluated")
    at.press("Space")
    at.see("RUNNING")
    at.press("x")
    at.see(r"Stop this run\?")
    at.picture("asked")
    at.press("y")
    at.see("STOPPED")
    at.whole()
    at.picture("stopped")
    at.press("q")
    at.wait_for_prompt()
    at.shell(f"sftui run --resume {newest(at.place).id}")
    at.see("RUNNING", seconds=300)
    at.see("FINISHED", seconds=3600)
    at.whole()
    at.picture("finished")
    # A terminal without preferences has the benchmarks in the table.
    at.see("ChatCORE")
    at.picture("benchmarks")
    at.press("q")
    at.wait_for_prompt()


def export_and_check(at: Terminal, data: Path) -> None:
    """The export's own validation is the run's last one, by a run that starts from it.

    Raises:
        WalkError: it is another number.
    """
    run = newest(at.place)
    last = validations(run)[-1].loss
    settings = run.read_manifest()["config"]
    at.shell(f"sftui export {run.id} -o elsewhere")
    at.see(rf"{run.id} step \d+ exported to", seconds=120)
    flags = [f"--{name.replace('_', '-')}={settings[name]}" for name in SIZES_OF_A_BASE]
    words = "--recipe nanochat --source sft --gpus 2 --num-iterations 2 --run fresh --eval-tasks ''"
    own = f"NANOCHAT_BASE_DIR={at.place / 'elsewhere'}"
    at.shell(f"{own} sftui run --headless {words} {' '.join(flags)} --data-dir {data}")
    at.see("finished; all iterations done", seconds=900)
    again = validations(newest(at.place))[0].loss
    print(f"validation: {last!r} at the end, {again!r} from the export", flush=True)
    if again != last:
        raise WalkError(f"the export's validation is {again!r}, its run's {last!r}")


def talk(at: Terminal) -> None:
    """A question to the export, and an answer."""
    at.shell("sftui chat elsewhere --max-tokens 24")
    at.see("(?m)^> ?$", seconds=120)
    at.write("What is 7 + 5?")
    at.see(r"(?s)7 \+ 5\?.*\n>", seconds=120)
    at.picture("chat")
    at.write("/quit")
    at.wait_for_prompt()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("walk"))
    parser.add_argument("--chromium", default=shutil.which("chromium") or "")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data = args.data_dir.absolute()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copytree(args.base, place / "base")
        # The shell and all it starts inherit it.
        os.environ["NANOCHAT_BASE_DIR"] = str(place / "base")
        with Terminal(place, "nanochat-2026", SIZE, args.out.absolute(), args.chromium) as at:
            train(at, data)
            export_and_check(at, data)
            talk(at)
        print("\n".join(at.said))


if __name__ == "__main__":
    main()
