"""Whole updates where the genuine reference runs are regular: against nanochat's SFT by the book.

The reference runs have as many key heads as query heads, rows that fit and answers in
every one. Here they do not: grouped and single key heads, a row count that no number of
ranks divides, rows cut in their answer or before it, rows without an answer, and a
checkpoint whose embedding is bf16. The oracle is one function in fp64, written from the
fact sheet alone; it shares nothing with the engine but the rendered ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.checkpoints import nanochat_io, nanochat_paths
from engine.config import OptimConfig
from engine.model.nanochat.gpt import GPT, GPTConfig
from engine.optimizer.lr_schedule import LrSchedule
from engine.optimizer.optim import build_optimizer
from engine.step.dataloader import PAD_TOKEN, StepLoader, TokenRows
from engine.step.loss import weighted_loss
from engine.step.packing import Layout
from engine.step.plan import Plan
from engine.step.step_losses import document_sums, losses_of
from tests.engine.small import BYTES, ListSource

ROWS = [
    ("p", "two and two", "four"),
    ("p", "say nothing", ""),
    ("q", "a question that alone is longer than a row may be", "never seen"),
    ("q", "count", "one two three four five six seven eight"),
    ("p", "x", "y"),
    ("q", "", ""),
    ("p", "abc", "def"),
]
MAX_TOKENS = 32
UPDATES = 4
SETTINGS = OptimConfig(
    unembedding_lr=0.02, embedding_lr=0.02, matrix_lr=0.02, weight_decay=0.1, init_lr_frac=0.5
)
BATCH, ACCUMULATION = 2, 2


def shape(n_kv_head: int) -> GPTConfig:
    return GPTConfig(
        sequence_len=16,
        vocab_size=BYTES.vocab_size,
        n_layer=2,
        n_head=4,
        n_kv_head=n_kv_head,
        n_embd=32,
    )


def write_checkpoint(base: Path, n_kv_head: int) -> None:
    """A checkpoint as a GPU run leaves it: random weights, the embedding in bf16."""
    model = GPT(shape(n_kv_head))
    generator = torch.Generator().manual_seed(n_kv_head)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, weight.shape[1] ** -0.5, generator=generator)
    folder = base / nanochat_paths.SOURCE_FOLDERS["mid"] / "d2"
    nanochat_io.export(
        folder, 3, model.config, model.state_dict(), {}, embedding_dtype=torch.bfloat16
    )


# ---- by the book -----------------------------------------------------------------------------


def norm(x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1.1920929e-07).sqrt()


def logits(w: dict[str, Tensor], config: GPTConfig, ids: Tensor) -> Tensor:
    """[T, V] of one row [T]."""
    half = config.head_dim // 2
    frequency = 1.0 / 10_000 ** (torch.arange(half, dtype=torch.float32) / half)
    angle = torch.outer(torch.arange(len(ids), dtype=torch.float32), frequency)
    cos, sin = angle.cos().bfloat16().double()[:, None], angle.sin().bfloat16().double()[:, None]

    def heads(y: Tensor, name: str, rotated: bool) -> Tensor:
        z = (y @ w[name].T).view(len(ids), -1, config.head_dim)
        if rotated:
            a, b = z[..., :half], z[..., half:]
            z = norm(torch.cat((a * cos + b * sin, b * cos - a * sin), -1))
        # Query head h is served by key head h // (query heads a key head).
        serves = torch.arange(config.n_head) * z.shape[1] // config.n_head
        return z[:, serves].transpose(0, 1)

    future = torch.ones(len(ids), len(ids)).triu(1).bool()
    x = norm(w["transformer.wte.weight"][ids])
    for layer in range(config.n_layer):
        part = f"transformer.h.{layer}."
        y = norm(x)
        q = heads(y, f"{part}attn.c_q.weight", True)
        k = heads(y, f"{part}attn.c_k.weight", True)
        v = heads(y, f"{part}attn.c_v.weight", False)
        scores = (q @ k.mT / config.head_dim**0.5).masked_fill(future, -math.inf)
        out = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        x = x + out @ w[f"{part}attn.c_proj.weight"].T
        hidden = F.relu(norm(x) @ w[f"{part}mlp.c_fc.weight"].T).square()
        x = x + hidden @ w[f"{part}mlp.c_proj.weight"].T
    return 15 * torch.tanh(norm(x) @ w["lm_head.weight"].T / 15)


def micro_batches(rank: int, ranks: int) -> Iterator[list[int]]:
    """nanochat's reader: every `ranks`-th row, for ever, two at a time."""
    found: list[int] = []
    while True:
        for row in range(rank, len(ROWS), ranks):
            found.append(row)
            if len(found) == BATCH:
                yield found
                found = []


def newton_schulz(matrix: Tensor) -> Tensor:
    x = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if matrix.shape[0] > matrix.shape[1] else x


def by_the_book(
    start: dict[str, Tensor], config: GPTConfig, ranks: int
) -> tuple[list[list[float]], dict[str, Tensor]]:
    """Losses of every micro-batch (NaN without an answer), a list a step, and the last weights."""
    tokens = TokenRows(ListSource(ROWS), BYTES, MAX_TOKENS)
    w = {name: tensor.double().requires_grad_() for name, tensor in start.items()}
    first = {name: torch.zeros_like(t) for name, t in w.items()}
    second = {name: torch.zeros_like(t) for name, t in w.items()}
    readers = [micro_batches(rank, ranks) for rank in range(ranks)]
    losses: list[list[float]] = []
    scale = (config.n_embd / 768) ** -0.5 * 0.5
    lrs = {"lm_head.weight": 0.02 * scale, "transformer.wte.weight": 0.02 * scale}
    for step in range(UPDATES):
        multiplier = 1 - step / (UPDATES + 1)
        losses.append([])
        gradient = {name: torch.zeros_like(t) for name, t in w.items()}
        for _ in range(ACCUMULATION):
            for reader in readers:
                nlls: list[Tensor] = []
                for row in next(reader):
                    ids = torch.from_numpy(tokens[row].ids.astype(np.int64))
                    mask = torch.from_numpy(tokens[row].mask[1:])
                    logprobs = logits(w, config, ids[:-1]).log_softmax(-1)
                    nlls.append(-logprobs[torch.arange(len(ids) - 1), ids[1:]][mask])
                together = torch.cat(nlls)
                losses[-1].append(float(together.detach().mean()) if len(together) else math.nan)
                if len(together):
                    parts = torch.autograd.grad(
                        together.mean() / (ACCUMULATION * ranks), list(w.values())
                    )
                    for name, part in zip(w, parts, strict=True):
                        gradient[name] += part
        with torch.no_grad():
            for name, g in gradient.items():
                if name in lrs:
                    first[name] = 0.8 * first[name] + 0.2 * g
                    second[name] = 0.95 * second[name] + 0.05 * g * g
                    mean = first[name] / (1 - 0.8 ** (step + 1))
                    root = (second[name] / (1 - 0.95 ** (step + 1))).sqrt() + 1e-10
                    lr = lrs[name] * multiplier
                    w[name] *= 1 - lr * 0.1
                    w[name] -= lr * mean / root
                else:
                    first[name] = 0.95 * first[name] + 0.05 * g
                    update = newton_schulz(0.05 * g + 0.95 * first[name])
                    factor = max(1, g.shape[0] / g.shape[1]) ** 0.5
                    w[name] -= 0.02 * 0.5 * multiplier * factor * update
    return losses, {name: tensor.detach() for name, tensor in w.items()}


# ---- the engine ------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("n_kv_head", [1, 2])
def test_odd_rows_and_grouped_heads_train_by_the_book(
    tmp_path: Path, n_kv_head: int, ranks: int, layout: Layout
) -> None:
    """Every micro-batch's loss and every weight after four updates."""
    write_checkpoint(tmp_path, n_kv_head)
    ref = nanochat_paths.find_checkpoint("mid", base=tmp_path)
    config, state = nanochat_io.load_weights(ref)
    assert all(tensor.dtype == torch.float32 for tensor in state.values())
    expected, weights = by_the_book(state, config, ranks)
    assert any(math.isnan(loss) for step in expected for loss in step)

    model = GPT.from_state(config, {name: tensor.clone() for name, tensor in state.items()})
    optimizer = build_optimizer(model, SETTINGS)
    schedule = LrSchedule(num_iterations=UPDATES + 1)
    rows = TokenRows(ListSource(ROWS), BYTES, MAX_TOKENS)
    plan = Plan(
        num_rows=len(ROWS),
        world_size=ranks,
        device_batch_size=BATCH,
        target_examples_per_step=BATCH * ACCUMULATION * ranks,
        requested_iterations=UPDATES + 1,
    )
    loaders = [
        StepLoader(
            rows,
            plan,
            pad_id=BYTES.special(PAD_TOKEN),
            rank=rank,
            world_size=ranks,
            layout=layout,
            max_tokens=50,
            prefetch=False,
        )
        for rank in range(ranks)
    ]
    for step in range(UPDATES):
        optimizer.set_lr(schedule.multiplier(step))
        optimizer.zero_grad()
        batches = [loader.load(step) for loader in loaders]
        sums = torch.zeros(len(batches[0].documents), dtype=torch.float64)
        for batch in batches:
            nlls: list[Tensor] = []
            for micro in batch.micro_steps:
                hidden = model(micro.ids, spans=micro.spans, positions=micro.positions)
                loss, nll = weighted_loss(
                    hidden.flatten(0, -2)[micro.supervised],
                    model.lm_head.weight,
                    micro.targets,
                    micro.weights,
                )
                loss.backward()
                nlls.append(nll)
            sums += document_sums(batch, nlls)
        found = losses_of(batches[0], sums)
        np.testing.assert_allclose(found.micro_losses, expected[step], rtol=2e-5)
        empty = sum(math.isnan(loss) for loss in expected[step])
        assert batches[0].num_empty_micro_batches == empty
        optimizer.step()

    assert rows.num_cut == 2
    for name, weight in model.named_parameters():
        difference = (weight.detach().double() - weights[name]).abs()
        assert float(difference.max()) < 2e-5, name
