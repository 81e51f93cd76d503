"""Python's search for reference cycles, put off while a process starts.

Importing torch and transformers makes a million objects that all stay. Looking through them
again and again costs a third of a rank's start (2.4 of 6.8 CPU seconds before a small model).
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from engine.data.collector import collector_paused


@contextlib.contextmanager
def put_off(*, collect: bool) -> Iterator[None]:
    """No search inside; what lives at the end is never searched again.

    `collect`: search once at the end, since what is garbage by then would stay for good. It is
    where models are made: transformers' hold cycles, and one that is dropped keeps its weights
    until it is found. Costs 0.4 s behind those imports.
    """
    with collector_paused():
        yield
        if collect:
            gc.collect()
        gc.freeze()
