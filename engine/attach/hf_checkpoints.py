"""Checkpoints that Hugging Face's Trainer writes: how large, whole or torn, which is newest.

The trainer writes into `checkpoint-N` itself, so one that was killed meanwhile leaves a folder
that looks like a checkpoint. Going on from it would fail, or silently begin with a new
optimizer, so a restart takes the newest one that is whole.

Older versions of Transformers cannot load what they wrote with the torch of today: `loadable`
lets them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.files import checked

_NAME = re.compile(r"checkpoint-(\d+)$")
STATE = "trainer_state.json"
_MOST_HEADER_BYTES = 100_000_000
"""As safetensors itself takes."""
_MOST_STATE_BYTES = 256 * 1024 * 1024
"""A million updates of Trainer's history take 150 MB."""
_BEHIND_TORCHS_OWN = 1046


def folder_of(output_dir: str, step: int) -> Path:
    """Where the trainer saves the state after `step` updates."""
    return Path(output_dir).absolute() / f"checkpoint-{step}"


def size_bytes(folder: Path) -> int | None:
    """Bytes of all files of a checkpoint; None when it is not there."""
    if not folder.is_dir():
        return None
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def newest_whole(output_dir: str, world_size: int = 1) -> Path | None:
    """The newest checkpoint under `output_dir` that can be gone on from; None without one."""
    found = []
    try:
        for entry in Path(output_dir).iterdir():
            match = _NAME.match(entry.name)
            if match and entry.is_dir():
                found.append((int(match[1]), entry))
    except OSError:
        return None
    for step, folder in sorted(found, reverse=True):
        if not fault(folder, step, world_size):
            return folder.absolute()
    return None


def fault(folder: Path, step: int, world_size: int = 1) -> str:
    """What is missing or torn in a checkpoint, in words; empty when it is whole.

    Folders of DeepSpeed and FSDP hold files that are not looked into.
    """
    try:
        state = checked.table(checked.read_json(folder / STATE, _MOST_STATE_BYTES))
        if (found := checked.whole(state["global_step"])) != step:
            return f"{STATE} is of step {found}"
    except (OSError, ValueError, KeyError) as error:
        return f"{STATE} cannot be read: {error}"
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        if path.suffix == ".safetensors" and not _is_whole_safetensors(path):
            return f"{path.name} is cut off"
        if path.suffix in (".pt", ".pth", ".bin") and not _is_whole_torch(path):
            return f"{path.name} is cut off"
    has_optimizer = (folder / "optimizer.pt").exists()
    if has_optimizer and world_size > 1:
        for rank in range(world_size):
            if not (folder / f"rng_state_{rank}.pth").exists():
                return f"the random state of rank {rank} is missing"
    return ""


def _is_whole_safetensors(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size, _MOST_HEADER_BYTES):
                return False
            header = checked.table(checked.parse_json(file.read(length)))
            ends = [
                checked.whole(entry["data_offsets"][1])
                for name, entry in header.items()
                if name[:2] != "__"
            ]
            return bool(size == 8 + length + max(ends, default=0))
    except (OSError, ValueError, KeyError, IndexError, TypeError, struct.error):
        return False


def _is_whole_torch(path: Path) -> bool:
    """torch's files are zip archives, whose directory is written last; older ones are pickles."""
    try:
        with path.open("rb") as file:
            head = file.read(2)
            if head == b"PK":
                return zipfile.is_zipfile(path)
            # A pickle begins with its protocol; nothing else does, an empty file least of all.
            return head[:1] == b"\x80"
    except OSError:
        return False


@contextlib.contextmanager
def loadable() -> Iterator[None]:
    """torch.load takes a checkpoint of any supported Transformers here, as the newest asks for it.

    numpy's random state (an older trainer does not name its types, which torch asks for since
    2.6), and the optimizer of several CPU ranks (an older trainer loads it onto `cpu:0`, which
    torch does not know). Nothing that could be loaded before is loaded otherwise.
    """
    import numpy  # noqa: PLC0415  with torch: only where a training is
    import torch  # noqa: PLC0415

    _know_indexed_cpus()
    array = numpy.empty(0, numpy.uint32)
    kinds: list[Any] = [array.__reduce__()[0], numpy.ndarray, numpy.dtype, type(array.dtype)]
    # Those that a script has named itself stay named behind this.
    known = torch.serialization.get_safe_globals()
    with torch.serialization.safe_globals([kind for kind in kinds if kind not in known]):
        yield


@functools.cache
def _know_indexed_cpus() -> None:
    """Once a process: torch sorts what is registered, and two of one priority end in an error."""
    import torch  # noqa: PLC0415

    def restored(storage: Any, location: str) -> Any:
        return storage if re.fullmatch(r"cpu:\d+", location) else None

    # Behind all of torch's own: asked when none of them knows the place.
    torch.serialization.register_package(_BEHIND_TORCHS_OWN, lambda _storage: None, restored)
