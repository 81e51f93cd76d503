"""Faults of the disk under a checkpoint: whatever dies or fails, the last good one stands."""

import json
import math
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import torch

from engine.checkpoints import checkpoint_dir, checkpointer
from engine.checkpoints.checkpoint_dir import CheckpointInfo
from engine.checkpoints.checkpointer import Checkpointer, RankState
from engine.errors import CheckpointError
from engine.events import CheckpointSaved, LogLine, RunFinished
from engine.run import run_dir
from tests.faults.place import Place, end_of, fill, small_disk, told, work
from tests.processes import ROOT, environment


@pytest.fixture
def run(tmp_path):
    return run_dir.create(tmp_path, "test", datetime(2026, 1, 2, 3, 4, 5))


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


class Saver:
    """A checkpointer with its events in a list; `size` floats of model and of optimizer each."""

    def __init__(self, run, *, rank=0, world_size=1, keep=9, size=100):
        self.events = []
        self.rank, self.size = rank, size
        self.checkpointer = Checkpointer(
            run, rank=rank, world_size=world_size, attempt=1, keep=keep, emit=self.events.append
        )

    def save(self, step):
        tensor = torch.full((self.size,), float(step))
        self.checkpointer.save(
            step,
            RankState(
                optimizer={"w/momentum": tensor},
                random=checkpointer.random_state(),
                model={"w": tensor} if self.rank == 0 else None,
                state={"step": step, "val_loss": None},
            ),
            "schedule",
        )
        return self.checkpointer.wait()

    def logged(self):
        return [event.text for event in self.events if isinstance(event, LogLine)]


# ---- 7: killed inside a checkpoint; 15: the disk fails inside one ------------------------------

SAVER = """
import json, os, signal, sys
from datetime import datetime
from pathlib import Path
import torch
from engine.checkpoints import checkpoint_dir, checkpointer
from engine.run import run_dir
from tests.faults.test_checkpoint import Saver
from tests.faults.disk import failing

how, folder = sys.argv[1], Path(sys.argv[2])

def one(n):
    root = folder / str(n)
    run = run_dir.create(root, "test", datetime(2026, 1, 2, 3, 4, 5))
    saver = Saver(run, keep=1)
    assert saver.save(1) is None
    if how == "fail":
        with failing(n) as disk:
            failure = saver.save(2)
        return disk.hit, failure, run
    child = os.fork()
    if child == 0:
        with failing(n, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            saver.save(2)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status), None, run

n = 1
while True:
    hit, failure, run = one(n)
    if not hit:
        break
    info, problems = checkpoint_dir.newest_valid(run)
    value = float(checkpointer.load_model_state(info)["w"][0])
    later = Saver(run, keep=1)
    again = later.save(3)
    left = sorted(path.name for path in run.checkpoints.iterdir())
    print(json.dumps([n, info.step, value, problems, failure, again, left]))
    n += 1
"""


def every_operation(how, folder):
    """What became of a save whose n-th file operation failed, for n = 1, 2, ... to its end."""
    done = subprocess.run(
        [sys.executable, "-c", SAVER, how, str(folder)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_save_may_end_at_any_file_operation(how, tmp_path):
    """Faults 7 and 15: a kill or an error at each write, sync, rename and delete in turn.

    Afterwards the newest valid checkpoint is the old or the new one with its own bytes, the
    next save works, and nothing half-made is left.
    """
    found = every_operation(how, tmp_path)
    assert len(found) > 15
    steps = [step for _, step, *_ in found]
    assert set(steps) == {1, 2}
    assert steps == sorted(steps), "once the new one exists, it stays"
    for n, step, value, problems, failure, again, left in found:
        assert value == step, n
        assert problems == [], n
        assert again is None, n
        assert left == ["step-3"], n
        if how == "fail" and step == 1:
            assert "No space left" in failure, n


def test_a_rank_that_cannot_write_is_not_waited_for(run):
    """Fault 15 on rank 1: rank 0 gives up at once and says which rank, why."""
    first, second = Saver(run, world_size=2), Saver(run, rank=1, world_size=2)
    partial = checkpoint_dir.partial_path(run, 4, 1, 1)
    partial.mkdir()
    (partial / "optim-rank-1.safetensors").mkdir()  # a name that cannot be written
    assert second.save(4) is not None
    failure = first.save(4)
    assert "rank 1 did not write its part" in failure
    assert "Is a directory" in failure
    assert first.logged() == [failure]
    assert list(run.checkpoints.iterdir()) == []


def test_leftovers_are_cleared_before_the_next_save(run):
    """A killed saver's gigabytes do not stay, whichever attempt it belonged to."""
    for attempt in (1, 7):
        partial = checkpoint_dir.partial_path(run, 2, attempt, 5)
        partial.mkdir()
        (partial / "model.safetensors").write_bytes(b"half")
    assert Saver(run).save(3) is None
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-3"]


# ---- 15: a real full disk ----------------------------------------------------------------------


def test_a_full_disk_costs_the_checkpoint_alone(tmp_path):
    """Fault 15: refused with the sizes, the old one intact; saved again once there is room."""
    with small_disk(tmp_path / "disk", "4m") as disk:
        run = run_dir.create(disk, "test", datetime(2026, 1, 2, 3, 4, 5))
        saver = Saver(run, size=100_000)
        assert saver.save(1) is None
        ballast = fill(disk, leave=200_000)
        failure = saver.save(2)
        assert "0.8 MiB" in failure
        assert "0.2 MiB left" in failure
        assert checkpoint_dir.newest_valid(run)[0].step == 1
        assert [path.name for path in run.checkpoints.iterdir()] == ["step-1"]
        ballast.unlink()
        assert saver.save(2) is None
        assert checkpoint_dir.verify(run.checkpoint(2)).step == 2


def test_a_disk_that_fills_while_saving_loses_the_partial_alone(tmp_path, monkeypatch):
    """Fault 15: the room is there when asked and gone when needed."""
    monkeypatch.setattr(checkpoint_dir, "ROOM_FACTOR", 0.0)
    with small_disk(tmp_path / "disk", "4m") as disk:
        run = run_dir.create(disk, "test", datetime(2026, 1, 2, 3, 4, 5))
        saver = Saver(run, size=100_000)
        assert saver.save(1) is None
        ballast = fill(disk, leave=500_000)
        failure = saver.save(2)
        assert "not saved" in failure
        assert saver.logged() == [failure]
        assert [path.name for path in run.checkpoints.iterdir()] == ["step-1"]
        ballast.unlink()
        assert saver.save(2) is None
        assert checkpoint_dir.verify(run.checkpoint(2)).step == 2


@pytest.fixture
def impatient(monkeypatch):
    """A run that gives up soon to save its last checkpoint."""
    from engine import trainer

    monkeypatch.setattr(trainer, "SAVE_TRIES", 2)
    monkeypatch.setattr(trainer, "SAVE_RETRY_SECONDS", 0.02)


@pytest.mark.usefixtures("impatient")
def test_a_run_whose_last_checkpoint_fails_says_so(place, monkeypatch):
    """Nothing lies: a run that ended well but could not be saved names the checkpoint."""
    run = place.make()
    commit = checkpoint_dir.commit

    def full_at_the_end(run, partial, step, records, created):
        if step == 12:
            raise OSError(28, "No space left on device")
        return commit(run, partial, step, records, created)

    monkeypatch.setattr(checkpoint_dir, "commit", full_at_the_end)
    work(run)
    end = end_of(run)
    assert end.status == "finished"
    assert "checkpoint of step 12 was not saved" in end.reason
    [export] = [event for event in told(run, CheckpointSaved) if event.kind == "nanochat"]
    assert Path(export.path).exists()


@pytest.mark.usefixtures("impatient")
def test_a_run_that_could_save_nothing_has_failed(place, monkeypatch):
    """Neither checkpoint nor export on the disk: hours are lost, and the end says so."""
    run = place.make()

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_dir, "commit", full)
    monkeypatch.setattr("engine.checkpoints.nanochat_io.export", full)
    work(run)
    assert end_of(run).status == "failed"
    assert "nothing of it could be saved" in end_of(run).reason


# ---- 24, 25, 26: damage -------------------------------------------------------------------------


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "flip": flip,
    "truncate": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: path.write_bytes(b""),
    "delete": lambda path: path.unlink(),
    "link": lambda path: (path.rename(path.parents[2] / "x"), path.symlink_to("../../x")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_any_file_is_found_and_the_run_falls_back(damage, place):
    """Faults 24 and 25: each file in turn; the run goes on from the one before and says why."""
    run = place.make("--num-iterations=9")
    work(run)
    names = sorted(path.name for path in run.checkpoint(8).iterdir())
    assert names == [
        "MANIFEST.json",
        "model.safetensors",
        "optim-rank-0.safetensors",
        "rng-rank-0.safetensors",
        "state.json",
    ]
    for name in names:
        path = run.checkpoint(8) / name
        whole = path.read_bytes()
        DAMAGE[damage](path)
        info, problems = checkpoint_dir.newest_valid(run)
        assert info.step == 4, name
        assert len(problems) == 1, name
        assert "step-8" in problems[0], name
        path.unlink(missing_ok=True)
        path.write_bytes(whole)
    assert checkpoint_dir.newest_valid(run)[0].step == 8


MALFORMED = (
    "",
    "{",
    "[]",
    "null",
    '{"files": 7}',
    '{"schema": 1, "step": "x", "created": 0, "files": {}}',
    '{"step": 8, "created": 0, "files": {"../../run.json": {"size": 1, "sha256": ""}}}',
    '{"step": 8, "created": 0, "files": {"/etc/passwd": {"size": 1, "sha256": ""}}}',
    "\xff" * 9,
)


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_manifest_is_no_checkpoint(text, run):
    """Fault 26: whatever stands in it, one problem is reported and the one before is used."""
    saver = Saver(run)
    saver.save(4)
    saver.save(8)
    (run.checkpoint(8) / "MANIFEST.json").write_bytes(text.encode("latin-1"))
    info, problems = checkpoint_dir.newest_valid(run)
    assert info.step == 4
    assert len(problems) == 1


def test_a_file_that_the_manifest_does_not_name_is_not_loaded(run):
    """An optimizer shard put beside the others has no digest, so it is not believed."""
    saver = Saver(run)
    saver.save(4)
    folder = run.checkpoint(4)
    (folder / "optim-rank-1.safetensors").write_bytes(
        (folder / "optim-rank-0.safetensors").read_bytes()
    )
    assert len(checkpointer.load_optimizer_states(checkpoint_dir.verify(folder))) == 1


def test_broken_checkpoints_only_do_not_start_the_run_again_from_zero(place):
    """Work is not thrown away in silence: the run ends with what to do."""
    run = place.make("--num-iterations=9")
    work(run)
    for folder in run.checkpoints.iterdir():
        (folder / "MANIFEST.json").unlink()
    with pytest.raises(CheckpointError, match=r"Move .* away"):
        checkpoint_dir.newest_valid(run)


# ---- 19: NaN is never best ----------------------------------------------------------------------


def test_a_nan_is_never_kept_for_being_best():
    """A diverged validation neither stays for ever nor pushes out the best one."""

    def info(step, loss):
        return CheckpointInfo(
            path=Path(f"step-{step}"),
            step=step,
            size_bytes=1,
            created=0.0,
            val_loss=loss,
            marked=False,
            state={},
        )

    infos = [info(1, math.nan), info(2, 2.0), info(3, 1.0), info(4, math.inf), info(5, math.nan)]
    assert [found.step for found in checkpoint_dir.to_prune(infos, 1)] == [1, 2, 4]


def test_a_nan_at_the_start_does_not_stay_the_best_loss(place, monkeypatch):
    """Nothing compares below NaN: the first finite validation becomes the best."""
    from engine import measure

    run = place.make("--num-iterations=9")
    validate, calls = measure.validate, []

    def nan_first(*arguments, **options):
        import dataclasses

        result = validate(*arguments, **options)
        calls.append(result)
        return dataclasses.replace(result, loss=math.nan) if len(calls) == 1 else result

    monkeypatch.setattr(measure, "validate", nan_first)
    work(run)
    state = checkpoint_dir.read(run.checkpoint(8)).state
    assert math.isfinite(state["best_loss"])
    assert state["best_step"] > 0
    assert isinstance(end_of(run), RunFinished)
