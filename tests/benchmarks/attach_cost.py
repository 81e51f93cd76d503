"""What an attached step costs: `python tests/benchmarks/attach_cost.py [--pairs 150]`, a minute.

On one rank and on two, the same loop twice over in one process: a step of the plain loop, then a
step of the attached one, in turn, so that a busy machine slows both alike. A step does a small
update, waits for the other ranks as a real one does (the gradients' sum) and sleeps, as a CPU does
while its GPU works. Printed are the medians of the pairs' differences: added wall time of a
step, and added CPU time of the whole process (all threads, the reduction's too), as shares of a
step of 100 ms. Limits: 0.5 % on one rank, 1 % on two.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

STEP_SECONDS = 0.1
LIMITS = {1: 0.005, 2: 0.01}
WARM_UP = 10


@dataclass
class Loop:
    """One of the two loops: its model, and what its steps took."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @classmethod
    def new(cls) -> Loop:
        torch.manual_seed(1)
        model = torch.nn.Linear(64, 64)
        return cls(model, torch.optim.AdamW(model.parameters(), lr=1e-3))

    def step(self, run: object, ranks: int) -> None:
        """One update; told to `run` where it is the attached loop's."""
        if ranks > 1:
            # Both kinds of step begin together.
            dist.barrier()
        wall, cpu = time.perf_counter(), time.process_time()
        loss = self.model(torch.ones(1, 64)).square().mean()
        loss.backward()
        time.sleep(STEP_SECONDS / 4)
        if ranks > 1:
            for parameter in self.model.parameters():
                dist.all_reduce(parameter.grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if run is not None:
            run.step(loss, tokens=64)  # type: ignore[attr-defined]
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


def rank(number: int, ranks: int, pairs: int, folder: str) -> None:
    """One rank: steps of both loops in turn; rank 0 prints."""
    os.chdir(folder)
    torch.set_num_threads(1)
    if ranks > 1:
        os.environ |= {"LOCAL_WORLD_SIZE": str(ranks), "LOCAL_RANK": str(number)}
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/store", rank=number, world_size=ranks
        )
    import sftui

    plain, attached = Loop.new(), Loop.new()
    with contextlib.redirect_stderr(io.StringIO()):
        run = sftui.attach_loop(attached.optimizer, updates=pairs + WARM_UP)
    for _ in range(pairs + WARM_UP):
        plain.step(None, ranks)
        attached.step(run, ranks)
    run.finish()
    if number == 0:
        report(plain, attached, ranks)
    if ranks > 1:
        dist.barrier()
        dist.destroy_process_group()


def report(plain: Loop, attached: Loop, ranks: int) -> None:
    """The line of one number of ranks."""
    shares = []
    for before, after in ((plain.wall, attached.wall), (plain.cpu, attached.cpu)):
        added = [b - a for a, b in zip(before[WARM_UP:], after[WARM_UP:], strict=True)]
        shares.append(statistics.median(added) / STEP_SECONDS)
    wall, cpu = shares
    verdict = "ok" if max(shares) < LIMITS[ranks] else "TOO MUCH"
    print(
        f"{ranks} rank(s): wall {wall * STEP_SECONDS * 1e6:+.0f} us ({wall:+.2%} of a 100 ms "
        f"step), CPU {cpu * STEP_SECONDS * 1e6:+.0f} us ({cpu:+.2%}); "
        f"limit {LIMITS[ranks]:.1%}: {verdict}",
        flush=True,
    )


def main() -> None:
    """Measure both, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=150)
    pairs = parser.parse_args().pairs
    for ranks in LIMITS:
        with tempfile.TemporaryDirectory() as folder:
            spawn(rank, (ranks, pairs, folder), nprocs=ranks)


if __name__ == "__main__":
    main()
