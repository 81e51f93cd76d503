"""A run or log as it stands now: its files read to their end, with the evidence that it is alive.

`show`, `runs` and `report` all start here, so they agree on what a status means. A run
whose log has no end and whose processes are gone was interrupted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine import events as ev
from engine.alarms.alarm_engine import AlarmEngine
from engine.files import checked
from engine.run import lock
from engine.run.run_dir import RunDir
from sftui.readers import LineCounts
from sftui.readers.journal import JournalReader
from sftui.sources import open_log
from sftui.sources.reading import FOUND_OUT, Reading, no_stage
from sftui.sources.recording import Timeline
from sftui.state import deleted_checkpoints
from sftui.state.run_state import RunState

FORMAT = "sftui run directory"

RunStatus = Literal["running", "paused", "finished", "failed", "interrupted", "unknown"]
"""`interrupted`: stopped on request, or gone without a word."""

_ENDS: dict[str, RunStatus] = {"finished": "finished", "failed": "failed"}

_BLOCK_BYTES = 1024 * 1024

Listener = Callable[[ev.Event], None]
"""Called with each event, after the state has applied it."""


class Stage:
    """One program of a log; a run of ours has one, `chat_sft`."""

    __slots__ = ("_make", "_state", "name")

    def __init__(self, *, name: str, state: RunState | Callable[[], RunState]) -> None:
        """`state`: or what makes it when somebody looks; a log may hold thousands of programs."""
        self.name = name
        self._state = state if isinstance(state, RunState) else None
        self._make = None if isinstance(state, RunState) else state

    @property
    def state(self) -> RunState:
        if self._state is None:
            assert self._make is not None
            self._state, self._make = self._make(), None
        return self._state


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One run directory or log, read to its end: a state for each stage, and whether it lives."""

    path: Path
    title: str
    format: str
    stages: tuple[Stage, ...]
    shown: int
    """Index of the stage shown by default: the last SFT stage, else the one with most updates."""
    alive: bool | None
    """None for a log, which has no process."""
    evidence: str
    """What `alive` rests on, or how the log was recognised, in words."""
    lines_total: int
    lines_unrecognised: int
    leftovers: LineCounts = field(default_factory=LineCounts)
    """Of a log: the lines that held numbers and gave none."""
    run: RunDir | None = None

    @property
    def state(self) -> RunState:
        return self.stages[self.shown].state

    @property
    def stage(self) -> str:
        """Name of the stage that is shown."""
        return self.stages[self.shown].name

    def told(self, most: int) -> list[int]:
        """Indices of the stages that are told of one by one, in order: all up to `most`, of more
        the first and the last half of that and the one that is shown."""
        count = len(self.stages)
        if count <= most:
            return list(range(count))
        half = most // 2
        return sorted({*range(half), self.shown, *range(count - half, count)})

    @property
    def status(self) -> RunStatus:
        """How the run stands, by what its log says and whether its processes live."""
        state = self.state
        return status_of(state.badge, state.ended, self.alive, state.last_t)


def status_of(badge: str, ended: bool, alive: bool | None, last_t: float | None) -> RunStatus:
    """How a run stands, by the state of its log and by whether its processes live."""
    if ended:
        return _ENDS.get(badge, "interrupted")
    if alive is None:
        return "unknown"
    if alive:
        return "paused" if badge == "paused" else "running"
    return "interrupted" if last_t is not None else "unknown"


def read(
    target: str | None,
    runs_dir: str | Path | None = None,
    listener: Listener | None = None,
    *,
    judge_log: bool = False,
    reading: Reading = FOUND_OUT,
) -> Snapshot:
    """Read a run, by id or folder, or a log of any known format, to its end.

    Args:
        target: None for the newest run.
        listener: called with every event of the stage that is shown, for what the state does not
            keep.
        judge_log: raise the alarms of another program's log, as the screen does; a run of
            ours has raised its own.
        reading: what was said of a log, and which of its stages is shown.

    Raises:
        UsageError: there is no such run, file or stage, or it is no log of a known format.
    """
    stage = reading.stage
    if target is None or (reading.format is None and reading.mapped is None):
        run = open_log.run_named(target, runs_dir)
        if run is not None:
            return _only_stage(read_run(run, listener), stage)
    assert target is not None, "the newest run is a run"
    opened = open_log.read_whole(
        target, runs_dir=runs_dir, format_name=reading.format, mapped=reading.mapped
    )
    if opened.run is not None:
        return _only_stage(read_run(opened.run, listener), stage)
    stages: list[Stage] = []
    found = opened.recording.stages
    if stage is not None and not 1 <= stage <= len(found):
        raise no_stage(stage, [each.name for each in found])
    shown = (opened.recording.preferred() or 0) if stage is None else stage - 1
    for number, each in enumerate(found):
        heard = listener if number == shown else None
        make = functools.partial(_state_of, each.timeline, heard, judge_log=judge_log)
        stages.append(Stage(name=each.name, state=make() if number == shown else make))
    lines = opened.source.lines
    return Snapshot(
        path=opened.path,
        title=opened.title,
        format=opened.source.format,
        stages=tuple(stages),
        shown=shown,
        alive=None,
        evidence=opened.why,
        lines_total=lines.total,
        lines_unrecognised=lines.unrecognised,
        leftovers=lines,
    )


def _state_of(timeline: Timeline, listener: Listener | None, *, judge_log: bool) -> RunState:
    """The state behind all events of a stage."""
    state = RunState()
    events: Iterable[ev.Event] = timeline.news(0, len(timeline))
    for event in with_alarms(events) if judge_log else events:
        state.apply(event)
        if listener is not None:
            listener(event)
    return state


def _only_stage(shot: Snapshot, stage: int | None) -> Snapshot:
    """A run of ours, which is its own first stage."""
    if stage not in (None, 1):
        raise no_stage(stage or 0, [each.name for each in shot.stages])
    return shot


def with_alarms(events: Iterable[ev.Event]) -> Iterator[ev.Event]:
    """The events of a log, each followed by the alarms that it raises or clears."""
    engine = AlarmEngine()
    for event in events:
        yield event
        yield from engine.observe(event)


def read_run(run: RunDir, listener: Listener | None = None) -> Snapshot:
    """Read a run directory to the end of its files."""
    main, supervisor = JournalReader(to_its_end=True), JournalReader(to_its_end=True)
    state = RunState()
    for event in by_time(_events(main, run.events), _events(supervisor, run.supervisor_events)):
        state.apply(event)
        if listener is not None:
            listener(event)
    state.lose(deleted_checkpoints.missing(run, state))
    alive, evidence = lock.evidence(run)
    return Snapshot(
        path=run.path,
        title=run.id,
        format=FORMAT,
        stages=(Stage(name="chat_sft", state=state),),
        shown=0,
        run=run,
        alive=alive,
        evidence=evidence,
        lines_total=main.lines.total + supervisor.lines.total,
        lines_unrecognised=main.lines.unrecognised + supervisor.lines.unrecognised,
    )


def _events(reader: JournalReader, path: Path) -> Iterator[ev.Event]:
    """The events of a journal, updates as batches; none where there is no file that may be read."""
    try:
        with checked.open_file(path) as file:
            while data := file.read(_BLOCK_BYTES):
                yield from reader.feed(data)
                checked.skip_hole(file, data)
    except OSError:
        pass
    yield from reader.close()


def by_time(main: Iterator[ev.Event], other: Iterator[ev.Event]) -> Iterator[ev.Event]:
    """The events of a run's two logs, the older of the two next: the loss of a rank comes between
    two attempts. The order within each stays."""
    waiting = next(other, None)
    for event in main:
        while waiting is not None and _time(waiting) < _time(event):
            yield waiting
            waiting = next(other, None)
        yield event
    if waiting is not None:
        yield waiting
    yield from other


def _time(event: ev.Event) -> float:
    if isinstance(event, ev.StepBatch):
        return event.times[0] if event.times else 0.0
    return event.stamp.t or 0.0
