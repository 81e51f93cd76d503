"""Letter questions in Hugging Face's Trainer: its tokenizer, and its model as it may be called."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from engine.attach.attachment import say
from engine.attach.questions import ModelAtHand, Questions, plain_model

_SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM")
"""Accelerate's names of what may spread one model over ranks."""


def prepare(questions: Questions, trainer: Any, given: Mapping[str, Any]) -> None:
    """Read the questions with the trainer's tokenizer; a refusal is one warning."""
    if questions.words:
        questions.asked_at = None
        return
    # The trainer's own name for it has changed; what callbacks are given has too.
    found = [given.get("processing_class"), given.get("tokenizer")]
    found += [getattr(trainer, "processing_class", None)]
    tokenizer = next((each for each in found if each is not None), None)
    words: int | None = None
    with contextlib.suppress(Exception):
        words = int(given["model"].get_input_embeddings().weight.shape[0])
    questions.prepare(tokenizer, "the trainer's tokenizer", words)
    if questions.refusal:
        say(f"warning: no questions are asked ({questions.refusal})")


def at_hand(trainer: Any, model: Any) -> ModelAtHand:
    """The trainer's model, unwrapped where its ranks may call it at their own pace."""
    if trainer is None:
        inner, sharded = plain_model(model)
        return ModelAtHand(inner, shares_forward=sharded)
    kind = getattr(getattr(trainer, "accelerator", None), "distributed_type", None)
    name = str(getattr(kind, "value", kind)).upper()
    if any(each in name for each in _SHARDED):
        return ModelAtHand(
            trainer.model_wrapped,
            shares_forward=True,
            context=trainer.compute_loss_context_manager,
        )
    inner, sharded = plain_model(trainer.model)
    return ModelAtHand(inner, shares_forward=sharded, context=trainer.compute_loss_context_manager)
