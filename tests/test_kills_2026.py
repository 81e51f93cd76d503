"""Runs of nanochat's newest generation, killed for good with their supervisor, and taken up again.

By the real program, in both layouts, on one rank and on two, and from two to one. Minutes on
two cores: `make torture`. `tests/engine/test_resume_2026.py` has the same bits in seconds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.checkpoints import checkpoint_dir
from engine.checkpoints.checkpointer import load_optimizer_states
from engine.events import AttemptStarted, ValidationFinished
from engine.processes.heartbeat_file import read_record
from engine.run import lock
from engine.run.run_dir import RunDir
from tests.place import Place2026, ended, final_weights, finish, of
from tests.processes import children, wait_for
from tests.test_kills import accuracies, losses, reached, validations

pytestmark = [pytest.mark.torture, pytest.mark.timeout(1800)]

FLAGS = ("--num-iterations=61", "--checkpoint-every=5", "--max-restarts=9", "--keep=99")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place2026]:
    with children() as started:
        yield Place2026(tmp_path, started)
        started.note_descendants()


def killed_for_good(place: Place2026, run: RunDir, process: object, ranks: int, step: int) -> None:
    """SIGKILL to the supervisor and every rank at once, somewhere after `step`."""
    wait_for(lambda: reached(run, step), 300)
    place.started.note_descendants()
    pids = [lock.last_holder(run).pid]
    pids += [int(read_record(run.heartbeat(rank))["pid"]) for rank in range(ranks)]
    for pid in pids:
        # Only what this test started is ever killed.
        assert pid in place.started.known
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    finish(place, run, process)  # type: ignore[arg-type]
    wait_for(lambda: not lock.is_running(run), 60)
    assert ended(run) is None


def optimizer_of(run: RunDir) -> list[dict[str, torch.Tensor]]:
    return load_optimizer_states(checkpoint_dir.list_checkpoints(run)[-1])


def assert_same_end(run: RunDir, whole: RunDir) -> None:
    found = ended(run)
    assert found is not None
    assert found.status == "finished"
    assert losses(run) == losses(whole)
    assert validations(run) == validations(whole)
    assert accuracies(run) == accuracies(whole)
    assert final_weights(run) == final_weights(whole)
    for ours, theirs in zip(optimizer_of(run), optimizer_of(whole), strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_run_of_2026_stopped_and_killed_for_good_ends_with_the_same_bits(
    place: Place2026, ranks: int, layout: str
) -> None:
    """Killed, taken up, stopped by a request, taken up; and once killed, by another number."""
    flags = (f"--gpus={ranks}", f"--layout={layout}", *FLAGS)
    whole, process = place.start(*flags)
    finish(place, whole, process)

    broken, process = place.start(*flags, "--run=broken")
    killed_for_good(place, broken, process, ranks, 13)
    fewer = RunDir(broken.path.with_name("fewer"))
    shutil.copytree(broken.path, fewer.path)
    process = place.resume(broken)
    wait_for(lambda: reached(broken, 25), 300)
    place.ctl(broken, "stop")
    finish(place, broken, process)
    stopped = ended(broken)
    assert stopped is not None
    assert stopped.status == "stopped"
    finish(place, broken, place.resume(broken))
    assert_same_end(broken, whole)

    other = 3 - ranks
    process = place.resume(fewer, f"--gpus={other}")
    out = finish(place, fewer, process)
    found = ended(fewer)
    assert found is not None, out
    assert found.status == "finished", out
    assert of(fewer, AttemptStarted)[-1].world_size == other
    assert losses(fewer) == pytest.approx(losses(whole), rel=1e-3)
    first, second = (of(run, ValidationFinished)[-1] for run in (fewer, whole))
    assert first.rows == second.rows
    assert first.loss == pytest.approx(second.loss, rel=1e-3)
