"""Checkpoints that an event names and the disk lacks, few or a hundred thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import events as ev
from engine.run.run_dir import RunDir
from sftui.state import deleted_checkpoints
from sftui.state.records import Checkpoint
from sftui.state.run_state import RunState


def saved(number: int) -> RunState:
    state = RunState()
    for step in range(number):
        state.apply(ev.CheckpointSaved(step=step, path=f"ckpt/step-{step}", size_bytes=9))
    return state


@pytest.mark.parametrize("number", [3, 500])
def test_checkpoints_that_the_disk_lacks_are_marked_at_once(tmp_path: Path, number: int) -> None:
    """Few or many, the state is that of as many removals."""
    run = RunDir(tmp_path)
    run.checkpoint(1).mkdir(parents=True)
    state, single = saved(number), saved(number)
    gone = deleted_checkpoints.missing(run, state)
    assert [known.step for known in gone] == [step for step in range(number) if step != 1]
    assert state.lose(gone)
    for step in range(number):
        if step != 1:
            single.apply(ev.CheckpointRemoved(path=f"ckpt/step-{step}"))
    assert state.checkpoints == single.checkpoints
    assert list(state.checkpoint_rows()) == list(single.checkpoint_rows())
    assert state.checkpoint_rows().removed.tolist() == single.checkpoint_rows().removed.tolist()
    assert state.checkpoint_rows().kept == 1
    assert deleted_checkpoints.missing(run, state) == []
    assert not state.lose([])


def test_what_was_removed_is_not_looked_for_again(tmp_path: Path) -> None:
    """Each tick over a run that is being read asked of every checkpoint so far."""
    state = saved(50)
    for step in range(45):
        state.apply(ev.CheckpointRemoved(path=f"ckpt/step-{step}"))
    state.apply(ev.CheckpointSaved(step=50, path="export-50", kind="nanochat"))
    there: list[Checkpoint] = state.checkpoint_rows().there
    assert [known.step for known in there] == [*range(45, 50), 50]


def test_a_link_to_nothing_is_no_checkpoint(tmp_path: Path) -> None:
    """The folder is listed once, and what it lists is not asked again, but for links."""
    run = RunDir(tmp_path)
    run.checkpoint(1).mkdir(parents=True)
    run.checkpoint(0).symlink_to(run.checkpoint(1))
    run.checkpoint(2).symlink_to(tmp_path / "nowhere")
    state = RunState()
    for step in range(3):
        path = run.relative(run.checkpoint(step))
        state.apply(ev.CheckpointSaved(step=step, path=path, size_bytes=9))
    assert [known.step for known in deleted_checkpoints.missing(run, state)] == [2]


@pytest.mark.parametrize("few", [True, False])
def test_records_made_together_are_those_made_singly(few: bool) -> None:
    state = saved(300)
    rows = [7, 299, 3] if few else list(range(299, -1, -1))
    known = state.checkpoints
    assert list(known.at_all(rows)) == [known.at(row) for row in rows]
