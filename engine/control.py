"""Requests to a running run: their commands and fields.

A request names a wanted state, not a toggle: `pause` twice is one pause. Each
request gets exactly one `ControlApplied` with the same id. Requests are lines
of `control.jsonl`; any number of screens and scripts may append.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

NOTICES = frozenset({"SIGTERM", "SIGINT"})
"""Authors of stops that a machine asked for. It tells every process of a job at once, so a
second one is the same request, not a person who insists."""


class Command(enum.Enum):
    """What a request asks for; the value is its word on the wire and on the command line."""

    PAUSE = "pause"
    RESUME = "resume"
    EVALUATE = "eval"
    CHECKPOINT = "checkpoint"
    STOP = "stop"
    LR_FACTOR = "lr"
    CANCEL = "cancel"
    """Give up the evaluation that runs; training goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One line of `control.jsonl`."""

    id: str
    command: Command
    argument: float | None = None
    """The factor of `lr`; None otherwise."""
    author: str = ""
    """Who asked: `screen`, `ctl`, `signal`, ..."""
    t: float = 0.0
    """Wall clock when asked."""
    attempt: int | None = None
    """Attempt the author was looking at; a request to an older attempt is rejected."""
    expires: float | None = None
    """Wall clock after which it must not be applied any more."""
