"""What goes to stderr, and the exit codes.

stdout carries results only; everything else is one plain line on stderr that
starts with `sftui: `.
"""

from __future__ import annotations

import enum
import sys

from engine.errors import RunFailedError, SftuiError, UsageError


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


def note(text: str) -> None:
    """Say something that is no result."""
    print(f"sftui: {text}", file=sys.stderr, flush=True)  # noqa: T201
