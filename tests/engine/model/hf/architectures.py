"""Tiny models of many architectures, made from their configurations; no file is fetched."""

from __future__ import annotations

import copy
from typing import Any

import torch

VOCAB = 97
POSITIONS = 128

COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SMALL_HEADS = {"head_dim": 8}
WINDOW = {"sliding_window": 5}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama tied": ("llama", {"tie_word_embeddings": True}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", SMALL_HEADS),
    "gemma2": (
        "gemma2",
        SMALL_HEADS
        | WINDOW
        | {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0}
        | {"final_logit_softcapping": 3.0},
    ),
    "gemma3": ("gemma3_text", SMALL_HEADS | WINDOW | {"query_pre_attn_scalar": 8}),
    "mistral": ("mistral", WINDOW),
    "smollm3": ("smollm3", {}),
    "phi3": ("phi3", {}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", WINDOW),
    "gpt_neox": ("gpt_neox", {}),
    "gpt2": (
        "gpt2",
        {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": POSITIONS} | NO_DROPOUT,
    ),
    "nanochat": ("nanochat", {}),
    "granite": ("granite", {"logits_scaling": 4.0, "attention_multiplier": 0.3}),
    "cohere": ("cohere", {"logit_scale": 0.0625}),
    "gpt_oss": (
        "gpt_oss",
        SMALL_HEADS | WINDOW | {"num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "qwen3_moe": ("qwen3_moe", SMALL_HEADS | EXPERTS | {"moe_intermediate_size": 16}),
    "olmoe": ("olmoe", EXPERTS),
    "glm4": ("glm4", SMALL_HEADS),
}


def config(name: str) -> Any:
    """transformers' configuration of an architecture."""
    from transformers import AutoConfig

    kind, settings = CONFIGS[name]
    common = {} if kind == "gpt2" else COMMON
    wanted = {**common, **settings}
    if kind == "gpt2":
        wanted["vocab_size"] = VOCAB
    return AutoConfig.for_model(kind, **wanted)


def reference(name: str) -> Any:
    """transformers' own model with its own eager attention, no parameter neutral."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        copy.deepcopy(config(name)), attn_implementation="eager"
    ).float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model
