"""What the log says is kept and the disk has not: deleted by hand, or left behind by a copy."""

from __future__ import annotations

from engine.events import CheckpointRemoved
from engine.run.run_dir import RunDir
from sftui.state.run_state import RunState


def missing(run: RunDir, state: RunState) -> list[CheckpointRemoved]:
    """Resumable checkpoints of `run` that are not there any more, as the events nobody wrote."""
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
