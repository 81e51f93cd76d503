"""The events of a run as the lines that nanochat prints, for `run.log`.

Readers of nanochat's logs can read it. One event gives zero or more lines; only the metrics
line must wait, because it names all tasks of an evaluation round and no event says which task
is the last: the next step, the next round or the end of the run does.

Formats: nanochat at 2025-10-29, `scripts/chat_sft.py` and what it calls.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from pathlib import PurePath

from engine.events import (
    AttemptStarted,
    CheckpointSaved,
    EvalFinished,
    Event,
    LogLine,
    RunFinished,
    RunStarted,
    Scalar,
    StepFinished,
    ValidationFinished,
)
from engine.optimizer.lr_schedule import TUNED_WIDTH, width_scale

NANOCHAT_DEFAULTS: Mapping[str, Scalar] = {
    "run": "dummy",
    "source": "mid",
    "model_tag": None,
    "step": None,
    "device_type": "",
    "dtype": "bfloat16",
    "device_batch_size": 4,
    "num_epochs": 1,
    "num_iterations": -1,
    "target_examples_per_step": 32,
    "unembedding_lr": 0.004,
    "embedding_lr": 0.2,
    "matrix_lr": 0.02,
    "weight_decay": 0.0,
    "init_lr_frac": 0.02,
    "eval_every": 100,
    "eval_steps": 100,
    "eval_metrics_every": 200,
    "eval_metrics_max_problems": 1024,
}
"""nanochat's settings; what differs from them is what one would have typed there."""

_MODEL_CONFIG = ("sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd")

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\^_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

_ENDS_A_ROUND = (StepFinished, RunFinished, RunStarted, AttemptStarted)
"""Nothing else does: alarms, controls, heartbeats and lines of text pass by at any time."""


class RunLog:
    """Turns events into lines; keeps only what a later line needs."""

    def __init__(self) -> None:
        self._num_iterations = 0
        self._round: dict[str, float] = {}
        self._round_step: int | None = None
        self._held: list[str] = []
        """Lines of an export that came in a round: nanochat saves after its last one."""

    def lines(self, event: Event) -> list[str]:
        """The lines, without newlines, that nanochat would have printed for this event."""
        before = self._end_of_round(event)
        own = self._own_lines(event)
        if self._round and isinstance(event, CheckpointSaved):
            self._held += own
            own = []
        return [_plain(line) for line in before + own]

    def _own_lines(self, event: Event) -> list[str]:
        match event:
            case RunStarted():
                self._num_iterations = event.num_iterations or 0
                return _start_lines(event)
            case AttemptStarted():
                # A restarted rank 0 writes on without a second beginning.
                self._num_iterations = event.num_iterations or self._num_iterations
                return []
            case ValidationFinished(metric="loss"):
                return [f"{_step(event)} | Validation loss: {event.loss:.6f}"]
            case ValidationFinished(metric="bpb"):
                return [f"{_step(event)} | Validation bpb: {event.loss:.4f}"]
            case EvalFinished():
                return self._eval_lines(event)
            case StepFinished():
                return [self._training_line(event)]
            case CheckpointSaved(kind="nanochat"):
                return _saved_lines(event)
            case LogLine():
                return event.text.splitlines()
            case _:
                return []

    def _training_line(self, event: StepFinished) -> str:
        # nanochat prints its last micro-batch; a run of another kind gives what it has.
        losses = (event.loss_micro_last, event.loss_rows_mean, event.loss, math.nan)
        loss = next(value for value in losses if value is not None)
        lr_mult = math.nan if event.lr_mult is None else event.lr_mult
        return (
            f"{_step(event)}/{self._num_iterations:05d} | Training loss: {loss:.6f}"
            f"| lrm: {lr_mult:.6f}| num_tokens: {event.supervised_tokens or 0:,}"
        )

    def _eval_lines(self, event: EvalFinished) -> list[str]:
        accuracy = event.accuracy
        if accuracy is None and event.correct is not None and event.total:
            accuracy = event.correct / event.total
        if accuracy is None:
            return []
        self._round[metric_name(event.task)] = accuracy
        self._round_step = event.step
        if event.correct is None or event.total is None:
            return []
        return [f"Final: {event.correct}/{event.total} ({100 * accuracy:.2f}%)"]

    def _end_of_round(self, event: Event) -> list[str]:
        if not self._round:
            return []
        ends = isinstance(event, _ENDS_A_ROUND)
        if isinstance(event, EvalFinished):
            again = metric_name(event.task) in self._round
            ends = event.step != self._round_step or again
        elif isinstance(event, ValidationFinished):
            ends = event.step != self._round_step
        if not ends:
            return []
        metrics = ", ".join(f"{name}: {value:.6f}" for name, value in self._round.items())
        line = f"Step {self._round_step or 0:05d} | {metrics}"
        held, self._round, self._held = self._held, {}, []
        return [line, *held]


def _start_lines(event: RunStarted) -> list[str]:
    settings, effective = event.settings, event.effective
    lines = [
        f"Overriding: {key} = {settings[key]}"
        for key, default in NANOCHAT_DEFAULTS.items()
        # "auto" is what nanochat does without being told, so it overrides nothing.
        if settings.get(key, default) not in (default, "auto")
    ]
    if not settings.get("device_type"):
        lines.append(f"Autodetected device type: {event.device}")
    clock = _clock(event)
    lines.append(f"{clock} - nanochat.common - INFO - Distributed world size: {event.world_size}")
    shape = {name: effective[name] for name in _MODEL_CONFIG if name in effective}
    if len(shape) == len(_MODEL_CONFIG):
        lines.append(
            f"{clock} - nanochat.checkpoint_manager - INFO - Building model with config: {shape}"
        )
    target = settings.get("target_examples_per_step")
    batch = settings.get("device_batch_size")
    if settings.get("packing") == "best-fit":
        lines += _token_batch(event)
    elif isinstance(target, int) and isinstance(batch, int):
        per_step = batch * (event.world_size or 1)
        accumulation = effective.get("grad_accum_steps", target // per_step)
        lines += [
            f"Target examples per step: {target}",
            f"Device batch size: {batch}",
            f"Examples per step is device_batch_size * ddp_world_size: {per_step}",
            f"=> Setting grad accum steps: {accumulation}",
        ]
    width = effective.get("n_embd")
    if isinstance(width, int):
        lines.append(
            "Scaling the LR for the AdamW parameters "
            f"\u221d1/\u221a({width}/{TUNED_WIDTH}) = {width_scale(width):.6f}"
        )
    return lines


def _token_batch(event: RunStarted) -> list[str]:
    """What nanochat says of a step of token places, since 2026."""
    names = ("device_batch_size", "max_seq_len", "total_batch_size")
    batch, length, total = (event.settings.get(name) for name in names)
    accumulation = event.effective.get("grad_accum_steps")
    if not (isinstance(batch, int) and isinstance(length, int) and isinstance(total, int)):
        return []
    return [
        f"Tokens / micro-batch / rank: {batch} x {length} = {batch * length:,}",
        f"Tokens / micro-batch: {batch * length * (event.world_size or 1):,}",
        f"Total batch size {total:,} => gradient accumulation steps: {accumulation}",
    ]


def _saved_lines(event: CheckpointSaved) -> list[str]:
    path = PurePath(event.path)
    folder = path.parent if path.suffix == ".pt" else path
    step = event.step or 0
    who = f"{_clock(event)} - nanochat.checkpoint_manager - INFO -"
    return [
        f"{who} Saved model file to: {folder}/model_{step:06d}.pt",
        f"{who} Saved metadata file to: {folder}/meta_{step:06d}.json",
        f"\u2705 Saved model checkpoint to {folder}",
    ]


def _plain(line: str) -> str:
    """The line without escape sequences and control characters: a terminal may show this file."""
    return _CONTROLS.sub("", _ESCAPES.sub("", line))


def _step(event: Event) -> str:
    return f"Step {event.step or 0:05d}"


def metric_name(task: str) -> str:
    """nanochat's name of a task's accuracy, in its log and its meta files: `arc_easy_acc`."""
    return task.lower().replace("-", "_") + "_acc"


def _clock(event: Event) -> str:
    t = event.stamp.t or 0.0
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(t)) + f",{int(t % 1 * 1000):03d}"
