"""Which parameters of a Hugging Face model decay, and at what rate all of them learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.config import OptimConfig
from engine.model.family import ParameterGroup

TABLES, DECAY, NO_DECAY = "tables", "decay", "no_decay"
BETAS, EPS = (0.9, 0.999), 1e-8
"""torch's and transformers' own."""


def initial_lrs(settings: OptimConfig) -> dict[str, float]:
    """Learning rates at multiplier 1, by group."""
    rate = settings.lr * settings.init_lr_frac
    return {TABLES: rate, DECAY: rate, NO_DECAY: rate}


def groups(
    shapes: Mapping[str, tuple[int, ...]], settings: OptimConfig, vocab_size: int
) -> list[ParameterGroup]:
    """AdamW on everything: matrices and tables decay, vectors (norms, biases) do not.

    Tables of the vocabulary are cut by rows over the ranks, everything else is shared out whole.
    """
    rate = settings.lr * settings.init_lr_frac
    tables = [name for name, shape in shapes.items() if len(shape) == 2 and shape[0] >= vocab_size]
    matrices = [n for n, shape in shapes.items() if len(shape) >= 2 and n not in tables]
    vectors = [name for name, shape in shapes.items() if len(shape) < 2]
    decay = settings.weight_decay
    found = [
        _group(TABLES, tables, rate, decay, by_rows=True),
        _group(DECAY, matrices, rate, decay, by_rows=False),
        _group(NO_DECAY, vectors, rate, 0.0, by_rows=False),
    ]
    return [group for group in found if group.parameters]


def _group(
    name: str, parameters: Iterable[str], rate: float, decay: float, *, by_rows: bool
) -> ParameterGroup:
    return ParameterGroup(
        name=name,
        kernel="adamw",
        parameters=tuple(parameters),
        lr=rate,
        shared_by_rows=by_rows,
        spread=not by_rows,
        betas=BETAS,
        eps=EPS,
        weight_decay=decay,
    )
