"""Where in its file a moment of a replay is: the offset behind its last line.

The feed notes how much the recording held after each piece of the file. Between two
such marks the steps that the lines name decide; where lines name none, the share of
the events does.
"""

from __future__ import annotations

import bisect
from array import array

from sftui.logbook.step_words import STEP

PIECE_BYTES = 128 * 1024
"""Between two marks: what is read again to find a line."""


class ByteMarks:
    """Rising (stage, position) and the offset in the file by which it was read."""

    def __init__(self) -> None:
        self._places: list[tuple[int, int]] = []
        self._offsets = array("Q")

    def __len__(self) -> int:
        return len(self._offsets)

    def note(self, stage: int, position: int, offset: int) -> None:
        """`position` events of `stage` were there after `offset` bytes."""
        self._places.append((stage, position))
        self._offsets.append(offset)

    def clear(self) -> None:
        """The file began again."""
        self._places, self._offsets = [], array("Q")

    def around(self, stage: int, position: int) -> tuple[tuple[int, int, int], ...] | None:
        """The marks before and at or behind a place, each (stage, position, offset)."""
        at = bisect.bisect_left(self._places, (stage, position))
        if at == len(self._places):
            return None
        low = (0, 0, 0) if at == 0 else (*self._places[at - 1], self._offsets[at - 1])
        return low, (*self._places[at], self._offsets[at])

    def end_of(self, stage: int) -> tuple[tuple[int, int, int], ...] | None:
        """The marks between which a stage ended; None for the last stage."""
        at = bisect.bisect_left(self._places, (stage + 1, -1))
        if at == len(self._places):
            return None
        low = (0, 0, 0) if at == 0 else (*self._places[at - 1], self._offsets[at - 1])
        return low, (*self._places[at], self._offsets[at])


def end_of_step(data: bytes, step: int, *, entered: bool) -> int | None:
    """Length of the part of `data` up to the first line of a later step; None if none names one.

    `entered`: another stage ends in `data` before the one that is meant begins, so the last
    such line counts, not the first.
    """
    before = -1
    found = None
    for match in STEP.finditer(data):
        value = int(match[1])
        if before <= step < value and (before >= 0 or not entered):
            found = data.rfind(b"\n", 0, match.start()) + 1
            if not entered:
                return found
        before = value
    if before < 0:
        return None
    return len(data) if found is None or (entered and before <= step) else found


def end_of_stage(data: bytes) -> int | None:
    """Length of the part of `data` before the steps begin again; None if they do not."""
    before = -1
    for match in STEP.finditer(data):
        value = int(match[1])
        if value < before and value <= 1:
            return data.rfind(b"\n", 0, match.start()) + 1
        before = value
    return None


def end_of_share(data: bytes, share: float) -> int:
    """Length of that share of the lines of `data`."""
    lines = data.count(b"\n")
    at = 0
    for _ in range(round(share * lines)):
        at = data.find(b"\n", at) + 1
    return at
