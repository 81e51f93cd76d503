"""Many runs, many checkpoints, many people who watch: what each look costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.events import (
    CheckpointSaved,
    Event,
    RunFinished,
    RunStarted,
    Stamp,
    StepFinished,
)
from engine.files import checked
from engine.journal import wire
from engine.journal.event_files import JournalWriter
from engine.run.run_dir import RunDir
from sftui.sources import open_log, snapshot
from sftui.sources.tail import TailSource
from sftui.state.run_state import FEW_ROWS
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
    exists = Path.exists

    def noted(path: Path) -> bool:
        asked.append(path)
        return exists(path)

    monkeypatch.setattr(Path, "exists", noted)
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
    assert len([path for path in asked if "ckpt" in path.parts]) == 1


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
