"""The runs of a folder: the status and progress of each, and how one is deleted.

A status is evidence: a run is `running` because a process holds it, and `silent` when
that process has not said anything for longer than its heartbeats take.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.checkpoints import checkpoint_dir
from engine.errors import RunDirError
from engine.run import lock, run_dir
from engine.run.run_dir import RunDir
from sftui.sources import snapshot
from sftui.sources.snapshot import Snapshot
from sftui.text import format as fmt


def table(root: Path, now: float) -> list[str]:
    """Header and one line a run, newest first; `now` in seconds since the epoch."""
    found = run_dir.list_runs(root)
    if not found:
        return [f"no runs under {root}. Start one with `sftui run`."]
    rows = [["run", "status", "step", "best val", "age", "size"]]
    rows += [_row(snapshot.read_run(run), run, now) for run in found]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


SILENT_SECONDS = 30.0
"""Silence after which it is mentioned: ranks send a heartbeat every second, also during
evaluations and saves."""


def status_words(shot: Snapshot, now: float) -> str:
    """The status, and for how long a living run has been silent."""
    last = shot.state.last_t
    if shot.alive and not shot.state.ended and last is not None and now - last > SILENT_SECONDS:
        return f"{shot.status}, silent for {fmt.duration(now - last)}"
    return shot.status


def what_goes(run: RunDir, now: float) -> list[str]:
    """What `rm` would delete, in lines.

    Raises:
        RunDirError: the run is alive, so that its files are still being written.
    """
    alive, evidence = lock.evidence(run)
    if alive:
        raise RunDirError(
            f"{run.id} is running ({evidence}); it is not removed. "
            f"`sftui ctl {run.id} stop` stops it."
        )
    shot = snapshot.read_run(run)
    state = shot.state
    lines = [f"{run.path}: {status_words(shot, now)}, {fmt.count(state.updates)} updates"]
    kept = checkpoint_dir.list_checkpoints(run)
    if kept:
        steps = ", ".join(f"{info.step:,}{' (marked)' if info.marked else ''}" for info in kept)
        total = fmt.size(sum(info.size_bytes for info in kept))
        lines.append(f"  {len(kept)} checkpoints, {total}: steps {steps}")
    if run.export.is_dir():
        lines.append(f"  the export {run.export}, {fmt.size(_size(run.export))}")
    if run.report.is_file():
        lines.append(f"  the report {run.report}")
    lines.append(f"  {fmt.size(_size(run.path))} in all")
    return lines


def remove(run: RunDir, cwd: Path) -> None:
    """Delete a run directory, and `logs/run.log` under `cwd` if it points into it.

    Raises:
        RunDirError: it became alive meanwhile, or cannot be deleted.
    """
    alive, evidence = lock.evidence(run)
    if alive:
        raise RunDirError(f"{run.id} is running ({evidence}); it is not removed.")
    link = cwd / "logs" / "run.log"
    points_here = link.is_symlink() and link.resolve() == run.run_log.resolve()
    # Under another name first: whatever is interrupted half-way is no run any more.
    going = run.path.with_name(f".{run.id}.removed")
    try:
        run.path.rename(going)
        shutil.rmtree(going)
    except OSError as error:
        raise RunDirError(f"{run.path} cannot be removed: {error.strerror}.") from None
    if points_here:
        link.unlink(missing_ok=True)


def _row(shot: Snapshot, run: RunDir, now: float) -> list[str]:
    state = shot.state
    best = state.best_validation
    planned = "" if state.planned is None else f"/{fmt.count(state.planned)}"
    return [
        run.id,
        status_words(shot, now),
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
