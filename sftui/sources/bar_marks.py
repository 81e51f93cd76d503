"""The marks of a stage as a replay's bar shows them: at most one of a kind in each fine place.

A run may have a hundred thousand evaluations, and a bar has a few hundred cells. The places of all
marks are kept in arrays that grow with the file, so that a look at the bar of a file that grows
costs as much as it has places, not as much as it has marks.
"""

from __future__ import annotations

from array import array

import numpy as np

from sftui.sources.recording import Timeline
from sftui.view.replay_status import ReplayMark, part_of

PLACES = 1024
"""Along the bar: more than a terminal has cells."""


class BarMarks:
    """Marks of one timeline after the other."""

    def __init__(self) -> None:
        self._forget(None)

    def _forget(self, timeline: Timeline | None) -> None:
        self._timeline = timeline
        self._seconds, self._positions = array("d"), array("q")
        self._kinds: list[str] = []
        """By the number that stands for each."""
        self._numbers = array("q")
        self._key: tuple[int, float, int] = (0, 0.0, 0)
        self._shown: tuple[ReplayMark, ...] = ()

    def of(self, timeline: Timeline) -> tuple[ReplayMark, ...]:
        """In order; the same object while none of them has moved by a place."""
        marks, length, total = timeline.marks, len(timeline), timeline.seconds
        if timeline is not self._timeline or len(marks) < len(self._numbers):
            self._forget(timeline)
        is_news = self._take(timeline)
        if is_news or self._moved(length, total):
            self._key = (length, total, len(marks))
            self._shown = self._make(timeline)
        return self._shown

    def _take(self, timeline: Timeline) -> bool:
        """Keep the places of new marks; whether there is a kind among them that was not there."""
        kinds = len(self._kinds)
        for mark in timeline.marks[len(self._numbers) :]:
            if mark.kind not in self._kinds:
                self._kinds.append(mark.kind)
            self._seconds.append(mark.seconds)
            self._positions.append(mark.position)
            self._numbers.append(self._kinds.index(mark.kind))
        return len(self._kinds) > kinds

    def _moved(self, length: int, total: float) -> bool:
        """Whether the stage has grown by a place since the marks were made, or one of few came."""
        before, seconds, count = self._key
        grown = (length - before) * PLACES >= max(1, length)
        grown = grown or (total - seconds) * PLACES >= total > 0
        return grown or count < len(self._numbers) < PLACES

    def _make(self, timeline: Timeline) -> tuple[ReplayMark, ...]:
        length, total = len(timeline), timeline.seconds
        positions = np.asarray(self._positions)
        if not len(positions):
            return ()
        parts = np.asarray(self._seconds) / total if total > 0 else positions / max(1, length)
        parts = np.where(positions >= length, 1.0, np.clip(parts, 0.0, 1.0))
        places = np.rint(parts * (PLACES - 1)).astype(np.int64)
        alike = np.asarray(self._numbers) * PLACES + places
        _, first = np.unique(alike, return_index=True)
        marks = timeline.marks
        return tuple(
            ReplayMark(part_of(mark.seconds, total, mark.position, length), mark.kind)
            for mark in (marks[i] for i in np.sort(first).tolist())
        )
