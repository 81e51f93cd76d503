"""Run the checks: `python -m tests.gpu_check [--only 3,8] [--quick] [--require] [--dry]`.

Without a GPU it says so in one line and exits with 0 (3 with `--require`). Needs torch, numpy,
psutil, safetensors, tiktoken and nvidia-ml-py only, so it runs with a box's own Python.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from engine.processes import cuda_environment

HOME = Path(__file__).resolve().parents[2]
ORDER = (1, 2, 10, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15)
"""A row is printed as soon as it is known; what is told first is what explains the rest."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--only", default="", help="numbers of checks, comma-separated")
    parser.add_argument("--quick", action="store_true", help="half the steps")
    parser.add_argument("--require", action="store_true", help="exit with 3 without a GPU")
    parser.add_argument(
        "--dry", action="store_true", help="walk through all checks on the CPU at toy sizes"
    )
    flags = parser.parse_args(arguments)
    cuda_environment.set_defaults()

    import torch

    from tests.gpu_check import (
        attention_checks,
        box,
        compile_checks,
        parity_checks,
        report,
        run_checks,
        speed_checks,
    )
    from tests.gpu_check.bench import Bench

    if not flags.dry and not torch.cuda.is_available():
        build = "a CPU build" if torch.version.cuda is None else f"CUDA {torch.version.cuda}"
        print(
            f"gpu-check: no GPU that torch {torch.__version__} ({build}) can use; nothing was run"
        )
        return 3 if flags.require else 0
    every = {
        check.id: check
        for module in (
            box,
            attention_checks,
            compile_checks,
            parity_checks,
            speed_checks,
            run_checks,
        )
        for check in module.CHECKS
    }
    wanted = [int(word) for word in flags.only.split(",") if word] or list(ORDER)
    out = Path(os.environ.get("OUT", "."))
    device = torch.device("cpu") if flags.dry else torch.device("cuda", 0)
    bench = Bench(device, dry=flags.dry, quick=flags.quick, out=out)
    num_gpus = 0 if flags.dry else torch.cuda.device_count()
    started = time.monotonic()
    rows: list[report.Row] = []
    for number in (each for each in ORDER if each in wanted):
        row = report.run_one(every[number], bench, num_gpus)
        rows.append(row)
        print(row.line(), flush=True)
        report.write(
            out / "gpu_check.json",
            bench.facts.get("box", {}),
            _commit(),
            rows,
            time.monotonic() - started,
        )
    print(_headline(bench, num_gpus))
    for row in sorted(rows, key=lambda row: row.check.id):
        print(row.line())
    return report.exit_code(rows)


def _headline(bench: object, num_gpus: int) -> str:
    box = bench.facts.get("box", {})  # type: ignore[attr-defined]
    return (
        f"gpu-check  {box.get('card', '?')}, torch {box.get('torch', '?')}, driver "
        f"{box.get('driver', 'none')}, sftui {_commit()}, {num_gpus} GPUs"
    )


def _commit() -> str:
    found = subprocess.run(
        ["git", "-C", str(HOME), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
