"""Find the accelerators of this machine without torch.

The launcher has to refuse "--gpus 4" on a machine with two before anything is
started, and must not pay for importing torch to find out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from engine.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """The device of a run's ranks, and a note about the choice."""

    device_type: str
    """`cuda`, `mps` or `cpu`."""
    note: str = ""
    """What a person should know about the choice."""


def count_gpus(environment: Mapping[str, str] = os.environ) -> int:
    """NVIDIA GPUs that a new process would see; 0 without a driver."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return 0
    try:
        import pynvml  # noqa: PLC0415  loads the driver's library: only when a run is started

        pynvml.nvmlInit()
        try:
            found = int(pynvml.nvmlDeviceGetCount())
        finally:
            pynvml.nvmlShutdown()
    except Exception:
        # No driver, no permission, a broken library: for the run all of them mean "no GPU".
        return 0
    if visible is None:
        return found
    return min(found, len([part for part in visible.split(",") if part.strip()]))


def gpu_memories() -> list[tuple[str, int]]:
    """(name, bytes of memory) of every NVIDIA GPU the driver knows; empty without one."""
    try:
        import pynvml  # noqa: PLC0415  as in `count_gpus`

        pynvml.nvmlInit()
        try:
            handles = [
                pynvml.nvmlDeviceGetHandleByIndex(index)
                for index in range(pynvml.nvmlDeviceGetCount())
            ]
            return [
                (
                    str(pynvml.nvmlDeviceGetName(handle)),
                    int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                )
                for handle in handles
            ]
        finally:
            pynvml.nvmlShutdown()
    except Exception:
        # As in `count_gpus`: without an answer the memory is not known.
        return []


def memory_of_rank(device_type: str, ranks: int) -> tuple[str, int | None]:
    """What one rank may use, in words and in bytes; None when nobody knows.

    The smallest GPU of the machine, or an equal share of its RAM.
    """
    if device_type == "cuda":
        found = gpu_memories()
        if not found:
            return "a GPU of unknown size", None
        return min(found, key=lambda gpu: gpu[1])
    import psutil  # noqa: PLC0415  only `fit` and the dry run ask

    total = int(psutil.virtual_memory().total)
    share = f"1/{ranks} of this machine's memory" if ranks > 1 else "this machine's memory"
    return share, total // ranks


def choose(ranks: int, wanted: str, gpus: int, cores: int) -> Devices:
    """Device of `ranks` ranks, or why there are not enough.

    Raises:
        ConfigError: some GPUs, but fewer than ranks; or CUDA asked for and none there.
    """
    if wanted == "cpu":
        return Devices(device_type="cpu", note=_cpu_note(ranks, cores, asked=True))
    if wanted == "mps":
        if ranks > 1:
            raise ConfigError(
                f"--gpus {ranks} with --device-type mps; expected 1: there is one such GPU."
            )
        return Devices(device_type="mps")
    if gpus >= ranks:
        return Devices(device_type="cuda")
    if gpus == 0:
        if wanted == "cuda":
            raise ConfigError(
                f"--device-type cuda, but no GPU is visible; expected {ranks}. Leave the flag "
                "out to run the same ranks on the CPU."
            )
        return Devices(device_type="cpu", note=_cpu_note(ranks, cores, asked=False))
    raise ConfigError(
        f"--gpus {ranks} asks for {ranks} GPUs; {gpus} {'is' if gpus == 1 else 'are'} visible. "
        f"Type --gpus {gpus}, or --device-type cpu for {ranks} ranks on the CPU."
    )


def _cpu_note(ranks: int, cores: int, *, asked: bool) -> str:
    what = f"{ranks} CPU rank{'s' if ranks > 1 else ''}"
    if ranks > 1:
        what += " through gloo"
    why = "" if asked else "no GPU found: "
    crowded = f"; {cores} cores for {ranks} ranks is tight" if ranks > cores else ""
    return f"{why}{what}{crowded}"
