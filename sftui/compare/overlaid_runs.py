"""Several runs on one pair of axes: who they are, which one is pinned, what is hidden.

A run keeps its letter, its mark and its colour whatever is hidden or pinned. The pinned
one is drawn with its raw losses, and the others are compared with it. Nothing here reads
a file (`overlay_feed` does) or draws.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.run.run_dir import RunDir
from sftui.compare.numbers import LOSS, Number, names_of, number_of
from sftui.compare.pairing import LETTERS, Comparison, of_all
from sftui.compare.shared_axis import SharedAxes, SharedAxis
from sftui.drawing.roles import Role
from sftui.state.means import Line, Means, line
from sftui.state.run_state import RunState
from sftui.state.series import Series
from sftui.view.chart_panels import title_of
from sftui.view.view import View

if TYPE_CHECKING:
    from sftui.sources.snapshot import RunStatus

ROLES = (
    Role.TRAIN,
    Role.VAL,
    Role.SAVED,
    Role.SECOND,
    Role.WARN,
    Role.BAD,
    Role.GOOD,
    Role.THIRD,
)
"""By place on the command line; the ninth run has the colour of the first, not its letter."""
MARKS = "●■▲◆▼○□△◇"
"""Validations, by the same places; one more than colours, so that no pair comes twice."""


@dataclass(slots=True, kw_only=True, eq=False)
class Contender:
    """One run or log, as far as it was read: a `Side` of a comparison."""

    place: int
    """Its place on the command line, from 0."""
    title: str
    path: Path
    run: RunDir | None = None
    format: str = ""
    stage: str = ""
    status: RunStatus | Literal["reading"] = "reading"
    state: RunState = field(default_factory=RunState)
    hidden: bool = False
    loading: bool = True
    """Its file has not been read to the end yet."""
    follow: bool = False
    """Its file is still being written."""
    number: str = LOSS
    """What the chart shows of it, as `numbers` calls it."""
    changes: int = 0
    """How often events were applied to it: what is looked up in its state holds until then."""
    _found: tuple[Hashable, Number] | None = None
    _means: dict[str, Means] = field(default_factory=dict)

    @property
    def letter(self) -> str:
        return LETTERS[self.place]

    @property
    def role(self) -> Role:
        return ROLES[self.place % len(ROLES)]

    @property
    def mark(self) -> str:
        """The character that marks its validations."""
        return MARKS[self.place % len(MARKS)]

    @property
    def moving(self) -> bool:
        """Whether more events can come."""
        return self.loading or (self.follow and not self.state.ended)

    @property
    def raw(self) -> Series:
        """What the chart shows of it: the training loss, or another number."""
        if self.number == LOSS:
            return self.state.step_series(self.state.loss_name)
        return self._other().series

    @property
    def marked(self) -> Series | None:
        """What is marked beside another number than the loss."""
        return None if self.number == LOSS else self._other().marks

    def line(self, share: float, x_low: float = -math.inf, x_high: float = math.inf) -> Line:
        """The line of `raw` for what is in sight; by default of the whole run."""
        return self._line_of(self.number, self.raw, share, x_low, x_high)

    def last_loss(self, share: float) -> float | None:
        """The height of the training loss's line at its end, whatever the chart shows."""
        loss = self.state.step_series(self.state.loss_name)
        return self._line_of(LOSS, loss, share, -math.inf, math.inf).last

    def _line_of(
        self, name: str, series: Series, share: float, x_low: float, x_high: float
    ) -> Line:
        means = self._means.get(name)
        if means is None or means.source is not series:
            means = self._means[name] = Means(series)
        return line(means, share, x_low, x_high)

    def _other(self) -> Number:
        key = (self.number, id(self.state), self.changes)
        if self._found is None or self._found[0] != key:
            self._found = key, number_of(self.state, self.number)
        return self._found[1]


class Overlay:
    """The runs of `sftui compare`, and the state of its screen: pinned, chosen, scrolled."""

    def __init__(self, contenders: Sequence[Contender]) -> None:
        """`contenders`: at least two, in the order of the command line."""
        self.contenders = list(contenders)
        self.view = View(now=time.time, screen="compare")
        self.pinned = 0
        self.chosen = 1
        """Index of the run that is compared with the pinned one."""
        self.scrolled = 0
        """Lines of the comparison that are scrolled out of sight above."""
        self.axis_name = "step"
        """What x is to measure, one of `shared_axis.AXES`."""
        self._axes = SharedAxes()
        self._found: tuple[str, dict[str, Comparison]] | None = None

    @property
    def reference(self) -> Contender:
        """The pinned run, which the others are compared with."""
        return self.contenders[self.pinned]

    @property
    def other(self) -> Contender:
        """The run compared with the pinned one: the chosen one, else the next."""
        place = self.chosen
        if place == self.pinned:
            place = (place + 1) % len(self.contenders)
        return self.contenders[place]

    @property
    def shown(self) -> list[Contender]:
        """The runs that are not hidden, in the order of the command line."""
        return [c for c in self.contenders if not c.hidden]

    @property
    def loading(self) -> bool:
        return any(c.loading for c in self.contenders)

    @property
    def moving(self) -> bool:
        return any(c.moving for c in self.contenders)

    def comparison(self) -> Comparison | None:
        """The other against the pinned one; None until both are read."""
        a, b = self.reference, self.other
        if a.loading or b.loading:
            return None
        if self._found is None or self._found[0] != a.letter:
            # Item results are read from disk: once for a pinned run, and when there are newer
            # ones. All that are there are one family, whichever of them is looked at.
            others = [c for c in self.contenders if c is not a and not c.loading]
            found = of_all([(a.letter, a), *((c.letter, c) for c in others)])
            self._found = a.letter, {each.letters[1]: each for each in found}
        return self._found[1].get(b.letter)

    def forget_comparison(self) -> None:
        """Make the next `comparison` read the results again."""
        self._found = None

    # ---- what x measures -------------------------------------------------------------------

    @property
    def drawn(self) -> list[Contender]:
        """The runs in sight, in the order of the command line."""
        return [c for c in self.shown if len(c.raw)]

    @property
    def base(self) -> Contender:
        """The run in whose updates the view counts its places: the pinned one, where it is in
        sight."""
        drawn = self.drawn
        return drawn[0] if drawn and self.reference not in drawn else self.reference

    def axis(self) -> tuple[SharedAxis, str]:
        """What x measures, and why it is not what was asked for; empty where it is."""
        base, runs = self.base, self._runs()
        if base not in self.drawn:
            return SharedAxis(scales={base.letter: None}), ""
        return self._axes.get(self.axis_name, runs)

    def last_place(self) -> float:
        """The newest update in sight, in updates of `base`."""
        axis, _ = self.axis()
        ends = [axis.to(c.letter, float(c.raw.x[-1])) for c in self.drawn]
        return axis.back(self.base.letter, max(ends)) if ends else 0.0

    def next_axis(self) -> str:
        """Take the next axis that all runs in sight have; returns why others were left out."""
        reasons = []
        for name, reason in self._axes.others(self.axis_name, self._runs()):
            if not reason:
                self.axis_name = name
                break
            reasons.append(reason)
        return " ".join(reasons)

    # ---- what y shows ----------------------------------------------------------------------

    @property
    def number(self) -> str:
        """What the chart shows of every run, as `numbers` calls it."""
        return self.contenders[0].number

    def show_number(self, name: str) -> None:
        """Show another one; what is in sight along x stays."""
        self.view.viewport.drop_height()
        self._keeping_places(lambda: self._show_number(name))

    def next_number(self, by: int) -> str:
        """The next that a run in sight has; returns its name and place among all."""
        names = names_of([c.state for c in self.shown])
        at = names.index(self.number) if self.number in names else 0
        at = (at + by) % len(names)
        self.show_number(names[at])
        return f"{title_of(names[at])}: {at + 1} of {len(names)}"

    def _show_number(self, name: str) -> None:
        for contender in self.contenders:
            contender.number = name

    def _runs(self) -> list[tuple[str, RunState]]:
        return [(c.letter, c.state) for c in self.drawn]

    def _keeping_places(self, act: Callable[[], object]) -> None:
        """Do what may change `base`, and leave the part in sight and the crosshair where they
        are on the axis."""
        before, old = self.base, self.axis()[0]
        act()
        after, new = self.base, self.axis()[0]
        if after is before or new.name != old.name or new.name == "step":
            return
        self.view.viewport.carry(lambda at: new.back(after.letter, old.to(before.letter, at)))

    # ---- keys ------------------------------------------------------------------------------

    def choose(self, by: int) -> None:
        self.chosen = (self.chosen + by) % len(self.contenders)
        self.scrolled = 0

    def pin(self) -> None:
        """Pin the chosen run; the one that was pinned becomes the chosen one."""
        if self.chosen != self.pinned:
            self._keeping_places(self._pin)

    def toggle(self) -> str:
        """Hide or show the chosen run; returns why not, or an empty text."""
        contender = self.contenders[self.chosen]
        if not contender.hidden and len(self.shown) == 1:
            return "The last one stays: there would be no curve."
        self._keeping_places(lambda: self._hide([contender], not contender.hidden))
        return ""

    def show_all(self) -> None:
        self._keeping_places(lambda: self._hide(self.contenders, False))

    def _pin(self) -> None:
        self.pinned, self.chosen = self.chosen, self.pinned
        self.reference.hidden = False
        self.scrolled = 0

    def _hide(self, contenders: Sequence[Contender], hidden: bool) -> None:
        for contender in contenders:
            contender.hidden = hidden
