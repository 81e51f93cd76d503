"""What was set differently in two runs: settings, and what decides a run besides them."""

from __future__ import annotations

from typing import Any

from sftui.state.run_state import RunState
from sftui.text import format as fmt

_NOT_COMPARED = frozenset({"run"})
"""Settings that name a run and do not change it."""


def differences(a: RunState, b: RunState) -> list[tuple[str, Any, Any]]:
    """(name, A's, B's) of the settings that differ; None where one side does not tell it."""
    ours, theirs = told(a), told(b)
    names = [*ours, *(name for name in theirs if name not in ours)]
    return [
        (name, ours.get(name), theirs.get(name))
        for name in names
        if name not in _NOT_COMPARED and ours.get(name) != theirs.get(name)
    ]


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
