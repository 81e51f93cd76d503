"""What an event costs the trainer thread: `python -m tests.benchmarks.emit`.

Prints microseconds a call and the share of a 50 ms step, with the publisher thread
writing to a real file meanwhile; beside it the price of doing the same directly.
"""

import os
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from engine.events import StepFinished
from engine.journal import wire
from engine.journal.event_bus import EventBus
from engine.journal.live_queue import LiveServer
from engine.run import run_dir

STEP_SECONDS = 0.05
EVENTS_A_STEP = 2
ROUNDS = 2000


def step_event(step: int) -> StepFinished:
    """A step event as full as the trainer makes it."""
    return StepFinished(
        step=step,
        loss=1.2345678,
        loss_rows_mean=1.2345678,
        loss_micro_last=1.3456789,
        lr_mult=0.5,
        lrs={"lm_head": 1e-4, "wte": 1e-3, "matrices": 8e-4},
        grad_norm=0.75,
        supervised_tokens=12345,
        tokens=23456,
        seconds=0.05,
        tokens_per_second=469120.0,
        epoch=0.5,
        loss_by_source={"ARC": 1.0, "GSM8K": 0.5, "SmolTalk": 1.5},
    )


def median_cost(call: Callable[[StepFinished], object]) -> float:
    """Median seconds of one call, a step's pause between calls scaled down to 1 ms."""
    costs = []
    for step in range(ROUNDS):
        event = step_event(step)
        begin = time.perf_counter()
        call(event)
        costs.append(time.perf_counter() - begin)
        time.sleep(0.001)
    return sorted(costs)[len(costs) // 2]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = run_dir.create(Path(folder), "emit", datetime.now())
        server = LiveServer(run)
        bus = EventBus(run, run.id, 1)
        emit = median_cost(bus.emit)
        bus.close()
        server.close()
        descriptor = os.open(run.path / "direct.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        direct = median_cost(lambda event: os.write(descriptor, wire.encode(event)))
        os.close(descriptor)
    share = EVENTS_A_STEP * emit / STEP_SECONDS
    print(f"emit: {emit * 1e6:.2f} us an event (target < 5)")
    print(f"share of a {STEP_SECONDS * 1e3:.0f} ms step with {EVENTS_A_STEP} events: {share:.4%}")
    print(f"encode and write on the trainer thread instead: {direct * 1e6:.1f} us")
    print(f"ratio direct / emit: {direct / emit:.1f}")


if __name__ == "__main__":
    main()
