"""Evaluations of Hugging Face's Trainer: one of our own beside its schedule, and their results."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from engine.attach.attachment import Attachment, finite
from engine.attach.guard import StopTraining
from engine.attach.kept_state import kept_modes, kept_random_state
from engine.events import Event, MetricLogged, ValidationFinished

EVALUATION = "eval_"
"""What the trainer puts before every number of an evaluation."""

MEET_SECONDS = 2.0
"""Inside an evaluation the ranks ask each other this often whether to stop."""

_COSTS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "epoch")


class Leave:
    """Leave a long evaluation together when a rank was told to stop.

    Ranks step through an evaluation in step, but their clocks differ: so when to meet next is
    counted in prediction steps, and rank 0 says how many.
    """

    def __init__(self, attachment: Attachment, step: int) -> None:
        self._attachment = attachment
        self.step = step
        """Updates done when the evaluation began."""
        self._steps = 0
        self._next = 1
        self._began = time.monotonic()
        self.leaving = False

    def at_prediction_step(self) -> bool:
        """Whether to leave now; a collective at the agreed steps."""
        self._steps += 1
        if self._steps < self._next:
            return False
        seconds = max(1e-4, (time.monotonic() - self._began) / self._steps)
        self.leaving, stride = self._attachment.meets(max(1, int(MEET_SECONDS / seconds)))
        self._next = self._steps + max(1, stride)
        return self.leaving


def evaluate_apart(trainer: Any, callback: Any) -> str:
    """`trainer.evaluate()` without any effect on the training; what went wrong, in words.

    Only our own callback hears of it: a person's look must not count as an evaluation for early
    stopping, and flags that are set for this step (to log, to save) stay set.
    """
    try:
        with (
            kept_random_state(),
            kept_modes(trainer.model),
            _kept_control(trainer),
            _alone(trainer, callback),
        ):
            trainer.evaluate()
    except StopTraining:
        return "the run is stopping"
    except Exception as error:
        return f"the evaluation failed: {type(error).__name__}: {error}"
    return ""


@contextlib.contextmanager
def _kept_control(trainer: Any) -> Iterator[None]:
    """Keep the trainer's flags and its own history of results."""
    flags = dict(vars(trainer.control))
    length = len(trainer.state.log_history)
    in_train = trainer.is_in_train
    try:
        yield
    finally:
        vars(trainer.control).update(flags)
        del trainer.state.log_history[length:]
        trainer.is_in_train = in_train


@contextlib.contextmanager
def _alone(trainer: Any, callback: Any) -> Iterator[None]:
    """Let no callback but ours hear what happens."""
    handler = trainer.callback_handler
    everybody = handler.callbacks
    handler.callbacks = [callback]
    try:
        yield
    finally:
        handler.callbacks = everybody


def results_of(metrics: Mapping[str, Any], step: int, names: tuple[str, ...]) -> list[Event]:
    """Events of one evaluation's numbers: its loss, and everything else as free metrics.

    A token accuracy is a metric like entropy, never a benchmark: it asks no question.

    Args:
        names: of the evaluation sets where there are several; one call tells of one set.
    """
    found: list[Event] = []
    free: dict[str, float] = {}
    # TRL adds numbers of its own without the name of the set: they are of the set at hand.
    at_hand = next((n for n in names if f"{EVALUATION}{n}_loss" in metrics), "")
    for name, value in metrics.items():
        number = finite(value)
        if number is None or not name.startswith(EVALUATION):
            continue
        rest = name.removeprefix(EVALUATION)
        # The longest name first: one may begin with another.
        owner = next(
            (n for n in sorted(names, key=len, reverse=True) if rest.startswith(f"{n}_")), ""
        )
        what = rest.removeprefix(f"{owner}_") if owner else rest
        if what == "loss":
            seconds = finite(metrics.get(f"{name.removesuffix('loss')}runtime"))
            found.append(
                ValidationFinished(step=step, loss=number, set_name=owner, seconds=seconds)
            )
        elif what not in _COSTS:
            free[name if owner or not at_hand else f"{EVALUATION}{at_hand}_{what}"] = number
    if free:
        found.append(MetricLogged(step=step, values=free))
    return found
