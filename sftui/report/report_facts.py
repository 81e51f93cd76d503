"""All that a report rests on, worked out once and free of any language.

`Facts` are of one stage of a run or log, what was counted on the way (`Counts`) and the
comparisons. Sections only put it into words, so English and Chinese cannot differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine import events as ev
from engine.errors import CheckpointError, SftuiError
from engine.files.checked import digits
from engine.model import family
from engine.model.family import ModelShape, WeightCounts
from engine.optimizer.lr_schedule import width_scale
from sftui.compare.baseline import Baseline
from sftui.report.counts import Counts
from sftui.sources import snapshot
from sftui.sources.reading import FOUND_OUT, Reading
from sftui.sources.snapshot import RunStatus, Snapshot
from sftui.state.run_state import RunState
from sftui.statistics import other_stages
from sftui.statistics.scatter import Scatter
from sftui.statistics.scores import Scoreboard, Scores
from sftui.statistics.validation_scores import LossBoard, LossChange
from sftui.view.run_facts import RATE_GROUPS

NANOCHAT_MIXTURE = {"ARC-Easy": 2251, "ARC-Challenge": 1119, "GSM8K": 7473, "SmolTalk": 10_000}
"""Training rows of nanochat's chat_sft of October 2025, which its log does not print."""

_SHAPE_NUMBERS = {"sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd"}
_SHAPE = _SHAPE_NUMBERS | {"window_pattern"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One stage of a run or log, ready to be put into words."""

    shot: Snapshot
    counts: Counts
    baseline: Baseline | None = None
    against: Snapshot | None = None
    """The run that the baseline is, if it is one: its settings are compared too."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    """What writes this report again."""

    @property
    def state(self) -> RunState:
        return self.shot.state

    @property
    def run(self) -> ev.RunStarted | None:
        return self.state.run

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.run.settings if self.run is not None else {}

    @property
    def effective(self) -> Mapping[str, Any]:
        return self.run.effective if self.run is not None else {}

    @property
    def stage_name(self) -> str:
        return self.shot.stages[self.shot.shown].name

    @property
    def is_ours(self) -> bool:
        """A run of our own trainer."""
        return self.shot.run is not None and not self.state.trainer

    @property
    def is_nanochat(self) -> bool:
        """A log that nanochat's own programs printed."""
        return self.shot.run is None and self.shot.format.startswith("nanochat")

    @property
    def era(self) -> Literal["2025", "2026", ""]:
        """Generation of nanochat whose optimizers and defaults hold; empty for anything else."""
        if self.is_ours:
            shape = self.shape
            told = shape.generation if shape is not None and shape.family == "nanochat" else ""
        else:
            told = self.shot.format if self.is_nanochat else ""
        return "2026" if "2026" in told else "2025" if "2025" in told else ""

    @property
    def machine(self) -> tuple[int, str] | None:
        """Number of ranks and their device; None where a log does not name both."""
        run = self.run
        if run is None or run.world_size is None or run.device is None:
            return None
        return run.world_size, run.device

    @property
    def status(self) -> RunStatus | Literal["stopped"]:
        """As `show` says it, and `stopped` where somebody stopped it."""
        if self.state.ended and self.state.badge == "stopped":
            return "stopped"
        return self.shot.status

    # ---- comparisons -----------------------------------------------------------------------

    @cached_property
    def board(self) -> Scoreboard:
        folder = self.shot.run.path if self.shot.run is not None else None
        return Scoreboard(folder, self.baseline)

    @cached_property
    def scores(self) -> Scores:
        """Every comparison of evaluations, judged as on the screen."""
        return self.board.scores(self.state)

    @cached_property
    def loss_board(self) -> LossBoard:
        return LossBoard(self.shot.run.path if self.shot.run is not None else None)

    @cached_property
    def loss_changes(self) -> Mapping[tuple[int, str], LossChange]:
        """Every change of the validation loss, judged as on the screen."""
        return self.loss_board.changes(self.state.validation_list())

    @cached_property
    def start_results(self) -> Mapping[str, other_stages.Found]:
        """Task -> (stage, result) of this stage's starting checkpoint, from the stages before."""
        return other_stages.start_results(self.shot.stages, self.shot.shown)

    @cached_property
    def from_other_stages(self) -> Mapping[str, other_stages.FromStart]:
        """Tasks whose start another stage of the log evaluated."""
        return other_stages.from_other_stages(self.shot.stages, self.shot.shown, self.board)

    @property
    def loss_scatter(self) -> Scatter | None:
        """Of the validations, beyond what their rows explain."""
        return self.loss_board.scatter if self.loss_changes else None

    # ---- numbers ---------------------------------------------------------------------------

    @cached_property
    def losses(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """(steps, training losses) that are finite."""
        series = self.state.step_series(self.state.loss_name)
        steps, values = np.asarray(series.x), np.asarray(series.y, dtype=np.float64)
        finite = np.isfinite(values)
        return steps[finite], values[finite]

    @cached_property
    def shape(self) -> ModelShape | None:
        """The model's shape, when the run's manifest or the log says all of it."""
        start = self.manifest.get("start")
        described = start.get("model_config") if self.is_ours and isinstance(start, dict) else None
        if not isinstance(described, dict):
            described = {name: self.effective[name] for name in _SHAPE if name in self.effective}
        if not described.keys() >= _SHAPE_NUMBERS and not self.is_ours:
            return None
        try:
            return family.shape_from(described)
        except CheckpointError:
            return None

    @cached_property
    def weight_counts(self) -> WeightCounts | None:
        """Parameters by group, computed from the shape.

        None where the log gives another number, and for a log of nanochat 2026 that gives none:
        that model changed from week to week, and its log does not name the week.
        """
        if self.shape is None:
            return None
        counts = self.shape.weight_counts()
        told = self.run.num_parameters if self.run is not None else None
        if self.is_ours or counts.total == told:
            return counts
        return counts if told is None and self.shape.generation == "2025" else None

    @property
    def _is_october_sft(self) -> bool:
        return self.era == "2025" and (self.is_ours or self.stage_name == "chat_sft")

    @property
    def rows_a_step(self) -> int | None:
        """Where every update takes the same number of them."""
        value = self.state.rows_a_step
        return value if isinstance(value, int) else None

    @property
    def epochs_asked(self) -> int | None:
        value = self.settings.get("num_epochs")
        if value is None and not self.is_ours and self._is_october_sft:
            return 1  # nanochat's default: only overrides are printed
        return value if type(value) is int and value > 0 else None

    @cached_property
    def mixture(self) -> Mapping[str, int]:
        """Rows by source: told by the run, or nanochat's own when the planned steps fit it."""
        if self.run is None:
            return {}
        if self.run.mixture:
            return self.run.mixture
        return NANOCHAT_MIXTURE if self._fits_nanochat else {}

    @property
    def mixture_is_inferred(self) -> bool:
        return bool(self.mixture) and not (self.run is not None and self.run.mixture)

    @cached_property
    def _fits_nanochat(self) -> bool:
        if self.is_ours or self.run is None or not self._is_october_sft:
            return False
        if self.rows_a_step is None or self.epochs_asked is None:
            return False
        whole = sum(NANOCHAT_MIXTURE.values()) // self.rows_a_step
        return whole * self.epochs_asked == self.run.num_iterations

    @property
    def rows(self) -> int | None:
        """Rows of one epoch."""
        if self.run is not None and self.run.rows:
            return self.run.rows
        return sum(self.mixture.values()) or None

    @property
    def whole_steps_an_epoch(self) -> int | None:
        """Updates that end within one epoch; `RunState.steps_an_epoch` is the exact quotient."""
        per_step = self.state.rows_a_step
        if self.rows is None or per_step is None:
            return None
        # The mean of rows that hold several conversations divides nothing exactly.
        return round(self.rows / per_step) if self.state.best_fit else int(self.rows // per_step)

    @property
    def epochs_seen(self) -> float | None:
        """From the rows where these are known, else as the log tells how far it is.

        A log that prints one whole number line after line counts the epochs that it began, and
        says nothing of how much of the last it saw.
        """
        if self.rows and self.state.rows_a_step:
            return self.state.updates * self.state.rows_a_step / self.rows
        told = np.asarray(self.state.step_series("epoch").y, dtype=np.float64)
        told = told[np.isfinite(told)]
        whole = bool(len(told)) and bool((told == np.floor(told)).all())
        if not len(told) or (whole and len(np.unique(told)) < len(told)):
            return None
        return float(told[-1])

    @property
    def epochs(self) -> list[tuple[int, int]]:
        """(first step, step after the last) of every epoch begun; the whole run where unknown."""
        updates, length = self.state.updates, self.whole_steps_an_epoch
        if not length or length >= updates:
            return [(0, updates)]
        return [(start, min(start + length, updates)) for start in range(0, updates, length)][:50]

    @property
    def seconds(self) -> float | None:
        """How long it took, as `RunState.seconds` says."""
        return self.state.seconds

    @property
    def complete(self) -> bool:
        planned = self.state.planned
        return planned is not None and self.state.updates >= planned

    @property
    def tasks(self) -> list[str]:
        return list(self.state.evals)

    def evaluated_steps(self, task: str) -> Sequence[int]:
        return sorted(self.state.evals[task])

    def setting_as_used(self, name: str) -> str | float | None:
        """What a setting came to, where that differs from what was asked."""
        asked = self.settings.get(name)
        if name in RATE_GROUPS:
            used = self.effective.get(f"lr/{RATE_GROUPS[name]}")
            if isinstance(used, int | float):
                return float(used)
            if name == "scalar_lr":
                return None  # October's models have no such group
            fraction, scale = self.settings.get("init_lr_frac", 0.02), self.width_scale
            if not (isinstance(asked, int | float) and isinstance(fraction, int | float)):
                return None
            if self._is_october_sft and scale is not None:
                return float(asked) * float(fraction) * (1.0 if name == "matrix_lr" else scale)
            return None
        if name == "num_iterations" and self.run is not None and self.run.num_iterations:
            return f"{self.run.num_iterations:,}"
        if name == "dtype":
            return self.state.precision if self.state.precision != asked else None
        if name == "device_type" and self.run is not None:
            return self.run.device
        if name == "gpus" and self.run is not None and self.run.world_size not in (None, asked):
            return str(self.run.world_size)
        return None

    @property
    def width_scale(self) -> float | None:
        """1/sqrt(width/768), which the rates of embedding and head are multiplied with."""
        for name in ("width_scale", "lr_scale"):
            value = self.effective.get(name)
            if isinstance(value, int | float):
                return float(value)
        width = self.effective.get("n_embd")
        return width_scale(width) if self.era and type(width) is int and width > 0 else None

    @cached_property
    def linear_to_zero(self) -> bool | None:
        """Whether the logged rates fell on nanochat's line; None when they were not logged.

        A factor asked for during the run bends the line; then it is not this schedule.
        """
        series = self.state.step_series("lr_mult")
        planned = self.run.num_iterations if self.run is not None else None
        if not planned or len(series) < 2:
            return None
        x, y = np.asarray(series.x, dtype=np.float64), np.asarray(series.y, dtype=np.float64)
        known = np.isfinite(y)
        return bool(known.any()) and bool(np.abs(y[known] - (1 - x[known] / planned)).max() < 2e-3)

    def finite_validations(self) -> list[tuple[int, float]]:
        """(step, loss) of the validations that are numbers."""
        return [(v.step, v.loss) for v in self.state.validation_list() if math.isfinite(v.loss)]

    def validated_on_other_rows(self) -> frozenset[int]:
        """Steps whose validation asked other rows than the last one, as far as is known."""
        known = [v for v in self.state.validation_list() if math.isfinite(v.loss)]
        return self.loss_board.of_other_rows(known)


def open_facts(
    target: str | None,
    runs_dir: str | Path | None = None,
    *,
    baseline: Baseline | None = None,
    baseline_target: str | None = None,
    command: str = "",
    reading: Reading = FOUND_OUT,
) -> Facts:
    """Read a run or log, and count its events on the way. `reading`: how a log is read.

    Raises:
        UsageError: there is no such run or file, or it is no log of a known format.
    """
    counts = Counts()
    shot = snapshot.read(target, runs_dir, counts.count, judge_log=True, reading=reading)
    manifest: Mapping[str, Any] = {}
    if shot.run is not None:
        try:
            manifest = shot.run.read_manifest()
        except SftuiError:
            manifest = {}  # what it would have told is left out, and said so
    against = None
    if baseline is not None and baseline_target is not None:
        against = _run_of(baseline_target, runs_dir)
    return Facts(
        shot=shot,
        counts=counts,
        baseline=baseline,
        against=against,
        manifest=manifest,
        command=command,
    )


def _run_of(target: str, runs_dir: str | Path | None) -> Snapshot | None:
    """The run or log that a baseline names; None for a file of results."""
    name, _, number = target.rpartition(":")
    if target.lower().endswith((".toml", ".json")):
        return None
    try:
        return snapshot.read(name if name and digits(number) is not None else target, runs_dir)
    except SftuiError:
        return None
