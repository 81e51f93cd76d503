"""What a learning rate is multiplied with: by step (the schedule) and by the model's width.

nanochat's rule is a straight line from 1 towards 0 with no warm-up, and it is
divided by the number of *iterations*, the last of which makes no update: so the
last update still uses `2 / num_iterations`, never 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from engine.config import Compat, OptimConfig
from engine.errors import ConfigError
from engine.model.nanochat.parameter_groups import TUNED_WIDTH as TUNED_WIDTH
from engine.model.nanochat.parameter_groups import width_scale as width_scale

MOMENTUM_FROM, MOMENTUM_TO, MOMENTUM_UPDATES = 0.85, 0.95, 300
"""Muon's momentum in nanochat's SFT of 2026 rises in a straight line."""


class Schedule(Protocol):
    """What the training loop asks for each update."""

    def multiplier(self, step: int, /) -> float: ...

    def momentum(self, step: int, /) -> float | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressSchedule:
    """nanochat's schedule of 2026: by the share of the run that is done, not by the step.

    Warm-up from 0, a plateau, and a straight line down to `final_lr_frac`.
    """

    progress: tuple[float, ...]
    """At each update, from just above 0 to about 1; in a "nanochat" plan past 1."""
    warmup_ratio: float = 0.0
    warmdown_ratio: float = 0.5
    final_lr_frac: float = 0.0
    compat: Compat = "sound"
    """"sound" never falls below `final_lr_frac`; "nanochat" does, below zero even."""

    def multiplier(self, step: int) -> float:
        """Multiplier of the update at `step`, counted from 0; steps past the end get the last."""
        progress = self.progress[min(step, len(self.progress) - 1)]
        if progress < self.warmup_ratio:
            return (progress + 1e-8) / self.warmup_ratio
        if progress <= 1.0 - self.warmdown_ratio:
            return 1.0
        down = (progress - (1.0 - self.warmdown_ratio)) / self.warmdown_ratio
        found = (1.0 - down) + down * self.final_lr_frac
        return max(found, self.final_lr_frac) if self.compat == "sound" else found

    def momentum(self, step: int) -> float:
        """Muon's momentum of the update at `step`."""
        rise = (MOMENTUM_TO - MOMENTUM_FROM) * min(step / MOMENTUM_UPDATES, 1.0)
        return MOMENTUM_FROM + rise


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformersSchedule:
    """The multipliers of transformers' `get_scheduler`, as a function of the step alone.

    A line up from 0, so that the first update of a warm-up moves nothing; then down to
    `final_lr_frac`, which would be reached after the last update. With transformers' names:
    `polynomial` of power 1 (`linear` where the end is 0), `cosine_with_min_lr` by its rate,
    `constant_with_warmup`, and `warmup_stable_decay`, which rises from its floor.
    """

    updates: int
    shape: Literal["linear", "cosine", "constant", "wsd"] = "linear"
    warmup: int = 0
    """Updates of the rising line."""
    decay: int = 0
    """Updates of the falling part of `wsd`."""
    final_lr_frac: float = 0.0

    @classmethod
    def of(cls, settings: OptimConfig, updates: int) -> TransformersSchedule:
        """As the settings say; shares of a run are rounded up to whole updates."""
        warmup = settings.warmup_steps or math.ceil(settings.warmup_ratio * updates)
        return cls(
            updates=updates,
            shape=settings.lr_schedule,
            warmup=warmup,
            # What the warm-up leaves: a run has only so many updates.
            decay=min(math.ceil(settings.warmdown_ratio * updates), max(updates - warmup, 0)),
            final_lr_frac=settings.final_lr_frac,
        )

    def momentum(self, step: int) -> None:
        """Muon's own."""

    def multiplier(self, step: int) -> float:
        """Multiplier of the update at `step`, counted from 0; steps past the end get the floor."""
        wsd = self.shape == "wsd"
        if step < self.warmup:
            return self._above_floor(step / self.warmup) if wsd else step / self.warmup
        if self.shape == "constant":
            return 1.0
        start = self.updates - self.decay if wsd else self.warmup
        done = (step - start) / max(1, self.updates - start)
        if done < 0:
            return 1.0
        if done >= 1:
            return self.final_lr_frac
        line = self.shape == "linear"
        return self._above_floor(1 - done if line else 0.5 * (1 + math.cos(math.pi * done)))

    def _above_floor(self, share: float) -> float:
        return self.final_lr_frac + (1 - self.final_lr_frac) * share


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

    def momentum(self, step: int) -> None:
        """Muon's own."""

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
