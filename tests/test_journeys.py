"""Whole stories through the real program: train, steer, kill, come back, load the result.

Each starts real ranks under the real supervisor on a model of a few thousand
weights; a few seconds of training, some of starting.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path

import pytest

from engine import checkpoint_dir, inbox, nanochat_io, nanochat_paths, run_dir, wire
from engine.control import Command, Request
from engine.events import (
    AttemptStarted,
    CheckpointSaved,
    ControlApplied,
    EvalFinished,
    RankHeartbeat,
    RunFinished,
    StateChanged,
    StepFinished,
    ValidationFinished,
)
from engine.run_dir import RunDir
from sftui import show, snapshot
from tests import tiny
from tests.processes import Children, children, environment, events, wait_for

pytestmark = pytest.mark.slow


class Place:
    """A folder with a cache and data, in which `sftui` is run as a person would."""

    def __init__(self, path: Path, started: Children) -> None:
        self.path = path
        self.started = started
        self.cache = tiny.write_cache(path / "cache")
        self.data = tiny.write_data(path / "data")
        self.work = path / "work"
        self.work.mkdir()
        self.env = environment(
            NANOCHAT_BASE_DIR=str(self.cache), SFTUI_RUNS=str(self.work / "runs")
        )

    def start(self, *flags: str) -> tuple[RunDir, object]:
        """`sftui run --headless`; returns its run directory once it exists."""
        before = {run.id for run in self.runs()}
        words = ["run", *tiny.SETTINGS, f"--data-dir={self.data}", "--headless", *flags]
        process = self.started.start("-m", "sftui", *words, env=self.env, stdout=-1, stderr=-2)
        wait_for(lambda: {run.id for run in self.runs()} - before or process.poll() is not None)
        [run] = [run for run in self.runs() if run.id not in before]
        return run, process

    def runs(self) -> list[RunDir]:
        return run_dir.list_runs(self.work / "runs")

    def ctl(self, run: RunDir, *words: str) -> str:
        """`sftui ctl`, its answer."""
        process = self.started.start(
            "-m", "sftui", "ctl", run.id, *words, env=self.env, stdout=-1, stderr=-2
        )
        out, _ = process.communicate(timeout=60)
        return out.decode().strip()


@pytest.fixture
def place(tmp_path):
    with children() as started:
        yield Place(tmp_path, started)
        started.note_descendants()


def ended(run: RunDir) -> RunFinished | None:
    found = [e for e in events(run.events) if isinstance(e, RunFinished)]
    return found[-1] if found else None


def of(run: RunDir, kind: type) -> list:
    return [event for event in events(run.events) if isinstance(event, kind)]


def finish(place: Place, run: RunDir, process) -> str:
    """Wait for the end; what the command printed. Nothing may be left running."""
    wait_for(lambda: place.started.note_descendants() or process.poll() is not None, 90)
    out = process.stdout.read().decode()
    wait_for(lambda: place.started.left() == [], 20)
    return out


def post(run: RunDir, command: Command) -> None:
    """Ask before anybody listens: the ranks find it when they come up."""
    inbox.post(run, Request(id=wire.new_id(), command=command, author="test"))


def final_weights(run: RunDir) -> str:
    newest = checkpoint_dir.list_checkpoints(run)[-1]
    return hashlib.sha256((newest.path / checkpoint_dir.MODEL).read_bytes()).hexdigest()


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_tells_its_whole_story_and_its_result_loads_again(place, ranks):
    """From the first evaluation to the exported checkpoint, on one rank and on two."""
    run, process = place.start(f"--gpus={ranks}")
    out = finish(place, run, process)
    assert process.returncode == 0, out
    assert ended(run).status == "finished"

    assert [e.step for e in of(run, StepFinished)] == list(range(12))
    assert [e.step for e in of(run, ValidationFinished)] == [0, 4, 8, 12]
    assert sorted({(e.step, e.task) for e in of(run, EvalFinished)}) == [
        (step, task) for step in (0, 8, 12) for task in ("ARC-Easy", "MMLU")
    ]
    assert {e.rank for e in of(run, RankHeartbeat)} == set(range(ranks))
    assert of(run, ValidationFinished)[0].rows == 4 * ranks
    for event in of(run, EvalFinished):
        assert (run.path / event.items_file).is_file()

    assert [info.step for info in checkpoint_dir.list_checkpoints(run)][-1] == 12
    [export] = [e for e in of(run, CheckpointSaved) if e.kind == "nanochat"]
    exported = nanochat_paths.find_checkpoint("sft", base=place.cache)
    assert str(exported.model_path) == export.path
    shape, state = nanochat_io.load_weights(exported)
    info = checkpoint_dir.verify(run.checkpoint(12))
    from engine import checkpoint

    saved = checkpoint.load_model_state(info)
    assert all(saved[name].equal(tensor) for name, tensor in state.items())
    assert shape.n_layer == 1

    log = (run.path / "run.log").read_text()
    assert "Step 00000 | Validation loss: " in log
    assert "Step 00011/00013 | Training loss: " in log
    assert (place.path / "logs").exists() is False
    assert "finished" in out
    shown = show.to_dict(snapshot.take(run))
    assert shown["status"] == "finished"
    assert shown["stages"][0]["steps"] == {"first": 0, "last": 11, "logged": 12, "planned": 13}
    assert len(shown["stages"][0]["val"]) == 4


def test_a_run_obeys_scripts_and_says_at_which_step(place):
    """Each request is answered once, with a named step, on both ranks."""
    run, process = place.start("--gpus=2", "--num-iterations=9999", "--checkpoint-every=0")
    wait_for(lambda: of(run, StepFinished))
    assert place.ctl(run, "pause").startswith("pause applied at step ")
    paused_at = of(run, ControlApplied)[-1].step
    assert [e.state for e in of(run, StateChanged)] == ["paused"]
    before = len(of(run, StepFinished))
    assert place.ctl(run, "eval") == f"eval applied at step {paused_at}"
    assert place.ctl(run, "checkpoint") == f"checkpoint applied at step {paused_at}"
    assert len(of(run, StepFinished)) == before == paused_at
    assert checkpoint_dir.verify(run.checkpoint(paused_at)).step == paused_at
    assert [e.step for e in of(run, EvalFinished)][-2:] == [paused_at, paused_at]
    assert place.ctl(run, "lr", "0.5") == f"lr applied at step {paused_at}"
    assert place.ctl(run, "resume") == f"resume applied at step {paused_at}"
    wait_for(lambda: len(of(run, StepFinished)) > before)
    half = of(run, StepFinished)[before]
    assert half.lr_mult == pytest.approx(0.5, abs=1e-2)
    assert place.ctl(run, "stop").startswith("stop applied at step ")
    out = finish(place, run, process)
    assert process.returncode == 0, out
    end = ended(run)
    assert (end.status, end.reason) == ("stopped", "stop asked for by ctl")
    assert checkpoint_dir.list_checkpoints(run)[-1].step == end.step
    assert len(of(run, ControlApplied)) == 6


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_killed_rank_costs_nothing(place, ranks):
    """After a SIGKILL the ranks resume at the last checkpoint and end with the same bits."""
    whole, process = place.start(f"--gpus={ranks}")
    finish(place, whole, process)
    broken, process = place.start(f"--gpus={ranks}", "--run=broken")
    post(broken, Command.PAUSE)
    wait_for(lambda: of(broken, ControlApplied))
    assert of(broken, ControlApplied)[0].step == 0
    assert place.ctl(broken, "resume", "6").startswith("resume applied at step 0")
    wait_for(lambda: of(broken, StateChanged)[-1].step == 6)
    place.started.note_descendants()
    victim = json.loads(broken.heartbeat(ranks - 1).read_text())["pid"]
    assert victim in place.started.known
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(of(broken, AttemptStarted)) == 2, 90)
    assert of(broken, AttemptStarted)[1].start_step == 4
    wait_for(lambda: of(broken, StateChanged)[-1].stamp.att == 2)
    assert place.ctl(broken, "resume").startswith("resume applied at step")
    out = finish(place, broken, process)
    assert ended(broken).status == "finished", out
    assert final_weights(broken) == final_weights(whole)
    assert [e.loss for e in of(broken, ValidationFinished)][-1] == [
        e.loss for e in of(whole, ValidationFinished)
    ][-1]
