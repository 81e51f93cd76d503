"""Measure the model between two updates: validation loss, letter questions, and their files.

Every rank calls these functions for the same step and gets the same numbers; rank 0
tells them. The training state is not touched: no random number is drawn.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable

import numpy as np

from engine.eval_items import save_items
from engine.evaluate import CPU_BATCH_TOKENS, evaluate_letters, validate
from engine.events import EvalFinished, EvalStarted, LogLine, PhaseStarted, ValidationFinished
from engine.session import Session

CUDA_BATCH_TOKENS = 16_384
"""No gradients and no full logits: far less memory a token than in training."""


def measure_validation(session: Session, step: int) -> None:
    """Validation loss before the update of `step`."""
    started = time.monotonic()
    session.emit(PhaseStarted(phase="validate", step=step))
    with session.autocast():
        result = validate(
            session.model, session.validation.load(0), all_reduce_sum=session.ranks.sum
        )
    progress = session.progress
    progress.val_loss, progress.val_step = result.loss, step
    # A NaN never becomes the best: nothing would compare below it any more.
    if math.isfinite(result.loss) and (
        progress.best_loss is None or result.loss < progress.best_loss
    ):
        progress.best_loss, progress.best_step = result.loss, step
    if not session.is_main:
        return
    rows_file = session.run.eval_items(step, "val")
    saved = _save(
        session,
        step,
        lambda: np.savez_compressed(rows_file, losses=result.row_losses, rows=result.row_ids),
    )
    if result.skipped:
        text = f"validation: {result.skipped} micro-batches have no supervised token, left out"
        session.emit(LogLine(step=step, text=text, level="warn"))
    session.emit(
        ValidationFinished(
            step=step,
            loss=result.loss,
            rows=result.rows,
            seconds=round(time.monotonic() - started, 3),
            rows_file=session.run.relative(rows_file) if saved else None,
        )
    )


def measure_tasks(session: Session, step: int) -> None:
    """Accuracy of every task of letter questions before the update of `step`."""
    session.progress.eval_step = step
    batch_tokens = CUDA_BATCH_TOKENS if session.device.type == "cuda" else CPU_BATCH_TOKENS
    for task, prepared in session.questions.items():
        started = time.monotonic()
        session.emit(EvalStarted(task=task, total=prepared.total, step=step))
        with session.autocast():
            result = evaluate_letters(
                session.model,
                prepared,
                rank=session.ranks.rank,
                world_size=session.ranks.world_size,
                all_reduce_sum=session.ranks.sum,
                batch_tokens=batch_tokens,
            )
        session.progress.accuracies[task] = result.accuracy
        if not session.is_main:
            continue
        path = session.run.eval_items(step, task)
        saved = _save(session, step, functools.partial(save_items, path, result))
        session.emit(
            EvalFinished(
                step=step,
                task=task,
                correct=result.correct,
                total=result.total,
                accuracy=result.accuracy,
                chance=result.chance,
                one_letter=result.one_letter,
                item_set=result.item_set,
                letters=result.letters,
                seconds=round(time.monotonic() - started, 3),
                items_file=session.run.relative(path) if saved else None,
            )
        )


def _save(session: Session, step: int, write: Callable[[], object]) -> bool:
    """Write a result file; a full disk costs the file, never the run."""
    try:
        write()
    except OSError as error:
        text = f"results of step {step} were not saved: {error.strerror or error}"
        session.emit(LogLine(step=step, text=text, level="error"))
        return False
    return True
