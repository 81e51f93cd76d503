"""Signals of a process that trains with its owner's trainer: stop with a checkpoint, not at once.

Only handlers that nobody has changed are taken. SIGTERM and the first Ctrl-C ask all ranks to
stop at one step; a second Ctrl-C is Python's own. SIGHUP, which a closed terminal sends, is
ignored, and what the script prints from then on goes to a file of the run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from engine.run.run_dir import RunDir

INSISTING_SECONDS = 1.0
"""A terminal's Ctrl-C reaches a rank twice under torchrun: from the terminal and from its agent.
Only one that comes later is a person who insists."""


class StopSignals:
    """Handlers that stand from `install` to `remove`.

    Args:
        stop: sets a flag that the ranks combine at the next boundary.
        output: folder for what is printed once the terminal is gone.
    """

    def __init__(self, run: RunDir, rank: int, stop: Callable[[], None]) -> None:
        self._output = run.rank_log(1, rank)
        self._stop = stop
        self._before: dict[int, Any] = {}
        self._interrupted: float | None = None

    def install(self) -> None:
        """Take the handlers that are still the default; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, default, handler in (
            (signal.SIGTERM, signal.SIG_DFL, self._on_terminate),
            (signal.SIGINT, signal.default_int_handler, self._on_interrupt),
            (signal.SIGHUP, signal.SIG_DFL, self._on_hangup),
        ):
            if signal.getsignal(number) is default:
                self._before[number] = default
                signal.signal(number, handler)

    def remove(self) -> None:
        """Give them back, for what the script does after training."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, before in self._before.items():
            # After a hang-up there is no terminal left to die with.
            if number != signal.SIGHUP:
                signal.signal(number, before)
        self._before.clear()

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        self._stop()

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._interrupted is None:
            self._interrupted = now
            self._stop()
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(
                    "sftui: stopping at the next step, with a checkpoint; Ctrl-C again stops now\n"
                )
        elif now - self._interrupted > INSISTING_SECONDS:
            raise KeyboardInterrupt

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        """The terminal is gone: writing to it would fail, so point it at a file."""
        with contextlib.suppress(OSError):
            self._output.mkdir(parents=True, exist_ok=True)
            for stream, name in ((1, "stdout.log"), (2, "stderr.log")):
                if _is_terminal(stream):
                    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                    file = os.open(self._output / name, flags, 0o600)
                    os.dup2(file, stream)
                    os.close(file)


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
