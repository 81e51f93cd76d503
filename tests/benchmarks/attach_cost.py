"""What an attached step costs: `python tests/benchmarks/attach_cost.py [--steps 300]`, a minute.

The same loop with and without the cockpit, in turn, on one rank and on two. A step does its
small update and then works for 20 ms (a sleep, so that a busy machine is not measured); printed
is the added CPU-side time of `run.step`, as a share of a 100 ms step. Limits: 0.5 % on one
rank, 1 % on two.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

STEP_SECONDS = 0.1
LIMITS = {1: 0.005, 2: 0.01}


def rank(number: int, world_size: int, steps: int, folder: str) -> None:
    """One rank: time of each `run.step` after a warm-up; rank 0 prints the median."""
    os.chdir(folder)
    torch.set_num_threads(1)
    if world_size > 1:
        os.environ |= {"LOCAL_WORLD_SIZE": str(world_size), "LOCAL_RANK": str(number)}
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/store", rank=number, world_size=world_size
        )
    import sftui

    model = torch.nn.Linear(64, 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    plain, attached = [], []
    with contextlib.redirect_stderr(io.StringIO()):
        run = sftui.attach_loop(optimizer, updates=steps)
    for step in range(steps):
        time.sleep(0.02)
        loss = model(torch.ones(1, 64)).sum()
        loss.backward()
        if world_size > 1:
            # The ranks wait for each other in a real step; not to be counted as ours.
            dist.barrier()
        began = time.perf_counter()
        optimizer.step()
        middle = time.perf_counter()
        run.step(loss)
        attached.append(time.perf_counter() - middle)
        plain.append(middle - began)
        optimizer.zero_grad()
        del step
    run.finish()
    if number == 0:
        own = statistics.median(attached[20:])
        share = own / STEP_SECONDS
        verdict = "ok" if share < LIMITS[world_size] else "TOO MUCH"
        print(
            f"{world_size} rank(s): run.step {own * 1e6:.0f} us (optimizer.step with our hooks "
            f"{statistics.median(plain[20:]) * 1e6:.0f} us): {share:.2%} of a 100 ms step, "
            f"limit {LIMITS[world_size]:.1%}: {verdict}"
        )
    if world_size > 1:
        dist.barrier()
        dist.destroy_process_group()


def main() -> None:
    """Measure both, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300)
    steps = parser.parse_args().steps
    for world_size in LIMITS:
        with tempfile.TemporaryDirectory() as folder:
            spawn(rank, (world_size, steps, folder), nprocs=world_size)


if __name__ == "__main__":
    main()
