"""What an empty panel says: why there is nothing, and what to press or type."""

from __future__ import annotations

from typing import Literal

from sftui.state.run_state import RunState
from sftui.text import format as fmt
from sftui.view.view import View

What = Literal["evaluation", "validation", "checkpoint", "sample"]

_EVERY = {
    "evaluation": "eval_metrics_every",
    "validation": "eval_every",
    "checkpoint": "checkpoint_every",
    "sample": "sample_every",
}
"""The setting that says after how many updates one comes."""
_ASKS = {"evaluation": "evaluate", "validation": "evaluate", "checkpoint": "checkpoint"}
"""The key that asks for one now."""


def nothing_yet(what: What, state: RunState, view: View) -> str:
    """Why there is none so far; when the first is due and which key asks for it, where a run
    lives; over a replay, whether the rest of the log may have one."""
    replay = view.replay
    if replay is not None:
        if replay.at_end and not replay.loading:
            return f"no {what} in this log"
        return f"no {what} so far; {view.keys.by_id('to_end').shown} shows all there is"
    if what == "evaluation" and (words := _no_questions(state)):
        return words
    if state.ended or view.trouble:
        return f"this run had no {what}; {_setting(what, state)} sets how often"
    words = f"no {what} yet"
    if what == "evaluation" and state.evaluating is not None:
        return f"{words}; the first is under way"
    words += first_due(what, state)
    if what in _ASKS:
        key = view.keys.by_id(_ASKS[what]).shown
        words += f" ({key}: now)" if ";" in words else f"; {key} asks for one"
    return words


def _no_questions(state: RunState) -> str:
    """That none are asked, and what asks some; "" where they are, or nobody knows yet."""
    if state.asks_nothing:
        return "no questions asked; --eval-tasks names some"
    run = state.run
    if run is None or not state.trainer or run.effective.get("questions"):
        return ""
    return "no questions; attach(questions=...) asks some"


def _setting(what: What, state: RunState) -> str:
    """What says how often: a flag, or in another trainer's run something of its own."""
    return "its script" if state.trainer else "--" + _EVERY[what].replace("_", "-")


def first_due(what: What, state: RunState) -> str:
    """When the next one comes by the run's own settings, after a semicolon; "" where nothing
    tells it."""
    every = state.run.settings.get(_EVERY[what]) if state.run is not None else None
    if not isinstance(every, int) or isinstance(every, bool) or every < 0:
        return ""
    if every == 0:
        return "; none is planned"
    # A run of ours measures where it starts; a checkpoint of that is the one it starts from.
    begins = not state.updates and what != "checkpoint" and not state.trainer
    due = 0 if begins else (state.updates // every + 1) * every
    return f"; first at step {fmt.count(due if state.planned is None else min(due, state.planned))}"


def awaited(state: RunState, view: View) -> list[str]:
    """What an empty loss chart waits for, and how often the rest comes, a few words each; nothing
    where nothing can come: over a replay, after the end, in a log of other numbers."""
    over = state.ended or view.trouble or view.replay is not None
    if over or len(state.steps) or (state.metrics and not state.startup):
        return []
    words = ["awaited: the first update, whose loss is drawn here"]
    settings = state.run.settings if state.run is not None else {}
    for what, name in (("validation", "validation"), ("evaluation", "questions")):
        every = settings.get(_EVERY[what])
        if what == "evaluation" and _no_questions(state):
            continue
        if isinstance(every, int) and not isinstance(every, bool) and every > 0:
            words.append(f"{name} every {fmt.counted(every, 'step')}")
    return words
