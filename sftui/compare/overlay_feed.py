"""Read several runs or logs for one screen, and follow those that are alive."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.run import lock
from sftui.compare.overlaid_runs import Contender, Overlay
from sftui.compare.pairing import check_number
from sftui.sources.open_log import Opened, choose_stage, open_replay
from sftui.sources.reading import FOUND_OUT, Reading
from sftui.sources.snapshot import RunStatus
from sftui.state.records import Topic
from sftui.state.run_state import RunState

FRESH_SECONDS = 120.0
"""A log written to within this time is followed."""
MAX_EVENTS, MAX_SECONDS = 2000, 0.05
_RESULTS = Topic.EVALS | Topic.VALIDATION | Topic.RUN


@dataclass(slots=True, eq=False)
class _Reading:
    contender: Contender
    opened: Opened
    generation: int


class OverlayFeed:
    """Reads the files of an `Overlay` and applies their events."""

    def __init__(self, readings: Sequence[_Reading]) -> None:
        self._readings = list(readings)
        self.overlay = Overlay([reading.contender for reading in readings])

    def poll(self) -> bool:
        """Apply the events that have come; returns whether anything changed."""
        changed = False
        for reading in self._readings:
            if reading.contender.moving:
                touched = self._take(reading)
                changed = changed or bool(touched)
                if touched & _RESULTS:
                    self.overlay.forget_comparison()
        return changed

    def close(self) -> None:
        for reading in self._readings:
            reading.opened.source.close()

    def _take(self, reading: _Reading) -> Topic:
        contender, source = reading.contender, reading.opened.source
        touched = Topic.NOTHING
        events = source.poll(MAX_EVENTS, MAX_SECONDS)
        if source.generation != reading.generation:
            # Another stage, or the file from its start again: these events are its first.
            reading.generation = source.generation
            contender.state, touched = RunState(), Topic.ALL
        contender.changes += bool(events)
        for event in events:
            touched |= contender.state.apply(event)
        loading = not contender.follow and not source.closed
        if contender.loading and not loading:
            stages, at = source.stages, source.stage or 0
            contender.format = source.format
            contender.stage = stages[at].name if at < len(stages) else ""
            contender.loading = False
            touched |= Topic.ALL
        if touched & Topic.RUN or not contender.loading:
            contender.status = _status(contender)
        return touched


def open_overlay(
    targets: Sequence[str],
    runs_dir: str | Path | None = None,
    *,
    readings: Sequence[Reading] = (),
    now: Callable[[], float] = time.time,
) -> OverlayFeed:
    """Open all targets and begin to read them. `readings`: how each is read, if that was said.

    Raises:
        UsageError: one of them is no run and no log, or there are too many.
    """
    check_number(len(targets))
    said = readings or [FOUND_OUT] * len(targets)
    opening: list[_Reading] = []
    try:
        for place, (target, how) in enumerate(zip(targets, said, strict=True)):
            opened = _open(target, runs_dir, how, follow=False)
            follow = _grows(opened, now())
            if follow:
                opened.source.close()
                opened = _open(target, runs_dir, how, follow=True)
            contender = Contender(
                place=place,
                title=opened.title,
                path=opened.run.path if opened.run is not None else opened.path,
                run=opened.run,
                follow=follow,
            )
            opening.append(_Reading(contender, opened, opened.source.generation))
    except BaseException:
        for reading in opening:
            reading.opened.source.close()
        raise
    return OverlayFeed(opening)


def _open(target: str, runs_dir: str | Path | None, how: Reading, *, follow: bool) -> Opened:
    opened = open_replay(
        target, runs_dir=runs_dir, format_name=how.format, mapped=how.mapped, follow=follow
    )
    if how.stage is not None:
        try:
            choose_stage(opened.source, how.stage)
        except BaseException:
            opened.source.close()
            raise
    return opened


def _grows(opened: Opened, now: float) -> bool:
    if opened.run is not None:
        return lock.is_running(opened.run)
    try:
        return abs(now - opened.path.stat().st_mtime) < FRESH_SECONDS
    except OSError:
        return False


def _status(contender: Contender) -> RunStatus:
    """As `Snapshot.status` calls it."""
    state = contender.state
    if state.ended:
        return state.badge if state.badge in ("finished", "failed") else "interrupted"
    if contender.follow:
        return "paused" if state.badge == "paused" else "running"
    return "interrupted" if contender.run is not None else "unknown"
