"""Checks 1 and 2: what the machine is, and the most it could do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from tests.gpu_check.bench import Bench
from tests.gpu_check.report import Check, Faults, Measured

SHARED_MEMORY_WANTED = 256 * 2**20
"""NCCL moves data between cards without peer access through here; Docker gives 64 MiB."""


def measure_box(bench: Bench) -> Measured:
    found: Measured = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "gpus": torch.cuda.device_count(),
        "card": "CPU stand-in",
        "shared_memory_free": _free("/dev/shm"),
        "allocator": os.environ.get("PYTORCH_ALLOC_CONF", ""),
    }
    if bench.on_cuda:
        properties = torch.cuda.get_device_properties(bench.device)
        found |= {
            "card": properties.name,
            "capability": list(torch.cuda.get_device_capability(bench.device)),
            "memory": properties.total_memory,
            "nccl": ".".join(map(str, torch.cuda.nccl.version())),
            "expandable": _expandable(bench.device),
        } | _driver(bench.device)
    bench.facts["box"] = found
    return found


def judge_box(found: Measured) -> Faults:
    faults = []
    if not found.get("expandable"):
        faults.append("the allocator's segments do not grow (expandable_segments is not on)")
    if tuple(found.get("capability", (0, 0))) < (8, 0):
        faults.append("the card is older than compute capability 8.0: no flash kernel")
    if found.get("uuid_torch") != found.get("uuid_nvml"):
        faults.append("torch and NVML mean different cards")
    if found["gpus"] > 1 and found["shared_memory_free"] < SHARED_MEMORY_WANTED:
        faults.append("/dev/shm has less than 256 MiB free")
    return faults


def _free(path: str) -> int:
    return shutil.disk_usage(path).free if Path(path).exists() else 0


def _expandable(device: torch.device) -> bool:
    """Read back from the allocator itself: a misspelt setting is taken without a word."""
    torch.zeros(1, device=device)
    settings = torch.cuda.memory._snapshot().get("allocator_settings", {})
    return bool(settings.get("expandable_segments"))


def _driver(device: torch.device) -> Measured:
    import pynvml

    from engine.processes.heartbeat import _nvml_handle

    pynvml.nvmlInit()
    handle = _nvml_handle(pynvml, device)
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    return {
        "driver": pynvml.nvmlSystemGetDriverVersion(),
        "uuid_nvml": str(uuid).removeprefix("GPU-"),
        "uuid_torch": str(torch.cuda.get_device_properties(device).uuid),
    }


def measure_ceilings(bench: Bench) -> Measured:
    elements = bench.size(2**30, 2**16)
    side = bench.size(8192, 64)
    copy = _copy_seconds(bench, elements)
    a, b = (torch.randn(side, side, device=bench.device).to(torch.bfloat16) for _ in range(2))
    product = bench.seconds(lambda: a @ b, repeats=10)
    found = {
        "gb_per_second": 8 * elements / copy / 1e9,
        "tflops": 2 * side**3 / product / 1e12,
    }
    bench.facts["tflops"] = found["tflops"]
    return found


def _copy_seconds(bench: Bench, elements: int) -> float:
    source = torch.empty(elements, device=bench.device)
    target = torch.empty_like(source)
    return bench.seconds(lambda: target.copy_(source), repeats=10)


def no_faults(_found: Any) -> Faults:
    return []


CHECKS = [
    Check(1, "box", measure_box, judge_box, told="{card}, torch {torch}, {gpus} GPUs"),
    Check(
        2,
        "ceilings",
        measure_ceilings,
        no_faults,
        told="{gb_per_second:.0f} GB/s, {tflops:.0f} TFLOP/s in bf16",
        info=True,
    ),
]
