"""Whole stories through the real program: train, steer, kill, come back, load the result.

Each starts real ranks under the real supervisor on a model of a few thousand
weights; a few seconds of training, some of starting.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal

import pytest

from engine.checkpoints import checkpoint_dir, nanochat_io, nanochat_paths
from engine.control import Command
from engine.events import (
    AttemptStarted,
    CheckpointSaved,
    ControlApplied,
    EvalFinished,
    LogLine,
    RankHeartbeat,
    StateChanged,
    StepFinished,
    ValidationFinished,
)
from engine.run.run_dir import RunDir
from sftui import run_json
from sftui.sources import snapshot
from tests import tiny
from tests.place import Place, ended, final_weights, finish, of, post
from tests.processes import children, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path):
    with children() as started:
        yield Place(tmp_path, started)
        started.note_descendants()


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
    from engine.checkpoints import checkpointer

    saved = checkpointer.load_model_state(info)
    assert all(saved[name].equal(tensor) for name, tensor in state.items())
    assert shape.n_layer == 1

    code, out_json = place.sftui("eval", run.id, "--json")
    assert code == 0
    alone = {entry["task"]: entry for entry in json.loads(out_json)["sftui"]["tasks"]}
    for event in of(run, EvalFinished)[-2:]:
        entry = alone[event.task]
        assert (entry["correct"], entry["total"]) == (event.correct, event.total)
        assert (entry["item_set"], entry["letters"]) == (event.item_set, event.letters)

    log = (run.path / "run.log").read_text()
    assert "Step 00000 | Validation loss: " in log
    assert "Step 00011/00013 | Training loss: " in log
    assert (place.path / "logs").exists() is False
    assert "finished" in out
    shown = run_json.to_dict(snapshot.read_run(run))
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


def stopped_at(place: Place, step: int, *flags: str) -> RunDir:
    """A run that was stopped, with a checkpoint, after `step` updates."""
    run, process = place.start(*flags)
    post(run, Command.PAUSE)
    wait_for(lambda: of(run, ControlApplied))
    place.ctl(run, "resume", str(step))
    wait_for(lambda: of(run, StateChanged)[-1].step == step)
    place.ctl(run, "stop")
    finish(place, run, process)
    assert (ended(run).status, ended(run).step) == ("stopped", step)
    return run


def losses(run: RunDir) -> dict[int, float]:
    """Loss by step, the newest attempt's."""
    return {e.step: e.loss for e in of(run, StepFinished)}


@pytest.mark.timeout(400)  # six starts of ranks: 30 s alone, three times that beside other work
def test_a_stopped_run_goes_on_as_if_it_had_not(place):
    """`--resume` ends with the unbroken run's bits; on one rank, with its losses up to rounding;
    and a changed learning rate must be meant, is used and is told."""
    whole, process = place.start("--gpus=2")
    finish(place, whole, process)
    broken = stopped_at(place, 6, "--gpus=2", "--run=broken")
    alone, changed = (RunDir(broken.path.with_name(name)) for name in ("alone", "changed"))
    for copy in (alone, changed):
        shutil.copytree(broken.path, copy.path)

    out = finish(place, broken, place.resume(broken))
    assert ended(broken).status == "finished", out
    assert of(broken, AttemptStarted)[1].start_step == 6
    assert final_weights(broken) == final_weights(whole)
    assert losses(broken) == losses(whole)
    assert [e.loss for e in of(broken, ValidationFinished)] == [
        e.loss for e in of(whole, ValidationFinished)
    ]
    assert "Step 00006/00013 | Training loss: " in broken.run_log.read_text()
    process = place.resume(broken)
    assert "nothing is left to do" in finish(place, broken, process)
    assert process.returncode == 2

    out = finish(place, alone, place.resume(alone, "--gpus=1"))
    assert ended(alone).status == "finished", out
    assert of(alone, AttemptStarted)[1].world_size == 1
    assert losses(alone) == pytest.approx(losses(whole), rel=1e-4)
    assert losses(alone) != losses(whole)
    assert any("execute the plan of 2" in e.text for e in of(alone, LogLine))

    process = place.resume(changed, "--matrix-lr=0.5")
    assert "--resume-changed" in finish(place, changed, process)
    assert process.returncode == 2
    out = finish(place, changed, place.resume(changed, "--matrix-lr=0.5", "--resume-changed"))
    assert ended(changed).status == "finished", out
    rates = {e.step: e.lrs["matrices"] for e in of(changed, StepFinished)}
    assert rates[6] > rates[5]
    assert "resumed with matrix_lr = 0.5" in [e.text for e in of(changed, LogLine)]
    assert snapshot.read_run(changed).state.run.settings["matrix_lr"] == 0.5


def test_the_seeds_of_a_recipe_run_one_after_the_other(place):
    """`--seeds 2` makes two whole runs that were asked the same; their names are printed."""
    words = ["run", "--headless", *tiny.SETTINGS, f"--data-dir={place.data}", "--seed=1"]
    words += ["--num-iterations=5", "--seeds=2", "--run=one"]
    process = place.started.start("-m", "sftui", *words, env=place.env, stdout=-1, stderr=-2)
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out.decode()
    runs = place.runs()
    assert sorted(run.id.split("-", 2)[2] for run in runs) == ["one-seed-1", "one-seed-2"]
    assert {ended(run).status for run in runs} == {"finished"}
    exams = [{e.item_set for e in of(run, EvalFinished) if e.task == "MMLU"} for run in runs]
    assert exams[0] == exams[1]
    assert len(exams[0]) == 1
    said = out.decode()
    assert "MMLU: " in said
    assert ", mean of 2 runs; seeds scatter by " in said
    named = re.search(r"sftui compare (\S+) ", said).group(1).split(",")
    assert set(named) == {run.id for run in runs}
