"""Sixty kills at random moments, and in the end the bits of a run that was left alone.

Seeded: the same ranks, moments and ways in every run of this test, as far as a busy
machine allows. `make torture` runs it; it takes half an hour on two cores.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import pytest

from engine.events import AttemptStarted, EvalFinished, StepFinished, ValidationFinished
from engine.processes.heartbeat_file import read_record
from engine.run import lock
from engine.run.run_dir import RunDir
from tests.place import HfPlace, Place, ended, final_weights, finish, of
from tests.processes import children, wait_for

pytestmark = [pytest.mark.torture, pytest.mark.timeout(1800)]

KILLS = 10
"""Of each run."""

ITERATIONS = 301
FLAGS = (
    f"--num-iterations={ITERATIONS}",
    "--checkpoint-every=5",
    "--eval-every=50",
    "--eval-metrics-every=100",
    "--max-restarts=99",
)

HF_ITERATIONS = 121
HF_FLAGS = (
    f"--num-iterations={HF_ITERATIONS}",
    "--checkpoint-every=5",
    "--eval-every=40",
    "--max-restarts=99",
    # Both draw random numbers in every update.
    "--neftune-alpha=5",
    "--lora-dropout=0.1",
)

WAYS = ("rank", "rank in a checkpoint", "rank while starting", "supervisor", "all at once")


@pytest.fixture
def place(tmp_path):
    with children() as started:
        yield Place(tmp_path, started)
        started.note_descendants()


@pytest.fixture
def hf_place(tmp_path):
    with children() as started:
        yield HfPlace(tmp_path, started)
        started.note_descendants()


class Killer:
    """Kills processes of one run, and sees to it that the run goes on."""

    def __init__(self, place: Place, run: RunDir, ranks: int, process) -> None:
        self.place, self.run, self.ranks, self.process = place, run, ranks, process

    def kill(self, way: str, rng: random.Random) -> None:
        """One kill; returns when the run is under way again."""
        attempts = len(of(self.run, AttemptStarted))
        victim = rng.randrange(self.ranks)
        if way == "rank in a checkpoint":
            partials = self.run.checkpoints.glob
            wait_for(lambda: any(partials(".step-*.partial")) or self.over())
        else:
            time.sleep(0.05 * rng.random())  # somewhere inside a step
        if self.over():
            return
        if way == "rank while starting":
            self.end(self.rank_pid(victim))
            wait_for(lambda: self.fresh(victim), 120)
            self.end(self.rank_pid(victim))
        elif way == "supervisor":
            self.end(lock.last_holder(self.run).pid)
        elif way == "all at once":
            pids = [lock.last_holder(self.run).pid, *map(self.rank_pid, range(self.ranks))]
            self.end(*pids)
        else:
            self.end(self.rank_pid(victim))
        if way in ("supervisor", "all at once"):
            # Orphans save and stop by themselves; the screen says that the run is lost.
            finish(self.place, self.run, self.process, 300)
            if not self.over():
                wait_for(lambda: not lock.is_running(self.run), 60)
                self.process = self.place.resume(self.run)
        wait_for(lambda: len(of(self.run, AttemptStarted)) > attempts or self.over(), 180)

    def over(self) -> bool:
        found = ended(self.run)
        return found is not None and found.status == "finished"

    def rank_pid(self, rank: int) -> int:
        found = read_record(self.run.heartbeat(rank))
        return 0 if found is None else int(found["pid"])

    def fresh(self, rank: int) -> bool:
        """Whether the rank that beats is not the one that was killed."""
        pid = self.rank_pid(rank)
        return self.over() or (pid not in (0, *self.killed) and lock.is_alive(pid, None))

    killed: tuple[int, ...] = ()

    def end(self, *pids: int) -> None:
        self.place.started.note_descendants()
        for pid in pids:
            # Only what this test started is ever killed.
            if pid in self.place.started.known:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self.killed = (*self.killed, pid)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_killed_ten_times_ends_with_the_same_bits(place, ranks):
    """Ranks, supervisor or everything at once, in a step, in a checkpoint or while starting:
    losses, evaluations and weights are those of the unbroken run, and no process is left."""
    kill_ten_times(place, ranks, ITERATIONS, FLAGS)


@pytest.mark.parametrize("lora", [(), ("--lora=4",)], ids=["full", "lora"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_on_a_hugging_face_model_killed_ten_times_ends_with_the_same_bits(
    hf_place, ranks, lora
):
    """The same for the whole model and for adapters, with dropout and noise."""
    kill_ten_times(hf_place, ranks, HF_ITERATIONS, (*HF_FLAGS, *lora))


def kill_ten_times(place, ranks, iterations, flags):
    whole, process = place.start(f"--gpus={ranks}", *flags)
    finish(place, whole, process, 300)
    rng = random.Random(ranks)
    ways = [*WAYS, *WAYS]
    rng.shuffle(ways)
    steps = sorted(rng.sample(range(5, iterations - 30), KILLS))

    broken, process = place.start(f"--gpus={ranks}", "--run=broken", *flags)
    killer = Killer(place, broken, ranks, process)
    for step, way in zip(steps, ways, strict=True):
        wait_for(lambda step=step: reached(broken, step) or killer.over(), 300)
        print(f"kill at step {step}: {way}", flush=True)
        killer.kill(way, rng)
    assert len(killer.killed) >= KILLS
    out = finish(place, broken, killer.process, 300)

    assert ended(broken).status == "finished", out
    assert len(losses(whole)) == iterations - 1
    assert losses(broken) == losses(whole)
    assert validations(broken) == validations(whole)
    assert accuracies(broken) == accuracies(whole)
    assert final_weights(broken) == final_weights(whole)
    assert place.started.left() == []
    print(f"{len(killer.killed)} processes killed", flush=True)


def reached(run: RunDir, step: int) -> bool:
    return any(event.step >= step for event in of(run, StepFinished))


def losses(run: RunDir) -> dict[int, float]:
    """Loss by step, the newest attempt's."""
    return {event.step: event.loss for event in of(run, StepFinished)}


def validations(run: RunDir) -> dict[int, float]:
    return {event.step: event.loss for event in of(run, ValidationFinished)}


def accuracies(run: RunDir) -> dict[tuple[int, str], int]:
    return {(event.step, event.task): event.correct for event in of(run, EvalFinished)}
