"""Processes that turn rows into tokens ahead of the training.

Started afresh and not forked: a rank has threads and a GPU by then. They end with the rank,
however it ends, and leave signals to it.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

_render: Callable[[int], Any] | None = None
"""In a process of the pool: what makes a row."""


class RenderPool:
    """Calls `render(index)` for lists of rows elsewhere; `render` must be picklable."""

    def __init__(self, render: Callable[[int], Any], workers: int) -> None:
        self._executor = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(render,),
        )

    def submit(self, indices: Sequence[int]) -> Future[list[Any]]:
        """A list with the rows in order; an error of one of them is the whole answer's.

        Raises:
            BrokenExecutor: a process has ended.
        """
        return self._executor.submit(_rows, list(indices))

    def close(self) -> None:
        """End the processes; what was not begun is not done. Nothing waits."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _begin(render: Callable[[int], Any]) -> None:
    global _render
    _render = render
    # Ctrl-C and a stop concern the rank, which may need more rows until its next boundary.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-rank", daemon=True).start()


def _end_with_parent() -> None:
    """A rank that is killed says nothing to its pool, whose processes would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
    os._exit(0)


def _rows(indices: list[int]) -> list[Any]:
    assert _render is not None
    return [_render(index) for index in indices]
