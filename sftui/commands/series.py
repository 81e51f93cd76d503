"""`sftui show --series NAME`: the points of any number of a run or log, as CSV or JSON."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from typing import Any

from engine.errors import UsageError
from sftui.report.series_table import Column, table
from sftui.run_json import SCHEMA, strict
from sftui.state.catalog import Catalog, Entry
from sftui.state.run_state import RunState
from sftui.text.clean import clean

_MOST_NAMED = 12
"""Names in the message that there is no such series."""


def chosen(state: RunState, pattern: str) -> list[Entry]:
    """The series of that name, or all that match where it has `*` or `?`.

    Raises:
        UsageError: there is none.
    """
    entries = list(Catalog(state).entries())
    low = pattern.lower()
    # By its own name first: a log may call a number anything.
    found = [entry for entry in entries if entry.name == pattern]
    found = found or [entry for entry in entries if fnmatch.fnmatch(entry.name.lower(), low)]
    if found:
        return found
    names = [clean(entry.name, 60) for entry in entries]
    near = [name for name in names if low.strip("*") in name.lower()] or names
    more = f" and {len(near) - _MOST_NAMED} more" if len(near) > _MOST_NAMED else ""
    there = ", ".join(near[:_MOST_NAMED]) + more if near else "none at all"
    raise UsageError(
        f"there is no series {clean(pattern, 60)!r}; there are: {there}. "
        "--series '*' prints all of them."
    )


def as_csv(entries: Sequence[Entry]) -> str:
    """A row a step with a column a series, empty where it has no value; each standard error beside
    its series. Numbers of ranks go by the clock and have a table of their own below."""
    tables = [[e for e in entries if not e.over_time], [e for e in entries if e.over_time]]
    texts = [
        _table(name, table) for name, table in zip(("step", "time"), tables, strict=True) if table
    ]
    return "\n".join(texts)


def _table(place: str, entries: Sequence[Entry]) -> str:
    columns: list[Column] = []
    for entry in entries:
        columns.append((entry.name, entry.series.x, entry.series.y))
        if entry.error is not None:
            columns.append((f"{entry.name} s.e.", entry.error.x, entry.error.y))
    return table(place, columns)


def as_json(entries: Sequence[Entry]) -> str:
    """The same as one object; null for what is no finite number."""
    return strict(
        {
            "schema": SCHEMA,
            "series": [
                {
                    "name": entry.name,
                    "kind": entry.kind,
                    "x": "time" if entry.over_time else "step",
                    "points": _points(entry.series.x, entry.series.y),
                }
                | ({"error": _points(entry.error.x, entry.error.y)} if entry.error else {})
                for entry in entries
            ],
        }
    )


def _points(x: Any, y: Any) -> list[list[Any]]:
    """Pairs of place and value, the value as short as it is exact."""
    return [
        [int(at) if at == int(at) else at, float(str(value)) if math.isfinite(value) else None]
        for at, value in zip(x.tolist(), y, strict=True)
    ]
