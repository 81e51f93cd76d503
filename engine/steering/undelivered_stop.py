"""A stop while no rank runs: the machines have not joined yet, or it is between two attempts.

Rank 0 reads the inbox, and only between two steps. A supervisor that waits for another
machine may wait for half an hour; a request to stop must end that wait.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

import psutil

from engine.control import Command, Request
from engine.polling import PollingThread
from engine.run.run_dir import RunDir
from engine.steering.inbox import Inbox

POLL_SECONDS = 0.5

POLLS_WITHOUT_A_RANK = 3
"""In a row, before a stop counts as undelivered: a healthy run between two attempts has fewer."""

SIGNAL = signal.SIGUSR1
"""Interrupts the main thread, which waits in elastic's rendezvous."""


class StopListener(PollingThread):
    """Polls the inbox while the `with` block lasts; sends this process `SIGNAL` once.

    Args:
        has_end: whether the run has its end, so that a stop has nothing to do.
        history_bytes: as for `Inbox`.
    """

    def __init__(
        self, run_dir: RunDir, has_end: Callable[[], bool], *, history_bytes: int = 0
    ) -> None:
        super().__init__("undelivered-stop", POLL_SECONDS)
        self.request: Request | None = None
        """The stop, once the signal was sent."""
        # Attempt 0: a stop meant for ranks that have died since is meant for their successors.
        self._inbox = Inbox(run_dir, 0, history_bytes=history_bytes)
        self._has_end = has_end
        self._found: Request | None = None
        self._alone = 0

    def poll(self) -> bool:
        for request in self._inbox.read().requests:
            if request.command is Command.STOP:
                self._found = self._found or request
        self._alone = 0 if _a_rank_lives() else self._alone + 1
        undelivered = self._found is not None and self._alone >= POLLS_WITHOUT_A_RANK
        if undelivered and not self._has_end():
            self.request = self._found
            os.kill(os.getpid(), SIGNAL)
            return False
        return True


def _a_rank_lives() -> bool:
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if child.status() != psutil.STATUS_ZOMBIE:
                    return True
    return False
