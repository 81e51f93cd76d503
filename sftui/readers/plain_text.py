"""Read any log whose lines name a step and numbers: `step 50/30026 | loss: 1.77 | lr: 8e-07`.

The last resort for trainers nobody wrote a reader for; what their names mean is in `meanings`.
"""

from __future__ import annotations

import re
from typing import ClassVar

from sftui.readers import Sniffed
from sftui.readers.meanings import Names
from sftui.readers.printed import LONGEST, MOST_CHARACTERS, PrintedReader, is_of_numbers

_LOSS = re.compile(rb"loss", re.IGNORECASE)
_HEADING = re.compile(rb"^.{0,100}:\s*$|^(?:==|--|##|\*\*)")
"""The step may stand above the loss: `[batch=3/40]:`."""
_UNSURE, _SURER = 0.35, 0.01
"""Confidence without a line that is read, and what each line adds."""
_FEWEST, _ENOUGH, _MOST = 2, 10, 50


class PlainTextReader(PrintedReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "plain"
    words: ClassVar[str] = "plain text with steps and numbers"
    marks: ClassVar[re.Pattern[bytes]] = _LOSS
    most_sure: ClassVar[float] = 0.45
    """It leaves the file to whoever knows it better."""

    @classmethod
    def sniff(cls, head: bytes, names: Names | None = None) -> Sniffed:
        """Its lines with a loss are read until enough of them are updates or results: more would
        not make it surer."""
        reader = cls(names)
        example = ""
        good = updates = 0
        for piece in re.split(rb"[\r\n]+", head):
            raw = piece[:LONGEST]
            long = len(raw) > MOST_CHARACTERS
            if not raw or (long and not is_of_numbers(raw.decode("utf-8", "replace"))):
                continue
            if not (names or b"poch" in raw or _LOSS.search(raw) or _HEADING.search(raw)):
                continue
            before = reader._row_count + reader._num_results
            line = raw.decode("utf-8", "replace").removeprefix("\ufeff")
            reader._line(line)
            reader._out.clear()
            if reader.overturned:
                reader = reader.again()
                before = 0
                reader._line(line)
            updates += reader._row_count > 0
            if reader._row_count + reader._num_results > before:
                example = example or line.strip()[:60]
                good += 1
            if good == _MOST or (updates and good >= _ENOUGH):
                break
        if good < _FEWEST or not updates:
            return Sniffed(0.0)
        return Sniffed(
            min(cls.most_sure, _UNSURE + _SURER * good),
            f"lines with a step and a loss, {example!r}",
        )
