"""The end of a run: wait for the last checkpoint, export the result, tell what was not saved."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoints import checkpoint_dir, nanochat_io, nanochat_paths
from engine.checkpoints.checkpointer import load_optimizer_states
from engine.checkpoints.nanochat_paths import NanochatCheckpoint
from engine.errors import CheckpointError
from engine.events import CheckpointKind, CheckpointSaved, LogLine, PhaseStarted
from engine.files import written
from engine.model import family
from engine.session import Session, start_checkpoint, wait_for_disk

if TYPE_CHECKING:
    # Types only: the worker alone runs the trainer.
    from engine.trainer import Outcome


def conclude(session: Session, outcome: Outcome) -> Outcome:
    """Wait for the last checkpoint, export the result, and let the outcome tell what failed.

    A collective: the ranks stay in touch while rank 0 writes, however long that takes.
    """
    wait_for_disk(session)
    session.checkpointer.wait()
    exported = False
    # Weights that led to a loss that is no number are no result.
    if outcome.status != "failed":
        exported = _export_while_all_wait(session, outcome)
    if not session.unsaved:
        return outcome
    if outcome.status == "finished" and not exported:
        text = f"trained to the end, and nothing of it could be saved: {session.unsaved}"
        return replace(outcome, status="failed", reason=text)
    return replace(outcome, reason=f"{outcome.reason}; but the {session.unsaved}")


def _export_while_all_wait(session: Session, outcome: Outcome) -> bool:
    """`export_result` in a thread of rank 0, the ranks in touch meanwhile; False on the others."""
    done: list[bool] = []

    def export() -> None:
        finished = outcome.status == "finished"
        done.append(export_result(session, outcome.step, finished=finished))

    thread = threading.Thread(target=export, name="export")
    if session.is_main:
        thread.start()

    def busy(seconds: float) -> bool:
        if session.is_main:
            thread.join(seconds)
        return thread.is_alive()

    wait_for_disk(session, busy)
    return bool(done and done[0])


def export_result(session: Session, step: int, *, finished: bool) -> bool:
    """Write the model in nanochat's layout, where nanochat's own loader finds it; False if not.

    Into nanochat's cache when the run began there, is finished, and nothing of that name
    exists (a person's earlier result is never overwritten), else into the run directory,
    laid out as a cache of its own: nanochat loads the largest step of its cache, and that
    must never be half a run. A run without an update has no result. Rank 0 only.
    """
    if step == 0:
        text = "no update was made, so nothing is exported: the model is the one it began with"
        session.emit(LogLine(step=step, text=text, level="warn"))
        return False
    if not session.checkpointer.folder.in_place():
        # Deleted, moved or replaced under the run, as its end says: nothing of it is made anew.
        return False
    session.emit(PhaseStarted(phase="export", step=step))
    started = time.monotonic()
    try:
        kind, path = _write_result(session, step, finished=finished)
    except (CheckpointError, OSError) as error:
        session.emit(
            LogLine(step=step, text=f"the result was not exported: {error}", level="error")
        )
        return False
    progress = session.progress
    session.emit(
        CheckpointSaved(
            step=step,
            path=session.run.relative(path),
            size_bytes=_bytes_of(path),
            seconds=round(time.monotonic() - started, 3),
            reason="export",
            kind=kind,
            # Of this very step, or none: an older loss would rank these weights wrongly.
            val_loss=progress.val_loss if progress.val_step == step else None,
        )
    )
    return True


def _export_optimizer(session: Session, model_path: Path, step: int) -> None:
    """The optimizer's state beside it, out of the last checkpoint, which holds all ranks'."""
    saved = [info for info in checkpoint_dir.list_checkpoints(session.run) if info.step == step]
    if saved and session.model.config.generation != "2025":
        nanochat_io.export_optimizer(
            model_path,
            session.model.config,
            session.config.optim,
            load_optimizer_states(saved[-1]),
            multiplier=session.schedule.multiplier(step - 1) * session.lr_factor,
            momentum=session.schedule.momentum(step - 1),
        )


def _write_result(session: Session, step: int, *, finished: bool) -> tuple[CheckpointKind, Path]:
    """Write the model in its family's own form; kind and place of what was written.

    Raises:
        CheckpointError: it cannot be written.
        OSError: the same, or its place is a link.
    """
    # It may have become a link while the run trained, and lead anywhere.
    written.refuse_linked(session.run.export)
    progress, shape = session.progress, session.model.config
    own = family.of(shape)
    if own.in_folders:
        folder = session.run.export / f"step-{step}"
        # Adapters stay adapters: `sftui export` merges them.
        adapter = bool(session.config.adapters.lora)
        state = session.model.state_dict()
        own.export(folder, shape, state, session.tokenizer, adapter=adapter)
        return "hf", folder
    start = start_checkpoint(session.manifest)
    base = session.run.export
    if start is not None and finished:
        base = _free_cache(start, nanochat_paths.default_tag(shape), step) or base
    model_path = nanochat_io.export_sft_result(
        base,
        nanochat_paths.default_tag(shape),
        step,
        shape,
        session.model.state_dict(),
        val_loss=progress.val_loss,
        accuracies=progress.accuracies,
        user_config=session.manifest["config"],
    )
    _export_optimizer(session, model_path, step)
    if start is not None and base == session.run.export:
        # A cache of its own needs its tokenizer too; nanochat's has it already.
        tokenizer_folder = base / "tokenizer"
        tokenizer_folder.mkdir(parents=True, exist_ok=True)
        with written.replacing(tokenizer_folder / "tokenizer.pkl") as fresh:
            shutil.copyfile(start.tokenizer_path, fresh)
    return "nanochat", model_path


def _bytes_of(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _free_cache(start: NanochatCheckpoint, tag: str, step: int) -> Path | None:
    """The nanochat cache that the run began in, unless a result of this name is there already."""
    base = start.tokenizer_path.parents[1]
    return None if nanochat_paths.sft_result(base, tag, step).exists() else base
