"""One attempt of a run on one rank: its parts, its progress, and what is due at a step.

`session_setup` builds it; `trainer`, `measure` and `conclusion` work on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.checkpoints import nanochat_paths
from engine.checkpoints.checkpointer import Checkpointer
from engine.checkpoints.nanochat_paths import NanochatCheckpoint
from engine.config import HF, STARTER, RunConfig
from engine.distributed import Ranks
from engine.evaluation.exam import Prepared
from engine.evaluation.validation_rows import RowLosses
from engine.events import Event
from engine.model.family import Decoder, RunTokenizer
from engine.optimizer.lr_schedule import LrSchedule, Schedule, TransformersSchedule
from engine.optimizer.optim import ShardedOptimizer
from engine.optimizer.weight_distance import WeightTravel
from engine.run.run_dir import RunDir
from engine.sandbox.program_sandbox import Sandbox
from engine.step.dataloader import MicroStep, StepLoader
from engine.step.loss import weighted_loss
from engine.step.plan import Plan
from engine.step.row_packing import RowPlan
from engine.step.step_clock import OwnClock

Emit = Callable[[Event], None]

MEET_SECONDS = 0.25
"""Between two meetings of ranks that wait for a disk."""


class LossModule(nn.Module):
    """Model and loss in one module: the whole forward pass of a micro-step."""

    def __init__(self, model: Decoder, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, micro: MicroStep) -> tuple[Tensor, Tensor]:
        """Weighted loss sum (with gradient) and per-token losses [K] of one micro-step.

        The sum is smoothed, if asked for; the losses never are, so that they stay comparable.
        """
        hidden = self.model(
            micro.ids, spans=micro.spans, positions=micro.positions, ends=micro.ends
        )
        return weighted_loss(
            # Places are distinct, so the backward pass may add without sorting them first.
            hidden.flatten(0, -2).index_select(0, micro.supervised),
            self.model.head_weight,
            micro.targets,
            micro.weights,
            softcap=self.model.softcap,
            smoothing=self.label_smoothing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is to be done at one step before its update. The first step is always measured."""

    validation: bool
    tasks: bool
    samples: bool
    checkpoint: bool


@dataclass(kw_only=True)
class Progress:
    """What changes from step to step and belongs into a checkpoint."""

    step: int = 0
    """Updates done."""
    val_loss: float | None = None
    """Of the newest validation, and the step it was measured at."""
    val_step: int | None = None
    eval_step: int | None = None
    sample_step: int | None = None
    accuracies: dict[str, float] = field(default_factory=dict)
    best_loss: float | None = None
    best_step: int | None = None

    def due(self, config: RunConfig, step: int, last: int) -> Due:
        """What to do before the update of `step`; the same on every rank.

        `last` is the run's last step. A measurement that is in here already (a resumed run
        begins at the step it stopped at) is not due again.
        """

        def comes(every: int) -> bool:
            return every > 0 and (step % every == 0 or step == last)

        save_every = config.checkpoint.checkpoint_every
        return Due(
            validation=comes(config.eval.eval_every) and self.val_step != step,
            tasks=comes(config.eval.eval_metrics_every) and self.eval_step != step,
            samples=comes(config.eval.sample_every) and self.sample_step != step,
            # Nothing to keep at the start; the last step's is written after the loop.
            checkpoint=save_every > 0 and step % save_every == 0 and 0 < step != last,
        )

    def to_state(self) -> dict[str, Any]:
        state = dataclasses.asdict(self)
        # A checkpoint is ranked by its own loss only, never by one measured steps ago.
        state["val_loss"] = self.val_loss if self.val_step == self.step else None
        return state | {"last_val_loss": self.val_loss}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Progress:
        names = {f.name for f in dataclasses.fields(cls)}
        known = {name: value for name, value in state.items() if name in names}
        return cls(**known | {"val_loss": state.get("last_val_loss")})


@dataclass(kw_only=True)
class Session:
    """One attempt of one run on one rank."""

    run: RunDir
    config: RunConfig
    manifest: dict[str, Any]
    ranks: Ranks
    attempt: int
    emit: Emit
    tokenizer: RunTokenizer
    model: Decoder
    loss_module: nn.Module
    """`LossModule`."""
    optimizer: ShardedOptimizer
    travel: WeightTravel
    plan: Plan | RowPlan
    loader: StepLoader
    validation: StepLoader
    questions: dict[str, Prepared]
    checkpointer: Checkpointer
    progress: Progress
    prompts: tuple[str, ...] = ()
    """Answered every `sample_every` steps; empty when no samples are wanted."""
    best_rows: RowLosses | None = None
    """Rows of the lowest validation loss so far; rank 0 only."""
    sandbox: Sandbox | None = None
    """For answers that are programs; None where there are none."""
    lr_factor: float = 1.0
    unsaved: str = ""
    """Why the last checkpoint of the run is not on the disk."""
    rows_cut_told: int = 0
    """Rows cut at `max_tokens` of which the event log knows."""
    token_bytes: Tensor | None = None
    """int64 [V] bytes of each token where validation counts bits a byte; 0 of special ones."""
    schedule: Schedule = field(init=False)
    clock: OwnClock = field(init=False)
    """This rank's own time of each step."""

    def __post_init__(self) -> None:
        if isinstance(self.plan, RowPlan):
            optim = self.config.optim
            self.schedule = self.plan.schedule(
                warmup_ratio=optim.warmup_ratio,
                warmdown_ratio=optim.warmdown_ratio,
                final_lr_frac=optim.final_lr_frac,
            )
        elif self.config.start.model is not None:
            self.schedule = TransformersSchedule.of(self.config.optim, self.plan.num_updates)
        else:
            self.schedule = LrSchedule(num_iterations=self.plan.num_iterations)
        self.clock = OwnClock(self.ranks.device)

    @property
    def device(self) -> torch.device:
        return self.ranks.device

    @property
    def is_main(self) -> bool:
        return self.ranks.is_main

    def autocast(self) -> torch.autocast:
        """bfloat16 over fp32 weights where `RuntimeConfig.mixed` says so; else nothing."""
        wanted = self.config.runtime.mixed(self.device.type)
        # With recomputed blocks the cache would hold 2 bytes of every weight until the step's
        # end (384 MiB at d16), which is what recomputing is there to save.
        return torch.autocast(
            self.device.type,
            dtype=torch.bfloat16,
            enabled=wanted,
            cache_enabled=not self.model.checkpoint_blocks,
        )

    def close(self) -> None:
        self.loader.close()
        self.validation.close()


def wait_for_disk(session: Session, busy: Callable[[float], bool] | None = None) -> None:
    """Return on all ranks when no rank writes any more; they meet (*) four times a second.

    A collective has a timeout of two minutes, and a slow disk may take longer: a rank that
    waited for it inside one would end a healthy run. `busy(seconds)` waits at most so long;
    by default for the rank's own checkpoint.
    """
    busy = busy or session.checkpointer.writing
    while session.ranks.max(torch.tensor([int(busy(MEET_SECONDS))])).item():
        pass


def start_checkpoint(manifest: dict[str, Any]) -> NanochatCheckpoint | None:
    """The nanochat checkpoint a run began with; None for the starter base and other families."""
    start = manifest["start"]
    if start["source"] in (STARTER, HF):
        return None
    base = Path(start["base_dir"])
    return nanochat_paths.find_checkpoint(start["source"], start["tag"], start["step"], base=base)
