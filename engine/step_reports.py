"""Events and log lines of one training step: what the update did, and what was odd about its rows.

Rank 0 alone writes events (`session.emit` drops them on the other ranks), yet every
rank calls these functions: `report_travel` holds a collective, and whether a report is
due is decided from values that are equal on all ranks.
"""

from __future__ import annotations

import time

import numpy as np
from torch import Tensor

from engine.events import LogLine, MetricLogged, PhaseStarted, StepFinished
from engine.session import Session
from engine.step import packed_run
from engine.step.dataloader import StepBatch
from engine.step.step_losses import StepLosses

ROWS_NAMED = 16
"""Most rows of a bad step that are named: a step of the reference run has 32."""


def report_step(
    session: Session,
    step: int,
    losses: StepLosses,
    multiplier: float,
    norm: float,
    started: float,
) -> None:
    """Emit `StepFinished` for the update of `step`.

    Args:
        losses: over all ranks.
        multiplier: of the learning rates, the schedule's times the one a person set.
        norm: global L2 norm of the gradients, before the update.
        started: `time.monotonic()` before the step's data was fetched.
    """
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
            # Padding is not counted: padded and packed layouts report the same number.
            tokens=losses.tokens,
            seconds=round(seconds, 6),
            tokens_per_second=round(losses.tokens / seconds, 1) if seconds > 0 else None,
            # After the update, so that the last step of an epoch shows a whole number.
            epoch=round(session.plan.epoch_at(step + 1), 4),
            loss_by_source=losses.loss_by_source,
        )
    )


def report_travel(session: Session, step: int, update_squares: dict[str, Tensor]) -> None:
    """Emit the relative size of the update of `step`, and the distance from the start.

    A collective (one sum over ranks): either every rank calls it for a step or none does.
    `update_squares` is what `ShardedOptimizer.step` returned.
    """
    known = not session.travel.failure
    values = session.travel.measure(update_squares, session.ranks.sum)
    session.emit(MetricLogged(step=step, values=values))
    if known and session.travel.failure:
        text = (
            "the distance from the start is not told: the weights the run began with cannot be "
            f"read ({session.travel.failure})"
        )
        session.emit(LogLine(step=step, text=text, level="warn"))


def report_nonfinite(
    session: Session, step: int, batch: StepBatch, losses: StepLosses, norm: float
) -> str:
    """Emit an error that names the rows to look at; returns what is wrong, without the rows."""
    what = f"not a number: loss {losses.loss}, gradient norm {norm} at step {step}"
    session.emit(LogLine(step=step, text=f"{what}; {_suspects(batch, losses)}", level="error"))
    return what


def _suspects(batch: StepBatch, losses: StepLosses) -> str:
    """The rows whose own loss is NaN or infinite, else all rows of the step, as a log text."""
    supervised = np.array([document.num_supervised for document in batch.documents])
    # A row without a supervised token has the loss NaN and is not to blame for it.
    guilty = np.flatnonzero(~np.isfinite(losses.document_losses) & (supervised > 0)).tolist()
    members = guilty or range(len(batch.documents))
    found = [f"{batch.documents[i].row} ({batch.documents[i].source})" for i in members]
    more = f" and {len(found) - ROWS_NAMED} more" if len(found) > ROWS_NAMED else ""
    which = "rows whose loss it is" if guilty else "rows of the step"
    return f"{which}: {', '.join(found[:ROWS_NAMED])}{more}"


def report_late_data(session: Session, seconds: float) -> None:
    """Warn that the step's rows are `seconds` late, so that nobody looks for it in the model."""
    step = session.progress.step
    text = f"waiting for data: step {step} is not ready after {seconds:.0f} s"
    session.emit(LogLine(step=step, text=text, level="warn"))
    session.emit(PhaseStarted(phase="data", detail="waiting", step=step))


def report_rows(session: Session, step: int, batch: StepBatch) -> None:
    """Warn of micro-batches without a supervised token and of rows cut at `max_tokens`."""
    if batch.num_empty_micro_batches:
        several = (
            f"{batch.num_empty_micro_batches} micro-batches have no supervised token; they weigh"
        )
        one = "1 micro-batch has no supervised token; it weighs"
        text = one if batch.num_empty_micro_batches == 1 else several
        session.emit(LogLine(step=step, text=f"{text} nothing", level="warn"))
    _report_cut_rows(session, step)


def _report_cut_rows(session: Session, step: int) -> None:
    """Warn at the first row that was cut, and of their number at the end of each epoch."""
    count, told = session.loader.num_cut, session.rows_cut_told
    epoch_ends = int(session.plan.epoch_at(step + 1)) > int(session.plan.epoch_at(step))
    if count > told and (told == 0 or epoch_ends or step == session.plan.num_updates - 1):
        session.rows_cut_told = count
        limit = packed_run.longest_conversation(session.config)
        flag = "--max-tokens" if limit == session.config.data.max_tokens else "--max-seq-len"
        rows = "1 row so far is" if count == 1 else f"{count} rows so far are"
        cut = "was cut" if count == 1 else "were cut"
        text = f"{rows} longer than {limit} tokens and {cut} ({flag})"
        session.emit(LogLine(step=step, text=text, level="warn"))
