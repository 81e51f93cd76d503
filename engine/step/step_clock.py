"""Time of a step on this rank alone, without the wait for the other ranks.

The time of a whole step is equal on all ranks, because each waits for the slowest. The
clock stops just before the one backward pass that talks to the others, so a slow disk,
a slow card or a busy core shows on the rank that has it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

FORWARD_SHARE = 0.4
"""Of a micro-step's work, what is done before its backward pass: a third of the layers' and all
of the loss's, whose gradient comes with it. Matters only where ranks have unequally many."""


class OwnClock:
    """Time from the begin of a step to its first wait, divided by the tokens done in it."""

    def __init__(self, device: torch.device) -> None:
        self._on_cuda = device.type == "cuda"
        self._begun = 0.0
        self._seconds = 0.0
        self._tokens = 0.0
        self._events: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
        if self._on_cuda:
            # The host only queues work: the card's own clock says when it was done.
            self._events = (
                torch.cuda.Event(enable_timing=True),
                torch.cuda.Event(enable_timing=True),
            )

    def begin(self) -> None:
        """The step begins; before its data is fetched."""
        self._tokens = 0.0
        self._begun = time.monotonic()
        if self._events is not None:
            self._events[0].record()

    def end(self, tokens: Sequence[int]) -> None:
        """All is done but the last micro-step's backward pass; `tokens` of each micro-step."""
        self._tokens = sum(tokens[:-1]) + FORWARD_SHARE * tokens[-1]
        self._seconds = time.monotonic() - self._begun
        if self._events is not None:
            self._events[1].record()

    def seconds_per_token(self) -> float | None:
        """The newest step's own time; None before one, or when this rank had no token in it.

        On CUDA call it after the step's numbers were read, or its value is of no step.
        """
        if not self._tokens:
            return None
        seconds = self._seconds
        if self._events is not None:
            if not self._events[1].query():
                return None
            seconds = self._events[0].elapsed_time(self._events[1]) / 1000
        return seconds / self._tokens
