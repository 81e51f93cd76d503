"""Checks 3 and 4: attention inside packed rows is right, and it is the fast kernel that ran."""

# N tokens of a packed row, H heads, E head_dim.

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.model.nanochat.attention import packed_attention
from engine.session import LossModule
from engine.trainer import accumulate_gradients
from tests.gpu_check.bench import Bench, RandomRows, loader
from tests.gpu_check.report import Check, Faults, Measured

LENGTHS = (1, 2, 127, 128, 129, 2047, *[17] * 64)
TOLERANCE = 1e-2
"""Relative norm of an error in bf16, which has 8 bits: 3e-3 is expected."""


def measure_attention(bench: Bench) -> Measured:
    """Output and gradients against SDPA in fp64 on the CPU, and what another document changes."""
    lengths = (1, 5, 17, 17) if bench.dry else LENGTHS
    worst: dict[str, float] = {}
    leaks = 0
    for width, (heads, keys) in itertools.product((128, 32), ((8, 8), (8, 2))):
        generator = torch.Generator().manual_seed(width + keys)
        total = sum(lengths)
        dtype = torch.bfloat16 if bench.on_cuda else torch.float32
        tensors = [
            torch.randn(total, number, width, generator=generator).to(dtype)
            for number in (heads, keys, keys)
        ]
        pull = torch.randn(total, heads, width, generator=generator).to(dtype)
        ours = _ours(bench, tensors, pull, lengths)
        exact = _exact(tensors, pull, lengths)
        for name, a, b in zip(("out", "dq", "dk", "dv"), ours, exact, strict=True):
            error = float((a.double() - b).norm() / b.norm())
            worst[name] = max(worst.get(name, 0.0), error)
        # Change the last document's values: nothing before it may move by a bit.
        changed = [tensor.clone() for tensor in tensors]
        changed[2][-lengths[-1] :] += 1
        other = _ours(bench, changed, pull, lengths)
        kept = total - lengths[-1]
        leaks += int(not torch.equal(ours[0][:kept], other[0][:kept]))
    return {"worst": max(worst.values()), "leaks": leaks, **worst}


def judge_attention(found: Measured) -> Faults:
    faults = []
    # Written so that NaN fails: poisoned outputs stay NaN where a kernel wrote nothing.
    if not found["worst"] <= TOLERANCE:
        faults.append(f"relative error {found['worst']:.1e}, at most {TOLERANCE:g} wanted")
    if found["leaks"]:
        faults.append("a document's attention reaches into another")
    return faults


def _ours(bench: Bench, tensors: list[Tensor], pull: Tensor, lengths: tuple[int, ...]) -> Any:
    ends = list(itertools.accumulate(lengths))
    spans = [(end - length, end) for end, length in zip(ends, lengths, strict=True)]
    leaves = [tensor.detach().clone().to(bench.device).requires_grad_() for tensor in tensors]
    if bench.on_cuda:
        # Fresh memory full of NaN: what a kernel leaves unwritten shows.
        poison = torch.full((4 * pull.numel(),), float("nan"), device=bench.device)
        del poison
    out = packed_attention(spans, bench.device)(*leaves)
    out.backward(pull.to(bench.device))
    return [out.detach().cpu(), *(leaf.grad.cpu() for leaf in leaves)]


def _exact(tensors: list[Tensor], pull: Tensor, lengths: tuple[int, ...]) -> list[Tensor]:
    leaves = [tensor.double().requires_grad_() for tensor in tensors]
    times = leaves[0].shape[1] // leaves[1].shape[1]
    k, v = (leaf.repeat_interleave(times, dim=1) for leaf in leaves[1:])
    parts = zip(leaves[0].split(lengths), k.split(lengths), v.split(lengths), strict=True)
    out = torch.cat(
        [
            F.scaled_dot_product_attention(
                a.transpose(0, 1), b.transpose(0, 1), c.transpose(0, 1), is_causal=True
            ).transpose(0, 1)
            for a, b, c in parts
        ]
    )
    out.backward(pull.double())
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def measure_path(bench: Bench) -> Measured:
    """Names and numbers of what the profiler saw in one real step."""
    session, batch = one_session(bench)
    accumulate_gradients(session, batch)  # compile, fill caches
    session.optimizer.zero_grad()
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if bench.on_cuda:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    dtypes: list[str] = []
    hook = session.model.register_forward_hook(lambda _m, _i, out: dtypes.append(str(out.dtype)))
    with torch.profiler.profile(activities=kinds) as profile:
        accumulate_gradients(session, batch)
        bench.sync()
    hook.remove()
    events = [
        event for event in profile.events() if not bench.on_cuda or event.device_type.name == "CUDA"
    ]
    names = [event.name.lower() for event in events]
    steps = len(batch.micro_steps)
    return {
        "micro_steps": steps,
        "layers": session.model.config.n_layer,
        "kernels": len(names) / steps,
        "flash_forward": sum("flash_fwd" in name for name in names) / steps,
        # One kernel does the work; others prepare and convert for it.
        "flash_backward": sum("flash_bwd_dq_dk_dv" in name for name in names) / steps,
        "sdpa": sum(
            "fmha_cutlass" in name or "scaled_dot_product" in name or "softmax_warp" in name
            for name in names
        )
        / steps,
        "hidden": dtypes[0].removeprefix("torch."),
    }


def judge_path(found: Measured) -> Faults:
    faults = []
    layers = found["layers"]
    if (found["flash_forward"], found["flash_backward"]) != (layers, layers):
        faults.append(
            f"flash kernels {found['flash_forward']:g} forward and {found['flash_backward']:g} "
            f"backward a micro-step, {layers} each wanted"
        )
    if found["sdpa"]:
        faults.append(f"{found['sdpa']:g} attention calls took another kernel")
    if found["hidden"] != "bfloat16":
        faults.append(f"hidden states are {found['hidden']}, bfloat16 wanted")
    if found["kernels"] > MOST_KERNELS:
        faults.append(f"{found['kernels']:.0f} kernels a micro-step, at most {MOST_KERNELS}")
    return faults


MOST_KERNELS = 1700


def one_session(bench: Bench, *, batch: int = 2, step: int = 0) -> tuple[Any, Any]:
    """As much of a `Session` as a step needs, and the step's batch."""
    from engine.config import OptimConfig
    from engine.optimizer.optim import build_optimizer
    from engine.step.step_clock import OwnClock

    model = bench.model(bench.d16)
    rows = RandomRows(bench.size(256, 32), bench.d16)
    found = loader(
        rows,
        batch=batch,
        step_rows=bench.size(32, 8) // (2 * batch) * 2 * batch or 2 * batch,
        max_tokens=2 * bench.d16.sequence_len,
        device=bench.device,
    )
    optimizer = build_optimizer(model, OptimConfig())
    optimizer.set_lr(1e-3)
    session = SimpleNamespace(
        model=model,
        loss_module=LossModule(model),
        optimizer=optimizer,
        clock=OwnClock(bench.device),
        device=bench.device,
        autocast=bench.autocast,
        ranks=SimpleNamespace(sum=lambda tensor: tensor),
        loader=found,
    )
    session.clock.begin()
    return session, found.load(step)


CHECKS = [
    Check(
        3,
        "attention",
        measure_attention,
        judge_attention,
        {"worst": TOLERANCE},
        "relative error {worst:.1e}, {leaks} leaks",
    ),
    Check(
        4,
        "attention path",
        measure_path,
        judge_path,
        {"kernels": MOST_KERNELS, "sdpa": 0},
        "flash varlen {flash_forward:g}+{flash_backward:g}, SDPA {sdpa:g}, {kernels:.0f} kernels",
    ),
]
