"""Validation losses row by row: is a change real, or the noise of the rows?

A validation always asks the same rows, so a change is judged by the differences of the
rows (`loss_stats.compare_losses`), whose error is a tenth of what two means suggest.
Without the file of a validation's rows nothing is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engine.errors import DataError
from engine.evaluation.validation_rows import load_rows
from engine.run import run_dir
from sftui.state.records import Validation
from sftui.statistics.accuracy import ALPHA, special_functions
from sftui.statistics.loss_statistics import LossDifference, compare_losses
from sftui.statistics.paired_tests import holm

START, PREVIOUS = "start", "prev"


@dataclass(frozen=True, slots=True, kw_only=True)
class LossChange:
    """A validation loss minus an earlier one, in nats."""

    change: float
    error: float | None
    """Standard error over rows; None where the rows are not known."""
    clear: bool
    """Beyond chance among all changes shown; never without rows."""


class LossBoard:
    """Computes the changes of a run, again only when a validation was added."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: the run directory that row files are named from; None for a log."""
        self._folder = folder
        self._rows: dict[str, tuple[NDArray[Any], list[str]]] = {}
        self._judged: tuple[object, Mapping[tuple[int, str], LossChange]] | None = None

    def changes(self, validations: Sequence[Validation]) -> Mapping[tuple[int, str], LossChange]:
        """Change by step and by what it is against; `validations` in order of steps."""
        key = tuple(id(v) for v in validations)
        if self._judged is None or self._judged[0] != key:
            self._judged = key, self._judge(validations)
        return self._judged[1]

    def _judge(self, validations: Sequence[Validation]) -> Mapping[tuple[int, str], LossChange]:
        plain: dict[tuple[int, str], tuple[float, LossDifference | None]] = {}
        for i, now in enumerate(validations[1:], start=1):
            for against, before in ((START, validations[0]), (PREVIOUS, validations[i - 1])):
                paired = self._paired(now, before)
                plain[now.step, against] = (now.loss - before.loss, paired)
        known = [place for place, (_, paired) in plain.items() if paired is not None]
        ps = holm([_p(plain[place][1]) for place in known])
        adjusted = dict(zip(known, ps, strict=True))
        return {
            place: LossChange(
                change=change,
                error=paired.error if paired is not None else None,
                clear=adjusted.get(place, 1.0) < ALPHA,
            )
            for place, (change, paired) in plain.items()
        }

    def _paired(self, now: Validation, before: Validation) -> LossDifference | None:
        new, old = self._load(now), self._load(before)
        if new is None or old is None:
            return None
        found = compare_losses(new[0], old[0], ids_now=new[1], ids_before=old[1])
        return found if isinstance(found, LossDifference) else None

    def _load(self, validation: Validation) -> tuple[NDArray[Any], list[str]] | None:
        name = validation.rows_file
        if self._folder is None or name is None:
            return None
        if name not in self._rows:
            path = run_dir.named_file(self._folder, name)
            if path is None:
                return None
            try:
                found = load_rows(path)
            except DataError:
                return None
            self._rows[name] = (found.losses, [str(row) for row in found.rows.tolist()])
        return self._rows[name]


def _p(found: LossDifference | None) -> float:
    """Two-sided p that nothing changed."""
    if found is None or math.isnan(found.z):
        return 1.0
    return 2 * float(special_functions().stdtr(found.rows - 1, -abs(found.z)))
