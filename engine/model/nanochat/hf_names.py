"""transformers' names of nanochat's parameters (model type `nanochat`)."""

from __future__ import annotations

import re

from engine.model.nanochat.names import EMBEDDING

_PARTS = {
    "attn.c_q": "self_attn.q_proj",
    "attn.c_k": "self_attn.k_proj",
    "attn.c_v": "self_attn.v_proj",
    "attn.c_proj": "self_attn.o_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_BLOCK = re.compile(r"transformer\.h\.(\d+)\.(.+)\.weight")


def hf_name(name: str) -> str:
    """transformers' name of a parameter of ours."""
    if name == EMBEDDING:
        return "model.embed_tokens.weight"
    block = _BLOCK.fullmatch(name)
    if block is None:
        return name
    return f"model.layers.{block[1]}.{_PARTS[block[2]]}.weight"
