"""How much of a core a CPU second is now: less than one where another thread of it is busy."""

from __future__ import annotations

import time

SECONDS_AN_ADDITION = 36e-9
"""Of a loop of Python on a core of its own: the machine that limits in seconds are for."""
ADDITIONS = 50_000


def slowness() -> float:
    """How many CPU seconds one of a core of its own is now: 2 where another thread of the core is
    busy, as beside a second program of the kind; 1 at least.

    Of an idle moment: a child that runs beside would count as such a thread.
    """
    taken = sorted(adding() for _ in range(5))
    return max(1.0, taken[2] / (ADDITIONS * SECONDS_AN_ADDITION))


def adding() -> float:
    """CPU seconds of a plain loop."""
    begin, total = time.thread_time(), 0
    for number in range(ADDITIONS):
        total += number
    return time.thread_time() - begin
