"""Checks 7, 8, 9 and 11: memory against `fit`, speed against a plain loop, waits, the panel."""

# N tokens, K supervised, P parameters.

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine import fit
from engine.config import OptimConfig
from engine.files.sizes import GIB
from engine.fit import MemoryPlan
from engine.optimizer.optim import build_optimizer
from engine.processes.heartbeat import GpuSampler
from engine.session import LossModule
from engine.step.loss import default_chunk
from engine.trainer import accumulate_gradients
from tests.gpu_check.attention_checks import one_session
from tests.gpu_check.bench import Bench, RandomRows, loader
from tests.gpu_check.report import Check, Faults, Measured, Skipped

ALLOCATED_TOLERANCE = 0.10
RESERVED_RATIO = 1.10
SPEED_RATIO = 1.5
MFU_WANTED = {9: 0.25, 8: 0.35}
"""By the card's major compute capability: Hopper's ceiling is far above what launches allow."""


# ---- 7: memory -------------------------------------------------------------------------------


def measure_memory(bench: Bench) -> Measured:
    """Two micro-steps and an update at four sizes, then forty packings at random."""
    found: Measured = {}
    sizes = (256, 512) if bench.dry else (4096, 8192)
    for tokens in sizes:
        for checkpointing in (False, True):
            name = f"{tokens}{' checkpointed' if checkpointing else ''}"
            found[name] = _one_size(bench, tokens, checkpointing)
    found["reserved_ratio"], found["retries"] = _random_packings(bench)
    first = found[str(sizes[0])]
    return found | {
        "allocated_gib": first["allocated"] / GIB,
        "fit_gib": first["fit"] / GIB,
        "off": first["allocated"] / first["fit"] - 1,
        "sizes": [name for name in found if name[0].isdigit()],
    }


def _one_size(bench: Bench, tokens: int, checkpointing: bool) -> dict[str, float]:
    model = bench.model(bench.d16)
    model.checkpoint_blocks = checkpointing
    module = LossModule(model)
    optimizer = build_optimizer(model, OptimConfig())
    micro = _full_micro_step(bench, tokens)
    for _ in range(2):
        if bench.on_cuda:
            torch.cuda.reset_peak_memory_stats(bench.device)
        for _ in range(2):
            with bench.autocast(cache=not checkpointing):
                loss, nll = module(micro)
                loss.backward()
            del loss, nll
        optimizer.step()
        optimizer.zero_grad()
    plan = MemoryPlan(
        shape=bench.d16,
        tokens=tokens,
        chunk=default_chunk(bench.d16.vocab_size, bench.device),
        checkpoint_layers=checkpointing,
    )
    found: dict[str, float] = {"fit": fit.estimate(plan).peak, "needed": fit.needed(plan)}
    if bench.on_cuda:
        found |= {
            "allocated": torch.cuda.max_memory_allocated(bench.device),
            "reserved": torch.cuda.max_memory_reserved(bench.device),
            "process": _process_bytes(bench.device) or 0,
        }
    else:
        found |= {"allocated": found["fit"], "reserved": found["fit"], "process": 0}
    del model, module, optimizer, micro
    if bench.on_cuda:
        torch.cuda.empty_cache()
    return found


def _full_micro_step(bench: Bench, tokens: int) -> Any:
    """One micro-step of exactly so many tokens, all of them supervised."""
    from engine.model.nanochat.attention import document_ends
    from engine.step.dataloader import MicroStep

    lengths = [tokens // 8] * 8
    ends = document_ends(lengths)
    edges = ends.tolist()
    ids = torch.randint(0, bench.d16.vocab_size, (tokens,))
    places = torch.arange(tokens)
    return MicroStep(
        ids=ids,
        spans=tuple(itertools.pairwise(edges)),
        positions=torch.cat([torch.arange(length) for length in lengths]),
        ends=ends,
        supervised=places,
        targets=ids.roll(-1),
        weights=torch.full((tokens,), 1.0 / tokens),
        documents=torch.zeros_like(places),
        num_tokens=tokens,
    ).to(bench.device)


def _random_packings(bench: Bench) -> tuple[float, int]:
    session, _ = one_session(bench)
    for step in range(bench.size(40, 3)):
        accumulate_gradients(session, session.loader.load(step))
        session.optimizer.step()
        session.optimizer.zero_grad()
    if not bench.on_cuda:
        return 1.0, 0
    stats = torch.cuda.memory_stats(bench.device)
    ratio = torch.cuda.max_memory_reserved() / torch.cuda.max_memory_allocated()
    return ratio, int(stats.get("num_alloc_retries", 0))


def _process_bytes(device: torch.device) -> int | None:
    """What the driver says this process holds; None in a container, where we are not listed."""
    import pynvml

    from engine.processes.heartbeat import _nvml_handle

    pynvml.nvmlInit()
    for process in pynvml.nvmlDeviceGetComputeRunningProcesses(_nvml_handle(pynvml, device)):
        if process.pid == os.getpid():
            used: int | None = process.usedGpuMemory
            return used
    return None


def judge_memory(found: Measured) -> Faults:
    faults = []
    for name in found["sizes"]:
        got = found[name]
        off = got["allocated"] / got["fit"] - 1
        if not abs(off) <= ALLOCATED_TOLERANCE:
            faults.append(f"{name} tokens: {off:+.0%} against fit")
        if got["process"] and got["process"] > got["needed"]:
            faults.append(f"{name} tokens: the process holds more than fit says is needed")
    if found["reserved_ratio"] > RESERVED_RATIO:
        faults.append(f"reserved is {found['reserved_ratio']:.2f} of allocated")
    if found["retries"]:
        faults.append(f"the allocator had to retry {found['retries']} times")
    return faults


# ---- 8: speed --------------------------------------------------------------------------------


class PlainLoop:
    """What one writes first: pairs padded, logits of every token in fp32, cross entropy."""

    def __init__(self, bench: Bench, rows: RandomRows, batch: int) -> None:
        self.bench = bench
        self.model = bench.model(bench.d16)
        self.optimizer = build_optimizer(self.model, OptimConfig())
        self.optimizer.set_lr(1e-3)
        self.loader = loader(
            rows,
            batch=batch,
            step_rows=_step_rows(bench, batch),
            layout="padded",
            device=bench.device,
        )

    def step(self, number: int) -> tuple[int, int]:
        batch = self.loader.load(number)
        for micro in batch.micro_steps:
            targets = torch.full(
                (micro.ids.numel(),), -1, dtype=torch.int64, device=self.bench.device
            )
            targets[micro.supervised] = micro.targets
            with self.bench.autocast():
                logits: Tensor = self.model.logits(self.model(micro.ids))
                loss = F.cross_entropy(logits.flatten(0, 1), targets, ignore_index=-1)
                (loss / len(batch.micro_steps)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return batch.num_tokens, batch.num_supervised


class Ours:
    """The engine's step, with the time of its parts."""

    def __init__(self, bench: Bench, rows: RandomRows, batch: int) -> None:
        self.bench = bench
        self.session, _ = one_session(bench, batch=batch)
        self.session.loader = loader(
            rows,
            batch=batch,
            step_rows=_step_rows(bench, batch),
            max_tokens=batch * bench.d16.sequence_len,
            device=bench.device,
        )

    def step(self, number: int) -> tuple[int, int]:
        batch = self.session.loader.load(number)
        accumulate_gradients(self.session, batch)
        self.session.optimizer.grad_norm(lambda tensor: tensor)
        self.session.optimizer.step()
        self.session.optimizer.zero_grad()
        return batch.num_tokens, batch.num_supervised

    def parts(self, number: int) -> dict[str, float]:
        """Milliseconds of forward, loss, backward and update of one step."""
        batch = self.session.loader.load(number)
        spent = dict.fromkeys(("forward_ms", "loss_ms", "backward_ms", "update_ms"), 0.0)
        model, module = self.session.model, self.session.loss_module
        for micro in batch.micro_steps:
            with self.bench.autocast():
                spent["forward_ms"] += self._ms(
                    lambda micro=micro: model(
                        micro.ids, spans=micro.spans, positions=micro.positions, ends=micro.ends
                    )
                )
                kept: list[Tensor] = []
                spent["loss_ms"] += self._ms(
                    lambda micro=micro, kept=kept: kept.append(module(micro)[0])
                )
                spent["backward_ms"] += self._ms(lambda kept=kept: kept[0].backward())
        # The loss was timed with its forward pass.
        spent["loss_ms"] = max(0.0, spent["loss_ms"] - spent["forward_ms"])
        spent["update_ms"] = self._ms(self.session.optimizer.step)
        self.session.optimizer.zero_grad()
        return spent

    def _ms(self, work: Any) -> float:
        return 1000 * self.bench.seconds(work)


def _step_rows(bench: Bench, batch: int) -> int:
    return bench.size(32, 8) // (2 * batch) * 2 * batch or 2 * batch


def measure_speed(bench: Bench) -> Measured:
    """Turn by turn, so that a clock that slows down slows both; also with eight rows a batch."""
    rows = RandomRows(bench.size(512, 64), bench.d16)
    sampler = GpuSampler(bench.device, period_seconds=0.5) if bench.on_cuda else None
    found: Measured = {}
    for batch in (2, 8):
        ours, plain = Ours(bench, rows, batch), PlainLoop(bench, rows, batch)
        for step in range(bench.size(3, 1)):
            ours.step(step)
            plain.step(step)
        rates: dict[str, list[float]] = {"ours": [], "plain": []}
        tokens = supervised = 0
        seconds = 0.0
        for turn in range(2):
            for name, one in (("ours", ours), ("plain", plain)):
                counts = [0, 0]
                bench.sync()
                started = time.perf_counter()
                for step in range(bench.size(6, 1)):
                    a, b = one.step(100 * turn + step)
                    counts[0] += a
                    counts[1] += b
                bench.sync()
                spent = time.perf_counter() - started
                rates[name].append(counts[1] / spent)
                if name == "ours":
                    tokens, supervised, seconds = counts[0], counts[1], spent
        found[f"batch {batch}"] = {
            "ratio_padded": statistics.mean(rates["ours"]) / statistics.mean(rates["plain"]),
            "tokens_per_second": tokens / seconds,
            "supervised_per_second": supervised / seconds,
            "mfu": _flops(bench, tokens, supervised)
            / (seconds * bench.facts.get("tflops", 1.0) * 1e12),
            **ours.parts(500),
        }
        del ours, plain
        if bench.on_cuda:
            torch.cuda.empty_cache()
    if sampler is not None:
        bench.facts["nvml"] = sampler.latest()
        sampler.close()
        found["capability"] = torch.cuda.get_device_capability(bench.device)[0]
    return found | found["batch 2"]


def _flops(bench: Bench, tokens: int, supervised: int) -> float:
    """6 a parameter and token of the matrices, 6 of the head where a loss is wanted, attention.

    Attention: 12 width a token, layer and token it sees, of which half on average; a row of
    the mixture has about 500.
    """
    shape = bench.d16
    table = shape.vocab_size * shape.n_embd
    matrices = shape.num_parameters - 2 * table
    seen = 250 * shape.sequence_len / 2048
    attention = 12 * shape.n_layer * shape.n_embd * seen
    return (6 * matrices + attention) * tokens + 6 * table * supervised


def judge_speed(found: Measured) -> Faults:
    faults = []
    if not found["ratio_padded"] >= SPEED_RATIO:
        faults.append(f"{found['ratio_padded']:.2f} times the padded loop, {SPEED_RATIO} wanted")
    wanted = MFU_WANTED.get(found.get("capability", 0), 0.0)
    if not found["mfu"] >= wanted:
        faults.append(f"{found['mfu']:.0%} of the card's own ceiling, {wanted:.0%} wanted")
    return faults


# ---- 9: the host -----------------------------------------------------------------------------


def measure_host(bench: Bench) -> Measured:
    """How busy the card is kept, and where the host waits for it."""
    ours = Ours(bench, RandomRows(bench.size(256, 32), bench.d16), 8)
    ours.step(0)
    bench.sync()
    started = time.perf_counter()
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if bench.on_cuda:
        kinds = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        for step in range(1, 1 + bench.size(3, 1)):
            ours.step(step)
        bench.sync()
    wall = time.perf_counter() - started
    busy = sum(
        event.time_range.elapsed_us()
        for event in profile.events()
        if event.device_type.name == "CUDA"
    )
    waits = _waits(bench, ours)
    return {
        "busy": busy / 1e6 / wall,
        "syncs": len(waits),
        "hidden": sum("loss" not in where for where in waits),
        "where": waits,
    }


def _waits(bench: Bench, ours: Ours) -> list[str]:
    """Where the host waited in one step: file and line, one entry a wait."""
    found: list[str] = []
    if not bench.on_cuda:
        return found
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        with contextlib.suppress(Exception):
            ours.step(50)
        torch.cuda.set_sync_debug_mode("default")
    for warning in caught:
        if "synchroniz" in str(warning.message).lower():
            found.append(f"{Path(warning.filename).name}:{warning.lineno}")
    return found


def judge_host(found: Measured) -> Faults:
    faults = []
    if not found["busy"] >= 0.9:
        faults.append(f"the card is busy {found['busy']:.0%} of the time, 90 % wanted")
    if found["syncs"] > 2:
        where = ", ".join(sorted(set(found["where"])))
        faults.append(f"the host waits {found['syncs']} times a step, 2 wanted: {where}")
    return faults


# ---- 11: the panel ---------------------------------------------------------------------------

PANEL = (
    "gpu_util_percent",
    "gpu_power_watts",
    "gpu_power_limit_watts",
    "gpu_temperature_celsius",
    "gpu_others_bytes",
)


def measure_panel(bench: Bench) -> Measured:
    """What the run's panel showed during check 8."""
    if bench.dry:
        return dict.fromkeys(PANEL, 1.0)
    if "nvml" not in bench.facts:
        raise Skipped("reads along with check 8")
    return dict(bench.facts["nvml"])


def judge_panel(found: Measured) -> Faults:
    missing = [name for name in PANEL if name not in found]
    if missing:
        return [f"the driver gave no {', '.join(missing)}"]
    faults = []
    if not found["gpu_util_percent"] >= 60:
        faults.append(f"load {found['gpu_util_percent']:.0f} % while training")
    share = (found["gpu_power_watts"] or 0) / (found["gpu_power_limit_watts"] or 1)
    if not 0.2 <= share <= 1.05:
        faults.append(f"power at {share:.2f} of its limit")
    if not 20 <= found["gpu_temperature_celsius"] <= 95:
        faults.append(f"{found['gpu_temperature_celsius']:.0f} degrees")
    others = found["gpu_others_bytes"]
    if others is not None and others < 0:
        faults.append("other processes hold less than nothing")
    return faults


CHECKS = [
    Check(
        7,
        "memory",
        measure_memory,
        judge_memory,
        {"off": ALLOCATED_TOLERANCE, "reserved_ratio": RESERVED_RATIO},
        "{allocated_gib:.2f} GiB allocated, fit {fit_gib:.2f} ({off:+.0%})",
    ),
    Check(
        8,
        "speed",
        measure_speed,
        judge_speed,
        {"ratio_padded": SPEED_RATIO},
        "{tokens_per_second:,.0f} tok/s, {ratio_padded:.2f} x padded, MFU {mfu:.0%}",
    ),
    Check(
        9,
        "host",
        measure_host,
        judge_host,
        {"busy": 0.9, "syncs": 2},
        "{syncs} waits a step, card busy {busy:.2f}",
    ),
    Check(
        11,
        "panel",
        measure_panel,
        judge_panel,
        {},
        "load {gpu_util_percent:.0f} %, {gpu_power_watts:.0f} W, "
        "{gpu_temperature_celsius:.0f} degrees",
    ),
]
