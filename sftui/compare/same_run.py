"""What lies between two checkpoints of one run: how much was trained, and how."""

from __future__ import annotations

from sftui.compare.differences import by_hand
from sftui.drawing.x_axis import FORMS
from sftui.state.run_state import RunState
from sftui.text import format as fmt
from sftui.view.view import View


def between_words(state: RunState, view: View, step: int, other: int) -> list[str]:
    """Updates, what a person did, the rate, epochs and tokens, a few words each; nothing between a
    checkpoint and itself."""
    if step == other:
        return []
    low, high = sorted((step, other))
    parts = [fmt.counted(high - low, "update")]
    if hand := by_hand(state, low, high):
        parts.append(f"by hand: {hand}")
    rates = [_at_step(state, "lr_mult", at) for at in (low, high)]
    if rates[0] is not None and rates[1] is not None:
        parts.append(f"rate ×{rates[0]:.3g} → ×{rates[1]:.3g}")
    for axis in ("epoch", "tokens"):
        scale = view.x_scale(state, axis)
        if scale is not None:
            # Before the first update there is nothing, whatever the scale says there.
            ends = [FORMS[axis](max(0.0, scale.to(at)) if at else 0.0) for at in (low, high)]
            parts.append(f"{axis} {ends[0]} → {ends[1]}")
    return parts


def _at_step(state: RunState, name: str, step: int) -> float | None:
    """Of the last update that is in those weights, or of the first one to come."""
    row = state.steps.at(step - 1) or state.steps.at(step)
    return None if row is None else row.get(name)
