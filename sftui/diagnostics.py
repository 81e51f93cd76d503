"""What goes to stderr, and the exit codes.

stdout carries results only; everything else is one plain line on stderr that
starts with `sftui: `. A message may quote a file's name or what stands in a file, so each is
cleaned here, at the door.
"""

from __future__ import annotations

import codecs
import enum
import io
import signal
import sys
import unicodedata

from engine.errors import RunFailedError, SftuiError, UsageError
from sftui.text.clean import clean

_NEAREST = {
    "●": "*",
    "✓": "v",
    "✗": "x",
    "◆": "#",
    "▾": "v",
    "▲": "^",
    "▼": "v",
    "▶": ">",
    "■": "#",
    "↻": "@",
    "“": '"',
    "”": '"',
    "·": ".",
    "→": "->",
    "×": "x",
    "–": "-",
    "±": "+-",
    "│": "|",
    "─": "-",
}
"""Our own marks where the terminal's encoding has none of them."""


_MOST_CHARACTERS = 4000


class ExitCode(enum.IntEnum):
    """The ways a command ends. From 128 on, as shells have it, 128 and the number of the signal
    that ended the screen: those of signals without a name here are made when they are met."""

    DONE = 0
    RUN_FAILED = 1
    USAGE = 2
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143

    @classmethod
    def _missing_(cls, value: object) -> ExitCode | None:
        if not isinstance(value, int) or not 128 < value < 128 + signal.NSIG:
            return None
        made = int.__new__(cls, value)
        made._name_, made._value_ = f"SIGNAL_{value - 128}", value
        return made


def report(error: SftuiError) -> ExitCode:
    """Print an error of ours as one line; the exit code that goes with it."""
    text = clean(" ".join(str(error).split()), _MOST_CHARACTERS)
    print(f"sftui: error: {text}", file=sys.stderr)  # noqa: T201  stderr is this module's job
    if isinstance(error, UsageError):
        return ExitCode.USAGE
    if isinstance(error, RunFailedError):
        return ExitCode.RUN_FAILED
    return ExitCode.USAGE


def print_in_any_encoding() -> None:
    """Make stdout and stderr write what their encoding lacks as its nearest ASCII.

    A locale of C or Latin-1 has no tick and no braille: that must not end a command.
    """
    codecs.register_error("sftui-nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="sftui-nearest")


def _nearest(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_NEAREST.get(c) or _ascii(c) for c in lacking), error.end


def _ascii(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain if plain.isprintable() and plain else "?"


def note(text: str) -> None:
    """Say something that is no result."""
    text = clean(text, _MOST_CHARACTERS)
    print(f"sftui: {text}", file=sys.stderr, flush=True)  # noqa: T201
