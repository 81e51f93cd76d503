"""Check 6: what torch.compile makes is right, and made once for all packings."""

# N tokens of a micro-step, V vocabulary.

from __future__ import annotations

import time
from typing import Any

import torch
import torch._dynamo.testing
from torch import Tensor

from engine.model.compiled import try_out
from engine.session import LossModule
from engine.step import fused_loss
from tests.gpu_check.bench import SEED, TOY, Bench, RandomRows, loader
from tests.gpu_check.parity_checks import SMALL
from tests.gpu_check.report import Check, Faults, Measured

PACKINGS = 20
MOST_GRAPHS = 2
DIFFERENCE = 2e-2


def measure_compile(bench: Bench) -> Measured:
    """The loss's kernel and the layers' halves, on against off over twenty packings each."""
    if bench.on_cuda and not fused_loss.usable(bench.device, torch.bfloat16):
        return {"usable": False} | dict.fromkeys(
            ("graphs", "difference", "start_seconds", "layer_graphs", "layer_difference"), 0
        )
    return {"usable": True} | _loss(bench) | _layers(bench)


def _counting(bench: Bench) -> Any:
    """The compiler of a card; on its stand-in one that only counts."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    return torch._dynamo.testing.CompileCounter() if bench.dry else "inductor"


def _graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def _loss(bench: Bench) -> Measured:
    shape = TOY if bench.dry else SMALL
    compiled = torch.compile(
        fused_loss.middle, fullgraph=True, dynamic=True, backend=_counting(bench)
    )
    generator = torch.Generator().manual_seed(SEED)
    worst, started, first = 0.0, time.monotonic(), 0.0
    for packing in range(PACKINGS):
        tokens = 2 + int(torch.randint(0, 400, (1,), generator=generator))
        logits = torch.randn(tokens, shape.vocab_size, generator=generator)
        logits = logits.to(bench.device, torch.bfloat16)
        targets = torch.zeros(tokens, dtype=torch.int64, device=bench.device)
        weights = torch.ones(tokens, device=bench.device)
        nll, gradient = compiled(logits, targets, weights)
        want_nll, want = fused_loss.middle(logits, targets, weights)
        worst = max(
            worst,
            float((gradient.float() - want.float()).norm() / want.float().norm()),
            float((nll / want_nll - 1).abs().max()),
        )
        if not packing:
            bench.sync()
            first = time.monotonic() - started
    return {"graphs": _graphs(), "difference": worst, "start_seconds": first}


def _layers(bench: Bench) -> Measured:
    shape = TOY if bench.dry else SMALL
    backend = _counting(bench)
    compiled, plain = LossModule(bench.model(shape)), LossModule(bench.model(shape))
    compiled.model.compile_blocks(backend)
    started = time.monotonic()
    try_out(compiled.model, mixed=True)
    bench.sync()
    seconds = time.monotonic() - started
    rows = RandomRows(4 * PACKINGS, shape)
    steps = loader(rows, step_rows=4, world_size=1, max_tokens=4096, device=bench.device)
    worst, kernels = 0.0, [0, 0]
    for packing in range(bench.size(PACKINGS, 3)):
        micro = steps.load(packing).micro_steps[0]
        losses, gradients = [], []
        for place, module in enumerate((compiled, plain)):
            with torch.profiler.profile() as profile:
                loss, gradient = _gradient(bench, module, micro)
                bench.sync()
            if bench.on_cuda:
                seen = [e for e in profile.events() if e.device_type.name == "CUDA"]
                kernels[place] = len(seen)
            losses.append(loss)
            gradients.append(gradient)
        worst = max(
            worst,
            float((gradients[0] - gradients[1]).norm() / gradients[1].norm()),
            abs(losses[0] / losses[1] - 1),
        )
    return {
        "layer_graphs": _graphs(),
        "layer_difference": worst,
        "layer_start_seconds": seconds,
        "kernels": kernels[0],
        "kernels_eager": kernels[1],
    }


def _gradient(bench: Bench, module: LossModule, micro: Any) -> tuple[float, Tensor]:
    module.zero_grad(set_to_none=True)
    with bench.autocast():
        loss, _ = module(micro)
        loss.backward()
    flat = [
        weight.grad.float().flatten() for weight in module.parameters() if weight.grad is not None
    ]
    return float(loss.detach()), torch.cat(flat)


def judge_compile(found: Measured) -> Faults:
    if not found["usable"]:
        return ["torch.compile failed at start: the loss runs pass by pass"]
    faults = []
    for what, prefix in (("the loss", ""), ("the layers", "layer_")):
        graphs, difference = found[f"{prefix}graphs"], found[f"{prefix}difference"]
        if graphs > MOST_GRAPHS:
            faults.append(
                f"{what}: {graphs} graphs over {PACKINGS} packings, at most {MOST_GRAPHS} wanted"
            )
        if not difference <= DIFFERENCE:
            faults.append(f"{what}: compiled and plain differ by {difference:.1e}")
    return faults


CHECKS = [
    Check(
        6,
        "compile",
        measure_compile,
        judge_compile,
        {"graphs": MOST_GRAPHS, "difference": DIFFERENCE},
        "{layer_graphs} graphs in 20 packings, {kernels} kernels for {kernels_eager}",
    ),
]
