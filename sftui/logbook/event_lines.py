"""An event as one line of text, the same in the log pane, plain mode and the report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine import events as ev
from sftui.drawing.roles import Role
from sftui.statistics.scored import accuracy_of
from sftui.text import format as fmt
from sftui.text.clean import clean, clean_text

if TYPE_CHECKING:
    from sftui.state.records import Validation
    from sftui.state.run_state import RunState


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the story."""

    mark: str
    role: Role
    """Colour of mark and text: what kind of news it is."""
    text: str


def time_of_day(t: float | None) -> str:
    """hh:mm:ss in the person's own time zone."""
    if t is None:
        return "--:--:--"
    try:
        return time.strftime("%H:%M:%S", time.localtime(t))
    except (ValueError, OverflowError, OSError):
        return "--:--:--"


def val_name(results: Sequence[Validation]) -> str:
    """`val`, with the unit where it is not that of the training loss beside it."""
    metric = clean(results[-1].metric, 12) if results else "loss"
    return "val" if metric == "loss" else f"val {metric}"


def entry(event: ev.Event) -> Entry | None:
    """The line of an event, all outside text cleaned; None when it is not worth one."""
    at = f"  step {fmt.count(event.step)}" if event.step is not None else ""
    match event:
        case ev.LogLine():
            mark, role = _LEVELS.get(event.level, ("·", Role.DIM))
            rank = f"rank {event.rank}: " if event.rank is not None else ""
            return Entry(mark, role, rank + clean(event.text))
        case ev.ValidationFinished():
            took = f"  in {fmt.duration(event.seconds)}" if event.seconds is not None else ""
            named = f" {clean(event.set_name, 40)}" if event.set_name else ""
            loss = f"{clean(event.metric)} {fmt.loss(event.loss)}"
            return Entry("●", Role.VAL, f"val{named} {loss}{at}{took}")
        case ev.EvalFinished():
            return Entry("✓", Role.TEXT, f"{clean(event.task, 40)} {score(event)}{at}")
        case ev.CheckpointSaved():
            size = f"  {fmt.size(event.size_bytes)}" if event.size_bytes is not None else ""
            took = f" in {fmt.duration(event.seconds)}" if event.seconds is not None else ""
            what = "checkpoint saved"
            if event.kind == "nanochat":
                what = "exported for nanochat"
            elif event.reason == "export":
                what = "exported for transformers"
            return Entry("◆", Role.SAVED, f"{what}  {clean(event.path, 200)}{size}{took}")
        case ev.ControlApplied():
            return Entry("▾", Role.WARN, _answer(event) + at)
        case ev.AlarmRaised():
            bad = event.severity == "error"
            text = clean(event.text) or clean(event.kind)
            return Entry("▲", Role.BAD if bad else Role.WARN, text + at)
        case ev.RankLost():
            who = "a rank" if event.rank is None else f"rank {event.rank}"
            why = f": {clean(event.reason)}" if event.reason else ""
            return Entry("✗", Role.BAD, f"lost {who}{why}")
        case ev.RunStarted():
            return Entry("▶", Role.TEXT, _started(event))
        case ev.AttemptStarted():
            source = f" from {clean(event.resumed_from, 200)}" if event.resumed_from else ""
            return Entry(
                "↻",
                Role.WARN,
                f"attempt {event.stamp.att} goes on at step {event.start_step}{source}",
            )
        case ev.RunFinished():
            return _finished(event)
        case ev.EventsDropped():
            why = f": {clean(event.reason)}" if event.reason else ""
            return Entry("▲", Role.WARN, f"{fmt.count(event.count)} events dropped{why}")
        case ev.SampleGenerated():
            return Entry("“", Role.DIM, f"{clean(event.prompt, 300)} → {clean(event.text, 600)}")
        case ev.StateChanged() if event.reason:
            return Entry("·", Role.DIM, f"{clean(event.state, 40)}: {clean(event.reason)}")
        case _:
            return None


MOST_WHOLE = 1_000_000
"""Characters of a line that are read to its end."""


def whole_text(event: ev.Event) -> str:
    """All that an event says, uncut and cleaned, with its line breaks."""
    match event:
        case ev.LogLine():
            return "\n".join(clean_text(event.text, MOST_WHOLE, MOST_WHOLE))
        case ev.SampleGenerated():
            return "\n".join(
                [*clean_text(event.prompt), *clean_text(event.text, MOST_WHOLE, MOST_WHOLE)]
            )
        case _:
            said = entry(event)
            return said.text if said is not None else ""


def score(event: ev.EvalFinished) -> str:
    """`271/1024 26.5%`, or the percentage alone when the log had no counts."""
    percent = fmt.percent(accuracy_of(event))
    if event.correct is not None and event.total:
        return f"{event.correct}/{event.total} {percent}"
    return percent


def evaluating(started: ev.EvalStarted, progress: ev.EvalProgress | None) -> str:
    """`evaluating GSM8K 7/24, 3,120 tokens`."""
    words = f"evaluating {clean(started.task, 30)}"
    if progress is None or progress.task != started.task:
        return f"{words}…"
    words += f" {fmt.count(progress.done)}/{fmt.count(progress.total)}"
    return words if progress.tokens is None else f"{words}, {fmt.count(progress.tokens)} tokens"


_LEVELS: Mapping[ev.LogLevel, tuple[str, Role]] = {
    "info": ("·", Role.DIM),
    "warn": ("▲", Role.WARN),
    "error": ("✗", Role.BAD),
}

_COMMANDS = {
    "pause": "paused",
    "resume": "resumed",
    "eval": "eval on request",
    "checkpoint": "checkpoint on request",
    "stop": "stopping",
}


def command_words(event: ev.ControlApplied) -> str:
    """What an applied request did, short enough for the chart: `paused`, `lr ×0.5`."""
    if event.command == "lr" and event.argument is not None:
        return f"lr ×{event.argument:g}"
    return _COMMANDS.get(event.command) or clean(event.command, 20)


def _answer(event: ev.ControlApplied) -> str:
    by = f" by {clean(event.author, 40)}" if event.author else ""
    why = f": {clean(event.reason)}" if event.reason else ""
    if event.outcome == "applied":
        words = command_words(event)
        if event.command == "resume" and event.argument is not None:
            words = fmt.counted(round(event.argument), "more step")  # it may not have been paused
        return words + by + why
    return f"{clean(event.command, 20)} {clean(event.outcome, 20)}{by}{why}"


def _started(event: ev.RunStarted) -> str:
    parts = [clean(event.name, 80)]
    if event.source:
        parts.append(f"from {clean(event.source, 80)}")
    if machine := ranks(event):
        parts.append(machine)
    if size := parameters(event):
        parts.append(size)
    if event.rows is not None:
        parts.append(f"{fmt.count(event.rows)} rows")
    return " · ".join(parts)


def parameters(run: ev.RunStarted) -> str:
    """`135M parameters`, and of a model that is not trained whole `, 4.88M trained`; empty where
    it is not known."""
    if run.num_parameters is None:
        return ""
    words = f"{fmt.si(run.num_parameters)} parameters"
    trained = run.effective.get("trainable_parameters")
    if isinstance(trained, int) and 0 < trained != run.num_parameters:
        words += f", {fmt.si(trained)} trained"
    return words


def ranks(run: ev.RunStarted) -> str:
    """`2 ranks on cpu (gloo)`; only what is known of it, so it may be empty."""
    words = []
    if run.world_size is not None:
        words.append(f"{run.world_size} rank{'' if run.world_size == 1 else 's'}")
    if run.device:
        words.append(f"on {clean(run.device, 20)}")
    if run.backend:
        words.append(f"({clean(run.backend, 20)})")
    return " ".join(words)


def other_numbers(state: RunState, most: int = 12) -> str:
    """The free metrics of a log without a training loss, with their counts."""
    names = list(state.metrics)
    told = [f"{clean(name, 40)} ({fmt.count(len(state.metrics[name]))})" for name in names[:most]]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"No training loss so far. Other numbers, with how many: {', '.join(told)}{more}"


def _finished(event: ev.RunFinished) -> Entry:
    mark, role = {"finished": ("✓", Role.GOOD), "stopped": ("■", Role.WARN)}.get(
        event.status, ("✗", Role.BAD)
    )
    after = f" after {fmt.counted(event.updates, 'update')}" if event.updates is not None else ""
    took = f" in {fmt.duration(event.seconds)}" if event.seconds is not None else ""
    why = f": {clean(event.reason)}" if event.reason else ""
    return Entry(mark, role, f"run {clean(event.status, 20)}{after}{took}{why}")
