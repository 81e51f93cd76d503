"""Save a run so that it can go on to the last bit, in the background.

Three things happen at the step boundary on every rank: its tensors are copied
to host buffers, nothing else. A thread per rank then writes that rank's files
and their digests; rank 0's thread waits for all of them, writes the manifest and
renames. No collective runs in a thread: the ranks meet through files only.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shlex
import shutil
import stat
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.checkpoints import checkpoint_dir, tensor_file
from engine.checkpoints.checkpoint_dir import (
    MODEL,
    STATE,
    CheckpointInfo,
    FileRecord,
    optim_file,
    rng_file,
)
from engine.errors import CheckpointError, slow_path
from engine.events import (
    CheckpointReason,
    CheckpointRemoved,
    CheckpointSaved,
    CheckpointStarted,
    Event,
    LogLine,
)
from engine.files import checked, written
from engine.run.held_folder import HeldFolder
from engine.run.run_dir import RunDir

_PASSING = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EAGAIN, errno.EINTR),
        *(errno.ETIMEDOUT, errno.ESTALE, errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.EBUSY),
        # Another rank that had no room deletes the folder that this one writes into.
        errno.ENOENT,
    }
)
"""Errors of a disk that is full or away for a while; of others a second try ends the same way."""

PEERS_TIMEOUT_SECONDS = 600.0
"""How long rank 0's thread waits for the other ranks' files: a slow network disk writes 4 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankState:
    """What one rank saves of itself in a checkpoint; rank 0 alone adds model and state."""

    optimizer: Mapping[str, Tensor]
    random: Mapping[str, Tensor]
    """This rank's generators, by `random_state`."""
    model: Mapping[str, Tensor] | None = None
    state: Mapping[str, Any] | None = None


class Checkpointer:
    """Saves checkpoints of one run from one rank, one at a time."""

    def __init__(
        self,
        run: RunDir,
        *,
        rank: int,
        world_size: int,
        attempt: int,
        keep: int,
        emit: Callable[[Event], None],
        settle_log: Callable[[], object] = lambda: None,
    ) -> None:
        """`settle_log`: waits until what was emitted is in the file; rank 0's alone is called."""
        self.run = run
        self.rank = rank
        self.world_size = world_size
        self.attempt = attempt
        self.keep = keep
        self.protected: set[int] = set()
        """Steps never pruned: the one this attempt resumed from."""
        self._emit = emit
        self._settle_log = settle_log
        self._thread: threading.Thread | None = None
        self._buffers: dict[str, Tensor] = {}
        self._failure: str | None = None
        self.waiting_helps = False
        """Whether the save that failed last may succeed by itself, or once there is room."""
        self.folder = HeldFolder(run.path)
        """The run's folder: who writes a file into it by path asks first whether it is there."""
        self._saves = 0

    def has(self, step: int) -> bool:
        """Whether a whole checkpoint of `step` is on disk (waits for a save in flight).

        Ask on rank 0 and tell the others: the answer of another rank may be older.
        """
        self._join()
        return self.folder.in_place() and any(
            info.step == step for info in checkpoint_dir.list_checkpoints(self.run)
        )

    def save(self, step: int, own: RankState, reason: CheckpointReason) -> None:
        """Start saving the state after `step` updates.

        Waits for a save still in flight first. Every rank calls it for the same step.
        """
        self._join()
        self._failure = None
        self._saves += 1
        partial = checkpoint_dir.partial_path(self.run, step, self.attempt, self._saves)
        started = time.monotonic()
        if self.rank == 0:
            self._emit(CheckpointStarted(step=step, reason=reason))
        copied = self._copy(own)
        self._thread = threading.Thread(
            target=self._write_or_report,
            args=(partial, step, copied, reason, started),
            name=f"checkpoint-{step}",
        )
        self._thread.start()

    def writing(self, patience: float = 0.0) -> bool:
        """Whether a save is in flight, after at most `patience` seconds; waits for its end."""
        if self._thread is not None:
            self._thread.join(patience)
            if not self._thread.is_alive():
                self._thread = None
        return self._thread is not None

    def wait(self) -> str | None:
        """Wait for the save in flight; returns why the last one failed, or None."""
        self._join()
        failure, self._failure = self._failure, None
        return failure

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _copy(self, own: RankState) -> RankState:
        return RankState(
            optimizer=self._host_copy("optim", own.optimizer),
            random=self._host_copy("random", own.random),
            model=None if own.model is None else self._host_copy("model", own.model),
            state=None if own.state is None else checked.parse_json(json.dumps(own.state)),
        )

    def _host_copy(self, kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # Buffers are kept between saves: copying into memory that exists takes a quarter of the
        # time of a fresh clone.
        copies = {}
        on_card = False
        for name, tensor in tensors.items():
            key = f"{kind}/{name}"
            buffer = self._buffers.get(key)
            if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
                buffer = _buffer_for(tensor)
                self._buffers[key] = buffer
            # From a card all copies are queued at once; into pinned memory at the link's rate.
            buffer.copy_(tensor.detach(), non_blocking=True)
            on_card = on_card or tensor.device.type == "cuda"
            copies[name] = buffer
        if on_card:
            # One wait for all: the next update may not overwrite what is still being read.
            torch.cuda.current_stream().synchronize()
        return copies

    def _write_or_report(
        self, partial: Path, step: int, own: RankState, reason: CheckpointReason, started: float
    ) -> None:
        try:
            self._write(partial, step, own, reason, started)
        except (OSError, CheckpointError, RuntimeError, SafetensorError) as error:
            # Training goes on: the last good checkpoint stands, and the screen says why.
            why = written.reason(error) if isinstance(error, OSError) else str(error)
            self._failure = f"checkpoint of step {step} was not saved: {why}"
            self.waiting_helps = not isinstance(error, OSError) or error.errno in _PASSING
            if not self.folder.in_place():
                # What lies at that path now is another's.
                self.waiting_helps = False
                if self.rank == 0:
                    self._emit(LogLine(step=step, text=self._failure, level="error"))
            elif self.rank == 0:
                shutil.rmtree(partial, ignore_errors=True)
                self._emit(LogLine(step=step, text=self._failure, level="error"))
            else:
                _give_up(partial, self.rank, why)

    def _write(
        self, partial: Path, step: int, own: RankState, reason: CheckpointReason, started: float
    ) -> None:
        self._refuse_place()
        if self.rank == 0:
            checkpoint_dir.remove_partials(self.run, but=partial)
            wanted = self._wanted_bytes(own)
            checkpoint_dir.check_room(self.run.checkpoints, wanted, "it")
        partial.mkdir(exist_ok=True)
        files = [
            _save_tensors(partial / optim_file(self.rank), own.optimizer),
            _save_tensors(partial / rng_file(self.rank), own.random),
        ]
        if self.rank != 0:
            _write_record(partial, self.rank, files)
            return
        if own.model is not None:
            files.append(_save_tensors(partial / MODEL, own.model))
        state = dict(own.state or {})
        checkpoint_dir.write_json(partial / STATE, state)
        files.append(checkpoint_dir.digest_file(partial / STATE))
        for peer in range(1, self.world_size):
            files += _wait_for_record(partial, peer)
        # A run that resumes here must not lack the events of the steps it stands on.
        self._settle_log()
        # Once more: a large model is minutes on the way to the disk.
        self._refuse_place()
        target = checkpoint_dir.commit(self.run, partial, step, files, time.time())
        self._emit(
            CheckpointSaved(
                step=step,
                path=self.run.relative(target),
                size_bytes=sum(record.size_bytes for record in files),
                seconds=round(time.monotonic() - started, 3),
                reason=reason,
                val_loss=state.get("val_loss"),
            )
        )
        self._prune()

    def _refuse_place(self) -> None:
        """See that the folder of checkpoints is this run's own folder, and make it if it is gone.

        Raises:
            OSError: the run's folder was moved or replaced, or its `ckpt` is something else.
        """
        # The run's own folder is not made anew: a run without it has ended.
        self.folder.refuse_moved()
        folder = self.run.checkpoints
        try:
            folder.mkdir()
        except FileExistsError:
            mode = os.lstat(folder).st_mode
            if not stat.S_ISDIR(mode):
                kind = checked.kind_of(mode) or "a file"
                here, aside = (shlex.quote(str(folder) + end) for end in ("", ".aside"))
                raise OSError(
                    errno.ENOTDIR,
                    f"{folder} is {kind}; expected a folder. Move it away: `mv {here} {aside}`",
                ) from None

    def _wanted_bytes(self, own: RankState) -> int:
        """Estimated bytes of the whole checkpoint: every rank's shard as large as this one's."""
        shard = sum(tensor.nbytes for tensor in own.optimizer.values())
        model = sum(tensor.nbytes for tensor in (own.model or {}).values())
        return model + shard * self.world_size

    def _prune(self) -> None:
        infos = checkpoint_dir.list_checkpoints(self.run)
        for info in checkpoint_dir.to_prune(infos, self.keep, self.protected):
            try:
                checkpoint_dir.remove(info.path)
            except OSError as error:
                text = f"{info.path} could not be removed: {error.strerror}"
                self._emit(LogLine(step=info.step, text=text, level="warn"))
                continue
            self._emit(CheckpointRemoved(step=info.step, path=self.run.relative(info.path)))


def _buffer_for(tensor: Tensor) -> Tensor:
    """Host memory for a copy of `tensor`: of a card's tensor pinned, which is read four times
    as fast, and never swapped out while a thread writes from it."""
    if tensor.device.type == "cuda":
        try:
            return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        except RuntimeError as error:
            slow_path(
                "checkpoints stop the training for longer: memory for them could not be pinned "
                f"({str(error).splitlines()[0][:200]})"
            )
    return torch.empty(tensor.shape, dtype=tensor.dtype)


def load_model_state(info: CheckpointInfo) -> dict[str, Tensor]:
    """Model tensors of a checkpoint, on the CPU."""
    return _load(info.path / MODEL)


def load_optimizer_states(info: CheckpointInfo) -> list[dict[str, Tensor]]:
    """Every rank's shard, by rank; their number is the world size that saved them."""
    shards: list[dict[str, Tensor]] = []
    while (name := optim_file(len(shards))) in info.files:
        shards.append(_load(info.path / name))
    return shards


def restore_random_state(info: CheckpointInfo, rank: int) -> None:
    """Set torch's generators as this rank left them; a new rank keeps its own."""
    if rng_file(rank) not in info.files:
        return
    state = _load(info.path / rng_file(rank))
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def random_state() -> dict[str, Tensor]:
    """This rank's generators (a copy)."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> FileRecord:
    tensor_file.write(path, tensors)
    checkpoint_dir.sync(path)
    return checkpoint_dir.digest_file(path)


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def _record_path(partial: Path, rank: int) -> Path:
    # A dot file beside the data: it never becomes part of the manifest.
    return partial / f".rank-{rank}.json"


def _write_record(partial: Path, rank: int, files: list[FileRecord]) -> None:
    path = _record_path(partial, rank)
    fresh = path.with_suffix(".new")
    checkpoint_dir.write_json(fresh, [dataclasses.asdict(record) for record in files])
    fresh.rename(path)


def _failed_path(partial: Path, rank: int) -> Path:
    return partial / f".rank-{rank}.failed"


def _give_up(partial: Path, rank: int, why: str) -> None:
    """Leave a file that tells rank 0 not to wait; without room for one, delete the folder."""
    fresh = _failed_path(partial, rank).with_suffix(".new")
    try:
        fresh.write_text(why, encoding="utf-8")
        fresh.rename(_failed_path(partial, rank))
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)


def _wait_for_record(partial: Path, rank: int) -> list[FileRecord]:
    path, failed = _record_path(partial, rank), _failed_path(partial, rank)
    deadline = time.monotonic() + PEERS_TIMEOUT_SECONDS
    while not path.exists():
        if time.monotonic() > deadline or not partial.exists() or failed.exists():
            why = failed.read_text(encoding="utf-8") if failed.exists() else ""
            raise CheckpointError(f"rank {rank} did not write its part{why and ': '}{why}")
        time.sleep(0.01)
    records = [FileRecord(**entry) for entry in checked.read_json(path)]
    path.unlink()
    return records
