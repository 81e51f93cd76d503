"""The end of a screen that was told to end and cannot.

Light on purpose: it is imported before the first frame.
"""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import threading
from collections.abc import Callable

GIVE_UP_SECONDS = 5.0
"""From a signal to the end of the screen, before the process ends without another word."""

_RESTORED = b"\x1b[?1049l\x1b[?25h\x1b[?1000;1002;1003;1004;1006;2004l\x1b[<u\x1b[0m"
"""The shell's screen, the cursor, no mouse, no pastes in brackets, plain keys, no colour."""


class WayOut:
    """Sees to it that a screen which was told to end does end.

    A terminal that nobody reads (a stopped multiplexer, a frozen connection) takes no more bytes,
    and the screen's threads then wait in a write that no signal cuts short; a handler may wait as
    long for a disk. Without this only SIGKILL ended such a process. A thread, because the main
    one is among those that wait.

    Args:
        told: set by the handler of the signal.
        code: the exit code, where nothing else helps.
    """

    def __init__(self, told: threading.Event, code: Callable[[], int]) -> None:
        self._told = told
        self._code = code
        self._over = threading.Event()
        self._terminal = _terminal()
        self._modes = None if self._terminal is None else termios.tcgetattr(self._terminal)
        threading.Thread(target=self._watch, name="way-out", daemon=True).start()

    def close(self) -> None:
        """The screen has ended."""
        self._over.set()
        self._told.set()

    def _watch(self) -> None:
        self._told.wait()
        if not self._over.wait(GIVE_UP_SECONDS):
            self._restore()
            os._exit(self._code())

    def _restore(self) -> None:
        """Leave the screen's modes, and its bytes if the terminal takes them."""
        if self._terminal is None or self._modes is None:
            return
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(self._terminal, termios.TCSANOW, self._modes)
            # Opened anew: not to wait is a property of what is open, and the shell shares ours.
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            os.write(os.open(os.ttyname(self._terminal), flags), _RESTORED)


def _terminal() -> int | None:
    """Descriptor of the terminal that the screen is drawn on; None without one."""
    for stream in (sys.__stderr__, sys.__stdout__):
        with contextlib.suppress(OSError, ValueError):
            if stream is not None and os.isatty(stream.fileno()):
                return stream.fileno()
    return None
