"""What a bug report needs of this machine, and what is wrong with it for a run: `sftui doctor`.

Nothing is started and torch is not imported; asked for more, a child process imports it and
makes a context on each card (`probe`), which is the only way to know that torch can.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engine.files import checked
from engine.files.sizes import GIB, MIB, in_words
from engine.processes import devices
from engine.processes.cuda_environment import ALLOCATOR_VARIABLES

SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_WANTED = 256 * MIB
"""NCCL sends through here between cards that cannot reach each other; Docker gives 64 MiB."""
FLASH_CAPABILITY = (8, 0)
PROBE_SECONDS = 120.0
NETWORK_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "lustre", "9p", "ceph"})
PACKAGES = ("sftui", "torch", "textual", "numpy", "safetensors", "tiktoken", "nvidia-ml-py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One machine, as JSON has it: numbers in bytes, versions as texts."""

    box: dict[str, Any]
    versions: dict[str, str]
    torch: dict[str, Any]
    cards: list[dict[str, Any]]
    environment: dict[str, str]
    storage: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {
            "box": self.box,
            "versions": self.versions,
            "torch": self.torch,
            "cards": self.cards,
            "environment": self.environment,
            "storage": self.storage,
            "wrong": wrong(self),
        }


def gather(runs: Path, environ: Mapping[str, str] = os.environ) -> Facts:
    """Ask the machine; what cannot be known is None and never an error."""
    build, driver = devices.torch_build(), devices.driver_cuda()
    return Facts(
        box=_box(),
        versions={name: _version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        torch={
            "version": None if build is None else build.version,
            "cuda": None if build is None else build.cuda,
            "hip": None if build is None else build.hip,
            "driver": _driver_version(),
            "driver_cuda": None if driver is None else list(driver),
            "obstacle": devices.torch_obstacle(build, driver) if driver is not None else "",
            "probe": _probe() if build is not None else {},
        },
        cards=[{"name": name, "memory": memory} for name, memory in devices.gpu_memories(environ)],
        environment={
            name: value
            for name, value in sorted(environ.items())
            if name.startswith(("CUDA_", "NCCL_", "TORCH_", "PYTORCH_", "OMP_", "GLOO_", "SFTUI_"))
        },
        storage=_storage(runs),
    )


def wrong(facts: Facts) -> list[str]:
    """What stands in the way of a run or slows it down, a sentence each with the remedy."""
    found = []
    torch, probe = facts.torch, facts.torch.get("probe", {})
    if torch["version"] is None:
        found.append("torch is not installed: type `pip install sftui` again.")
    if torch["obstacle"]:
        found.append(torch["obstacle"])
    elif facts.cards and not probe.get("cards"):
        found.append(
            f"the driver knows {len(facts.cards)} card(s) and torch cannot use them: "
            f"{probe.get('error') or 'no reason given'}."
        )
    for card in probe.get("cards", []):
        if tuple(card["capability"]) < FLASH_CAPABILITY and not torch["hip"]:
            found.append(
                f"{card['name']} is of compute capability {'.'.join(map(str, card['capability']))}:"
                " attention over packed rows has no kernel below 8.0 and runs document by document."
            )
    if len(facts.cards) > 1 and (facts.storage["shared_memory_free"] or 0) < SHARED_MEMORY_WANTED:
        found.append(
            f"{SHARED_MEMORY} has less than 256 MiB free, which stops several cards from talking: "
            "start the container with --shm-size=1g."
        )
    found += _wrong_environment(facts)
    if torch["hip"]:
        found.append("torch is built for ROCm: nothing here was tried on AMD cards.")
    return found


def _wrong_environment(facts: Facts) -> list[str]:
    found = []
    environment = facts.environment
    allocator = " ".join(environment.get(name, "") for name in ALLOCATOR_VARIABLES)
    if allocator.strip() and "expandable_segments:True" not in allocator and facts.cards:
        found.append(
            "the allocator is set without expandable_segments:True, so `sftui fit` tells too "
            "little: unset PYTORCH_ALLOC_CONF, or add it."
        )
    if facts.cards and environment.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID") != "PCI_BUS_ID":
        found.append(
            "CUDA_DEVICE_ORDER is not PCI_BUS_ID: the panel's card and torch's may be two."
        )
    free = facts.storage["runs_free"]
    if free is not None and free < GIB:
        found.append(
            f"{facts.storage['runs']} has {in_words(free)} free: choose another place with "
            "--runs-dir."
        )
    if facts.storage["runs_system"] in NETWORK_SYSTEMS:
        found.append(
            f"{facts.storage['runs']} lies on {facts.storage['runs_system']}: a slow network disk "
            "delays checkpoints, and locks there are less certain; prefer a local disk."
        )
    return found


def text_lines(facts: Facts) -> list[str]:
    """The facts in lines for a bug report, then what is wrong, or that nothing was found."""
    torch, probe = facts.torch, facts.torch.get("probe", {})
    build = (torch["cuda"] and f"CUDA {torch['cuda']}") or (torch["hip"] and f"ROCm {torch['hip']}")
    driver = torch["driver"] or "none"
    if torch["driver_cuda"]:
        driver += f" (CUDA {'.'.join(map(str, torch['driver_cuda']))})"
    cards = [f"{card['name']}, {card['memory'] / GIB:.1f} GiB" for card in facts.cards]
    free = facts.storage["shared_memory_free"]
    runs_free = facts.storage["runs_free"]
    rows = [
        (
            "box",
            f"{facts.box['system']}, {facts.box['cores']} cores, {facts.box['memory_gib']} GiB",
        ),
        ("versions", ", ".join(f"{name} {value}" for name, value in facts.versions.items())),
        ("torch", f"{torch['version'] or 'not installed'}, {build or 'CPU build'}"),
        ("driver", driver),
        ("NCCL", probe.get("nccl") or "none"),
        ("cards", "; ".join(cards) or "none"),
        ("torch sees", probe.get("sees") or "not asked"),
        ("allocator", probe.get("allocator") or "as torch has it"),
        ("/dev/shm", "none" if free is None else f"{in_words(free)} free"),
        (
            "runs",
            f"{facts.storage['runs']} ({facts.storage['runs_system'] or 'unknown'}, "
            f"{'?' if runs_free is None else in_words(runs_free)} free)",
        ),
        (
            "environment",
            ", ".join(f"{k}={v}" for k, v in facts.environment.items()) or "nothing set",
        ),
    ]
    lines = [f"{name:<12}{value}" for name, value in rows]
    faults = wrong(facts)
    return (
        [*lines, "", *(f"wrong: {fault}" for fault in faults or [])]
        if faults
        else [
            *lines,
            "",
            "nothing wrong was found",
        ]
    )


# ---- asking ----------------------------------------------------------------------------------


def _box() -> dict[str, Any]:
    import psutil  # noqa: PLC0415  a library that only this command and ranks need

    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
        "bf16_units": devices.has_bf16_units(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _driver_version() -> str | None:
    try:
        import pynvml  # noqa: PLC0415  loads the driver's library

        pynvml.nvmlInit()
        try:
            return str(pynvml.nvmlSystemGetDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except Exception:
        # No driver, no permission, a broken library: all of them are "none" in a report.
        return None


_PROBE = """
import json, sys
from engine.processes import cuda_environment
cuda_environment.set_defaults()
import torch
found = {"sees": "CPU only", "cards": []}
try:
    if torch.cuda.is_available():
        found["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
        for index in range(torch.cuda.device_count()):
            torch.zeros(1, device=f"cuda:{index}")
            found["cards"].append({
                "name": torch.cuda.get_device_name(index),
                "capability": list(torch.cuda.get_device_capability(index)),
            })
        found["sees"] = f"{len(found['cards'])} CUDA card(s)"
        settings = torch.cuda.memory._snapshot().get("allocator_settings", {})
        found["allocator"] = ", ".join(f"{k}={v}" for k, v in sorted(settings.items()))
    elif torch.backends.mps.is_available():
        found["sees"] = "an Apple GPU (type --device-type mps)"
    elif torch.version.cuda is not None:
        torch.zeros(1, device="cuda")
except Exception as error:
    found["error"] = str(error).splitlines()[0]
print(json.dumps(found))
"""


def _probe() -> dict[str, Any]:
    """What torch itself sees, from a process that may crash."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
        found: dict[str, Any] = checked.parse_json(done.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        return {"error": f"asking torch failed ({type(error).__name__})"}
    return found


def _storage(runs: Path) -> dict[str, Any]:
    # A folder that is not made yet lies where its nearest parent lies.
    place = runs.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return {
        "shared_memory_free": _free(SHARED_MEMORY),
        "runs": str(runs),
        "runs_free": _free(place),
        "runs_system": _file_system(place),
    }


def _free(path: Path) -> int | None:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def _file_system(place: Path) -> str | None:
    """Type of the file system that holds `place`: the longest mount point above it."""
    import psutil  # noqa: PLC0415  as above

    try:
        parts = psutil.disk_partitions(all=True)
    except (OSError, psutil.Error):
        return None
    above = [part for part in parts if place.is_relative_to(part.mountpoint)]
    return max(above, key=lambda part: len(part.mountpoint)).fstype if above else None
