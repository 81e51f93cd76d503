"""Numbers over updates as CSV: one text for `show --series`, and for a chart that is written."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sftui.text.clean import clean

Column = tuple[str, Any, Any]
"""Head, places, and a float32 for each."""


def table(place: str, columns: Sequence[Column]) -> str:
    """A row a place with a column for each number, empty where it has no value.

    Args:
        place: head of the first column.
        columns: at least one; places rise.
    """
    x = np.unique(np.concatenate([column[1] for column in columns]))
    cells = []
    for _, own, values in columns:
        column = np.full(len(x), "", dtype=object)
        column[np.searchsorted(x, own)] = [_number(value) for value in values]
        cells.append(column)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([place, *(_head(name) for name, _, _ in columns)])
    writer.writerows(zip([_place(at) for at in x.tolist()], *cells, strict=True))
    return out.getvalue()


def _head(name: str) -> str:
    """A name as the head of a column, which no spreadsheet takes for a formula to compute."""
    cleaned = clean(name, 200)
    return f"'{cleaned}" if cleaned.lstrip()[:1] in ("=", "+", "-", "@") else cleaned


def _place(at: float) -> str:
    return str(int(at)) if at == int(at) else repr(at)


def _number(value: Any) -> str:
    """A float32 in as few digits as give it back; nothing for what was not measured."""
    return "" if math.isnan(value) else str(value)
