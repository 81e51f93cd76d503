"""What goes to stderr, and the exit codes.

stdout carries results only; everything else is one plain line on stderr that
starts with `sftui: `.
"""

from __future__ import annotations

import codecs
import enum
import io
import sys
import unicodedata

from engine.errors import RunFailedError, SftuiError, UsageError

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


class ExitCode(enum.IntEnum):
    """The four ways a command ends."""

    DONE = 0
    RUN_FAILED = 1
    USAGE = 2
    INTERRUPTED = 130


def report(error: SftuiError) -> ExitCode:
    """Print an error of ours as one line; the exit code that goes with it."""
    text = " ".join(str(error).split())
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
    print(f"sftui: {text}", file=sys.stderr, flush=True)  # noqa: T201
