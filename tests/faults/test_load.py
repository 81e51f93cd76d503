"""Many runs, many checkpoints, many people who watch: what each look costs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import (
    AlarmCleared,
    AlarmRaised,
    AttemptStarted,
    CheckpointRemoved,
    CheckpointSaved,
    Event,
    LogLine,
    MetricLogged,
    RankHeartbeat,
    RunFinished,
    RunStarted,
    Stamp,
    StepFinished,
    ValidationFinished,
)
from engine.files import checked
from engine.journal import wire
from engine.journal.event_files import JournalWriter
from engine.run.run_dir import RunDir
from sftui.readers.journal import JournalReader
from sftui.sources import open_log, snapshot
from sftui.sources.tail import TailSource
from sftui.state.run_state import FEW_ROWS, RunState
from tests.processes import make_run


def with_checkpoints(tmp_path: Path, number: int, every: int = 2) -> RunDir:
    """A run that saved at every second step; nothing of it is on the disk any more but one."""
    run = make_run(tmp_path)
    found: list[Event] = [RunStarted(name="x", num_iterations=every * number)]
    for step in range(every * number):
        found.append(StepFinished(step=step, loss=2.0 + step % 7, grad_norm=1.0))
        if step % every == 0:
            found.append(CheckpointSaved(step=step, path=f"ckpt/step-{step}", size_bytes=9))
    found.append(RunFinished(status="finished", updates=every * number))
    stamps = (Stamp(seq=n + 1, t=1e9 + n, m=float(n), boot="b") for n in range(len(found)))
    lines = [
        wire.encode(replace(event, stamp=stamp)) for event, stamp in zip(found, stamps, strict=True)
    ]
    run.events.write_bytes(b"".join(lines))
    run.checkpoint(0).mkdir(parents=True)
    return run


def test_twenty_who_watch_open_nothing_while_nothing_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each opened both logs forty times a second: twenty of them cost the run a fifth."""
    run = with_checkpoints(tmp_path, 3)
    run.supervisor_events.touch()
    sources = [TailSource(run) for _ in range(20)]
    for source in sources:
        assert len(source.poll()) == 11
    opened: list[Path] = []
    open_file = checked.open_file

    def noted(path: Path) -> object:
        opened.append(path)
        return open_file(path)

    monkeypatch.setattr(checked, "open_file", noted)
    for source in sources:
        for _ in range(10):
            assert source.poll() == []
    assert [path for path in opened if path == run.events] == []
    JournalWriter(run.events, run.id, "r0").write(StepFinished(step=9, loss=1.0), 1)
    assert [len(source.poll()) for source in sources] == [1] * 20


def test_showing_a_run_reads_its_log_once_and_its_folder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log was read twice, and the disk was asked for every checkpoint that was ever saved."""
    run = with_checkpoints(tmp_path, 2000)
    asked: list[Path] = []
    listed: list[Path] = []
    exists, scandir = Path.exists, os.scandir

    def noted(path: Path) -> bool:
        asked.append(path)
        return exists(path)

    def listing(path: Path = Path()) -> object:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(Path, "exists", noted)
    monkeypatch.setattr(os, "scandir", listing)
    monkeypatch.setattr(open_log, "read_whole", None)
    read = 0
    open_file = checked.open_file

    def counted(path: Path) -> object:
        nonlocal read
        read += path == run.events
        return open_file(path)

    monkeypatch.setattr(checked, "open_file", counted)
    shot = snapshot.read(str(run.path))
    assert shot.status == "finished"
    assert len(shot.state.checkpoints) == 2000
    assert sum(not known.removed for known in shot.state.checkpoints.values()) == 1
    assert read == 1
    assert listed.count(run.checkpoints) == 1
    assert [path for path in asked if "ckpt" in path.parts] == []


@pytest.mark.parametrize("every", [1, 2, FEW_ROWS, FEW_ROWS + 1, 50])
def test_few_updates_between_two_checkpoints_are_the_state_of_their_events(
    tmp_path: Path, every: int
) -> None:
    """Folded one by one or as columns, whatever parts them."""
    run = with_checkpoints(tmp_path, 12, every)
    whole = snapshot.read_run(run).state
    single = type(whole)()
    source = TailSource(run)
    while found := source.poll():
        for event in found:
            single.apply(event)
    assert whole.updates == single.updates == 12 * every
    assert whole.reached == single.reached
    assert whole.steps.x.tolist() == single.steps.x.tolist()
    for name in ("loss", "grad_norm", "since_start"):
        assert whole.steps.column(name).tolist() == single.steps.column(name).tolist()
    assert whole.last_t == single.last_t
    assert json.dumps(list(whole.checkpoints)) == json.dumps(list(single.checkpoints))


KINDS: tuple[Callable[[int], Event], ...] = (
    lambda n: StepFinished(step=n, loss=1.0 + n, grad_norm=0.5),
    lambda n: StepFinished(step=n, loss=1.0 + n, grad_norm=0.5),
    lambda n: StepFinished(step=n, loss=float("nan")),
    lambda n: MetricLogged(step=n, values={"mfu": n / 3}),
    lambda n: ValidationFinished(step=n, loss=2.0),
    lambda n: CheckpointSaved(step=n, path=f"ckpt/step-{n % 5}", size_bytes=n),
    lambda n: CheckpointSaved(path="ckpt/last"),
    lambda n: CheckpointRemoved(path=f"ckpt/step-{n % 5}"),
    lambda n: RankHeartbeat(rank=n % 3, pid=9, at_step=n),
    lambda n: AlarmRaised(kind="spike", severity="warn", value=3, limit=2, text=f"at {n}"),
    lambda n: AlarmCleared(kind="spike"),
    lambda n: LogLine(text=f"line {n}"),
    lambda n: AttemptStarted(start_step=max(0, n - 3), world_size=1),
)


@given(st.lists(st.integers(0, len(KINDS) - 1), max_size=40))
def test_what_comes_between_updates_may_come_behind_them(kinds: list[int]) -> None:
    """A reader whose events nobody sees before the end gives the same state with fewer of them."""
    lines, attempt = [], 1
    for number, kind in enumerate(kinds, 1):
        event = KINDS[kind](number)
        attempt += isinstance(event, AttemptStarted)
        stamp = Stamp(run="r", att=attempt, seq=number, t=1e9 + number, m=float(number), boot="b")
        lines.append(wire.encode(replace(event, stamp=stamp)))
    states, given_out = [], []
    for to_its_end in (False, True):
        reader = JournalReader(to_its_end=to_its_end)
        events = reader.feed(b"".join(lines)) + reader.close()
        given_out.append(len(events))
        states.append(state := RunState())
        for event in events:
            state.apply(event)
    ordered, gathered = states
    assert given_out[1] <= given_out[0]
    assert gathered.steps.x.tolist() == ordered.steps.x.tolist()
    for name in ("loss", "grad_norm", "since_start"):
        np.testing.assert_array_equal(gathered.steps.column(name), ordered.steps.column(name))
    assert gathered.checkpoints == ordered.checkpoints
    assert list(gathered.log) == list(ordered.log)
    assert gathered.alarms == ordered.alarms
    assert {n: r.last for n, r in gathered.ranks.items()} == {
        n: r.last for n, r in ordered.ranks.items()
    }
    for name in ("updates", "reached", "nonfinite", "first_t", "last_t", "attempt", "badge"):
        assert getattr(gathered, name) == getattr(ordered, name), name


def test_updates_between_checkpoints_are_read_as_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two by two they were folded one at a time: half of the seconds of `show`."""
    run = with_checkpoints(tmp_path, 1000)
    monkeypatch.setattr(RunState, "_step", None)
    state = snapshot.read_run(run).state
    assert state.updates == len(state.steps) == 2000
    assert len(state.checkpoints) == 1000
