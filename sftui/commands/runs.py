"""The runs of a folder: the status and progress of each, and how one is deleted.

A status is evidence: a run is `running` because a process holds it, and `silent` when
that process has not said anything for longer than its heartbeats take.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from engine.checkpoints import checkpoint_dir
from engine.errors import RunDirError
from engine.run import lock, run_dir
from engine.run.owners import owner
from engine.run.run_dir import RunDir
from sftui.sources import snapshot
from sftui.sources.run_briefs import SILENT_SECONDS, Brief, Briefs, brief_of
from sftui.sources.snapshot import Snapshot
from sftui.text import format as fmt
from sftui.text.clean import clean


def table(root: Path, now: float, memory: Path | None = None) -> list[str]:
    """Header and one line a run, newest first; `now` in seconds since the epoch.

    `memory`: where what was read of runs that are over is remembered (see `run_briefs`).
    """
    found, private = run_dir.runs_and_private(root)
    if not found and not private:
        return [run_dir.none_under(root, private)]
    rows = [["run", "status", "step", "best val", "age", "size"]]
    briefs = Briefs(memory)
    rows += [_row_or_why(briefs, run, now) for run in found]
    briefs.save()
    rows += [_row_of(run, f"private to {owner(run.path)}") for run in private]
    rows[1:] = sorted(rows[1:], reverse=True)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _row_or_why(briefs: Briefs, run: RunDir, now: float) -> list[str]:
    """The row of a run; one that cannot be read costs its own row alone."""
    try:
        return _row(briefs.of(run), run, now)
    except Exception as error:
        # Whatever is wrong with one run must not hide the others.
        return _row_of(run, f"cannot be read: {type(error).__name__}: {error}")


def _row_of(run: RunDir, status: str) -> list[str]:
    return [clean(run.id, 120), clean(status, 60), "-", "-", "-", "-"]


def status_words(shot: Snapshot, now: float) -> str:
    """The status, and for how long a living run has been silent."""
    return _status(brief_of(shot), now)


def _status(brief: Brief, now: float) -> str:
    silent = 0.0 if brief.last_t is None else now - brief.last_t
    if brief.alive and not brief.ended and silent > SILENT_SECONDS:
        return f"{brief.status}, silent for {fmt.duration(silent)}"
    return brief.status


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
    path = clean(str(run.path), 1000)
    if run.path.is_symlink():
        there = clean(str(run.path.resolve()), 1000)
        return [f"{path}: a link to {there}", "  the link alone goes; the run itself stays"]
    shot = snapshot.read_run(run)
    state = shot.state
    lines = [f"{path}: {status_words(shot, now)}, {fmt.count(state.done)} updates"]
    kept = checkpoint_dir.list_checkpoints(run)
    if kept:
        steps = ", ".join(f"{info.step:,}{' (marked)' if info.marked else ''}" for info in kept)
        total = fmt.size(sum(info.size_bytes for info in kept))
        lines.append(f"  {len(kept)} checkpoints, {total}: steps {steps}")
    if run.export.is_dir():
        lines.append(f"  the export {run.export.name}/, {fmt.size(_size(run.export))}")
    if run.report.is_file():
        lines.append(f"  the report {run.report.name}")
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
        if run.path.is_symlink():
            # What it leads to is kept: the link is all that was listed here.
            run.path.unlink()
        else:
            run.path.rename(going)
            shutil.rmtree(going)
    except OSError as error:
        raise RunDirError(f"{run.path} cannot be removed: {error.strerror or error}.") from None
    if points_here:
        link.unlink(missing_ok=True)


def _row(brief: Brief, run: RunDir, now: float) -> list[str]:
    planned = "" if brief.planned is None else f"/{fmt.count(brief.planned)}"
    best = "-" if brief.best_loss is None else f"{fmt.loss(brief.best_loss)} @{brief.best_step}"
    return [
        clean(run.id, 120),
        _with_bad_lines(_status(brief, now), brief.unreadable),
        f"{fmt.count(brief.done)}{planned}",
        best,
        "-" if brief.last_t is None else fmt.age(max(0.0, now - brief.last_t)),
        fmt.size(_size(run.path)),
    ]


def _with_bad_lines(status: str, count: int) -> str:
    return f"{status}, {count:,} unreadable line{'s' * (count != 1)}" if count else status


def _size(folder: Path) -> int:
    """Bytes of the regular files under a folder; links are not followed."""
    return sum(_sizes(str(folder)))


def _sizes(folder: str) -> Iterator[int]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _sizes(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    # One may go while we look: a pruned checkpoint.
                    with contextlib.suppress(OSError):
                        yield entry.stat(follow_symlinks=False).st_size
    except OSError:
        return
