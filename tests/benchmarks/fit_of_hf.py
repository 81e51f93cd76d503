"""The memory that `fit` promises of a Hugging Face model, against what its rank then holds.

    python tests/benchmarks/fit_of_hf.py [--model DIR ...] [--data FILE]

Two sizes of Llama made on the spot, and the models named (or SmolLM2's folder, where
SFTUI_SMOLLM2 names it), each trained whole and with adapters for a few updates, started as people
start runs, with checkpoints on the way (their buffers stay). Target: within 15 % plus 50 MiB. The
exit code is 1 where one lies outside.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine import fit
from engine.config import RunConfig
from engine.processes import devices, launch
from engine.step import run_plan
from tests import hf_material
from tests.processes import environment

MIB = 2**20
SHARE, SLACK = 0.15, 50 * MIB
LONGEST = 256
SIZES = ((256, 4), (512, 8))
"""Width and layers of the models that are made."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, nargs="*", default=[])
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    outside = 0
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        models = [
            hf_material.folder(place / f"width-{width}", width=width, layers=layers)
            for width, layers in SIZES
        ]
        kept = os.environ.get("SFTUI_SMOLLM2")
        models += options.model or ([Path(kept)] if kept else [])
        data = hf_material.chat_rows(place / "chat.jsonl", options.data)
        for number, model in enumerate(models):
            for rank in (16, 0):
                outside += _compare(model.absolute(), data, rank, place / f"runs-{number}-{rank}")
    print(f"{outside} outside 15 % plus 50 MiB")
    return int(outside > 0)


def _compare(model: Path, data: Path, rank: int, runs: Path) -> bool:
    """Print one line; whether the two differ by more than they may."""
    settings = {
        "model": str(model), "mixture": (str(data),), "lora": rank, "max_tokens": LONGEST,
        "device_batch_size": 4, "target_examples_per_step": 8, "num_iterations": 4,
        "eval_tasks": (), "checkpoint_every": 2, "device_type": "cpu",
    }  # fmt: skip
    typed = frozenset(settings)
    prepared = launch.prepare(RunConfig().replace(**settings), typed)
    config = prepared.config
    _, room = devices.memory_of_rank("cpu", config.runtime.gpus)
    promised = fit.needed(run_plan.memory_plan(config, prepared.start.model, "cpu", room))
    words = [
        *("-m", "sftui", "run", "--headless", "--model", str(model), "--data", str(data)),
        *("--lora", str(rank), "--max-tokens", str(LONGEST), "--num-iterations", "4"),
        *("--device-batch-size", "4", "--target-examples-per-step", "8", "--eval-tasks", ""),
        *("--checkpoint-every", "2", "--device-type", "cpu", "--runs-dir", str(runs)),
    ]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=900,
        env=environment(),
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    events = [json.loads(line) for line in next(runs.glob("*/events.jsonl")).open()]
    beats = [each["d"] for each in events if each["type"] == "rank_heartbeat"]
    held = max(int(each.get("memory_peak_bytes") or 0) for each in beats)
    bad = abs(promised - held) > SHARE * held + SLACK
    trained = f"adapters of rank {rank}" if rank else "trained whole"
    print(
        f"{model.name:<24} {trained:<20} fit {promised / MIB:7,.0f} MiB, held {held / MIB:7,.0f} "
        f"MiB: {promised / held:.2f}{'  OUTSIDE' if bad else ''}",
        flush=True,
    )
    return bad


if __name__ == "__main__":
    sys.exit(main())
