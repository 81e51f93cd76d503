"""The callback that steers Hugging Face's Trainer, and every trainer that is built on it.

The trainer's `global_step` s means s updates done, which is our step s, "before the update of s".
So `on_step_end` at `global_step` s is the boundary of step s: the ranks meet there, evaluate at
once, and ask for checkpoints and the end by the trainer's own flags. A pause waits in the next
`on_step_begin`, behind the log, evaluation and checkpoint of the step before; what is asked for
while paused is done there.

Without the trainer object (`SftuiCallback` in a list of callbacks) there is no loss of every
step and nothing can be evaluated or saved during a pause; the rest works.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from engine.attach import hf_checkpoints, hf_questions
from engine.attach.attachment import Attachment, finite, say
from engine.attach.guard import StopTraining, hook
from engine.attach.hf_evaluation import EVALUATION, Leave, evaluate_apart, results_of
from engine.attach.hf_facts import training_of
from engine.attach.kept_state import RandomState
from engine.attach.lr_factor import LrFactor
from engine.attach.micro_batches import MicroBatches
from engine.attach.questions import Questions
from engine.control import Command, Request
from engine.data.letter_exam import QuestionSource
from engine.events import (
    CheckpointReason,
    CheckpointSaved,
    MetricLogged,
    PhaseStarted,
    StepFinished,
)
from engine.steering.steering import Decision

NO_LOOP_STATE = frozenset({"epoch", "learning_rate", "loss", "grad_norm", "step"})
"""Entries of a log line that belong to the update itself, not to the free metrics."""

_LOG_OF_THE_END = "train_runtime"


class SftuiCallback(TrainerCallback):
    """Put it into `callbacks=[...]`, or use `sftui.attach(trainer)`, which knows more.

    Args:
        name: of the run; the name of the output folder without one.
        runs_dir: where the run lies; `runs/` here, or SFTUI_RUNS.
        questions: letter questions to ask of the model, as for `sftui.attach`.
        question_limit: most of each task.
        baseline: measure before the first update.
        resume: `auto` or `new`, as for `sftui.attach`.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        runs_dir: str | Path | None = None,
        questions: QuestionSource | None = None,
        question_limit: int | None = None,
        baseline: bool = True,
        resume: str = "auto",
    ) -> None:
        self.name, self.runs_dir = name, runs_dir
        self.questions = None if questions is None else Questions(questions, limit=question_limit)
        self.baseline, self.resume = baseline, resume
        self.trainer: Any = None
        """Known when attached by `sftui.attach`, or by a start without a changed line."""
        self.resumed_from: str | None = None
        self._reset()

    def take_wishes(self, other: SftuiCallback) -> None:
        """What a script asks for by hand that was attached already, by its start."""
        self.name, self.runs_dir, self.questions = other.name, other.runs_dir, other.questions
        self.baseline, self.resume = other.baseline, other.resume

    def _reset(self) -> None:
        """Forget the training before: each `train()` is a run of its own."""
        self.attachment: Attachment | None = None
        self.error = ""
        """Why it never came to an attachment."""
        self.micro_batches = MicroBatches()
        self.grad_norm: Any = None
        """Of the newest update, as the trainer clips by it."""
        self.failed_save = ""
        """Why the checkpoint that a person asked for could not be written."""
        self._lr: LrFactor | None = None
        self._decision = Decision()
        self._pending: dict[str, Any] | None = None
        """The update that was made last; told when its log line has been seen."""
        self._saves: tuple[Request, ...] = ()
        self._evaluations: tuple[Request, ...] = ()
        """Served by an evaluation that the trainer makes itself; answered when it is over."""
        self._before_evaluation: RandomState | None = None
        self._question_failure = ""
        self._model: Any = None
        self._ends = False
        self._apart = False
        """Inside an evaluation of our own."""
        self._leave: Leave | None = None
        self._clock = time.monotonic()
        self._epoch_state: tuple[int, RandomState] | None = None

    # ---- the guard ---------------------------------------------------------------------------

    @property
    def is_live(self) -> bool:
        return not self.error and (self.attachment is None or self.attachment.alive)

    def on_error(self, error: Exception) -> None:
        """Give the cockpit up; the training never sees the error."""
        if self.attachment is not None:
            self.attachment.go_dark(error)
        if self._lr is not None:
            # A factor nobody can change any more must not stay in force.
            self._lr.factor = 1.0

    @property
    def is_saving_for_us(self) -> bool:
        """Whether the checkpoint being written was asked for by a person alone."""
        return self.is_live and (bool(self._saves) or self._ends)

    # ---- begin -------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        """Join; an error here means no cockpit, said once."""
        if self.error or self.attachment is not None:
            self._reset()
        try:
            self._join(args, state, kw)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            say(f"warning: not attached, training goes on without the cockpit ({error})")
            return
        self._start(state, control)

    def _join(self, args: Any, state: Any, kw: Mapping[str, Any]) -> None:
        self._model = kw.get("model")
        if self.questions is not None:
            hf_questions.prepare(self.questions, self.trainer, kw)
        told = training_of(
            args,
            state,
            kw,
            name=self.name,
            trainer=self.trainer,
            resumed_from=self.resumed_from,
            questions=self.questions.words if self.questions is not None else "",
        )
        self.attachment = Attachment(
            told, runs_dir=self.runs_dir, resume=self.resume, refused=self._refusals(kw)
        )
        try:
            self._lr = LrFactor(kw.get("optimizer"))
        except TypeError as error:
            self.attachment.refused[Command.LR_FACTOR] = (
                f"the learning rate cannot be scaled here: {error}"
            )
        except Exception as error:
            self.attachment.go_dark(error)

    def _refusals(self, kw: Mapping[str, Any]) -> dict[Command, str]:
        """What this trainer cannot do, with the reason."""
        has_set = (
            kw.get("eval_dataloader") is not None
            if self.trainer is None
            else self.trainer.eval_dataset is not None
        )
        if has_set or (self.questions is not None and not self.questions.refusal):
            return {}
        why = f"; {self.questions.refusal}" if self.questions is not None else ""
        return {Command.EVALUATE: f"the trainer has no eval_dataset{why}"}

    @hook
    def _start(self, state: Any, control: Any) -> None:
        attachment = self.attachment
        assert attachment is not None
        step = state.global_step
        trainer = self.trainer
        if self.baseline and step == 0:
            if trainer is not None and not trainer.args.eval_on_start:
                self._evaluate((), step)
            else:
                self._ask(step)
        decision = self._decision = attachment.boundary(step)
        self._take_factor(decision)
        if decision.evaluate:
            self._evaluate(decision.evaluate, step)
        if decision.checkpoint:
            self._save_here(decision.checkpoint, state)
        if decision.stop:
            self._stop_here(decision, state, control)
        self._clock = time.monotonic()

    # ---- one update --------------------------------------------------------------------------

    @hook
    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        # The loader of the epoch draws its seed next; a checkpoint of this very step, asked for
        # during a pause, has to hold the state of before, since a resumed run draws it again.
        self._epoch_state = state.global_step, RandomState.now()

    @hook
    def on_step_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        attachment = self.attachment
        if attachment is None:
            return
        if attachment.is_settled:
            self.flush()
        waited = time.monotonic()
        self._answer_evaluations(state.global_step)
        if self.questions is not None and self.questions.cut_short:
            self.questions.cut_short = False
            self._decision = attachment.boundary(state.global_step)
        self._wait_while_paused(state, control)
        self._clock += time.monotonic() - waited
        attachment.at_step(state.global_step)

    @hook
    def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        attachment = self.attachment
        if attachment is None:
            return
        step = state.global_step
        self.flush()
        decision = self._decision = self._tell_update(step, state)
        self._take_factor(decision)
        if decision.stop:
            self._ask_to_stop(decision, control)
        if decision.checkpoint:
            self._saves = decision.checkpoint
            control.should_save = True
        if decision.evaluate:
            if control.should_evaluate or self.trainer is None:
                # The trainer evaluates here anyway, or it alone can: one evaluation serves both.
                if not control.should_evaluate:
                    self._before_evaluation = RandomState.now()
                self._evaluations, control.should_evaluate = decision.evaluate, True
            else:
                self._evaluate(decision.evaluate, step)
                if self._is_leaving:
                    decision = attachment.boundary(step)
                    self._ask_to_stop(decision, control)
        if step >= state.max_steps and not control.should_evaluate:
            # Behind the last update; `on_train_end` may see the best weights in its place.
            self._ask(step)
        self._clock = time.monotonic()

    def _tell_update(self, step: int, state: Any) -> Decision:
        """Add the ranks' numbers up, and agree on what was asked for. A collective."""
        attachment = self.attachment
        assert attachment is not None
        seconds = max(1e-9, time.monotonic() - self._clock)
        fault: Exception | None = None
        values = (float("nan"), 0.0, 0.0)
        norm: float | None = None
        try:
            values = self.micro_batches.take()
            norm = None if self.grad_norm is None else finite(self.grad_norm)
        except Exception as error:
            fault = error
        self.grad_norm = None
        pending = self._pending = {
            "step": step - 1,
            "loss": None,
            "seconds": round(seconds, 6),
            "epoch": state.epoch,
            "lrs": dict(self._lr.used) if self._lr is not None else {},
            "lr_mult": None,
            # Equal on all ranks already: it is what they clip by.
            "grad_norm": norm,
        }

        def tell(sums: list[float]) -> None:
            tokens = int(sums[1]) or None
            pending["tokens"], pending["supervised_tokens"] = tokens, int(sums[2]) or None
            pending["tokens_per_second"] = round(sums[1] / seconds, 1) if tokens else None
            if self.trainer is not None:
                pending["loss"] = sums[0] / attachment.ranks.world_size

        if self._lr is not None and not self._lr.steps:
            attachment.refused[Command.LR_FACTOR] = (
                "the optimizer does not step through torch, so its learning rate cannot be scaled"
            )
        return attachment.update_done(step, values, tell, seconds=seconds, fault=fault)

    def _ask_to_stop(self, decision: Decision, control: Any) -> None:
        self._ends = True
        control.should_training_stop = True
        if not decision.hurry:
            control.should_save = True

    def _take_factor(self, decision: Decision) -> None:
        if self._lr is not None:
            self._lr.factor = decision.lr_factor

    def flush(self, *, at_an_error: bool = False) -> None:
        """Tell of the update that was made last, now that its log line, if any, was seen."""
        pending, self._pending = self._pending, None
        if pending is not None and self.attachment is not None:
            self.attachment.settle(at_an_error=at_an_error)
            self.attachment.emit(StepFinished(**pending))

    # ---- what was asked for ------------------------------------------------------------------

    def _wait_while_paused(self, state: Any, control: Any) -> None:
        """Wait here, between two updates, and do what is asked for meanwhile."""
        attachment, decision = self.attachment, self._decision
        assert attachment is not None
        step = state.global_step
        while decision.paused and not decision.stop:
            decision = attachment.wait_while_paused(step)
            if decision.evaluate:
                self._evaluate(decision.evaluate, step)
            if decision.checkpoint:
                self._save_here(decision.checkpoint, state)
        self._decision = decision
        self._take_factor(decision)
        if decision.stop and not self._ends:
            self._stop_here(decision, state, control)

    def _stop_here(self, decision: Decision, state: Any, control: Any) -> None:
        """Stop between two updates, where nothing looks at the flags before the next one."""
        if self.trainer is None:
            # A callback alone cannot leave the loop: one more update is made.
            self._ask_to_stop(decision, control)
            return
        self._ends = True
        if not decision.hurry:
            self._save_here((), state)
        raise StopTraining(decision.stop_reason)

    def leave_evaluation(self, state: Any, control: Any) -> None:
        """A stop left the trainer's own evaluation: agree on it, and save. A collective."""
        if self.attachment is None or self._ends:
            return
        with contextlib.suppress(StopTraining):
            self._stop_here(self.attachment.boundary(state.global_step), state, control)

    def _evaluate(self, requests: Sequence[Request], step: int) -> None:
        """One evaluation of our own, around which nothing of the training changes."""
        attachment, trainer = self.attachment, self.trainer
        assert attachment is not None
        if trainer is None and self.questions is not None:
            attachment.answer(requests, step, self._ask(step, again=True))
            return
        if trainer is None:
            refusal = "a callback alone cannot evaluate here; ask again while it trains, or use "
            attachment.answer(requests, step, f"{refusal}sftui.attach(trainer) in the script")
            return
        self.flush()
        self._leave = None
        refusal = ""
        if trainer.eval_dataset is not None:
            attachment.emit(PhaseStarted(phase="validate", step=step))
            with self._our_own_evaluation():
                refusal = evaluate_apart(trainer, self)
        if not self._is_leaving:
            refusal = "; ".join(filter(None, (refusal, self._ask(step, again=True))))
        attachment.answer(requests, step, refusal)
        if requests or trainer.eval_dataset is not None:
            attachment.emit(PhaseStarted(phase="train", step=step))

    def _ask(self, step: int, *, again: bool = False) -> str:
        """Ask the letter questions, once a step unless `again`; what went wrong. A collective."""
        questions, attachment = self.questions, self.attachment
        assert attachment is not None
        if questions is None or questions.refusal or (questions.asked_at == step and not again):
            return ""
        self.flush()
        return questions.ask(attachment, step, hf_questions.at_hand(self.trainer, self._model))

    @property
    def _is_leaving(self) -> bool:
        return self._leave is not None and self._leave.leaving

    @contextlib.contextmanager
    def _our_own_evaluation(self) -> Iterator[None]:
        self._apart = True
        try:
            yield
        finally:
            self._apart = False

    def _save_here(self, requests: Sequence[Request], state: Any) -> None:
        """Save between two updates, where the trainer looks at no flag."""
        attachment, trainer = self.attachment, self.trainer
        assert attachment is not None
        step = state.global_step
        if trainer is None or not hasattr(trainer, "_save_checkpoint"):
            attachment.answer(
                requests,
                step,
                "this trainer saves at the end of a step alone; ask again while it runs",
            )
            return
        self._saves = tuple(requests)
        began, here = self._epoch_state or (-1, None), RandomState.now()
        try:
            if began[0] == step and began[1] is not None:
                began[1].restore()
            with self._keeping_flags(trainer):
                trainer._save_checkpoint(trainer.model_wrapped, None)
                trainer.callback_handler.on_save(trainer.args, state, trainer.control)
        except Exception as error:
            attachment.answer(requests, step, f"the checkpoint could not be saved: {error}")
        finally:
            here.restore()
            self._saves = ()

    @contextlib.contextmanager
    def _keeping_flags(self, trainer: Any) -> Iterator[None]:
        flags = dict(vars(trainer.control))
        try:
            yield
        finally:
            vars(trainer.control).update(flags)

    # ---- what the trainer tells --------------------------------------------------------------

    @hook
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kw: Any) -> None:
        attachment = self.attachment
        if attachment is None or not isinstance(logs, dict) or _LOG_OF_THE_END in logs:
            return
        if "loss" in logs and self._pending is not None:
            if self._pending["grad_norm"] is None:
                self._pending["grad_norm"] = finite(logs.get("grad_norm"))
            if self._pending["loss"] is None:
                # Without the trainer object: the mean since the line before.
                self._pending["loss"] = finite(logs["loss"])
        free = {
            str(name): number
            for name, value in logs.items()
            if name not in NO_LOOP_STATE
            and not str(name).startswith(EVALUATION)
            and (number := finite(value)) is not None
        }
        if free:
            attachment.emit(MetricLogged(step=max(0, state.global_step - 1), values=free))
        if "loss" in logs and self._lr is not None and self._lr.last_factor != 1.0:
            # The trainer logs its schedule's rate: say what it was multiplied by, to those who
            # hear of it after us, and in its own history.
            for entry in (logs, *state.log_history[-1:]):
                entry["sftui/lr_factor"] = self._lr.last_factor
        if not self._apart:
            self._clock = time.monotonic()

    @hook
    def on_prediction_step(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        if self.attachment is None or self.trainer is None or not self.trainer.is_in_train:
            return
        if self._leave is None or self._leave.step != state.global_step:
            self._leave = Leave(self.attachment, state.global_step)
        if self._leave.at_prediction_step():
            # Out of the trainer's evaluation, and of ours.
            raise StopTraining("told to stop during an evaluation")

    @hook
    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kw: Any
    ) -> None:
        attachment = self.attachment
        if attachment is None:
            return
        self.flush()
        if self._before_evaluation is not None:
            self._before_evaluation.restore()
            self._before_evaluation = None
        for event in results_of(metrics or {}, state.global_step, self.dataset_names):
            attachment.emit(event)
        if not self._apart:
            self._question_failure = self._ask(state.global_step)
            self._clock = time.monotonic()

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """Names of the evaluation sets, where there are several."""
        datasets = getattr(self.trainer, "eval_dataset", None)
        return tuple(map(str, datasets)) if isinstance(datasets, dict) else ()

    @hook
    def on_save(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        attachment = self.attachment
        if attachment is None:
            return
        self.flush()
        step = state.global_step
        requests, self._saves = self._saves, ()
        failure, self.failed_save = self.failed_save, ""
        self._answer_evaluations(step)
        if failure:
            attachment.answer(requests, step, f"the checkpoint could not be saved: {failure}")
            return
        folder = hf_checkpoints.folder_of(args.output_dir, step)
        reason: CheckpointReason = (
            "stop"
            if self._ends
            else "request"
            if requests
            else "final"
            if step >= state.max_steps
            else "schedule"
        )
        if attachment.ranks.is_main:
            attachment.saved(
                CheckpointSaved(
                    step=step,
                    path=str(folder),
                    size_bytes=hf_checkpoints.size_bytes(folder),
                    reason=reason,
                    kind="hf",
                )
            )
        attachment.answer(requests, step)
        self._clock = time.monotonic()

    def _answer_evaluations(self, step: int) -> None:
        evaluations, self._evaluations = self._evaluations, ()
        if self.attachment is not None:
            self.attachment.answer(evaluations, step, self._question_failure)
        self._question_failure = ""

    # ---- the end -----------------------------------------------------------------------------

    @hook
    def on_train_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        attachment = self.attachment
        if attachment is None:
            return
        self.flush()
        step = state.global_step
        self._answer_evaluations(step)
        attachment.answer(self._saves, step, "the run has ended")
        self._saves = ()
        if not self._ends:
            with contextlib.suppress(StopTraining):
                self._wait_while_paused(state, control)
        self.end(step)

    def end(self, step: int) -> None:
        """The run's end: stopped, if that was asked for, else finished."""
        attachment = self.attachment
        if attachment is None:
            return
        if self._lr is not None:
            self._lr.remove()
        attachment.finish(
            "stopped" if self._ends else "finished",
            (attachment.stopped or "asked for") if self._ends else "all updates done",
            step,
        )

    @property
    def stopped(self) -> bool:
        """Whether the training ended because somebody asked for it."""
        return self._ends
