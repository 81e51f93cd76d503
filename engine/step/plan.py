"""The rows of every step and the weight of each supervised token, as a function of the step.

The plan is a pure function of the step, so a resume needs only the step number
and the number of ranks the plan was made for. That number is part of the plan,
not of the machine: nanochat's micro-batches depend on it, and a run planned for
two ranks may be executed by one, with the same loss and gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.errors import ConfigError

LossNorm = Literal["microbatch", "tokens"]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows whose losses nanochat averages together, before it averages over micro-batches."""

    rank: int
    """Of the plan's `world_size`."""
    index: int
    """Place within the rank's share of the step, from 0."""
    rows: tuple[int, ...]
    """Mixture rows, in the order they are visited."""
    packs: tuple[tuple[int, ...], ...] | None = None
    """The same rows by the packed row they share, in which each sees those before it; None:
    each is read alone."""

    def units(self) -> list[tuple[int, ...]]:
        """The places in `rows` of what is read as one, in order."""
        if self.packs is None:
            return [(place,) for place in range(len(self.rows))]
        found, start = [], 0
        for pack in self.packs:
            found.append(tuple(range(start, start + len(pack))))
            start += len(pack)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which rows each training step takes.

    Raises:
        ConfigError: the numbers do not fit each other; the message names some that do.
    """

    num_rows: int
    world_size: int
    device_batch_size: int
    target_examples_per_step: int
    num_epochs: int = 1
    requested_iterations: int = -1
    """-1 counts them from the epochs."""

    def __post_init__(self) -> None:
        for name in ("num_rows", "world_size", "device_batch_size", "target_examples_per_step"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more.")
        if self.num_rows < self.world_size:
            raise ConfigError(
                f"There are {self.num_rows} training rows for {self.world_size} ranks; expected "
                "at least one a rank. Add data, or lower --gpus."
            )
        share = self.device_batch_size * self.world_size
        target = self.target_examples_per_step
        if target % share:
            below, above = target // share * share, (target // share + 1) * share
            values = f"{below} or {above}" if below else f"{above}"
            raise ConfigError(
                f"target_examples_per_step is {target}, not a multiple of device_batch_size x "
                f"ranks = {self.device_batch_size} x {self.world_size} = {share}. Pass "
                f"--target-examples-per-step {values}{self._fitting_batch()}."
            )
        if self.requested_iterations != -1 and self.requested_iterations < 1:
            raise ConfigError(
                f"num_iterations is {self.requested_iterations}; expected 1 or more, or -1 to "
                "count them from --num-epochs."
            )
        if self.requested_iterations == -1:
            if self.num_epochs < 1:
                raise ConfigError(f"num_epochs is {self.num_epochs}; expected 1 or more.")
            if self.num_rows < target:
                raise ConfigError(
                    f"The mixture has {self.num_rows} rows, fewer than one step's {target}; "
                    f"expected at least one whole step an epoch. Lower "
                    "--target-examples-per-step, or pass --num-iterations."
                )

    def _fitting_batch(self) -> str:
        """Advice naming the nearest device_batch_size that divides the target, or nothing."""
        per_rank, rest = divmod(self.target_examples_per_step, self.world_size)
        if rest:
            return ""
        wanted = self.device_batch_size
        fitting = [size for size in range(1, per_rank + 1) if per_rank % size == 0]
        nearest = min(fitting, key=lambda size: (abs(size - wanted), size))
        return f", or --device-batch-size {nearest}"

    @property
    def grad_accum_steps(self) -> int:
        """Micro-batches of one rank in one step."""
        return self.target_examples_per_step // (self.device_batch_size * self.world_size)

    @property
    def num_iterations(self) -> int:
        """Planned iterations; the last one only evaluates, so updates are one fewer."""
        if self.requested_iterations != -1:
            return self.requested_iterations
        return self.num_rows // self.target_examples_per_step * self.num_epochs

    @property
    def num_updates(self) -> int:
        return self.num_iterations - 1

    def epoch_at(self, step: int) -> float:
        """Passes over the mixture begun when `step` starts; 1.5 is halfway through the second."""
        return step * self.target_examples_per_step / self.num_rows

    def micro_batches(self, step: int) -> list[MicroBatch]:
        """The step's micro-batches: first index first, ranks in turn within it.

        Rank r visits rows r, r+W, r+2W, ... and starts again from r, for ever;
        every `device_batch_size` visited rows are a micro-batch, across the end
        of an epoch too. Unless W divides the row count, ranks pass that end at
        different steps, so a row can stand in a step of one rank twice as early
        as nanochat's reader would expect: that is nanochat's order, kept.
        """
        first = step * self.grad_accum_steps
        return [
            MicroBatch(rank, index, self._visited(rank, first + index))
            for index in range(self.grad_accum_steps)
            for rank in range(self.world_size)
        ]

    def _visited(self, rank: int, number: int) -> tuple[int, ...]:
        """Rows of the rank's micro-batch `number`, counted over the whole run."""
        per_epoch = len(range(rank, self.num_rows, self.world_size))
        start = number * self.device_batch_size
        return tuple(
            rank + self.world_size * (place % per_epoch)
            for place in range(start, start + self.device_batch_size)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationPlan:
    """The validation rows as one step: nanochat's first `eval_steps` micro-batches of each rank.

    Where nanochat would begin the rows again, this ends: a row counted twice
    would falsify every paired comparison of two evaluations.
    """

    num_rows: int
    world_size: int
    device_batch_size: int
    eval_steps: int

    def micro_batches(self, step: int = 0) -> list[MicroBatch]:
        """Micro-batches in `Plan.micro_batches`' order; the last ones may be short."""
        end = min(self.num_rows, validation_rows(self))
        by_rank = [range(rank, end, self.world_size) for rank in range(self.world_size)]
        found: list[MicroBatch] = []
        for index in range(self.eval_steps):
            start = index * self.device_batch_size
            for rank, visited in enumerate(by_rank):
                if rows := tuple(visited[start : start + self.device_batch_size]):
                    found.append(MicroBatch(rank, index, rows))
        return found


def validation_rows(plan: ValidationPlan) -> int:
    """Rows a validation wants; the data may hold fewer."""
    return plan.eval_steps * plan.device_batch_size * plan.world_size


def token_weights(loss_norm: LossNorm, supervised: Sequence[int]) -> list[float]:
    """Weight of one supervised token in each micro-batch, given the tokens they hold.

    `sum(weight * nll)` over the whole step is then the loss that is minimised.
    "microbatch": each micro-batch's mean counts the same, nanochat's rule; one
    without a supervised token gets weight 0 and still counts in the divisor, as
    in nanochat, whose gradient it leaves exactly zero. "tokens": every
    supervised token of the step counts the same.
    """
    if loss_norm == "tokens":
        total = sum(supervised)
        return [1.0 / total if count else 0.0 for count in supervised]
    return [1.0 / (len(supervised) * count) if count else 0.0 for count in supervised]
