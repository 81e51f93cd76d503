"""A run of nanochat's newest generation that was stopped or killed, and went on: the same bits."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException, spawn

from engine import config, session_setup, trainer
from engine.checkpoints import checkpoint_dir
from engine.checkpoints.checkpointer import load_model_state, load_optimizer_states
from engine.distributed import Ranks
from engine.events import StepFinished, ValidationFinished
from engine.processes import launch
from engine.run.run_dir import RunDir
from engine.session import Session
from engine.steering.steering import Decision, Steering
from engine.step.dataloader import StepBatch
from tests import tiny

LAST = 5
STOPPED_AT, KILLED_AT, SAVED_AT = 1, 4, 2
LAYOUTS = ("packed", "padded")


class Attempt(NamedTuple):
    """What one attempt of a run did, by step."""

    rows: dict[int, list[tuple[int, int]]]
    """(mixture row, micro-batch of the plan) of every document."""
    losses: dict[int, dict[str, Any]]
    validations: dict[int, float]


class StopAt:
    """A person who asks for nothing but a stop at one step."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def at_boundary(self, step: int) -> Decision:
        return Decision(stop=step == self.step, stop_reason="asked")

    def acknowledge(self, *_: object) -> None: ...


class Killed(Exception):
    """Stands for a SIGKILL between two steps: nothing after it runs."""


def new_run(folder: Path, layout: str, world_size: int) -> RunDir:
    """As `sftui run --recipe nanochat` makes it: sizes, rates and optimizer state of the base."""
    os.environ["NANOCHAT_BASE_DIR"] = str(folder / "cache")
    settings = config.load_recipe("nanochat").replace(
        data_dir=str(folder / "data"),
        mixture=("SmolTalk", "GSM8K*2"),
        validation="SmolTalk,GSM8K:10",
        gpus=world_size,
        device_type="cpu",
        layout=layout,
        eval_every=3,
        eval_tokens=512,
        eval_tasks=(),
        checkpoint_every=2,
        num_iterations=LAST + 1,
        run=f"{layout}-{world_size}",
    )
    prepared = launch.prepare(settings, frozenset({"gpus", "eval_tasks"}))
    now = datetime(2026, 1, 2, 3, 4, 5)
    return launch.create(prepared, folder / "runs", command=["sftui"], cwd=folder, now=now)


def attempt(
    run: RunDir, ranks: Ranks, *, stop: int | None = None, kill: int | None = None
) -> Attempt:
    """Train from the newest checkpoint on; to the end, to a stop, or to a kill."""
    events: list[Any] = []
    session = session_setup.build(run, ranks, 1, events.append)
    rows = watch_rows(session)

    def on_step(step: int, _: float | None) -> None:
        # What a checkpoint needs is on disk: whether a torn one is passed over is tested elsewhere.
        session.checkpointer.wait()
        if step == kill:
            raise Killed

    try:
        trainer.train(session, cast(Steering, StopAt(stop)), on_step)
        session.checkpointer.wait()
    except Killed:
        pass
    session.close()
    # What rank 0 has committed by now is what every rank goes on from.
    ranks.barrier()
    losses = {
        each.step: {"loss": each.loss, "norm": each.grad_norm, "lr": dict(each.lrs)}
        for each in events
        if isinstance(each, StepFinished)
    }
    validations = {each.step: each.loss for each in events if isinstance(each, ValidationFinished)}
    return Attempt(rows, losses, validations)


def watch_rows(session: Session) -> dict[int, list[tuple[int, int]]]:
    """Filled as the session draws its rows."""
    found: dict[int, list[tuple[int, int]]] = {}
    load = session.loader.load

    def watched(step: int, **more: Any) -> StepBatch:
        batch = load(step, **more)
        found[step] = [(each.row, each.micro_batch) for each in batch.documents]
        return batch

    session.loader.load = watched  # type: ignore[method-assign]
    return found


def end_state(run: RunDir) -> dict[str, Tensor]:
    """Weights and every rank's optimizer state of the last checkpoint."""
    info = checkpoint_dir.list_checkpoints(run)[-1]
    assert info.step == LAST
    found = dict(load_model_state(info))
    for rank, shard in enumerate(load_optimizer_states(info)):
        found |= {f"rank {rank} {name}": tensor for name, tensor in shard.items()}
    return found


def copied(run: RunDir, name: str) -> RunDir:
    shutil.copytree(run.path, run.path.with_name(name))
    return RunDir(run.path.with_name(name))


def faults(folder: Path, ranks: Ranks) -> list[str]:
    """What a stopped and a killed run do differently from one that was left alone.

    Rank 0 makes the run directories; the others wait. Each is then trained on all ranks.
    """
    found = []
    for layout in LAYOUTS:
        names = {way: folder / "runs" / f"{way}-{layout}" for way in ("whole", "stop", "kill")}
        if ranks.is_main:
            first = new_run(folder, layout, ranks.world_size)
            for path in names.values():
                shutil.copytree(first.path, path)
        ranks.barrier()
        whole, stopped, killed = map(RunDir, names.values())
        wanted = attempt(whole, ranks)
        state = end_state(whole)
        assert sorted(wanted.losses) == list(range(LAST))
        # Rank 0 tells them.
        assert sorted(wanted.validations) == ([0, 3, LAST] if ranks.is_main else [])
        for run, first_part, begins in (
            (stopped, attempt(stopped, ranks, stop=STOPPED_AT), STOPPED_AT),
            (killed, attempt(killed, ranks, kill=KILLED_AT), SAVED_AT),
        ):
            if ranks.is_main and run is stopped:
                copied(run, f"alone-{layout}")
            second_part = attempt(run, ranks)
            assert min(second_part.losses) == begins
            for name in Attempt._fields:
                joined = getattr(first_part, name) | getattr(second_part, name)
                if joined != getattr(wanted, name):
                    found.append(f"{layout}: {name} of {run.path.name}")
            end = end_state(run)
            found += [
                f"{layout}: {name} of {run.path.name}"
                for name in sorted(state.keys() | end.keys())
                if not torch.equal(end[name], state[name])
            ]
        if ranks.is_main:
            torch.save(tuple(wanted), folder / f"whole-{layout}.pt")
    return found


def material(folder: Path) -> None:
    tiny.write_cache_2026(folder / "cache")
    tiny.write_data(folder / "data")


def test_a_resumed_run_of_2026_ends_with_the_bits_of_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by a person, or killed two steps behind its checkpoint: rows, losses, rates,
    validations, weights and optimizer state, packed and padded."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", "")
    material(tmp_path)
    assert faults(tmp_path, Ranks(device=torch.device("cpu"))) == []


def _rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    ranks = Ranks(
        device=torch.device("cpu"),
        rank=rank,
        world_size=2,
        group=dist.group.WORLD,
        control_group=dist.group.WORLD,
    )
    found = faults(Path(folder), ranks)
    (Path(folder) / f"faults.{rank}").write_text("\n".join(found))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_of_2026_resume_to_the_bit_and_one_takes_their_rows_up(tmp_path: Path) -> None:
    """On one rank the stopped run of two draws the same rows into the same micro-batches; its
    losses are theirs up to rounding, since sums are then added in another order."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    material(tmp_path)
    try:
        spawn(_rank_main, args=(str(tmp_path),), nprocs=2)
    except ProcessRaisedException as error:
        raise AssertionError(f"a rank failed: {error}") from None
    for rank in range(2):
        assert (tmp_path / f"faults.{rank}").read_text() == ""
    for layout in LAYOUTS:
        whole = Attempt(*torch.load(tmp_path / f"whole-{layout}.pt"))
        alone = attempt(
            RunDir(tmp_path / "runs" / f"alone-{layout}"), Ranks(device=torch.device("cpu"))
        )
        assert sorted(alone.losses) == list(range(STOPPED_AT, LAST))
        for step, told in alone.losses.items():
            assert alone.rows[step] == whole.rows[step]
            assert told["lr"] == whole.losses[step]["lr"]
            assert told["loss"] == pytest.approx(whole.losses[step]["loss"], rel=1e-4)
        assert alone.validations[LAST] == pytest.approx(whole.validations[LAST], rel=1e-4)
