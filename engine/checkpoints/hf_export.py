"""Write a model as a folder that transformers loads (model type `nanochat`), and read one back.

Renaming the tensors is all there is to the weights. What differs afterwards is the
rotary table: transformers computes it in fp32, nanochat rounds it to bf16, which moved
logits of a trained d4 by up to 2e-2 and no prediction.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.checkpoints import checkpoint_dir, weights_header
from engine.checkpoints.checkpoint_target import HF_TOKENIZER, HF_WEIGHTS
from engine.checkpoints.hf_tokenizer import tokenizer_config, tokenizer_json
from engine.conversations.tokenizer import ASSISTANT_END, BOS, Tokenizer
from engine.errors import CheckpointError
from engine.model.family import ModelShape
from engine.model.nanochat.gpt import check_state
from engine.model.nanochat.gpt_config import ROTARY_BASE, SOFTCAP
from engine.model.nanochat.hf_names import hf_name


def model_config(config: ModelShape, tokenizer: Tokenizer) -> dict[str, Any]:
    """Content of `config.json`."""
    return {
        "architectures": ["NanoChatForCausalLM"],
        "model_type": "nanochat",
        "vocab_size": config.vocab_size,
        "hidden_size": config.n_embd,
        "intermediate_size": 4 * config.n_embd,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "max_position_embeddings": config.sequence_len,
        "hidden_act": "relu2",
        "attention_bias": False,
        "attention_dropout": 0.0,
        # torch's own default in F.rms_norm, which nanochat uses.
        "rms_norm_eps": torch.finfo(torch.float32).eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROTARY_BASE},
        "final_logit_softcapping": SOFTCAP,
        "tie_word_embeddings": False,
        "use_cache": True,
        "bos_token_id": tokenizer.special(BOS),
        "eos_token_id": tokenizer.special(ASSISTANT_END),
        # A number here would freeze that token's embedding in further training.
        "pad_token_id": None,
        "dtype": "float32",
    }


def refuse_unknown(config: ModelShape) -> None:
    """Raises:
    CheckpointError: transformers has no model type for this generation.
    """
    if config.generation != "2025":
        raise CheckpointError(
            "transformers has no model type for nanochat's 2026 generation (its `nanochat` is of "
            "October 2025); expected a checkpoint of that. Use --format nanochat, whose files "
            "nanochat's own scripts load."
        )


def export(
    folder: Path, config: ModelShape, state: Mapping[str, Tensor], tokenizer: Tokenizer
) -> int:
    """Write `config.json`, weights, tokenizer and chat template; bytes written.

    The folder appears whole or not at all.

    Raises:
        CheckpointError: it exists and is not empty, or cannot be written.
    """
    refuse_unknown(config)
    check_state(config, state)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(
            f"{folder} exists and is not empty; expected a new folder. Name another with -o."
        )
    partial = folder.with_name(f".{folder.name}.partial")
    tensors = {
        hf_name(name): tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in state.items()
    }
    texts: dict[str, dict[str, Any]] = {
        "config.json": model_config(config, tokenizer),
        "generation_config.json": {
            "bos_token_id": tokenizer.special(BOS),
            "eos_token_id": tokenizer.special(ASSISTANT_END),
            "pad_token_id": tokenizer.special(BOS),
        },
        "tokenizer.json": tokenizer_json(tokenizer),
        "tokenizer_config.json": tokenizer_config(tokenizer, config.sequence_len),
    }
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(tensors, partial / HF_WEIGHTS, metadata={"format": "pt"})
        checkpoint_dir.sync(partial / HF_WEIGHTS)
        for name, content in texts.items():
            text = json.dumps(content, indent=2, ensure_ascii=False)
            (partial / name).write_text(text, encoding="utf-8")
        tokenizer.save_json(partial / HF_TOKENIZER)
        size = sum(path.stat().st_size for path in partial.iterdir())
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"{folder} could not be written ({error}); expected a place with enough room. Name "
            "another with -o."
        ) from error
    return size


def load(folder: Path, config: ModelShape) -> dict[str, Tensor]:
    """Tensors of such a folder by our names, fp32.

    Raises:
        CheckpointError: the weights are missing, damaged, or of another shape.
    """
    weights_header.check_safetensors(folder / HF_WEIGHTS)
    try:
        found = load_file(folder / HF_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / HF_WEIGHTS} cannot be read: {error}") from None
    ours = {hf_name(name): name for name in config.parameter_shapes()}
    state = {ours.get(name, name): tensor.float() for name, tensor in found.items()}
    try:
        check_state(config, state)
    except CheckpointError as error:
        raise CheckpointError(f"{folder / HF_WEIGHTS}: {error}") from None
    return state
