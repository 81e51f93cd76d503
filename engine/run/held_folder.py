"""A run's folder as a process has it open, whatever its name stands for by now.

A path is looked up anew at every use: where a folder is moved away under a living run and another
takes its name, the next file that is written by path lies in that other run. So whoever writes
into a run for hours holds its folder open and compares.
"""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from pathlib import Path


class HeldFolder:
    """The identity of a folder, taken when it was opened; held until `close` or its own end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.close = weakref.finalize(self, os.close, self._descriptor)

    def in_place(self) -> bool:
        """Whether the path is still this folder; two stat calls, 5 us."""
        return is_open_as(self.path, self._descriptor)

    def where(self) -> Path | None:
        """Where the folder is now; None when it is deleted, or the system does not tell."""
        if self.in_place():
            return self.path
        with contextlib.suppress(OSError):
            there = Path(f"/proc/self/fd/{self._descriptor}").readlink()
            if is_open_as(there, self._descriptor):
                return there
        return None

    def fate(self) -> str:
        """What became of the folder, in words; empty while it is in its place."""
        there = self.where()
        if there == self.path:
            return ""
        if there is None:
            return f"the run's folder {self.path} was deleted under it"
        return f"the run's folder {self.path} was moved to {there} under it"

    def refuse_moved(self) -> None:
        """Refuse to write a file by path once the path is not this folder any more.

        Raises:
            OSError: saying what became of it.
        """
        if fate := self.fate():
            raise OSError(errno.ENOENT, fate)


def is_open_as(path: Path, descriptor: int) -> bool:
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
