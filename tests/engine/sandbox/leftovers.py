"""Processes that a program in a sandbox left behind."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from engine.sandbox import bubblewrap

BEFORE: set[int] = set()
"""Children there were when the test began: helpers of Python's own, of tests before."""


def note_children() -> None:
    """Called before each test."""
    BEFORE.clear()
    BEFORE.update(child.pid for child in psutil.Process().children(recursive=True))


def left_behind() -> list[int]:
    """Processes that belong to a program this process started since the test began."""
    mark = f"{bubblewrap.STARTED_BY}={os.getpid()}\0".encode()
    children = psutil.Process().children(recursive=True)
    found = [child.pid for child in children if child.pid not in BEFORE]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes() + b"\0":
                found.append(int(folder.name))
        except OSError:
            continue
    return found
