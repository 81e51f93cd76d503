"""Measure the model between two updates: validation loss, letter questions, samples, their files.

Every rank calls these functions for the same step (each holds collectives) and gets the
same numbers; rank 0 emits them. The training state is not touched: no random number is drawn.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from engine.errors import CheckpointError, DataError, UsageError
from engine.evaluation.eval_items import EvalResult, save_items
from engine.evaluation.eval_meetings import (
    EvalMeetings,
    EvaluationCancelled,
    Meeting,
    PeerFailed,
)
from engine.evaluation.evaluate import validate
from engine.evaluation.exam import Prepared, answer_task
from engine.evaluation.samples import answers
from engine.evaluation.validation_rows import RowLosses, load_rows, paired_error, save_rows
from engine.events import (
    EvalProgress,
    EvalStarted,
    LogLine,
    PhaseStarted,
    ValidationFinished,
)
from engine.files import written
from engine.session import Session
from engine.steering.steering import EvalMeeting, Failure, OwnProgress, Steering
from engine.step.step_losses import AllReduceSum

T = TypeVar("T")


def measure_validation(session: Session, step: int) -> str:
    """Validation loss before the update of `step`; why there is none, or an empty text."""
    started = time.monotonic()
    session.emit(PhaseStarted(phase="validate", step=step))
    result, failure = _evaluated(
        session,
        step,
        "validation",
        lambda reduce: validate(
            session.model,
            session.validation.load(0),
            all_reduce_sum=reduce,
            token_bytes=session.token_bytes,
        ),
    )
    if result is None:
        return failure
    progress = session.progress
    rows = RowLosses(
        losses=result.row_losses,
        rows=result.row_ids,
        weights=result.row_weights,
        digests=session.validation.digests(result.row_ids.tolist()),
    )
    error = _paired_error(session, rows) if session.is_main else None
    progress.val_loss, progress.val_step = result.loss, step
    # A NaN never becomes the best: nothing would compare below it any more.
    if math.isfinite(result.loss) and (
        progress.best_loss is None or result.loss < progress.best_loss
    ):
        progress.best_loss, progress.best_step = result.loss, step
        session.best_rows = rows
    if not session.is_main:
        return ""
    rows_file = session.run.eval_items(step, "val")
    saved = _save(session, step, lambda: save_rows(rows_file, rows))
    if result.skipped:
        which = (
            "1 micro-batch has" if result.skipped == 1 else f"{result.skipped} micro-batches have"
        )
        text = f"validation: {which} no supervised token, left out"
        session.emit(LogLine(step=step, text=text, level="warn"))
    session.emit(
        ValidationFinished(
            step=step,
            loss=result.loss,
            metric=result.metric,
            rows=result.rows,
            seconds=round(time.monotonic() - started, 3),
            rows_file=session.run.relative(rows_file) if saved else None,
            paired_error=error,
            # One source is all of the loss, told already.
            loss_by_source=result.loss_by_source if len(result.loss_by_source) > 1 else {},
        )
    )
    return ""


def _paired_error(session: Session, rows: RowLosses) -> float | None:
    """Error of this validation minus the lowest before it; None without one, or its rows."""
    best_step = session.progress.best_step
    if best_step is None:
        return None
    if session.best_rows is None:
        # Resumed: the rows are where an earlier attempt wrote them.
        try:
            session.best_rows = load_rows(session.run.eval_items(best_step, "val"))
        except DataError:
            return None
    return paired_error(rows, session.best_rows)


def measure_tasks(session: Session, step: int, steering: Steering | None = None) -> str:
    """Accuracy of every task before the update of `step`.

    Returns why one of them is missing, or an empty text. `steering` hears requests to stop or to
    give the evaluation up while it runs.
    """
    session.progress.eval_step = step
    failures: list[str] = []
    for task, prepared in session.questions.items():
        started = time.monotonic()
        session.emit(EvalStarted(task=task, total=prepared.total, step=step))
        try:
            result, failure = _answered(session, step, prepared, steering)
        except EvaluationCancelled as cancelled:
            return _given_up(session, step, prepared, cancelled)
        if result is None:
            failures.append(failure)
            continue
        session.progress.accuracies[task] = result.accuracy
        if session.is_main:
            _report_task(session, step, result, time.monotonic() - started)
    return "; ".join(failures)


def _answered(
    session: Session, step: int, prepared: Prepared, steering: Steering | None
) -> tuple[EvalResult | None, str]:
    """The answers of one task, or None and the reason when a rank could not give its own.

    Raises:
        EvaluationCancelled: on a request, on all ranks.
    """
    ranks, task = session.ranks, prepared.task

    def meet(*, done: int, tokens: int, finished: bool, failure: Failure) -> Meeting:
        own = OwnProgress(done=done, tokens=tokens, finished=finished, failure=failure)
        if steering is None:
            return _alone(own)
        return steering.during_evaluation(step, own)

    def tell(done: int, tokens: int) -> None:
        session.emit(
            EvalProgress(
                step=step, task=task, done=done, total=prepared.total, tokens=tokens or None
            )
        )

    meetings = EvalMeetings(meet, tell)
    agreed = False

    def reduce(tensor: Tensor) -> Tensor:
        # All ranks have got here: from now on nobody can fail alone.
        nonlocal agreed
        meetings.finish()
        agreed = True
        return ranks.sum(tensor)

    try:
        with session.autocast():
            return answer_task(
                session.model,
                session.tokenizer,
                prepared,
                sandbox=session.sandbox,
                rank=ranks.rank,
                world_size=ranks.world_size,
                all_reduce_sum=reduce,
                on_work=meetings.work,
            ), ""
    except PeerFailed as peer:
        why = peer.failure
    except (RuntimeError, CheckpointError) as error:
        memory = is_out_of_memory(error)
        if agreed or (isinstance(error, RuntimeError) and not memory):
            raise
        # Broken weights are no reason to end a run that may mend them.
        why = meetings.fail("memory" if memory else "error")
        sys.stderr.write(f"evaluation of {task} at step {step}: {_first_line(error)}\n")
    return None, _told_failure(session, step, f"evaluation of {task}", why)


def _alone(own: OwnProgress) -> EvalMeeting:
    """A meeting of one rank that nobody can ask anything."""
    return EvalMeeting(
        stopped=False,
        cancelled=False,
        finished=own.finished,
        failure="failed on rank 0" if own.failure else "",
        done=own.done,
        tokens=own.tokens,
    )


def _given_up(
    session: Session, step: int, prepared: Prepared, cancelled: EvaluationCancelled
) -> str:
    """Say so; a run that is to stop evaluates this step when it is taken up again."""
    if cancelled.stopped:
        session.progress.eval_step = None
    asked = "the run is to stop" if cancelled.stopped else "as was asked"
    text = (
        f"the evaluation of {prepared.task} at step {step} was given up after "
        f"{cancelled.done:,} of {prepared.total:,}: {asked}"
    )
    session.emit(LogLine(step=step, text=text, level="warn"))
    return text


def _report_task(session: Session, step: int, result: EvalResult, seconds: float) -> None:
    path = session.run.eval_items(step, result.task)
    saved = _save(session, step, functools.partial(save_items, path, result))
    items_file = session.run.relative(path) if saved else None
    session.emit(result.finished(step, seconds=seconds, items_file=items_file))


def measure_samples(session: Session, step: int) -> None:
    """Rank 0 answers the run's prompts, if it has any; the others wait, on the CPU.

    Short by construction (`samples.MOST_SECONDS`): well inside the time of a collective.
    """
    session.progress.sample_step = step
    if not session.prompts:
        return
    session.emit(PhaseStarted(phase="sample", step=step))
    if session.is_main:
        try:
            with session.autocast():
                for sample in answers(session.model, session.tokenizer, session.prompts):
                    session.emit(replace(sample, step=step))
        except (RuntimeError, UsageError) as error:
            # A prompt too long, broken weights, no memory: training goes on without samples.
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            words = str(error).splitlines()[0][:500]
            text = f"samples of step {step}: {words}"
            session.emit(LogLine(step=step, text=text, level="warn"))
            if session.device.type == "cuda":
                torch.cuda.empty_cache()
    session.ranks.barrier()


class _PeerRanOut(Exception):
    """Another rank ran out of memory and has no result to reduce."""


def _evaluated(
    session: Session, step: int, what: str, evaluate: Callable[[AllReduceSum], T]
) -> tuple[T | None, str]:
    """Run `evaluate`; returns its result, or None and the reason when a rank ran out of memory.

    The forward passes of an evaluation talk to nobody, so the ranks can agree just before
    its one reduction whether all of them got that far. Nothing of the training is touched.
    """
    ranks = session.ranks
    agreed = False

    def reduce(tensor: Tensor) -> Tensor:
        nonlocal agreed
        failed = int(ranks.max(torch.zeros(1, dtype=torch.int64)).item())
        agreed = True
        if failed:
            raise _PeerRanOut(failed - 1)
        return ranks.sum(tensor)

    try:
        with session.autocast():
            return evaluate(reduce), ""
    except _PeerRanOut as peer:
        rank = int(peer.args[0])
    except RuntimeError as error:
        if agreed or not is_out_of_memory(error):
            raise
        rank = int(ranks.max(torch.tensor([ranks.rank + 1])).item()) - 1
        sys.stderr.write(f"{what} at step {step}: {_first_line(error)}\n")
    return None, _told_failure(session, step, what, f"ran out of memory on rank {rank}")


def _told_failure(session: Session, step: int, what: str, why: str) -> str:
    """Say that one measurement is missing; the text."""
    if session.device.type == "cuda":
        torch.cuda.empty_cache()
    asked = " how much was asked for" if "memory" in why else " more"
    text = (
        f"{what} at step {step} {why}; training goes on without it. "
        f"Its log in {session.run.relative(session.run.logs)} says{asked}."
    )
    session.emit(LogLine(step=step, text=text, level="error"))
    return text


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:500] if str(error) else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is an allocator that failed: CUDA's own error, or the CPU's message."""
    words = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "out of memory" in words
        or "can't allocate memory" in words
    )


def _save(session: Session, step: int, write: Callable[[], object]) -> bool:
    """Write a result file; what its place refuses costs the file, never the run."""
    try:
        session.checkpointer.folder.refuse_moved()
        write()
    except OSError as error:
        text = f"results of step {step} were not saved: {written.reason(error)}"
        session.emit(LogLine(step=step, text=text, level="error"))
        return False
    return True
