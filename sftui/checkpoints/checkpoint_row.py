"""One checkpoint as the browser lists it: what the log says and what is on disk."""

from __future__ import annotations

from dataclasses import dataclass

from engine.checkpoints.checkpoint_dir import CheckpointInfo
from sftui.state.records import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """A row of the list; `best`: of the lowest validation loss, `marked`: never pruned."""

    known: Checkpoint
    info: CheckpointInfo | None
    """What lies on disk; None when it is gone, or is no resumable checkpoint of a run here."""
    best: bool
    marked: bool
    exported: bool

    @property
    def step(self) -> int:
        return self.known.step

    @property
    def name(self) -> str:
        """As the list shows it: `step 300`, `nanochat 300` or `start`."""
        if self.known.kind == "start":
            return "start"
        if self.known.exported:
            what = "nanochat" if self.known.kind == "nanochat" else "export"
            return f"{what} {self.known.step:,}"
        return f"step {self.known.step:,}"
