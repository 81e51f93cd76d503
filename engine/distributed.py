"""Join and leave the process group, and the few collectives we use.

Two groups: the main one moves tensors (NCCL on GPUs, gloo elsewhere); the
control group is always gloo, so that asking "did anybody press pause?" never
waits for a GPU. One rank without torchrun's environment needs neither.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist

from engine.errors import UsageError

COLLECTIVE_TIMEOUT_SECONDS = 120.0
"""A stopped rank costs this plus the agent's grace; shorter would end slow but healthy steps."""

Device = Literal["cuda", "cpu", "mps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among its peers."""

    device: torch.device
    rank: int = 0
    local_rank: int = 0
    """Index on this machine, and of its GPU."""
    world_size: int = 1
    local_world_size: int = 1
    backend: str | None = None
    """`nccl`, `gloo`, or None for one process alone."""
    group: dist.ProcessGroup | None = None
    control_group: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the only writer of the run directory's logs."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over ranks, in place; returns the tensor."""
        return self._reduce(tensor, dist.ReduceOp.SUM)

    def max(self, tensor: torch.Tensor) -> torch.Tensor:
        """Element-wise maximum over ranks, in place; returns the tensor."""
        return self._reduce(tensor, dist.ReduceOp.MAX)

    def broadcast(self, tensor: torch.Tensor, source: int = 0) -> torch.Tensor:
        """Copy of `source`'s tensor, in place; returns the tensor."""
        if self.world_size > 1:
            dist.broadcast(tensor, source, group=self._group_for(tensor))
        return tensor

    def barrier(self) -> None:
        """Wait for all ranks, on the CPU: work queued on a GPU is not waited for."""
        if self.control_group is not None:
            dist.barrier(group=self.control_group)

    def leave(self) -> None:
        """Leave the groups. Call it after the last barrier; peers may be gone already."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def _reduce(self, tensor: torch.Tensor, operation: dist.ReduceOp.RedOpType) -> torch.Tensor:
        if self.world_size > 1:
            dist.all_reduce(tensor, op=operation, group=self._group_for(tensor))
        return tensor

    def _group_for(self, tensor: torch.Tensor) -> dist.ProcessGroup | None:
        # NCCL cannot move host memory.
        on_host = tensor.device.type == "cpu" and self.backend == "nccl"
        return self.control_group if on_host else self.group


def join(
    device: Device | str,
    *,
    environ: Mapping[str, str] = os.environ,
    timeout_seconds: float | None = None,
) -> Ranks:
    """Join the group that torchrun's environment describes; alone without one.

    Args:
        device: `cuda`, `cpu` or `mps`; with `cuda` each rank takes the GPU of its local rank.
        timeout_seconds: of every collective; default `COLLECTIVE_TIMEOUT_SECONDS`, or the
            environment variable `SFTUI_COLLECTIVE_TIMEOUT`.

    Raises:
        UsageError: the environment is incomplete, or there is no GPU for this rank.
    """
    rank, world_size = _env(environ, "RANK", 0), _env(environ, "WORLD_SIZE", 1)
    local_rank = _env(environ, "LOCAL_RANK", 0)
    local_world_size = _env(environ, "LOCAL_WORLD_SIZE", world_size)
    place = _own_device(device, rank, local_rank)
    if world_size == 1:
        return Ranks(device=place, local_rank=local_rank)

    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        if name not in environ:
            raise UsageError(
                f"WORLD_SIZE is {world_size} and {name} is not set. "
                "Start the ranks with `sftui run` or torchrun."
            )
    if world_size == local_world_size:
        _use_loopback()
    seconds = timeout_seconds or float(
        environ.get("SFTUI_COLLECTIVE_TIMEOUT", COLLECTIVE_TIMEOUT_SECONDS)
    )
    timeout = timedelta(seconds=seconds)
    backend = "nccl" if place.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        timeout=timeout,
        rank=rank,
        world_size=world_size,
        device_id=place if place.type == "cuda" else None,
    )
    return Ranks(
        device=place,
        rank=rank,
        local_rank=local_rank,
        world_size=world_size,
        local_world_size=local_world_size,
        backend=backend,
        group=dist.group.WORLD,
        control_group=dist.new_group(backend="gloo", timeout=timeout),
    )


def found(device: torch.device, *, timeout_seconds: float) -> Ranks:
    """The ranks of a process group that another program made, with a control group of our own.

    A collective where there are several ranks: all of them call it. Their own group is left
    alone, so nothing of NCCL, FSDP or DeepSpeed is touched.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return Ranks(device=device)
    world_size = dist.get_world_size()
    local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    if world_size == local_world_size:
        _use_loopback()
    return Ranks(
        device=device,
        rank=dist.get_rank(),
        local_rank=int(os.environ.get("LOCAL_RANK", dist.get_rank() % local_world_size)),
        world_size=world_size,
        local_world_size=local_world_size,
        backend=dist.get_backend(),
        group=dist.group.WORLD,
        control_group=dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_seconds)),
    )


def _own_device(device: str, rank: int, local_rank: int) -> torch.device:
    """The device of this rank, made the current one and ready to be used if it is a GPU.

    Raises:
        UsageError: there is none, or torch cannot use it: starting again would not help.
    """
    kind = torch.device(device).type
    if kind == "mps" and not torch.backends.mps.is_available():
        why = "is built without it" if not torch.backends.mps.is_built() else "sees none"
        raise UsageError(
            f"--device-type mps, and torch {torch.__version__} {why}; expected an Apple GPU and "
            "macOS 14 or newer. Leave the flag out to run on the CPU."
        )
    if kind != "cuda":
        return torch.device(device)
    found = torch.cuda.device_count()
    if local_rank >= found:
        text = f"rank {rank} needs GPU {local_rank}, and this machine has {found}"
        if found:
            raise UsageError(f"{text}. Start with --gpus {found}.")
        build = "is a CPU build" if torch.version.cuda is None else f"for CUDA {torch.version.cuda}"
        raise UsageError(
            f"{text} that torch {torch.__version__} ({build}) can use. Type `sftui doctor` to "
            "see what is wrong, or start with --device-type cpu."
        )
    own = torch.device("cuda", local_rank)
    try:
        torch.cuda.set_device(own)
        torch.zeros(1, device=own)
    except (RuntimeError, AssertionError) as error:
        if "out of memory" in str(error).lower():
            raise
        # `device_count` asks the driver's library and says nothing of torch: with a driver
        # that is older than the build, the first use fails, the same at every restart.
        raise UsageError(
            f"rank {rank} cannot use GPU {local_rank}: {str(error).splitlines()[0]} Type "
            "`sftui doctor` to see what is wrong, or start with --device-type cpu."
        ) from error
    return own


def launch_warnings(environ: Mapping[str, str] = os.environ) -> list[str]:
    """What a person who started the ranks with torchrun should know, a sentence each."""
    restarts = _env(environ, "TORCHELASTIC_MAX_RESTARTS", 0)
    shared_store = environ.get("TORCH_DISABLE_SHARE_RDZV_TCP_STORE") != "1"
    if restarts > 0 and shared_store and _env(environ, "WORLD_SIZE", 1) > 1:
        # Restarted ranks read the dead attempt's addresses from the shared store: killing
        # one rank lost the run in 3 of 5 trials, and in 0 of 6 with the variable set.
        return [
            f"torchrun may restart the ranks ({restarts} times) and "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE is not 1: restarts may fail. Set it to 1."
        ]
    return []


def _use_loopback() -> None:
    """Let gloo talk over the loopback interface when all ranks are on this machine.

    It would look up the host's own name otherwise, which on laptops and in containers
    may lead nowhere.
    """
    names = {name for _, name in socket.if_nameindex()}
    for loopback in ("lo", "lo0"):
        if loopback in names:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
            return


def _env(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"the environment variable {name} is {text!r}, not a number.") from None
