"""What can happen in a run: frozen dataclasses, and nothing else.

An event is a past fact. It carries its own time (`stamp`), so folding the same
events twice gives the same screen: no reader ever asks a clock. The sink puts
the stamp on; whoever makes an event leaves it alone.

Optional numbers are `None` when the writer did not know them (a foreign log
rarely has every number), never a made-up zero. NaN is a value and is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args

Scalar = bool | int | float | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Who wrote an event, in which order, and when."""

    run: str = ""
    src: str = "r0"
    """Writer: `r0` (rank 0), `sup` (supervisor), or the name of a log reader."""
    att: int = 1
    """Attempt, counted from 1; raised by every restart of the ranks."""
    seq: int = 0
    """Per-writer sequence number, strictly rising over all attempts; 0 = not stamped."""
    t: float | None = None
    """Wall clock, seconds since the epoch."""
    m: float | None = None
    """Monotonic clock, seconds; durations are taken from it, within one boot only."""
    boot: str = ""
    """Boot id of the machine that wrote it."""


UNSTAMPED = Stamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event carries."""

    step: int | None = None
    """Optimizer step the event belongs to, if any."""
    stamp: Stamp = UNSTAMPED


# ---- the life of a run -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """First event of a run: what it is and what it plans."""

    name: str
    recipe: str | None = None
    source: str | None = None
    """Starting checkpoint in words, e.g. `mid d16 step 770`."""
    num_iterations: int | None = None
    """Planned iterations; the last one only evaluates, so updates = num_iterations - 1."""
    world_size: int | None = None
    device: str | None = None
    """`cuda`, `cpu` or `mps`."""
    backend: str | None = None
    """`nccl`, `gloo` or None for a single process."""
    num_parameters: int | None = None
    rows: int | None = None
    """Rows of the training mixture (one epoch)."""
    mixture: Mapping[str, int] = field(default_factory=dict)
    """Rows by task."""
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    """Every resolved setting."""
    effective: Mapping[str, Scalar] = field(default_factory=dict)
    """Derived values: accumulation, scaled learning rates, model shape, precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Event):
    """The ranks (re)started; `start_step` is where training goes on."""

    start_step: int = 0
    world_size: int = 1
    resumed_from: str | None = None
    num_iterations: int | None = None
    """As `RunStarted.num_iterations`, for readers that begin with this attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted(Event):
    """A stretch of work with a name: import, group, model, data, evaluate, sample, train, save,
    export."""

    phase: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged(Event):
    """The state badge: running, paused, stopping."""

    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The only proof of success. `status`: finished, stopped or failed."""

    status: str
    reason: str = ""
    updates: int | None = None
    seconds: float | None = None
    """Time of the whole run, pauses included, over all attempts of this boot."""


# ---- numbers ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished(Event):
    """One optimizer update, over all ranks and micro-batches."""

    loss: float | None = None
    """Sum of token losses / supervised tokens, nats."""
    loss_rows_mean: float | None = None
    """Mean over micro-batches of their mean losses: what nanochat's gradient minimises."""
    loss_micro_last: float | None = None
    """Rank 0's last micro-batch: the number nanochat prints. NaN without a supervised token."""
    lr_mult: float | None = None
    """Schedule multiplier in [0, 1] times the control's factor."""
    lrs: Mapping[str, float] = field(default_factory=dict)
    """Learning rate used, by parameter group (lm_head, wte, matrices)."""
    grad_norm: float | None = None
    """Global L2 norm of the averaged gradient, before any clipping."""
    supervised_tokens: int | None = None
    tokens: int | None = None
    """Real (unpadded) input tokens."""
    seconds: float | None = None
    """Time of the update, evaluation and pauses not counted."""
    tokens_per_second: float | None = None
    """`tokens / seconds`."""
    epoch: float | None = None
    loss_by_source: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationFinished(Event):
    """Validation loss before the update of `step`."""

    loss: float
    metric: str = "loss"
    """`loss` (nats a token) or `bpb` (bits a byte)."""
    set_name: str = ""
    """Which rows, where a log names them; empty for the only set."""
    rows: int | None = None
    seconds: float | None = None
    rows_file: str | None = None
    """Per-row losses, relative to the run directory."""
    paired_error: float | None = None
    """Standard error of this loss minus the lowest before it, from the rows of both; None
    where rows are not kept."""
    loss_by_source: Mapping[str, float] = field(default_factory=dict)
    """Token mean of each source; empty when there is one source only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalStarted(Event):
    task: str
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalFinished(Event):
    """Accuracy of one task before the update of `step`."""

    task: str
    correct: int | None = None
    total: int | None = None
    accuracy: float | None = None
    """Fraction; given alone when the log has no counts."""
    chance: float | None = None
    """Mean over items of 1 / number of choices."""
    one_letter: float | None = None
    """Best accuracy that always answering one letter could reach on these items."""
    item_set: str | None = None
    """SHA-256 of the ordered item ids and the prompt template."""
    letters: Mapping[str, int] = field(default_factory=dict)
    """Histogram of predicted letters."""
    seconds: float | None = None
    items_file: str | None = None
    """Per-item results, relative to the run directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLogged(Event):
    """Numbers nobody here knows by name, a dict a row."""

    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankHeartbeat(Event):
    """One rank is alive, and what it uses."""

    rank: int
    host: str = ""
    pid: int | None = None
    at_step: int | None = None
    device: str = "cpu"
    device_name: str | None = None
    memory_kind: str = "resident"
    """`cuda` (torch allocator) or `resident` (RSS of the process)."""
    memory_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    memory_peak_bytes: int | None = None
    memory_total_bytes: int | None = None
    """Device memory, or RAM of the machine."""
    cpu_percent: float | None = None
    """Of one core; may pass 100."""
    gpu_util_percent: float | None = None
    gpu_power_watts: float | None = None
    gpu_power_limit_watts: float | None = None
    gpu_temperature_celsius: float | None = None
    gpu_others_bytes: int | None = None
    """Device memory used by other processes."""
    alloc_retries: int | None = None
    """Times the CUDA allocator had to give memory back and try again, since the start."""
    disk_free_bytes: int | None = None
    """Room where the run directory lies."""
    step_seconds: float | None = None
    """The newest step from begin to begin, waiting included: equal on all ranks."""
    seconds_per_token: float | None = None
    """This rank's own time of the newest step, before it waits for others, by its tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankLost(Event):
    rank: int | None = None
    reason: str = ""


# ---- files, controls, words ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointStarted(Event):
    reason: str = "schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Event):
    """A whole, verified checkpoint exists."""

    path: str
    """Relative to the run directory, or absolute for an export."""
    size_bytes: int | None = None
    seconds: float | None = None
    reason: str = "schedule"
    """schedule, request, stop, final, pause."""
    kind: str = "sftui"
    """`sftui` (resumable) or `nanochat` (exported)."""
    val_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRemoved(Event):
    path: str
    reason: str = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlApplied(Event):
    """The one answer every request gets; `step` is where it took effect, on all ranks."""

    id: str
    command: str
    outcome: str = "applied"
    """applied, rejected or expired."""
    reason: str = ""
    author: str = ""
    argument: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleGenerated(Event):
    """What the weights before the update of `step` answer to a prompt."""

    prompt: str
    text: str
    stopped_by: str = ""
    """`assistant_end` or `bos`: the model ended it; else it was cut: `max_tokens`, `positions`,
    `time`. Empty when unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine(Event):
    text: str
    level: str = "info"
    """info, warn or error."""
    rank: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRaised(Event):
    kind: str
    severity: str = "warn"
    value: float | None = None
    limit: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmCleared(Event):
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsDropped(Event):
    """How many events the writer had to give up, and why."""

    count: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Event):
    """A kind this version does not know: kept and counted, never fatal."""

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBatch(Event):
    """Many updates at once, in columns: what a reader of long logs gives, never on the wire.

    A `StepFinished` a line would cost half a kilobyte each. `step` is the last row's. Whoever
    cannot take columns takes `rows()`, which says the same.
    """

    steps: Sequence[int]
    """Step of each row, as the log prints it."""
    columns: Mapping[str, Sequence[float]]
    """Values by name, one a row: fields of `StepFinished` (`lrs/<group>` and
    `loss_by_source/<name>` for the two that are mappings); any other name is a free metric."""
    times: Sequence[float] = ()
    """Wall clock of each row, or empty when the log has none."""

    def cut(self, start: int, stop: int) -> StepBatch:
        """The rows from `start` to before `stop`."""
        return StepBatch(
            step=self.steps[stop - 1] if stop > start else None,
            stamp=self.stamp,
            steps=self.steps[start:stop],
            columns={name: column[start:stop] for name, column in self.columns.items()},
            times=self.times[start:stop],
        )

    def rows(self) -> Iterator[StepFinished | MetricLogged]:
        """The same as single events: an update, then its free metrics if there are any."""
        known = [name for name in self.columns if name in _STEP_NUMBERS]
        nested = [
            (name, *name.split("/", 1)) for name in self.columns if name.startswith(_STEP_MAPPINGS)
        ]
        free = [
            name
            for name in self.columns
            if name not in _STEP_NUMBERS and not name.startswith(_STEP_MAPPINGS)
        ]
        stamp = self.stamp
        for i, step in enumerate(self.steps):
            if self.times:
                stamp = replace(self.stamp, t=self.times[i])
            numbers: dict[str, Any] = {name: self.columns[name][i] for name in known}
            for name in _STEP_COUNTS & numbers.keys():
                numbers[name] = int(numbers[name])
            for column, name, key in nested:
                numbers.setdefault(name, {})[key] = self.columns[column][i]
            if numbers:
                yield StepFinished(step=step, stamp=stamp, **numbers)
            if free:
                values = {name: self.columns[name][i] for name in free}
                yield MetricLogged(step=step, stamp=stamp, values=values)


_STEP_MAPPINGS = ("lrs/", "loss_by_source/")
_STEP_COUNTS = frozenset({"supervised_tokens", "tokens"})
_STEP_NUMBERS = frozenset(
    f.name for f in fields(StepFinished) if f.name not in ("step", "stamp") and f.default is None
)


AnyEvent = (
    RunStarted
    | AttemptStarted
    | PhaseStarted
    | StateChanged
    | RunFinished
    | StepFinished
    | ValidationFinished
    | EvalStarted
    | EvalFinished
    | MetricLogged
    | RankHeartbeat
    | RankLost
    | CheckpointStarted
    | CheckpointSaved
    | CheckpointRemoved
    | ControlApplied
    | SampleGenerated
    | LogLine
    | AlarmRaised
    | AlarmCleared
    | EventsDropped
    | Unknown
)
"""The closed set: a `match` over it with `assert_never` finds a forgotten kind."""


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


KINDS: dict[str, type[Event]] = {
    _snake(kind.__name__): kind for kind in get_args(AnyEvent) if kind is not Unknown
}
"""Event class by its name on the wire: snake_case of the class name."""

TYPE_NAME: dict[type[Event], str] = {kind: name for name, kind in KINDS.items()}

DROPPABLE: frozenset[type[Event]] = frozenset(
    {StepFinished, MetricLogged, RankHeartbeat, SampleGenerated}
)
"""Kinds a full buffer may give up; every other kind is kept whatever it costs."""
