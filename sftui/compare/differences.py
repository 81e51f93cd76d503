"""What was set differently in two runs: settings, and what decides a run besides them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sftui.state.run_state import RunState
from sftui.text import format as fmt
from sftui.view.outlook import CHANGED
from sftui.view.view import View

BY_HAND = "by hand"
"""The name under which stands what a person did while the run went on."""
NOTHING = "nothing"
"""What stands there of a run that went on without them."""

_NOT_COMPARED = frozenset({"run"})
"""Settings that name a run and do not change it."""

_WATCHING = ("eval_", "sample_", "checkpoint_", "keep_")
_OF_NO_EFFECT = frozenset(
    {"runs_dir", "keep", "lang", "headless", "baseline", "resume", "on_event", "samples", "prompt"}
)
"""Settings, by name or by how it begins, that look at the weights and do not change them."""


def differences(a: RunState, b: RunState) -> list[tuple[str, Any, Any]]:
    """(name, A's, B's) of what was set differently; None where one side does not tell it.

    What a person did by hand comes first, what leaves the weights alone last.
    """
    ours, theirs = told(a), told(b)
    names = [*ours, *(name for name in theirs if name not in ours)]
    found = [
        (name, ours.get(name), theirs.get(name))
        for name in names
        if name not in _NOT_COMPARED and ours.get(name) != theirs.get(name)
    ]
    hands = by_hand(a) or NOTHING, by_hand(b) or NOTHING
    if hands[0] != hands[1]:
        found.insert(0, (BY_HAND, *hands))
    return sorted(found, key=lambda row: not changes_the_model(row[0]))


def told_by_both(
    a: RunState, b: RunState, settings: Sequence[tuple[str, Any, Any]]
) -> list[tuple[str, Any, Any]]:
    """Those of `differences` that both sides tell."""
    ours, theirs = told(a), told(b)
    return [s for s in settings if s[0] == BY_HAND or (s[0] in ours and s[0] in theirs)]


def collapsed(settings: Sequence[tuple[str, Any, Any]]) -> str:
    """Those that leave the weights alone in one line: `eval_every 20/50, keep 3/5`."""
    return ", ".join(
        f"{name} {value_words(ours)}/{value_words(theirs)}"
        for name, ours, theirs in settings
        if not changes_the_model(name)
    )


def changes_the_model(name: str) -> bool:
    """Whether a setting of that name has a part in the weights."""
    return name not in _OF_NO_EFFECT and not name.startswith(_WATCHING)


def changed_words(before: RunState, now: RunState) -> str:
    """What was set differently in two runs, in one line: `init_lr_frac 0.02 → 0.1, by hand: ...`.

    Settings that leave the weights alone are counted; nothing is said of better or worse.
    """
    told_of = told_by_both(before, now, differences(before, now))
    found = [row for row in told_of if changes_the_model(row[0])]
    parts = [_change(*row) for row in found]
    if others := len(told_of) - len(found):
        parts.append(f"{others} that leave{'s' * (others == 1)} the weights alone")
    if not parts:
        both = before.run is not None and now.run is not None
        return "no setting differs" if both and told(before) else "its settings are not known"
    return CHANGED + ", ".join(parts)


def _change(name: str, before: Any, now: Any) -> str:
    """`init_lr_frac 0.02 → 0.1`, `by hand: lr ×0.5 from step 20`."""
    if name != BY_HAND:
        return f"{name} {value_words(before)} → {value_words(now)}"
    # Most often a hand was laid on one of both: that it was not on the other is no news, and of a
    # line that is cut it would be the end.
    if NOTHING not in (before, now):
        return f"{name}: {before} → {now}"
    return f"{name}: {now}" if before == NOTHING else f"{name} before: {before}"


def past_words(view: View, state: RunState) -> str:
    """What was set otherwise than in the past run that is drawn; empty where none is."""
    return "" if view.past is None else changed_words(view.past.state, state)


def by_hand(state: RunState, after: float = -math.inf, until: float = math.inf) -> str:
    """What a person did that changed the weights, in words; empty when nothing.

    A pause, an evaluation and a checkpoint leave them as they are. `after` and `until`: updates
    between which it was done.
    """
    done = []
    for event in state.controls:
        if event.step is not None and not after <= event.step < until:
            continue
        if event.outcome != "applied" or event.command not in ("lr", "stop"):
            continue
        where = "" if event.step is None else f" step {fmt.count(event.step)}"
        if event.command == "stop":
            done.append(f"stopped at{where}" if where else "stopped")
        elif event.argument is not None:
            done.append(f"lr ×{event.argument:g}" + (f" from{where}" if where else ""))
    return ", ".join(done)


def told(state: RunState) -> dict[str, Any]:
    """Settings, and what decides a run besides them: its start, its ranks, its rows."""
    run = state.run
    if run is None:
        return {}
    plan = {
        "starts from": run.source,
        "ranks": run.world_size,
        "device": run.device,
        "parameters": run.num_parameters,
        "iterations": run.num_iterations,
        "rows": run.rows,
    }
    if run.settings.get("num_iterations") == run.num_iterations:
        del plan["iterations"]  # the same number under two names is one difference
    shape = ("n_layer", "n_embd", "n_head", "n_kv_head", "vocab_size", "sequence_len")
    return {
        **run.settings,
        **{name: value for name, value in plan.items() if value is not None},
        **{name: run.effective[name] for name in shape if name in run.effective},
    }


def value_words(value: Any) -> str:
    """A setting's value as text."""
    if value is None or value == "":
        return fmt.UNKNOWN
    return f"{value:g}" if isinstance(value, float) else str(value)
