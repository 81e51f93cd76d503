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
from engine.journal import wire
from engine.run.run_dir import RunDir

LOOK_SECONDS = 1.0
"""Between two looks: two stat calls, 5 us."""

LOOKS_BEFORE_LOST = 2
"""In a row: a folder that is being renamed for an instant is not gone."""

_BLOCK_BYTES = 1024 * 1024


class FolderWatch:
    """The identity of a run's folder, taken when it was opened."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        # Held open: it tells where the folder went. Closed by the end of the process.
        self._folder = os.open(run.path, os.O_RDONLY | os.O_DIRECTORY)
        self._missed = 0

    def close(self) -> None:
        os.close(self._folder)

    def lost(self) -> str:
        """What became of the folder, in words; empty while it is in its place."""
        if _same(self._run.path, self._folder):
            self._missed = 0
            return ""
        self._missed += 1
        if self._missed < LOOKS_BEFORE_LOST:
            return ""
        there = self._where()
        if there is None:
            return f"its folder {self._run.path} was deleted under it (rank 0 is pid {os.getpid()})"
        return (
            f"its folder was moved to {there} under it (rank 0 is pid {os.getpid()}); "
            f"go on with `sftui run --resume {there}`"
        )

    def _where(self) -> Path | None:
        """Where the folder is now; None when it is deleted, or the system does not tell."""
        with contextlib.suppress(OSError):
            there = Path(f"/proc/self/fd/{self._folder}").readlink()
            if _same(there, self._folder):
                return there
        return None


def log_was_replaced(path: Path, descriptor: int) -> bool:
    """Whether the name of an event log stands for another file than the open one, or for none."""
    return not _same(path, descriptor)


def lines_to_write_again(old: int, last_seq: int) -> Iterator[bytes]:
    """Lines of the event log that is still open as `old`, from behind `last_seq` on.

    They are what a copy lacks that an editor made before they were written; 0 gives all.
    """
    with open(os.dup(old), "rb") as file:  # noqa: PTH123  a descriptor, not a path
        file.seek(0)
        for line in iter(lambda: file.readline(_BLOCK_BYTES), b""):
            try:
                stamp = wire.decode(line).stamp
            except WireError:
                continue
            if stamp.seq > last_seq:
                yield line


def _same(path: Path, descriptor: int) -> bool:
    """Whether `path` is what the descriptor has open; True where it cannot be told.

    A network disk that does not answer for a while is no deleted folder.
    """
    mine = os.fstat(descriptor)
    try:
        there = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
