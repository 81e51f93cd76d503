"""How many rows of each source stand in one epoch: a plan worked out of lengths alone.

`*TIMES` says how often a source's rows stand in an epoch (0.5: the first half of its shuffled
order, 1.5: all and half of them once more). `@WEIGHT` says in which proportion sources stand to
each other: the epoch is then as long as it can be with no row of theirs more often than its
TIMES. All numbers are exact fractions, so that every rank and every attempt gets the same plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from engine.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One source in an epoch."""

    name: str
    rows: int
    """That there are."""
    per_epoch: int
    """That stand in an epoch, repeated ones counted."""
    weight: Fraction | None = None

    def to_dict(self, total: int) -> dict[str, Any]:
        """For the run directory; `total`: rows of the whole epoch."""
        return {
            "source": self.name,
            "rows": self.rows,
            "rows_per_epoch": self.per_epoch,
            "share": round(self.per_epoch / total, 6) if total else 0.0,
            "weight": None if self.weight is None else float(self.weight),
        }


def rows_per_epoch(
    names: Sequence[str],
    lengths: Sequence[int],
    times: Sequence[Fraction],
    weights: Sequence[Fraction | None],
) -> list[int]:
    """Rows of each source in one epoch, at least one each.

    Raises:
        ConfigError: some sources have a weight and others have none.
    """
    most = [int(length * time) for length, time in zip(lengths, times, strict=True)]
    given = [weight for weight in weights if weight is not None]
    if not given:
        return [max(1, count) for count in most]
    if len(given) < len(weights):
        name = next(name for name, weight in zip(names, weights, strict=True) if weight is None)
        raise ConfigError(
            f"{name} has no weight and others have one; expected @WEIGHT behind every training "
            "source, or behind none."
        )
    # The source that runs out first sets the length; the others follow in proportion.
    unit = min(Fraction(max(1, count)) / weight for count, weight in zip(most, given, strict=True))
    return [max(1, int(unit * weight)) for weight in given]


def words(shares: Sequence[Share]) -> str:
    """The plan on one line; empty where every source stands in it once and whole."""
    if all(each.per_epoch == each.rows and each.weight is None for each in shares):
        return ""
    total = sum(each.per_epoch for each in shares)
    return ", ".join(f"{_taken(each)} ({each.per_epoch / total:.1%})" for each in shares)


def _taken(share: Share) -> str:
    """Rows of an epoch beside those there are; some are drawn again where there are too few."""
    how = "of" if share.per_epoch <= share.rows else "drawn from"
    return f"{share.name} {share.per_epoch:,} {how} {share.rows:,} rows"
