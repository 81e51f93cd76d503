"""Alarms as a fold over events: what is wrong with a run, and what to do about it.

`AlarmEngine` reads no clock: time comes inside events, and from `tick` where a screen
watches the run, so a replay raises what the live run raised. Nothing here stops a run.
The arithmetic is in `rules`, how often an alarm is repeated in `board`, the texts in
`alarm_texts`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import deque
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, NamedTuple

from engine import events as ev
from engine.alarms import alarm_texts, letter_collapse
from engine.alarms.board import ALL_KINDS, CLOCK_KINDS, Alarm, AlarmBoard
from engine.alarms.letter_collapse import CollapseRule
from engine.alarms.loss_rule import Divergence, LossRule
from engine.alarms.rules import (
    MEMORY_SHARE,
    MemoryRule,
    MemoryUse,
    SilenceRule,
    SpeedRule,
    StragglerRule,
    ValidationRule,
)
from engine.alarms.windows import Reading, bounded

RANK_SILENT_SECONDS = 30.0
CHECKPOINTS_LEFT = 2
CALM_STEPS = 20
"""Finite losses after which a NaN is over."""
NAN_MICRO_BATCHES = 3
"""A single NaN of nanochat's printed loss is a micro-batch without a supervised token."""
MOST_MARKS = 1000
MOST_NAMES = 256
"""Tasks and validation metrics kept; a log that invents names must not eat memory."""


class StepNumbers(NamedTuple):
    """The numbers of an update that are judged: fields of `StepFinished`, by the same names."""

    loss: float | None
    loss_rows_mean: float | None
    loss_micro_last: float | None
    grad_norm: float | None
    seconds: float | None
    tokens: float | None
    tokens_per_second: float | None


_numbers_of = attrgetter(*StepNumbers._fields)
_ALARMS = (ev.AlarmRaised, ev.AlarmCleared)


class AlarmEngine:
    """Takes in events with `observe` and time with `tick`; both return new alarms.

    Alarms found in the stream itself are taken over, not raised a second time.

    Args:
        kinds: rules to apply. Rank 0 applies `EVENT_KINDS`, the screen of a run that raises
            its own alarms applies `CLOCK_KINDS`, and foreign logs get all.
        rank_silent_seconds: silence of one rank that counts.
        run_id: the name by which requests reach the run; empty where none can.
    """

    def __init__(
        self,
        *,
        kinds: frozenset[ev.AlarmKind] = ALL_KINDS,
        rank_silent_seconds: float = RANK_SILENT_SECONDS,
        run_id: str = "",
    ) -> None:
        self._rank_silent_seconds = rank_silent_seconds
        self.marks: deque[int] = deque(maxlen=MOST_MARKS)
        """Steps whose loss stood out: marks for the chart, not alarms."""
        self._board = AlarmBoard(kinds)
        self._judges_numbers = bool(kinds - CLOCK_KINDS)
        self._remedy = alarm_texts.slower(run_id)
        self._run = ""
        self._new_run()

    def _new_run(self) -> None:
        self._loss = LossRule()
        self._validation: dict[tuple[str, str], ValidationRule] = {}
        self._letters = CollapseRule()
        self._checkpoint_bytes: int | None = None
        self._bad_validation = False
        self._ended = False
        self._new_attempt()

    def _new_attempt(self) -> None:
        self._loss.restart()
        self._speed = SpeedRule()
        self._straggler = StragglerRule()
        self._silence = SilenceRule(self._rank_silent_seconds)
        self._memory = MemoryRule()
        self._retries: dict[int, int] = {}
        self._at_step: dict[int, int] = {}
        self._since_bad: int | None = None
        self._nan_micro_batches = 0

    def _plan(self, num_iterations: int | None) -> None:
        if num_iterations is not None:
            self._letters.num_updates = num_iterations - 1

    # ---- events and time ---------------------------------------------------------------------

    def observe(self, event: ev.Event) -> list[Alarm]:
        """Take one event in; returns the alarms it raises or clears."""
        board, stamp = self._board, event.stamp
        if isinstance(event, _ALARMS):
            board.take_over(event)
            return []
        board.stamp = stamp
        if stamp.t is not None:
            # Silence before this event counts, even where `tick` is not called.
            self._check_silence(stamp.t, stamp.m, watched=False)
        if event.step is not None:
            board.step = event.step
        match event:
            case ev.StepFinished():
                self._step_ended(event.seconds)
                if self._judges_numbers:
                    self._take_step(StepNumbers(*_numbers_of(event)))
            case ev.StepBatch():
                self._take_batch(event)
            case ev.RankHeartbeat():
                self._take_heartbeat(event)
            case ev.ValidationFinished():
                self._alive(step_due=False)
                self._take_validation(event)
            case ev.EvalStarted() | ev.EvalProgress():
                self._alive(step_due=False)
            case ev.EvalFinished():
                self._alive(step_due=False)
                self._take_answers(event)
            case ev.PhaseStarted():
                self._alive(step_due=event.phase == "train")
            case ev.StateChanged():
                self._alive()
                self._take_pause(event.state == "paused", event.step)
            case ev.ControlApplied():
                self._take_control(event)
            case ev.CheckpointStarted() | ev.CheckpointSaved():
                self._alive()
                self._take_checkpoint(event)
            case ev.RankLost():
                # The attempt is over: what starts the next one has a minute of imports before it.
                self._alive(step_due=False)
                self._forget(event.rank)
            case ev.RunStarted():
                # A second one of the same run says more about it.
                if not stamp.run or stamp.run != self._run:
                    board.end_all()
                    self._new_run()
                self._run = stamp.run
                self._plan(event.num_iterations)
            case ev.AttemptStarted():
                board.end_all()
                self._plan(event.num_iterations)
                self._new_attempt()
                for rule in self._validation.values():
                    rule.rewind(event.start_step)
            case ev.RunFinished():
                board.end("stall")
                board.end("rank_silent")
                self._ended = True
            case ev.LogLine() | ev.MetricLogged() | ev.SampleGenerated():
                # A metric may be told after later steps were: that is no step back in time.
                if not self._silence.is_past(stamp.t):
                    self._alive()
        return board.collect()

    def tick(self, t: float, m: float | None = None) -> list[Alarm]:
        """Tell the time, on the clocks of `Stamp.t` and `Stamp.m`; returns new alarms."""
        self._board.stamp = dataclasses.replace(self._board.stamp, t=t, m=m)
        self._check_silence(t, m, watched=True)
        return self._board.collect()

    # ---- numbers of a step -----------------------------------------------------------------

    def _take_batch(self, event: ev.StepBatch) -> None:
        """Columns as they are: an event a row would cost more than judging it."""
        board, columns, none = self._board, event.columns, itertools.repeat(None)
        if not any(name in columns for name in StepNumbers._fields):
            return
        numbers: list[Iterable[Any]] = [columns.get(name, none) for name in StepNumbers._fields]
        times = event.times or none
        if not self._judges_numbers:
            silence = self._silence
            spent = columns.get("seconds", none)
            for step, t, seconds in zip(event.steps, times, spent, strict=False):
                silence.life(t, None)
                silence.step(t, seconds, step)
            if event.times:
                board.stamp = dataclasses.replace(event.stamp, t=event.times[-1])
            self._alive()
            return
        board.stamp = event.stamp
        for step, t, *row in zip(event.steps, times, *numbers, strict=False):
            board.step = step
            if t is not None:
                board.t = t
            values = StepNumbers(*row)
            self._step_ended(values.seconds)
            self._take_step(values)

    def _step_ended(self, seconds: float | None) -> None:
        self._alive()
        self._silence.step(self._board.t, seconds, self._board.step)

    def _take_step(self, numbers: StepNumbers) -> None:
        loss = numbers.loss if numbers.loss is not None else numbers.loss_rows_mean
        micro, norm = numbers.loss_micro_last, numbers.grad_norm
        bad: tuple[str, float] | None = None
        if loss is None and micro is not None:
            loss = micro
            self._nan_micro_batches = self._nan_micro_batches + 1 if math.isnan(loss) else 0
            if math.isinf(loss) or self._nan_micro_batches >= NAN_MICRO_BATCHES:
                bad = "the training loss", loss
        elif loss is not None and not math.isfinite(loss):
            bad = "the training loss", loss
        if bad is None and norm is not None and not math.isfinite(norm):
            bad = "the gradient norm", norm
        if bad is not None:
            self._since_bad = 0
            self._raise_nonfinite(*bad)
        elif self._since_bad is not None:
            self._since_bad += 1
            if self._since_bad >= CALM_STEPS:
                self._since_bad = None
                self._end_nonfinite()
        if loss is not None and math.isfinite(loss):
            self._take_loss(bounded(loss))
        self._take_speed(numbers.seconds, numbers.tokens, numbers.tokens_per_second)

    def _raise_nonfinite(self, what: str, value: float) -> None:
        step = self._board.step
        self._board.judge(
            "nonfinite",
            Reading(value=value, limit=None),
            lambda _: alarm_texts.nonfinite(what, value, step),
        )

    def _end_nonfinite(self) -> None:
        if self._since_bad is None and not self._bad_validation:
            self._board.end("nonfinite")

    def _take_loss(self, loss: float) -> None:
        rule, board = self._loss, self._board
        rule.add(loss)
        mark, diverging = rule.mark, rule.diverging
        if mark is not None and board.step is not None:
            self.marks.append(board.step)
        if mark is not None or not rule.spiking:
            board.judge(
                "spike",
                mark if rule.spiking else None,
                lambda found: alarm_texts.spike(loss, found, self._remedy),
            )
        self._judge_divergence(diverging)

    def _judge_divergence(self, found: Divergence | None) -> None:
        if found is None:
            self._board.end("diverging")
            return
        self._board.judge(
            "diverging",
            Reading(value=found.loss, limit=found.limit),
            lambda _: alarm_texts.diverging(found, self._remedy),
        )

    def _take_speed(self, seconds: float | None, tokens: float | None, rate: float | None) -> None:
        unit = "tokens/s"
        if rate is None and seconds:
            rate = (tokens or 1) / seconds
            unit = "tokens/s" if tokens else "steps/s"
        if rate is None or not 0 < rate < math.inf:
            return
        self._speed.add(bounded(rate))
        slow, normal = self._speed.slow, self._speed.normal or 0.0
        self._board.judge("slowdown", slow, lambda found: alarm_texts.slowdown(found, normal, unit))

    # ---- measurements ----------------------------------------------------------------------

    def _take_validation(self, event: ev.ValidationFinished) -> None:
        self._bad_validation = not math.isfinite(event.loss)
        if self._bad_validation:
            self._raise_nonfinite("the validation loss", event.loss)
            return
        self._end_nonfinite()
        rows = event.metric, event.set_name
        if rows not in self._validation and len(self._validation) >= MOST_NAMES:
            return
        rule = self._validation.setdefault(rows, ValidationRule())
        step = event.step if event.step is not None else (self._board.step or 0)
        rule.add(step, bounded(event.loss), event.paired_error, event.loss_by_source)
        if rule.overfitting is None and any(r.overfitting for r in self._validation.values()):
            return  # one set of rows is well, another is not: that is not over
        best = rule.best or 0.0
        # Of several sets or metrics the sentence names the one its numbers are of.
        which = (event.set_name or event.metric) if len(self._validation) > 1 else ""
        self._board.judge(
            "overfitting",
            rule.overfitting,
            lambda found: alarm_texts.overfitting(found, which, best, rule.best_step, rule.moves),
        )

    def _take_answers(self, event: ev.EvalFinished) -> None:
        found = self._letters.add(event.task, event.step, event.letters)
        if found is not None:
            task, letter = found.task, found.letter
            self._board.judge(
                "letter_collapse",
                Reading(value=found.share, limit=letter_collapse.SHARE),
                lambda reading: alarm_texts.letter_collapse(task, letter, reading.value),
            )
        elif not self._letters.any:
            self._board.end("letter_collapse")

    # ---- controls, checkpoints, ranks ------------------------------------------------------

    def _take_control(self, event: ev.ControlApplied) -> None:
        if event.outcome == "applied" and event.command in ("pause", "resume"):
            self._alive()
            self._take_pause(event.command == "pause", event.step)

    def _take_pause(self, paused: bool, step: int | None) -> None:
        if paused:
            self._silence.pause(step)
        else:
            self._silence.resume()

    def _take_checkpoint(self, event: ev.CheckpointStarted | ev.CheckpointSaved) -> None:
        self._silence.saving = isinstance(event, ev.CheckpointStarted)
        if isinstance(event, ev.CheckpointSaved) and event.kind == "sftui" and event.size_bytes:
            self._checkpoint_bytes = event.size_bytes

    def _take_heartbeat(self, event: ev.RankHeartbeat) -> None:
        rank, step = event.rank, event.at_step
        if rank not in self._at_step and len(self._at_step) >= MOST_NAMES:
            return
        known = self._at_step.get(rank)
        if step is not None and (known is None or step > known):
            self._at_step[rank] = step
            if known is not None:
                # A beat alone is no progress: a rank that hangs has a beating thread.
                self._alive()
        if event.stamp.t is not None:
            self._silence.beats[rank] = event.stamp.t
        own = event.step_seconds if event.seconds_per_token is None else event.seconds_per_token
        if step is not None and own is not None and 0 < own < math.inf:
            self._judge_straggler(rank, step, own)
        self._judge_memory(event)
        if event.disk_free_bytes is not None and self._checkpoint_bytes is not None:
            self._judge_disk(event.disk_free_bytes, CHECKPOINTS_LEFT * self._checkpoint_bytes)

    def _judge_straggler(self, rank: int, step: int, seconds: float) -> None:
        if not self._straggler.add(rank, step, seconds):
            return
        slowest, reading = self._straggler.slowest() or (rank, None)
        self._board.judge("straggler", reading, lambda found: alarm_texts.straggler(slowest, found))

    def _judge_memory(self, event: ev.RankHeartbeat) -> None:
        on_device = event.memory_kind == "cuda"
        used = event.memory_bytes
        if on_device:
            sizes = (event.memory_reserved_bytes, event.memory_peak_bytes, used)
            used = max((size for size in sizes if size is not None), default=None)
        if used is None or not event.memory_total_bytes:
            return
        used += (event.gpu_others_bytes or 0) if on_device else 0
        use = MemoryUse(
            host=event.host, used=used, total=event.memory_total_bytes, on_device=on_device
        )
        self._memory.add(event.rank, use)
        self._retries[event.rank] = event.alloc_retries or 0
        fullest = self._memory.fullest()
        if fullest is None:
            return
        rank, whole = fullest
        share, retries = whole.used / whole.total, max(self._retries.values())
        tight = share > MEMORY_SHARE or retries > 0
        self._board.judge(
            "memory_tight",
            Reading(value=share, limit=MEMORY_SHARE) if tight else None,
            lambda _: alarm_texts.memory_tight(rank, whole, retries),
        )

    def _judge_disk(self, free: int, needed: int) -> None:
        self._board.judge(
            "disk_low",
            Reading(value=float(free), limit=float(needed)) if free < needed else None,
            lambda _: alarm_texts.disk_low(free, needed, CHECKPOINTS_LEFT),
        )

    def _forget(self, rank: int | None) -> None:
        """Drop what is known of a lost rank: it has an event of its own."""
        if rank is not None:
            self._silence.beats.pop(rank, None)
            self._at_step.pop(rank, None)
            self._retries.pop(rank, None)
            self._memory.forget(rank)

    # ---- silence ---------------------------------------------------------------------------

    def _alive(self, *, step_due: bool | None = None) -> None:
        self._silence.life(self._board.t, self._board.m, step_due=step_due)
        if not self._ended:
            self._board.end("stall")

    def _check_silence(self, t: float, m: float | None, *, watched: bool) -> None:
        silence, board = self._silence, self._board
        if self._ended or silence.paused:
            return
        stall = silence.stall(t, m)
        if stall is not None:
            # It is cleared by the next sign of life, in `_alive`.
            usual = silence.usual_seconds
            board.judge("stall", stall, lambda found: alarm_texts.stall(found, usual))
        if not silence.beats or not silence.rank_check_due(t):
            return
        ranks, reading = silence.silent_ranks(t, watched=watched) or ([], None)
        board.judge("rank_silent", reading, lambda found: alarm_texts.rank_silent(ranks, found))
