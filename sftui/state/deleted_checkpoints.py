"""Checkpoints that the log names and the disk lacks: deleted by hand, or not copied."""

from __future__ import annotations

from engine.events import CheckpointRemoved
from engine.run.run_dir import RunDir
from sftui.state.run_state import RunState


def missing(run: RunDir, state: RunState) -> list[CheckpointRemoved]:
    """A `CheckpointRemoved` for each resumable checkpoint of `run` that is not on disk."""
    if not run.path.is_dir():
        return []  # the whole run is elsewhere
    return [
        CheckpointRemoved(step=known.step, path=known.path, reason="not on disk")
        for known in state.checkpoints.values()
        if known.kind == "sftui"
        and not known.removed
        and known.path is not None
        and not (run.path / known.path).exists()
    ]
