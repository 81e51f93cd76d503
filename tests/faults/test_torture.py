"""Kills at random moments over screen, supervisor, rank 0 and rank 1 of one run, and other faults.

Between the kills: a rank stands still, signals storm the screen, the disk is full for a while, the
clock of the ranks jumps, the event log is replaced by a copy, checkpoints are deleted or damaged.

`make torture KILLS=1000` changes how many (200; half an hour on two cores, most of it importing
torch, again and again), `SFTUI_SEED` which. After `SFTUI_TORTURE_MINUTES` it ends with fewer, says
how many, and is judged as always. A seed that failed stays in `NAMED`.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest

from engine.checkpoints import checkpoint_dir
from engine.checkpoints.checkpoint_dir import MODEL
from engine.control import Command, Request
from engine.errors import CheckpointError
from engine.events import (
    AttemptStarted,
    ControlApplied,
    RunFinished,
    StateChanged,
    StepFinished,
)
from engine.journal import wire
from engine.run import lock
from engine.run.run_dir import RunDir
from engine.steering import inbox
from sftui.sources.tail import TailSource
from tests.faults.place import Place, small_disk, told
from tests.faults.torment import SETTINGS, TROUBLE, Tormentor
from tests.processes import children, events, wait_for

pytestmark = [pytest.mark.torture, pytest.mark.timeout(4 * 3600)]

KILLS = int(os.environ.get("SFTUI_KILLS", "200"))
MINUTES = float(os.environ.get("SFTUI_TORTURE_MINUTES", "240"))
SEED = int(os.environ.get("SFTUI_SEED", str(time.time_ns() % 100_000)))

NAMED: dict[str, tuple[int, int]] = {
    "a damaged name in a checkpoint's state": (67838, 540),
    "Ctrl-C that an import drops": (75150, 450),
}
"""Seeds that failed once, by what they showed, with the number of kills it took."""

DISK_MIB = 48
"""Of the run's disk; some checkpoints of a few thousand weights take 3 MB."""

LOG_KIB = 100
"""And what a kill and the updates around it may add to the logs."""


@pytest.mark.parametrize("case", [*NAMED, "new"])
def test_a_run_under_fire_loses_nothing(tmp_path: Path, case: str) -> None:
    """In the end: no acknowledged event lost, no half checkpoint, the bits of an unbroken run."""
    seed, kills = NAMED.get(case, (SEED, KILLS))
    print(f"\nseed {seed}, {kills} kills")
    chance = random.Random(seed)
    disk = f"{DISK_MIB * 1024 + kills * LOG_KIB}k"
    with small_disk(tmp_path / "runs", disk), children() as started:
        place = Place(tmp_path, started)
        torment = Tormentor(place, chance)
        run = torment.run
        began = time.monotonic()
        deadline = began + MINUTES * 60
        while torment.kills.total() < kills and time.monotonic() < deadline:
            torment.wait_for_a_moment()
            torment.kill()
            if chance.random() < TROUBLE:
                torment.trouble()
            if torment.moments % 25 == 0:
                print(torment.done(), f"after {time.monotonic() - began:.0f} s", flush=True)
        (run.path / "clock").unlink(missing_ok=True)
        wait_for(lambda: lock.holder(run) is not None, 60)
        torment.wait_until(lambda: torment.in_training(5), "step of the last attempt")
        stop = Request(id=wire.new_id(), command=Command.STOP, author="test")
        inbox.post(run, stop)
        torment.asked.append(stop.id)
        torment.quiet = True
        torment.wait_until(lambda: not lock.is_running(run), "end")
        torment.look(1)
        torment.screen.wait_for("STOPPED")
        torment.screen.press("q")
        assert torment.screen.wait(30) == 0
        torment.screen.close()
        wait_for(lambda: started.left() == [], 30)
        minutes = (time.monotonic() - began) / 60
        ours = events(run.events)
        [*_, end] = (event for event in ours if isinstance(event, RunFinished))
        print(
            f"{torment.done()} "
            f"in {minutes:.0f} min, {len(told(run, AttemptStarted))} attempts, {end.step} steps, "
            f"logs of {run.events.stat().st_size / 1e6:.1f} MB"
        )

        # No acknowledged event is lost, and the numbers rise.
        numbers = [event.stamp.seq for event in ours]
        assert numbers == sorted(set(numbers))
        there = {("r0", event.stamp.seq): event for event in ours}
        there |= {("sup", e.stamp.seq): e for e in events(run.supervisor_events)}
        lost = [key for key, event in torment.seen.items() if there.get(key) != event]
        assert lost == []
        torn = run.events.read_bytes().count(b"\n") - len(ours)
        # A write that a full disk cut short leaves one too.
        cut = torment.faults["fill the disk"]
        assert torn <= torment.kills["rank 0"] + torment.kills["supervisor"] + 2 * cut

        # Each request has one answer.
        answers = [event.id for event in told(run, ControlApplied)]
        assert sorted(answers) == sorted(torment.asked)
        assert (end.status, end.reason) == ("stopped", "stop asked for by test")

        # No checkpoint is half but those that were damaged, nothing half-made is left.
        damaged = 0
        for folder in run.checkpoints.iterdir():
            try:
                assert checkpoint_dir.verify(folder).step == int(folder.name.removeprefix("step-"))
            except CheckpointError:
                damaged += 1
        assert damaged <= torment.faults["damage a checkpoint"]
        reached = checkpoint_dir.list_checkpoints(run)[-1]
        assert reached.step == end.step

        # The same bits as a run that nobody touched.
        place.root = tmp_path / "whole"
        whole = place.make(*SETTINGS, "--run=whole", "--eval-every=99999", "--checkpoint-every=0")
        inbox.post(whole, Request(id="p", command=Command.PAUSE, author="test"))
        process = place.supervise(whole)
        wait_for(lambda: told(whole, ControlApplied), 60)
        request = Request(id="r", command=Command.RESUME, argument=reached.step, author="test")
        inbox.post(whole, request)
        wait_until_paused(whole, reached.step, 3600)
        inbox.post(whole, Request(id="s", command=Command.STOP, author="test"))
        assert place.ended(process) == 0
        assert (whole.checkpoint(reached.step) / MODEL).read_bytes() == (
            reached.path / MODEL
        ).read_bytes()
        losses = {e.step: e.loss for e in told(whole, StepFinished)}
        # Every attempt's steps, those done twice too. What an attempt did past the last step of
        # the end died with it.
        steps = [e for e in told(run, StepFinished) if (e.step or 0) < reached.step]
        assert {e.step for e in steps} == set(losses)
        assert [e for e in steps if e.loss != losses[e.step]] == []
        assert json.loads(run.manifest.read_text())["config"]["gpus"] == 2


def wait_until_paused(run: RunDir, step: int, seconds: float) -> None:
    """Until the run has paused at that step; its log is read once, as it may be a long one."""
    tail = TailSource(run)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        states = [event for event in tail.poll() if isinstance(event, StateChanged)]
        if any(each.state == "paused" and each.step == step for each in states):
            return
        time.sleep(0.05)
    raise AssertionError(f"not paused at step {step} within {seconds:g} s")
