"""The training loop. Read it from top to bottom.

Everything before the loop is in `session_setup`, everything measured in `measure`, every
report of a step in `step_reports`, the end of a run in `conclusion`. The order inside
a step is nanochat's: evaluate first, then update, so the numbers of step s describe
the model after s updates; the last iteration only evaluates.

Every rank runs the same lines. Those marked "collective" talk to the other ranks: all
ranks must reach them, in the same order and as often, or they wait for each other until
the collective times out. So every branch around one is taken from values that are equal
on all ranks: the settings, the step, sums over ranks, and what `Steering` agreed on.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.checkpoints.checkpointer import RankState, random_state
from engine.events import CheckpointReason, ControlOutcome, EndStatus, LogLine, PhaseStarted
from engine.measure import measure_samples, measure_tasks, measure_validation
from engine.session import Session, wait_for_disk
from engine.steering.steering import Decision, Steering
from engine.step.dataloader import MicroStep, StepBatch
from engine.step.step_losses import StepLosses, step_losses
from engine.step_reports import (
    report_late_data,
    report_nonfinite,
    report_rows,
    report_step,
    report_travel,
)

SAVE_RETRY_SECONDS = 10.0
SAVE_TRIES = 60
"""Ten minutes of patience for the last checkpoint of a run: long enough to be called and to
make room, short enough not to hold machines for a night."""

SAVE_MEETINGS = 20
"""Meetings of the ranks between two tries: a stop is noticed, and no collective times out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How training ended; the same on every rank."""

    status: EndStatus
    reason: str
    step: int
    """Updates done."""


def train(
    session: Session, steering: Steering, on_step: Callable[[int, float | None], None]
) -> Outcome:
    """Run the loop until its planned end, a stop, or a loss that is no number.

    `on_step` is called (for heartbeats) with the step that begins, and this rank's own
    seconds per token of the step before it.
    """
    config, plan, progress = session.config, session.plan, session.progress
    first, last = progress.step, plan.num_iterations - 1

    for step in range(first, plan.num_iterations):
        # First of all: a rank that hangs in any of the collectives below is then seen in its
        # heartbeat at the step where it hangs. And the clock still holds the last step's time.
        on_step(step, session.clock.seconds_per_token())
        due = progress.due(config, step, last)

        # 1. Measure, where this step is due (collectives).
        if due.validation:
            measure_validation(session, step)
        if due.tasks:
            measure_tasks(session, step, steering)
        if due.samples:
            measure_samples(session, step)

        # 2. Keep what was reached, where this step is due (collective). After measuring, so that
        # the checkpoint carries its own validation loss and can be chosen as the best one; before
        # the update, so that it holds the weights after exactly `step` updates.
        if due.checkpoint:
            save_checkpoint(session, step, "schedule")

        # 3. Do what people asked for (collective). All ranks learn of the same requests at this
        # very step, between two updates; a pause waits in here.
        decision = apply_requests(session, steering, step)
        if decision.stop:
            if not decision.hurry:
                save_last(session, steering, step, "stop")
            return Outcome(status="stopped", reason=decision.stop_reason, step=step)
        if step == last:
            break

        # 4. Update. The learning rate follows from the step alone (and a person's factor), so a
        # resumed run needs no schedule state.
        if step == first or due.validation or due.tasks or due.samples:
            session.emit(PhaseStarted(phase="train", step=step))
        started = time.monotonic()
        session.clock.begin()
        session.lr_factor = decision.lr_factor
        multiplier = session.schedule.multiplier(step) * decision.lr_factor
        session.optimizer.set_lr(multiplier)
        session.optimizer.set_momentum(session.schedule.momentum(step))
        batch = session.loader.load(step, on_wait=lambda late: report_late_data(session, late))
        losses = accumulate_gradients(session, batch)  # collective
        # Equal on all ranks, as is `good` then: they take the same branch below.
        norm = session.optimizer.grad_norm(session.ranks.sum)  # collective
        # A step without a supervised token has no loss; its gradient is zero, which is fine.
        loss_is_good = math.isfinite(losses.loss) or not batch.num_supervised
        good = loss_is_good and math.isfinite(norm)
        if not good:
            what = report_nonfinite(session, step, batch, losses, norm)
            if config.runtime.on_nonfinite == "stop":
                # Before the optimizer touched anything: the weights are still good.
                report_step(session, step, losses, multiplier, norm, started)
                save_last(session, steering, step, "nonfinite")
                return Outcome(status="failed", reason=what, step=step)
        if config.optim.max_grad_norm:
            session.optimizer.clip(norm, config.optim.max_grad_norm)
        report_rows(session, step, batch)
        update_squares: dict[str, Tensor] = {}
        if good or config.runtime.on_nonfinite != "skip":
            # Collective: each rank updates its share, then broadcasts it.
            update_squares = session.optimizer.step(measure=session.travel.due(step))
        session.optimizer.zero_grad()
        # Only now: a checkpoint written from here on counts this update.
        progress.step = step + 1
        # Before the distance is measured, which is no part of the step's time.
        report_step(session, step, losses, multiplier, norm, started)
        if update_squares:
            report_travel(session, step, update_squares)  # collective

    save_last(session, steering, last, "final")
    return Outcome(status="finished", reason="all iterations done", step=last)


def accumulate_gradients(session: Session, batch: StepBatch) -> StepLosses:
    """Forward and backward over this rank's micro-steps; gradients end up summed over ranks.

    With token weights w (from the plan) and token losses l, the step's loss is sum(w * l) over
    all ranks: the plan's weights add up over the whole step. So gradients are summed over
    ranks, not averaged, each at the rank that updates its parameter.

    Collectives: the sums of the gradients in the last backward pass, then one of the losses.
    """
    # The last backward pass is a collective, so a rank without rows joins it with an empty one.
    micro_steps = batch.micro_steps or (empty_micro_step(session.device),)
    nlls: list[Tensor] = []
    for index, micro in enumerate(micro_steps):
        is_last = index == len(micro_steps) - 1
        # Gradients add up in `.grad`; only the last backward pass sends them, summed, to the
        # ranks that own them.
        with session.autocast():
            loss, nll = session.loss_module(micro)
            if is_last:
                # From here on a rank waits for the others: its own time ends here.
                session.clock.end([each.num_tokens for each in micro_steps])
            # The last one is a collective: all ranks reach it, with an empty micro-step if need be.
            with session.optimizer.last_backward() if is_last else contextlib.nullcontext():
                loss.backward()
        if batch.micro_steps:
            nlls.append(nll)
    # Reads the losses back from the device, which waits for all of the above.
    return step_losses(batch, nlls, session.ranks.sum)


def empty_micro_step(device: torch.device) -> MicroStep:
    """Two tokens without weight: their backward pass reaches every parameter with zeros.

    So that a rank without rows sends its gradients as early as the others do.
    """
    nothing = torch.empty(0, dtype=torch.int64, device=device)
    return MicroStep(
        ids=torch.zeros(2, dtype=torch.int64, device=device),
        spans=((0, 2),),
        positions=torch.arange(2, dtype=torch.int64, device=device),
        ends=torch.arange(2, dtype=torch.int32, device=device) * 2,
        supervised=nothing,
        targets=nothing,
        weights=torch.empty(0, device=device),
        documents=nothing,
        num_tokens=0,
    )


def apply_requests(session: Session, steering: Steering, step: int) -> Decision:
    """Carry out the requests that arrived before the update of `step`; wait here while paused.

    Returns the decision that ends the boundary: to stop, or to go on. The texts of requests
    are known to rank 0 only, their number and kind to every rank.
    """
    decision = steering.at_boundary(step)  # collective
    while True:
        # Evaluate before saving: the checkpoint then carries the loss that was just measured.
        if decision.evaluate:
            missing = measure_validation(session, step) or measure_tasks(session, step, steering)
            measure_samples(session, step)
            outcome: ControlOutcome = "rejected" if missing else "applied"
            steering.acknowledge(decision.evaluate, step, outcome, missing)
            session.emit(PhaseStarted(phase="train", step=step))
        if decision.checkpoint:
            written = save_checkpoint(session, step, "request")
            # Answered when it is on disk, not when it was begun.
            wait_for_disk(session)
            failure = session.checkpointer.wait()
            if failure:
                steering.acknowledge(decision.checkpoint, step, "rejected", failure)
            else:
                note = "" if written else "this step is saved already"
                steering.acknowledge(decision.checkpoint, step, "applied", note)
        if decision.stop or not decision.paused:
            return decision
        decision = steering.wait_while_paused(step)  # collective, four times a second


def save_checkpoint(session: Session, step: int, reason: CheckpointReason) -> bool:
    """Start saving the state after `step` updates; False when it is on disk already.

    A collective: rank 0 alone knows what is on disk and tells the others. They must agree:
    each rank writes its own files, and rank 0 waits for all of them.
    """
    wait_for_disk(session)
    missing = torch.zeros(1, dtype=torch.int64)
    if session.is_main:
        missing[0] = int(not session.checkpointer.has(step))
    if not session.ranks.max(missing).item():
        return False
    # All of it describes the model after `step` updates: nothing may move between these lines.
    own = RankState(
        optimizer=session.optimizer.state_dict(),
        random=random_state(),
        model=session.model.state_dict() if session.is_main else None,
        state=checkpoint_state(session) if session.is_main else None,
    )
    session.checkpointer.save(step, own, reason)
    return True


def save_last(session: Session, steering: Steering, step: int, reason: CheckpointReason) -> None:
    """Save what nobody can compute again: where there is no room, wait for it and try again.

    Only where that can help: a link or a file in the place of the folder stays one.
    All ranks count the same tries and learn of the same stop, so they give up together.
    """
    for attempt in range(SAVE_TRIES):
        save_checkpoint(session, step, reason)
        wait_for_disk(session)
        failure = session.checkpointer.wait()
        # Collective: one rank's full disk sends all of them into the next try.
        for_good = failure is not None and not session.checkpointer.waiting_helps
        failed, in_vain = session.ranks.max(
            torch.tensor([int(failure is not None), int(for_good)])
        ).tolist()
        if not failed:
            session.unsaved = ""
            return
        session.unsaved = failure or "another rank could not write its part"
        if in_vain or attempt == SAVE_TRIES - 1:
            return
        if attempt == 0:
            minutes = SAVE_TRIES * SAVE_RETRY_SECONDS / 60
            text = (
                "the run waits to save its last checkpoint: make room, and it is saved within "
                f"{SAVE_RETRY_SECONDS:.0f} s. After {minutes:.0f} min, or at one more stop, it ends"
                " without."
            )
            session.emit(LogLine(step=step, text=text, level="error"))
        for _ in range(SAVE_MEETINGS):
            time.sleep(SAVE_RETRY_SECONDS / SAVE_MEETINGS)
            decision = steering.at_boundary(step)  # collective
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
