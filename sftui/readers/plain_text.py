"""Read any log whose lines name a step and numbers: `step 50/30026 | loss: 1.77 | lr: 8e-07`.

The last resort for trainers nobody wrote a reader for; what their names mean is in `meanings`.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import ClassVar

from engine.events import (
    EvalFinished,
    MetricLogged,
    StepBatch,
    StepFinished,
    ValidationFinished,
)
from sftui.readers import Sniffed
from sftui.readers.chinese import MARK
from sftui.readers.meanings import Names
from sftui.readers.printed import (
    COUNT_ALONE,
    LONGEST,
    MOST_CHARACTERS,
    PrintedReader,
    is_of_numbers,
)

_LOSS = re.compile(rb"loss|" + MARK.encode(), re.IGNORECASE)
_HEADING = re.compile(
    rb"^.{0,200}[:\]]\s*$|^(?:==|--|##|\*\*)|^" + COUNT_ALONE.encode(), re.IGNORECASE
)
"""The step may stand above the loss: `[batch=3/40]:`."""
_COUNT = re.compile(rb"step|iter|update|" + "步".encode(), re.IGNORECASE)
_SPREAD = re.compile(
    # Every line can be matched in one way only: in two, sixty lines are tried in 2^60.
    rb"\{[ \t]*+(?:\r?\n)?(?:[ \t]*+['\"][^'\"\n]{1,100}['\"]:[^\r\n{}]{1,300}\r?\n){1,60}+"
    rb"(?:[ \t]*+['\"][^'\"\n]{1,100}['\"]:[^\r\n{}]{1,300})?[ \t]*\}"
)
"""An object that is printed over several lines."""
_UNSURE, _SURER = 0.35, 0.01
"""Enough to open a file that no other reader knows, and what each line adds that is read."""
_FEWEST, _ENOUGH, _MOST = 2, 10, 50
_MOST_TRIED = 2000
"""Lines without a loss that are read for their steps: a large text without any ends there."""
_RESULTS = (EvalFinished, ValidationFinished)
_ROWS = (StepFinished, MetricLogged, StepBatch)
_FEWEST_ALIKE = 3
"""Steps of lines without a loss, each with the same numbers of training beside it."""


def _on_one_line(match: re.Match[bytes]) -> bytes:
    return re.sub(rb"\s+", b" ", match[0])


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
        places: set[int | None] = set()
        for piece in re.split(rb"[\r\n]+", _SPREAD.sub(_on_one_line, head)):
            raw = piece[:LONGEST]
            long = len(raw) > MOST_CHARACTERS
            if not raw or (long and not is_of_numbers(raw.decode("utf-8", "replace"))):
                continue
            if not (names or b"poch" in raw or _LOSS.search(raw) or _HEADING.search(raw)):
                continue
            before = reader._row_count + reader._num_results
            line = raw.decode("utf-8", "replace").removeprefix("\ufeff")
            reader._line(line)
            places |= {each.step for each in reader._out if isinstance(each, _RESULTS)}
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
        if not updates and len(places) >= _FEWEST_ALIKE:
            return Sniffed(_UNSURE, f"lines of results, step after step, {example!r}")
        if good < _FEWEST or not updates:
            return cls._sniff_metrics(head, names)
        return Sniffed(
            min(cls.most_sure, _UNSURE + _SURER * good),
            f"lines with a step and a loss, {example!r}",
        )

    @classmethod
    def _sniff_metrics(cls, head: bytes, names: Names | None) -> Sniffed:
        """A log of rewards or scores without a loss: lines alike, of one step after the other."""
        reader = cls(names)
        steps: Counter[tuple[str, ...]] = Counter()
        last, tried = -1, 0
        for raw in re.split(rb"[\r\n]+", head):
            if len(raw) > MOST_CHARACTERS or not _COUNT.search(raw):
                continue
            tried += 1
            if tried > _MOST_TRIED:
                break
            line = raw.decode("utf-8", "replace").removeprefix("\ufeff")
            reader._line(line)
            rows = [row for row in reader._drain() if isinstance(row, _ROWS)]
            if not rows or (rows[-1].step or 0) <= last:
                continue
            last = rows[-1].step or 0
            shape = tuple(re.findall(r"[^\W\d]+", line))
            steps[shape] += 1
            if steps[shape] == _FEWEST_ALIKE:
                return Sniffed(_UNSURE, f"lines with a step and no loss, {line.strip()[:60]!r}")
        return Sniffed(0.0)
