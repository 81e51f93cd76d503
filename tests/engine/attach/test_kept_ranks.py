"""An unchanged TRL script of two torchrun ranks under the keeper: steered, a rank killed, whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from engine.alarms.alarm_engine import RANK_SILENT_SECONDS
from engine.control import Command
from engine.events import (
    AttemptStarted,
    LogLine,
    RankHeartbeat,
    RankLost,
    RunFinished,
    StepFinished,
    ValidationFinished,
)
from engine.journal.event_files import scan
from engine.run import foreign
from engine.run.run_dir import RunDir
from tests.engine.attach.small_trainer import as_logged
from tests.engine.attach.steered import answers, ask, events, losses, wait_for_answer
from tests.engine.processes.test_keeper import left_over, start, told, until

SCRIPT = Path(__file__).with_name("small_trainer.py")
STEPS = 16


def torchrun(output: Path, **options: object) -> list[str]:
    """The script on two ranks, as a person types it."""
    settings = json.dumps({"steps": STEPS, "save_steps": 6, "eval_steps": 6} | options)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    return [*launcher, "--standalone", str(SCRIPT), str(output), settings]


def kept_run(folder: Path, *, max_restarts: int) -> RunDir:
    """A run of the keeper's over the script, slow enough to act in its middle; not started."""
    return foreign.create(
        folder / "runs",
        "kept",
        command=torchrun(folder / "kept", slow=0.3),
        cwd=folder,
        now=datetime.now(),
        max_restarts=max_restarts,
        kept=True,
    )


def logged(output: Path) -> list[float]:
    """Loss of every step, as the trainer itself keeps it beside its last checkpoint."""
    state = json.loads((output / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def assert_as_logged(run: RunDir, output: Path) -> None:
    """The run's loss of every step is the trainer's own."""
    found = as_logged(losses(run.path))
    assert [found[step] for step in range(STEPS)] == pytest.approx(logged(output), rel=1e-6)


def rank(run: RunDir, number: int) -> int:
    """Pid of a rank of the newest attempt."""
    for pid in left_over(run):
        environment = psutil.Process(pid).environ()
        if environment.get("RANK") == str(number):
            return pid
    raise AssertionError(f"no rank {number}")


@pytest.mark.torture
@pytest.mark.timeout(400)
def test_two_ranks_of_an_unchanged_script_are_steered_killed_and_whole(tmp_path: Path) -> None:
    # The same kernels in both: this process was told to use those of AVX2.
    quiet = {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
        "ATEN_CPU_CAPABILITY": os.environ.get("ATEN_CPU_CAPABILITY", "avx2"),
    }
    plain = subprocess.run(
        torchrun(tmp_path / "plain"),
        env=dict(os.environ) | quiet,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert plain.returncode == 0, plain.stderr[-2000:]

    run = kept_run(tmp_path, max_restarts=3)
    process = start(run, **quiet)
    until(lambda: bool(told(run, StepFinished)), 150, process)
    ask(run, "pause", Command.PAUSE)
    paused = wait_for_answer(run, "pause")
    for name, command in (("eval", Command.EVALUATE), ("save", Command.CHECKPOINT)):
        ask(run, name, command)
        assert wait_for_answer(run, name).step == paused.step
    ask(run, "one", Command.RESUME, 1.0)
    wait_for_answer(run, "one")
    ask(run, "lr", Command.LR_FACTOR, 1.0)
    assert wait_for_answer(run, "lr").step in (paused.step, (paused.step or 0) + 1)
    os.kill(rank(run, 1), signal.SIGKILL)
    # The pause after one step outlives the killed ranks.
    until(lambda: bool(told(run, RankLost)), 60, process)
    until(lambda: len(events(run.path, AttemptStarted)) == 2, 150, process)
    ask(run, "on", Command.RESUME)
    wait_for_answer(run, "on")
    process.communicate(timeout=200)

    assert process.returncode == 0
    (end,) = events(run.path, RunFinished)
    assert (end.status, end.updates) == ("finished", STEPS)
    # As long as the screen has counted: from the keeper's first word.
    first = next(iter(scan(run.supervisor_events, LogLine))).stamp.m or 0.0
    assert end.seconds == pytest.approx((end.stamp.m or 0.0) - first, abs=1.0)
    assert logged(tmp_path / "kept") == logged(tmp_path / "plain")
    assert sorted(losses(run.path)) == list(range(STEPS))
    assert_as_logged(run, tmp_path / "plain")
    assert all(a.outcome == "applied" for a in answers(run.path).values())
    assert all(e.lrs for e in events(run.path, StepFinished))
    assert 0 in [e.step for e in events(run.path, ValidationFinished)]
    starts = events(run.path, AttemptStarted)
    assert starts[1].start_step == paused.step  # from the checkpoint that was asked for
    assert not left_over(run)


@pytest.mark.torture
@pytest.mark.timeout(400)
def test_a_stopped_rank_is_told_as_silent_and_answers_once_it_goes_on(tmp_path: Path) -> None:
    """SIGSTOP holds rank 1 in the middle of its updates: who watches is told which rank is silent,
    nothing is answered meanwhile, and after SIGCONT everything is as if it had not been."""
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    run = kept_run(tmp_path, max_restarts=0)
    process = start(run, **quiet)
    until(lambda: len(events(run.path, StepFinished)) > 2, 150, process)
    stopped = rank(run, 1)
    os.kill(stopped, signal.SIGSTOP)
    try:
        before = len(events(run.path, StepFinished))
        ask(run, "eval", Command.EVALUATE)
        # Longer than its patience by as much as a busy machine needs.
        until(lambda: bool(silent_ranks(run)), RANK_SILENT_SECONDS + 90, process)
        assert silent_ranks(run) == {1}
        assert len(events(run.path, StepFinished)) <= before + 2
        assert not answers(run.path)
    finally:
        os.kill(stopped, signal.SIGCONT)
    answer = wait_for_answer(run, "eval", 60)
    assert answer.outcome == "applied"
    process.communicate(timeout=200)
    assert process.returncode == 0
    (end,) = events(run.path, RunFinished)
    assert (end.status, end.updates) == ("finished", STEPS)
    assert_as_logged(run, tmp_path / "kept")
    assert not left_over(run)


def silent_ranks(run: RunDir) -> set[int]:
    """Ranks whose last heartbeat is older than who watches waits for."""
    last = dict[int, float]()
    for event in [*events(run.path, RankHeartbeat), *scan(run.supervisor_events, RankHeartbeat)]:
        if isinstance(event, RankHeartbeat) and event.stamp.t is not None:
            last[event.rank] = max(last.get(event.rank, 0.0), event.stamp.t)
    return {n for n, t in last.items() if time.time() - t > RANK_SILENT_SECONDS}
