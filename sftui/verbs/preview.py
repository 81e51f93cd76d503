"""What a line would do, in words, while it is typed: the rates of `lr`, the step of `pause in`."""

from __future__ import annotations

from engine.errors import UsageError
from sftui.state.run_state import RunState
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.verbs.typed import Typed, read


def lr_factor_now(state: RunState) -> float:
    """The factor on the schedule that was last asked for by hand; 1 where none was."""
    for answer in reversed(state.controls):
        if answer.command == "lr" and answer.outcome == "applied" and answer.argument is not None:
            return answer.argument
    return 1.0


def rates_now(state: RunState) -> dict[str, float]:
    """Learning rate by parameter group: of the newest step, before it those of the settings."""
    found = {}
    for name in state.steps.names:
        if name.startswith("lr/") and (rate := state.steps.last(name)) is not None:
            found[name.removeprefix("lr/")] = rate
    if not found and (rate := state.steps.last("lr")) is not None:
        found["lr"] = rate
    if found or state.run is None:
        return found
    effective = state.run.effective.items()
    return {
        name.removeprefix("lr/"): float(rate)
        for name, rate in effective
        if name.startswith("lr/") and isinstance(rate, int | float)
    }


def preview(line: str, state: RunState, mode: str = "live") -> str:
    """What the line does to this run; empty where its name says it all, or it is not whole yet."""
    try:
        typed = read(line, mode)
    except UsageError:
        return ""
    match typed.verb.name:
        case "lr":
            return _rates(typed, state)
        case "pause" if typed.number is not None:
            return _later(typed, state, "pauses")
        case "resume" if typed.number is not None:
            return _later(typed, state, "goes on and pauses")
        case "eval" if typed.text:
            return _asked(typed, state)
    return ""


def _rates(typed: Typed, state: RunState) -> str:
    assert typed.number is not None
    before, after = lr_factor_now(state), typed.number
    rates = rates_now(state)
    words = f"×{before:g} → ×{after:g}"
    if not rates:
        return f"{words}; the rates of this run are not known yet"
    shown = [
        f"{clean(name, 20)} {fmt.rate(rate)} → {fmt.rate(rate / before * after)}"
        for name, rate in list(rates.items())[:4]
    ]
    return f"{words}: " + " · ".join(shown)


def _later(typed: Typed, state: RunState, does: str) -> str:
    assert typed.number is not None
    at = fmt.count(state.updates + int(typed.number))
    pace = state.step_seconds()
    when = "" if pace is None else f", about {fmt.duration(pace * typed.number)} of training away"
    return f"{does} at about step {at}{when}"


def _asked(typed: Typed, state: RunState) -> str:
    kept = next((c for c in state.checkpoint_rows() if c.kind == "sftui" and not c.removed), None)
    if kept is None:
        return "there is no checkpoint to ask yet; `checkpoint` saves one"
    many = "as many questions as the run asked"
    if typed.number is not None:
        many = f"{fmt.count(int(typed.number))} questions"
    return f"asks the checkpoint of step {fmt.count(kept.step)} {many}, in a process of its own"
