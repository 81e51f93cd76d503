"""Validation losses by source of rows: over-fitting, or a shift of the mixture?

A model that over-fits gets worse on every kind of row. One that is trained on another
mixture than it is validated on gets worse on some kinds and better on others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MOVED_SHARE = 0.02
"""A smaller relative change of a source's loss counts as none: thirty rows whose losses move by
0.05 nats each are known to 0.01, near one percent."""

Meaning = Literal["over-fitting", "shift", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMoves:
    """Sources whose loss rose, and those whose loss fell, the largest change first."""

    rose: tuple[str, ...]
    fell: tuple[str, ...]
    sources: int
    """How many were compared."""
    none_fell: bool = False
    """Not one of them is lower than before, be it by ever so little."""

    @property
    def meaning(self) -> Meaning:
        """What a rise of the whole validation loss comes from; unknown with one source."""
        if self.sources < 2 or not self.rose:
            return "unknown"
        if self.fell:
            return "shift"
        return "over-fitting" if self.none_fell else "unknown"


def source_moves(before: Mapping[str, float], now: Mapping[str, float]) -> SourceMoves:
    """Compare the sources that both validations have, by their relative change."""
    changes = {
        name: (now[name] - before[name]) / abs(before[name])
        for name in before
        if name in now and before[name] and math.isfinite(before[name] + now[name])
    }
    order = sorted(changes, key=lambda name: (-abs(changes[name]), name))
    return SourceMoves(
        rose=tuple(name for name in order if changes[name] > MOVED_SHARE),
        fell=tuple(name for name in order if changes[name] < -MOVED_SHARE),
        sources=len(changes),
        none_fell=all(change > 0 for change in changes.values()),
    )


def listed(names: tuple[str, ...], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    shown = ", ".join(names[:most])
    more = len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown
