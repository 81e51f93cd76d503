"""What the list of runs needs of each, remembered until a file of the run changes.

A list reads a few lines of each run (`skim`) and remembers what it found in a file of the user's
own, for as long as the files of the run do not change.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from engine.files import checked
from engine.run import lock, run_dir
from engine.run.run_dir import RunDir
from sftui.sources import skim, snapshot
from sftui.sources.snapshot import RunStatus, Snapshot
from sftui.state.run_state import RunState
from sftui.statistics.scored import accuracy_of

VERSION = 3
"""Raised when the same files give other values."""

MOST_RUNS = 20_000

MOST_TASKS = 16
"""Results of the newest evaluation that a line has room for."""

_MOST_BYTES = 32 * 1024 * 1024

SILENT_SECONDS = 30.0
"""Silence after which it is mentioned: ranks send a heartbeat every second, also during
evaluations and saves."""

Results = tuple[tuple[str, float], ...]
"""Tasks by name, and accuracies in [0, 1]."""

Stamp = list[list[int]]
"""Inode, size and time of change of each file that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """A run in one line of the list."""

    badge: str
    ended: bool
    done: int
    planned: int | None
    best_loss: float | None
    best_step: int | None
    last_t: float | None
    """Of the newest event, seconds since the epoch."""
    unreadable: int
    """Lines that could not be read."""
    last_loss: float | None = None
    """Training loss of the newest update, in nats a token; None where it is no number."""
    tasks: Results = ()
    """Of the newest evaluation."""
    alive: bool = False
    """Asked anew each time."""

    @property
    def status(self) -> RunStatus:
        """As `Snapshot.status`."""
        return snapshot.status_of(self.badge, self.ended, self.alive, self.last_t)


_FIELDS = tuple(each.name for each in fields(Brief))
"""Named once: `asdict` copies each value deeply, which is a twentieth of a first list."""


def brief_of(shot: Snapshot) -> Brief:
    """The brief of a run that was read whole."""
    return _brief_of(shot.state, shot.lines_unrecognised, alive=bool(shot.alive))


def read(run: RunDir) -> Brief:
    """The brief of a run from its files, of which as little is read as will do."""
    skimmed = skim.read(run)
    if skimmed is None:
        return brief_of(snapshot.read_run(run))
    state, unreadable = skimmed
    # Of one that ended, nobody asks.
    alive = not state.ended and lock.evidence(run)[0]
    return _brief_of(state, unreadable, alive=alive)


def _brief_of(state: RunState, unreadable: int, *, alive: bool) -> Brief:
    best = state.best_validation
    return Brief(
        badge=state.badge,
        ended=state.ended,
        done=state.done,
        planned=state.planned,
        best_loss=None if best is None else best.loss,
        best_step=None if best is None else best.step,
        last_t=state.last_t,
        unreadable=unreadable,
        last_loss=last_loss(state),
        tasks=newest_results(state),
        alive=alive,
    )


def last_loss(state: RunState) -> float | None:
    """Training loss of the newest update; None where it is no number."""
    loss = None if state.last_step is None else state.last_step.loss
    return loss if loss is not None and math.isfinite(loss) else None


def newest_results(state: RunState) -> Results:
    """The accuracies of the newest step that was evaluated, by name of the task."""
    newest = max((found.last_step for found in state.evals.values() if found), default=None)
    if newest is None:
        return ()
    evals = sorted(state.evals.items())
    here = ((task, found[newest]) for task, found in evals if newest in found)
    known = ((task, accuracy_of(result)) for task, result in here)
    return tuple((task, share) for task, share in known if share is not None)[:MOST_TASKS]


class Briefs:
    """Briefs of runs, with what is remembered of the last time.

    Args:
        memory: the file; None remembers nothing.
    """

    def __init__(self, memory: Path | None) -> None:
        self._memory = memory
        self._known = _load(memory) if memory is not None else {}
        self._changed = False

    def of(self, run: RunDir) -> Brief:
        """The brief of a run, read anew where its files are others than the last time."""
        # Before they are read: what comes meanwhile makes them others.
        stamp = _stamp(run)
        known = self._known.get(str(run.path))
        if known is not None and known["stamp"] == stamp:
            brief = _remembered(known)
            if brief is not None:
                alive = not brief.ended and lock.evidence(run)[0]
                return replace(brief, alive=alive)
        brief = read(run)
        values = {name: getattr(brief, name) for name in _FIELDS}
        self._known[str(run.path)] = {"stamp": stamp, **values}
        self._changed = True
        return brief

    def save(self) -> None:
        """Remember; says nothing where it cannot, as in a home that is not writable."""
        if self._memory is None or not self._changed:
            return
        newest = dict(list(self._known.items())[-MOST_RUNS:])
        with contextlib.suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"version": VERSION, "runs": newest})
            run_dir.write_private(self._memory, text.encode("utf-8", "surrogatepass"))


def memory_path() -> Path:
    """Beside the file that `SFTUI_CONFIG` names, else this system's place for caches."""
    if named := os.environ.get("SFTUI_CONFIG"):
        return Path(named).expanduser().with_suffix(".runs.json")
    from platformdirs import user_cache_path  # noqa: PLC0415  not needed where it is named

    return user_cache_path("sftui") / "runs.json"


def _stamp(run: RunDir) -> Stamp:
    found = []
    for path in (run.events, run.supervisor_events, run.manifest):
        with contextlib.suppress(OSError):
            status = path.lstat()
            found.append([status.st_ino, status.st_size, status.st_mtime_ns])
            continue
        found.append([])
    return found


def _load(memory: Path) -> dict[str, dict[str, Any]]:
    with contextlib.suppress(OSError, ValueError, KeyError):
        found = checked.table(checked.read_json(memory, _MOST_BYTES))
        if found.get("version") == VERSION:
            return {
                path: checked.table(entry) for path, entry in checked.table(found["runs"]).items()
            }
    return {}


def results_from(raw: Any) -> Results:
    """Results that were written as JSON.

    Raises:
        ValueError, TypeError: the file is damaged.
    """
    return tuple((checked.text(task), checked.number(share)) for task, share in raw)


def _remembered(known: dict[str, Any]) -> Brief | None:
    """What is remembered of a run; None where the memory is damaged."""

    def number(name: str) -> float | None:
        return None if known[name] is None else checked.number(known[name])

    def whole(name: str) -> int | None:
        return None if known[name] is None else checked.whole(known[name])

    with contextlib.suppress(ValueError, KeyError, TypeError):
        return Brief(
            badge=checked.text(known["badge"]),
            ended=known["ended"] is True,
            done=checked.whole(known["done"]),
            planned=whole("planned"),
            best_loss=number("best_loss"),
            best_step=whole("best_step"),
            last_t=number("last_t"),
            unreadable=checked.whole(known["unreadable"]),
            last_loss=number("last_loss"),
            tasks=results_from(known["tasks"]),
        )
    return None
