"""Checkpoints that Hugging Face's Trainer writes: how large, whole or torn, which is newest.

The trainer writes into `checkpoint-N` itself, so one that was killed meanwhile leaves a folder
that looks like a checkpoint. Going on from it would fail, or silently begin with a new
optimizer, so a restart takes the newest one that is whole.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
from pathlib import Path

_NAME = re.compile(r"checkpoint-(\d+)$")
STATE = "trainer_state.json"
_MOST_HEADER_BYTES = 512 * 1024 * 1024


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
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if int(state["global_step"]) != step:
            return f"{STATE} is of step {state['global_step']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
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
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name[:2] != "__"]
            return bool(size == 8 + length + max(ends, default=0))
    except (OSError, ValueError, KeyError, TypeError, struct.error):
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
