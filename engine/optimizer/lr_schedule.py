"""What a learning rate is multiplied with: by step (the schedule) and by the model's width.

nanochat's rule is a straight line from 1 towards 0 with no warm-up, and it is
divided by the number of *iterations*, the last of which makes no update: so the
last update still uses `2 / num_iterations`, never 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from engine.errors import ConfigError
from engine.model.nanochat.parameter_groups import TUNED_WIDTH as TUNED_WIDTH
from engine.model.nanochat.parameter_groups import width_scale as width_scale


@dataclass(frozen=True, slots=True, kw_only=True)
class LrSchedule:
    """The multiplier of every group's learning rate, a function of the step alone.

    Raises:
        ConfigError: a number is out of range.
    """

    num_iterations: int
    """Planned iterations; updates are steps 0 to `num_iterations - 2`."""
    warmup_steps: int = 0
    """Steps of a rising line before the decay; 0 is nanochat's."""
    shape: Literal["linear", "cosine"] = "linear"
    min_lr_ratio: float = 0.0
    """Multiplier that the decay ends at."""

    def __post_init__(self) -> None:
        if self.num_iterations < 1:
            raise ConfigError(
                f"num_iterations is {self.num_iterations}; expected at least 1. Raise --num-epochs "
                "or lower --target-examples-per-step."
            )
        if not 0 <= self.warmup_steps < self.num_iterations:
            raise ConfigError(
                f"warmup_steps is {self.warmup_steps}; expected 0 to {self.num_iterations - 1}, "
                "less than the iterations of this run. Lower --warmup-steps."
            )
        if self.shape not in ("linear", "cosine"):
            raise ConfigError(
                f"the schedule's shape is {self.shape!r}; expected linear or cosine. Type one of "
                "them."
            )
        if not 0.0 <= self.min_lr_ratio <= 1.0:
            raise ConfigError(
                f"min_lr_ratio is {self.min_lr_ratio}; expected 0 to 1. Lower --min-lr-ratio."
            )

    def multiplier(self, step: int) -> float:
        """Multiplier of the update at `step`, counted from 0; steps past the end get the floor."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if step >= self.num_iterations:
            return self.min_lr_ratio
        progress = (step - self.warmup_steps) / (self.num_iterations - self.warmup_steps)
        if self.shape == "cosine":
            falling = 0.5 * (1.0 + math.cos(math.pi * progress))
        else:
            falling = 1.0 - progress
        return self.min_lr_ratio + (1.0 - self.min_lr_ratio) * falling
