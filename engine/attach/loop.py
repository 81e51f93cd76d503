"""`sftui.attach_loop(optimizer, updates=N)`: a loop of one's own, plain torch or Accelerate.

`run.step(loss)` after an update is the boundary: all ranks meet there, evaluate, save, wait while
paused, and on a stop raise `RunStopped` at the same step. The functions `evaluate` and `save` do
what only the script knows how to do; without them those requests are refused with the reason.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from engine.attach.attachment import Attachment, Training, finite, flat_settings, say, shape_of
from engine.attach.guard import hook
from engine.attach.kept_state import kept_modes, kept_random_state
from engine.attach.lr_factor import LrFactor, unwrapped
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
from engine.run import foreign
from engine.steering.steering import Decision

Evaluate = Callable[[], "float | Mapping[str, float]"]
Save = Callable[[int], "str | Path | None"]


class RunStopped(SystemExit):
    """The loop was asked to stop: raised on all ranks at the same step, once all is saved.

    Nobody has to catch it: the process then ends with exit code 0.
    """

    def __init__(self, reason: str, step: int) -> None:
        super().__init__(0)
        self.reason = reason
        self.step = step

    def __str__(self) -> str:
        return f"stopped at step {self.step}: {self.reason}"


class LoopRun:
    """A loop under the cockpit; made by `attach_loop`, a context manager.

    It never raises anything of its own but `RunStopped`: what fails in it is one warning.
    """

    def __init__(
        self,
        optimizer: Any,
        training: Training,
        *,
        model: torch.nn.Module | None,
        evaluate: Evaluate | None,
        save: Save | None,
        questions: Questions | None,
        questions_every: int | None,
        forward: Forward | None,
        runs_dir: str | Path | None,
        resume: str,
    ) -> None:
        self._model, self._evaluate_now, self._save_now = model, evaluate, save
        self._questions, self._questions_every = questions, questions_every
        self._forward = forward
        self._lr: LrFactor | None = None
        self._attachment: Attachment | None = None
        self.error = ""
        """Why it never came to an attachment."""
        self.steps_done = training.start_step
        """Updates done."""
        self._updates = training.updates
        self._began = time.monotonic()
        refused: dict[Command, str] = {}
        if evaluate is None and (questions is None or questions.refusal):
            why = f"; {questions.refusal}" if questions is not None else ""
            refused[Command.EVALUATE] = f"no evaluate= was given to sftui.attach_loop{why}"
        if save is None:
            refused[Command.CHECKPOINT] = "no save= was given to sftui.attach_loop"
        try:
            if foreign.told_not_to_attach():
                raise RuntimeError("told so by --no-attach")
            factor = LrFactor(optimizer)
            self._attachment = Attachment(
                training, runs_dir=runs_dir, resume=resume, refused=refused
            )
            self._lr = factor
        except Exception as error:
            self.error = str(error)
            say(f"warning: not attached, training goes on without the cockpit ({error})")

    # ---- the guard ---------------------------------------------------------------------------

    @property
    def is_live(self) -> bool:
        """Whether there is a cockpit to serve."""
        return self._attachment is not None and self._attachment.alive

    def on_error(self, error: Exception) -> None:
        """Give the cockpit up; the loop never sees the error."""
        if self._attachment is not None:
            self._attachment.go_dark(error)
        if self._lr is not None:
            self._lr.factor = 1.0

    @property
    def run(self) -> Path | None:
        """The run directory; None when not attached."""
        return self._attachment.run.path if self._attachment is not None else None

    # ---- what the loop calls -----------------------------------------------------------------

    def start(self) -> None:
        """Measure the start, and serve what was asked before the first update. A collective."""
        self._begin()
        self._leave_if_stopped()

    def step(
        self,
        loss: torch.Tensor | float | None = None,
        *,
        tokens: float | None = None,
        supervised_tokens: float | None = None,
        grad_norm: torch.Tensor | float | None = None,
        epoch: float | None = None,
        **metrics: float | torch.Tensor,
    ) -> None:
        """Tell of an update, and do what was asked for. A collective: call it on every rank.

        Call it after `optimizer.step()`, `scheduler.step()` and `zero_grad()`.

        Args:
            loss: of this rank's part of the update, nats; the mean over ranks is shown.
            tokens: of this rank, without padding; the sum over ranks is shown.
            supervised_tokens: those that carry a loss.
            grad_norm: of the whole gradient, before clipping.
            metrics: any other numbers, by name; each becomes a series of its own.

        Raises:
            RunStopped: somebody asked for a stop; on all ranks at this step.
        """
        self.steps_done += 1
        self._tell(loss, tokens, supervised_tokens, grad_norm, epoch, metrics)
        self._leave_if_stopped()
        self._began = time.monotonic()

    def finish(self) -> None:
        """The training is over: write the run's end."""
        if self._lr is not None:
            self._lr.remove()
        if self._attachment is not None:
            self._attachment.finish("finished", "the loop is done", self.steps_done)

    def __enter__(self) -> LoopRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        elif self._attachment is not None and not isinstance(error, RunStopped):
            self._attachment.fail(error, self.steps_done)

    # ---- inside ------------------------------------------------------------------------------

    _stop: Decision | None = None

    @hook
    def _begin(self) -> None:
        assert self._attachment is not None
        if self.steps_done == 0:
            self._evaluate((), 0)
        self._obey(self._attachment.boundary(self.steps_done), self.steps_done)
        self._began = time.monotonic()

    @hook
    def _tell(
        self,
        loss: torch.Tensor | float | None,
        tokens: float | None,
        supervised: float | None,
        grad_norm: torch.Tensor | float | None,
        epoch: float | None,
        metrics: Mapping[str, float | torch.Tensor],
    ) -> None:
        attachment = self._attachment
        assert attachment is not None
        seconds = max(1e-9, time.monotonic() - self._began)
        own = finite(loss)
        values = (float("nan") if own is None else own, float(tokens or 0), float(supervised or 0))
        told = StepFinished(
            step=self.steps_done - 1,
            seconds=round(seconds, 6),
            grad_norm=finite(grad_norm),
            epoch=epoch,
            lrs=dict(self._lr.used) if self._lr is not None else {},
        )
        free = {name: found for name, v in metrics.items() if (found := finite(v)) is not None}

        def tell(sums: list[float]) -> None:
            attachment.emit(
                replace(
                    told,
                    loss=sums[0] / attachment.ranks.world_size if loss is not None else None,
                    tokens=int(sums[1]) or None,
                    supervised_tokens=int(sums[2]) or None,
                    tokens_per_second=round(sums[1] / seconds, 1) if sums[1] else None,
                )
            )
            if free:
                attachment.emit(MetricLogged(step=told.step, values=free))

        decision = attachment.update_done(self.steps_done, values, tell, seconds=seconds)
        self._ask_if_due(self.steps_done)
        self._obey(decision, self.steps_done)
        attachment.at_step(self.steps_done)

    def _obey(self, decision: Decision, step: int) -> None:
        """Do what was asked for, and wait while paused. A collective where there is any of it."""
        attachment = self._attachment
        assert attachment is not None
        while True:
            if decision.evaluate:
                self._evaluate(decision.evaluate, step)
            if decision.checkpoint:
                self._save(decision.checkpoint, step, "request")
            if decision.stop or not decision.paused:
                break
            decision = attachment.wait_while_paused(step)
        if self._lr is not None:
            self._lr.factor = decision.lr_factor
        if decision.stop:
            if not decision.hurry and self._save_now is not None:
                self._save((), step, "stop")
            attachment.finish("stopped", decision.stop_reason, step)
            self._stop = decision

    def _leave_if_stopped(self) -> None:
        # Outside the guard: the one exception that the loop is meant to see.
        if self._stop is not None:
            raise RunStopped(self._stop.stop_reason, self.steps_done)

    def _evaluate(self, requests: Sequence[Request], step: int) -> None:
        attachment = self._attachment
        assert attachment is not None
        failures = [self._validate(step), self._ask(step)]
        attachment.answer(requests, step, "; ".join(filter(None, failures)))

    def _validate(self, step: int) -> str:
        """The loss of the script's own `evaluate`; what went wrong, in words."""
        attachment = self._attachment
        assert attachment is not None
        if self._evaluate_now is None:
            return ""
        attachment.emit(PhaseStarted(phase="validate", step=step))
        began = time.monotonic()
        try:
            with kept_random_state(), kept_modes(self._model), self._without_gradients():
                found = self._evaluate_now()
            results = dict(found) if isinstance(found, Mapping) else {"": float(found)}
        except Exception as error:
            return f"the evaluation failed: {error}"
        finally:
            attachment.emit(PhaseStarted(phase="train", step=step))
        seconds = round(time.monotonic() - began, 3)
        for name, value in results.items():
            loss = float(value)
            attachment.emit(
                ValidationFinished(step=step, loss=loss, set_name=str(name), seconds=seconds)
            )
        return ""

    def _ask_if_due(self, step: int) -> None:
        """By the script's own wish, and behind the last update."""
        every = self._questions_every
        if (every and step % every == 0) or step == self._updates:
            self._ask(step)

    def _ask(self, step: int) -> str:
        questions, attachment = self._questions, self._attachment
        assert attachment is not None
        if questions is None or questions.refusal or self._model is None:
            return ""
        attachment.settle()
        inner, sharded = plain_model(self._model)
        return questions.ask(
            attachment, step, ModelAtHand(inner, self._forward, shares_forward=sharded)
        )

    @contextlib.contextmanager
    def _without_gradients(self) -> Iterator[None]:
        with torch.no_grad():
            yield

    def _save(self, requests: Sequence[Request], step: int, reason: CheckpointReason) -> None:
        attachment = self._attachment
        assert attachment is not None
        assert self._save_now is not None
        began = time.monotonic()
        try:
            with kept_random_state():
                path = self._save_now(step)
        except Exception as error:
            attachment.answer(requests, step, f"the checkpoint could not be saved: {error}")
            if not requests:
                say(f"warning: the checkpoint could not be saved: {error}")
            return
        if path is not None:
            found = Path(path).absolute()
            attachment.saved(
                CheckpointSaved(
                    step=step,
                    path=str(found),
                    size_bytes=_size(found),
                    seconds=round(time.monotonic() - began, 3),
                    reason=reason,
                    kind="foreign",
                )
            )
        attachment.answer(requests, step)


def attach_loop(
    optimizer: Any,
    *,
    updates: int,
    name: str | None = None,
    model: torch.nn.Module | None = None,
    evaluate: Evaluate | None = None,
    save: Save | None = None,
    questions: QuestionSource | None = None,
    questions_every: int | None = None,
    question_limit: int | None = None,
    tokenizer: Any = None,
    forward: Forward | None = None,
    start_step: int = 0,
    settings: Mapping[str, Any] | None = None,
    runs_dir: str | Path | None = None,
    resume: str = "auto",
) -> LoopRun:
    """Let sftui show and steer a loop; call it on every rank, before the first update.

    Args:
        optimizer: a torch optimizer, or accelerate's wrapper of one.
        updates: planned, those done before included.
        model: its size is shown, and its modules' modes are kept around evaluations.
        evaluate: validation loss now, or one for each named set; without gradients, on all ranks.
        save: writes the state after so many updates; returns where.
        questions: letter questions to ask of `model`, as for `sftui.attach`: before the first
            update, on request, behind the last update, and every `questions_every` updates.
        question_limit: most of each task.
        tokenizer: transformers' (a fast one with a chat template), for the questions.
        forward: token ids [B, T] to logits [B, T, V]; the model's own call without it.
        start_step: updates done before, where the loop goes on from a checkpoint.
        settings: shown with the run; secrets are left out.
        resume: as for `sftui.attach`.

    Raises:
        RunStopped: somebody asked for a stop before the first update.
    """
    device, parameters = torch.device("cpu"), 0
    with contextlib.suppress(Exception):
        groups = unwrapped(optimizer).param_groups
        owned = [parameter for group in groups for parameter in group["params"]]
        device, parameters = owned[0].device, sum(each.numel() for each in owned)
    effective: dict[str, Any] = {"trainer": "a loop of its own", "trainable_parameters": parameters}
    if model is not None:
        parameters, effective["trainable_parameters"] = shape_of(model)
    asked = _prepared(questions, question_limit, tokenizer, model)
    if asked is not None and asked.words:
        effective["questions"] = asked.words
    run = LoopRun(
        optimizer,
        Training(
            name=name or foreign.script_name(),
            updates=updates,
            device=device,
            start_step=start_step,
            source=type(model).__name__ if model is not None else None,
            num_parameters=parameters or None,
            settings=flat_settings(settings or {}),
            effective=flat_settings(effective),
        ),
        model=model,
        evaluate=evaluate,
        save=save,
        questions=asked,
        questions_every=questions_every,
        forward=forward,
        runs_dir=runs_dir,
        resume=resume,
    )
    run.start()
    return run


def _prepared(
    source: QuestionSource | None, limit: int | None, tokenizer: Any, model: Any
) -> Questions | None:
    """The questions, read; what stands in the way is one warning."""
    if source is None:
        return None
    questions = Questions(source, limit=limit)
    if model is None:
        questions.refusal = "no model= was given to sftui.attach_loop"
    elif tokenizer is None:
        questions.refusal = "no tokenizer= was given to sftui.attach_loop"
    else:
        questions.prepare(tokenizer, "tokenizer=")
    if questions.refusal:
        say(f"warning: no questions are asked ({questions.refusal})")
    return questions


def _size(path: Path) -> int | None:
    if path.is_file():
        return path.stat().st_size
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return None
