"""Build a `Session`: load weights, load data, announce the run.

All of it follows from the run directory: the manifest says what was asked for,
the newest valid checkpoint says how far an earlier attempt came.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.checkpoints import checkpoint_dir, nanochat_io, nanochat_paths, tensor_file
from engine.checkpoints.checkpoint_dir import CheckpointInfo
from engine.checkpoints.checkpointer import (
    Checkpointer,
    load_model_state,
    load_optimizer_states,
    restore_random_state,
)
from engine.config import HF, RunConfig, from_flat
from engine.conversations import chat_format
from engine.conversations.tokenizer import Tokenizer
from engine.data import row_digests, supervision, tasks
from engine.data.mixture import Mixture
from engine.distributed import Ranks
from engine.errors import DataError, slow_path
from engine.evaluation import exam, samples
from engine.evaluation.exam import Prepared
from engine.events import AttemptStarted, LogLine, PhaseStarted, RunStarted
from engine.model import compiled, family
from engine.model.family import Decoder, ModelShape, RunTokenizer
from engine.optimizer.optim import ShardedOptimizer, build_optimizer
from engine.optimizer.weight_distance import WeightTravel
from engine.run import resume_file
from engine.run.run_dir import RunDir
from engine.sandbox.program_sandbox import Sandbox
from engine.session import Emit, LossModule, Progress, Session, start_checkpoint
from engine.step import fused_loss, packed_run, row_packing, run_plan
from engine.step.dataloader import PAD_TOKEN, StepLoader, TokenRows
from engine.step.plan import Plan, ValidationPlan
from engine.step.row_packing import PackedRows, RowPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The model as this attempt begins with it, and what changes it."""

    model: Decoder
    loss_module: nn.Module
    optimizer: ShardedOptimizer
    progress: Progress
    lr_factor: float
    load_start: Callable[[], dict[str, Tensor]] | None
    """Loads the weights the run began with; None when `model` holds them now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What the run is trained on and measured with."""

    tokenizer: RunTokenizer
    plan: Plan | RowPlan
    counts: dict[str, int]
    """Training rows by source."""
    loader: StepLoader
    validation: StepLoader
    questions: dict[str, Prepared]
    sandbox: Sandbox | None
    prompts: tuple[str, ...]


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
    settings = from_flat(manifest["config"], manifest.get("recipe"))
    # Every rank looks for itself and finds the same one: nobody writes before the first step.
    resume, problems = checkpoint_dir.newest_valid(run)
    set_threads(settings, ranks)
    emit(PhaseStarted(phase="model", detail=str(manifest["start"]["label"])))
    weights = load_weights(manifest, settings, ranks, resume)
    emit(PhaseStarted(phase="data", detail=settings.data.data_dir or ""))
    data = load_data(run, manifest, settings, ranks, weights.model.config)
    session = Session(
        run=run,
        config=settings,
        manifest=manifest,
        ranks=ranks,
        attempt=attempt,
        emit=emit,
        model=weights.model,
        loss_module=weights.loss_module,
        optimizer=weights.optimizer,
        travel=WeightTravel(
            weights.optimizer, last_update=data.plan.num_updates - 1, load_start=weights.load_start
        ),
        progress=weights.progress,
        lr_factor=weights.lr_factor,
        tokenizer=data.tokenizer,
        plan=data.plan,
        loader=data.loader,
        validation=data.validation,
        questions=data.questions,
        sandbox=data.sandbox,
        prompts=data.prompts,
        checkpointer=_checkpointer(run, ranks, attempt, settings, emit, settle_log),
        token_bytes=_token_bytes(settings, data.tokenizer, ranks),
    )
    if resume is not None:
        # Never pruned: should every later checkpoint be damaged, this one is known to be whole.
        session.checkpointer.protected.add(resume.step)
    announce(session, resume, problems, data.counts)
    return session


def _token_bytes(settings: RunConfig, tokenizer: RunTokenizer, ranks: Ranks) -> Tensor | None:
    """What bits a byte are counted with; None where validation is in nats a token."""
    if not packed_run.is_packed(settings) or not isinstance(tokenizer, Tokenizer):
        return None
    return torch.from_numpy(tokenizer.token_bytes()).to(ranks.device)


def load_weights(
    manifest: dict[str, Any], settings: RunConfig, ranks: Ranks, resume: CheckpointInfo | None
) -> Weights:
    """Model and optimizer as `resume` left them, or as the run begins.

    Every rank reads the same file, so nothing is sent.
    """
    shape, state = _model_state(manifest, resume)
    # A checkpoint may come from a device of another precision than this one's.
    mixed = settings.runtime.mixed(ranks.device.type)
    kind = family.of(shape)
    state = kind.as_trained(shape, state, mixed=mixed)
    model = kind.build(shape, tensor_file.placed(state, ranks.device))
    model.to(ranks.device)
    model.checkpoint_blocks = settings.runtime.activation_checkpointing
    if settings.optim.neftune_alpha:
        model.add_noise(settings.optim.neftune_alpha)
    if settings.runtime.compile:
        model.compile_blocks()
    # After the move: the optimizer's row slices are views of the parameters as they are now,
    # and with several ranks it moves them once more, into the buffers they are sent from.
    optimizer = build_optimizer(
        model, settings.optim, rank=ranks.rank, world_size=ranks.world_size, group=ranks.group
    )
    progress, lr_factor, load_start = Progress(), 1.0, None
    # Dropout and noise of two ranks must not be the same. A resumed run takes up its own state.
    torch.manual_seed(settings.data.seed + ranks.rank)
    if resume is not None:
        optimizer.load_state_dict(load_optimizer_states(resume))
        # After the model was made: what is restored last is what training begins with.
        restore_random_state(resume, ranks.rank)
        progress = Progress.from_state(resume.state)
        lr_factor = float(resume.state.get("lr_factor", 1.0))
        load_start = functools.partial(_start_state, manifest)
    elif files := _start_optimizer(manifest, settings, shape):
        optimizer.load_state_dict(kind.read_optimizer(shape, settings.optim, files))
    # Now and not in the first step, whose time would be the compiler's.
    dtype = torch.bfloat16 if mixed else torch.float32
    if settings.optim.label_smoothing and fused_loss.usable(ranks.device, dtype):
        slow_path("with label_smoothing the loss takes eleven passes instead of one kernel")
    fused_loss.try_compile(ranks.device, dtype, shape.vocab_size, model.softcap)
    if settings.runtime.compile:
        padded = settings.batch.device_batch_size if settings.batch.layout == "padded" else None
        compiled.try_out(model, mixed=mixed, padded_rows=padded)
    return Weights(
        model=model,
        loss_module=LossModule(model, label_smoothing=settings.optim.label_smoothing),
        optimizer=optimizer,
        progress=progress,
        lr_factor=lr_factor,
        load_start=load_start,
    )


def load_data(
    run: RunDir, manifest: dict[str, Any], settings: RunConfig, ranks: Ranks, shape: ModelShape
) -> Data:
    """Rows to train on, rows and questions to measure with, and the plan of the steps.

    Raises:
        UsageError: the data, or the run's tokenizer, is not what the launcher saw.
    """
    tokenizer = family.run_tokenizer(shape, run.tokenizer, manifest["tokenizer_sha256"])
    family.of(shape).check_tokenizer(shape, tokenizer)
    wanted = run_plan.data_settings(settings, run_plan.exam_seed(manifest))
    mixture = tasks.build_mixture(wanted)
    plan: Plan | RowPlan
    packed: PackedRows | None = None
    if packed_run.is_packed(settings):
        plan, packed = row_packing.load(run.packing)
        _check_plan(run, plan, len(mixture))
        held_out = tasks.load_validation(wanted, None)
    else:
        plan = run_plan.make_plan(settings, len(mixture))
        held_out = tasks.load_validation(wanted, run_plan.validation_rows_wanted(settings))
    loader, validation = _loaders(
        settings, mixture, held_out, plan, packed, tokenizer, shape, ranks
    )
    asked = tasks.load_questions(wanted, run_plan.exam_limits(settings))
    _check_rows(run, manifest, settings, mixture, held_out, asked, tokenizer, ranks)
    questions = {
        task: exam.prepare(
            tokenizer,
            task,
            found,
            max_tokens=settings.data.max_tokens,
            vocab_size=shape.vocab_size,
        )
        for task, found in asked.items()
    }
    return Data(
        tokenizer=tokenizer,
        plan=plan,
        counts=mixture.counts(),
        loader=loader,
        validation=validation,
        questions=questions,
        sandbox=exam.sandbox_for(questions, unsafe=settings.eval.unsafe_code),
        prompts=_prompts(settings, held_out),
    )


def _check_plan(run: RunDir, plan: RowPlan, num_rows: int) -> None:
    if plan.num_rows != num_rows:
        raise DataError(
            f"{run.packing} is of {plan.num_rows:,} rows, and the data has {num_rows:,} now; "
            "expected the rows the run was planned with. Put them back, or start a new run."
        )


def _check_rows(
    run: RunDir,
    manifest: dict[str, Any],
    settings: RunConfig,
    mixture: Mixture,
    held_out: Mixture,
    asked: dict[str, tasks.Exam],
    tokenizer: RunTokenizer,
    ranks: Ranks,
) -> None:
    """What the launcher could not look at: the hub's rows, and files edited since it did.

    Raises:
        DataError: a source without a supervised token, or rows that are others than the run's.
    """
    limit = packed_run.longest_conversation(settings)
    teaches = supervision.teacher(tokenizer, limit)
    for task in (*mixture.tasks, *held_out.tasks):
        supervision.require(task.name, task.items, teaches, max_tokens=limit)
    found = tasks.digests_of(mixture, held_out, asked)
    row_digests.settle(run, manifest.get(row_digests.KEY), found, write=ranks.is_main)


def announce(
    session: Session,
    resume: CheckpointInfo | None,
    problems: Sequence[str],
    counts: dict[str, int],
) -> None:
    """Emit what is run, from which step, and what a person should know of the way it began.

    `problems` are those of checkpoints newer than `resume`; `counts` are rows by source.
    """
    changes = _changes(session.run, session.attempt, session.plan, session.ranks)
    if resume is None or changes:
        session.emit(_run_started(session, counts))
    start = session.progress.step
    session.emit(
        AttemptStarted(
            start_step=start,
            world_size=session.ranks.world_size,
            resumed_from=None if resume is None else session.run.relative(resume.path),
            num_iterations=session.plan.num_iterations,
        )
    )
    for text in changes:
        session.emit(LogLine(step=start, text=text, level="warn"))
    for problem in problems:
        session.emit(LogLine(text=f"skipped a broken checkpoint: {problem}", level="warn"))


def set_threads(config: RunConfig, ranks: Ranks) -> None:
    """Share the cores out, unless the environment already says how."""
    wanted = config.runtime.threads
    if not wanted and "OMP_NUM_THREADS" not in os.environ:
        wanted = max(1, (os.cpu_count() or 1) // ranks.local_world_size)
    if wanted:
        torch.set_num_threads(wanted)
    if ranks.device.type == "cuda":
        # As nanochat: under bf16 the few fp32 products that are left (the letters' logits) may
        # use TF32, right to 1e-3. Who asks for float32 means it.
        mixed = config.runtime.mixed("cuda")
        torch.set_float32_matmul_precision("high" if mixed else "highest")


def _changes(run: RunDir, attempt: int, plan: Plan | RowPlan, ranks: Ranks) -> list[str]:
    """What differs from the attempts before, when this one begins a resumption; one text each."""
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


def _model_state(
    manifest: dict[str, Any], resume: CheckpointInfo | None
) -> tuple[ModelShape, dict[str, Tensor]]:
    """Shape and tensors to begin this attempt with, on the CPU."""
    if resume is None:
        return _start_model(manifest)
    return family.shape_from(manifest["start"]["model_config"]), load_model_state(resume)


def _start_state(manifest: dict[str, Any]) -> dict[str, Tensor]:
    return _start_model(manifest)[1]


def _start_model(manifest: dict[str, Any]) -> tuple[ModelShape, dict[str, Tensor]]:
    """Shape and tensors that the run began with, on the CPU."""
    ref = start_checkpoint(manifest)
    if manifest["start"]["source"] == HF:
        shape = family.shape_from(manifest["start"]["model_config"])
        return shape, family.of(shape).start_state(shape)
    if ref is None:
        # The starter's files concern the starter alone.
        from engine.starter import weights  # noqa: PLC0415

        return weights.load_base()
    return nanochat_io.load_weights(ref)


def _start_optimizer(
    manifest: dict[str, Any], settings: RunConfig, shape: ModelShape
) -> list[Path]:
    """The optimizer files that the run begins with; empty for a fresh optimizer."""
    ref = start_checkpoint(manifest)
    if ref is None or not run_plan.takes_optimizer(settings, ref.source, shape):
        return []
    return nanochat_paths.optimizer_shards(ref.model_path.parent, ref.step)


def _prompts(settings: RunConfig, held_out: Mixture) -> tuple[str, ...]:
    """The prompts answered every `sample_every` steps: the run's own, else of validation rows."""
    if not settings.eval.sample_every:
        return ()
    return settings.eval.sample_prompts or samples.default_prompts(held_out)


def _loaders(
    settings: RunConfig,
    mixture: Mixture,
    held_out: Mixture,
    plan: Plan | RowPlan,
    packed: PackedRows | None,
    tokenizer: RunTokenizer,
    shape: ModelShape,
    ranks: Ranks,
) -> tuple[StepLoader, StepLoader]:
    common: dict[str, Any] = {
        "pad_id": chat_format.format_of(tokenizer).pad(PAD_TOKEN),
        "rank": ranks.rank,
        "world_size": ranks.world_size,
        "layout": settings.batch.layout,
        "max_tokens": run_plan.packed_tokens(
            settings, ranks.device.type, shape, smallest_card(ranks)
        ),
        "device": ranks.device,
    }
    limit = packed_run.longest_conversation(settings)
    workers = loader_workers(settings, ranks)
    rows = TokenRows(mixture, tokenizer, limit, shape.vocab_size, workers=workers)
    training = StepLoader(rows, plan, loss_norm=settings.batch.loss_norm, **common)
    validation_plan: ValidationPlan | PackedRows = packed or ValidationPlan(
        num_rows=len(held_out),
        world_size=plan.world_size,
        device_batch_size=settings.batch.device_batch_size,
        eval_steps=settings.eval.eval_steps,
    )
    validation_rows = TokenRows(held_out, tokenizer, limit, shape.vocab_size)
    validation = StepLoader(validation_rows, validation_plan, prefetch=False, **common)
    return training, validation


def loader_workers(settings: RunConfig, ranks: Ranks) -> int:
    """Processes that tokenise for one rank: beside a GPU one, where a core a rank is to spare.

    On a CPU the training has all cores itself.
    """
    wanted = settings.runtime.loader_workers
    if wanted >= 0:
        return wanted
    spare = (os.cpu_count() or 1) >= 2 * ranks.local_world_size
    return int(spare and ranks.device.type == "cuda")


def smallest_card(ranks: Ranks) -> float | None:
    """Bytes of the smallest card of all ranks, the same number on each; None on a CPU.

    A collective: every rank works out the same layout, so all must start from one number.
    """
    if ranks.device.type != "cuda":
        return None
    own = torch.cuda.get_device_properties(ranks.device).total_memory
    return -float(ranks.max(torch.tensor([-float(own)], dtype=torch.float64)).item())


def _checkpointer(
    run: RunDir,
    ranks: Ranks,
    attempt: int,
    settings: RunConfig,
    emit: Emit,
    settle_log: Callable[[], object],
) -> Checkpointer:
    return Checkpointer(
        run,
        rank=ranks.rank,
        world_size=ranks.world_size,
        attempt=attempt,
        keep=settings.checkpoint.keep,
        emit=emit,
        settle_log=settle_log,
    )


def _run_started(session: Session, counts: dict[str, int]) -> RunStarted:
    settings, plan, shape = session.config, session.plan, session.model.config
    typed = {
        name: ",".join(value) if isinstance(value, tuple) else value
        for name, value in settings.flat().items()
    }
    lrs = family.of(shape).initial_lrs(shape, settings.optim)
    effective = run_plan.effective_settings(
        settings, shape, plan, lrs, device_type=session.device.type
    )
    return RunStarted(
        name=str(session.manifest["name"]),
        recipe=settings.recipe,
        source=str(session.manifest["start"]["label"]),
        num_iterations=plan.num_iterations,
        world_size=session.ranks.world_size,
        device=session.device.type,
        backend=session.ranks.backend,
        num_parameters=shape.num_parameters,
        rows=plan.num_rows,
        mixture=counts,
        settings=typed,
        effective=effective | {"notes": json.dumps(session.manifest.get("notes", []))},
    )
