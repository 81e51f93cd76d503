"""The columns that `RunState` keeps of updates, from single events and from batches alike.

They follow from the fields of `StepFinished`: a number that is added there is kept here. Both
ways end in float32 under the same names, the learning rate of a group as `lr/<group>`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from engine import events as ev
from engine.events import (
    STEP_MAPPINGS,
    STEP_NUMBERS,
    StepBatch,
    StepFinished,
    is_result_column,
    is_step_column,
)
from sftui.state.series import Doubles, Floats, Rows, all_bounded

STEP_COLUMNS = (*STEP_NUMBERS, "since_start")
"""Names of the columns; `since_start` is the time of the update, seconds since the first event."""

NOT_KEPT: Mapping[tuple[type[ev.Event], str], str] = {
    (ev.AttemptStarted, "num_iterations"): "the plan is that of RunStarted, which comes first",
    (ev.ValidationFinished, "rows"): "the report counts it; the screen shows the loss",
    (ev.ValidationFinished, "paired_error"): "the alarm for overfitting uses it as it comes",
    (ev.CheckpointSaved, "seconds"): "in the log line of the checkpoint",
    (ev.LogLine, "rank"): "in the log line",
}
"""Numbers of events that no field of `RunState` besides the log keeps, and why.

A test fails for any other number of an event that is not kept, and for one named here that is.
"""

_UNLESS_KNOWN = {"supervised_tokens": "tokens"}
"""Columns left out where another is known: one count of tokens is enough to measure by, and
this one is the lesser."""

_PREFIXES = {
    name: {"lrs": "lr"}.get(name, name)
    for name in STEP_MAPPINGS
    if (StepFinished, name) not in NOT_KEPT
}
"""Mappings of an update that are kept, and what the names of their columns begin with."""
_numbers_of = attrgetter(*STEP_NUMBERS)
_LESSER, _MAPPINGS = tuple(_UNLESS_KNOWN.items()), tuple(_PREFIXES.items())


def row(event: StepFinished) -> dict[str, float | None]:
    """The columns of one update that are known; all but `since_start`."""
    numbers = _numbers_of(event)
    # One call for each of ten thousand updates a second: a getter gives as many as it has names.
    known = zip(STEP_NUMBERS, numbers)  # noqa: B905
    values: dict[str, float | None] = {name: number for name, number in known if number is not None}
    for name, other in _LESSER:
        if other in values:
            values.pop(name, None)
    for field, prefix in _MAPPINGS:
        mapping = getattr(event, field)
        if mapping:
            for key, value in mapping.items():
                values[f"{prefix}/{key}"] = value
    return values


def columns(batch: StepBatch) -> dict[str, Floats]:
    """The same for the rows of a batch."""
    found = {name: _float32(batch.columns[name]) for name in STEP_NUMBERS if name in batch.columns}
    for name, other in _UNLESS_KNOWN.items():
        if other in found:
            found.pop(name, None)
    for name, values in batch.columns.items():
        field, slash, key = name.partition("/")
        if slash and field in _PREFIXES:
            found[f"{_PREFIXES[field]}/{key}"] = _float32(values)
    return found


def steps(batch: StepBatch) -> Doubles:
    """The x of each row."""
    return np.asarray(batch.steps, dtype=np.float64)


def last_of_each(x: Doubles) -> Rows:
    """Of rows with these steps, in any order: the places of each step's last one, steps rising."""
    order: Rows = np.argsort(x, kind="stable")
    rising = x[order]
    last: Rows = order[np.append(rising[1:] != rising[:-1], True)]
    return last


def seconds_since(start: float | None, times: Sequence[float]) -> Floats:
    """Since the first event, as it was known when each row came; `start`: before these rows."""
    wide = np.asarray(times, dtype=np.float64)
    first = np.minimum.accumulate(np.append(wide[0] if start is None else start, wide))[1:]
    return (wide - first).astype(np.float32)


def has_updates(batch: StepBatch) -> bool:
    """Whether its rows are updates, and not free metrics alone."""
    return any(map(is_step_column, batch.columns))


def free_columns(batch: StepBatch) -> dict[str, Floats]:
    """What is no part of an update."""
    return {
        name: _float32(values)
        for name, values in batch.columns.items()
        if not is_step_column(name) and not is_result_column(name)
    }


@dataclass(frozen=True, slots=True)
class Results:
    """The rows of one column of results that have one; all float64, in order of rows. Finite values
    are those that columns keep (`bounded`)."""

    steps: Doubles
    values: Doubles
    times: Doubles | None
    """Wall clock, where the batch has it."""


def result_columns(batch: StepBatch) -> dict[str, Results]:
    """Validations and accuracies by column; none for a column without a single one."""
    found = {}
    times = np.asarray(batch.times, dtype=np.float64) if batch.times else None
    for name, values in batch.columns.items():
        if is_result_column(name):
            wide = all_bounded(np.asarray(values, dtype=np.float64))
            known = ~np.isnan(wide)
            if known.any():
                at = None if times is None else times[known]
                found[name] = Results(steps(batch)[known], wide[known], at)
    return found


def num_nonfinite(batch: StepBatch, names: Collection[str]) -> int:
    """Rows in which any of the named columns is no finite number."""
    bad = np.zeros(len(batch.steps), dtype=bool)
    for name in names:
        if name in batch.columns:
            bad |= ~np.isfinite(np.asarray(batch.columns[name], dtype=np.float64))
    return int(bad.sum())


def _float32(values: Sequence[float]) -> Floats:
    return all_bounded(np.asarray(values, dtype=np.float64)).astype(np.float32)
