"""The file of a validation's losses, row by row, and the error of a difference that they give.

The same rows are measured every time, and most of their scatter is shared: the error of
a change is that of the row-wise differences, about a tenth of what two means suggest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import DataError
from engine.files import npz, written


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLosses:
    """One validation, row by row."""

    losses: npt.NDArray[np.float64]
    """Mean of each row in nats a token; NaN without a supervised token."""
    rows: npt.NDArray[np.int64]
    """Index of each row in the validation rows."""
    weights: npt.NDArray[np.float64] | None = None
    """Each row's part in the validation loss, in sum 1; None in files of earlier versions."""
    digests: npt.NDArray[np.uint64] | None = None
    """Of each row's tokens and mask: the same row of another run has the same; None as above."""


def save_rows(path: Path, found: RowLosses) -> None:
    """Write the file; whole or not at all."""
    # Of a run whose folder was deleted nothing is made anew.
    path.parent.mkdir(exist_ok=True)
    # A link may have been put there while the run trains.
    written.refuse_linked(path.parent)
    with written.replacing(path, sync=True) as fresh, fresh.open("wb") as file:
        columns: dict[str, Any] = {"losses": found.losses, "rows": found.rows}
        if found.weights is not None:
            columns["weights"] = found.weights
        if found.digests is not None:
            columns["digests"] = found.digests
        np.savez_compressed(file, **columns)


def load_rows(path: Path) -> RowLosses:
    """Read a file of `save_rows`.

    Raises:
        DataError: the file is missing, damaged or of another kind.
    """
    try:
        with npz.opened(path) as found:
            losses, rows = np.asarray(found["losses"], np.float64), np.asarray(found["rows"])
            if losses.ndim != 1 or rows.shape != losses.shape:
                raise ValueError(f"{losses.shape} losses of {rows.shape} rows")
            return RowLosses(
                losses=losses,
                rows=rows.astype(np.int64),
                weights=_column(found, "weights", np.float64, losses.shape),
                digests=_column(found, "digests", np.uint64, losses.shape),
            )
    except OSError as error:
        reason = error.strerror or "not an npz file"
        raise DataError(f"{path}: cannot be read as validation rows ({reason}).") from None
    except npz.DAMAGED as error:
        raise DataError(f"{path}: not a file of validation rows ({error}).") from None


def _column(found: Any, name: str, dtype: Any, shape: tuple[int, ...]) -> Any:
    """A column that earlier versions did not write; None without it."""
    if name not in found.files:
        return None
    column = np.asarray(found[name], dtype)
    if column.shape != shape:
        raise ValueError(f"{column.shape} {name} of {shape} rows")
    return column


def paired_error(now: RowLosses, before: RowLosses) -> float | None:
    """Standard error, in nats, of the mean row-wise difference; None without common rows.

    Rows without a finite loss on either side are left out.
    """
    if not np.array_equal(now.rows, before.rows):
        return None
    change = now.losses - before.losses
    change = change[np.isfinite(change)]
    if len(change) < 2:
        return None
    return float(change.std(ddof=1) / np.sqrt(len(change)))
