"""What a run on a Hugging Face model begins with: its folder, checked, and its tokenizer."""

from __future__ import annotations

from pathlib import Path

from engine.config import LoraConfig, RunConfig
from engine.errors import CheckpointError, ConfigError
from engine.model.family import ModelShape
from engine.model.hf import hf_config, hf_folders, trusted
from engine.model.hf.hf_config import HfConfig, Lora
from engine.model.hf.hf_tokenizer import HfTokenizer


def find(config: RunConfig) -> tuple[HfConfig, HfTokenizer]:
    """The model's shape and its tokenizer, as the settings name them; no tensor is loaded.

    Raises:
        CheckpointError: the folder holds no model that can be trained here, or no tokenizer
            with a template; or the two do not fit.
    """
    start = config.start
    assert start.model is not None
    if config.runtime.compile:
        raise ConfigError(hf_config.NOT_COMPILED)
    if config.batch.packing != "documents":
        raise ConfigError(
            f"packing is {config.batch.packing}, nanochat's way, in which conversations see each "
            "other; expected documents with --model. Leave --packing out."
        )
    folder = Path(start.model).expanduser().absolute()
    tokens = folder
    if folder.is_dir() and hf_folders.is_one(folder):
        found = hf_folders.find(folder)
        if found.adapter is not None:
            raise CheckpointError(
                f"{folder} holds adapters; expected a whole model to start from. Merge them first: "
                f"sftui export {folder} --format hf -o MERGED"
            )
        folder, tokens = found.model, found.tokenizer
    if start.trust_remote_code:
        trusted.trust(folder)
    shape = hf_config.read_folder(
        folder,
        lora=adapters(config.adapters, config.data.seed),
        remote_code=start.trust_remote_code,
    )
    named = start.chat_template
    tokenizer = HfTokenizer.load(
        tokens,
        template_file=None if named is None else Path(named).expanduser(),
        last_answer_only=start.last_answer_only,
    )
    if tokenizer.vocab_size > shape.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size:,} tokens, the model "
            f"{shape.vocab_size:,}; expected no more than the model's. Copy the tokenizer that "
            "belongs to it."
        )
    return shape, tokenizer


def within_positions(config: RunConfig, shape: ModelShape) -> tuple[RunConfig, str]:
    """The settings with rows that the model has positions for, and a note where they were longer.

    nanochat's models have ten times the positions that they were trained on.
    """
    if config.start.model is None or config.data.max_tokens <= shape.max_positions:
        return config, ""
    most = shape.max_positions
    return config.replace(
        max_tokens=most
    ), f"rows are cut at {most:,} tokens: the model has no more"


EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""In a config.json: how many a layer chooses from."""


def experts_note(shape: ModelShape) -> str:
    """What a mixture of experts is trained without; empty for any other model."""
    if not isinstance(shape, HfConfig) or not any(shape.config.get(name) for name in EXPERTS):
        return ""
    told = shape.config.get("router_aux_loss_coef")
    weight = f" (router_aux_loss_coef {told})" if told else ""
    return f"a mixture of experts: trained without the loss that balances them{weight}"


def adapters(settings: LoraConfig, seed: int) -> Lora | None:
    """The adapters that were asked for."""
    if not settings.lora:
        return None
    return Lora(
        rank=settings.lora,
        alpha=settings.lora_alpha or 2.0 * settings.lora,
        dropout=settings.lora_dropout,
        targets=settings.lora_targets,
        rslora=settings.rslora,
        save=settings.lora_save,
        seed=seed,
    )
