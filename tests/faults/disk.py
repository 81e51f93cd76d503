"""A disk that fails at its n-th operation, under the real code: `with failing(3): save()`.

Counted are the calls that change a file or make it durable (opening for writing, write,
sync, rename, unlink, making and removing folders), from Python and, as one operation,
from the tensor writer, which does not go through Python's files.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

NAMES = ("write", "fsync", "rename", "replace", "unlink", "mkdir", "rmdir", "pwrite", "ftruncate")


class Disk:
    """Counts operations; `hit` once the n-th was reached."""

    def __init__(self, n: int, action: Callable[[], object] | None) -> None:
        self._n = n
        self._action = action
        self._count = 0
        self._lock = threading.Lock()
        self.hit = False

    def operation(self) -> None:
        with self._lock:
            self._count += 1
            now = self._count == self._n
        if now:
            self.hit = True
            if self._action is not None:
                self._action()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def failing(n: int, action: Callable[[], object] | None = None) -> Iterator[Disk]:
    """The n-th operation calls `action`, then fails with "No space left on device"."""
    disk = Disk(n, action)

    def before(call: Callable[..., object]) -> Callable[..., object]:
        def checked(*arguments: object, **options: object) -> object:
            disk.operation()
            return call(*arguments, **options)

        return checked

    opened = io.open

    def open_counted(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if set(mode) & set("wax+"):
            disk.operation()
        found = opened(file, mode, *arguments, **options)
        if set(mode) & set("wax+"):
            counted: Any = found
            counted.write = before(found.write)
        return found

    with contextlib.ExitStack() as patches:
        for name in NAMES:
            patches.enter_context(mock.patch.object(os, name, before(getattr(os, name))))
        patches.enter_context(mock.patch.object(builtins, "open", open_counted))
        patches.enter_context(mock.patch.object(io, "open", open_counted))
        yield disk
