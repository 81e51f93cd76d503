"""`RunState`: all that is known of a run; `apply(event)` is the only way to change it.

Deterministic: no clock, no file, no randomness; times come inside events. So the
same events give the same screen, however they were cut into batches and whether
they came through the queue, from the file, or twice. A request is not an event:
requests without an answer yet are kept by the app.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, assert_never, cast

from engine import events as ev
from engine.control import Command
from sftui.state import step_columns
from sftui.state.checkpoint_columns import Checkpoints
from sftui.state.checkpoint_rows import CheckpointRows, Shelf
from sftui.state.records import (
    Alarm,
    Checkpoint,
    Phase,
    Rank,
    RunClock,
    SeenNumbers,
    Topic,
    Validation,
    closed,
)
from sftui.state.results import Evaluations, Validations
from sftui.state.series import Doubles, Floats, Series, Table, bounded

Value = TypeVar("Value")

LOG_LINES = 5000
"""Log entries kept for the screen; the file keeps all."""
LATELY = 16
"""Newest results among which one is looked for that says how long it took."""
_NEWEST_ROWS = 20
"""Rows of checkpoints in which one that can be loaded is looked for."""
_OURS = ("", "r0")
"""Sources of runs of ours, whose step n is the update that n others came before."""
MOST_NAMES = 256
"""Names of tasks, ranks or columns kept; a log that invents names must not eat memory."""
MOST_METRICS = 2000
"""Names of free metrics kept: logs of every layer have a thousand."""

FEW_ROWS = 8
"""Updates that are folded faster one by one than as columns: a run that saves at every second
step parts its updates into that many batches."""


@dataclass(slots=True, eq=False)
class RunState:
    """Everything the views show. Read-only for them."""

    run: ev.RunStarted | None = None
    run_id: str = ""
    badge: ev.Badge = "starting"
    reason: str = ""
    """Why the badge says what it says."""
    end: ev.RunFinished | None = None
    first_t: float | None = None
    last_t: float | None = None
    """Wall clock of the first and the newest event, jumps of the clock taken out."""
    clock_moved: float = 0.0
    """Seconds by which the run's wall clock was set since the first event of this boot."""
    attempt: int = 1
    attempt_starts: dict[int, int] = field(default_factory=dict)
    """First step of each attempt."""
    phase: Phase | None = None
    startup: list[Phase] = field(default_factory=list)
    """Phases before the first update of this attempt."""
    updates: int = 0
    """Optimizer updates in the weights: the step number of evaluations and checkpoints."""
    reached: int = 0
    """The highest step that any event is of."""
    steps: Table = field(default_factory=lambda: Table(step_columns.STEP_COLUMNS))
    """x = step; learning rates by group are columns named `lr/<group>`."""
    last_step: ev.StepFinished | None = None
    nonfinite: int = 0
    """Updates whose loss or gradient norm was not a finite number."""
    replaced: list[tuple[Any, Any]] = field(default_factory=list)
    """(steps, losses) that a later attempt did again from its checkpoint."""
    validations: Validations = field(default_factory=Validations)
    """Of the only set of rows and metric, or of the first that a log names."""
    other_validations: dict[str, Validations] = field(default_factory=dict)
    """Of every further set or metric, by its name."""
    evals: dict[str, Evaluations] = field(default_factory=dict)
    """Task -> step -> result, tasks in order of appearance; each has one result at least."""
    evaluating: ev.EvalStarted | None = None
    eval_progress: ev.EvalProgress | None = None
    """Of the task that is evaluated, where it was told."""
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    """By path, in the order in which they were saved."""
    controls: list[ev.ControlApplied] = field(default_factory=list)
    ranks: dict[int, Rank] = field(default_factory=dict)
    alarms: dict[str, Alarm] = field(default_factory=dict)
    metrics: dict[str, Table] = field(default_factory=dict)
    samples: deque[ev.SampleGenerated] = field(default_factory=lambda: deque(maxlen=100))
    log: deque[ev.Event] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    log_total: int = 0
    """Entries ever logged; the first of `log` is number `log_total - len(log)`."""
    dropped: int = 0
    unknown: int = 0
    ignored_names: int = 0
    _seen: dict[str, SeenNumbers] = field(default_factory=dict)
    _clock: RunClock = field(default_factory=RunClock)
    _shelf: Shelf = field(default_factory=Shelf)
    _pace: tuple[tuple[int, int], float | None] | None = field(default=None, compare=False)
    """Median time of the newest updates, and the rows and rewrites it was made from."""

    # ---- derived values --------------------------------------------------------------------

    @property
    def trainer(self) -> str:
        """Whose trainer it is, in words, where the run is steered or followed and not our own."""
        found = self.run.effective.get("trainer") if self.run is not None else None
        return str(found) if found else ""

    @property
    def asks_nothing(self) -> bool:
        """Whether it is a run of ours without questions: it evaluates validation alone."""
        settings = self.run.settings if self.run is not None else {}
        return not self.trainer and settings.get("eval_tasks") == ""

    @property
    def loadable(self) -> bool:
        """Whether `sftui chat` and `sftui eval` take one of its newest checkpoints: those of ours
        and of transformers; other trainers have layouts of their own."""
        newest = self.checkpoint_rows()[:_NEWEST_ROWS]
        return any(
            row.kind in ("sftui", "hf") and not row.exported and not row.removed for row in newest
        )

    @property
    def planned(self) -> int | None:
        """Updates planned: our last iteration, as that of nanochat's chat_sft, only evaluates."""
        run = self.run
        if run is None or run.num_iterations is None:
            return None
        only_evaluates = run.stamp.src in _OURS or run.name == "chat_sft"
        planned = max(0, run.num_iterations - 1) if only_evaluates else run.num_iterations
        return planned if run.stamp.src in _OURS else max(planned, self._told_steps)

    @property
    def done(self) -> int:
        """Updates done, at most `planned`; of another program's log, the furthest step that it
        tells of, by an update, a measurement or its end. The one figure for how far a run came."""
        src, planned = self.run.stamp.src if self.run is not None else "", self.planned
        if src in _OURS or (src == "nanochat" and len(self.steps) and self.steps.x[0] != 1):
            # nanochat's loops count from 0, but for those that print after they counted on.
            done = self.updates if planned is None else min(self.updates, planned)
        else:
            done = max(0, self.updates - 1)
        return done if src in _OURS else max(done, self._told_steps)

    @property
    def _told_steps(self) -> int:
        """The furthest step that any event of another program names."""
        return max(self.reached, (self.end.updates or 0) if self.end is not None else 0)

    @property
    def newest_place(self) -> float:
        """X of the newest point: the last update, or a measurement after it.

        Update n has index n - 1; what is measured on its weights stands at n.
        """
        places = [0, self.updates - 1]
        if self.validations:
            places.append(self.validations.last_step)
        places += [found.last_step for found in self.evals.values() if found]
        return float(max(places))

    @property
    def best_fit(self) -> bool:
        """Whether a row is of one length and holds several conversations that see each other."""
        return self.run is not None and self.run.settings.get("packing") == "best-fit"

    @property
    def rows_a_step(self) -> float | None:
        """Conversations that one update takes: where a row holds several, on the average."""
        if self.run is None:
            return None
        told = self.run.settings.get("target_examples_per_step")
        if self.best_fit:
            told = self.run.effective.get("conversations_per_update")
        if isinstance(told, bool) or not isinstance(told, int | float):
            return None
        return told if math.isfinite(told) and told > 0 else None

    @property
    def steps_an_epoch(self) -> float | None:
        """Updates that one pass over the rows takes."""
        rows, per_step = self.run.rows if self.run else None, self.rows_a_step
        return rows / per_step if rows and per_step else None

    @property
    def precision(self) -> str | None:
        """What the run computes in, such as `bfloat16`; None where nothing tells it."""
        run = self.run
        if run is None:
            return None
        told, dtype = run.effective.get("precision"), run.settings.get("dtype")
        if isinstance(told, str) or not isinstance(dtype, str):
            return told if isinstance(told, str) else None
        if dtype == "auto":
            return "bfloat16" if run.device == "cuda" else "float32"
        # Before `auto` came, and in nanochat of 2025, a CPU took no notice of the setting.
        heeded = "micro_tokens" in run.settings or "window_pattern" in run.effective
        return dtype if heeded or run.device != "cpu" else "float32"

    @property
    def ended(self) -> bool:
        return self.end is not None

    @property
    def seconds(self) -> float | None:
        """How long the run took, or has been going on: by its own word once it ended, else from its
        first event to its newest. None where nothing tells it."""
        told = self.end.seconds if self.end is not None else None
        if told is not None and math.isfinite(told) and told >= 0:
            return told
        if self.first_t is None or self.last_t is None or self.last_t <= self.first_t:
            return None
        return self.last_t - self.first_t

    @property
    def loss_name(self) -> str:
        """The best training loss this run has: over all ranks before a single micro-batch."""
        for name in ("loss", "loss_rows_mean"):
            if self.steps.last(name) is not None:
                return name
        return "loss_micro_last" if self.steps.last("loss_micro_last") is not None else "loss"

    def step_series(self, name: str) -> Series:
        return self.steps.series(name)

    @property
    def best_validation(self) -> Validation | None:
        """The lowest finite validation loss; the first of equals. The start counts."""
        return self.validations.best

    def validation_list(self) -> Sequence[Validation]:
        """In order of steps; a record is made when it is read."""
        return self.validations.ordered

    def validations_by_set(self) -> dict[str, Sequence[Validation]]:
        """Of every set by its name, each in order of steps; the one of `validation_list` first."""
        first = self.validation_list()
        found = {first[0].set_name: first} if first else {}
        return found | {name: other.ordered for name, other in self.other_validations.items()}

    def step_seconds(self) -> float | None:
        """Median time of the last 50 updates, or the spacing of their times."""
        made_from = (len(self.steps), self.steps.rewrites)
        if self._pace is None or self._pace[0] != made_from:
            self._pace = (made_from, self._median_seconds())
        return self._pace[1]

    def _median_seconds(self) -> float | None:
        recent = self.steps.tail("seconds", 50)
        known = [value for value in recent.tolist() if math.isfinite(value)]
        if not known:
            times = self.steps.tail("since_start", 51).tolist()
            pairs = itertools.pairwise(times)
            known = [b - a for a, b in pairs if b - a > 0]
        if not known:
            return None
        # Not `np.median`, which imports numpy's masked arrays.
        known.sort()
        return float(known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2

    def eta_seconds(self) -> float | None:
        """Time that the rest needs after the newest event: updates and evaluations to come."""
        planned, pace = self.planned, self.step_seconds()
        if planned is None or pace is None or self.ended:
            return None
        seconds = max(0, planned - self.updates) * pace
        settings = self.run.settings if self.run else {}
        seconds += self._evaluations_left(settings.get("eval_every")) * _last_seconds(
            self.validation_list()
        )
        left = self._evaluations_left(settings.get("eval_metrics_every"))
        for by_step in self.evals.values():
            seconds += left * _last_seconds(by_step.ordered)
        return seconds

    def _evaluations_left(self, every: object) -> int:
        planned = self.planned
        if planned is None or not isinstance(every, int) or every <= 0:
            return 0
        # One at every multiple, one after the last update.
        regular = max(0, (planned - 1) // every - self.updates // every)
        return regular + (1 if self.updates < planned else 0)

    # ---- applying events -------------------------------------------------------------------

    def apply(self, event: ev.Event) -> Topic:
        """Apply one event; returns the topics it changed. One applied before changes nothing."""
        if isinstance(event, ev.StepBatch):
            return self._batch(event)
        stamp = event.stamp
        if stamp.seq:
            seen = self._seen.get(stamp.src)
            if seen is None:
                seen = self._seen[stamp.src] = SeenNumbers()
            if not seen.add(stamp.seq):
                return Topic.NOTHING
        t = self._clock.at(stamp)
        if t is not None and stamp.t is not None:
            if self.first_t is None or t < self.first_t:
                self.first_t = t
            if self.last_t is None or t > self.last_t:
                self.last_t = t
                self.clock_moved = stamp.t - t
        if stamp.run and not self.run_id:
            self.run_id = stamp.run
        if event.step is not None and event.step > self.reached:
            self.reached = event.step
        return self._fold(cast(ev.AnyEvent, event))

    def _fold(self, event: ev.AnyEvent) -> Topic:
        match event:
            # What a run may have a hundred thousand of comes first: each case is a test.
            case ev.StepFinished():
                return self._step(event)
            case ev.RankHeartbeat():
                return self._heartbeat(event)
            case ev.CheckpointSaved():
                return self._checkpoint(event)
            case ev.CheckpointRemoved():
                return self._removed(event)
            case ev.LogLine():
                return self._log(event)
            case ev.MetricLogged():
                return self._metric(event)
            case ev.ValidationFinished():
                return self._validation(event)
            case ev.EvalStarted():
                return self._evaluate(event)
            case ev.EvalProgress():
                self.eval_progress = event
                return Topic.EVALS | Topic.RUN
            case ev.EvalFinished():
                return self._evaluation(event)
            case ev.RunStarted():
                self.run = event
                self._log(event)
                return Topic.ALL
            case ev.AttemptStarted():
                return self._attempt(event)
            case ev.PhaseStarted():
                return self._phase(event)
            case ev.StateChanged():
                # The answer to a request just before it has logged the change already.
                logged = bool(self.log) and isinstance(self.log[-1], ev.ControlApplied)
                touched = Topic.NOTHING if logged or not event.reason else self._log(event)
                return self._badge(event.state, event.reason) | touched
            case ev.RunFinished():
                return self._finished(event)
            case ev.RankLost():
                if event.rank is not None and event.rank in self.ranks:
                    self.ranks[event.rank].lost = event.reason or "lost"
                # All ranks are restarting now, unless this event came late.
                again = event.stamp.att >= self.attempt
                touched = self._badge("starting", event.reason) if again else Topic.NOTHING
                return Topic.RANKS | touched | self._log(event)
            case ev.CheckpointStarted():
                return Topic.NOTHING
            case ev.ControlApplied():
                return self._control(event)
            case ev.SampleGenerated():
                self.samples.append(event)
                return Topic.SAMPLES | self._log(event)
            case ev.AlarmRaised():
                known = self.alarms.get(event.kind)
                count = known.count + 1 if known else 1
                self.alarms[event.kind] = Alarm(event=event, count=count)
                return Topic.ALARMS | self._log(event)
            case ev.AlarmCleared():
                if event.kind in self.alarms:
                    self.alarms[event.kind].active = False
                return Topic.ALARMS
            case ev.EventsDropped():
                self.dropped += event.count
                return Topic.RUN | self._log(event)
            case ev.Unknown():
                self.unknown += 1
                return Topic.RUN
            case _:
                assert_never(event)

    def _log(self, event: ev.Event) -> Topic:
        self.log.append(event)
        self.log_total += 1
        return Topic.LOG

    def _superseded(self, attempt: int, step: int) -> bool:
        """True when a later attempt did this step again: for a step, the highest wins."""
        if attempt >= self.attempt:
            return False
        return any(a > attempt and start <= step for a, start in self.attempt_starts.items())

    def _enter_attempt(self, attempt: int, start_step: int) -> None:
        """A new attempt goes on at `start_step`: what older ones did from there is replaced."""
        if attempt in self.attempt_starts:
            return
        self.attempt_starts[attempt] = start_step
        if attempt < max(self.attempt_starts):
            return
        self.attempt = attempt
        if self.end is not None and attempt > self.end.stamp.att:
            self._taken_up()
        name = self.loss_name
        keep = int(self.steps.x.searchsorted(start_step))
        if keep < len(self.steps):
            self.replaced.append(
                (self.steps.x[keep:].copy(), self.steps.column(name)[keep:].copy())
            )
            self.steps.truncate(start_step)
        self.validations.drop_after(start_step)
        _drop_after(self.other_validations, start_step)
        _drop_after(self.evals, start_step)

    def _step(self, event: ev.StepFinished) -> Topic:
        step, attempt = event.step, event.stamp.att
        if step is None:
            return Topic.NOTHING
        if attempt not in self.attempt_starts:
            self._enter_attempt(attempt, step)
        if self._superseded(attempt, step):
            return Topic.NOTHING
        values = step_columns.row(event)
        if len(self.steps.names) + len(values) > MOST_NAMES:
            values = self._known_or_new(values)
        t = self._clock.at(event.stamp)
        if t is not None and self.first_t is not None:
            values["since_start"] = t - self.first_t
        # A log may print the loss of a step on one line and its rate on the next.
        self.steps.put(step, values, keep=True)
        if _bad(event.loss) or _bad(event.grad_norm):
            self.nonfinite += 1
        touched = Topic.STEPS
        if self.last_step is None or step >= (self.last_step.step or 0):
            self.last_step = event
            self.updates = step + 1
        if self.badge == "starting" and not self.ended:
            self.badge = "running"
            touched |= Topic.RUN
        return touched

    def _known_or_new(self, columns: dict[str, Value]) -> dict[str, Value]:
        """Without those that would be more than `MOST_NAMES`: a log may invent names."""
        names = self.steps.names
        room = max(0, MOST_NAMES - len(names))
        for name in [name for name in columns if name not in names][room:]:
            del columns[name]
        return columns

    def _rows(self, batch: ev.StepBatch) -> Topic:
        touched = Topic.NOTHING
        for event in batch.rows():
            touched |= self.apply(event)
        return touched

    def _batch(self, batch: ev.StepBatch) -> Topic:
        """Many updates at once: the same state as from its rows, a thousand times faster."""
        if 0 < len(batch.steps) <= FEW_ROWS:
            self.reached = max(self.reached, *batch.steps)
            return self._rows(batch)
        x = step_columns.steps(batch)
        if not len(x):
            return Topic.NOTHING
        attempt, first = batch.stamp.att, batch.steps[0]
        self.reached = max(self.reached, int(x.max()))
        updates = step_columns.has_updates(batch)
        free = step_columns.free_columns(batch)
        results = step_columns.result_columns(batch)
        tables = [self.metrics[name] for name in free if name in self.metrics]
        tables += [
            found.table for name in results if (found := self._results(name, new=False)) is not None
        ]
        known = bool(batch.times) or batch.stamp.t is None
        if updates:
            self._enter_attempt(attempt, first)
            known = known and not self._superseded(attempt, int(x.max()))
        if results:
            known = known and not self._superseded(attempt, batch.steps[-1] - 1)
        if free or results:  # rows in any order are known of updates alone
            known = known and bool((x[1:] > x[:-1]).all())
            known = known and list(batch.times) == sorted(batch.times)
            tables += [self.steps] if updates else []
            known = known and not any(len(table) and table.x[-1] >= x[0] for table in tables)
        if not known:
            return self._rows(batch)
        touched = Topic.STEPS
        if batch.stamp.run and not self.run_id:
            self.run_id = batch.stamp.run
        since = None
        if batch.times:
            since = step_columns.seconds_since(self.first_t, batch.times)
            low, high = min(batch.times), max(batch.times)
            self.first_t = low if self.first_t is None else min(low, self.first_t)
            self.last_t = high if self.last_t is None else max(high, self.last_t)
        if updates:
            touched |= self._updates(batch, x, since)
        for name, measured in results.items():
            touched |= self._extend_results(name, measured, batch.stamp)
        for name, values in free.items():
            if name not in self.metrics and len(self.metrics) >= MOST_METRICS:
                self.ignored_names += len(x)
                continue
            self.metrics.setdefault(name, Table([name])).extend(x, {name: values})
        return touched

    def _updates(self, batch: ev.StepBatch, x: Doubles, since: Floats | None) -> Topic:
        """The updates of a batch, in any order: of a step's rows the last one counts."""
        columns = self._known_or_new(step_columns.columns(batch))
        if since is not None:
            columns["since_start"] = since
        last = len(x) - 1
        if not (x[1:] > x[:-1]).all():
            kept = step_columns.last_of_each(x)
            last = int(kept[-1])
            x, columns = x[kept], {name: column[kept] for name, column in columns.items()}
        self.steps.merge(x, columns)
        self.nonfinite += step_columns.num_nonfinite(batch, ("loss", "grad_norm"))
        if self.last_step is None or batch.steps[last] >= (self.last_step.step or 0):
            self.last_step = cast(ev.StepFinished, next(batch.cut(last, last + 1).rows()))
            self.updates = batch.steps[last] + 1
        if self.badge == "starting" and not self.ended:
            self.badge = "running"
            return Topic.RUN
        return Topic.NOTHING

    def _results(self, column: str, *, new: bool) -> Validations | Evaluations | None:
        """Where the results of a batch's column are kept; None as in `_set_of`."""
        kind, _, name = column.partition(":")
        if kind + ":" == ev.VALIDATION_COLUMN:
            return self._set_of("", name, new=new)
        if name not in self.evals and new:
            if len(self.evals) >= MOST_NAMES:
                return None
            self.evals[name] = Evaluations(name)
        return self.evals.get(name)

    def _extend_results(
        self, column: str, measured: step_columns.Results, stamp: ev.Stamp
    ) -> Topic:
        found = self._results(column, new=True)
        if isinstance(found, Validations):
            found.extend(measured, column.partition(":")[2])
            return Topic.VALIDATION
        if found is None:
            self.ignored_names += len(measured.steps)
            return Topic.NOTHING
        found.extend(measured, stamp)
        return Topic.EVALS

    def _heartbeat(self, event: ev.RankHeartbeat) -> Topic:
        rank = self.ranks.get(event.rank)
        if rank is None:
            if len(self.ranks) >= MOST_NAMES:
                self.ignored_names += 1
                return Topic.NOTHING
            rank = self.ranks[event.rank] = Rank(event)
        rank.last = event
        rank.lost = None
        if event.stamp.t is not None:
            gpu = event.memory_kind == "cuda"
            load = event.gpu_util_percent if gpu else event.cpu_percent
            rank.memory.put(
                event.stamp.t,
                {
                    "memory_bytes": event.memory_bytes,
                    "load": load,
                    "power_watts": event.gpu_power_watts,
                    "temperature_celsius": event.gpu_temperature_celsius,
                    "step_seconds": event.step_seconds,
                },
            )
        return Topic.RANKS

    def _metric(self, event: ev.MetricLogged) -> Topic:
        if event.step is None:
            return Topic.NOTHING
        for name, value in event.values.items():
            table = self.metrics.get(name)
            if table is None:
                if len(self.metrics) >= MOST_METRICS:
                    self.ignored_names += 1
                    continue
                table = self.metrics[name] = Table([name])
            table.put(event.step, {name: value})
        return Topic.STEPS

    def _validation(self, event: ev.ValidationFinished) -> Topic:
        step = event.step if event.step is not None else self.updates
        if self._superseded(event.stamp.att, step - 1):
            return Topic.NOTHING
        results = self._set_of(event.set_name, event.metric)
        if results is None:
            self.ignored_names += 1
            return Topic.NOTHING
        results.put(
            Validation(
                step=step,
                loss=event.loss,
                metric=event.metric,
                seconds=event.seconds,
                t=event.stamp.t,
                rows_file=event.rows_file,
                loss_by_source=event.loss_by_source,
                set_name=event.set_name,
            )
        )
        return Topic.VALIDATION | self._log(event)

    def _set_of(self, name: str, metric: str, *, new: bool = True) -> Validations | None:
        """The validations of a set of rows in one metric; None when there are too many of them,
        or none yet and no `new` ones are wanted."""
        first = self.validations
        if not first or (first.metric == metric and first.set_name == name):
            return first
        key = name if first.metric == metric else f"{name} {metric}".strip()
        if key not in self.other_validations and new:
            if len(self.other_validations) >= MOST_NAMES:
                return None
            self.other_validations[key] = Validations()
        return self.other_validations.get(key)

    def _evaluate(self, event: ev.EvalStarted) -> Topic:
        self.evaluating, self.eval_progress = event, None
        last = self.startup[-1] if self.startup else None
        lasts = last is not None and last.end is None and last.name != "evaluate"
        if last is not None and lasts and self._is_starting:
            # Before the first update: the validation that it follows is over.
            t = event.stamp.t
            self.startup[-1] = closed(last, t)
            evaluate = Phase(name="evaluate", detail="", start=t, attempt=event.stamp.att)
            self.startup.append(evaluate)
        return Topic.EVALS | Topic.RUN

    def _evaluation(self, event: ev.EvalFinished) -> Topic:
        step = event.step if event.step is not None else self.updates
        if self._superseded(event.stamp.att, step - 1):
            return Topic.NOTHING
        if event.task not in self.evals and len(self.evals) >= MOST_NAMES:
            self.ignored_names += 1
            return Topic.NOTHING
        by_step = self.evals.get(event.task)
        if by_step is None:
            by_step = self.evals[event.task] = Evaluations(event.task)
        by_step.put(step, event)
        touched = Topic.EVALS | self._log(event)
        if self.evaluating is not None and self.evaluating.task == event.task:
            self.evaluating = None
            touched |= Topic.RUN
        return touched

    def _attempt(self, event: ev.AttemptStarted) -> Topic:
        attempt = event.stamp.att
        self._enter_attempt(attempt, event.start_step)
        if attempt >= self.attempt and attempt == max(self.attempt_starts):
            self.updates = event.start_step
            self.last_step = None
            self.badge, self.reason, self.end = "starting", "", None
            # Phases like the imports come before the event of their attempt.
            self.startup = [phase for phase in self.startup if phase.attempt == attempt]
            self.evaluating = None
            # Taken up again on fewer ranks: the others do not belong to the run any more.
            self.ranks = {n: r for n, r in self.ranks.items() if n < event.world_size}
            for rank in self.ranks.values():
                rank.lost = None
        return Topic.ALL & ~Topic.LOG | (self._log(event) if attempt > 1 else Topic.NOTHING)

    def _phase(self, event: ev.PhaseStarted) -> Topic:
        t = event.stamp.t
        # One that was given up has no result to end it.
        self.evaluating = None
        if self.end is not None and event.stamp.att > self.end.stamp.att:
            # It is starting, seconds before the attempt says so.
            self._taken_up()
        if self.startup and self.startup[-1].end is None:
            self.startup[-1] = closed(self.startup[-1], t)
        self.phase = Phase(name=event.phase, detail=event.detail, start=t, attempt=event.stamp.att)
        if self._is_starting and len(self.startup) < MOST_NAMES:
            self.startup.append(self.phase)
        return Topic.RUN

    def _taken_up(self) -> None:
        """The run goes on after its end, whether or not the line that says so was kept."""
        self.badge, self.reason, self.end, self.startup = "starting", "", None, []

    @property
    def _is_starting(self) -> bool:
        """Whether no update of this attempt has been made."""
        return not len(self.steps) or self.badge == "starting"

    def _badge(self, badge: ev.Badge, reason: str) -> Topic:
        if not self.ended:
            self.badge, self.reason = badge, reason
        return Topic.RUN

    def _finished(self, event: ev.RunFinished) -> Topic:
        self.end = event
        self.badge, self.reason = event.status, event.reason
        self.evaluating = None
        if self.phase is not None:
            self.phase = closed(self.phase, event.stamp.t)
        if self.startup and self.startup[-1].end is None:
            self.startup[-1] = closed(self.startup[-1], event.stamp.t)
        return Topic.ALL & ~Topic.LOG | self._log(event)

    def _checkpoint(self, event: ev.CheckpointSaved) -> Topic:
        step = event.step if event.step is not None else self.updates
        row, again = self.checkpoints.put(
            Checkpoint(
                step=step,
                path=event.path,
                size_bytes=event.size_bytes,
                reason=event.reason,
                kind=event.kind,
                val_loss=None if event.val_loss is None else bounded(event.val_loss),
                t=self._clock.at(event.stamp),
            )
        )
        if again:
            self._shelf.forget()
        else:
            self._shelf.add(self.checkpoints, row)
        self._log(event)
        return _SAVED

    def _removed(self, event: ev.CheckpointRemoved) -> Topic:
        row = self.checkpoints.remove(event.path)
        if row is None:
            return Topic.NOTHING
        self._shelf.change(self.checkpoints, row)
        return Topic.CHECKPOINTS

    def lose(self, missing: Sequence[Checkpoint]) -> Topic:
        """Mark checkpoints of this state as removed which the disk lacks: no event says so."""
        if not missing:
            return Topic.NOTHING
        for known in missing:
            assert known.path is not None, "only the start has none"
            self.checkpoints.remove(known.path)
        self._shelf.change_many(self.checkpoints)
        return Topic.CHECKPOINTS

    def _control(self, event: ev.ControlApplied) -> Topic:
        self.controls.append(event)
        touched = Topic.CONTROLS | self._log(event)
        # The badge follows the answer too, for writers that send no StateChanged.
        after = _BADGE_AFTER.get(event.command)
        if event.outcome == "applied" and after and not self.ended:
            touched |= self._badge(after, event.reason)
        return touched

    # ---- rows of the checkpoint list -------------------------------------------------------

    def checkpoint_rows(self) -> CheckpointRows:
        """Resumable checkpoints, newest first, then the start if it was evaluated."""
        measured, start = self.validations.get(0), None
        if measured is not None or any(0 in by_step for by_step in self.evals.values()):
            start = Checkpoint(
                step=0,
                path=None,
                size_bytes=None,
                reason="start",
                kind="start",
                val_loss=measured.loss if measured else None,
                t=measured.t if measured else None,
            )
        return CheckpointRows(self.checkpoints, self._shelf.ordered(self.checkpoints), start)

    def checkpoint_loss(self, row: Checkpoint) -> float | None:
        """Validation loss of a checkpoint: its own, else the one measured at its step."""
        if row.val_loss is not None:
            return row.val_loss
        measured = self.validations.get(row.step)
        return measured.loss if measured else None


_SAVED = Topic.CHECKPOINTS | Topic.LOG
"""What one more checkpoint changes: a hundred thousand unions of flags take a while."""

_BADGE_AFTER: Mapping[str, ev.StateName] = {
    Command.PAUSE.value: "paused",
    Command.RESUME.value: "running",
    Command.STOP.value: "stopping",
}


def _bad(value: float | None) -> bool:
    return value is not None and not math.isfinite(value)


def _last_seconds(results: Sequence[Validation | ev.EvalFinished]) -> float:
    for index in range(len(results) - 1, max(-1, len(results) - 1 - LATELY), -1):
        seconds = results[index].seconds
        if seconds is not None and math.isfinite(seconds):
            return seconds
    return 0.0


def _drop_after(kept: dict[str, Any], step: int) -> None:
    """Forget the results after a step, and a task or set that has none left: whoever goes through
    them asks each for its last."""
    for name in list(kept):
        kept[name].drop_after(step)
        if not kept[name]:
            del kept[name]
