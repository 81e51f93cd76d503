"""Two ranks of an attached loop: one reduction an update that nobody waits for, same answers."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import sftui
from engine.attach import update_sums
from engine.attach.update_sums import RankFault, UpdateSums
from engine.control import Command
from engine.events import StepFinished
from engine.run.run_dir import RunDir
from tests.engine.attach.steered import answers, ask, events

UPDATES = 24


def on_two_ranks(folder: Path, work: Callable[[int, Path], Any]) -> list[Any]:
    """What `work(rank, folder)` gives on each of two forked ranks of a gloo group."""

    def rank(number: int) -> None:
        os.chdir(folder)
        os.environ |= {"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": str(number)}
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/store", rank=number, world_size=2
        )
        found = work(number, folder)
        (folder / f"rank-{number}.json").write_text(json.dumps(found))
        dist.barrier()
        dist.destroy_process_group()

    torch.set_num_threads(1)  # threads do not outlive a fork
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=rank, args=(number,)) for number in range(2)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join(60)
    assert [each.exitcode for each in ranks] == [0, 0]
    return [json.loads((folder / f"rank-{number}.json").read_text()) for number in range(2)]


class Counted:
    """Counts the reductions of this process by update, and whether they are waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting: list[int] = []
        self.overlapped: list[int] = []
        self.step = 0
        inner = dist.all_reduce

        def all_reduce(*args: Any, **kwargs: Any) -> Any:
            (self.overlapped if kwargs.get("async_op") else self.waiting).append(self.step)
            return inner(*args, **kwargs)

        monkeypatch.setattr(dist, "all_reduce", all_reduce)


def steered_loop(number: int, folder: Path) -> dict[str, Any]:
    """Requests by rank 0 in the middle of updates; what each rank did, by updates done."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    done: dict[str, list[int]] = {"evaluate": [], "save": [], "rates": []}
    plan = {
        5: ("eval", Command.EVALUATE, None),
        9: ("lr", Command.LR_FACTOR, 0.5),
        13: ("save", Command.CHECKPOINT, None),
        20: ("stop", Command.STOP, None),
    }
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(patch)

        def evaluate() -> float:
            done["evaluate"].append(run.steps_done if run else 0)
            return 1.0

        run: Any = None
        run = sftui.attach_loop(
            optimizer,
            updates=UPDATES,
            runs_dir=folder / "runs",
            evaluate=evaluate,
            save=lambda step: done["save"].append(step),
        )
        try:
            for step in range(UPDATES):
                counted.step = step
                if number == 0 and step in plan:
                    ask(RunDir(run.run), *plan[step])
                weight.grad = torch.ones(2)
                optimizer.step()
                optimizer.zero_grad()
                run.step(torch.tensor(float(step + number)), tokens=10 + number)
            ended = UPDATES
        except sftui.RunStopped as stopped:
            ended = stopped.step
        run.finish()
        weights = weight.tolist()
    return {
        **done,
        "ended": ended,
        "weights": weights,
        "waiting": counted.waiting,
        "overlapped": counted.overlapped,
        "run": str(run.run),
    }


def test_requests_are_answered_once_at_one_step_without_a_wait_in_quiet_updates(
    tmp_path: Path,
) -> None:
    first, second = on_two_ranks(tmp_path, steered_loop)
    found = answers(Path(first["run"]))
    assert {a.outcome for a in found.values()} == {"applied"}
    steps = {name: a.step or 0 for name, a in found.items()}
    for rank in (first, second):
        assert rank["evaluate"][1:] == [steps["eval"]]
        # A stop saves as well.
        assert rank["save"] == [steps["save"], steps["stop"]]
        assert rank["ended"] == steps["stop"]
    assert first["weights"] == second["weights"]
    # Read at the boundary behind the update in which it was asked for, agreed on at the next.
    asked = {"eval": 5, "lr": 9, "save": 13, "stop": 20}
    assert all(asked[name] < step <= asked[name] + 3 for name, step in steps.items())
    # Half the rate from there on, and not a step earlier or later.
    expected = 1 - 0.1 * (steps["lr"] + (steps["stop"] - steps["lr"]) * 0.5)
    assert first["weights"] == pytest.approx([expected] * 2)
    told = events(Path(first["run"]), StepFinished)
    assert [(e.step, e.loss, e.tokens) for e in told] == [
        (step, step + 0.5, 21) for step in range(steps["stop"])
    ]
    for rank in (first, second):
        assert rank["overlapped"] == list(range(steps["stop"]))
        # Those at which there was something to agree on, and the first.
        meetings = {step - back for step in steps.values() for back in (0, 1)}
        assert set(rank["waiting"]) <= {0} | meetings
        assert len(rank["waiting"]) <= 2 + 2 * len(steps)


def one_without_numbers(number: int, folder: Path) -> list[str]:
    """Rank 1 fails at the third update: each rank's story of the five that it would make."""
    sums = UpdateSums(dist.new_group(backend="gloo"))
    story = []
    for step in range(5):
        try:
            sums.settle()
            fault = step == 2 and number == 1
            sums.add(
                (float(step),), lambda all_of: story.append(f"{all_of}"), fault=fault, meet=False
            )
        except RankFault:
            story.append(f"dark at {step}")
            break
    return story


def test_a_rank_without_numbers_darkens_all_at_the_same_update(tmp_path: Path) -> None:
    told = on_two_ranks(tmp_path, one_without_numbers)
    assert told == [["[0.0]", "[2.0]", "dark at 3"]] * 2


def test_a_slow_step_is_told_at_once_and_waits_for_nobodys_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update_sums, "SLOW_STEP_SECONDS", 0.0)
    monkeypatch.setattr("engine.attach.attachment.SLOW_STEP_SECONDS", 0.0)
    first, second = on_two_ranks(tmp_path, steered_loop)
    steps = {name: a.step for name, a in answers(Path(first["run"])).items()}
    # Each at the end of the very update in which it was asked for.
    assert steps == {"eval": 6, "lr": 10, "save": 14, "stop": 21}
    assert first["weights"] == second["weights"]
