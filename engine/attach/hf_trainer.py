"""`sftui.attach(trainer)`: one line before `trainer.train()`.

Wrapped on the object: `training_step` (the documented place to extend; callbacks never see the
loss), `train` (goes on after a restart; what it raises becomes the run's end), the accelerator's
`clip_grad_norm_` (the gradient norm of every step), and `_save_checkpoint` (a checkpoint that a
person asked for and the disk refuses must not end their training).
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.attach import hf_checkpoints
from engine.attach.attachment import say
from engine.attach.callback import SftuiCallback
from engine.attach.guard import StopTraining
from engine.data.letter_exam import QuestionSource
from engine.run import foreign

OLDEST = (4, 46)
"""Of transformers: before it `training_step` has another signature and sums otherwise."""

_MARK = "_sftui_attached"


@dataclass(frozen=True, slots=True)
class Attached:
    """What `attach` gives back: for a script that goes on after the training."""

    callback: SftuiCallback | None
    refusal: str = ""
    """Why it is not attached; empty when it is."""

    @property
    def stopped(self) -> bool:
        """Whether somebody stopped the training: ask before you push or merge a half model."""
        return self.callback is not None and self.callback.stopped

    @property
    def run(self) -> Path | None:
        """The run directory, once training has begun."""
        attachment = self.callback.attachment if self.callback is not None else None
        return attachment.run.path if attachment is not None else None


def attach(
    trainer: Any,
    *,
    name: str | None = None,
    runs_dir: str | Path | None = None,
    questions: QuestionSource | None = None,
    question_limit: int | None = None,
    baseline: bool = True,
    resume: str = "auto",
) -> Attached:
    """Let sftui show and steer a Hugging Face Trainer (TRL's too); call it before `train()`.

    It never raises: what stands in the way is one line, and the training goes on without.

    Args:
        trainer: any `transformers.Trainer`.
        name: of the run; the name of the output folder without one.
        runs_dir: where runs lie; `runs/` here, or SFTUI_RUNS.
        questions: letter questions to ask of the model by its own forward: a file of any
            kind that `--data` takes, a task of the hub by name, rows, or a mapping of names to
            such. Asked before the first update, with each of the trainer's evaluations, on
            request, and behind the last update.
        question_limit: most of each task, the first in the exam's order.
        baseline: evaluate and ask before the first update.
        resume: `auto` goes on in the run that the checkpoint comes from; `new` makes a new one.
    """
    known = getattr(trainer, _MARK, None)
    if isinstance(known, Attached) and known.callback is not None:
        # A script that attaches by hand under `sftui run --`: one callback, with its wishes.
        wished = SftuiCallback(
            name or known.callback.name,
            runs_dir=runs_dir or known.callback.runs_dir,
            questions=questions,
            question_limit=question_limit,
            baseline=baseline,
            resume=resume,
        )
        known.callback.take_wishes(wished)
        return known
    attached = _attach(
        trainer,
        lambda: SftuiCallback(
            name,
            runs_dir=runs_dir,
            questions=questions,
            question_limit=question_limit,
            baseline=baseline,
            resume=resume,
        ),
    )
    if attached.refusal:
        say(f"warning: not attached, training goes on without the cockpit ({attached.refusal})")
        if (run := foreign.handed_down()) is not None:
            with contextlib.suppress(OSError):
                foreign.write_note(run, "refused", attached.refusal)
    with contextlib.suppress(Exception):
        setattr(trainer, _MARK, attached)
    return attached


def _attach(trainer: Any, make: Callable[[], SftuiCallback]) -> Attached:
    refusal = _refusal(trainer)
    if refusal:
        return Attached(None, refusal)
    try:
        callback = make()
        callback.trainer = trainer
        _wrap_training_step(trainer, callback)
        _wrap_clipping(trainer, callback)
        _wrap_save(trainer, callback)
        _wrap_train(trainer, callback)
        trainer.add_callback(callback)
        return Attached(callback)
    except Exception as error:
        return Attached(None, f"{type(error).__name__}: {error}")


def _refusal(trainer: Any) -> str:
    """Why this object cannot be attached; empty when it can."""
    if foreign.told_not_to_attach():
        return "told so by --no-attach"
    import transformers  # noqa: PLC0415  it is imported already, or this is no Trainer

    if not isinstance(trainer, transformers.Trainer):
        return (
            f"{type(trainer).__name__} is no transformers.Trainer; a loop of your own takes "
            "sftui.attach_loop(optimizer, updates=N)"
        )
    found = transformers.__version__
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST:
        return f"transformers {found}; sftui needs {OLDEST[0]}.{OLDEST[1]} or newer"
    return ""


def _wrap_training_step(trainer: Any, callback: SftuiCallback) -> None:
    inner = trainer.training_step

    @functools.wraps(inner)
    def training_step(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if callback.is_live:
            try:
                callback.micro_batches.see_inputs(inputs)
            except Exception as error:
                callback.on_error(error)
        loss = inner(model, inputs, *args, **kwargs)
        if callback.is_live:
            callback.micro_batches.see_loss(loss)
        return loss

    trainer.training_step = training_step


def _wrap_clipping(trainer: Any, callback: SftuiCallback) -> None:
    accelerator = getattr(trainer, "accelerator", None)
    inner = getattr(accelerator, "clip_grad_norm_", None)
    if inner is None:
        # The norm of a logged step still comes with its log line.
        return

    @functools.wraps(inner)
    def clip_grad_norm_(*args: Any, **kwargs: Any) -> Any:
        norm = inner(*args, **kwargs)
        callback.grad_norm = norm
        return norm

    accelerator.clip_grad_norm_ = clip_grad_norm_  # type: ignore[union-attr]


def _wrap_save(trainer: Any, callback: SftuiCallback) -> None:
    inner = getattr(trainer, "_save_checkpoint", None)
    if inner is None:
        return

    @functools.wraps(inner)
    def _save_checkpoint(*args: Any, **kwargs: Any) -> Any:
        if not callback.is_saving_for_us:
            return inner(*args, **kwargs)
        began = time.time()
        try:
            return inner(*args, **kwargs)
        except Exception as error:
            # Asked for by a person: refused with the reason, and the training goes on.
            callback.failed_save = f"{type(error).__name__}: {error}"
            _remove_torn(trainer, began)
            return None

    trainer._save_checkpoint = _save_checkpoint


def _remove_torn(trainer: Any, began: float) -> None:
    """Remove the folder that a failed save left, if that save made it."""
    import shutil  # noqa: PLC0415  only here

    step = trainer.state.global_step
    folder = hf_checkpoints.folder_of(trainer.args.output_dir, step)
    with contextlib.suppress(OSError):
        if hf_checkpoints.fault(folder, step) and folder.stat().st_mtime >= began - 1.0:
            shutil.rmtree(folder, ignore_errors=True)


def _wrap_train(trainer: Any, callback: SftuiCallback) -> None:
    inner = trainer.train

    @functools.wraps(inner)
    def train(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = _with_newest_checkpoint(trainer, callback, args, kwargs)
        try:
            with hf_checkpoints.loadable() if callback.resumed_from else contextlib.nullcontext():
                return inner(*args, **kwargs)
        except StopTraining:
            return _after_stop(trainer, callback)
        except BaseException as error:
            attachment = callback.attachment
            if attachment is not None:
                with contextlib.suppress(Exception):
                    callback.flush(at_an_error=True)
                attachment.fail(error, trainer.state.global_step)
            raise

    trainer.train = train


def _with_newest_checkpoint(
    trainer: Any, callback: SftuiCallback, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """After a restart, go on from the newest whole checkpoint, whatever the script asked for."""
    asked = args[0] if args else kwargs.get("resume_from_checkpoint")
    callback.resumed_from = str(asked) if isinstance(asked, str | Path) else None
    output = trainer.args.output_dir
    again = foreign.handed_down() is not None and foreign.start_number() > 1
    if output and (again or asked is True):
        newest = hf_checkpoints.newest_whole(output, int(trainer.args.world_size))
        if newest is not None:
            callback.resumed_from = str(newest)
            if args:
                args = (str(newest), *args[1:])
            else:
                kwargs = {**kwargs, "resume_from_checkpoint": str(newest)}
        elif again and asked is True:
            # Killed before its first checkpoint: the trainer would refuse to begin again.
            kwargs = {**kwargs, "resume_from_checkpoint": None}
            args = ()
    return args, kwargs


def _after_stop(trainer: Any, callback: SftuiCallback) -> Any:
    """What `train()` returns when a stop left the loop from the middle."""
    from transformers.trainer_utils import TrainOutput  # noqa: PLC0415  as `transformers`

    step = trainer.state.global_step
    if callback.is_live:
        callback.leave_evaluation(trainer.state, trainer.control)
    trainer.is_in_train = False
    with contextlib.suppress(Exception):
        # Others close their files and bars there.
        trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
    callback.end(step)
    done = max(1, step)
    total = getattr(trainer, "_total_loss_scalar", 0.0)
    return TrainOutput(step, float(total) / done, {"train_loss": float(total) / done})
