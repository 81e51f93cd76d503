"""Many of everything: a thousand runs, a hundred thousand checkpoints, twenty who watch, 64 ranks.

    python tests/benchmarks/load.py

Seconds are CPU seconds of the process that does it, so that other programs matter little. Each
line names its target.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil

from tests.benchmarks import key_times

RUNS = 1000
CHECKPOINTS = 100_000
VIEWERS = 20
RANKS = 64


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SFTUI_CONFIG"] = str(Path(folder) / "config.json")
        list_runs(Path(folder) / "runs")
        show_checkpoints(Path(folder) / "20260101-000000-checkpoints")
        press_keys(Path(folder) / "20260101-000000-checkpoints", f"{CHECKPOINTS:,} checkpoints")
        show_ranks(Path(folder) / "20260101-000000-ranks")
        press_keys(Path(folder) / "20260101-000000-ranks", f"{RANKS} ranks")
    watch_a_run()


@contextlib.contextmanager
def timed(what: str, target: str = "") -> Iterator[None]:
    before = time.process_time()
    yield
    print(f"{what}: {time.process_time() - before:.2f} s {target}".rstrip())


def list_runs(root: Path) -> None:
    """`sftui runs` over runs of 2,000 updates (1 MB each), skimmed, remembered, and read whole."""
    from sftui.commands import runs
    from sftui.sources import skim
    from sftui.sources.run_briefs import memory_path

    write_run(root / "20260101-000000-run", updates=2000, save_every=200, ranks=2)
    first = (root / "20260101-000000-run" / "events.jsonl").read_bytes()
    for number in range(1, RUNS):
        run = root / f"20260101-{number:06d}-run"
        run.mkdir()
        (run / "run.json").write_text(json.dumps({"id": run.name, "world_size": 2}))
        (run / "events.jsonl").write_bytes(first.replace(b"20260101-000000-run", run.name.encode()))
    for when in ("the first time", "again"):
        with timed(f"{RUNS:,} runs of {len(first) / 1e6:.1f} MB listed {when}", "(target 1 s)"):
            rows = runs.table(root, time.time(), memory_path())
        assert len(rows) == RUNS + 1
    few = root.with_name("few")
    few.mkdir()
    for run in sorted(root.iterdir())[: RUNS // 50]:
        (few / run.name).symlink_to(run)
    whole = mock.patch.object(skim, "read", return_value=None)
    with whole, timed(f"{RUNS // 50} of them read whole, as before"):
        runs.table(few, time.time(), None)


def show_checkpoints(run: Path) -> None:
    write_run(run, updates=2 * CHECKPOINTS, save_every=2, alarm_every=20)
    with timed(
        f"show of {CHECKPOINTS:,} checkpoints and {CHECKPOINTS // 10:,} alarms", "(target 5 s)"
    ):
        show(run)


def press_keys(run: Path, what: str) -> None:
    """What a key of the screen takes over a run, while it is being read and after."""
    for when, seconds, whole in (("1 s after the panels came", 1.0, False), ("later", 20.0, True)):
        print(key_times.press(run, seconds, whole=whole).said(f"over {what}, {when}"))


def show_ranks(run: Path) -> None:
    write_run(run, updates=20_000, ranks=RANKS)
    with timed(f"show of {RANKS} ranks and 64,000 heartbeats"):
        show(run)


def show(run: Path) -> None:
    from sftui import cli

    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(["show", str(run)]) == 0


def watch_a_run(seconds: float = 10.0) -> None:
    """What one `attach --headless` takes of a core, over a run of ten updates a second."""
    from engine.events import StepFinished
    from tests.faults.place import told
    from tests.processes import children, environment, make_run, wait_for

    with tempfile.TemporaryDirectory() as folder, children() as started:
        run = make_run(Path(folder), max_restarts=0)
        simulation = json.dumps({"rate": 10})
        env = environment(SFTUI_WORKER="tests.faults.simulated", SFTUI_SIMULATION=simulation)
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": -3}
        started.start("-P", "-m", "engine.supervisor", str(run.path), env=env, **quiet)
        wait_for(lambda: told(run, StepFinished))
        words = ("-m", "sftui", "attach", "--headless", str(run.path))
        viewer = psutil.Process(started.start(*words, env=env, **quiet).pid)
        time.sleep(5)
        before, began = sum(viewer.cpu_times()[:2]), time.monotonic()
        time.sleep(seconds)
        share = (sum(viewer.cpu_times()[:2]) - before) / (time.monotonic() - began)
        started.note_descendants()
    machine = VIEWERS * share / (os.cpu_count() or 1)
    print(
        f"one who watches: {share:.2%} of a core; {VIEWERS}: {machine:.1%} of this machine "
        "(target 5 %)"
    )


def write_run(
    run: Path, updates: int, save_every: int = 0, alarm_every: int = 0, ranks: int = 0
) -> None:
    from engine import events as ev
    from engine.journal import wire

    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"id": run.name, "world_size": max(1, ranks)}))
    lines: list[bytes] = []

    def put(event: ev.Event, t: float) -> None:
        stamp = ev.Stamp(run=run.name, seq=len(lines) + 1, t=1.76e9 + t, m=t, boot="b")
        lines.append(wire.encode(replace(event, stamp=stamp)))

    put(ev.RunStarted(name="x", num_iterations=updates), 0)
    for step in range(updates):
        loss = 2 + 1 / (1 + step)
        put(
            ev.StepFinished(step=step, loss=loss, grad_norm=1.0, tokens=1000, seconds=0.5), step / 2
        )
        if save_every and step % save_every == 0:
            put(ev.CheckpointSaved(step=step, path=f"ckpt/step-{step}", size_bytes=9), step / 2)
        if alarm_every and step % alarm_every == 0:
            text = f"loss at step {step}"
            alarm = ev.AlarmRaised(kind="spike", severity="warn", value=3, limit=2, text=text)
            put(alarm, step / 2)
        if step % 100 == 0:
            put(ev.ValidationFinished(step=step, loss=loss), step / 2)
        if ranks and step % (1 if ranks < 8 else 20) == 0:
            for rank in range(ranks):
                put(ev.RankHeartbeat(rank=rank, pid=rank + 9, at_step=step), step / 2)
    put(ev.RunFinished(status="finished", updates=updates), updates / 2)
    (run / "events.jsonl").write_bytes(b"".join(lines))


if __name__ == "__main__":
    main()
