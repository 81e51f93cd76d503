"""Names of nanochat's parameters that more than one module here needs."""

from __future__ import annotations

import re

HEAD = "lm_head.weight"
EMBEDDING = "transformer.wte.weight"

RESIDUAL_MIX = ("resid_lambdas", "x0_lambdas")
SMEAR_GATE, SMEAR_LAMBDA = SMEAR = ("smear_gate.weight", "smear_lambda")
BACKOUT = "backout_lambda"
VALUE_EMBEDDING = re.compile(r"value_embeds\.(\d+)\.weight")
VALUE_GATE = re.compile(r"transformer\.h\.(\d+)\.attn\.ve_gate\.weight")


def is_embedding(name: str) -> bool:
    """A table of embeddings: bfloat16 in what was trained on CUDA."""
    return name == EMBEDDING or VALUE_EMBEDDING.fullmatch(name) is not None


def is_newer(name: str) -> bool:
    """A parameter that October 2025's model has not."""
    known = name in (*RESIDUAL_MIX, *SMEAR, BACKOUT)
    return known or bool(VALUE_EMBEDDING.fullmatch(name) or VALUE_GATE.fullmatch(name))
