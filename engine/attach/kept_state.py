"""Keep what an evaluation that a person asked for would change: random state and module modes.

A DataLoader draws a seed from torch's generator each time it is iterated, so without this the
dropout of the next step would differ, and with it the whole run.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class RandomState:
    """All generators that training code draws from."""

    python: Any
    numpy: Any
    main: torch.Tensor
    cuda: list[torch.Tensor] | None
    mps: torch.Tensor | None

    @classmethod
    def now(cls) -> RandomState:
        """The state as it is."""
        on_mps = torch.backends.mps.is_available()
        return cls(
            python=random.getstate(),
            numpy=np.random.get_state(),
            main=torch.get_rng_state(),
            # Asking would make a context on every GPU.
            cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,
            mps=torch.mps.get_rng_state() if on_mps else None,
        )

    def restore(self) -> None:
        """Put it back."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.main)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)
        if self.mps is not None:
            torch.mps.set_rng_state(self.mps)


@contextlib.contextmanager
def kept_random_state() -> Iterator[None]:
    """Leave every generator as it was, however the block ends."""
    state = RandomState.now()
    try:
        yield
    finally:
        state.restore()


@contextlib.contextmanager
def kept_modes(model: torch.nn.Module | None) -> Iterator[None]:
    """Leave every module of `model` in training or evaluation mode as it was."""
    modes = [] if model is None else [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            # Not `train()`, which reaches down to all children.
            module.training = training
