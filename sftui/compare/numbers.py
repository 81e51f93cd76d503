"""The numbers that the chart of `sftui compare` can show of every run, the training loss first.

A number is called as the catalog calls it; what was measured on other data under the same name
(`rewards/chosen`, `eval_rewards/chosen`) is marked beside it, as validations are on the loss.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import UsageError
from sftui.state.catalog import VALIDATION, Catalog, Entry
from sftui.state.run_state import RunState
from sftui.state.series import Series, Table
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.chart_panels import place_of, split_of, title_of, unit_of

LOSS = "loss"
"""The training loss, by whatever name a log has it."""
_CLOCKS = place_of("epoch", "epoch")[0]
_LISTED = 12


@dataclass(frozen=True, slots=True)
class Number:
    """One number of one run."""

    series: Series
    """What is joined to a curve."""
    marks: Series | None = None
    """What is marked point by point: the same on data not trained on, or the points of a few
    measurements."""


def number_of(state: RunState, name: str) -> Number:
    """Of a run; without a point where it has none."""
    entries = {entry.name: entry for entry in Catalog(state).entries() if not entry.over_time}
    entry = entries.get(name)
    if entry is None:
        return Number(Table().series(name))
    if entry.kind in ("accuracy", "validation"):
        return Number(entry.series, entry.series)
    base, split = split_of(name)
    beside = None if split in ("val", "test") else _measured(base, entries)
    return Number(entry.series, beside.series if beside is not None else None)


def names_of(states: Sequence[RunState]) -> list[str]:
    """Those that any of the runs has: the loss, then what is judged by, then all else."""
    found: dict[str, None] = {}
    for state in states:
        entries = {e.name: e for e in Catalog(state).entries() if not e.over_time}
        bases = {split_of(name)[0] for name in entries if split_of(name)[1] not in ("val", "test")}
        drawn_with_loss = {state.loss_name, VALIDATION + state.validations.metric}
        for name in entries:
            base, split = split_of(name)
            beside = split in ("val", "test") and base in bases
            if name not in drawn_with_loss and not beside and place_of(name, name)[0] != _CLOCKS:
                found[name] = None
    return [LOSS, *sorted(found.keys() - {LOSS}, key=lambda name: (place_of(name, name), name))]


def find(wanted: str, states: Sequence[RunState]) -> str:
    """The number meant by what was typed: its name, its title, or a task.

    Raises:
        UsageError: none of the runs has it.
    """
    names = names_of(states)
    if wanted in names:
        return wanted
    for name in names:
        if wanted.casefold() in (name.casefold(), title_of(name).casefold()):
            return name
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    shown, left = near or names[:_LISTED], 0 if near else max(0, len(names) - _LISTED)
    listed = ", ".join(clean(name, 60) for name in shown) + (f" and {left} more" if left else "")
    words = "Perhaps" if near else "There are"
    raise UsageError(
        f"--metric {clean(wanted, 80)}: none of these runs has that number. {words}: {listed}."
    )


def number_words(name: str, value: float | None) -> str:
    """A value of that number as it is written."""
    return fmt.loss(value) if name == LOSS else unit_of(name).write(value)


def _measured(base: str, entries: dict[str, Entry]) -> Entry | None:
    """What was measured under that name on data not trained on."""
    for name, entry in entries.items():
        if split_of(name) in ((base, "val"), (base, "test")):
            return entry
    return None
