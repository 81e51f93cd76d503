"""The weights of the small pretrained model that ships with the package."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor

from engine.model.nanochat.gpt_config import GPTConfig
from engine.starter.base import ASSETS, checked_weights


def load_base(assets: Path = ASSETS) -> tuple[GPTConfig, dict[str, Tensor]]:
    """Shape and float32 weights, by nanochat's parameter names.

    Raises:
        CheckpointError: a file is missing or is not the one that was shipped.
    """
    info, content = checked_weights(assets)
    return info.config, {name: part.to(torch.float32) for name, part in load(content).items()}
