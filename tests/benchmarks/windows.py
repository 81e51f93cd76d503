"""Training tokens a second with sliding windows against full attention: nanochat's 2026 model.

    python tests/benchmarks/windows.py [--width 256] [--layers 4] [--rounds 6]

The same model and weights, once with the windows of its pattern (SSSL: three layers of four see
a quarter of the context) and once with full attention in all layers; forward and backward of one
packed micro-step, turn by turn in one process, CPU time of one thread. Rows of one whole context
(as nanochat packs them), and of many short conversations, which no window cuts. The target is
that a window never costs: it skips work, and on a CPU no kernel does that by itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor

from engine.model.family import Span
from engine.model.nanochat.gpt import GPT
from tests import material

TARGET = 1.0
VOCAB = 4096


@dataclasses.dataclass(frozen=True)
class Load:
    """A packed micro-step."""

    title: str
    sequence: int
    spans: list[Span]

    @property
    def tokens(self) -> int:
        return self.spans[-1][1]


def rows_of(length: int, count: int) -> list[Span]:
    return [(length * row, length * (row + 1)) for row in range(count)]


LOADS = (
    Load("4 rows of 512", 512, rows_of(512, 4)),
    Load("2 rows of 2,048", 2048, rows_of(2048, 2)),
    Load("32 conversations of 64", 512, rows_of(64, 32)),
)


def seconds(model: GPT, ids: Tensor, spans: list[Span]) -> float:
    """CPU time of a forward and a backward pass."""
    begin = time.process_time()
    model(ids, spans=spans).square().mean().backward()
    model.zero_grad()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for load in LOADS:
        shape = {"width": options.width, "layers": options.layers, "sequence": load.sequence}
        windowed = material.model(vocab=VOCAB, family="nanochat", **shape)
        everywhere = dataclasses.replace(windowed.config, window_pattern="L")
        models = {"windows": windowed, "full": GPT.from_state(everywhere, windowed.state_dict())}
        ids = torch.randint(0, VOCAB, (load.tokens,), generator=torch.Generator().manual_seed(1))
        spent: dict[str, list[float]] = {way: [] for way in models}
        for number in range(options.rounds + 1):
            for way, model in models.items():
                found = seconds(model, ids, load.spans)
                if number:  # the first one warms up
                    spent[way].append(found)
        rates = {way: load.tokens / statistics.median(times) for way, times in spent.items()}
        print(
            f"{load.title}, width {options.width}, {options.layers} layers: "
            f"{rates['windows']:.0f} tokens a CPU second with windows, {rates['full']:.0f} without"
        )
        print(f"ratio windows / full: {rates['windows'] / rates['full']:.2f} (target >= {TARGET})")


if __name__ == "__main__":
    main()
