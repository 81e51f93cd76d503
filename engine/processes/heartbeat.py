"""Heartbeats: every rank writes each second what it uses; rank 0 turns them into events.

A thread of each rank rewrites one small file in place (no allocation, so a full
disk does not make a living rank look dead). Rank 0 reads them all: a file that
stops changing is a rank that stopped, however alive its process looks. What the
driver says about a GPU comes from a thread of its own, because such calls hang.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import torch

from engine.distributed import Ranks
from engine.events import AlarmCleared, AlarmRaised, Event, RankHeartbeat
from engine.files import checked
from engine.polling import PollingThread
from engine.processes.heartbeat_file import FIELDS, SILENT_SECONDS, read_record
from engine.run.lock import process_start
from engine.run.run_dir import RunDir

BEAT_SECONDS = 1.0
TELL_SECONDS = 2.0


GPU_STALE_SECONDS = 10.0

_RECORD_BYTES = 2048
"""Fixed, padded with blanks: every rewrite covers the last one whole."""


Emit = Callable[[Event], None]


class Heartbeat(PollingThread):
    """The beat of this rank while the `with` block lasts; on rank 0 also the collector.

    Args:
        emit: where rank 0's events go; not called on other ranks.
    """

    def __init__(
        self,
        run_dir: RunDir,
        ranks: Ranks,
        emit: Emit,
        *,
        beat_seconds: float = BEAT_SECONDS,
        tell_seconds: float = TELL_SECONDS,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        super().__init__("heartbeat", beat_seconds, at_once=True, patience_seconds=2.0)
        self._ranks = ranks
        self._tell_seconds = tell_seconds
        self._told = 0.0
        self._record = _Record(run_dir.heartbeat(ranks.rank))
        self._folder = run_dir.path
        self._process = psutil.Process()
        self._started = process_start(os.getpid())
        self._gpu = GpuSampler(ranks.device) if ranks.device.type == "cuda" else None
        self._collector = (
            Collector(run_dir, ranks.world_size, emit, silent_seconds) if ranks.is_main else None
        )
        self._step: int | None = None
        self._step_began: float | None = None
        self._step_seconds: float | None = None
        self._seconds_per_token: float | None = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        if self._gpu is not None:
            self._gpu.close()
        self._record.close()

    def at_step(
        self,
        step: int,
        seconds_per_token: float | None = None,
        *,
        seconds: float | None = None,
    ) -> None:
        """Tell which step begins, and this rank's own time of the one before, per token.

        Called by the trainer; costs less than a microsecond.

        Args:
            seconds: of the step before, where the caller knows them better than the clock: it
                would count a pause or an evaluation between the two.
        """
        now = time.monotonic()
        if seconds is not None:
            self._step_seconds = seconds
        elif self._step is not None and self._step_began is not None and step == self._step + 1:
            self._step_seconds = now - self._step_began
        self._step, self._step_began = step, now
        self._seconds_per_token = seconds_per_token

    def sample(self) -> RankHeartbeat:
        """Measure this rank now."""
        beat = RankHeartbeat(
            rank=self._ranks.rank,
            host=socket.gethostname(),
            pid=os.getpid(),
            at_step=self._step,
            device=self._ranks.device.type,
            step_seconds=None if self._step_seconds is None else round(self._step_seconds, 6),
            seconds_per_token=self._seconds_per_token,
            **self._cpu(),
        )
        if self._ranks.device.type == "cuda":
            beat = replace(beat, **_cuda_memory(self._ranks.device))
        if self._gpu is not None:
            beat = replace(beat, **self._gpu.latest())
        return beat

    def _cpu(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with contextlib.suppress(psutil.Error, OSError):
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            found = {
                "memory_bytes": self._process.memory_info().rss,
                # Kilobytes on Linux, bytes on macOS.
                "memory_peak_bytes": peak if sys.platform == "darwin" else peak * 1024,
                "memory_total_bytes": psutil.virtual_memory().total,
                "cpu_percent": self._process.cpu_percent(None),
            }
        with contextlib.suppress(OSError):
            found["disk_free_bytes"] = shutil.disk_usage(self._folder).free
        return found

    def poll(self) -> bool:
        # A sample that fails must not end the beat: a broken driver is not a dead rank.
        with contextlib.suppress(Exception):
            self._record.write(self.sample(), self._started)
        now = time.monotonic()
        if self._collector is not None and now - self._told >= self._tell_seconds:
            self._told = now
            with contextlib.suppress(Exception):
                self._collector.collect()
        return True


class Collector:
    """Rank 0 reads all heartbeats: a new one becomes an event, a missing one an alarm."""

    def __init__(
        self,
        run_dir: RunDir,
        world_size: int,
        emit: Emit,
        silent_seconds: float = SILENT_SECONDS,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run_dir = run_dir
        self._emit = emit
        self._clock = clock
        self._silent_seconds = silent_seconds
        begin = clock()
        # Our own clock, from when we last saw a change: other machines' clocks may differ.
        self._changed = dict.fromkeys(range(world_size), begin)
        self._beats: dict[int, object] = {}
        self._silent: dict[int, float] = {}

    def collect(self) -> None:
        """Read every rank's file once, and emit what is new."""
        now = self._clock()
        for rank in self._changed:
            raw = read_record(self._run_dir.heartbeat(rank))
            if raw is not None and raw.get("beat") != self._beats.get(rank):
                first = rank not in self._beats
                self._beats[rank] = raw.get("beat")
                if first and not _fresh(raw):
                    continue  # left behind by an earlier attempt
                self._changed[rank] = now
                self._emit(_event(raw))
        self._judge(now)

    def _judge(self, now: float) -> None:
        silent = {
            rank: now - changed
            for rank, changed in self._changed.items()
            if now - changed > self._silent_seconds
        }
        if silent.keys() != self._silent.keys():
            if silent:
                names = ", ".join(f"rank {rank} for {age:.0f} s" for rank, age in silent.items())
                self._emit(
                    AlarmRaised(
                        kind="rank_silent",
                        severity="error",
                        value=max(silent.values()),
                        limit=self._silent_seconds,
                        text=f"no heartbeat of {names}",
                    )
                )
            else:
                self._emit(AlarmCleared(kind="rank_silent"))
        self._silent = silent


class GpuSampler:
    """What the driver says about one GPU, asked in a thread of its own.

    Every field is None when the driver does not know it, is not there, or has not
    answered for a while.
    """

    def __init__(self, device: torch.device, *, period_seconds: float = 2.0) -> None:
        self._device = device
        self._period_seconds = period_seconds
        self._latest: tuple[float, dict[str, Any]] = (0.0, {})
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="gpu-sampler", daemon=True).start()

    def latest(self) -> dict[str, Any]:
        """Fields of `RankHeartbeat`; empty when there is nothing recent."""
        when, found = self._latest
        return found if time.monotonic() - when < GPU_STALE_SECONDS else {}

    def close(self) -> None:
        # Not joined: a driver call that hangs would hang us.
        self._stop.set()

    def _run(self) -> None:
        try:
            # Only where there is a GPU; 20 ms and a shared library.
            import pynvml  # noqa: PLC0415

            pynvml.nvmlInit()
            handle = _nvml_handle(pynvml, self._device)
        except Exception:
            return
        while not self._stop.wait(self._period_seconds):
            self._latest = (time.monotonic(), _nvml_sample(pynvml, handle))


class _Record:
    """One heartbeat file, rewritten in place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._beat = 0

    def write(self, beat: RankHeartbeat, started: float | None) -> None:
        self._beat += 1
        body: dict[str, Any] = {name: getattr(beat, name) for name in FIELDS}
        body |= {"started": started, "t": time.time(), "beat": f"{beat.pid}:{self._beat}"}
        data = json.dumps(body).encode()
        if self._descriptor is None:
            self._path.parent.mkdir(exist_ok=True)
            self._descriptor = checked.open_descriptor(self._path, os.O_WRONLY | os.O_CREAT)
        os.pwrite(self._descriptor, data.ljust(_RECORD_BYTES - 1) + b"\n", 0)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _fresh(raw: dict[str, Any]) -> bool:
    age = time.time() - float(raw.get("t") or 0.0)
    return abs(age) < SILENT_SECONDS


def _event(raw: dict[str, Any]) -> RankHeartbeat:
    return RankHeartbeat(
        step=raw.get("at_step"), **{name: raw[name] for name in FIELDS if name in raw}
    )


def _cuda_memory(device: torch.device) -> dict[str, Any]:
    # Before the trainer made a context there is nothing to measure, and asking makes one.
    if not torch.cuda.is_initialized():
        return {}
    properties = torch.cuda.get_device_properties(device)
    return {
        "memory_kind": "cuda",
        "device_name": properties.name,
        "memory_bytes": torch.cuda.memory_allocated(device),
        "memory_reserved_bytes": torch.cuda.memory_reserved(device),
        "memory_peak_bytes": torch.cuda.max_memory_allocated(device),
        "memory_total_bytes": properties.total_memory,
        "alloc_retries": torch.cuda.memory_stats(device).get("num_alloc_retries"),
    }


def _nvml_handle(pynvml: Any, device: torch.device) -> Any:
    """The driver's handle of a torch device: torch counts visible GPUs, the driver all."""
    with contextlib.suppress(Exception):
        return pynvml.nvmlDeviceGetHandleByUUID(
            f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in visible.split(",") if name.strip()]
    index = device.index or 0
    name = names[index] if index < len(names) else str(index)
    number = checked.digits(name)
    if number is not None:
        return pynvml.nvmlDeviceGetHandleByIndex(number)
    return pynvml.nvmlDeviceGetHandleByUUID(name)


def _nvml_sample(pynvml: Any, handle: Any) -> dict[str, Any]:
    """Ask for each number by itself: a card may know its load and not its power."""
    questions: dict[str, Callable[[], float | int | None]] = {
        "gpu_util_percent": lambda: float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        "gpu_power_watts": lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        "gpu_power_limit_watts": lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,
        "gpu_temperature_celsius": lambda: float(
            pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
        ),
        "gpu_others_bytes": lambda: _others(pynvml, handle),
    }
    found: dict[str, Any] = {}
    for name, ask in questions.items():
        with contextlib.suppress(Exception):
            found[name] = ask()
    return found


def _others(pynvml: Any, handle: Any) -> int | None:
    """Device memory of other processes; None in a container, where we are not on the list."""
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    mine = [process for process in processes if process.pid == os.getpid()]
    if not mine or mine[0].usedGpuMemory is None:
        return None
    used: int = pynvml.nvmlDeviceGetMemoryInfo(handle).used
    ours: int = mine[0].usedGpuMemory
    return max(0, used - ours)
