"""Checks 5 and 13: the card computes what the CPU computes."""

# K answers asked for.

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.config import OptimConfig
from engine.conversations.letter_questions import Question
from engine.evaluation.evaluate import (
    PreparedQuestions,
    batch_tokens_for,
    evaluate_letters,
    prepare_questions,
)
from engine.model.nanochat.gpt import EMBEDDING
from engine.model.nanochat.gpt_config import GPTConfig
from engine.optimizer.optim import build_optimizer
from engine.session import LossModule
from engine.step.packing import Layout
from tests.gpu_check.bench import SEED, TOY, Bench, RandomRows, byte_tokenizer, loader
from tests.gpu_check.report import Check, Faults, Measured

SMALL = GPTConfig(sequence_len=512, vocab_size=4096, n_layer=4, n_head=4, n_kv_head=4, n_embd=256)

# (gradient, loss) each way may differ from the CPU in fp32, relative.
TOLERANCES = {
    "fp32 highest": (1e-4, 1e-5),
    "fp32 high": (5e-3, 1e-3),
    "bf16": (5e-2, 5e-3),
    "layout": (2e-2, 2e-3),
    "checkpointing": (1e-2, 0.0),
}
EMBEDDING_TOLERANCE = 0.1
COSINE = 0.995
VALIDATION = 1e-2


@dataclass
class Trained:
    """A few updates: every step's loss, the first step's gradients, the loss on other rows."""

    losses: list[float] = field(default_factory=list)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    validation: float = 0.0


def train(
    bench: Bench,
    shape: GPTConfig,
    steps: int,
    *,
    device: torch.device,
    mixed: bool = False,
    precision: str = "highest",
    layout: Layout = "packed",
    checkpointing: bool = False,
) -> Trained:
    """The engine's own updates over a plan of two ranks, both executed in turn by one."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        model = bench.model(shape, device=device, mixed=mixed)
        model.checkpoint_blocks = checkpointing
        module = LossModule(model)
        optimizer = build_optimizer(model, OptimConfig(init_lr_frac=0.1))
        rows = RandomRows(64, shape)
        loaders = [
            loader(
                rows,
                step_rows=8,
                rank=rank,
                ranks=2,
                layout=layout,
                max_tokens=1024,
                device=device,
            )
            for rank in range(2)
        ]
        found = Trained()
        for step in range(steps):
            total = 0.0
            for micro in (each for one in loaders for each in one.load(step).micro_steps):
                with torch.autocast(
                    device.type, torch.bfloat16, enabled=mixed, cache_enabled=not checkpointing
                ):
                    loss, _ = module(micro)
                    loss.backward()
                total += float(loss.detach())
            found.losses.append(total)
            if not step:
                found.gradients = {
                    name: weight.grad.detach().float().cpu().clone()
                    for name, weight in model.named_parameters()
                    if weight.grad is not None
                }
            optimizer.set_lr(1.0)
            optimizer.step()
            optimizer.zero_grad()
        others = loader(RandomRows(16, shape, SEED + 1), step_rows=8, device=device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            found.validation = sum(float(module(m)[0]) for m in others.load(0).micro_steps)
    finally:
        torch.set_float32_matmul_precision(before)
    return found


def differences(ours: Trained, reference: Trained) -> dict[str, float]:
    """Relative differences: the largest of a gradient's and of a loss's."""
    gradients, cosines, embedding = [], [], 0.0
    for name, want in reference.gradients.items():
        got = ours.gradients[name]
        error = float((got - want).norm() / want.norm())
        if name == EMBEDDING:
            embedding = error
        else:
            gradients.append(error)
        cosines.append(
            float(torch.nn.functional.cosine_similarity(got.flatten(), want.flatten(), dim=0))
        )
    losses = [abs(a / b - 1) for a, b in zip(ours.losses, reference.losses, strict=True)]
    return {
        "gradient": max(gradients),
        "embedding": embedding,
        "cosine": min(cosines),
        "loss": max(losses),
        "validation": abs(ours.validation / reference.validation - 1),
    }


def measure_parity(bench: Bench) -> Measured:
    shape, steps = (TOY, 2) if bench.dry else (SMALL, 6)
    card, cpu = bench.device, torch.device("cpu")
    reference = train(bench, shape, steps, device=cpu)
    bf16 = train(bench, shape, steps, device=card, mixed=True)
    again = train(bench, shape, steps, device=card, mixed=True)
    found: Measured = {
        "fp32 highest": differences(train(bench, shape, steps, device=card), reference),
        "fp32 high": differences(
            train(bench, shape, steps, device=card, precision="high"), reference
        ),
        "bf16": differences(bf16, reference),
        "layout": differences(
            train(bench, shape, steps, device=card, mixed=True, layout="padded"), bf16
        ),
        "checkpointing": differences(
            train(bench, shape, steps, device=card, mixed=True, checkpointing=True), bf16
        ),
        "bits": again.losses == bf16.losses
        and all(
            torch.equal(again.gradients[name], bf16.gradients[name]) for name in again.gradients
        ),
    }
    longer = bench.size(40, 2)
    found["long"] = differences(
        train(bench, shape, longer, device=card, mixed=True),
        train(bench, shape, longer, device=cpu),
    )
    found["worst"] = max(found[way]["gradient"] for way in ("fp32 highest", "bf16"))
    return found


def judge_parity(found: Measured) -> Faults:
    faults = []
    for way, (gradient, loss) in TOLERANCES.items():
        got = found[way]
        if not got["gradient"] <= gradient:
            faults.append(f"{way}: gradient off by {got['gradient']:.1e} (at most {gradient:g})")
        if not got["loss"] <= loss + 1e-12:
            faults.append(f"{way}: loss off by {got['loss']:.1e} (at most {loss:g})")
    if not found["bf16"]["embedding"] <= EMBEDDING_TOLERANCE:
        faults.append(f"bf16: embedding's gradient off by {found['bf16']['embedding']:.1e}")
    if not found["bf16"]["cosine"] >= COSINE:
        faults.append(f"bf16: a gradient's cosine is {found['bf16']['cosine']:.4f}")
    if not found["long"]["validation"] <= VALIDATION:
        faults.append(f"after 40 updates validation is off by {found['long']['validation']:.1e}")
    return faults


def measure_evaluation(bench: Bench) -> Measured:
    """Letters of generated questions: by length at the answer, against all logits, four a time."""
    number = bench.size(1024, 12)
    plain_number = min(number, bench.size(128, 8))
    model = bench.model(bench.d16).eval()
    random = np.random.default_rng(SEED)
    tokenizer = byte_tokenizer()
    questions = []
    for item in range(number):
        length = int(np.clip(np.exp(random.normal(np.log(110), 0.4)), 60, 600)) - 55
        text = "".join(chr(97 + int(c)) for c in random.integers(0, 26, max(4, length)))
        questions.append(
            Question(
                question=text,
                choices=("a", "b", "c", "d"),
                letters=tuple("ABCD"),
                gold="A",
                id=str(item),
            )
        )
    prepared = prepare_questions(
        tokenizer, "check", questions, bench.d16.sequence_len, bench.d16.vocab_size
    )
    few = prepare_questions(
        tokenizer, "check", questions[:plain_number], bench.d16.sequence_len, bench.d16.vocab_size
    )
    with bench.autocast():
        evaluate_letters(model, few, batch_tokens=batch_tokens_for(bench.device))
        bench.sync()
        begin = time.perf_counter()
        result = evaluate_letters(model, prepared, batch_tokens=batch_tokens_for(bench.device))
        middle = time.perf_counter()
        letters, logprobs = [], []
        for letter, found in _plain(model, few):
            letters.append(letter)
            logprobs.append(found)
        end = time.perf_counter()
    ours, slow = number / (middle - begin), plain_number / (end - middle)
    same = sum(a == b for a, b in zip(letters, result.predicted, strict=False)) / plain_number
    off = np.abs(np.array(logprobs) - result.letter_logprobs[:plain_number]).max()
    return {
        "ratio": ours / slow,
        "problems_per_second": ours,
        "same": same,
        "logprobs_off": float(off),
        "seconds": middle - begin,
    }


@torch.no_grad()
def _plain(model: Any, prepared: PreparedQuestions) -> Iterator[tuple[str, Any]]:
    for start in range(0, prepared.total, 4):
        prompts = prepared.prompts[start : start + 4]
        width = max(len(prompt) for prompt in prompts)
        ids = torch.zeros(len(prompts), width, dtype=torch.int64)
        for place, prompt in enumerate(prompts):
            ids[place, : len(prompt)] = torch.from_numpy(prompt.astype("int64"))
        logits = model.logits(model(ids.to(model.lm_head.weight.device))).float().cpu()
        for place, prompt in enumerate(prompts):
            item = start + place
            found = logits[place, len(prompt) - 1, list(prepared.letter_ids[item])]
            letter = prepared.questions[item].letters[int(found.argmax())]
            yield letter, found.log_softmax(-1).numpy()


def judge_evaluation(found: Measured) -> Faults:
    faults = []
    if not found["ratio"] >= 5:
        faults.append(f"{found['ratio']:.1f} times the plain loop, 5 wanted")
    if not found["same"] >= 0.99:
        faults.append(f"{found['same']:.0%} of the letters agree, 99 % wanted")
    if not found["logprobs_off"] <= 5e-2:
        faults.append(f"log-probabilities off by {found['logprobs_off']:.1e}")
    return faults


CHECKS = [
    Check(
        5,
        "parity",
        measure_parity,
        judge_parity,
        {way: gradient for way, (gradient, _) in TOLERANCES.items()},
        "worst gradient {worst:.1e}, bits equal twice: {bits}",
    ),
    Check(
        13,
        "evaluation",
        measure_evaluation,
        judge_evaluation,
        {"ratio": 5, "same": 0.99},
        "{ratio:.1f} x plain, {same:.0%} same, {seconds:.1f} s",
    ),
]
