"""Checkpoints that the log names and the disk lacks: deleted by hand, or not copied."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from engine.run.run_dir import RunDir
from sftui.state.records import Checkpoint
from sftui.state.run_state import RunState


def missing(run: RunDir, state: RunState) -> list[Checkpoint]:
    """Each resumable checkpoint of `run` that is not on disk and not known to be removed."""
    if not run.path.is_dir():
        return []  # the whole run is elsewhere
    is_there = _looker(run)
    return [
        known
        for known in state.checkpoint_rows().there
        if known.kind == "sftui" and known.path is not None and not is_there(known.path)
    ]


def _looker(run: RunDir) -> Callable[[str], bool]:
    """Whether a path that an event names is there.

    The folder of checkpoints is listed once: a run may name a hundred thousand.
    """
    folder, names = run.relative(run.checkpoints), set[str]()
    with contextlib.suppress(OSError), os.scandir(run.checkpoints) as entries:
        # A link may lead to nothing.
        names = {each.name for each in entries if not each.is_symlink() or Path(each).exists()}

    def is_there(path: str) -> bool:
        parent, _, name = path.rpartition("/")
        return name in names if parent == folder else (run.path / path).exists()

    return is_there
