"""Logs of other programs that a person may want to open: those opened last, and those lying here.

What a replay showed of a log is remembered in a file of the user's own, beside the memory of the
runs, and counts for as long as the log does not change.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from engine.files import checked
from engine.run import run_dir
from sftui.sources import run_briefs
from sftui.sources.run_briefs import Results
from sftui.state.run_state import RunState

VERSION = 1
MOST_LOGS = 50
"""That are remembered, and that are listed of a folder."""
_MOST_BYTES = 1024 * 1024
_SUFFIXES = frozenset({".log", ".out", ".wandb"})
_NAMES = frozenset({"trainer_state.json", "metrics.csv"})
_PREFIX = "events.out.tfevents."


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentLog:
    """One file, and what a replay showed of it at the end of what it had read."""

    path: str
    """Absolute."""
    changed: float
    """When the file was changed last, seconds since the epoch."""
    size: int
    """Bytes."""
    known: bool = False
    """Whether a replay read it as it is now; the fields below say nothing otherwise."""
    done: int = 0
    last_loss: float | None = None
    tasks: Results = ()


def remember(path: Path, state: RunState | None, memory: Path | None = None) -> None:
    """Put a log first, with what its state says; says nothing where it cannot be written.

    `state`: of the whole log; None where not all of it was shown.
    """
    memory = memory or memory_path()
    path = path.absolute()
    with contextlib.suppress(OSError):
        before = {each["path"]: each for each in _load(memory)}
        log = _as_it_is(path, before.pop(str(path), None))
        if state is not None:
            log = replace(
                log,
                known=True,
                done=state.done,
                last_loss=run_briefs.last_loss(state),
                tasks=run_briefs.newest_results(state),
            )
        found = [asdict(log), *before.values()][:MOST_LOGS]
        memory.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"version": VERSION, "logs": found})
        run_dir.write_private(memory, text.encode("utf-8", "surrogatepass"))


def listed(folder: Path, memory: Path | None = None) -> list[RecentLog]:
    """The logs that were opened and still exist, and those of `folder` and its `logs/`, the
    newest change first."""
    found: dict[str, RecentLog] = {}
    for entry in _load(memory or memory_path()):
        with contextlib.suppress(OSError):
            log = _as_it_is(Path(entry["path"]), entry)
            found[log.path] = log
    for path in _nearby(folder):
        with contextlib.suppress(OSError):
            found.setdefault(str(path), _as_it_is(path, None))
    return sorted(found.values(), key=lambda log: log.changed, reverse=True)[:MOST_LOGS]


def memory_path() -> Path:
    """Beside the memory of the runs."""
    return run_briefs.memory_path().with_suffix(".logs.json")


def _as_it_is(path: Path, entry: Mapping[str, Any] | None) -> RecentLog:
    """A log on disk, with what is remembered of it where it has not changed since.

    Raises:
        OSError: it is not there any more.
    """
    status = path.stat()
    now = RecentLog(path=str(path), changed=status.st_mtime, size=status.st_size)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        if entry is not None and entry["known"] is True and _stamp(entry) == _stamp(asdict(now)):
            loss = entry["last_loss"]
            return replace(
                now,
                known=True,
                done=checked.whole(entry["done"]),
                last_loss=None if loss is None else checked.number(loss),
                tasks=run_briefs.results_from(entry["tasks"]),
            )
    return now


def _stamp(entry: Mapping[str, Any]) -> tuple[float, int]:
    return checked.number(entry["changed"]), checked.whole(entry["size"])


def _nearby(folder: Path) -> Iterator[Path]:
    """Files that look like logs by their names. The link to a run's own log is the run's."""
    for place in (folder, folder / "logs"):
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                name = entry.name
                alike = Path(name).suffix in _SUFFIXES or name in _NAMES or name.startswith(_PREFIX)
                if alike and entry.is_file() and not _is_a_runs(Path(entry.path)):
                    yield Path(entry.path).absolute()


def _is_a_runs(path: Path) -> bool:
    return (path.resolve().parent / "run.json").is_file()


def _load(memory: Path) -> list[dict[str, Any]]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = checked.table(checked.read_json(memory, _MOST_BYTES))
        if found.get("version") == VERSION:
            entries = [checked.table(entry) for entry in found["logs"]]
            return [entry for entry in entries if isinstance(entry.get("path"), str)]
    return []
