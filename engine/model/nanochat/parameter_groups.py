"""Which kernel updates which of nanochat's parameters, and at what rate."""

from __future__ import annotations

from collections.abc import Iterable

from engine.config import OptimConfig
from engine.model.family import ParameterGroup
from engine.model.nanochat.names import EMBEDDING, HEAD

MATRICES = "matrices"
"""Group of every parameter but the head and the embedding, which are groups of their own."""

ADAM_BETAS = (0.8, 0.95)
ADAM_EPS = 1e-10

TUNED_WIDTH = 768
"""Width of the model that nanochat's AdamW rates were tuned at."""


def width_scale(n_embd: int) -> float:
    """Factor on the AdamW learning rates of a model of this width: `(n_embd / 768) ** -0.5`."""
    return float((n_embd / TUNED_WIDTH) ** -0.5)


def initial_lrs(settings: OptimConfig, n_embd: int) -> dict[str, float]:
    """Learning rates of October 2025 at multiplier 1, by group: `lm_head`, `wte`, `matrices`.

    The two AdamW rates scale with the model's width (`width_scale`); Muon's update does not
    depend on it.
    """
    scale = width_scale(n_embd)
    return {
        "lm_head": settings.unembedding_lr * scale * settings.init_lr_frac,
        "wte": settings.embedding_lr * scale * settings.init_lr_frac,
        MATRICES: settings.matrix_lr * settings.init_lr_frac,
    }


def group_of(name: str) -> str:
    """Parameter group of a parameter, as in `initial_lrs`."""
    return {HEAD: "lm_head", EMBEDDING: "wte"}.get(name, MATRICES)


def october_groups(
    names: Iterable[str], settings: OptimConfig, n_embd: int
) -> list[ParameterGroup]:
    """AdamW on head and embedding, Muon on every matrix of the blocks."""
    lrs = initial_lrs(settings, n_embd)
    tables = [
        ParameterGroup(
            name=group_of(name),
            kernel="adamw",
            parameters=(name,),
            lr=lrs[group_of(name)],
            shared_by_rows=True,
            betas=ADAM_BETAS,
            eps=ADAM_EPS,
            weight_decay=settings.weight_decay,
        )
        for name in (HEAD, EMBEDDING)
    ]
    matrices = tuple(name for name in names if name not in (HEAD, EMBEDDING))
    return [
        *tables,
        ParameterGroup(name=MATRICES, kernel="muon", parameters=matrices, lr=lrs[MATRICES]),
    ]
