"""Find the accelerators of this machine without torch.

The launcher has to refuse "--gpus 4" on a machine with two before anything is
started, and must not pay for importing torch to find out.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.files import checked


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


def gpu_memories(environment: Mapping[str, str] = os.environ) -> list[tuple[str, int]]:
    """(name, bytes of memory) of every NVIDIA GPU that a new process would see; empty without one.

    A card that CUDA_VISIBLE_DEVICES hides (the one a screen hangs on, say) is not asked.
    """
    try:
        import pynvml  # noqa: PLC0415  as in `count_gpus`

        pynvml.nvmlInit()
        try:
            return [
                (
                    str(pynvml.nvmlDeviceGetName(handle)),
                    int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                )
                for handle in _visible_handles(pynvml, environment.get("CUDA_VISIBLE_DEVICES"))
            ]
        finally:
            pynvml.nvmlShutdown()
    except Exception:
        # As in `count_gpus`: without an answer the memory is not known.
        return []


def _visible_handles(pynvml: Any, visible: str | None) -> list[Any]:
    """The driver's handles of what CUDA shows: indices, UUIDs, beginnings of UUIDs, MIG names.

    As CUDA reads the list: the first entry that names nothing ends it.
    """
    every = [
        pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
    ]
    if visible is None:
        return every
    found = []
    for name in (part.strip() for part in visible.split(",")):
        index = checked.digits(name)
        if index is not None and index < len(every):
            found.append(every[index])
        elif name.startswith("MIG-"):
            found.append(pynvml.nvmlDeviceGetHandleByUUID(name))
        elif name.startswith("GPU-"):
            uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in every]
            matching = [
                each for each, uuid in zip(every, uuids, strict=True) if uuid.startswith(name)
            ]
            if len(matching) != 1:
                break
            found += matching
        else:
            break
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchBuild:
    """What the installed torch was built for."""

    version: str
    cuda: str | None = None
    """CUDA version, `13.0`; None for a CPU build."""
    hip: str | None = None
    """ROCm version of a build for AMD cards."""


def torch_build() -> TorchBuild | None:
    """Read from torch's own `version.py`, without importing torch; None when there is no torch."""
    found = importlib.util.find_spec("torch")
    if found is None or not found.submodule_search_locations:
        return None
    try:
        text = (Path(found.submodule_search_locations[0]) / "version.py").read_text("utf-8")
    except OSError:
        return None
    values = dict(re.findall(r"^(__version__|cuda|hip)\b[^=\n]*=\s*'([^']*)'", text, re.MULTILINE))
    if "__version__" not in values:
        return None
    return TorchBuild(version=values["__version__"], cuda=values.get("cuda"), hip=values.get("hip"))


def driver_cuda() -> tuple[int, int] | None:
    """Newest CUDA version that the NVIDIA driver knows, (12, 8); None without a driver."""
    try:
        import pynvml  # noqa: PLC0415  as in `count_gpus`

        pynvml.nvmlInit()
        try:
            number = int(pynvml.nvmlSystemGetCudaDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except Exception:
        return None
    return number // 1000, number % 1000 // 10


def torch_obstacle(build: TorchBuild | None, driver: tuple[int, int] | None) -> str:
    """Why this torch cannot use the machine's NVIDIA cards, and what to install; "" when it can.

    Within one major version of CUDA every driver runs every build.
    """
    if build is None:
        return ""
    if build.cuda is None:
        kind = "for ROCm (AMD cards)" if build.hip else "a CPU build"
        known = driver or (12, 6)
        return (
            f"torch {build.version} is {kind}, so it cannot use this machine's NVIDIA card. "
            f"Install a CUDA build: {_install_line(known)}"
        )
    major = int(build.cuda.partition(".")[0])
    if driver is not None and driver[0] < major:
        return (
            f"torch {build.version} is built for CUDA {build.cuda}, and the driver knows CUDA "
            f"{driver[0]}.{driver[1]} at most. Update the driver, or install a build for it: "
            f"{_install_line(driver)}"
        )
    return ""


def _install_line(driver: tuple[int, int]) -> str:
    tag = "cu126" if driver < (13, 0) else "cu130"
    return f"pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/{tag}"


def has_bf16_units(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether this CPU multiplies bf16 in hardware (AMX or AVX512-BF16); None when unknown."""
    try:
        text = cpuinfo.read_text("ascii", "replace")
    except OSError:
        return None
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return bool({"amx_bf16", "avx512_bf16"} & set(flags.split()))


def bf16_note() -> str:
    """What bfloat16 on this CPU means; "" where it multiplies bf16 in hardware."""
    if has_bf16_units():
        return ""
    return (
        "this CPU is not known to have bf16 units (AMX, AVX512-BF16): training in bfloat16 works "
        "and is slower than float32 here"
    )


def other_gpu(build: TorchBuild | None, platform: str = sys.platform) -> str:
    """What to type for a GPU that is never chosen by itself; "" where there is none known."""
    if build is not None and build.hip:
        return (
            f"torch {build.version} is built for ROCm (AMD cards), on which nothing here was "
            "tried: type --device-type cuda to try it"
        )
    if platform == "darwin":
        return "an Apple GPU is not chosen by itself: type --device-type mps to train on it"
    return ""


def count_amd_gpus(nodes: Path = Path("/sys/class/kfd/kfd/topology/nodes")) -> int:
    """AMD GPUs as the kernel's driver lists them; 0 without it."""
    found = 0
    for path in nodes.glob("*/gpu_id"):
        try:
            # Processors are nodes too; theirs is 0.
            found += path.read_text("ascii").strip() not in ("", "0")
        except OSError:
            continue
    return found


def find(ranks: int, wanted: str, cores: int | None = None) -> Devices:
    """Device of `ranks` ranks on this machine.

    Raises:
        ConfigError: as `choose`; or the cards are there and torch cannot use them.
    """
    build, gpus = torch_build(), count_gpus()
    if wanted == "cuda" and not gpus and build is not None and build.hip:
        # To torch an AMD card is a CUDA device. Taken only when asked for.
        return choose(ranks, wanted, count_amd_gpus(), cores or os.cpu_count() or 1)
    found = choose(ranks, wanted, gpus, cores or os.cpu_count() or 1)
    if found.device_type == "cpu" and not wanted and (other := other_gpu(build)):
        found = replace(found, note=f"{found.note}; {other}")
    if found.device_type == "cuda" and (why := torch_obstacle(build, driver_cuda())):
        raise ConfigError(f"{why}. Or type --device-type cpu to run on the CPU.")
    return found


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
