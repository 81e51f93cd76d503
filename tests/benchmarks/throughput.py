"""Supervised tokens a second: packed rows and chunked loss against a plain padded loop.

    python tests/benchmarks/throughput.py [--width 256] [--steps 6] [--data FILE.jsonl]

Both train the same model on the same rows with the same optimizer code, two rows a
micro-batch, turn by turn in one process; what counts is the CPU time of each, so a
busy machine changes little. The plain loop is what one writes first: rows padded to
the longer of two, logits of every position, the mean over supervised tokens. As a
second figure it runs Newton-Schulz in bf16, as nanochat of October 2025 does on any
device; that of 2026 computes in fp32 on a CPU, as sftui does.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.nn.functional as F

from engine.config import OptimConfig
from engine.model.nanochat.gpt import GPT, as_trained
from engine.optimizer import optim
from engine.optimizer.optim import build_optimizer
from engine.processes.devices import has_bf16_units
from engine.step.dataloader import PAD_TOKEN, StepLoader, TokenRows
from engine.step.loss import weighted_loss
from engine.step.plan import Plan
from tests import material

ROWS_A_STEP = 16
DEVICE_BATCH_SIZE = 2
BF16_NEWTON_SCHULZ = "padded, bf16 Newton-Schulz"
LR_MULTIPLIER = 1e-3
"""Both models must stay what they are, for the losses to be comparable at every step."""


class Packed:
    """The engine's own way."""

    mixed = False
    """bf16 autocast over fp32 weights, as `--dtype bfloat16` has it."""

    def __init__(self, model: GPT, rows: TokenRows, plan: Plan, pad_id: int) -> None:
        if self.mixed:
            model = GPT.from_state(model.config, as_trained(model.state_dict(), mixed=True))
        self.model = model
        self.optimizer = build_optimizer(model, OptimConfig())
        self.optimizer.set_lr(LR_MULTIPLIER)
        self.loader = StepLoader(rows, plan, pad_id=pad_id, layout="packed", prefetch=False)

    def step(self, step: int) -> tuple[float, int]:
        """(loss that is minimised, supervised tokens)."""
        batch = self.loader.load(step)
        total = 0.0
        for micro in batch.micro_steps:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
                hidden = self.model(micro.ids, spans=micro.spans, positions=micro.positions)
                loss, _ = weighted_loss(
                    hidden[micro.supervised],
                    self.model.lm_head.weight,
                    micro.targets,
                    micro.weights,
                )
                loss.backward()
            total += float(loss.detach())
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total, batch.num_supervised


class PackedInBf16(Packed):
    """The same through bf16 autocast: faster where a CPU has bf16 units."""

    mixed = True


class Plain:
    """The loop one writes first."""

    def __init__(self, model: GPT, rows: TokenRows, plan: Plan, pad_id: int) -> None:
        self.model = model
        self.optimizer = build_optimizer(model, OptimConfig())
        self.optimizer.set_lr(LR_MULTIPLIER)
        self.rows, self.plan, self.pad_id = rows, plan, pad_id

    def step(self, step: int) -> tuple[float, int]:
        """(loss that is minimised, supervised tokens)."""
        total, supervised = 0.0, 0
        micro_batches = self.plan.micro_batches(step)
        for micro in micro_batches:
            found = [self.rows[row] for row in micro.rows]
            width = max(len(row.ids) for row in found) - 1
            ids = torch.full((len(found), width), self.pad_id)
            targets = torch.full((len(found), width), -1)
            for place, row in enumerate(found):
                length = len(row.ids) - 1
                ids[place, :length] = torch.from_numpy(row.ids[:-1].astype("int64"))
                wanted = torch.from_numpy(row.ids[1:].astype("int64"))
                mask = torch.from_numpy(row.mask[1:])
                targets[place, :length] = torch.where(mask, wanted, -1)
            logits = self.model.logits(self.model(ids))
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
            (loss / len(micro_batches)).backward()
            total += float(loss.detach()) / len(micro_batches)
            supervised += int((targets >= 0).sum())
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total, supervised


def bf16_newton_schulz(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """`optim.orthogonalize` with its products in bf16."""
    a, b, c = optim.NEWTON_SCHULZ
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--family", choices=material.FAMILIES, default="nanochat-2025")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = material.tokenizer()
    mixture = material.conversations(options.data)
    rows = TokenRows(mixture, tokenizer, 512)
    plan = Plan(
        num_rows=len(mixture),
        world_size=1,
        device_batch_size=DEVICE_BATCH_SIZE,
        target_examples_per_step=ROWS_A_STEP,
        num_epochs=1000,
    )
    pad_id = tokenizer.special(PAD_TOKEN)

    def build(kind: type[Packed] | type[Plain]) -> Packed | Plain:
        shape = {"width": options.width, "layers": options.layers}
        model = material.model(vocab=tokenizer.vocab_size, family=options.family, **shape)
        return kind(model, rows, plan, pad_id)

    packed, plain = build(Packed), build(Plain)
    in_bf16 = build(PackedInBf16)
    ways: dict[str, Callable[[int], tuple[float, int]]] = {
        "packed": packed.step,
        "packed, --dtype bfloat16": in_bf16.step,
        "padded": plain.step,
    }
    if options.family == "nanochat-2025":
        ways[BF16_NEWTON_SCHULZ] = build(Plain).step
    seconds = dict.fromkeys(ways, 0.0)
    tokens = dict.fromkeys(ways, 0)
    worst = 0.0
    fp32_newton_schulz = optim.orthogonalize
    for step in range(options.steps + 1):
        losses = {}
        for name, run in ways.items():
            optim.orthogonalize = (
                bf16_newton_schulz if name == BF16_NEWTON_SCHULZ else fp32_newton_schulz
            )
            begin = time.process_time()
            losses[name], count = run(step)
            if step:  # the first one warms up and tokenises nothing new
                seconds[name] += time.process_time() - begin
                tokens[name] += count
        worst = max(worst, abs(losses["packed"] - losses["padded"]))
    rates = {name: tokens[name] / seconds[name] for name in ways}
    print(
        f"width {options.width}, {options.layers} layers, vocabulary {tokenizer.vocab_size}, "
        f"{DEVICE_BATCH_SIZE} rows a micro-batch, {options.steps} steps of {ROWS_A_STEP} rows, "
        "one thread"
    )
    for name, rate in rates.items():
        print(f"{name:<28} {rate:8.0f} supervised tokens a CPU second")
    print(f"largest difference of the two losses: {worst:.1e}")
    print(f"ratio packed / padded: {rates['packed'] / rates['padded']:.2f} (target >= 1.4)")
    bf16_ratio = rates["packed, --dtype bfloat16"] / rates["packed"]
    units = {True: "has", False: "has no", None: "may have"}[has_bf16_units()]
    print(f"ratio bfloat16 / float32: {bf16_ratio:.2f} (this CPU {units} bf16 units)")
    if BF16_NEWTON_SCHULZ in rates:
        slow_ratio = rates["packed"] / rates[BF16_NEWTON_SCHULZ]
        print(f"ratio packed / padded with bf16 Newton-Schulz: {slow_ratio:.2f} (expected >= 3)")


if __name__ == "__main__":
    main()
