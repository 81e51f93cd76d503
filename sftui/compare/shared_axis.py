"""What x measures over several runs: one measure that all of them tell, each by its own scale.

Runs of other lengths and batches meet at equal tokens, time or share; what is drawn of them
and read at one place is then of different updates. Verdicts do not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sftui.drawing.x_axis import FORMS, WORDS, ShareScale, XScale, measures
from sftui.state.run_state import RunState
from sftui.state.series import Table

AXES = ("step", "tokens", "time", "share")
"""In the order of the key."""
AxisName = Literal["step", "tokens", "time", "share"]
Runs = Sequence[tuple[str, RunState]]
"""Letter and state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAxis:
    """An x axis of several runs."""

    name: str = "step"
    words: str = WORDS["step"]
    """What is measured, for a user."""
    scales: Mapping[str, XScale | None]
    """By the letter of the run; None for steps."""

    @property
    def label(self) -> str:
        """What stands at the axis of a picture."""
        return {"step": "step", "share": f"{self.words}, %"}.get(self.name, self.words)

    def to(self, letter: str, step: float) -> float:
        """Where a place of a run, in its updates, stands on the axis."""
        scale = self.scales[letter]
        return step if scale is None else scale.to(step)

    def back(self, letter: str, place: float) -> float:
        """The updates of a run at a place of the axis."""
        scale = self.scales[letter]
        return place if scale is None else scale.back(place)

    def form(self, place: float) -> str:
        """A place of the axis in words."""
        return FORMS[self.name](place)


class SharedAxes:
    """The axes of some runs; their scales are kept and follow the runs as they go on."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str, str], tuple[Table, XScale]] = {}

    def get(self, name: str, runs: Runs) -> tuple[SharedAxis, str]:
        """That axis, or steps and the reason why these runs do not have it."""
        steps = SharedAxis(scales=dict.fromkeys((letter for letter, _ in runs), None))
        if name == "step" or not runs:
            return steps, ""
        if name == "share":
            return self._share(runs, steps)
        told: dict[str, set[str]] = {letter: set() for letter, _ in runs}
        for measure in measures(name):
            scales = {letter: self._scale(name, measure, letter, state) for letter, state in runs}
            if all(scale.known for scale in scales.values()):
                words = measure or WORDS[name]
                return SharedAxis(name=name, words=words, scales=scales), ""
            for letter, scale in scales.items():
                if scale.known:
                    told[letter].add(measure or WORDS[name])
        return steps, _reason(name, told)

    def others(self, name: str, runs: Runs) -> Iterator[tuple[str, str]]:
        """The axes after that one in the order of the key, itself last, each with the reason why
        it cannot be had, or an empty text."""
        at = AXES.index(name)
        for each in (*AXES[at + 1 :], *AXES[: at + 1]):
            yield each, self.get(each, runs)[1]

    def _scale(self, name: str, measure: str, letter: str, state: RunState) -> XScale:
        found = self._made.get((name, measure, letter))
        if found is None or found[0] is not state.steps:
            found = state.steps, XScale(name, state.steps, measure=measure)
            self._made[name, measure, letter] = found
        return found[1]

    def _share(self, runs: Runs, steps: SharedAxis) -> tuple[SharedAxis, str]:
        planned = all(state.planned for _, state in runs)
        words = "share of the plan" if planned else WORDS["share"]
        scales = {}
        for letter, state in runs:
            updates = state.planned or state.done
            if not updates:
                return steps, f"{letter} has done no updates: no share of it is known."
            scales[letter] = ShareScale(updates, words)
        return SharedAxis(name="share", words=words, scales=scales), ""


def _reason(name: str, told: Mapping[str, set[str]]) -> str:
    """`B and C name no tokens.`; where each names some, that they are not the same."""
    without = [letter for letter, found in told.items() if not found]
    if without:
        listed = without[0]
        if len(without) > 1:
            listed = ", ".join(without[:-1]) + f" and {without[-1]}"
        return f"{listed} {'name' if len(without) > 1 else 'names'} no {WORDS[name]}."
    listed = ", ".join(f"{letter} {' or '.join(sorted(found))}" for letter, found in told.items())
    return f"No {WORDS[name]} that all count alike: {listed}."
