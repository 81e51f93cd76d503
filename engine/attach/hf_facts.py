"""What Hugging Face's Trainer is about to do, as the first events of a run tell it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from engine.attach.attachment import Training, flat_settings, shape_of
from engine.run.foreign import version_of

_SHAPE = ("model_type", "num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")


def training_of(
    args: Any,
    state: Any,
    given: Mapping[str, Any],
    *,
    name: str | None,
    trainer: Any,
    resumed_from: str | None,
    questions: str = "",
) -> Training:
    """The facts, from the trainer's arguments, its state and what it hands to callbacks."""
    model = given.get("model")
    parameters, trained = shape_of(model) if model is not None else (0, 0)
    config = getattr(model, "config", None)
    shape = config.to_dict() if config is not None and hasattr(config, "to_dict") else {}
    source = getattr(config, "_name_or_path", "") or type(model).__name__
    output = str(Path(args.output_dir or ".").absolute())
    return Training(
        name=name or Path(output).name,
        updates=int(state.max_steps),
        device=torch.device(args.device),
        start_step=int(state.global_step),
        source=source,
        num_parameters=parameters or None,
        rows=_rows(given.get("train_dataloader")),
        output_dir=output,
        resumed_from=resumed_from,
        settings=flat_settings(args.to_sanitized_dict()),
        effective=flat_settings(
            {
                "trainer": _class_name(trainer),
                "num_parameters": parameters,
                "trainable_parameters": trained,
                "updates": int(state.max_steps),
                "grad_accum_steps": args.gradient_accumulation_steps,
                "loss": loss_words(args),
                "supervised": supervised_words(args),
                **({"questions": questions} if questions else {}),
                **{key: shape[key] for key in _SHAPE if shape.get(key) is not None},
                **{
                    f"version of {package}": found
                    for package in ("transformers", "trl", "peft", "accelerate", "torch")
                    if (found := version_of(package))
                },
            }
        ),
    )


def loss_words(args: Any) -> str:
    """What the loss of a step is a mean of; it differs between versions and settings."""
    if int(getattr(args, "world_size", 1)) == 1:
        return "mean over the tokens of the step"
    if getattr(args, "average_tokens_across_devices", False):
        return "mean over the tokens of all ranks"
    return "mean of the ranks' means"


def supervised_words(args: Any) -> str:
    """Which tokens carry a loss, where TRL's arguments say it."""
    if getattr(args, "assistant_only_loss", False):
        return "answers of the assistant"
    if getattr(args, "completion_only_loss", None):
        return "completions"
    if hasattr(args, "assistant_only_loss"):
        return "all tokens, or completions where the rows have them"
    return ""


def _rows(loader: Any) -> int | None:
    try:
        return len(loader.dataset)
    except (AttributeError, TypeError):
        return None


def _class_name(trainer: Any) -> str:
    if trainer is None:
        return "transformers.Trainer"
    kind = type(trainer)
    return f"{kind.__module__.split('.')[0]}.{kind.__name__}"
