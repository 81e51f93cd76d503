"""One run under fire: kills at random moments, other faults between them, and what was seen.

`test_torture.py` says how it must end.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable

import psutil

from engine.checkpoints import checkpoint_dir
from engine.control import Command, Request
from engine.errors import RunDirError
from engine.events import (
    AttemptStarted,
    Event,
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
from tests.faults.place import Place, fill, told
from tests.faults.terminal import Terminal
from tests.processes import wait_for

SETTINGS = (
    "--gpus=2",
    "--max-restarts=100000",
    "--num-iterations=100000",
    "--checkpoint-every=8",
    "--eval-every=25",
    "--eval-metrics-every=50",
)

THROTTLE: tuple[dict[str, object], ...] = (
    {"rank": 0, "step": 0, "action": "sleep", "seconds": 0.06, "attempt": "any"},
    {"rank": 0, "step": -1, "action": "clock", "attempt": "any"},
    {"rank": 1, "step": -1, "action": "clock", "attempt": "any"},
)
"""A step of some 70 ms, and a checkpoint in every half second: as often in a save as between two,
and few enough updates that a thousand kills can be compared with an unbroken run. The ranks'
clock is off by what stands in the file `clock` of the run."""

TROUBLE = 0.2
"""How often another fault follows a kill."""

START_SECONDS = 180.0
"""Until everything is there again and trains, on a busy machine."""

HEAL_SECONDS = 5.0
"""A folder that was changed is noticed and mended within that time, on a busy machine too."""

STARTING_SECONDS = 5.0
"""Of the half of the kills that may come before a run is up again: imports, groups, the model."""

TRAINING_SECONDS = 2.0
"""Of the other half, counted from its first updates: some thirty updates and four checkpoints."""


ROLES = ("screen", "supervisor", "rank 0", "rank 1")

TOGETHER = (1, 1, 1, 2, 2, 3, 3, 4)
"""Of them that are killed at one instant: mostly one; all where a machine dies."""

NOTE_SECONDS = 0.5
"""How often it is noted what processes there are, to find any that is left in the end."""

TELLING = (AttemptStarted, RankLost, RunFinished, LogLine, StateChanged)


class Tormentor:
    """One run under fire, and a record of everything that was ever seen of it."""

    def __init__(self, place: Place, chance: random.Random) -> None:
        self.place = place
        self.chance = chance
        self.env = place.environment(THROTTLE)
        self.kills = Counter(dict.fromkeys(ROLES, 0))
        self.noted = 0.0
        self.faults: Counter[str] = Counter()
        self.screen = Terminal(
            place.started, "-m", "sftui", "run", *place.flags(*SETTINGS), env=self.env
        )
        wait_for(lambda: list(place.root.glob("*/run.json")), 60)
        self.run = RunDir(next(place.root.glob("*/run.json")).parent)
        # A screen that is killed before it has started anything leaves nothing to be killed.
        wait_for(lambda: lock.holder(self.run) is not None, 60)
        self.tail = TailSource(self.run)
        self.seen: dict[tuple[str, int], Event] = {}
        self.updates: Counter[int] = Counter()
        """Of each attempt, as far as they were seen."""
        self.moments = 0
        self.newest = 0
        """The newest attempt that was seen."""
        self.broken = 0
        """Attempts up to this one are over: one of their processes was killed."""
        self.asked: list[str] = []
        self.quiet = False
        """True once the run is ending: nobody is left to answer what comes after the end."""

    # ---- watching ----------------------------------------------------------------------------

    def look(self, seconds: float) -> None:
        """Watch for so long; now and then ask for something, as a script would."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.read()
            if not self.quiet and self.chance.random() < 0.02:
                command = self.chance.choice((Command.CHECKPOINT, Command.EVALUATE))
                request = Request(id=wire.new_id(), command=command, author="test")
                # A full disk takes no requests, and whoever asks is told.
                with contextlib.suppress(RunDirError):
                    inbox.post(self.run, request)
                    self.asked.append(request.id)
            if time.monotonic() > self.noted + NOTE_SECONDS:
                self.place.started.note_descendants()
                self.noted = time.monotonic()
            time.sleep(0.05)

    def read(self) -> None:
        """What is new in the logs; each is read once, as they grow for an hour."""
        for event in self.tail.poll():
            key = (event.stamp.src, event.stamp.seq)
            if isinstance(event, StepFinished) and key not in self.seen:
                self.updates[event.stamp.att] += 1
            if isinstance(event, AttemptStarted):
                self.newest = max(self.newest, event.stamp.att)
            self.seen[key] = event

    def in_training(self, updates: int = 3) -> bool:
        """Whether the newest attempt has done more than so many updates."""
        self.read()
        return self.newest > self.broken and self.updates[self.newest] > updates

    def wait_until(self, what: Callable[[], object], missing: str) -> None:
        """Watch until it is so; the story when it does not become so."""
        patience = time.monotonic() + START_SECONDS
        while not what():
            if time.monotonic() > patience:
                raise AssertionError(self.story(missing))
            self.look(0.1)

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

    def wait_for_a_moment(self) -> None:
        """Half of the moments lie in a start, the others among updates and checkpoints."""
        if self.chance.random() < 0.5:
            self.look(self.chance.uniform(0, STARTING_SECONDS))
        else:
            self.wait_until(self.in_training, "update")
            self.look(self.chance.uniform(0, TRAINING_SECONDS))

    def kill(self) -> None:
        """SIGKILL of one to four processes at one instant; then what a person would do."""
        number = self.chance.choice(TOGETHER)
        roles = self.chance.sample(sorted(self.kills), number)
        self.wait_until(lambda: roles[0] in self.processes(), roles[0])
        there = self.processes()
        killed = [role for role in roles if role in there and self.killed(there[role])]
        self.kills.update(killed)
        self.moments += 1
        if set(killed) - {"screen"}:
            self.read()
            self.broken = self.newest
        if "supervisor" in killed:
            wait_for(lambda: not lock.is_running(self.run), 120)
            self.sit_down("run", "--resume", self.run.id)
            wait_for(lambda: lock.holder(self.run) or self.screen.process.poll() is not None, 90)
            assert lock.holder(self.run) is not None, self.screen.words()[-3000:]
        elif "screen" in killed:
            self.sit_down("attach", self.run.id)

    def killed(self, pid: int) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    # ---- other faults ------------------------------------------------------------------------

    def trouble(self) -> None:
        """One of the other faults while the run trains, and what follows until it is over."""
        self.wait_until(self.trains, "training")
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
        return self.in_training() and len(self.processes()) == len(ROLES)

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

    def done(self) -> str:
        kills, number = dict(self.kills), self.kills.total()
        return f"{number} kills at {self.moments} moments: {kills}, {dict(self.faults)}"

    def story(self, missing: str) -> str:
        """What there is to know when a role does not come back."""
        newest = "\n".join(repr(event)[:300] for event in told(self.run, *TELLING)[-12:])
        log = self.run.supervisor_log.read_text("utf-8", "replace")[-2000:]
        there = f"{lock.evidence(self.run)}, {self.processes()}"
        screen = self.screen.words()[-1500:]
        return f"no {missing}: {there}\n{newest}\n{log}\n{self.done()}\n{screen}"

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
