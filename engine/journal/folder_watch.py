"""Whether a run's folder and its event log are still those that rank 0 opened.

An open file goes on existing for whoever holds it, so a rank would train to its end into a folder
that was deleted, moved or replaced, and nobody would see a step of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from engine.errors import WireError
from engine.events import Stamp
from engine.files import checked
from engine.journal import wire
from engine.journal.event_files import last_stamp
from engine.run.held_folder import HeldFolder, is_open_as
from engine.run.run_dir import RunDir

LOOK_SECONDS = 1.0
"""Between two looks: two stat calls, 5 us."""

LOOKS_BEFORE_LOST = 2
"""In a row: a folder that is being renamed for an instant is not gone."""

_BLOCK_BYTES = 1024 * 1024


class FolderWatch:
    """Whether a run's folder is lost: not in its place for longer than a rename takes."""

    def __init__(self, run: RunDir) -> None:
        self._held = HeldFolder(run.path)
        self._missed = 0

    def close(self) -> None:
        self._held.close()

    def in_place(self) -> bool:
        """Whether it is in its place at this moment: what is written by path lies in it."""
        return self._held.in_place()

    def lost(self) -> str:
        """What became of the folder, in words; empty while it is in its place."""
        if self._held.in_place():
            self._missed = 0
            return ""
        self._missed += 1
        if self._missed < LOOKS_BEFORE_LOST:
            return ""
        there, fate = self._held.where(), self._held.fate()
        if not fate:
            return ""
        words = f"{fate} (rank 0 is pid {os.getpid()})"
        if there is None:
            return words
        return (
            f"{words}; what was trained since its newest checkpoint is lost, go on from that with "
            f"`sftui run --resume {there}`"
        )


def log_was_replaced(path: Path, descriptor: int) -> bool:
    """Whether the name of an event log stands for another file than the open one, or for none."""
    return not is_open_as(path, descriptor)


def no_copy(path: Path, old: int) -> str:
    """What has the name of the event log and is no copy of it, in words; empty for a copy or none.

    A person's editor leaves a file with the lines of the log, or their beginning. The run goes on
    in that one; what else stands there is another's, and is not written to.
    """
    try:
        if kind := checked.kind_of(os.lstat(path).st_mode):
            return kind
        os.close(checked.open_descriptor(path, os.O_RDWR | os.O_APPEND))
    except FileNotFoundError:
        return ""
    except PermissionError:
        return "a file that may not be written"
    last = last_stamp(path)
    if last is None or any(stamp == last for stamp, _ in _lines_of(old, f'"seq":{last.seq}')):
        return ""
    return "the log of another run"


def lines_to_write_again(old: int, last_seq: int) -> Iterator[bytes]:
    """Lines of the event log that is still open as `old`, from behind `last_seq` on.

    They are what a copy lacks that an editor made before they were written; 0 gives all.
    """
    return (line for stamp, line in _lines_of(old) if stamp.seq > last_seq)


def _lines_of(log: int, needle: str = "") -> Iterator[tuple[Stamp, bytes]]:
    """Events of the open log, as stamp and line; those without the needle are not even decoded."""
    wanted = needle.encode()
    with open(os.dup(log), "rb") as file:  # noqa: PTH123  a descriptor, not a path
        file.seek(0)
        for line in iter(lambda: file.readline(_BLOCK_BYTES), b""):
            if wanted in line:
                with contextlib.suppress(WireError):
                    yield wire.decode(line).stamp, line
