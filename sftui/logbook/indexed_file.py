"""A file that is indexed in a thread, as far as it goes by then, and on when it has grown."""

from __future__ import annotations

import threading


class Indexed:
    """The thread of it: one at a time, started by `follow`, stopped by `close`."""

    thread_name: str

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def follow(self) -> None:
        """Index what is new in the file, in a thread."""
        if not self.busy and not self._stop.is_set() and self._is_behind():
            self._thread = threading.Thread(target=self._index, name=self.thread_name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def join(self) -> None:
        """Wait until it is done, for tests and benchmarks."""
        if self._thread is not None:
            self._thread.join()

    def _is_behind(self) -> bool:
        """Whether the file holds what is not indexed."""
        raise NotImplementedError

    def _index(self) -> None:
        """Go on until nothing is new or `_stop` is set; in the thread."""
        raise NotImplementedError
