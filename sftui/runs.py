"""The runs of a folder as a table: how each stands, and what it reached."""

from __future__ import annotations

from pathlib import Path

from engine import run_dir
from engine.run_dir import RunDir
from sftui import format as fmt
from sftui import snapshot
from sftui.snapshot import Snapshot


def table(root: Path, now: float) -> list[str]:
    """Header and one line a run, newest first; `now` in seconds since the epoch."""
    found = run_dir.list_runs(root)
    if not found:
        return [f"no runs under {root}. Start one with `sftui run`."]
    rows = [["run", "status", "step", "best val", "age", "size"]]
    rows += [_row(snapshot.take(run), run, now) for run in found]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _row(shot: Snapshot, run: RunDir, now: float) -> list[str]:
    state = shot.state
    best = state.best_validation
    planned = "" if state.planned is None else f"/{fmt.count(state.planned)}"
    return [
        run.id,
        shot.status,
        f"{fmt.count(state.updates)}{planned}",
        "-" if best is None else f"{fmt.loss(best.loss)} @{best.step}",
        "-" if state.last_t is None else fmt.age(max(0.0, now - state.last_t)),
        fmt.size(_size(run.path)),
    ]


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
        except OSError:
            # It went while we looked: a pruned checkpoint.
            continue
    return total
