"""A run whose folder changes under it says so, and heals or ends within seconds."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import conclusion, trainer
from engine.checkpoints import checkpoint_dir
from engine.control import Command, Request
from engine.errors import RunDirError
from engine.events import (
    AttemptStarted,
    ControlApplied,
    LogLine,
    RunFinished,
    Stamp,
    StepFinished,
)
from engine.journal import event_bus, wire
from engine.journal.event_bus import EventBus
from engine.run import lock
from engine.run.run_dir import RunDir
from engine.session import Session
from engine.steering import inbox
from engine.step.dataloader import StepBatch
from engine.step.step_losses import StepLosses
from sftui.sources.tail import RunLiveness
from tests.faults.place import Place, end_of, told, work
from tests.processes import children, events, make_run, wait_for


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with children() as started:
        yield Place(tmp_path, started)


SLOW = {"rank": 0, "step": 0, "action": "sleep", "seconds": 0.4, "attempt": "any"}


def stepped(run: RunDir, number: int) -> bool:
    return any((event.step or 0) >= number for event in told(run, StepFinished))


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_run_whose_folder_is_gone_ends_within_seconds(place: Place, how: str) -> None:
    """It trained on unseen to its last step, and then waited ten minutes for room."""
    run = place.make("--num-iterations=400", "--checkpoint-every=2")
    process = place.supervise(run, [SLOW])
    watcher = RunLiveness(run)
    wait_for(lambda: stepped(run, 3))
    wait_for(lambda: checkpoint_dir.list_checkpoints(run))
    assert watcher.alive()[0]
    pid = process.pid
    elsewhere = run.path.with_name("elsewhere")
    started = time.monotonic()
    if how == "deleted":
        while run.path.exists():
            shutil.rmtree(run.path, ignore_errors=True)
    else:
        run.path.rename(elsewhere)
    wait_for(lambda: not watcher.alive()[0], 5)
    words = watcher.alive()[1]
    assert "is gone" in words
    assert str(pid) in words
    place.ended(process, 40)
    assert time.monotonic() - started < 30
    assert not run.path.exists(), "nothing of it is made anew"
    if how == "moved":
        there = RunDir(elsewhere)
        end = end_of(there)
        assert end is not None
        assert end.status == "stopped"
        assert f"was moved to {elsewhere}" in end.reason
        assert f"--resume {elsewhere}" in end.reason
        assert not lock.evidence(there)[0]


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_an_event_log_that_was_edited_under_the_run_lacks_no_event(place: Place, how: str) -> None:
    """`sed -i` makes another file of the name: the run finished, and was told as failed."""
    run = place.make("--num-iterations=14", "--checkpoint-every=4")
    process = place.supervise(run, [SLOW])
    wait_for(lambda: stepped(run, 3))
    if how == "deleted":
        run.events.unlink()
    else:
        copy = run.path / "copy"
        shutil.copyfile(run.events, copy)
        copy.replace(run.events)
    assert place.ended(process) == 0
    end = end_of(run)
    assert end is not None
    assert (end.status, end.updates) == ("finished", 13)
    steps = [event.step for event in told(run, StepFinished)]
    assert steps == list(range(13))
    assert any("replaced" in event.text for event in told(run, LogLine))


def test_checkpoints_that_were_deleted_are_made_again(place: Place) -> None:
    """Without `ckpt/` no later checkpoint succeeded, and the last waited ten minutes for room."""
    run = place.make("--num-iterations=14", "--checkpoint-every=4")
    process = place.supervise(run, [SLOW])
    wait_for(lambda: checkpoint_dir.list_checkpoints(run))
    shutil.rmtree(run.checkpoints)
    assert place.ended(process, 60) == 0
    end = end_of(run)
    assert end is not None
    assert end.status == "finished"
    assert checkpoint_dir.list_checkpoints(run)[-1].step == 13


def test_a_log_that_is_replaced_often_and_while_written_keeps_its_order(tmp_path: Path) -> None:
    """30,000 events, the file replaced three times: each once, in order."""
    run = make_run(tmp_path)
    bus = EventBus(run, run.id, 1, live=False)
    for number in range(30_000):
        bus.emit(StepFinished(step=number, loss=1.0))
        if number % 10_000 == 5_000:
            bus.flush()
            copy = run.path / "copy"
            lines = run.events.read_bytes().splitlines(keepends=True)
            copy.write_bytes(b"".join(lines[: len(lines) // 2]))
            copy.replace(run.events)
            before = run.events.stat().st_size
            deadline = time.monotonic() + 10
            while run.events.stat().st_size == before and time.monotonic() < deadline:
                time.sleep(0.05)
    bus.emit(RunFinished(status="finished"))
    bus.close()
    found = events(run.events)
    steps = [event.step for event in found if isinstance(event, StepFinished)]
    assert steps == list(range(30_000))
    seqs = [event.stamp.seq for event in found]
    assert seqs == sorted(set(seqs))


def at_steps(monkeypatch: pytest.MonkeyPatch, actions: dict[int, Callable[[], object]]) -> None:
    """Do these things when a step of a run in this process begins; its steps take a while."""
    monkeypatch.setattr(event_bus, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(trainer, "SAVE_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(trainer, "SAVE_TRIES", 3)
    accumulate = trainer.accumulate_gradients

    def accumulated(session: Session, batch: StepBatch) -> StepLosses:
        time.sleep(0.1)
        if batch.step in actions:
            actions[batch.step]()
        return accumulate(session, batch)

    monkeypatch.setattr(trainer, "accumulate_gradients", accumulated)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_run_that_takes_the_place_of_a_running_one_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mv RUN elsewhere; mv OTHER RUN`: events, checkpoints and results went into the other run,
    and its requests were carried out."""
    place = Place(tmp_path)
    run, other = place.make("--run=own", "--checkpoint-every=2"), place.make("--run=other")
    other.events.write_bytes(
        wire.encode(AttemptStarted(stamp=Stamp(run=other.id, src="r0", att=1, seq=1, t=1.0)))
    )
    asked = Request(id="1", command=Command.CHECKPOINT, author="a person", t=time.time())
    inbox.post(other, asked)
    there = RunDir(tmp_path / "elsewhere")
    before = contents(other.path)

    def swap() -> None:
        run.path.rename(there.path)
        other.path.rename(run.path)

    at_steps(monkeypatch, {5: swap})
    assert work(run) == 0
    assert contents(run.path) == before
    end = end_of(there)
    assert end is not None
    assert end.status == "stopped"
    assert f"was moved to {there.path}" in end.reason
    assert "since its newest checkpoint is lost" in end.reason
    assert [info.step for info in checkpoint_dir.list_checkpoints(there)] == [2, 4]
    steps = [event.step for event in told(there, StepFinished)]
    assert steps == list(range(end.updates))
    assert told(there, ControlApplied) == []


def test_links_that_are_put_into_a_running_run_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results, checkpoints and the export went wherever they led; now each is said, and the run
    trains on. What no waiting heals is not waited for."""
    run = Place(tmp_path).make()
    victim = tmp_path / "victim"
    victim.mkdir()

    def put_links() -> None:
        for folder in (run.evals, run.checkpoints, run.export):
            shutil.rmtree(folder, ignore_errors=True)
            folder.symlink_to(victim)

    # In the run directory, as an export of a run from elsewhere is.
    monkeypatch.setattr(conclusion, "_free_cache", lambda *_: None)
    at_steps(monkeypatch, {5: put_links})
    work(run)
    assert contents(victim) == {}
    said = [event.text for event in told(run, LogLine) if event.level == "error"]
    for words in (
        f"results of step 8 were not saved: it is a link; expected a folder ({run.evals})",
        f"checkpoint of step 8 was not saved: {run.checkpoints} is a link; expected a folder",
        f"checkpoint of step 12 was not saved: {run.checkpoints} is a link; expected a folder",
        "the result was not exported: ",
    ):
        assert any(text.startswith(words) for text in said), (words, said)
    assert not any("waits to save" in text for text in said)
    end = end_of(run)
    assert end is not None
    assert (end.status, end.updates) == ("failed", 12)
    assert f"`mv {run.checkpoints} {run.checkpoints}.aside`" in end.reason


def test_a_rank_that_finds_no_settings_ends_the_run_with_the_reason(tmp_path: Path) -> None:
    """It failed with a traceback, and was started again as often as is allowed."""
    run = Place(tmp_path).make()
    run.manifest.write_text("{garbage")
    with contextlib.suppress(RunDirError):
        work(run)
    end = end_of(run)
    assert end is not None
    assert end.status == "failed"
    assert f"{run.manifest} cannot be read" in end.reason


def test_a_newer_versions_run_says_which_version_it_needs(tmp_path: Path) -> None:
    """Its manifest has a schema that this version does not read."""
    run = make_run(tmp_path, schema=7, versions={"sftui": "3.1.0"})
    with pytest.raises(Exception, match=r"was made by sftui '3.1.0'.*Install that version"):
        run.read_manifest()
    run.manifest.write_text(json.dumps({"world_size": "many"}))
    with pytest.raises(Exception, match="world_size is 'many'; expected a whole number"):
        run.read_manifest()


@pytest.mark.parametrize("name", ["resume.json", "run.json"])
@pytest.mark.parametrize("ahead", [3600, 10 * 24 * 3600, 2e9])
def test_a_file_from_the_future_keeps_nobody_waiting(
    tmp_path: Path, name: str, ahead: float
) -> None:
    """An archive, or a clock that was set back: whoever attached waited until that moment."""
    run = make_run(tmp_path)
    (run.path / name).touch()
    os.utime(run.manifest, (1e9, 1e9))
    t = time.time() + ahead
    os.utime(run.path / name, (t, t))
    watcher = RunLiveness(run)
    assert watcher.over()
    if ahead > lock.CLOCKS_APART_SECONDS:
        watcher.saw(RunFinished(status="finished", stamp=Stamp(t=time.time() - 60)))
        assert watcher._ended
