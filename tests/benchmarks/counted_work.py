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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

FAMILIES = {"nanochat-2025": "work", "nanochat": "work_2026"}
"""Where the JSON has each generation's d16."""
COUNTED = Path(__file__).with_name("gpu_count.json")
MOST_KERNELS = 1550
MOST_GIB = 38.0
"""Of a micro-step of October 2025's model, with the eager path and the loss in one kernel."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", action="store_true", help="count now; needs a CUDA build")
    parser.add_argument("--family", choices=FAMILIES, help="of this generation only")
    flags = parser.parse_args()
    families = [flags.family] if flags.family else list(FAMILIES)
    if flags.live:
        from tests import gpu_count

        counted = gpu_count.counted_by(Path(sys.executable))
        tables(counted.pop("torch"), counted, families)
        return
    for version, found in json.loads(COUNTED.read_text())["torch"].items():
        tables(version, found, families)


def tables(version: str, found: dict[str, Any], families: Sequence[str]) -> None:
    """One version's rows and ratios, and the generations' own."""
    for family in families:
        table(f"torch {version}, {family}", found[FAMILIES[family]])
    if len(families) == len(FAMILIES):
        old, new = (found[key]["sftui"] for key in FAMILIES.values())
        print(
            f"nanochat to nanochat-2025, ours: kernels {new['kernels'] / old['kernels']:.2f}, "
            f"bytes {new['gib'] / old['gib']:.2f}, kernels of an update "
            f"{new['update_kernels'] / old['update_kernels']:.2f}"
        )


def table(title: str, work: dict[str, Any]) -> None:
    """Ours and the plain loop's, and the ratios."""
    ours, plain = work["sftui"], work["padded loop"]
    print(f"{title}: a step's ten documents, 4,070 tokens, 56 % supervised")
    print(f"{'':<14}{'micro-batches':>14}{'kernels':>10}{'GiB moved':>11}")
    for name, found in (("sftui", ours), ("padded loop", plain)):
        print(f"{name:<14}{found['micro_batches']:>14}{found['kernels']:>10,}{found['gib']:>11.1f}")
    print(
        f"ratio: kernels {plain['kernels'] / ours['kernels']:.1f}, "
        f"bytes {plain['gib'] / ours['gib']:.1f} "
        f"(at most {MOST_KERNELS:,} kernels and {MOST_GIB:.0f} GiB for ours of nanochat-2025); "
        f"an update launches {ours['update_kernels']:,}"
    )


if __name__ == "__main__":
    main()
