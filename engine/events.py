"""What can happen in a run: frozen dataclasses, and nothing else.

An event is a past fact. It carries its own time (`stamp`), so applying the same
events twice gives the same screen: no reader asks a clock. The event bus sets the
stamp; code that makes an event leaves it alone.

Optional numbers are `None` when the writer did not know them (a foreign log
rarely has every number), never a made-up zero. NaN is a value and is kept.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_type_hints

Scalar = bool | int | float | str | None

# The closed words of the events below. Each list stands here alone: the type checker holds
# writers, comparisons and tables to it. Reading does not: `wire.decode` passes on a word that
# only a newer version knows, so code that maps a word has a default.
PhaseName = Literal[
    "import", "group", "model", "data", "validate", "sample", "train", "save", "export"
]
StateName = Literal["running", "paused", "stopping"]
EndStatus = Literal["finished", "stopped", "failed"]
Badge = Literal["starting"] | StateName | EndStatus
"""What a screen says a run is doing; it is `starting` until the first update of an attempt."""
CheckpointReason = Literal["schedule", "request", "stop", "final", "nonfinite", "export"]
"""`stop` and `final`: the last of a run that was stopped or went to its end; `nonfinite`: the
state before an update whose loss was no number."""
CheckpointKind = Literal["sftui", "nanochat", "hf", "lightning", "foreign", "torch", "mlx"]
"""`sftui`: resumable here; `nanochat`: exported, or of nanochat's log; `foreign`: what a loop's own
`save=` wrote; others as logs or trainers tell them."""
RemovalReason = Literal["keep", "not on disk"]
"""`keep`: pruned by --keep-checkpoints; `not on disk`: found to be gone by a reader."""
ControlOutcome = Literal["applied", "rejected", "expired"]
LogLevel = Literal["info", "warn", "error"]
Severity = Literal["warn", "error"]
AlarmKind = Literal[
    "nonfinite",
    "spike",
    "diverging",
    "overfitting",
    "stall",
    "rank_silent",
    "straggler",
    "slowdown",
    "memory_tight",
    "letter_collapse",
    "disk_low",
    "event_log_blocked",
    "failed",
]
"""What the rules of `engine.alarms` find; `event_log_blocked`: events.jsonl cannot be written;
`failed`: what a screen raises over a run that failed."""
MemoryKind = Literal["cuda", "resident"]
"""`cuda`: torch's allocator; `resident`: RSS of the process."""
SampleEnd = Literal["", "assistant_end", "bos", "max_tokens", "positions", "interrupt", "time"]
"""`assistant_end`, `bos`: the model ended its answer; else it was cut, by the limit of tokens,
the last position, the reader, or the time allowed. Empty when unknown."""


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

    def at(self, t: float | None) -> Stamp:
        """The same at another time: `replace`, without its look at every field."""
        return Stamp(
            run=self.run,
            src=self.src,
            att=self.att,
            seq=self.seq,
            t=t,
            m=self.m,
            boot=self.boot,
        )


UNSTAMPED = Stamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The fields that every event has."""

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
    unavailable: Mapping[str, str] = field(default_factory=dict)
    """Commands that this run cannot carry out, each with the reason: of another's trainer."""

    @property
    def is_followed(self) -> bool:
        """Whether all that is known comes from what a command prints: nothing of it is ours."""
        return "pause" in self.unavailable


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
    """A stretch of work with a name."""

    phase: PhaseName
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged(Event):
    """The run goes on, waits, or is about to end."""

    state: StateName
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The end of a run, the only proof of success."""

    status: EndStatus
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


def _own_fields(kind: type[Event], *types: object) -> tuple[str, ...]:
    """The fields that `kind` adds to `Event` and that have one of these types, in order."""
    hints = get_type_hints(kind)
    shared = {f.name for f in fields(Event)}
    return tuple(f.name for f in fields(kind) if f.name not in shared and hints[f.name] in types)


# What else has to know the numbers of an update (columns of a batch and of the screen's state,
# totals of a report) derives them from these, so a new number is a field above and its value
# in the trainer.
STEP_NUMBERS = _own_fields(StepFinished, float | None, int | None)
"""Names of the single numbers of an update, in order."""
STEP_COUNTS = frozenset(_own_fields(StepFinished, int | None))
"""Those of them that are whole numbers."""
STEP_MAPPINGS = _own_fields(StepFinished, Mapping[str, float])
"""Fields with one number a name; a `StepBatch` has a column `field/name` for each."""

_NUMBER_NAMES = frozenset(STEP_NUMBERS)
_MAPPING_PREFIXES = tuple(f"{name}/" for name in STEP_MAPPINGS)


VALIDATION_COLUMN, ACCURACY_COLUMN = "validation:", "accuracy:"


def is_result_column(name: str) -> bool:
    """Whether a column of a `StepBatch` holds validations or accuracies."""
    return name.startswith((VALIDATION_COLUMN, ACCURACY_COLUMN))


def is_step_column(name: str) -> bool:
    """Whether a column of a `StepBatch` is part of `StepFinished`; else it is a free metric."""
    return name in _NUMBER_NAMES or name.startswith(_MAPPING_PREFIXES)


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
class EvalProgress(Event):
    """How far the evaluation of a task is, over all ranks; about once a second."""

    task: str
    done: int
    total: int
    tokens: int | None = None
    """Written so far, where answers are written out."""


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
    """Numbers that are no field of another event, by name, for one step."""

    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankHeartbeat(Event):
    """One rank is alive; its memory, load and speed."""

    rank: int
    host: str = ""
    pid: int | None = None
    at_step: int | None = None
    device: str = "cpu"
    device_name: str | None = None
    memory_kind: MemoryKind = "resident"
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
    """Free bytes of the file system that holds the run directory."""
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
    reason: CheckpointReason = "schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Event):
    """A complete, verified checkpoint is on disk."""

    path: str
    """Relative to the run directory, or absolute for an export."""
    size_bytes: int | None = None
    seconds: float | None = None
    reason: CheckpointReason = "schedule"
    kind: CheckpointKind = "sftui"
    val_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRemoved(Event):
    path: str
    reason: RemovalReason = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlApplied(Event):
    """The answer to one request; `step` is where it took effect, on all ranks."""

    id: str
    command: str
    outcome: ControlOutcome = "applied"
    reason: str = ""
    author: str = ""
    argument: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleGenerated(Event):
    """What the weights before the update of `step` answer to a prompt."""

    prompt: str
    text: str
    stopped_by: SampleEnd = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine(Event):
    text: str
    level: LogLevel = "info"
    rank: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRaised(Event):
    kind: AlarmKind
    severity: Severity = "warn"
    value: float | None = None
    limit: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmCleared(Event):
    kind: AlarmKind


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsDropped(Event):
    """How many events the writer had to drop, and why."""

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
    `loss_by_source/<name>` for the two that are mappings), and results of a log that measures
    with every row: `validation:<metric>` and `accuracy:<task>` (a fraction), NaN where a row has
    none; any other name is a free metric."""
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

    def rows(self) -> Iterator[StepFinished | MetricLogged | ValidationFinished | EvalFinished]:
        """The same as single events: an update, its free metrics and its results, if any."""
        known, counts, nested, results, free = _columns_by_kind(tuple(self.columns))
        stamp = self.stamp
        for i, step in enumerate(self.steps):
            if self.times:
                stamp = self.stamp.at(self.times[i])
            numbers: dict[str, Any] = {name: self.columns[name][i] for name in known}
            for name in counts:
                numbers[name] = int(numbers[name])
            for column, name, key in nested:
                numbers.setdefault(name, {})[key] = self.columns[column][i]
            if numbers:
                yield StepFinished(step=step, stamp=stamp, **numbers)
            if free:
                values = {name: self.columns[name][i] for name in free}
                yield MetricLogged(step=step, stamp=stamp, values=values)
            for name in results:
                kind, _, key = name.partition(":")
                value = self.columns[name][i]
                if kind + ":" == VALIDATION_COLUMN and value == value:
                    yield ValidationFinished(step=step, stamp=stamp, loss=value, metric=key)
                elif value == value:  # NaN: not measured
                    yield EvalFinished(step=step, stamp=stamp, task=key, accuracy=value)


@functools.lru_cache(maxsize=256)
def _columns_by_kind(
    names: tuple[str, ...],
) -> tuple[list[str], list[str], list[tuple[str, str, str]], list[str], list[str]]:
    """Names of columns: numbers of an update, the whole ones of them, those of a mapping with its
    field and key, results, and free metrics. A log of many short runs asks for every few rows."""
    known = [name for name in names if name in _NUMBER_NAMES]
    nested: list[tuple[str, str, str]] = []
    for name in names:
        if name.startswith(_MAPPING_PREFIXES):
            mapping, _, key = name.partition("/")
            nested.append((name, mapping, key))
    results = [name for name in names if is_result_column(name)]
    free = [name for name in names if not is_step_column(name) and name not in results]
    return known, [name for name in known if name in STEP_COUNTS], nested, results, free


AnyEvent = (
    RunStarted
    | AttemptStarted
    | PhaseStarted
    | StateChanged
    | RunFinished
    | StepFinished
    | ValidationFinished
    | EvalStarted
    | EvalProgress
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
"""Kinds that a full buffer may drop; all others are kept."""
