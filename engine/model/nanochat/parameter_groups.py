"""Which kernel updates which of nanochat's parameters, and at what rate."""

from __future__ import annotations

from collections.abc import Iterable

from engine.config import OptimConfig
from engine.model.family import ParameterGroup
from engine.model.nanochat import names, parts
from engine.model.nanochat.gpt_config import GPTConfig
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


def groups_of(config: GPTConfig, settings: OptimConfig) -> list[ParameterGroup]:
    """Every parameter of a model in one group, in the order of nanochat's optimizer files."""
    if config.parts == parts.OCTOBER:
        return october_groups(config.parameter_shapes(), settings, config.n_embd)
    return newest_groups(config, settings)


def october_groups(
    parameters: Iterable[str], settings: OptimConfig, n_embd: int
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
    matrices = tuple(name for name in parameters if name not in (HEAD, EMBEDDING))
    return [
        *tables,
        ParameterGroup(name=MATRICES, kernel="muon", parameters=matrices, lr=lrs[MATRICES]),
    ]


GATE_LR = 0.2
"""Of smear and backout."""


def newest_groups(config: GPTConfig, settings: OptimConfig) -> list[ParameterGroup]:
    """The six AdamW groups of 2026 (those with parameters), and Muon's matrices as one."""
    scale, share = width_scale(config.n_embd), settings.init_lr_frac
    shapes = config.parameter_shapes()
    values = tuple(name for name in shapes if names.VALUE_EMBEDDING.fullmatch(name))
    matrices = tuple(name for name in shapes if name.startswith("transformer.h."))
    resid, x0 = names.RESIDUAL_MIX
    embedding = settings.embedding_lr * scale
    # name, parameters, rate, betas, decay; a table of nanochat's, in its order.
    adamw: list[tuple[str, tuple[str, ...], float, tuple[float, float], float]] = [
        ("lm_head", (HEAD,), settings.unembedding_lr * scale, (0.8, 0.96), 0.01),
        ("wte", (EMBEDDING,), embedding, (0.8, 0.995), 0.001),
        ("value_embeds", values, embedding * 0.5, (0.8, 0.995), 0.01),
        (resid, (resid,), settings.scalar_lr * 0.01, (0.8, 0.95), 0.05),
        (x0, (x0,), settings.scalar_lr, (0.96, 0.95), 0.0),
        ("smear", (*names.SMEAR, names.BACKOUT), GATE_LR, (0.8, 0.95), 0.0),
    ]
    found = [
        ParameterGroup(
            name=name,
            kernel="adamw",
            parameters=present,
            lr=lr * share,
            shared_by_rows=place < 3,
            betas=betas,
            eps=ADAM_EPS,
            weight_decay=decay,
        )
        for place, (name, wanted, lr, betas, decay) in enumerate(adamw)
        if (present := tuple(each for each in wanted if each in shapes))
    ]
    return [
        *found,
        ParameterGroup(
            name=MATRICES,
            kernel="normuon",
            parameters=matrices,
            lr=settings.matrix_lr * share,
            betas=(0.0, 0.9),
        ),
    ]
