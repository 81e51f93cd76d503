"""Kills at random moments over screen, supervisor, rank 0 and rank 1 of one run, and other faults.

Between the kills: a rank stands still, signals storm the screen, the disk is full for a while, the
clock of the ranks jumps, the event log is replaced by a copy, checkpoints are deleted or damaged.

`make torture KILLS=1000` changes how many (200; about half an hour on two cores, most of it
importing torch, again and again), `SFTUI_SEED` which. A seed that failed stays in `NAMED`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from engine.checkpoints import checkpoint_dir
from engine.checkpoints.checkpoint_dir import MODEL
from engine.control import Command, Request
from engine.errors import CheckpointError, RunDirError
from engine.events import (
    AttemptStarted,
    ControlApplied,
    LogLine,
    RankLost,
    RunFinished,
    StateChanged,
    StepFinished,
)
from engine.journal import wire
from engine.run import lock
from engine.run.run_dir import RunDir
from engine.steering import inbox
from sftui.sources.tail import TailSource
from tests.faults.place import Place, end_of, fill, small_disk, told
from tests.faults.terminal import Terminal
from tests.processes import children, events, wait_for

pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]

KILLS = int(os.environ.get("SFTUI_KILLS", "200"))
SEED = int(os.environ.get("SFTUI_SEED", str(time.time_ns() % 100_000)))

SETTINGS = (
    "--gpus=2",
    "--max-restarts=100000",
    "--num-iterations=100000",
    "--checkpoint-every=20",
    "--eval-every=50",
    "--eval-metrics-every=100",
)

THROTTLE = [
    {"rank": 0, "step": 0, "action": "sleep", "seconds": 0.02, "attempt": "any"},
    *({"rank": rank, "step": -1, "action": "clock", "attempt": "any"} for rank in (0, 1)),
]
"""A step of some 30 ms: long enough to be killed in, short enough for thousands of them. The ranks'
clock is off by what stands in the file `clock` of the run."""

NAMED: dict[str, tuple[int, int]] = {}
"""Seeds that failed once, by what they showed, with the number of kills it took."""

TROUBLE = 0.3
"""How often another fault follows a kill."""

DISK = "48m"
"""Of the run; some checkpoints of a few thousand weights take 3 MB."""

START_SECONDS = 180.0
"""Until everything is there again and trains, on a busy machine."""

HEAL_SECONDS = 5.0
"""A folder that was changed is noticed and mended within that time, on a busy machine too."""


TELLING = (AttemptStarted, RankLost, RunFinished, LogLine, StateChanged)


class Tormentor:
    """One run under fire, and a record of everything that was ever seen of it."""

    def __init__(self, place: Place, chance: random.Random) -> None:
        self.place = place
        self.chance = chance
        self.env = place.environment(THROTTLE)
        self.kills = dict.fromkeys(("screen", "supervisor", "rank 0", "rank 1"), 0)
        self.faults: Counter[str] = Counter()
        self.screen = Terminal(
            place.started, "-m", "sftui", "run", *place.flags(*SETTINGS), env=self.env
        )
        wait_for(lambda: list(place.root.glob("*/run.json")), 60)
        self.run = RunDir(next(place.root.glob("*/run.json")).parent)
        # A screen that is killed before it has started anything leaves nothing to be killed.
        wait_for(lambda: lock.holder(self.run) is not None, 60)
        self.tail = TailSource(self.run)
        self.seen: dict[tuple[str, int], object] = {}
        self.asked: list[str] = []
        self.quiet = False
        """True once the run is ending: nobody is left to answer what comes after the end."""

    # ---- watching ----------------------------------------------------------------------------

    def look(self, seconds: float) -> None:
        """Watch for so long; now and then ask for something, as a script would."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for event in self.tail.poll():
                self.seen[event.stamp.src, event.stamp.seq] = event
            if not self.quiet and self.chance.random() < 0.02:
                command = self.chance.choice((Command.CHECKPOINT, Command.EVALUATE))
                request = Request(id=wire.new_id(), command=command, author="test")
                # A full disk takes no requests, and whoever asks is told.
                with contextlib.suppress(RunDirError):
                    inbox.post(self.run, request)
                    self.asked.append(request.id)
            self.place.started.note_descendants()
            time.sleep(0.05)

    def processes(self) -> dict[str, int]:
        """Ids of what lives now, by role."""
        found = {}
        if self.screen.process.poll() is None:
            found["screen"] = self.screen.process.pid
        holder = lock.holder(self.run)
        if holder is None:
            return found
        found["supervisor"] = holder.pid
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(holder.pid).children():
                self.place.started.known[child.pid] = child.create_time()
                with contextlib.suppress(psutil.Error):
                    rank = child.environ().get("RANK")
                    if rank is not None:
                        found[f"rank {rank}"] = child.pid
            # Last: the holder itself may have gone meanwhile.
            self.place.started.known[holder.pid] = psutil.Process(holder.pid).create_time()
        return found

    # ---- killing -----------------------------------------------------------------------------

    def kill(self, role: str) -> None:
        """SIGKILL of that role, when there is one; then what a person would do."""
        try:
            wait_for(lambda: role in self.processes(), 180)
        except AssertionError:
            raise AssertionError(self.story(role)) from None
        with contextlib.suppress(KeyError, ProcessLookupError, psutil.Error):
            os.kill(self.processes()[role], signal.SIGKILL)
            self.kills[role] += 1
        if role == "screen":
            self.sit_down("attach", self.run.id)
        if role == "supervisor":
            wait_for(lambda: not lock.is_running(self.run), 120)
            self.sit_down("run", "--resume", self.run.id)
            wait_for(lambda: lock.holder(self.run) or self.screen.process.poll() is not None, 90)
            assert lock.holder(self.run) is not None, self.screen.words()[-3000:]

    # ---- other faults ------------------------------------------------------------------------

    def trouble(self) -> None:
        """One of the other faults while the run trains, and what follows until it is over."""
        patience = time.monotonic() + START_SECONDS
        while not self.trains():
            if time.monotonic() > patience:
                raise AssertionError(self.story("training"))
            self.look(0.5)
        faults = (
            self.stand_still,
            self.storm,
            self.fill_the_disk,
            self.shift_the_clock,
            self.replace_the_log,
            self.delete_checkpoints,
            self.damage_a_checkpoint,
        )
        fault = self.chance.choice(faults)
        self.faults[fault.__name__.replace("_", " ")] += 1
        fault()

    def trains(self) -> bool:
        """Whether all processes are there and some steps of their attempt are done."""
        return len(self.processes()) == 4 and steps_of_newest_attempt(self.run) > 3

    def stand_still(self) -> None:
        """SIGSTOP of a rank or of the supervisor for some seconds."""
        role = self.chance.choice(("rank 0", "rank 1", "supervisor"))
        pid = self.processes().get(role)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self.look(self.chance.uniform(0.5, 14))
            os.kill(pid, signal.SIGCONT)

    def storm(self) -> None:
        """Signals on the screen; it leaves the terminal in order, and another one is opened."""
        number = self.chance.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        for _ in range(self.chance.choice((1, 2, 30))):
            if self.screen.process.poll() is None:
                self.screen.process.send_signal(number)
            time.sleep(self.chance.choice((0.0, 0.05)))
        self.screen.wait(60)
        assert self.screen.cooked(), self.screen.words()[-2000:]
        self.sit_down("attach", self.run.id)

    def fill_the_disk(self) -> None:
        ballast = fill(self.place.root)
        self.look(self.chance.uniform(0.5, 8))
        ballast.unlink()
        self.look(HEAL_SECONDS)

    def shift_the_clock(self) -> None:
        """The wall clock of the ranks, by hours; also back."""
        hours = self.chance.choice((-30, -6, -1, 0, 0, 1, 6))
        (self.run.path / "clock").write_text(str(hours * 3600))

    def replace_the_log(self) -> None:
        """As an editor does: another file of the name, with what was in it before."""
        copy = self.run.path / "copy"
        with contextlib.suppress(OSError):
            shutil.copyfile(self.run.events, copy)
            copy.replace(self.run.events)
        # What its writer alone still holds would die with it.
        self.look(HEAL_SECONDS)

    def delete_checkpoints(self) -> None:
        shutil.rmtree(self.run.checkpoints, ignore_errors=True)

    def damage_a_checkpoint(self) -> None:
        """One byte of one file of the newest."""
        kept = checkpoint_dir.list_checkpoints(self.run)
        files = [path for path in kept[-1].path.iterdir() if path.is_file()] if kept else []
        if not files:
            return
        path = self.chance.choice(sorted(files))
        with contextlib.suppress(OSError):
            data = bytearray(path.read_bytes())
            data[self.chance.randrange(len(data))] ^= 1
            path.write_bytes(data)

    def story(self, missing: str) -> str:
        """What there is to know when a role does not come back."""
        newest = "\n".join(repr(event)[:300] for event in told(self.run, *TELLING)[-12:])
        log = self.run.supervisor_log.read_text("utf-8", "replace")[-2000:]
        there = f"{lock.evidence(self.run)}, {self.processes()}"
        screen = self.screen.words()[-1500:]
        done = f"{self.kills} {dict(self.faults)}"
        return f"no {missing}: {there}\n{newest}\n{log}\n{done}\n{screen}"

    def sit_down(self, *words: str) -> None:
        """A new screen; the old one, if it is left, is closed."""
        if self.screen.process.poll() is None:
            with contextlib.suppress(OSError):
                self.screen.press("q")
        with contextlib.suppress(Exception):
            self.screen.wait(20)
        self.screen.process.kill()
        self.screen.process.wait()
        self.screen.close()
        self.screen = Terminal(self.place.started, "-m", "sftui", *words, env=self.env)


@pytest.mark.parametrize("case", [*NAMED, "new"])
def test_a_run_under_fire_loses_nothing(tmp_path: Path, case: str) -> None:
    """In the end: no acknowledged event lost, no half checkpoint, the bits of an unbroken run."""
    seed, kills = NAMED.get(case, (SEED, KILLS))
    print(f"\nseed {seed}, {kills} kills")
    chance = random.Random(seed)
    with small_disk(tmp_path / "runs", DISK), children() as started:
        place = Place(tmp_path, started)
        torment = Tormentor(place, chance)
        run = torment.run
        began = time.monotonic()
        while sum(torment.kills.values()) < kills:
            role = chance.choice(tuple(torment.kills))
            # Mostly in the middle of training, often enough while everything is still starting.
            torment.look(chance.uniform(0, 2 if role == "screen" else 14))
            torment.kill(role)
            if chance.random() < TROUBLE:
                torment.trouble()
        (run.path / "clock").unlink(missing_ok=True)
        wait_for(lambda: lock.holder(run) is not None, 60)
        attempts = len(told(run, AttemptStarted))
        try:
            wait_for(lambda: torment.look(0.1) or steps_of_newest_attempt(run) > 5, 180)
        except AssertionError:
            raise AssertionError(torment.story("step of the last attempt")) from None
        stop = Request(id=wire.new_id(), command=Command.STOP, author="test")
        inbox.post(run, stop)
        torment.asked.append(stop.id)
        torment.quiet = True
        wait_for(lambda: torment.look(0.1) or not lock.is_running(run), 120)
        torment.look(1)
        torment.screen.wait_for("STOPPED")
        torment.screen.press("q")
        assert torment.screen.wait(30) == 0
        torment.screen.close()
        wait_for(lambda: started.left() == [], 30)
        minutes = (time.monotonic() - began) / 60
        print(
            f"{torment.kills} and {dict(torment.faults)} in {minutes:.0f} min, "
            f"{attempts} attempts, {end_of(run).step} steps"
        )

        # No acknowledged event is lost, and the numbers rise.
        ours = events(run.events)
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
        assert isinstance(end_of(run), RunFinished)
        assert (end_of(run).status, end_of(run).reason) == ("stopped", "stop asked for by test")

        # No checkpoint is half but those that were damaged, nothing half-made is left.
        damaged = 0
        for folder in run.checkpoints.iterdir():
            try:
                assert checkpoint_dir.verify(folder).step == int(folder.name.removeprefix("step-"))
            except CheckpointError:
                damaged += 1
        assert damaged <= torment.faults["damage a checkpoint"]
        reached = checkpoint_dir.list_checkpoints(run)[-1]
        assert reached.step == end_of(run).step

        # The same bits as a run that nobody touched.
        place.root = tmp_path / "whole"
        whole = place.make(*SETTINGS, "--run=whole", "--eval-every=99999", "--checkpoint-every=0")
        inbox.post(whole, Request(id="p", command=Command.PAUSE, author="test"))
        process = place.supervise(whole)
        wait_for(lambda: told(whole, ControlApplied), 60)
        request = Request(id="r", command=Command.RESUME, argument=reached.step, author="test")
        inbox.post(whole, request)
        wait_for(lambda: paused_at(whole) == reached.step, 1200)
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


def steps_of_newest_attempt(run: RunDir) -> int:
    """Steps that the newest attempt has done."""
    ours = events(run.events)
    newest = max((event.stamp.att for event in ours), default=0)
    return sum(isinstance(e, StepFinished) and e.stamp.att == newest for e in ours)


def paused_at(run: RunDir) -> int | None:
    """The step at which the run has paused."""
    states = told(run, StateChanged)
    return states[-1].step if states and states[-1].state == "paused" else None
