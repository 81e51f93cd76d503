"""A run or log as it stands now: its files read to their end, folded once, with evidence of life.

`show`, `runs` and `report` all start here, so that they never disagree on what a
status means. Status comes from evidence, not from hope: a run that never said it
ended and whose processes are gone was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine import events as ev
from engine.run import lock, run_dir
from engine.run.run_dir import RunDir
from sftui.readers import LineCounts
from sftui.sources import open as open_sources
from sftui.sources.tail import TailSource
from sftui.state import deleted_checkpoints
from sftui.state.run_state import RunState

FORMAT = "sftui run directory"

Listener = Callable[[int, ev.Event], None]
"""Hears each event with the number of its stage, once the state has taken it in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One program of a log; a run of ours has one, `chat_sft`."""

    name: str
    state: RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is known of one run directory or log."""

    path: Path
    title: str
    format: str
    stages: tuple[Stage, ...]
    shown: int
    """The stage a person most likely means: the last SFT stage, else the fullest."""
    alive: bool | None
    """None for a log, which has no process that could be looked at."""
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
        """Its name."""
        return self.stages[self.shown].name

    @property
    def status(self) -> str:
        """running, paused, finished, failed, interrupted or unknown."""
        state = self.state
        if state.ended:
            return {"finished": "finished", "failed": "failed"}.get(state.badge, "interrupted")
        if self.alive is None:
            return "unknown"
        if self.alive:
            return "paused" if state.badge == "paused" else "running"
        return "interrupted" if state.last_t is not None else "unknown"


def look(
    target: str | None,
    runs_dir: str | Path | None = None,
    listener: Listener | None = None,
    *,
    format_name: str | None = None,
    mapped: str | None = None,
) -> Snapshot:
    """Whatever a person names: a run, its folder, or a log of any known format.

    `listener` is for what the state does not keep; `format_name` and `mapped` are those of
    `--format` and `--map`.

    Raises:
        UsageError: there is no such run or file, or it is no log that anybody can read.
    """
    if target is None:
        return take(run_dir.find(None, run_dir.runs_root(runs_dir)), listener)
    opened = open_sources.read_whole(
        target, runs_dir=runs_dir, format_name=format_name, mapped=mapped
    )
    if opened.run is not None:
        return take(opened.run, listener)
    stages: list[Stage] = []
    for stage in opened.recording.stages:
        state = RunState()
        for event in stage.timeline.news(0, len(stage.timeline)):
            state.apply(event)
            if listener is not None:
                listener(len(stages), event)
        stages.append(Stage(name=stage.name, state=state))
    lines = opened.source.lines
    return Snapshot(
        path=opened.path,
        title=opened.title,
        format=opened.source.format,
        stages=tuple(stages),
        shown=opened.recording.preferred() or 0,
        alive=None,
        evidence=opened.why,
        lines_total=lines.total,
        lines_unrecognised=lines.unrecognised,
        leftovers=lines,
    )


def take(run: RunDir, listener: Listener | None = None) -> Snapshot:
    """Read a run directory to the end of its files."""
    source = TailSource(run)
    state = RunState()
    total = 0
    while events := source.poll(max_events=20_000, max_seconds=60.0):
        total += len(events)
        for event in events:
            state.apply(event)
            if listener is not None:
                listener(0, event)
    for event in deleted_checkpoints.missing(run, state):
        state.apply(event)
    alive, evidence = lock.evidence(run)
    bad = source.num_bad_lines
    return Snapshot(
        path=run.path,
        title=run.id,
        format=FORMAT,
        stages=(Stage(name="chat_sft", state=state),),
        shown=0,
        run=run,
        alive=alive,
        evidence=evidence,
        lines_total=total + bad,
        lines_unrecognised=bad + state.unknown,
    )
