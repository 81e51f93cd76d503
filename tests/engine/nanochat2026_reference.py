"""Our engine on the rows, rates and optimizer state of nanochat's recorded runs of 2026."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.checkpoints import nanochat_io, nanochat_paths
from engine.config import OptimConfig
from engine.conversations.tokenizer import Tokenizer
from engine.data.mixture import Mixture
from engine.data.tasks import DataEntry, DataSettings, build_mixture, load_validation
from engine.evaluation.evaluate import ValidationResult, validate
from engine.model.nanochat import optimizer_files
from engine.model.nanochat.gpt import GPT, as_trained
from engine.model.nanochat.parameter_groups import groups_of
from engine.optimizer.optim import build_optimizer, grad_norm
from engine.session import LossModule
from engine.step import row_packing
from engine.step.dataloader import StepLoader, TokenRows
from engine.step.packing import Layout
from engine.step.step_losses import StepLosses, step_losses
from tests.conftest import SHARED

NEW = SHARED / "nanochat2026"
DATA = SHARED / "nanochat" / "data"
SEQUENCE = 512


@cache
def reference(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((NEW / "ref" / f"{name}.json").read_text())
    return found


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.load(NEW / "base" / "tokenizer" / "tokenizer.pkl")


@cache
def mixtures() -> tuple[Mixture, Mixture]:
    """Training and validation of every recorded run."""
    settings = DataSettings(
        data_dir=DATA,
        mixture=(
            DataEntry(name="SmolTalk"),
            DataEntry(name="MMLU", split="auxiliary_train", epochs=3),
            DataEntry(name="GSM8K", epochs=2),
        ),
        validation=(
            DataEntry(name="SmolTalk", split="test"),
            DataEntry(name="MMLU", split="test", size=5200),
            DataEntry(name="GSM8K", split="test", size=420),
        ),
    )
    return build_mixture(settings), load_validation(settings, None)


@cache
def token_rows() -> tuple[TokenRows, TokenRows]:
    training, validation = mixtures()
    return TokenRows(training, tokenizer()), TokenRows(validation, tokenizer())


@cache
def lengths() -> tuple[list[int], list[int]]:
    training, validation = (
        [len(rows[index].ids) for index in range(len(mixture))]
        for rows, mixture in zip(token_rows(), mixtures(), strict=True)
    )
    return training, validation


@cache
def plans(name: str) -> tuple[row_packing.RowPlan, row_packing.PackedRows]:
    """nanochat's own plan of a recorded run."""
    flags = reference(name)["flags"]
    training, validation = lengths()
    common: dict[str, Any] = {
        "world_size": reference(name)["world_size"],
        "device_batch_size": int(flags.get("device-batch-size", 4)),
        "max_seq_len": SEQUENCE,
        "compat": "nanochat",
    }
    plan = row_packing.plan_rows(
        training,
        total_batch_size=int(flags.get("total-batch-size", 2048)),
        num_iterations=int(flags.get("num-iterations", -1)),
        **common,
    )
    packed = row_packing.plan_validation(
        validation, eval_tokens=int(flags.get("eval-tokens", 20971520)), **common
    )
    return plan, packed


class ReferenceRun2026:
    """One recorded run, executed here by a single rank; `mixed`: as under `--dtype bfloat16`."""

    def __init__(
        self, name: str, *, layout: Layout = "packed", max_tokens: int = 2000, mixed: bool = False
    ) -> None:
        flags = reference(name)["flags"]
        self.plan, validation = plans(name)
        self.mixed = mixed
        base = nanochat_paths.find_checkpoint("base", base=NEW / "base")
        config, state = nanochat_io.load_weights(base)
        self.model = GPT.from_state(config, as_trained(state, mixed=mixed))
        self.settings = OptimConfig(
            embedding_lr=float(flags.get("embedding-lr", 1.0)),
            unembedding_lr=float(flags.get("unembedding-lr", 0.03)),
            matrix_lr=float(flags.get("matrix-lr", 0.06)),
            init_lr_frac=0.8,
        )
        self.optimizer = build_optimizer(self.model, self.settings)
        if flags.get("load-optimizer") != "0":
            files = nanochat_paths.optimizer_shards(base.model_path.parent, base.step)
            groups = groups_of(config, self.settings)
            self.optimizer.load_state_dict(optimizer_files.read(config, groups, files))
        self.schedule = self.plan.schedule(
            warmup_ratio=float(flags.get("warmup-ratio", 0)), warmdown_ratio=0.5, final_lr_frac=0.0
        )
        self.loss_module = LossModule(self.model)
        common: dict[str, Any] = {
            "pad_id": 0, "layout": layout, "max_tokens": max_tokens, "prefetch": False,
        }  # fmt: skip
        training_rows, validation_rows = token_rows()
        self.loader = StepLoader(training_rows, self.plan, **common)
        self.validation = StepLoader(validation_rows, validation, **common)

    def update(self, step: int) -> tuple[StepLosses, float]:
        """One update; losses of every micro-batch, and the gradient's norm before it."""
        batch = self.loader.load(step)
        nlls = []
        for micro in batch.micro_steps:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
                loss, nll = self.loss_module(micro)
            loss.backward()
            nlls.append(nll)
        norm = float(grad_norm(self.model.parameters()))
        self.optimizer.set_lr(self.schedule.multiplier(step))
        self.optimizer.set_momentum(self.schedule.momentum(step))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return step_losses(batch, nlls), norm

    def validate(self) -> ValidationResult:
        return validate(self.model, self.validation.load(0), token_bytes=token_bytes())


@cache
def token_bytes() -> Tensor:
    return torch.from_numpy(tokenizer().token_bytes())


def checksum(x: Tensor) -> tuple[float, float]:
    """l2 and projection of the README."""
    flat = x.detach().double().flatten().numpy()
    return float(np.linalg.norm(flat)), float(
        (flat * np.sin(0.37 * np.arange(len(flat)) + 1)).sum()
    )


def faults(name: str, updates: Sequence[int], **options: Any) -> list[str]:
    """What differs from the record by more than the README allows, over some first updates."""
    record = reference(name)
    run = ReferenceRun2026(name, **options)
    last = len(record["updates"])
    bpb = {each["update"]: each["bpb"] for each in record["validation"]}
    found: list[str] = []

    def compare(what: str, ours: float, theirs: float, limit: float) -> None:
        if not abs(ours - theirs) <= limit:
            found.append(f"{what}: {ours!r}, recorded {theirs!r}")

    for step in updates:
        if step in bpb:
            compare(f"bpb at {step}", run.validate().loss, bpb[step], 1e-5)
        losses, norm = run.update(step)
        wanted = record["updates"][step]
        theirs = np.array(wanted["micro_losses"]).T.flatten()
        early = step < 12
        gap = float(np.abs(losses.micro_losses - theirs).max())
        compare(f"micro-batch losses of update {step + 1}", gap, 0, 2e-5 if early else 1e-4)
        relative = 1e-4 if early else 1e-3
        compare(f"norm of update {step + 1}", norm, wanted["grad_norm"], relative * norm)
        if str(step + 1) not in record["params_after"]:
            continue
        for key, sums in record["params_after"][str(step + 1)].items():
            l2, projection = checksum(dict(run.model.named_parameters())[key])
            limit = 1e-5 if early else 5e-5
            compare(f"{key} after {step + 1}", l2 / max(sums["l2"], 1e-9), 1, limit)
            compare(f"{key} after {step + 1}", projection, sums["proj"], 1e-2 if early else 5e-2)
    if list(updates)[-1] + 1 == last:
        compare("bpb at the end", run.validate().loss, bpb[last], 1e-5)
    assert math.isfinite(run.schedule.multiplier(0))
    return found
