"""No rank waits for another's disk inside a collective: a slow one delays a run and ends none."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessRaisedException, spawn

from engine import conclusion, trainer
from engine.checkpoints import checkpoint_dir
from engine.checkpoints.checkpointer import Checkpointer
from engine.distributed import Ranks
from engine.run.run_dir import RunDir
from engine.trainer import Outcome

TIMEOUT = 3.0
"""Of every collective, in seconds."""
SLOW = 6.0
"""A save, and an export."""


def _rank_main(rank: int, folder: str) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=TIMEOUT),
    )
    ranks = Ranks(
        device=torch.device("cpu"),
        rank=rank,
        world_size=2,
        backend="gloo",
        group=dist.group.WORLD,
        control_group=dist.group.WORLD,
    )
    run = RunDir(Path(folder))
    run.checkpoints.mkdir(exist_ok=True)
    session: Any = SimpleNamespace(
        ranks=ranks,
        is_main=ranks.is_main,
        unsaved="",
        emit=lambda _event: None,
        model=torch.nn.Linear(2, 2),
        optimizer=SimpleNamespace(state_dict=lambda: {"m": torch.ones(3)}),
        checkpointer=Checkpointer(
            run, rank=rank, world_size=2, attempt=1, keep=3, emit=lambda _event: None
        ),
    )

    def slowly(*_: object) -> None:
        if rank == 0:
            time.sleep(SLOW)

    def export(*_: object, **__: object) -> bool:
        slowly()
        return True

    engine: Any = trainer
    engine.checkpoint_state = lambda _session: {}
    ending: Any = conclusion
    ending.export_result = export
    disk: Any = checkpoint_dir
    sync = disk.sync

    def slow_sync(path: Path) -> None:
        slowly()
        sync(path)

    disk.sync = slow_sync
    trainer.save_checkpoint(session, 1, "schedule")
    disk.sync = sync
    # The first save is still in flight on rank 0 when all ranks come with the next.
    engine.save_last(session, SimpleNamespace(), 2, "final")
    conclusion.conclude(session, Outcome(status="finished", reason="", step=2))
    dist.barrier()
    (Path(folder) / f"done.{rank}").touch()
    dist.destroy_process_group()


@pytest.mark.slow
def test_saves_and_exports_longer_than_a_collective_may_take_end_no_run(tmp_path: Path) -> None:
    """Three times the patience of a collective on rank 0's disk: both ranks come to the end."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        spawn(_rank_main, args=(str(tmp_path),), nprocs=2)
    except ProcessRaisedException as error:
        raise AssertionError(f"a rank failed: {error}") from None
    assert {path.name for path in tmp_path.glob("done.*")} == {"done.0", "done.1"}
    steps = [info.step for info in checkpoint_dir.list_checkpoints(RunDir(tmp_path))]
    assert steps == [1, 2]


def test_copies_of_a_card_go_into_pinned_memory_with_one_wait(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All copies are queued before the one wait; the buffers are kept for the next time."""
    said: list[str] = []

    class OnCard:
        """A tensor of a card, as far as a copy asks."""

        device = torch.device("cuda")
        dtype, shape = torch.float32, torch.Size([2])

        def detach(self) -> OnCard:
            return self

    class Buffer:
        dtype, shape = torch.float32, torch.Size([2])

        def copy_(self, _source: object, non_blocking: bool) -> None:
            said.append(f"copy non_blocking={non_blocking}")

    def empty(_shape: object, *, dtype: torch.dtype, pin_memory: bool = False) -> Buffer:
        said.append(f"pinned={pin_memory}")
        return Buffer()

    stream = SimpleNamespace(synchronize=lambda: said.append("wait"))
    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    saver = Checkpointer(
        RunDir(tmp_path), rank=0, world_size=1, attempt=1, keep=1, emit=lambda _event: None
    )
    tensors: Any = {"a": OnCard(), "b": OnCard()}
    saver._host_copy("model", tensors)
    copied = "copy non_blocking=True"
    assert said == ["pinned=True", copied, "pinned=True", copied, "wait"]
    said.clear()
    saver._host_copy("model", tensors)
    assert said == [copied, copied, "wait"]
