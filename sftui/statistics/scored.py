"""The accuracy that an evaluation says, from its counts where it has them."""

from __future__ import annotations

import math
from typing import Protocol


class Scored(Protocol):
    """What an evaluation says; `EvalFinished` is one."""

    @property
    def correct(self) -> int | None: ...

    @property
    def total(self) -> int | None: ...

    @property
    def accuracy(self) -> float | None: ...


def accuracy_of(result: Scored) -> float | None:
    """A fraction in [0, 1] from the counts, else as it was logged; None when unknown."""
    if result.correct is not None and result.total:
        return min(1.0, max(0.0, result.correct / result.total))
    if result.accuracy is None or not math.isfinite(result.accuracy):
        return None
    return min(1.0, max(0.0, result.accuracy))
