"""The marks of a stage as a replay's bar shows them: at most one of a kind in each fine place.

A run may have a hundred thousand evaluations, and a bar has a few hundred cells. So a look at the
bar of a file that grows costs as much as it has places, not as much as it has marks.
"""

from __future__ import annotations

import numpy as np

from sftui.sources.marks import KINDS
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
        self._kinds: set[int] = set()
        """Numbers of those that were seen among the first `_seen` marks."""
        self._seen = 0
        self._key: tuple[int, float, int] = (0, 0.0, 0)
        self._shown: tuple[ReplayMark, ...] = ()

    def of(self, timeline: Timeline) -> tuple[ReplayMark, ...]:
        """In order; the same object while none of them has moved by a place."""
        length, total = len(timeline), timeline.seconds
        if timeline is not self._timeline:
            self._forget(timeline)
        is_news = self._look(timeline)
        if is_news or self._moved(length, total):
            self._key = (length, total, self._seen)
            self._shown = self._make(timeline)
        return self._shown

    def _look(self, timeline: Timeline) -> bool:
        """Look at new marks; whether there is a kind among them that was not there."""
        kinds = len(self._kinds)
        self._kinds.update(timeline.marks.kinds[self._seen :].tolist())
        self._seen = len(timeline.marks)
        return len(self._kinds) > kinds

    def _moved(self, length: int, total: float) -> bool:
        """Whether the stage has grown by a place since the marks were made, or one of few came."""
        before, seconds, count = self._key
        grown = (length - before) * PLACES >= max(1, length)
        grown = grown or (total - seconds) * PLACES >= total > 0
        return grown or count < self._seen < PLACES

    def _make(self, timeline: Timeline) -> tuple[ReplayMark, ...]:
        marks, length, total = timeline.marks, len(timeline), timeline.seconds
        if not len(marks):
            return ()
        parts = marks.seconds / total if total > 0 else marks.positions / max(1, length)
        parts = np.where(marks.positions >= length, 1.0, np.clip(parts, 0.0, 1.0))
        places = np.rint(parts * (PLACES - 1)).astype(np.int64)
        alike = marks.kinds.astype(np.int64) * PLACES + places
        first = np.sort(np.unique(alike, return_index=True)[1])
        seconds, positions = marks.seconds[first].tolist(), marks.positions[first].tolist()
        kinds = marks.kinds[first].tolist()
        return tuple(
            ReplayMark(part_of(at, total, position, length), KINDS[kind])
            for at, position, kind in zip(seconds, positions, kinds, strict=True)
        )
