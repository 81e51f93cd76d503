"""A `StepBatch` as the columns that `RunState` keeps: float32, under the state's names."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from engine.events import StepBatch, StepFinished
from sftui.state.series import Doubles, Floats

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_STEP_FIELDS = frozenset(StepFinished.__slots__)


def steps(batch: StepBatch) -> Doubles:
    return np.asarray(batch.steps, dtype=np.float64)


def step_columns(batch: StepBatch, kept: Collection[str]) -> dict[str, Floats]:
    """The columns of `kept` and the learning rates, these as `lr/<group>`."""
    found = {name: _float32(batch.columns[name]) for name in kept if name in batch.columns}
    for name, values in batch.columns.items():
        if name.startswith("lrs/"):
            found[f"lr/{name[4:]}"] = _float32(values)
    return found


def has_updates(batch: StepBatch) -> bool:
    """Whether its rows are updates, and not free metrics alone."""
    return any(_is_update(name) for name in batch.columns)


def free_columns(batch: StepBatch) -> dict[str, Floats]:
    """What is no field of an update."""
    return {
        name: _float32(values) for name, values in batch.columns.items() if not _is_update(name)
    }


def _is_update(name: str) -> bool:
    return name in _STEP_FIELDS or name.startswith(("lrs/", "loss_by_source/"))


def num_nonfinite(batch: StepBatch, names: Collection[str]) -> int:
    """Rows in which any of the named columns is no finite number."""
    bad = np.zeros(len(batch.steps), dtype=bool)
    for name in names:
        if name in batch.columns:
            bad |= ~np.isfinite(np.asarray(batch.columns[name], dtype=np.float64))
    return int(bad.sum())


def _float32(values: Sequence[float]) -> Floats:
    wide = np.asarray(values, dtype=np.float64)
    # A finite double beyond float32 must not become an infinity.
    clipped = np.where(np.isfinite(wide), np.clip(wide, -_FLOAT32_MAX, _FLOAT32_MAX), wide)
    return clipped.astype(np.float32)
