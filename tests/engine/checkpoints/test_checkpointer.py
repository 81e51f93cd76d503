"""Checkpoints exist whole or not at all, and damage is found before it is used."""

import json
import os
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
import torch

from engine.checkpoints import checkpoint_dir
from engine.checkpoints import checkpointer as checkpoint
from engine.checkpoints.checkpointer import Checkpointer, RankState
from engine.errors import CheckpointError
from engine.events import CheckpointRemoved, CheckpointSaved, LogLine, StepFinished
from engine.journal.event_bus import EventBus
from engine.journal.wire import decode
from engine.run import run_dir


@pytest.fixture
def run(tmp_path: Path) -> run_dir.RunDir:
    return run_dir.create(tmp_path, "test", datetime(2026, 1, 2, 3, 4, 5))


class Saver:
    """A checkpointer of rank 0 with its events in a list."""

    def __init__(self, run, *, world_size=1, rank=0, keep=3):
        self.events = []
        self.checkpointer = Checkpointer(
            run, rank=rank, world_size=world_size, attempt=1, keep=keep, emit=self.events.append
        )

    def save(self, step, val_loss=None, value=1.0):
        state = RankState(
            optimizer={"w/momentum": torch.full((3, 2), value)},
            random=checkpoint.random_state(),
            model={"w": torch.full((4,), value)} if self.checkpointer.rank == 0 else None,
            state={"step": step, "val_loss": val_loss},
        )
        self.checkpointer.save(step, state, "schedule")


def test_what_was_saved_loads_again(run):
    """Model, optimizer shard and state come back as they were at the boundary."""
    saver = Saver(run)
    saver.save(5, val_loss=1.25, value=7.0)
    assert saver.checkpointer.wait() is None
    info = checkpoint_dir.verify(run.checkpoint(5))
    assert (info.step, info.val_loss) == (5, 1.25)
    assert torch.equal(checkpoint.load_model_state(info)["w"], torch.full((4,), 7.0))
    assert len(checkpoint.load_optimizer_states(info)) == 1
    saved = [event for event in saver.events if isinstance(event, CheckpointSaved)]
    assert [event.path for event in saved] == ["ckpt/step-5"]
    assert saved[0].size_bytes == info.size_bytes


def test_training_may_change_the_tensors_right_after_save(run):
    """The copy is taken at the boundary, not when the thread gets to it."""
    weights = torch.zeros(1000)
    checkpointer = Checkpointer(run, rank=0, world_size=1, attempt=1, keep=3, emit=lambda _: None)
    state = RankState(
        optimizer={}, random=checkpoint.random_state(), model={"w": weights}, state={}
    )
    checkpointer.save(1, state, "schedule")
    weights += 1
    checkpointer.wait()
    saved = checkpoint.load_model_state(checkpoint_dir.read(run.checkpoint(1)))
    assert torch.equal(saved["w"], torch.zeros(1000))


def test_a_checkpoint_is_whole_only_after_the_log_of_its_steps(run):
    """A rank killed right after a save resumes there: the step before it must be in the log."""

    def slow_disk(file, data):
        time.sleep(0.3)
        return os.write(file, data)

    bus = EventBus(run, run.id, 1, live=False, write=slow_disk)
    checkpointer = Checkpointer(
        run, rank=0, world_size=1, attempt=1, keep=3, emit=bus.emit, settle_log=bus.flush
    )
    bus.emit(StepFinished(step=9, loss=1.0))
    state = RankState(optimizer={}, random=checkpoint.random_state(), model={}, state={})
    checkpointer.save(10, state, "schedule")
    while not run.checkpoint(10).exists():
        time.sleep(0.001)
    # What a kill at this moment leaves.
    left = [decode(line) for line in run.events.read_bytes().splitlines()]
    assert [event.step for event in left if isinstance(event, StepFinished)] == [9]
    assert checkpointer.wait() is None
    bus.close()


def test_two_ranks_make_one_checkpoint(run):
    """Rank 0 renames only after the other rank's files are on disk with their digests."""
    first, second = Saver(run, world_size=2), Saver(run, world_size=2, rank=1)
    first.save(3)
    assert not run.checkpoint(3).exists()
    second.save(3)
    second.checkpointer.wait()
    first.checkpointer.wait()
    info = checkpoint_dir.verify(run.checkpoint(3))
    assert len(checkpoint.load_optimizer_states(info)) == 2
    assert not list(run.checkpoint(3).glob(".*"))


@pytest.mark.parametrize("name", ["model.safetensors", "optim-rank-0.safetensors", "state.json"])
def test_one_flipped_byte_is_found_and_the_one_before_is_used(run, name):
    """Tensor formats load flipped bytes silently; the digest does not."""
    saver = Saver(run)
    saver.save(1)
    saver.save(2)
    saver.checkpointer.wait()
    path = run.checkpoint(2) / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 0x10
    path.write_bytes(data)
    info, problems = checkpoint_dir.newest_valid(run)
    assert info is not None
    assert info.step == 1
    assert len(problems) == 1
    assert "step-2" in problems[0]


@pytest.mark.parametrize("damage", ["truncate", "delete", "no manifest", "bad manifest"])
def test_a_broken_directory_is_no_checkpoint(run, damage):
    """Truncated or missing files and manifests: reported, never loaded."""
    saver = Saver(run)
    saver.save(1)
    saver.checkpointer.wait()
    path = run.checkpoint(1)
    model = path / "model.safetensors"
    match damage:
        case "truncate":
            model.write_bytes(model.read_bytes()[:-1])
        case "delete":
            model.unlink()
        case "no manifest":
            (path / "MANIFEST.json").unlink()
        case "bad manifest":
            (path / "MANIFEST.json").write_text("{")
    assert checkpoint_dir.list_checkpoints(run) == []
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        checkpoint_dir.newest_valid(run)


def test_a_manifest_cannot_reach_outside_its_folder(run):
    """A stranger's manifest names plain file names only."""
    saver = Saver(run)
    saver.save(1)
    saver.checkpointer.wait()
    manifest = run.checkpoint(1) / "MANIFEST.json"
    content = json.loads(manifest.read_text())
    content["files"]["../../run.json"] = {"size": 1, "sha256": "x"}
    manifest.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="outside"):
        checkpoint_dir.read(run.checkpoint(1))


def test_a_failing_disk_costs_the_checkpoint_and_nothing_else(run, monkeypatch):
    """The failure is an event; the previous checkpoint stands; no half one is left."""
    saver = Saver(run)
    saver.save(1)
    saver.checkpointer.wait()

    def full(path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_dir, "sync", full)
        saver.save(2)
        failure = saver.checkpointer.wait()
    assert failure is not None
    assert "No space left" in failure
    assert [event.level for event in saver.events if isinstance(event, LogLine)] == ["error"]
    assert [info.step for info in checkpoint_dir.list_checkpoints(run)] == [1]
    assert list(run.checkpoints.glob(".step-*")) == []
    saver.save(2)
    assert saver.checkpointer.wait() is None
    assert checkpoint_dir.verify(run.checkpoint(2)).step == 2


def test_the_newest_the_best_and_the_marked_stay(run):
    """Old ones go only after a newer one is whole."""
    saver = Saver(run, keep=2)
    for step, loss in [(1, 3.0), (2, 1.0), (3, 2.0), (4, 2.5), (5, 2.6), (6, 2.7)]:
        saver.save(step, val_loss=loss)
        saver.checkpointer.wait()
        if step == 1:
            (run.checkpoints / "step-1.keep").touch()
    assert [info.step for info in checkpoint_dir.list_checkpoints(run)] == [1, 2, 5, 6]
    removed = [event.step for event in saver.events if isinstance(event, CheckpointRemoved)]
    assert removed == [3, 4]


def test_leftovers_of_a_killed_saver_are_cleared(run):
    """A partial directory is never taken for a checkpoint."""
    partial = checkpoint_dir.partial_path(run, 9, attempt=1, save=1)
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    assert checkpoint_dir.newest_valid(run) == (None, [])
    assert checkpoint_dir.remove_partials(run) == [partial]
    assert not partial.exists()


def test_a_dead_peer_costs_the_checkpoint_not_the_run(run, monkeypatch):
    """Rank 0 does not wait for ever for a rank that died while saving."""
    monkeypatch.setattr(checkpoint, "PEERS_TIMEOUT_SECONDS", 0.05)
    saver = Saver(run, world_size=2)
    saver.save(1)
    assert "rank 1" in (saver.checkpointer.wait() or "")
    assert threading.active_count() >= 1


def test_the_random_state_of_the_boundary_is_restored(run):
    """Numbers drawn after a resume are those an unbroken run would draw."""
    torch.manual_seed(3)
    saver = Saver(run)
    saver.save(1)
    expected = torch.rand(4)
    saver.checkpointer.wait()
    torch.manual_seed(99)
    checkpoint.restore_random_state(checkpoint_dir.read(run.checkpoint(1)), 0)
    assert torch.equal(torch.rand(4), expected)


PLACES = {
    "a file": lambda path, victim: path.write_text("theirs"),
    "a pipe": lambda path, victim: os.mkfifo(path),
    "a link": lambda path, victim: path.symlink_to(victim),
}


@pytest.mark.parametrize("kind", PLACES)
def test_what_stands_in_the_place_of_the_folder_is_named(kind, run, tmp_path):
    """Nothing is written through a link; the sentence says what to type, and that heals it."""
    saver = Saver(run)
    victim = tmp_path / "victim"
    victim.mkdir()
    run.checkpoints.rmdir()
    PLACES[kind](run.checkpoints, victim)
    saver.save(1)
    failure = saver.checkpointer.wait()
    assert list(victim.iterdir()) == []
    assert failure is not None
    assert f"{run.checkpoints} is {kind}; expected a folder" in failure
    assert not saver.checkpointer.waiting_helps, "room is not what is missing"
    command = f"mv {run.checkpoints} {run.checkpoints}.aside"
    assert f"`{command}`" in failure
    subprocess.run(command.split(), check=True)
    saver.save(1)
    assert saver.checkpointer.wait() is None
    assert checkpoint_dir.verify(run.checkpoint(1)).step == 1


@pytest.mark.parametrize("when", ["before", "while it is written"])
def test_another_runs_folder_in_the_place_of_its_own_gets_no_checkpoint(
    when, run, tmp_path, monkeypatch
):
    """`mv RUN elsewhere; mv OTHER RUN`: the checkpoint became one of the other run."""
    saver = Saver(run)
    other = run_dir.create(tmp_path / "others", "other", datetime(2026, 1, 2, 3, 4, 5))

    def swap():
        run.path.rename(tmp_path / "elsewhere")
        other.path.rename(run.path)

    if when == "before":
        swap()
    else:
        # A partial folder of that name, too: nothing of another run is cleared away.
        partial = checkpoint_dir.partial_path(other, 3, 1, 1)
        partial.mkdir()
        saver.checkpointer._settle_log = swap
    saver.save(3)
    failure = saver.checkpointer.wait()
    left = [path.name for path in run.checkpoints.iterdir()]
    assert left == ([] if when == "before" else [partial.name])
    assert failure is not None
    assert f"was moved to {tmp_path / 'elsewhere'}" in failure
    assert not saver.checkpointer.waiting_helps
    assert not saver.checkpointer.has(3)
