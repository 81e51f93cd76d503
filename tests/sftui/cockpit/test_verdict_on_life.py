"""No verdict on a run's life before all that it wrote is read, nor while it is being started."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from engine import events as ev
from engine.journal import wire
from engine.run.lock import RunLock
from engine.run.run_dir import RunDir
from sftui.cockpit.cockpit import Cockpit
from sftui.cockpit.screen_request import ScreenRequest
from sftui.sources.live import LiveSource
from sftui.sources.tail import TailSource
from sftui.state.records import Topic
from tests.processes import make_run


class Screen:
    """A cockpit without a terminal, and every reason it gave for calling the run lost."""

    def __init__(self, run: RunDir, monkeypatch: pytest.MonkeyPatch, *, live: bool) -> None:
        self.now = 1_000_000.0
        self.reasons: set[str] = set()
        source = LiveSource(run, clock=self._clock) if live else TailSource(run)
        request = ScreenRequest(source, title=run.id, folder=run.path)
        self.cockpit = Cockpit(request, now=self._clock)
        monkeypatch.setattr(self.cockpit.dashboard, "show", self._shown)
        monkeypatch.setattr(self.cockpit.dashboard, "tick", lambda touched: None)

    def _clock(self) -> float:
        return self.now

    def _shown(self, topics: Topic) -> None:
        self.reasons.add(self.cockpit.view.trouble)

    def ticks(self, count: int, seconds: float) -> None:
        """So many ticks, so far apart; stops where the screen would stop ticking."""
        for _ in range(count):
            self.cockpit.tick()
            self.reasons.add(self.cockpit.view.trouble)
            if self.cockpit.pace == 0.0:
                return
            self.now += seconds


def finished_journal(count: int) -> bytes:
    """A journal of so many lines: a start, updates and heartbeats, and the end."""
    started = [
        ev.RunStarted(name="chat_sft", num_iterations=count + 1),
        ev.AttemptStarted(start_step=0),
    ]
    lines, updates = [], count - 3
    for seq in range(1, count + 1):
        stamp = ev.Stamp(run="r", src="r0", seq=seq, t=1000.0 + seq)
        if seq <= len(started):
            event: ev.Event = started[seq - 1]
        elif seq == count:
            event = ev.RunFinished(status="finished", updates=updates)
        else:
            event = ev.StepFinished(step=seq - 3, loss=2.0)
        lines.append(wire.encode(dataclasses.replace(event, stamp=stamp)))
    return b"".join(lines)


@pytest.mark.parametrize(
    ("count", "live"),
    [
        (900, False),
        (900, True),
        (30_000, False),
        pytest.param(300_000, False, marks=pytest.mark.slow),
    ],
)
def test_a_finished_run_is_never_called_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, live: bool
) -> None:
    """However many events it has, and however a tick falls within its second."""
    run = make_run(tmp_path)
    run.events.write_bytes(finished_journal(count))
    with RunLock.acquire(run):
        pass
    os.utime(run.manifest, (1.0, 1.0))
    screen = Screen(run, monkeypatch, live=live)
    screen.ticks(count, 0.35)
    screen.cockpit.source.close()
    assert screen.cockpit.state.badge == "finished"
    assert screen.reasons == {""}


def test_a_run_is_not_lost_before_its_supervisor_had_time_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is there, nobody holds it yet: it is starting."""
    screen = Screen(make_run(tmp_path), monkeypatch, live=False)
    screen.ticks(20, 0.35)
    assert screen.reasons == {""}


def test_a_run_that_died_without_a_word_is_called_lost_once_all_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict still comes, with the reason, when nothing waits to be read."""
    run = make_run(tmp_path)
    run.events.write_bytes(finished_journal(900).rpartition(b"\n")[0].rpartition(b"\n")[0] + b"\n")
    with RunLock.acquire(run):
        pass
    os.utime(run.manifest, (1.0, 1.0))
    screen = Screen(run, monkeypatch, live=False)
    screen.ticks(40, 0.35)
    assert "is gone" in screen.cockpit.view.trouble
