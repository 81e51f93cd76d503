"""Reap orphaned children when we are process 1, as in a container without an init.

When the supervisor dies its ranks become children of process 1, and so does whatever a
library left behind. Unless process 1 waits for them they stay zombies for ever. Children
that other code of this process waits for are left alone: that code has taken them long
before they were found dead twice.
"""

from __future__ import annotations

import contextlib
import os
import threading

import psutil

POLL_SECONDS = 2.0
"""Time between two checks; code that waits for a child of its own does so far more often."""


def start_if_first(poll_seconds: float = POLL_SECONDS) -> threading.Thread | None:
    """Start a thread that reaps when this is process 1; returns it, or None anywhere else."""
    if os.getpid() != 1:
        return None
    thread = threading.Thread(target=_reap, args=(poll_seconds,), name="reaper", daemon=True)
    thread.start()
    return thread


def _reap(poll_seconds: float) -> None:
    seen: set[int] = set()
    pause = threading.Event()
    while not pause.wait(poll_seconds):
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
