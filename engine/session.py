"""Everything a run needs before its first step, built in the order the screen names the phases.

All of it follows from the run directory: the manifest says what was asked for,
the newest valid checkpoint says how far an earlier attempt came.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from engine import config
from engine.checkpoints import checkpoint_dir, nanochat_io, nanochat_paths
from engine.checkpoints import checkpointer as checkpoint
from engine.checkpoints.checkpoint_dir import CheckpointInfo
from engine.checkpoints.checkpointer import Checkpointer
from engine.checkpoints.nanochat_paths import CheckpointRef
from engine.config import RunConfig
from engine.conversations.tokenizer import Tokenizer
from engine.data import tasks
from engine.data.mixture import Mixture
from engine.distributed import Ranks
from engine.evaluation import samples
from engine.evaluation.evaluate import PreparedQuestions, prepare_questions
from engine.evaluation.validation_rows import RowLosses
from engine.events import AttemptStarted, Event, LogLine, PhaseStarted, RunStarted
from engine.model.nanochat.gpt import GPT, GPTConfig
from engine.optimizer.lr_schedule import LrSchedule
from engine.optimizer.optim import ShardedOptimizer, build_optimizer, initial_lrs, width_scale
from engine.optimizer.weight_distance import WeightTravel
from engine.run import resume_file
from engine.run.run_dir import RunDir
from engine.step import run_plan
from engine.step.dataloader import PAD_TOKEN, MicroStep, StepLoader, TokenRows
from engine.step.loss import weighted_loss
from engine.step.plan import Plan, ValidationPlan
from engine.step.run_plan import STARTER
from engine.step.step_clock import OwnClock

Emit = Callable[[Event], None]


class LossModule(nn.Module):
    """Model and loss in one module, so that DDP sees the whole forward pass."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, micro: MicroStep) -> tuple[Tensor, Tensor]:
        """Weighted loss sum (with gradient) and per-token losses [K] of one micro-step."""
        hidden = self.model(micro.ids, spans=micro.spans, positions=micro.positions)
        return weighted_loss(
            hidden.flatten(0, -2)[micro.supervised],
            self.model.lm_head.weight,
            micro.targets,
            micro.weights,
        )


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
    tokenizer: Tokenizer
    model: GPT
    loss_module: nn.Module
    """`LossModule`, in DDP when there are several ranks."""
    optimizer: ShardedOptimizer
    schedule: LrSchedule
    plan: Plan
    loader: StepLoader
    validation: StepLoader
    questions: dict[str, PreparedQuestions]
    checkpointer: Checkpointer
    progress: Progress
    travel: WeightTravel
    clock: OwnClock
    prompts: tuple[str, ...] = ()
    """Answered now and then; empty when nobody asked for samples."""
    best_rows: RowLosses | None = None
    """Rows of the lowest validation loss so far; rank 0 only."""
    lr_factor: float = 1.0
    unsaved: str = ""
    """Why the last checkpoint of the run is not on the disk."""
    rows_cut_told: int = 0
    """Rows cut at `max_tokens` of which the event log knows."""

    @property
    def device(self) -> torch.device:
        return self.ranks.device

    @property
    def is_main(self) -> bool:
        return self.ranks.is_main

    def autocast(self) -> torch.autocast:
        """bfloat16 on CUDA when asked for; the CPU computes in float32."""
        wanted = self.device.type == "cuda" and self.config.runtime.dtype == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=wanted)

    def close(self) -> None:
        self.loader.close()
        self.validation.close()


def build(
    run: RunDir,
    ranks: Ranks,
    attempt: int,
    emit: Emit,
    settle_log: Callable[[], object] = lambda: None,
) -> Session:
    """Load model and data, take up the newest checkpoint if there is one.

    Raises:
        UsageError: checkpoint or data cannot be used (the launcher checks first, so this
            means that they changed since).
    """
    manifest = resume_file.manifest_now(run)
    settings = config.from_flat(manifest["config"], manifest.get("recipe"))
    resume, problems = checkpoint_dir.newest_valid(run)
    emit(PhaseStarted(phase="model", detail=str(manifest["start"]["label"])))
    shape, weights = _weights(manifest, resume, ranks)
    model = GPT.from_state(shape, {name: w.to(ranks.device) for name, w in weights.items()})
    model.to(ranks.device)
    model.checkpoint_blocks = settings.runtime.activation_checkpointing
    optimizer = build_optimizer(
        model, settings.optim, rank=ranks.rank, world_size=ranks.world_size, group=ranks.group
    )
    progress = Progress()
    lr_factor = 1.0
    if resume is not None:
        optimizer.load_state_dict(checkpoint.load_optimizer_states(resume))
        checkpoint.restore_random_state(resume, ranks.rank)
        progress = Progress.from_state(resume.state)
        lr_factor = float(resume.state.get("lr_factor", 1.0))
    loss_module: nn.Module = LossModule(model)
    if ranks.world_size > 1:
        device_ids = [ranks.device] if ranks.device.type == "cuda" else None
        # The rotary tables are constants, and sending them would hide a slow rank: the first
        # forward pass of a step would wait for it.
        loss_module = DistributedDataParallel(
            loss_module,
            device_ids=device_ids,
            process_group=ranks.group,
            broadcast_buffers=False,
        )

    emit(PhaseStarted(phase="data", detail=settings.data.data_dir or ""))
    tokenizer = Tokenizer.load_same(run.tokenizer, manifest["tokenizer_sha256"])
    data = run_plan.data_settings(settings)
    mixture = tasks.build_mixture(data)
    plan = run_plan.make_plan(settings, len(mixture))
    held_out = tasks.load_validation(data, run_plan.validation_rows_wanted(settings))
    loader, validation = _loaders(
        settings, mixture, held_out, plan, tokenizer, shape.vocab_size, ranks
    )
    questions = {
        task: prepare_questions(
            tokenizer,
            task,
            found,
            max_tokens=settings.data.max_tokens,
            vocab_size=shape.vocab_size,
        )
        for task, found in tasks.load_questions(
            data, settings.eval.eval_metrics_max_problems
        ).items()
    }
    changes = _changes(run, attempt, plan, ranks)
    if resume is None or changes:
        lrs = initial_lrs(settings.optim, shape.n_embd)
        effective = run_plan.effective_settings(
            settings, shape, plan, lrs, width_scale(shape.n_embd)
        )
        emit(_run_started(manifest, settings, ranks, shape, plan, mixture.counts(), effective))
    emit(
        AttemptStarted(
            start_step=progress.step,
            world_size=ranks.world_size,
            resumed_from=None if resume is None else run.relative(resume.path),
            num_iterations=plan.num_iterations,
        )
    )
    for text in changes:
        emit(LogLine(step=progress.step, text=text, level="warn"))
    for problem in problems:
        emit(LogLine(text=f"skipped a broken checkpoint: {problem}", level="warn"))
    checkpointer = Checkpointer(
        run,
        rank=ranks.rank,
        world_size=ranks.world_size,
        attempt=attempt,
        keep=settings.checkpoint.keep,
        emit=emit,
        settle_log=settle_log,
    )
    if resume is not None:
        checkpointer.protected.add(resume.step)
    return Session(
        run=run,
        config=settings,
        manifest=manifest,
        ranks=ranks,
        attempt=attempt,
        emit=emit,
        tokenizer=tokenizer,
        model=model,
        loss_module=loss_module,
        optimizer=optimizer,
        schedule=LrSchedule(num_iterations=plan.num_iterations),
        plan=plan,
        loader=loader,
        validation=validation,
        questions=questions,
        checkpointer=checkpointer,
        progress=progress,
        travel=WeightTravel(
            optimizer,
            last_update=plan.num_updates - 1,
            load_start=None if resume is None else lambda: _weights(manifest, None, ranks)[1],
        ),
        clock=OwnClock(ranks.device),
        lr_factor=lr_factor,
        prompts=_prompts(settings, held_out),
    )


def start_checkpoint(manifest: dict[str, Any]) -> CheckpointRef | None:
    """The nanochat checkpoint a run began with; None for the starter base."""
    start = manifest["start"]
    if start["source"] == STARTER:
        return None
    base = Path(start["base_dir"])
    return nanochat_paths.find_checkpoint(start["source"], start["tag"], start["step"], base=base)


def set_threads(config: RunConfig, ranks: Ranks) -> None:
    """Share the cores out, unless the environment already says how."""
    wanted = config.runtime.threads
    if not wanted and "OMP_NUM_THREADS" not in os.environ:
        wanted = max(1, (os.cpu_count() or 1) // ranks.local_world_size)
    if wanted:
        torch.set_num_threads(wanted)
    if ranks.device.type == "cuda":
        # As nanochat: fp32 products outside autocast may use TF32.
        torch.set_float32_matmul_precision("high")


def _changes(run: RunDir, attempt: int, plan: Plan, ranks: Ranks) -> list[str]:
    """What a person should know of this attempt if it begins a resumption that changed the run."""
    taken_up = resume_file.newest(run, attempt)
    if taken_up is None:
        return []
    found = [f"resumed with {name} = {value}" for name, value in taken_up.changed.items()]
    if ranks.world_size != plan.world_size:
        found.append(
            f"{ranks.world_size} rank(s) execute the plan of {plan.world_size}: the same rows and "
            "weights, equal to the unbroken run up to rounding, not to the last bit"
        )
    return found


def _weights(
    manifest: dict[str, Any], resume: CheckpointInfo | None, ranks: Ranks
) -> tuple[GPTConfig, dict[str, Tensor]]:
    shape = GPTConfig.from_dict(manifest["start"]["model_config"])
    if resume is not None:
        return shape, checkpoint.load_model_state(resume)
    ref = start_checkpoint(manifest)
    if ref is None:
        # The starter's files concern the starter alone.
        from engine.starter import weights  # noqa: PLC0415

        return weights.load_base()
    # On CUDA nanochat keeps the embedding in bfloat16; fp32 elsewhere.
    on_cuda = ranks.device.type == "cuda" and manifest["config"]["dtype"] == "bfloat16"
    embedding_dtype = torch.bfloat16 if on_cuda else torch.float32
    return nanochat_io.load_weights(ref, embedding_dtype=embedding_dtype)


def _prompts(settings: RunConfig, held_out: Mixture) -> tuple[str, ...]:
    """What is answered every `sample_every` steps."""
    if not settings.eval.sample_every:
        return ()
    return settings.eval.sample_prompts or samples.default_prompts(held_out)


def _loaders(
    settings: RunConfig,
    mixture: Mixture,
    held_out: Mixture,
    plan: Plan,
    tokenizer: Tokenizer,
    vocab_size: int,
    ranks: Ranks,
) -> tuple[StepLoader, StepLoader]:
    common: dict[str, Any] = {
        "pad_id": tokenizer.special(PAD_TOKEN),
        "rank": ranks.rank,
        "world_size": ranks.world_size,
        "layout": settings.batch.layout,
        "max_tokens": run_plan.packed_tokens(settings, ranks.device.type),
        "device": ranks.device,
    }
    rows = TokenRows(mixture, tokenizer, settings.data.max_tokens, vocab_size)
    training = StepLoader(rows, plan, loss_norm=settings.batch.loss_norm, **common)
    validation_plan = ValidationPlan(
        num_rows=len(held_out),
        world_size=plan.world_size,
        device_batch_size=settings.batch.device_batch_size,
        eval_steps=settings.eval.eval_steps,
    )
    validation_rows = TokenRows(held_out, tokenizer, settings.data.max_tokens, vocab_size)
    validation = StepLoader(validation_rows, validation_plan, prefetch=False, **common)
    return training, validation


def _run_started(
    manifest: dict[str, Any],
    settings: RunConfig,
    ranks: Ranks,
    shape: GPTConfig,
    plan: Plan,
    mixture: dict[str, int],
    effective: dict[str, Any],
) -> RunStarted:
    typed = {
        name: ",".join(value) if isinstance(value, tuple) else value
        for name, value in settings.flat().items()
    }
    return RunStarted(
        name=str(manifest["name"]),
        recipe=settings.recipe,
        source=str(manifest["start"]["label"]),
        num_iterations=plan.num_iterations,
        world_size=ranks.world_size,
        device=ranks.device.type,
        backend=ranks.backend,
        num_parameters=shape.num_parameters,
        rows=plan.num_rows,
        mixture=mixture,
        settings=typed,
        effective=effective | {"notes": json.dumps(manifest.get("notes", []))},
    )
