"""Load the tensors and tokenizer of a `checkpoint_target.Target`; needs torch."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.checkpoints import checkpoint_dir, checkpointer, hf_export, nanochat_io, tensor_file
from engine.checkpoints.checkpoint_target import Target
from engine.errors import CheckpointError
from engine.model import family
from engine.model.family import Decoder, RunTokenizer


def load_tokenizer(target: Target) -> RunTokenizer:
    """The tokenizer of a checkpoint.

    Raises:
        CheckpointError: missing or damaged, or not of the model's vocabulary.
    """
    own = family.of(target.config)
    tokenizer = own.read_tokenizer(target.tokenizer)
    if own.in_folders:
        # Tables of many models are padded beyond the tokenizer.
        return tokenizer
    if tokenizer.vocab_size != target.config.vocab_size:
        raise CheckpointError(
            f"{target.tokenizer} has {tokenizer.vocab_size:,} tokens, the model ({target.label}) "
            f"{target.config.vocab_size:,}; expected the same. Copy the tokenizer the model was "
            "trained with."
        )
    return tokenizer


def load_state(target: Target) -> dict[str, Tensor]:
    """Tensors by their family's names, on the CPU. The embedding may be bf16, all others are fp32.

    Raises:
        CheckpointError: damaged or incomplete, or of another shape than it says.
    """
    match target.kind:
        case "sftui":
            state = checkpointer.load_model_state(checkpoint_dir.verify(target.path))
            shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
            family.of(target.config).check_shapes(target.config, shapes)
            return state
        case "folder":
            return family.of(target.config).start_state(target.config)
        case "hf":
            return hf_export.load(target.path, target.config)
        case "nanochat":
            assert target.ref is not None
            return nanochat_io.load_weights(target.ref)[1]
        case "starter":
            # The starter's files concern the starter alone.
            from engine.starter import weights  # noqa: PLC0415

            return weights.load_base()[1]


def load_model(target: Target, device: torch.device, *, mixed: bool = False) -> Decoder:
    """The model on `device`; `mixed`: it will run under bf16 autocast.

    Raises:
        CheckpointError: as `load_state`.
    """
    kind = family.of(target.config)
    state = kind.as_trained(target.config, load_state(target), mixed=mixed)
    return kind.build(target.config, tensor_file.placed(state, device))
