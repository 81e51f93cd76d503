"""How long a rank's own thread is held up by tokenising: by a thread of the rank, or elsewhere.

The thread that launches kernels needs the interpreter's lock all the time. A stand-in for it
counts in small pieces; the time it needs for a fixed number of pieces, with a loader that
tokenises step after step beside it, over the time it needs alone, is what a step would lose.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.conversations.tokenizer import Tokenizer
from engine.step.dataloader import PAD_TOKEN, StepLoader, TokenRows
from engine.step.plan import Plan
from tests.engine.small import BYTES, ListSource

STEPS = 60
ROWS = 32
"""Rows of a step, as the reference run has them."""
STEP_SECONDS = 0.05
"""Of a step's own work: about an H100's on the reference run."""


def main() -> None:
    """Print both ways in one run."""
    sys.setswitchinterval(0.0005)
    rng = random.Random(1)
    words = ["alpha", "beta", "gamma ", "delta", "of the ", "and ", "42 ", "\n"]
    rows = [
        (
            "a",
            "".join(rng.choice(words) for _ in range(60)),
            "".join(rng.choice(words) for _ in range(rng.randrange(50, 250))),
        )
        for _ in range(STEPS * ROWS)
    ]
    alone = steps(None)
    thread = steps(loader(rows, workers=0))
    process = steps(loader(rows, workers=1))
    print(f"{STEPS} steps of {ROWS} rows tokenised once, {STEP_SECONDS * 1e3:.0f} ms of work each")
    for name, seconds in (
        ("nothing beside it", alone),
        ("a thread", thread),
        ("a process", process),
    ):
        print(f"{name:<18}{seconds / STEPS * 1e3:>7.1f} ms a step, {seconds / alone:.2f} x")


def loader(rows: list[tuple[str, str, str]], workers: int) -> StepLoader:
    plan = Plan(
        num_rows=len(rows),
        world_size=1,
        device_batch_size=4,
        target_examples_per_step=ROWS,
        num_epochs=1,
        requested_iterations=STEPS,
    )
    tokenizer: Tokenizer = BYTES
    source = TokenRows(ListSource(rows), tokenizer, 2048, workers=workers)
    made = StepLoader(source, plan, pad_id=tokenizer.special(PAD_TOKEN), max_tokens=8192)
    # The process has started, as it has in a run before the first step.
    made.load(0)
    return made


def steps(loader: StepLoader | None) -> float:
    """Seconds of all steps: their work, and whatever holds it up."""
    began = time.perf_counter()
    for step in range(1, STEPS):
        if loader is not None:
            loader.load(step)
        work()
    seconds = time.perf_counter() - began
    if loader is not None:
        loader.close()
    return seconds


def work() -> None:
    """A fixed amount of small Python steps, as launching kernels is."""
    for _ in range(PIECES):
        sum(range(200))


def _pieces() -> int:
    began, number = time.perf_counter(), 0
    while time.perf_counter() - began < STEP_SECONDS:
        sum(range(200))
        number += 1
    return number


PIECES = _pieces()

if __name__ == "__main__":
    main()
