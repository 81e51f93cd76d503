"""`sftui.LightningCallback`: a Lightning Trainer, shown and steered.

`trainer.global_step` s means s updates done, our step s. The boundary is `on_train_batch_end` of
an update's last micro-batch. A validation there needs two private names of the trainer; where a
version has others, evaluations are refused with that reason and the rest works.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from engine.attach.attachment import Attachment, Training, finite, flat_settings, say, shape_of
from engine.attach.guard import hook
from engine.attach.kept_state import kept_modes, kept_random_state
from engine.attach.lr_factor import LrFactor
from engine.attach.questions import Forward, ModelAtHand, Questions, plain_model
from engine.control import Command, Request
from engine.data.letter_exam import QuestionSource
from engine.events import (
    CheckpointReason,
    CheckpointSaved,
    MetricLogged,
    PhaseStarted,
    StepFinished,
    ValidationFinished,
)
from engine.journal.event_files import scan
from engine.run import foreign
from engine.run.run_dir import RunDir
from engine.steering.steering import Decision

pl: Any = importlib.import_module(
    "lightning.pytorch" if importlib.util.find_spec("lightning") else "pytorch_lightning"
)
"""Lightning under either of its names."""

OLDEST = (2, 2)
"""Of Lightning: before it the trainer keeps its loops under other names."""

_PRIVATE = ("_logger_connector._first_loop_iter", "fit_loop.epoch_loop.val_loop.run")
"""What a validation inside a step touches of the trainer."""


class LightningCallback(pl.Callback):  # type: ignore[misc,unused-ignore]
    """Put it into `Trainer(callbacks=[...])`.

    Args:
        name: of the run; the module's class name without one.
        runs_dir: where runs lie; `runs/` here, or SFTUI_RUNS.
        questions: letter questions to ask of the module, as for `sftui.attach`: before the first
            update, with each validation, on request, and behind the last update.
        question_limit: most of each task.
        tokenizer: transformers' (a fast one with a chat template); the module's `tokenizer`.
        forward: token ids [B, T] to logits [B, T, V]; without it the transformers model that the
            module holds, else the module's own call.
        baseline: validate and ask before the first update.
        resume: `auto` or `new`, as for `sftui.attach`.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        runs_dir: str | Path | None = None,
        questions: QuestionSource | None = None,
        question_limit: int | None = None,
        tokenizer: Any = None,
        forward: Forward | None = None,
        baseline: bool = True,
        resume: str = "auto",
    ) -> None:
        self.name, self.runs_dir, self.baseline, self.resume = name, runs_dir, baseline, resume
        self._questions = None if questions is None else Questions(questions, limit=question_limit)
        self._tokenizer, self._forward = tokenizer, forward
        self.attachment: Attachment | None = None
        self.error = ""
        """Why it never came to an attachment."""
        self._lrs: list[LrFactor] = []
        self._seen = 0
        self._losses: list[torch.Tensor] = []
        self._clock = time.monotonic()
        self._ends = ""
        self._apart = False

    @property
    def is_live(self) -> bool:
        """Whether there is a cockpit to serve."""
        return not self.error and (self.attachment is None or self.attachment.alive)

    def on_error(self, error: Exception) -> None:
        """Give the cockpit up; the training never sees the error."""
        if self.attachment is not None:
            self.attachment.go_dark(error)
        for factor in self._lrs:
            factor.factor = 1.0

    @property
    def stopped(self) -> bool:
        """Whether the training ended because somebody asked for it."""
        return bool(self._ends)

    # ---- begin -------------------------------------------------------------------------------

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Join; an error here means no cockpit, said once."""
        try:
            if foreign.told_not_to_attach():
                raise RuntimeError("told so by --no-attach")
            self._join(trainer, pl_module)
        except Exception as error:
            self.error = str(error)
            say(f"warning: not attached, training goes on without the cockpit ({error})")
            return
        self._start(trainer, pl_module)

    def _join(self, trainer: Any, module: Any) -> None:
        found = getattr(pl, "__version__", "0.0")
        if tuple(int(part) for part in found.split(".")[:2]) < OLDEST:
            raise RuntimeError(f"Lightning {found}; sftui needs {OLDEST[0]}.{OLDEST[1]} or newer")
        parameters, trained = shape_of(module)
        output = str(Path(trainer.default_root_dir).absolute())
        settings = dict(getattr(module, "hparams", {}) or {})
        self._prepare_questions(module)
        self.attachment = Attachment(
            Training(
                name=self.name or type(module).__name__,
                updates=int(trainer.estimated_stepping_batches),
                device=module.device,
                start_step=int(trainer.global_step),
                source=type(module).__name__,
                num_parameters=parameters,
                output_dir=output,
                resumed_from=str(trainer.ckpt_path) if trainer.ckpt_path else None,
                settings=flat_settings(settings),
                effective=flat_settings(
                    {
                        "trainer": "lightning.Trainer",
                        "num_parameters": parameters,
                        "trainable_parameters": trained,
                        "grad_accum_steps": trainer.accumulate_grad_batches,
                        "loss": "mean of the ranks' means",
                        "version of lightning": found,
                        **({"questions": self._questions.words} if self._questions else {}),
                    }
                ),
            ),
            runs_dir=self.runs_dir,
            resume=self.resume,
            refused=self._refusals(trainer),
        )
        self._seen = int(trainer.global_step)
        try:
            self._lrs = [LrFactor(each) for each in trainer.optimizers]
        except TypeError as error:
            self.attachment.refused[Command.LR_FACTOR] = str(error)

    def _prepare_questions(self, module: Any) -> None:
        if self._questions is None:
            return
        tokenizer = self._tokenizer or getattr(module, "tokenizer", None)
        self._questions.prepare(tokenizer, "the module's tokenizer")
        if self._questions.refusal:
            say(f"warning: no questions are asked ({self._questions.refusal})")

    def _refusals(self, trainer: Any) -> dict[Command, str]:
        if self._questions is not None and not self._questions.refusal:
            return {}
        refusal = self._no_validation(trainer)
        return {Command.EVALUATE: refusal} if refusal else {}

    def _no_validation(self, trainer: Any) -> str:
        """Why there is no validation inside a step; empty when there is."""
        if not trainer.enable_validation:
            return "the module has no validation loop"
        for path in _PRIVATE:
            if not _has(trainer, path):
                return (
                    f"this version of Lightning has no {path}, which a validation inside a step "
                    "needs"
                )
        return ""

    @hook
    def _start(self, trainer: Any, module: Any) -> None:
        assert self.attachment is not None
        step = int(trainer.global_step)
        can = Command.EVALUATE not in self.attachment.refused
        if self.baseline and step == 0 and can:
            self._evaluate((), trainer, module, step)
        self._obey(self.attachment.boundary(step), trainer, module, step)
        self._clock = time.monotonic()

    # ---- one update --------------------------------------------------------------------------

    @hook
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *rest: Any
    ) -> None:
        attachment = self.attachment
        if attachment is None:
            return
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            self._losses.append(loss.detach())
        step = int(trainer.global_step)
        if step == self._seen:
            return  # inside an accumulation
        self._seen = step
        decision = self._tell(trainer, step)
        self._look_at_checkpoints(trainer, step)
        self._obey(decision, trainer, pl_module, step)
        attachment.at_step(step)
        self._clock = time.monotonic()

    def _tell(self, trainer: Any, step: int) -> Decision:
        """Add the ranks' numbers up, and agree on what was asked for. A collective."""
        attachment = self.attachment
        assert attachment is not None
        seconds = max(1e-9, time.monotonic() - self._clock)
        # Lightning divides each by the number of micro-batches.
        own = float(sum(self._losses)) if self._losses else float("nan")
        self._losses = []
        rates: dict[str, float] = {}
        for number, factor in enumerate(self._lrs):
            lead = f"optimizer{number}/" if len(self._lrs) > 1 else ""
            rates |= {f"{lead}{name}": rate for name, rate in factor.used.items()}
        told = StepFinished(
            step=step - 1,
            seconds=round(seconds, 6),
            epoch=float(trainer.current_epoch),
            lrs=rates,
        )
        free = _numbers(trainer.callback_metrics, lambda name: not _is_validation(name))

        def tell(sums: list[float]) -> None:
            attachment.emit(replace(told, loss=sums[0] / attachment.ranks.world_size))
            if free:
                attachment.emit(MetricLogged(step=step - 1, values=free))

        return attachment.update_done(step, (own,), tell, seconds=seconds)

    def _look_at_checkpoints(self, trainer: Any, step: int) -> None:
        """Tell of what `ModelCheckpoint` has saved and pruned since; rank 0 alone."""
        attachment = self.attachment
        assert attachment is not None
        if not attachment.ranks.is_main:
            return
        for callback in trainer.checkpoint_callbacks:
            paths = {
                *getattr(callback, "best_k_models", {}),
                getattr(callback, "best_model_path", ""),
                getattr(callback, "last_model_path", ""),
            }
            # Lightning's are relative to where the script runs; who looks at them runs elsewhere.
            for path in sorted(str(Path(each).absolute()) for each in paths if each):
                if not attachment.has_told(path) and Path(path).exists():
                    attachment.saved(
                        CheckpointSaved(
                            step=_step_in(path, step),
                            path=path,
                            size_bytes=_size(Path(path)),
                            kind="lightning",
                        )
                    )
        attachment.look_for_removed()

    # ---- what was asked for ------------------------------------------------------------------

    def _obey(self, decision: Decision, trainer: Any, module: Any, step: int) -> None:
        """Do what was asked for, and wait while paused. A collective where there is any of it."""
        attachment = self.attachment
        assert attachment is not None
        while True:
            if decision.evaluate:
                self._evaluate(decision.evaluate, trainer, module, step)
            if decision.checkpoint:
                self._save(decision.checkpoint, trainer, step, "request")
            if decision.stop or not decision.paused:
                break
            decision = attachment.wait_while_paused(step)
        for factor in self._lrs:
            factor.factor = decision.lr_factor
        if decision.stop:
            self._stop(decision, trainer, step)

    def _stop(self, decision: Decision, trainer: Any, step: int) -> None:
        if not decision.hurry:
            self._save((), trainer, step, "stop")
        self._ends = decision.stop_reason
        trainer.should_stop = True
        # Nothing may hold the stop back: the person's word is later than these. The fit loop's own
        # `min_steps` is a view of the epoch loop's.
        trainer.fit_loop.epoch_loop.min_steps = None
        trainer.fit_loop.min_epochs = None

    def _evaluate(self, requests: Sequence[Request], trainer: Any, module: Any, step: int) -> None:
        attachment = self.attachment
        assert attachment is not None
        failures = [] if self._no_validation(trainer) else [self._validate(trainer, module, step)]
        failures.append(self._ask(trainer, module, step))
        attachment.answer(requests, step, "; ".join(filter(None, failures)))

    def _validate(self, trainer: Any, module: Any, step: int) -> str:
        """The trainer's validation loop, now; what went wrong, in words."""
        attachment = self.attachment
        assert attachment is not None
        attachment.emit(PhaseStarted(phase="validate", step=step))
        try:
            with kept_random_state(), kept_modes(module), self._inside_a_step(trainer):
                trainer.fit_loop.epoch_loop.val_loop.run()
        except Exception as error:
            return f"the validation failed: {type(error).__name__}: {error}"
        finally:
            attachment.emit(PhaseStarted(phase="train", step=step))
        return ""

    def _ask(self, trainer: Any, module: Any, step: int) -> str:
        """Ask the letter questions; what went wrong, in words. A collective."""
        attachment, questions = self.attachment, self._questions
        assert attachment is not None
        if questions is None or questions.refusal:
            return ""
        attachment.settle()
        _, sharded = plain_model(module)
        model = module if self._forward is not None else _transformers_model(module)
        return questions.ask(
            attachment,
            step,
            ModelAtHand(
                model,
                self._forward,
                shares_forward=sharded,
                context=trainer.precision_plugin.val_step_context,
            ),
        )

    @contextlib.contextmanager
    def _inside_a_step(self, trainer: Any) -> Iterator[None]:
        """Keep what a validation of Lightning's changes, and let no other callback count it."""
        connector = trainer._logger_connector
        first = connector._first_loop_iter
        callbacks = trainer.callbacks
        trainer.validating, trainer.callbacks = True, [self]
        self._apart = True
        gradients = torch.is_grad_enabled()
        try:
            yield
        finally:
            self._apart = False
            trainer.training, trainer.callbacks = True, callbacks
            connector._first_loop_iter = first
            torch.set_grad_enabled(gradients)

    def _save(
        self, requests: Sequence[Request], trainer: Any, step: int, reason: CheckpointReason
    ) -> None:
        """Save where a checkpoint of Lightning's can be gone on from. A collective."""
        attachment = self.attachment
        assert attachment is not None
        folder = Path(trainer.default_root_dir).absolute() / "sftui-checkpoints"
        path = folder / f"step-{step}.ckpt"
        try:
            trainer.save_checkpoint(path)
        except Exception as error:
            attachment.answer(requests, step, f"the checkpoint could not be saved: {error}")
            return
        if attachment.ranks.is_main:
            attachment.saved(
                CheckpointSaved(
                    step=step,
                    path=str(path),
                    size_bytes=_size(path),
                    reason=reason,
                    kind="lightning",
                )
            )
        attachment.answer(requests, step)

    # ---- what the trainer tells --------------------------------------------------------------

    @hook
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        attachment = self.attachment
        if attachment is None or trainer.sanity_checking:
            return
        step = int(trainer.global_step)
        found = _numbers(trainer.callback_metrics, _is_validation)
        losses = {name: value for name, value in found.items() if "loss" in name}
        for name, value in losses.items():
            attachment.emit(
                ValidationFinished(step=step, loss=value, set_name="" if len(losses) == 1 else name)
            )
        free = {name: value for name, value in found.items() if name not in losses}
        if free:
            attachment.emit(MetricLogged(step=step, values=free))
        if not self._apart:
            self._ask(trainer, pl_module, step)
            self._clock = time.monotonic()

    @hook
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.attachment is None:
            return
        for factor in self._lrs:
            factor.remove()
        asked = self._questions is None or self._questions.asked_at == int(trainer.global_step)
        if not self._ends and not asked:
            self._ask(trainer, pl_module, int(trainer.global_step))
        # `ModelCheckpoint` saves behind us: the last one is seen here.
        self._look_at_checkpoints(trainer, int(trainer.global_step))
        status = "stopped" if self._ends else "finished"
        reason = self._ends or "all updates done"
        self.attachment.finish(status, reason, int(trainer.global_step))  # type: ignore[arg-type]

    @hook
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self.attachment is not None:
            self.attachment.fail(exception, int(trainer.global_step))


def attach(trainer: Any) -> None:
    """Give a Trainer our callback unless it has one: the start without a changed line."""
    if not any(isinstance(each, LightningCallback) for each in trainer.callbacks):
        trainer.callbacks.append(LightningCallback())
    inner = trainer.fit

    @functools.wraps(inner)
    def fit(*args: Any, **kwargs: Any) -> Any:
        run = foreign.handed_down()
        if run is not None and foreign.start_number() > 1 and len(args) < 5:
            newest = newest_checkpoint(run)
            if newest is not None:
                kwargs["ckpt_path"] = newest
        return inner(*args, **kwargs)

    trainer.fit = fit


def newest_checkpoint(run: RunDir) -> str | None:
    """The checkpoint of the most updates that this run has told of and that is still there."""
    saved = list(scan(run.events, CheckpointSaved))
    for event in sorted(saved, key=lambda each: each.step or 0, reverse=True):
        if isinstance(event, CheckpointSaved) and Path(event.path).exists():
            return event.path
    return None


def _transformers_model(module: Any) -> Any:
    """The transformers model that a module holds as one of its own; else the module itself."""
    for child in module.children():
        if callable(getattr(child, "get_input_embeddings", None)) and hasattr(child, "config"):
            return child
    return module


def _is_validation(name: str) -> bool:
    return name.startswith(("val", "valid", "eval", "test"))


def _numbers(metrics: Any, wanted: Any) -> dict[str, float]:
    return {
        str(name): number
        for name, value in dict(metrics).items()
        if wanted(str(name)) and (number := finite(value)) is not None
    }


def _has(thing: Any, path: str) -> bool:
    for name in path.split("."):
        if not hasattr(thing, name):
            return False
        thing = getattr(thing, name)
    return True


def _step_in(path: str, step: int) -> int:
    """The step that a checkpoint's name tells; else the one it was first seen at."""
    found = re.search(r"step=(\d+)", Path(path).name)
    return int(found[1]) if found else step


def _size(path: Path) -> int | None:
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size if path.is_file() else None
