"""Take leave of dead children that nobody waits for: the duty of process 1 of a container.

When the supervisor dies its ranks become process 1's children, and so does whatever
a library left behind. Left alone they stay in the process table for ever. Children
that somebody here waits for are not ours to take: they are gone long before they have
been seen dead twice.
"""

from __future__ import annotations

import contextlib
import os
import threading

import psutil

LOOK_SECONDS = 2.0
"""Between two looks; who waits for a child of its own does so many times a second."""


def start_if_first(look_seconds: float = LOOK_SECONDS) -> threading.Thread | None:
    """Reap in a thread if this is process 1; the thread, or None anywhere else."""
    if os.getpid() != 1:
        return None
    thread = threading.Thread(target=_reap, args=(look_seconds,), name="reaper", daemon=True)
    thread.start()
    return thread


def _reap(look_seconds: float) -> None:
    seen: set[int] = set()
    pause = threading.Event()
    while not pause.wait(look_seconds):
        dead = _dead_children()
        for pid in dead & seen:
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)
        seen = dead


def _dead_children() -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if child.status() == psutil.STATUS_ZOMBIE:
                    found.add(child.pid)
    return found
