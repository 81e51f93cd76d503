"""Read any log whose lines name a step and numbers: `step 50/30026 | loss: 1.77 | lr: 8e-07`.

The last resort, so it asks for little and guesses nothing: a line counts when it has
a step (or iteration) and at least one `name: value`, `name=value` or `name value` with
a telling name (a loss, an accuracy, a norm, ...).
Numbers without a step belong to no update and are left out.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import ClassVar

from sftui.readers import Sniffed
from sftui.readers.text import NUMBER, TextReader

_STEP = re.compile(
    r"(?<![\w.])(?:global[_ ]?step|step|iteration|iter|it|update)s?\s{0,3}[:=#\[]?\s{0,6}"
    r"(\d{1,12})(?:\s?(?:/|of)\s?(\d{1,12}))?(?![\w.%])",
    re.IGNORECASE,
)
_PAIR = re.compile(
    rf"(?<![\w./])([A-Za-z][\w/.@-]{{0,40}}(?: (?:loss|acc|norm|rate|accuracy))?)"
    rf"(?:\s?[:=]\s{{0,6}}|\s)({NUMBER})(?![\w])(%?)"
)
_TIME = re.compile(r"\[?(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:[.,](\d{1,6}))?")
_NOT_NUMBERS = frozenset({"step", "steps", "iter", "iteration", "it", "epoch_time", "update"})
_TELLING = re.compile(r"loss|acc|reward|ppl|perplexity|bpb|error|norm|(?:\b|_)lr", re.IGNORECASE)
"""A line is about training when a number of it is called so; "4 of 9 shards at step 0" is not."""
_MARK = re.compile(rb"\b[Ll]oss\b[ :=]")


class PlainTextReader(TextReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "plain"
    words: ClassVar[str] = "plain text with steps and numbers"
    marks: ClassVar[re.Pattern[bytes]] = _MARK
    most_sure: ClassVar[float] = 0.45
    """It leaves the file to whoever knows it better."""

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        good = 0
        example = ""
        for raw in re.split(rb"[\r\n]+", head):
            if len(raw) < 1000 and _MARK.search(raw):
                line = raw.decode("utf-8", "replace")
                step = _STEP.search(line)
                if step and _pairs(line[step.end() :]):
                    good += 1
                    example = example or line.strip()[:60]
                    if good == 50:
                        break
        if good < 3:
            return Sniffed(0.0)
        return Sniffed(
            min(cls.most_sure, 0.35 + 0.01 * good), f"lines with a step and a loss, {example!r}"
        )

    def _line(self, line: str) -> bool:
        if len(line) > 4000:
            return False
        step = _STEP.search(line)
        if step is None:
            return False
        numbers = _pairs(line[: step.start()]) | _pairs(line[step.end() :])
        if not any(_TELLING.search(name) for name in numbers):
            return False
        t = _time(line)
        total = int(step[2]) if step[2] else None
        self._numbers(int(step[1]), _in_seconds(numbers), total=total, t=t)
        return True


def _pairs(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value, percent in _PAIR.findall(text):
        if name.lower() not in _NOT_NUMBERS:
            found.setdefault(name, float(value) / (100 if percent else 1))
    return found


def _in_seconds(numbers: dict[str, float]) -> dict[str, float]:
    """A step's duration under its usual names, in seconds."""
    for name, unit in (("dt_ms", 1e-3), ("step_ms", 1e-3), ("step_time", 1.0), ("dt", 1.0)):
        if name in numbers:
            numbers["seconds"] = numbers.pop(name) * unit
            break
    return numbers


def _time(line: str) -> float | None:
    match = _TIME.match(line)
    if match is None:
        return None
    try:
        # Read as this machine's zone, so that it is shown again as printed.
        moment = datetime.fromisoformat(match[1].replace("T", " ")).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return moment + float(f"0.{match[2] or 0}")
