"""Ctrl-C before there is a screen.

Python raises KeyboardInterrupt wherever the program stands. While modules are imported that is
now and then a callback whose errors are printed and dropped (`_get_module_lock` of importlib has
one), or a place that makes a RuntimeError of it. So the signal is also noted: a screen that is
opened afterwards ends at once, and an error that came of it is no error of the program.
"""

from __future__ import annotations

import signal
from types import FrameType

_noted = False


def listen() -> None:
    """Note SIGINT from now on; nothing where it is ignored, or somebody else's."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Not in the main thread, as in tests: whoever is there gets the signals.
        try:
            signal.signal(signal.SIGINT, _note)
        except ValueError:
            return


def noted() -> bool:
    """Whether the person pressed Ctrl-C, and nobody has dealt with it."""
    return _noted


def forget() -> None:
    """It was dealt with, and the program goes on."""
    global _noted
    _noted = False


def _note(number: int, frame: FrameType | None) -> None:
    global _noted
    _noted = True
    raise KeyboardInterrupt
