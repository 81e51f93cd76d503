"""Kernels and bytes of a d16 micro-step, ours beside a plain padded loop, counted without a GPU.

4,070 tokens in ten documents: packed by us, padded in pairs by the loop. What each operation
launches and moves is exact; how long it takes nobody knows here. The counts are those of
`make gpu-count`, which runs the engine's own code on fake CUDA tensors under CUDA builds of
torch; with `--live` they are counted anew, in the running Python's torch if it is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

COUNTED = Path(__file__).with_name("gpu_count.json")
MOST_KERNELS = 1550
MOST_GIB = 38.0
"""Of a micro-step, with the eager path and the loss in one kernel."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", action="store_true", help="count now; needs a CUDA build")
    if parser.parse_args().live:
        from tests import gpu_count

        counted = gpu_count.counted_by(Path(sys.executable))
        table(counted.pop("torch"), counted["work"])
        return
    for version, found in json.loads(COUNTED.read_text())["torch"].items():
        table(version, found["work"])


def table(version: str, work: dict[str, Any]) -> None:
    """One version's rows and ratios."""
    ours, plain = work["sftui"], work["padded loop"]
    print(f"torch {version}: a step's ten documents, 4,070 tokens, 56 % supervised")
    print(f"{'':<14}{'micro-batches':>14}{'kernels':>10}{'GiB moved':>11}")
    for name, found in (("sftui", ours), ("padded loop", plain)):
        print(f"{name:<14}{found['micro_batches']:>14}{found['kernels']:>10,}{found['gib']:>11.1f}")
    print(
        f"ratio: kernels {plain['kernels'] / ours['kernels']:.1f}, "
        f"bytes {plain['gib'] / ours['gib']:.1f} "
        f"(at most {MOST_KERNELS:,} kernels and {MOST_GIB:.0f} GiB for ours)"
    )


if __name__ == "__main__":
    main()
