"""A run like the reference run of `/work/shared/nanochat`, all its ranks in one process.

Gradients of every rank's micro-steps are added up in one model, which is what
averaging over ranks comes to, since the plan's weights sum over all ranks.
"""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.checkpoints.nanochat_io import load_weights
from engine.checkpoints.nanochat_paths import find_checkpoint
from engine.config import OptimConfig
from engine.conversations.tokenizer import Tokenizer
from engine.data.tasks import DataSettings, build_mixture, load_validation
from engine.evaluation.evaluate import ValidationResult, validate
from engine.model.nanochat.gpt import GPT
from engine.optimizer.lr_schedule import LrSchedule
from engine.optimizer.optim import ADAM_BETAS, ADAM_EPS, build_optimizer, grad_norm
from engine.step.dataloader import PAD_TOKEN, StepBatch, StepLoader, TokenRows
from engine.step.loss import weighted_loss
from engine.step.packing import Layout
from engine.step.plan import Plan, ValidationPlan, validation_rows
from engine.step.step_losses import StepLosses, document_sums, losses_of
from tests.conftest import SHARED

NANOCHAT = SHARED / "nanochat"
BASE = NANOCHAT / "base"


@cache
def reference(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((NANOCHAT / "ref" / name).read_text())
    return found


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.load(BASE / "tokenizer" / "tokenizer.pkl")


def load_model(source: str) -> GPT:
    config, state = load_weights(find_checkpoint(source, base=BASE))
    model = GPT(config)
    model.load_state_dict(state)
    return model


def data_settings() -> DataSettings:
    return DataSettings(data_dir=NANOCHAT / "data", max_smoltalk_rows=10_000)


@cache
def token_rows() -> tuple[TokenRows, int]:
    mixture = build_mixture(data_settings())
    return TokenRows(mixture, tokenizer()), len(mixture)


@cache
def _validation_rows(number: int) -> tuple[TokenRows, int]:
    rows = load_validation(data_settings(), number)
    return TokenRows(rows, tokenizer()), len(rows)


class ReferenceRun:
    """The settings of `shared/nanochat/README.md`."""

    def __init__(
        self, *, world_size: int, layout: Layout, running_ranks: int | None = None
    ) -> None:
        """`world_size` is the plan's; `running_ranks` execute it, as many unless said."""
        ranks = world_size if running_ranks is None else running_ranks
        rows, number = token_rows()
        self.plan = Plan(
            num_rows=number,
            world_size=world_size,
            device_batch_size=2,
            target_examples_per_step=16,
            num_epochs=3,
        )
        self.model = load_model("mid")
        settings = OptimConfig(
            unembedding_lr=0.008,
            embedding_lr=0.4,
            matrix_lr=0.04,
            weight_decay=0.1,
            init_lr_frac=0.02,
        )
        self.optimizer = build_optimizer(self.model, settings)
        self.schedule = LrSchedule(num_iterations=self.plan.num_iterations)
        pad_id = tokenizer().special(PAD_TOKEN)
        self.loaders = [
            StepLoader(
                rows,
                self.plan,
                pad_id=pad_id,
                rank=rank,
                world_size=ranks,
                layout=layout,
                prefetch=False,
            )
            for rank in range(ranks)
        ]
        validation = ValidationPlan(
            num_rows=10**9, world_size=world_size, device_batch_size=2, eval_steps=20
        )
        held_out, found = _validation_rows(validation_rows(validation))
        self._validation = StepLoader(
            held_out,
            ValidationPlan(
                num_rows=found, world_size=world_size, device_batch_size=2, eval_steps=20
            ),
            pad_id=pad_id,
            layout=layout,
            prefetch=False,
        ).load(0)

    def backward(self, step: int) -> tuple[StepLosses, list[StepBatch], float]:
        """Losses of the step, every rank's batch, and the gradient's norm."""
        self.optimizer.set_lr(self.schedule.multiplier(step))
        self.optimizer.zero_grad()
        batches = [loader.load(step) for loader in self.loaders]
        sums = torch.zeros(len(batches[0].documents), dtype=torch.float64)
        for batch in batches:
            nlls: list[Tensor] = []
            for micro in batch.micro_steps:
                hidden = self.model(micro.ids, spans=micro.spans, positions=micro.positions)
                loss, nll = weighted_loss(
                    hidden.flatten(0, -2)[micro.supervised],
                    self.model.lm_head.weight,
                    micro.targets,
                    micro.weights,
                )
                loss.backward()
                nlls.append(nll)
            sums += document_sums(batch, nlls)
        losses = losses_of(batches[0], sums)
        return losses, batches, float(grad_norm(self.model.parameters()))

    def update(self, step: int) -> None:
        """Step the optimizer on the gradients of `backward`."""
        if self.plan.world_size > 1:
            # nanochat's AdamW for several ranks adds eps before the bias correction of the
            # second moment, torch's after it: the same numbers but for eps, which decides
            # what a gradient near 1e-9 does to an embedding entry.
            for group in self.optimizer._adamw.param_groups:
                group["eps"] = ADAM_EPS / math.sqrt(1 - ADAM_BETAS[1] ** (step + 1))
        self.optimizer.step()

    def validate(self) -> ValidationResult:
        return validate(self.model, self._validation)

    def micro_losses_by_rank(self, losses: StepLosses) -> list[list[float]]:
        by_rank: list[list[float]] = [[] for _ in range(self.plan.world_size)]
        for place, loss in enumerate(losses.micro_losses):
            by_rank[place % self.plan.world_size].append(float(loss))
        return by_rank


def checksums(model: GPT) -> dict[str, dict[str, float]]:
    """Norm, sum and a sum sensitive to positions of every tensor, as the reference has them."""
    found: dict[str, dict[str, float]] = {}
    for name, weight in model.named_parameters():
        x = weight.detach().double().flatten().numpy()
        wave = np.sin(0.37 * np.arange(len(x), dtype=np.float64) + 1)
        found[name] = {
            "l2": math.sqrt(float((x * x).sum())),
            "sum": float(x.sum()),
            "proj": float((x * wave).sum()),
        }
    return found


def gradient_norms(model: GPT) -> dict[str, float]:
    return {
        name: float(weight.grad.double().norm())
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }
