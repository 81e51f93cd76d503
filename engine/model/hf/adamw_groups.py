"""Which kernel updates which parameters of a Hugging Face model, which decay, and at what rate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from engine.config import OptimConfig
from engine.model.family import Kernel, ParameterGroup

TABLES, DECAY, NO_DECAY, MATRICES = "tables", "decay", "no_decay", "matrices"

_NEVER_DECAYS = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")
"""Names of norms and biases, whatever their shapes: those that transformers' Trainer leaves out."""

_NO_LAYER = re.compile(r"embed|lm_head|wte|wpe|embed_out|score")
"""Names of tables and heads, which are no matrices of layers."""


def initial_lrs(settings: OptimConfig) -> dict[str, float]:
    """Learning rates at multiplier 1, by group."""
    rate = settings.lr * settings.init_lr_frac
    found = {TABLES: rate, DECAY: rate, NO_DECAY: rate}
    if settings.optimizer == "muon":
        found[MATRICES] = settings.matrix_lr * settings.init_lr_frac
    return found


def groups(
    shapes: Mapping[str, tuple[int, ...]], settings: OptimConfig, vocab_size: int
) -> list[ParameterGroup]:
    """The optimizer's groups of the trained parameters, each in exactly one.

    Matrices and tables decay; vectors, norms and biases do not. With Muon the layers' matrices
    are a group of their own. Tables of the vocabulary are cut by rows over the ranks, everything
    else is shared out whole.
    """
    members: dict[str, list[str]] = {TABLES: [], DECAY: [], NO_DECAY: [], MATRICES: []}
    for name, shape in shapes.items():
        members[_group_of(name, shape, settings, vocab_size)].append(name)
    rates = initial_lrs(settings)
    return [_group(name, found, rates[name], settings) for name, found in members.items() if found]


def _group_of(name: str, shape: tuple[int, ...], settings: OptimConfig, vocab_size: int) -> str:
    if len(shape) < 2 or _NEVER_DECAYS.search(name.lower()):
        return NO_DECAY
    if len(shape) == 2 and shape[0] >= vocab_size:
        return TABLES
    # Experts that keep their weights in one tensor are no matrix; they stay with AdamW.
    is_matrix = len(shape) == 2 and not _NO_LAYER.search(name)
    return MATRICES if settings.optimizer == "muon" and is_matrix else DECAY


def _group(
    name: str, parameters: Sequence[str], rate: float, settings: OptimConfig
) -> ParameterGroup:
    kernel: Kernel = "muon" if name == MATRICES else "adamw"
    return ParameterGroup(
        name=name,
        kernel=kernel,
        parameters=tuple(parameters),
        lr=rate,
        shared_by_rows=name == TABLES,
        spread=name in (DECAY, NO_DECAY),
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        weight_decay=0.0 if name == NO_DECAY else settings.weight_decay,
    )
