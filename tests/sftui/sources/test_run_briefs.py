"""The list of runs remembers runs that are over, and reads what has changed."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path

import pytest

from engine.events import RunFinished, RunStarted, StepFinished, ValidationFinished
from engine.journal.event_files import JournalWriter
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui.commands import runs
from sftui.sources import run_briefs, snapshot
from sftui.sources.run_briefs import Brief, Briefs, brief_of
from sftui.sources.run_entries import EntryFeed
from tests.pace import slowness

NOW = 1_800_000_000.0

WRONG: list[object] = [None, [], 10**400, "x", {}]


def make(root: Path, name: str, steps: int = 5, end: str = "finished") -> RunDir:
    run = run_dir.create(root, name, datetime(2026, 1, 2, 3, 4, 5))
    run.manifest.write_text(json.dumps({"id": run.id, "world_size": 1}))
    writer = JournalWriter(run.events, run.id, "r0")
    writer.write(RunStarted(name=name, num_iterations=steps + 5), 1)
    for step in range(steps):
        writer.write(ValidationFinished(step=step, loss=3.0 - step, rows=4), 1)
        writer.write(StepFinished(step=step, loss=2.0), 1)
    if end:
        writer.write(RunFinished(status="finished", updates=steps), 1)
    return run


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs whose logs are read."""
    found: list[str] = []
    read = run_briefs.read

    def counted(run: RunDir) -> Brief:
        found.append(run.id)
        return read(run)

    monkeypatch.setattr(run_briefs, "read", counted)
    return found


def test_what_is_remembered_is_what_is_read(tmp_path: Path, reads: list[str]) -> None:
    """The rows are the same, and no log is read twice."""
    root, memory = tmp_path / "runs", tmp_path / "memory.json"
    for name in ("a", "b"):
        make(root, name)
    make(root, "c", end="")
    first = runs.table(root, NOW, memory)
    assert len(reads) == 3
    assert runs.table(root, NOW, memory) == first == runs.table(root, NOW)
    assert len(reads) == 6, "the last table remembers nothing"
    assert ["finished" in row for row in sorted(first[1:])] == [True, True, False]


def test_a_run_that_goes_on_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    """Any byte more, or another file of the name."""
    root, memory = tmp_path / "runs", tmp_path / "memory.json"
    run, other = make(root, "a", end=""), make(root, "b")
    runs.table(root, NOW, memory)
    JournalWriter(run.events, run.id, "r0").write(StepFinished(step=5, loss=1.0), 1)
    del reads[:]
    [row] = [line for line in runs.table(root, NOW, memory) if run.id in line]
    assert "6/9" in row
    assert reads == [run.id]
    other.events.write_bytes(other.events.read_bytes().replace(b'"loss":-1.0', b'"loss":-9.0'))
    [row] = [line for line in runs.table(root, NOW, memory) if other.id in line]
    assert "-9.0" in row
    assert reads == [run.id, other.id]


@pytest.mark.parametrize(
    "damage",
    [b"", b"[" * 99_999, b'{"version": 1, "runs": {"x": 3}}', b'{"version": 0, "runs": {}}'],
)
def test_a_damaged_memory_costs_nothing_but_the_reading(tmp_path: Path, damage: bytes) -> None:
    """It is a file like any other."""
    root, memory = tmp_path / "runs", tmp_path / "memory.json"
    make(root, "a")
    memory.write_bytes(damage)
    first = runs.table(root, NOW, memory)
    assert first == runs.table(root, NOW)
    known = json.loads(memory.read_bytes())
    for name in ("done", "badge", "best_loss", "stamp", "last_t"):
        for value in WRONG:
            [entry] = known["runs"].values()
            memory.write_text(
                json.dumps({**known, "runs": {next(iter(known["runs"])): entry | {name: value}}})
            )
            assert len(runs.table(root, NOW, memory)) == 2


def test_a_memory_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    """A home that is a file, or full."""
    make(tmp_path / "runs", "a")
    (tmp_path / "home").write_text("no folder")
    memory = tmp_path / "home" / "memory.json"
    assert runs.table(tmp_path / "runs", NOW, memory) == runs.table(tmp_path / "runs", NOW)


def test_whether_a_run_lives_is_asked_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log did not change, its processes went."""
    run, memory = make(tmp_path / "runs", "a", end=""), tmp_path / "memory.json"
    for alive, status in ((True, "running"), (False, "interrupted"), (True, "running")):
        monkeypatch.setattr("engine.run.lock.evidence", lambda _, alive=alive: (alive, "said"))
        briefs = Briefs(memory)
        assert briefs.of(run).status == status
        assert brief_of(snapshot.read_run(run)).status == status
        briefs.save()


@pytest.mark.slow
def test_a_thousand_runs_are_listed_in_a_second(tmp_path: Path) -> None:
    """The first time too: they took 2.7 s, and 9 s with 200 steps each."""
    root, memory = tmp_path / "runs", tmp_path / "memory.json"
    first = make(root, "a", steps=30)
    events, manifest = first.events.read_bytes(), first.manifest.read_bytes()
    for number in range(999):
        run = root / f"20260101-{number:06d}-copy"
        run.mkdir()
        (run / "events.jsonl").write_bytes(events)
        (run / "run.json").write_bytes(manifest)
        for folder in ("ckpt", "evals", "heartbeat", "logs"):
            (run / folder).mkdir()
    tables = [listed(root, None), listed(root, memory), listed(root, memory)]
    assert tables[0] == tables[1] == tables[2]
    assert len(tables[0]) == 1001
    # And as rows of the picker.
    feed, began = EntryFeed(root, tmp_path, memory), time.process_time()
    feed.read(Briefs(memory))
    assert (time.process_time() - began) / slowness() < 1.0
    assert len(feed.entries) == 1000


def listed(root: Path, memory: Path | None, tries: int = 8) -> list[str]:
    """The table, which one of so many tries made in a second of a core: others run beside."""
    seconds: list[float] = []
    while len(seconds) < tries:
        began = time.process_time()
        rows = runs.table(root, NOW, memory)
        seconds.append((time.process_time() - began) / slowness())
        if seconds[-1] < 1.0:
            return rows
    raise AssertionError(f"a thousand runs take {seconds} s")
