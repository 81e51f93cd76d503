"""The training loop. Read it from top to bottom.

Everything before the loop is in `session`, everything measured in `measure`. The
order inside a step is nanochat's: evaluate first, then update, so the numbers of
step s describe the model after s updates; the last iteration only evaluates.
Every decision below is taken from values that are equal on all ranks, or the
next collective would hang.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from engine.checkpoints import nanochat_io, nanochat_paths
from engine.checkpoints.checkpointer import Snapshot, random_state
from engine.errors import CheckpointError
from engine.events import CheckpointSaved, LogLine, MetricLogged, PhaseStarted, StepFinished
from engine.measure import measure_samples, measure_tasks, measure_validation
from engine.optimizer.optim import grad_norm
from engine.session import Session, start_checkpoint
from engine.steering.steering import Decision, Steering
from engine.step.dataloader import MicroStep, StepBatch
from engine.step.step_losses import StepLosses, step_losses

ROWS_NAMED = 16
"""Rows of a bad step that are named: a step of the reference run has 32."""

SAVE_RETRY_SECONDS = 10.0
SAVE_TRIES = 60
"""Ten minutes of patience for the last checkpoint of a run: long enough to be called and to
make room, short enough not to hold machines for a night."""

SAVE_LOOKS = 20
"""Between two tries the ranks meet so often: a stop is heard, and no collective times out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How training ended; the same on every rank."""

    status: str
    """finished, stopped or failed."""
    reason: str
    step: int
    """Updates done."""


def train(
    session: Session, steering: Steering, on_step: Callable[[int, float | None], None]
) -> Outcome:
    """Run the loop until its planned end, a stop, or a loss that is no number.

    `on_step` is told (for heartbeats) the step that begins, and this rank's own seconds
    per token of the step before it.
    """
    config, plan, progress = session.config, session.plan, session.progress
    first, last = progress.step, plan.num_iterations - 1

    for step in range(first, plan.num_iterations):
        on_step(step, session.clock.seconds_per_token())

        # 1. Measure, where this step is due. The start is always measured.
        validation_due = step % config.eval.eval_every == 0 or step == last
        tasks_due = step % config.eval.eval_metrics_every == 0 or step == last
        measured_tasks = tasks_due and progress.eval_step != step
        if validation_due and progress.val_step != step:
            measure_validation(session, step)
        if measured_tasks:
            measure_tasks(session, step)
        every = config.eval.sample_every
        sampled = every and (step % every == 0 or step == last) and progress.sample_step != step
        if sampled:
            measure_samples(session, step)

        # 2. Keep what was reached, where this step is due.
        every = config.checkpoint.checkpoint_every
        if every and step > 0 and step % every == 0 and step != last:
            save_checkpoint(session, step, "schedule")

        # 3. Obey. All ranks act on the same wishes at this very step; a pause waits in here.
        decision = obey(session, steering, step)
        if decision.stop:
            if not decision.hurry:
                save_last(session, steering, step, "stop")
            return Outcome(status="stopped", reason=decision.stop_reason, step=step)
        if step == last:
            break

        # 4. Update.
        if step == first or validation_due or measured_tasks or sampled:
            session.emit(PhaseStarted(phase="train", step=step))
        started = time.monotonic()
        session.clock.begin()
        session.lr_factor = decision.lr_factor
        multiplier = session.schedule.multiplier(step) * decision.lr_factor
        session.optimizer.set_lr(multiplier)
        batch = session.loader.load(step, on_wait=lambda seconds: tell_wait(session, seconds))
        losses = accumulate_gradients(session, batch)
        norm = float(grad_norm(session.model.parameters()))
        # A step without a supervised token has no loss; its gradient is zero, which is fine.
        loss_is_good = math.isfinite(losses.loss) or not batch.num_supervised
        good = loss_is_good and math.isfinite(norm)
        if not good:
            what = f"not a number: loss {losses.loss}, gradient norm {norm} at step {step}"
            session.emit(
                LogLine(step=step, text=f"{what}; {rows_of(batch, losses)}", level="error")
            )
            if config.runtime.on_nonfinite == "stop":
                # Before the optimizer touched anything: the weights are still good.
                report_step(session, step, losses, multiplier, norm, started)
                save_last(session, steering, step, "nonfinite")
                return Outcome(status="failed", reason=what, step=step)
        if batch.num_empty_micro_batches:
            text = f"{batch.num_empty_micro_batches} micro-batches have no supervised token"
            session.emit(LogLine(step=step, text=f"{text}; they weigh nothing", level="warn"))
        tell_cut_rows(session, step)
        travelled: dict[str, Tensor] = {}
        if good or config.runtime.on_nonfinite != "skip":
            travelled = session.optimizer.step(measure=session.travel.due(step))
        session.optimizer.zero_grad()
        progress.step = step + 1
        report_step(session, step, losses, multiplier, norm, started)
        if travelled:
            report_travel(session, step, travelled)

    save_last(session, steering, last, "final")
    return Outcome(status="finished", reason="all iterations done", step=last)


def accumulate_gradients(session: Session, batch: StepBatch) -> StepLosses:
    """Forward and backward over this rank's micro-steps; gradients end up averaged over ranks.

    DDP divides by the number of ranks, and the plan's weights already add up to the
    whole step's loss over all ranks, so the loss is multiplied by that number. Only
    the last backward pass of a step talks to the other ranks; a rank without rows
    takes part with an empty one.
    """
    micro_steps = batch.micro_steps or (empty_micro_step(session.device),)
    nlls: list[Tensor] = []
    for index, micro in enumerate(micro_steps):
        is_last = index == len(micro_steps) - 1
        with syncing(session, is_last), session.autocast():
            loss, nll = session.loss_module(micro)
            if is_last:
                # From here on a rank waits for the others.
                session.clock.end([each.num_tokens for each in micro_steps])
            (loss * session.ranks.world_size).backward()
        if batch.micro_steps:
            nlls.append(nll)
    return step_losses(batch, nlls, session.ranks.sum)


@contextlib.contextmanager
def syncing(session: Session, wanted: bool) -> Iterator[None]:
    """Whether the backward pass inside reduces gradients over ranks."""
    module = session.loss_module
    if isinstance(module, DistributedDataParallel) and not wanted:
        with module.no_sync():
            yield
    else:
        yield


def empty_micro_step(device: torch.device) -> MicroStep:
    """One token without weight: its backward pass reaches every parameter with zeros."""
    nothing = torch.empty(0, dtype=torch.int64, device=device)
    return MicroStep(
        ids=torch.zeros(1, dtype=torch.int64, device=device),
        spans=((0, 1),),
        positions=torch.zeros(1, dtype=torch.int64, device=device),
        supervised=nothing,
        targets=nothing,
        weights=torch.empty(0, device=device),
        documents=nothing,
        num_tokens=0,
    )


def obey(session: Session, steering: Steering, step: int) -> Decision:
    """Do what people asked for at this boundary; wait here while paused."""
    decision = steering.at_boundary(step)
    while True:
        if decision.evaluate:
            missing = measure_validation(session, step) or measure_tasks(session, step)
            measure_samples(session, step)
            outcome = "rejected" if missing else "applied"
            steering.acknowledge(decision.evaluate, step, outcome, missing)
            session.emit(PhaseStarted(phase="train", step=step))
        if decision.checkpoint:
            written = save_checkpoint(session, step, "request")
            failure = session.checkpointer.wait()
            if failure:
                steering.acknowledge(decision.checkpoint, step, "rejected", failure)
            else:
                note = "" if written else "this step is saved already"
                steering.acknowledge(decision.checkpoint, step, "applied", note)
        if decision.stop or not decision.paused:
            return decision
        decision = steering.wait_while_paused(step)


def save_checkpoint(session: Session, step: int, reason: str) -> bool:
    """Start saving the state after `step` updates; False when it is on disk already.

    Every rank calls it; rank 0 alone knows what is on disk and tells the others.
    """
    missing = torch.zeros(1, dtype=torch.int64)
    if session.is_main:
        missing[0] = int(not session.checkpointer.has(step))
    if not session.ranks.max(missing).item():
        return False
    snapshot = Snapshot(
        optimizer=session.optimizer.state_dict(),
        random=random_state(),
        model=session.model.state_dict() if session.is_main else None,
        state=checkpoint_state(session) if session.is_main else None,
    )
    session.checkpointer.save(step, snapshot, reason)
    return True


def save_last(session: Session, steering: Steering, step: int, reason: str) -> None:
    """Save what nobody can compute again: where there is no room, wait for it and try again.

    All ranks count the same tries and hear of the same stop, so they give up together.
    """
    for attempt in range(SAVE_TRIES):
        save_checkpoint(session, step, reason)
        failure = session.checkpointer.wait()
        failed = torch.tensor([int(failure is not None)])
        if not session.ranks.max(failed).item():
            session.unsaved = ""
            return
        session.unsaved = failure or "another rank could not write its part"
        if attempt == SAVE_TRIES - 1:
            return
        if attempt == 0:
            minutes = SAVE_TRIES * SAVE_RETRY_SECONDS / 60
            text = (
                "the run waits to save its last checkpoint: make room, and it is saved within "
                f"{SAVE_RETRY_SECONDS:.0f} s. After {minutes:.0f} min, or at one more stop, it ends"
                " without."
            )
            session.emit(LogLine(step=step, text=text, level="error"))
        for _ in range(SAVE_LOOKS):
            time.sleep(SAVE_RETRY_SECONDS / SAVE_LOOKS)
            decision = steering.at_boundary(step)
            late = (*decision.evaluate, *decision.checkpoint)
            steering.acknowledge(late, step, "rejected", "the run is ending")
            if decision.hurry or (decision.stop and reason != "stop"):
                return


def checkpoint_state(session: Session) -> dict[str, object]:
    """What besides tensors a resumed run needs, and what a browser of checkpoints shows."""
    return session.progress.to_state() | {
        "lr_factor": session.lr_factor,
        "world_size": session.ranks.world_size,
        "plan_world_size": session.plan.world_size,
        "attempt": session.attempt,
        "model_config": session.model.config.to_dict(),
        "config_sha256": session.manifest["config_sha256"],
        "tokenizer_sha256": session.manifest["tokenizer_sha256"],
    }


def rows_of(batch: StepBatch, losses: StepLosses) -> str:
    """Which rows may be to blame: those whose own loss is no number, else all of the step."""
    supervised = np.array([document.num_supervised for document in batch.documents])
    guilty = np.flatnonzero(~np.isfinite(losses.document_losses) & (supervised > 0)).tolist()
    members = guilty or range(len(batch.documents))
    found = [f"{batch.documents[i].row} ({batch.documents[i].source})" for i in members]
    more = f" and {len(found) - ROWS_NAMED} more" if len(found) > ROWS_NAMED else ""
    which = "rows whose loss it is" if guilty else "rows of the step"
    return f"{which}: {', '.join(found[:ROWS_NAMED])}{more}"


def tell_wait(session: Session, seconds: float) -> None:
    """The data is late: a person should not look for the fault in the model."""
    step = session.progress.step
    text = f"waiting for data: step {step} is not ready after {seconds:.0f} s"
    session.emit(LogLine(step=step, text=text, level="warn"))
    session.emit(PhaseStarted(phase="data", detail="waiting", step=step))


def tell_cut_rows(session: Session, step: int) -> None:
    """Say it at the first row that was cut, and how many there were at the end of each epoch."""
    count, told = session.loader.num_cut, session.rows_cut_told
    epoch_ends = int(session.plan.epoch_at(step + 1)) > int(session.plan.epoch_at(step))
    if count > told and (told == 0 or epoch_ends or step == session.plan.num_updates - 1):
        session.rows_cut_told = count
        limit = session.config.data.max_tokens
        rows = "1 row so far is" if count == 1 else f"{count} rows so far are"
        cut = "was cut" if count == 1 else "were cut"
        text = f"{rows} longer than {limit} tokens and {cut} (--max-tokens)"
        session.emit(LogLine(step=step, text=text, level="warn"))


def report_step(
    session: Session,
    step: int,
    losses: StepLosses,
    multiplier: float,
    norm: float,
    started: float,
) -> None:
    """Tell what the update did, over all ranks."""
    seconds = time.monotonic() - started
    session.emit(
        StepFinished(
            step=step,
            # None: no token was supervised, so there was nothing to lose.
            loss=losses.loss if losses.supervised_tokens else None,
            loss_rows_mean=losses.loss_rows_mean if losses.supervised_tokens else None,
            loss_micro_last=losses.loss_micro_last,
            lr_mult=multiplier,
            lrs=session.optimizer.lrs(),
            grad_norm=norm,
            supervised_tokens=losses.supervised_tokens,
            tokens=losses.tokens,
            seconds=round(seconds, 6),
            tokens_per_second=round(losses.tokens / seconds, 1) if seconds > 0 else None,
            epoch=round(session.plan.epoch_at(step + 1), 4),
            loss_by_source=losses.loss_by_source,
        )
    )


def report_travel(session: Session, step: int, travelled: dict[str, Tensor]) -> None:
    """Tell how far the update went, and how far the weights are from the start."""
    known = not session.travel.failure
    values = session.travel.measure(travelled, session.ranks.sum)
    session.emit(MetricLogged(step=step, values=values))
    if known and session.travel.failure:
        text = (
            "the distance from the start is not told: the weights the run began with cannot be "
            f"read ({session.travel.failure})"
        )
        session.emit(LogLine(step=step, text=text, level="warn"))


def export_result(session: Session, step: int) -> bool:
    """Write the model in nanochat's layout, where nanochat's own loader finds it; False if not.

    Into nanochat's cache when the run began there and nothing of that name exists (a
    person's earlier result is never overwritten), else into the run directory, laid
    out as a cache of its own. Rank 0 only.
    """
    session.emit(PhaseStarted(phase="export", step=step))
    shape = session.model.config
    tag = f"d{shape.n_layer}"
    start = start_checkpoint(session.manifest)
    folder = nanochat_paths.export_folder(tag, session.run.export)
    if start is not None:
        in_cache = nanochat_paths.export_folder(tag, start.tokenizer_path.parents[1])
        if not nanochat_paths.checkpoint_paths(in_cache, step)[0].exists():
            folder = in_cache
    progress = session.progress
    meta: dict[str, object] = {"val_loss": progress.val_loss}
    for task, accuracy in progress.accuracies.items():
        meta[nanochat_paths.metric_name(task)] = accuracy
    started = time.monotonic()
    try:
        state = session.model.state_dict()
        model_path, _ = nanochat_io.export(folder, step, shape, state, meta)
        if start is not None and folder.is_relative_to(session.run.export):
            tokenizer_folder = session.run.export / "tokenizer"
            tokenizer_folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(start.tokenizer_path, tokenizer_folder / "tokenizer.pkl")
    except (CheckpointError, OSError) as error:
        session.emit(
            LogLine(step=step, text=f"the result was not exported: {error}", level="error")
        )
        return False
    session.emit(
        CheckpointSaved(
            step=step,
            path=session.run.relative(model_path),
            size_bytes=model_path.stat().st_size,
            seconds=round(time.monotonic() - started, 3),
            reason="export",
            kind="nanochat",
            val_loss=progress.val_loss if progress.val_step == step else None,
        )
    )
    return True


def conclude(session: Session, outcome: Outcome) -> Outcome:
    """Wait for the last checkpoint, export the result, and let the outcome tell what failed."""
    session.checkpointer.wait()
    exported = False
    if session.is_main and outcome.status != "failed":
        exported = export_result(session, outcome.step)
    if not session.unsaved:
        return outcome
    if outcome.status == "finished" and not exported:
        text = f"trained to the end, and nothing of it could be saved: {session.unsaved}"
        return replace(outcome, status="failed", reason=text)
    return replace(outcome, reason=f"{outcome.reason}; but the {session.unsaved}")
