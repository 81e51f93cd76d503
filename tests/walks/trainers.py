"""Scripts of other trainers, kept and driven in tmux: `python -m tests.walks.trainers`.

TRL's SFTTrainer on two torchrun ranks (every key, its terminal killed, attached again, rank 1
killed, finished), a DPO script, an Accelerate loop on two ranks, a Lightning module and a script
that attaches nothing: none has a line of sftui in it but the Accelerate loop, which needs them.
After each step the screen must say what happened; pictures are kept for looking at.

    python -m tests.walks.trainers               all of it, ten minutes (make walk-trainers)
    python -m tests.walks.trainers --only dpo --size 80x24 --pictures DIR
    python -m tests.walks.trainers --lightning build/trainers/lightning-newest/bin/python
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from engine.control import Command
from engine.events import AttemptStarted, ControlApplied, RankLost, RunFinished, StepFinished
from engine.journal.event_files import scan
from engine.run import run_dir
from engine.run.run_dir import RunDir
from tests.torture_attach import processes
from tests.walks import scripts
from tests.walks.terminal import Terminal, WalkError

PATIENCE = 180.0
"""Seconds for what starts Pythons with torch in them, on a machine that has other work."""


def newest(t: Terminal) -> RunDir:
    """The run that was started last."""
    return run_dir.list_runs(t.place / "runs")[0]


def answered(t: Terminal, command: Command) -> list[ControlApplied]:
    """The answers to a kind of request, in order."""
    found = scan(newest(t).events, ControlApplied)
    return [e for e in found if isinstance(e, ControlApplied) and e.command == command.value]


def until(what: str, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until the run's own log says so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise WalkError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.2)


def sft(t: Terminal) -> None:
    """Two ranks of an unchanged script: every key, no terminal, a killed rank, the end."""
    t.shell(f"sftui run --run sft -- {scripts.sft('sft-out', steps=150)}")
    t.see("sft", seconds=PATIENCE)
    t.picture("sft starts")
    t.see("RUNNING", "step [3-9]", seconds=PATIENCE)
    t.whole()
    t.picture("sft live")
    t.press("r")
    t.see("lr ")
    t.call("send-keys", "-l", "0.5")
    t.see("×0.5|× ?0.5")
    t.picture("sft rate")
    t.press("Enter")
    t.see("lr ×0.5")
    t.press("Space")
    t.see("PAUSED")
    t.whole()
    t.picture("sft paused")
    t.press("e")
    until("evaluated while paused", lambda: answered(t, Command.EVALUATE))
    t.press("k")
    until("saved while paused", lambda: answered(t, Command.CHECKPOINT))
    t.picture("sft evaluated and saved in the pause")
    t.press("u")
    t.see("pause in")
    t.write("3")
    t.see("RUNNING")
    t.see("PAUSED")
    t.picture("sft three steps on")
    t.press("Space")
    t.see("RUNNING")
    t.press("e")
    until("evaluated while training", lambda: len(answered(t, Command.EVALUATE)) > 1)
    t.press("k")
    until("saved while training", lambda: len(answered(t, Command.CHECKPOINT)) > 1)
    t.verb("lr 1")
    until("rate back", lambda: len(answered(t, Command.LR_FACTOR)) > 1)
    t.press("i")
    t.see("per_device_train_batch_size", "gradient_accumulation_steps")
    t.picture("sft settings")
    t.press("Escape", "m")
    t.see("entropy")
    t.picture("sft charts")
    t.press("Escape", "c")
    t.see("step ")
    t.whole()
    t.picture("sft checkpoints")
    t.press("Escape")
    hang_up(t)
    t.shell("sftui attach sft")
    t.see("RUNNING", r"step \S*\d\d/150", "lr ×1", seconds=PATIENCE)
    t.picture("sft attached again")
    kill_rank_1(t)
    t.see("attempt 2", seconds=PATIENCE)
    t.picture("sft started again")
    t.see("FINISHED", seconds=2 * PATIENCE)
    t.whole()
    t.picture("sft finished")
    t.press("q")
    t.wait_for_prompt()
    t.picture("sft afterwards")
    [end] = [e for e in scan(newest(t).events, RunFinished) if isinstance(e, RunFinished)]
    assert (end.status, end.updates) == ("finished", 150), end
    until("no process is left", lambda: not processes(newest(t)), 60)


def hang_up(t: Terminal) -> None:
    """The terminal goes, as with a dropped connection; the ranks train on."""
    run, ranks = newest(t), processes(newest(t))
    before = last_step(run)
    t.hang_up()
    until("updates without a terminal", lambda: last_step(run) >= before + 3)
    assert processes(run)["rank 1"] == ranks["rank 1"]


def kill_rank_1(t: Terminal) -> None:
    """Rank 1 is killed with -9; the keeper starts the command again."""
    run = newest(t)
    os.kill(processes(run)["rank 1"], signal.SIGKILL)
    until("the loss is told", lambda: list(scan(run.supervisor_events, RankLost)))
    t.picture("sft rank 1 is killed")
    attempts = (AttemptStarted,)
    until("a second attempt", lambda: len(list(scan(run.events, *attempts))) > 1)


def last_step(run: RunDir) -> int:
    """Of the newest update."""
    return max((e.step or 0 for e in scan(run.events, StepFinished)), default=0)


def stop(t: Terminal) -> None:
    """A TRL script on one rank, stopped by its key: a checkpoint, and `--resume` afterwards."""
    t.shell(f"sftui run --run stopped -- {scripts.sft('stop-out', steps=200)}")
    t.see("RUNNING", "step [3-9]", seconds=PATIENCE)
    t.press("x")
    t.see("Stop this run")
    t.picture("stop asks")
    t.press("y")
    t.see("STOPPED", seconds=PATIENCE)
    t.whole()
    t.picture("stopped")
    t.press("q")
    said = t.wait_for_prompt()
    t.picture("stopped afterwards")
    assert "resume" in said, said
    [name] = re.findall(r"--resume (\S+)", said)[-1:]
    t.shell(f"sftui run --resume {name}")
    t.see("RUNNING", seconds=PATIENCE)
    at = max(int(p.name.rpartition("-")[2]) for p in (t.place / "stop-out").glob("checkpoint-*"))
    until("further updates", lambda: last_step(newest(t)) > at + 2)
    t.picture("resumed")
    t.press("x", "y")
    t.see("STOPPED", seconds=PATIENCE)
    t.press("q")
    t.wait_for_prompt()


def dpo(t: Terminal) -> None:
    """A preference trainer: its rewards are charts."""
    t.shell("sftui run --run dpo -- python dpo.py")
    t.see("RUNNING", "step [3-9]", seconds=PATIENCE)
    until("some updates", lambda: last_step(newest(t)) > 40)
    t.whole()
    t.picture("dpo live")
    t.press("m")
    t.see("rewards/margins", "rewards/chosen")
    t.whole()
    t.picture("dpo charts")
    t.press("/")
    t.write("margins")
    t.press("Enter")
    t.see("rewards/margins")
    t.picture("dpo margins")
    t.press("Escape", "Escape", "Escape")
    t.see("FINISHED", seconds=PATIENCE)
    t.picture("dpo finished")
    t.press("q")
    t.wait_for_prompt()
    t.shell("sftui show --series rewards/margins --csv dpo | tail -3")
    assert "," in t.wait_for_prompt()


def accelerate(t: Terminal) -> None:
    """A loop with Accelerate on two ranks."""
    # On CPU `accelerate launch` starts one rank, whatever it is asked for: it wants MPI there.
    launch = "torchrun --standalone --nproc-per-node 2"
    t.shell(f"sftui run --run loop -- {launch} accelerate_loop.py")
    t.see("RUNNING", "step [3-9]", seconds=PATIENCE)
    steered(t, "loop")
    t.press("x")
    t.see("Stop this run")
    t.press("y")
    t.see("STOPPED", seconds=PATIENCE)
    t.picture("loop stopped")
    t.press("q")
    t.wait_for_prompt()


def lightning(t: Terminal) -> None:
    """A Lightning module without a line of ours."""
    t.shell(f"sftui run --run module -- {t.place / 'python'} module.py")
    t.see("RUNNING", "step [3-9]", seconds=PATIENCE)
    steered(t, "module")
    t.press("c")
    t.see("ckpt")
    t.picture("module checkpoints")
    t.press("Escape", "x")
    t.see("Stop this run")
    t.press("y")
    t.see("STOPPED", seconds=PATIENCE)
    t.picture("module stopped")
    t.press("q")
    t.wait_for_prompt()


def steered(t: Terminal, name: str) -> None:
    """Pause, evaluate and save in the pause, a factor, and on."""
    t.press("Space")
    t.see("PAUSED")
    t.press("e")
    until("evaluated while paused", lambda: answered(t, Command.EVALUATE))
    t.press("k")
    until("saved while paused", lambda: answered(t, Command.CHECKPOINT))
    assert {e.outcome for e in answered(t, Command.EVALUATE)} == {"applied"}
    t.whole()
    t.picture(f"{name} paused")
    t.verb("lr 0.5")
    t.see("lr ×0.5")
    t.press("u")
    t.see("pause in")
    t.write("4")
    until("four more", lambda: len(answered(t, Command.RESUME)) > 0)
    t.see("PAUSED")
    t.press("Space")
    t.see("RUNNING")
    t.picture(f"{name} live")


def silent(t: Terminal) -> None:
    """A script that attaches nothing: followed by what it prints, stopped by a signal."""
    t.shell("sftui run --run silent -- python silent.py")
    t.see("RUNNING", "step [2-9][0-9]", seconds=PATIENCE)
    t.see("attach")
    t.whole()
    t.picture("silent live")
    t.press("Space")
    t.see("not attached|attaches nothing")
    t.picture("silent refuses a pause")
    t.press("?")
    t.see("letters filter")
    t.picture("silent help")
    t.press("Escape", "x")
    t.see("Stop this run")
    t.picture("silent stop asks")
    t.press("y")
    t.see("STOPPED", seconds=PATIENCE)
    t.whole()
    t.picture("silent stopped")
    t.press("q")
    t.wait_for_prompt()


WALKS = {each.__name__: each for each in (sft, stop, dpo, accelerate, lightning, silent)}


def walk(name: str, size: str, args: argparse.Namespace) -> str:
    """One walk in a folder of its own. Empty, or what went wrong."""
    columns, rows = (int(n) for n in size.split("x"))
    with tempfile.TemporaryDirectory(prefix="sftui-walk-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        scripts.write(place)
        if args.lightning:
            (place / "python").write_text(f'#!/bin/sh\nexec {args.lightning.absolute()} "$@"\n')
            (place / "python").chmod(0o755)
        with Terminal(place, name, (columns, rows), args.pictures, args.chromium) as terminal:
            try:
                WALKS[name](terminal)
            except (AssertionError, ValueError, KeyError) as error:
                terminal.picture("FAILED")
                return f"{name}: {error}" if isinstance(error, WalkError) else f"{name}: {error!r}"
            finally:
                if args.steps:
                    print(*terminal.said, sep="\n")
    return ""


def main() -> int:
    """Walk all that was asked for; 1 when something on a screen was not so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=WALKS, action="append", help="walks (default: all)")
    parser.add_argument("--size", default="160x48")
    parser.add_argument("--pictures", type=Path, default=Path("walks"), help="where screens go")
    parser.add_argument("--lightning", type=Path, help="a Python that has Lightning")
    parser.add_argument("--steps", action="store_true", help="print every step")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "")
    args = parser.parse_args()
    args.pictures.mkdir(parents=True, exist_ok=True)
    failures = []
    for name in args.only or WALKS:
        if name == "lightning" and not args.lightning:
            failures.append("lightning: not walked, say --lightning PYTHON")
            continue
        start = time.monotonic()
        failed = walk(name, args.size, args)
        failures += [failed] if failed else []
        print(f"{name:11} {time.monotonic() - start:4.0f} s  ", end="")
        print("FAILED" if failed else "as it should be", flush=True)
    for failed in failures:
        print(failed, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
