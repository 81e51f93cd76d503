"""Several runs on one pair of axes: who they are, which one is pinned, what is hidden.

A run keeps its letter, its mark and its colour whatever is hidden or pinned. The pinned
one is drawn with its raw losses, and the others are compared with it. Nothing here reads
a file (`overlay_feed` does) or draws.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.run.run_dir import RunDir
from sftui.compare.pairing import LETTERS, Comparison, of_all
from sftui.drawing.roles import Role
from sftui.state.means import Line, Means, line
from sftui.state.run_state import RunState
from sftui.state.series import Series
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
    _means: Means | None = None

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
        return self.state.step_series(self.state.loss_name)

    def line(self, share: float, x_low: float = -math.inf, x_high: float = math.inf) -> Line:
        """The line of the training loss for what is in sight; by default of the whole run."""
        raw = self.raw
        if self._means is None or self._means.source is not raw:
            self._means = Means(raw)
        return line(self._means, share, x_low, x_high)


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

    def last_step(self) -> float:
        """The newest update of all runs that are shown."""
        return max((float(c.raw.x[-1]) for c in self.shown if len(c.raw)), default=0.0)

    # ---- keys ------------------------------------------------------------------------------

    def choose(self, by: int) -> None:
        self.chosen = (self.chosen + by) % len(self.contenders)
        self.scrolled = 0

    def pin(self) -> None:
        """Pin the chosen run; the one that was pinned becomes the chosen one."""
        if self.chosen != self.pinned:
            self.pinned, self.chosen = self.chosen, self.pinned
            self.reference.hidden = False
            self.scrolled = 0

    def toggle(self) -> str:
        """Hide or show the chosen run; returns why not, or an empty text."""
        contender = self.contenders[self.chosen]
        if not contender.hidden and len(self.shown) == 1:
            return "The last one stays: there would be no curve."
        contender.hidden = not contender.hidden
        return ""

    def show_all(self) -> None:
        for contender in self.contenders:
            contender.hidden = False
