"""What the four people find on the machine: a log of another trainer, runs, and a checkpoint."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import SHARED

STARTER = (
    "sftui run --recipe starter --num-iterations 41 --eval-every 10 --eval-metrics-every 20 "
    "--checkpoint-every 20 --sample-every 20"
)
"""A run of half a minute."""
REAL = (
    "--target-examples-per-step 8 --device-batch-size 2 --max-tokens 256 --eval-every 20 "
    "--eval-metrics-every 400 --eval-metrics-max-problems 64 --eval-steps 4 --checkpoint-every 50"
)


@dataclass(frozen=True, slots=True)
class World:
    """A folder with everything in it; every walk gets a copy of its own."""

    place: Path

    @property
    def log(self) -> Path:
        """The output of somebody else's trainer."""
        return self.place / "their trainer.log"

    @property
    def real(self) -> bool:
        """Whether real task data and a nanochat cache are here."""
        return (self.place / "cache").is_dir()

    def train(self, name: str) -> str:
        """The command of the one who trains: nanochat's checkpoint and real questions where they
        are, else the starter, on two CPU ranks; long enough to be steered."""
        if self.real:
            return (
                "NANOCHAT_BASE_DIR=cache sftui run --recipe nanochat-2025 --source mid "
                "--data-dir data --mixture ARC-Easy,ARC-Challenge --validation held-out "
                f"--gpus 2 --num-iterations 3000 {REAL} --run {name}"
            )
        return f"sftui run --recipe starter --gpus 2 --num-iterations 3000 --run {name}"

    @property
    def task(self) -> str:
        """A task that its checkpoints can be asked."""
        return "MMLU" if self.real else "Starter-Lists"


def build(place: Path) -> World:
    """Write the log, copy the cache, and train the two runs that are compared."""
    world = World(place)
    world.log.write_text(trainer_log(), encoding="utf-8")
    if (SHARED / "nanochat/base").is_dir() and (SHARED / "data").is_dir():
        # A run exports into the cache that it began in: never into the one that is shared.
        copy(SHARED / "nanochat/base", place / "cache")
        (place / "data").symlink_to((SHARED / "data").resolve())
    for name, rate in (("first", "0.02"), ("second", "0.1")):
        words = [*STARTER.split()[1:], "--headless", f"--run={name}", f"--init-lr-frac={rate}"]
        subprocess.run(
            [sys.executable, "-m", "sftui", *words],
            cwd=place,
            check=True,
            capture_output=True,
            timeout=400,
        )
    return world


def copy(source: Path, target: Path) -> None:
    """Copy a folder; what was copied can be written, whatever the source could be."""
    shutil.copytree(source, target, symlinks=True)
    for folder, _, files in os.walk(target):
        Path(folder).chmod(0o755)
        for name in files:
            if not (path := Path(folder, name)).is_symlink():
                path.chmod(0o644)


def trainer_log(rows: int = 300) -> str:
    """Lines as transformers' Trainer prints them, with repeats and one line that is long."""
    rng = random.Random(3)
    lines = ["loading the model", "***** Running training *****"]
    for row in range(rows):
        numbers = {
            "loss": round(0.9 + 1.4 * math.exp(-row / 40) + rng.gauss(0, 0.04), 4),
            "grad_norm": round(0.5 + abs(rng.gauss(0, 0.1)), 4),
            "learning_rate": round(2e-5 * (1 - row / rows), 9),
            "epoch": round(2 * (row + 1) / rows, 4),
        }
        lines.append(str(numbers))
        if row % 30 == 29:
            lines += ["UserWarning: the tokenizer has no padding token"] * 4
            loss = 1.0 + 1.2 * math.exp(-row / 40)
            lines.append(str({"eval_loss": round(loss, 4), "epoch": numbers["epoch"]}))
    lines.insert(40, "arguments " + json.dumps({f"argument_{n}": n * n for n in range(60)}))
    lines.append(str({"train_runtime": 812.4, "train_loss": 1.04, "epoch": 2.0}))
    return "\n".join(lines) + "\n"
