"""A thread that looks at something again and again while a `with` block lasts."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self


class PollingThread:
    """Calls `poll` in a thread of its own, from entering a `with` block until it is left.

    Args:
        name: of the thread.
        seconds: between two calls.
        at_once: whether the first call comes at the start, not after `seconds`.
        patience_seconds: how long leaving waits for a call under way; None for ever.
    """

    def __init__(
        self,
        name: str,
        seconds: float,
        *,
        at_once: bool = False,
        patience_seconds: float | None = None,
    ) -> None:
        self._seconds = seconds
        self._at_once = at_once
        self._patience_seconds = patience_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def poll(self) -> bool:
        """Look once; whether to go on. Derived classes say at what."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(self._patience_seconds)

    def _run(self) -> None:
        if self._at_once and not self.poll():
            return
        while not self._stop.wait(self._seconds):
            if not self.poll():
                return
