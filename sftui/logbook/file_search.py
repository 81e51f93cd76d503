"""A search through a file in a thread: newest first, in blocks, to be given up at any time."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Find = Callable[[int, int], Iterator[tuple[int, list[int]]]]
"""Places with a match in [low, high), in blocks from the high end: how far down the search has
come, and the places of the block, rising."""

MOST_FOUND = 1_000_000
"""The search ends with so many matches."""


class FileSearch:
    """One query over one file that may grow."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._blocks: collections.deque[NDArray[Any]] = collections.deque()
        self._found: NDArray[Any] = np.empty(0, dtype=np.int64)
        self._older: NDArray[Any] = self._found  # of searches that are done
        self._count = 0
        self._low = self._high = self._until = 0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def high(self) -> int:
        """Searched up to there, or being searched."""
        return self._high

    @property
    def full(self) -> bool:
        """Whether it ended early, with enough."""
        return self._count >= MOST_FOUND

    @property
    def share(self) -> float:
        """Searched so far, 0 to 1."""
        span = self._high - self._low
        return (self._high - self._until) / span if span else 1.0

    @property
    def found(self) -> NDArray[Any]:
        """Places with a match so far, rising."""
        blocks = []
        while self._blocks:
            blocks.append(self._blocks.popleft())
        if blocks:
            now = self._found[len(self._older) :]
            self._found = np.concatenate((self._older, *reversed(blocks), now))
        return self._found

    def reach(self, high: int) -> None:
        """Search up to there; what was searched already is not searched again."""
        if self.busy or self._stop.is_set() or self.full or high <= self._high:
            return
        self._older = self.found
        self._low, self._high, self._until = self._high, high, high
        self._thread = threading.Thread(target=self._run, name="log search", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Stop at the next block."""
        self._stop.set()

    def join(self) -> None:
        """Wait until it is done, for tests and benchmarks."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        low, high = self._low, self._high
        try:
            for until, places in self._find(low, high):
                if self._stop.is_set() or self.full:
                    break
                if places:
                    self._blocks.append(np.asarray(places, dtype=np.int64))
                    self._count += len(places)
                self._until = until
        except OSError:
            pass  # the file is gone: what was found stays
        self._until = low
