"""Every number of a run as a curve: what a page of charts lists, and where it draws from.

    catalog = Catalog(state)
    for name in catalog.names():            # in the order in which a person looks for them
        entry = catalog.entry(name)
        entry.series.x, entry.series.y      # views of all points, NaN where unknown
        entry.series.columns(low, high, n)  # lowest and highest in each of n parts: a drawing

A catalog copies nothing and may be made anew for every frame. Names:

    loss, grad_norm, tokens_per_second ...  of an update (`StepFinished`)
    lr/<group>                              learning rate of an optimizer group
    loss_by_source/<source>                 training loss of one source
    val/<metric>                            validation, `loss` in nats a token or `bpb`
    val/<metric>/<set>                      the same of another set of rows
    accuracy/<task>                         fraction of right answers, with its error
    rank <n>/<number>                       of one rank, over the wall clock
    <anything else>                         a free metric under the name that the log gave it
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Literal

from sftui.state.run_state import RunState
from sftui.state.series import Series

Kind = Literal["update", "rate", "source", "validation", "accuracy", "metric", "rank"]

VALIDATION, ACCURACY, RATE, SOURCE = "val/", "accuracy/", "lr/", "loss_by_source/"
_CLOCKS = ("since_start", "epoch", "tokens", "supervised_tokens")
"""Columns of an update that x axes measure by: last in the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One curve."""

    name: str
    kind: Kind
    series: Series
    error: Series | None = None
    """Standard error of every point, over the same x; None where such a number has none."""
    over_time: bool = False
    """x is the wall clock in seconds, not the step."""


class Catalog:
    """The curves of one state; see the module."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    def names(self) -> list[str]:
        """Of all curves that have a point."""
        return [entry.name for entry in self.entries()]

    def entry(self, name: str) -> Entry:
        """The curve of that name.

        Raises:
            KeyError: there is none.
        """
        for entry in self.entries():
            if entry.name == name:
                return entry
        raise KeyError(name)

    def series(self, name: str) -> Series:
        """Points and extremes of the curve of that name; raises KeyError as `entry` does."""
        return self.entry(name).series

    @property
    def shape(self) -> Hashable:
        """Another one when `entries` would list others; cheap, also for a thousand curves."""
        state = self._state
        steps, ranks = state.steps, sorted(state.ranks.items())
        return (
            id(state),
            state.loss_name,
            tuple(name for name in steps.names if steps.written(name)),
            (len(state.validations) > 0, state.validations.metric),
            tuple((name, len(found) > 0) for name, found in state.other_validations.items()),
            tuple((task, len(found) > 0) for task, found in state.evals.items()),
            tuple(state.metrics),
            tuple(map(id, state.metrics.values())),
            tuple((n, *filter(rank.memory.written, rank.memory.names)) for n, rank in ranks),
        )

    def entries(self) -> Iterator[Entry]:
        """All of them, in order: updates, validation, accuracies, metrics, ranks, clocks."""
        state = self._state
        own = [name for name in state.steps.names if state.steps.written(name)]
        first = {state.loss_name: 0}
        own.sort(key=lambda name: first.get(name, 1))
        clocks = [name for name in own if name in _CLOCKS]
        yield from (self._of_updates(name) for name in own if name not in _CLOCKS)
        if state.validations:
            validations = state.validations
            name = VALIDATION + validations.metric
            yield Entry(name=name, kind="validation", series=validations.loss)
        for name, others in state.other_validations.items():
            if others:
                rows = name.removesuffix(others.metric).strip()
                shown = f"{VALIDATION}{others.metric}" + (f"/{rows}" if rows else "")
                yield Entry(name=shown, kind="validation", series=others.loss)
        for task, found in state.evals.items():
            if found:
                yield Entry(
                    name=ACCURACY + task, kind="accuracy", series=found.value, error=found.error
                )
        taken = {*own, *(ACCURACY + task for task in state.evals)}
        for name, table in state.metrics.items():
            shown = f"metric/{name}" if name in taken else name
            yield Entry(name=shown, kind="metric", series=table.series(name))
        yield from self._of_ranks()
        yield from (self._of_updates(name) for name in clocks)

    def _of_updates(self, name: str) -> Entry:
        kind: Kind = "update"
        if name.startswith(RATE):
            kind = "rate"
        elif name.startswith(SOURCE):
            kind = "source"
        return Entry(name=name, kind=kind, series=self._state.steps.series(name))

    def _of_ranks(self) -> Iterator[Entry]:
        for number, rank in sorted(self._state.ranks.items()):
            table = rank.memory
            for name in table.names:
                if table.written(name):
                    yield Entry(
                        name=f"rank {number}/{name}",
                        kind="rank",
                        series=table.series(name),
                        over_time=True,
                    )
