"""What the run picker lists: runs and recent logs, read in a thread and kept up to date.

A folder of a thousand runs is read in a fraction of a second, and its rows come in while it is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import RunDirError
from engine.run import run_dir
from engine.run.owners import owner
from engine.run.run_dir import RunDir
from sftui.sources import recent_logs
from sftui.sources.recent_logs import RecentLog
from sftui.sources.run_briefs import SILENT_SECONDS, Brief, Briefs, Results
from sftui.text.clean import clean

BATCH = 100
"""Runs that are read before the list is shown anew."""
LOOK_SECONDS, SHARE = 2.0, 50
"""Between two readings of the folder, and how many times longer than one takes that is at least:
a list that nobody looks at costs two hundredths of a core at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the picker."""

    kind: Literal["run", "log"]
    target: str
    """As every command takes it: an absolute path."""
    name: str
    state: str
    """In words: `running`, `finished`, `log`, ..."""
    readable: bool = True
    """Whether one may look into it."""
    live: bool = False
    done: int | None = None
    planned: int | None = None
    last_loss: float | None = None
    best_loss: float | None = None
    tasks: Results = ()
    t: float | None = None
    """Of the newest event or change, seconds since the epoch."""
    size: int | None = None
    """Bytes of a log."""

    @property
    def words(self) -> tuple[str, ...]:
        """The command that shows it, and its target."""
        return ("attach" if self.kind == "run" else "replay", self.target)

    def silent(self, now: float) -> float:
        """Seconds for which a living run has not said anything, where that is worth a word."""
        since = 0.0 if self.t is None else now - self.t
        return since if self.live and since > SILENT_SECONDS else 0.0


def entry_of_run(run: RunDir, brief: Brief) -> Entry:
    """The row of a run."""
    return Entry(
        kind="run",
        target=str(run.path),
        name=clean(run.id, 120),
        state=brief.status,
        live=brief.alive and not brief.ended,
        done=brief.done,
        planned=brief.planned,
        last_loss=brief.last_loss,
        best_loss=brief.best_loss,
        tasks=brief.tasks,
        t=brief.last_t,
    )


def entry_of_log(log: RecentLog, here: Path) -> Entry:
    """The row of a log; what nobody has read of it yet is not known."""
    path = Path(log.path)
    with contextlib.suppress(ValueError):
        path = path.relative_to(here)
    return Entry(
        kind="log",
        target=log.path,
        name=clean(str(path), 200),
        state="log",
        done=log.done if log.known else None,
        last_loss=log.last_loss,
        tasks=log.tasks,
        t=log.changed,
        size=log.size,
    )


def in_order(entries: list[Entry]) -> list[Entry]:
    """What lives first, then the newest."""
    return sorted(entries, key=lambda e: (e.live, e.t or 0.0, e.name), reverse=True)


class EntryFeed:
    """The list, read again and again by a thread until it is closed.

    Args:
        root: where the runs lie.
        here: logs are looked for in this folder, and named from it.
        memory: of the runs that are over (see `run_briefs`); None remembers nothing.
        clock: seconds, for how long a reading takes.
    """

    def __init__(
        self,
        root: Path,
        here: Path,
        memory: Path | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self._here = here
        self._memory = memory
        self._clock = clock
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self.version = 0
        """Raised with every change of the list."""
        self.loaded = False
        """Whether everything was read once."""
        self.problem = ""
        """Why the folder cannot be listed."""

    @property
    def entries(self) -> list[Entry]:
        """The rows in their order, as far as they are read."""
        with self._lock:
            return self._entries

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._work, name="run-entries", daemon=True).start()

    def close(self) -> None:
        """Read nothing any more."""
        self._closed.set()

    def _work(self) -> None:
        briefs = Briefs(self._memory)
        while not self._closed.is_set():
            began = self._clock()
            self.read(briefs)
            took = self._clock() - began
            self._closed.wait(max(LOOK_SECONDS, SHARE * took))

    def read(self, briefs: Briefs) -> None:
        """Read the folder once."""
        try:
            (runs, private), self.problem = run_dir.runs_and_private(self.root), ""
        except RunDirError as error:
            runs, private, self.problem = [], [], str(error)
        entries = [_private(run) for run in private]
        entries += [entry_of_log(log, self._here) for log in recent_logs.listed(self._here)]
        for number, run in enumerate(runs):
            if self._closed.is_set():
                return
            entries.append(_of(run, briefs))
            if not self.loaded and (number + 1) % BATCH == 0:
                self._show(entries)
        self._show(entries)
        if not self.loaded:
            self.loaded = True
            self.version += 1
        briefs.save()

    def _show(self, entries: list[Entry]) -> None:
        ordered = in_order(entries)
        with self._lock:
            if ordered == self._entries:
                return
            self._entries = ordered
        self.version += 1


def _private(run: RunDir) -> Entry:
    """The row of a run that may not be read."""
    state = f"private to {clean(owner(run.path), 60)}"
    name = clean(run.id, 120)
    return Entry(kind="run", target=str(run.path), name=name, state=state, readable=False)


def _of(run: RunDir, briefs: Briefs) -> Entry:
    """The row of a run; one that cannot be read costs its own row alone."""
    try:
        return entry_of_run(run, briefs.of(run))
    except Exception as error:  # whatever is wrong with one run must not hide the others
        said = clean(f"cannot be read: {error}", 120)
        return Entry(kind="run", target=str(run.path), name=clean(run.id, 120), state=said)
