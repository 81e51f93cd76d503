"""When one letter for nearly every answer is an alarm, and when it is what a run begins with.

A model that does not know letter questions yet answers one letter, so its accuracy says
nothing; that is where it starts, not what went wrong. Falling into it is a fault at
once; not leaving it is one when half of the run is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SHARE = 0.70
"""More of the answers than this on one letter, and the accuracy is that letter's share."""

MIN_ANSWERS = 20
"""Fewer prove nothing."""

MOST_TASKS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapse:
    """A task whose answers are mostly one letter."""

    task: str
    letter: str
    share: float


class CollapseRule:
    """One letter has most answers of a task.

    Without a start of that kind one evaluation is enough. With it, two in a row are needed
    and half of the updates: in 21 starter runs, whose start answers A to 81 to 96 %, the plain
    rule was right about 21 and of use in none; this one speaks in 3.
    """

    def __init__(self) -> None:
        self.num_updates: int | None = None
        """Planned; None: any evaluation after the start counts as late."""
        self._from_start: set[str] = set()
        self._late: dict[str, int] = {}
        self._collapsed: set[str] = set()

    @property
    def any(self) -> bool:
        """Whether any task is collapsed now and has raised an alarm."""
        return bool(self._collapsed)

    def add(self, task: str, step: int | None, letters: Mapping[str, int]) -> Collapse | None:
        """Take in one evaluation; returns the collapse to raise an alarm for, else None."""
        answers = sum(letters.values())
        if answers < MIN_ANSWERS:
            return None
        letter = max(letters, key=letters.__getitem__)
        share = letters[letter] / answers
        if share <= SHARE:
            self._collapsed.discard(task)
            self._late.pop(task, None)
            if step == 0:
                self._from_start.discard(task)
            return None
        if step == 0:
            if len(self._from_start) < MOST_TASKS:
                self._from_start.add(task)
            return None
        if task in self._from_start and not self._stayed(task, step):
            return None
        if len(self._collapsed) < MOST_TASKS:
            self._collapsed.add(task)
        return Collapse(task=task, letter=letter, share=share)

    def _stayed(self, task: str, step: int | None) -> bool:
        """Whether this is the second such evaluation in a row of the second half."""
        now = step or 0
        if self.num_updates is not None and 2 * now < self.num_updates:
            return False
        return self._late.setdefault(task, now) < now
