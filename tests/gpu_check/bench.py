"""What the checks share: the device or its stand-in, sizes, clocks, generated rows and models.

With `dry` everything runs on the CPU at toy sizes: the way through every check is walked,
and nothing is judged.
"""

# N tokens, T of a row, V vocabulary.

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.conversations.tokenizer import Tokenizer
from engine.model.nanochat.gpt import EMBEDDING, GPT
from engine.model.nanochat.gpt_config import GPTConfig
from engine.step.dataloader import StepLoader, TokenRow
from engine.step.packing import Layout
from engine.step.plan import Plan

SEED = 20260101
D16 = GPTConfig(sequence_len=2048, vocab_size=65536, n_layer=16, n_head=8, n_kv_head=8, n_embd=1024)
TOY = GPTConfig(sequence_len=256, vocab_size=512, n_layer=2, n_head=2, n_kv_head=2, n_embd=32)


@dataclass
class Bench:
    """One walk through the checks."""

    device: torch.device
    dry: bool = False
    quick: bool = False
    """Half the steps."""
    out: Path = field(default_factory=Path.cwd)
    facts: dict[str, Any] = field(default_factory=dict)
    """What one check found and another needs: the ceilings of 2, the readings of 11."""

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def d16(self) -> GPTConfig:
        """The reference run's shape, or a toy."""
        return TOY if self.dry else D16

    def size(self, full: int, dry: int) -> int:
        """A number of steps, rows or tokens."""
        return dry if self.dry else max(1, full // 2) if self.quick else full

    def sync(self) -> None:
        if self.on_cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], repeats: int = 1) -> float:
        """Median time of `work`, by the card's own clock where there is one."""
        found = []
        for _ in range(repeats):
            if self.on_cuda:
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                work()
                end.record()
                end.synchronize()
                found.append(begin.elapsed_time(end) / 1000)
            else:
                started = time.perf_counter()
                work()
                found.append(time.perf_counter() - started)
        return statistics.median(found)

    def autocast(self, mixed: bool = True, *, cache: bool = True) -> torch.autocast:
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=mixed, cache_enabled=cache
        )

    def model(
        self, shape: GPTConfig, *, device: torch.device | None = None, mixed: bool = True
    ) -> GPT:
        """Seeded weights N(0, 1/sqrt(width)), the same on every device."""
        generator = torch.Generator().manual_seed(SEED)
        state = {
            name: torch.randn(size, generator=generator).mul_(shape.n_embd**-0.5)
            for name, size in shape.parameter_shapes().items()
        }
        if mixed:
            state[EMBEDDING] = state[EMBEDDING].to(torch.bfloat16)
        place = device or self.device
        return GPT.from_state(shape, {name: t.to(place) for name, t in state.items()})


class RandomRows:
    """Rows of random ids with the reference mixture's lengths; 56 % of the tokens supervised."""

    num_cut = 0
    has_workers = False

    def __init__(self, number: int, shape: GPTConfig, seed: int = SEED) -> None:
        random = np.random.default_rng(seed)
        self._rows = []
        for length in row_lengths(random, number, shape.sequence_len):
            ids = random.integers(0, shape.vocab_size, length + 1).astype(np.int32)
            self._rows.append(TokenRow(ids, random.random(length + 1) < 0.56))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> TokenRow:
        return self._rows[index]

    def source_of(self, _index: int) -> str:
        return "generated"

    def close(self) -> None:
        """Nothing runs."""


def row_lengths(random: np.random.Generator, number: int, limit: int) -> list[int]:
    """ARC-like, GSM8K-like and SmolTalk-like rows: 16 %, 36 % and 48 %."""
    kind = random.random(number)
    found = np.where(
        kind < 0.16,
        random.normal(95, 25, number),
        np.where(
            kind < 0.52,
            random.normal(230, 70, number),
            np.exp(random.normal(np.log(640), 0.75, number)),
        ),
    )
    # A toy's rows are shorter in the same proportions.
    scaled = found * limit / 2048
    return [int(length) for length in np.clip(scaled, 2, limit - 1)]


def loader(
    rows: RandomRows,
    *,
    batch: int = 2,
    step_rows: int = 32,
    world_size: int = 2,
    rank: int = 0,
    ranks: int = 1,
    layout: Layout = "packed",
    max_tokens: int = 4096,
    device: torch.device | None = None,
) -> StepLoader:
    """The engine's own loader over a plan of `world_size` ranks, executed by `ranks`."""
    plan = Plan(
        num_rows=len(rows),
        world_size=world_size,
        device_batch_size=batch,
        target_examples_per_step=step_rows,
        num_epochs=100,
        requested_iterations=1000,
    )
    return StepLoader(
        rows,  # type: ignore[arg-type]
        plan,
        pad_id=0,
        rank=rank,
        world_size=ranks,
        layout=layout,
        max_tokens=max_tokens,
        device=device,
        prefetch=False,
    )


def byte_tokenizer() -> Tokenizer:
    """One token a byte; the model's vocabulary is larger, which is allowed."""
    return Tokenizer.from_merges(r"[\s\S]", [bytes([value]) for value in range(256)])
