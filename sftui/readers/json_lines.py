"""Read one JSON object a line: LLaMA-Factory's `trainer_log.jsonl`, and any with a step.

LLaMA-Factory calls the step `current_steps` and gives times as words ("0:24:10").
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from sftui.readers import Sniffed
from sftui.readers.text import TextReader

_STEP_NAMES = ("current_steps", "step", "global_step", "_step", "iteration", "iter", "steps")
_TOTAL_NAMES = ("total_steps", "max_steps", "num_iterations")
_TIME_NAMES = ("_timestamp", "timestamp", "time", "wall_time")
_LEFT_OUT = frozenset({"percentage", "total_tokens", "throughput", "_runtime"})


class JsonLinesReader(TextReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "jsonl"
    words: ClassVar[str] = "JSON lines"
    marks: ClassVar[re.Pattern[bytes]] = re.compile(
        rb'^\{[^\n]*"(?:current_steps|step|global_step|_step|iteration|iter)": ?\d+[,}]',
        re.MULTILINE,
    )

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        sniffed = super().sniff(head)
        lines = max(1, head.count(b"\n"))
        share = len(cls.marks.findall(head)) / lines
        return Sniffed(sniffed.confidence if share > 0.5 else 0.0, sniffed.why)

    def __init__(self) -> None:
        super().__init__()
        self._factory = False
        self._elapsed: float | None = None

    @property
    def format(self) -> str:
        return "LLaMA-Factory trainer_log.jsonl" if self._factory else self.words

    def _line(self, line: str) -> bool:
        if line[:1] != "{":
            return False
        try:
            raw = json.loads(line)
        except (ValueError, RecursionError):
            return False
        step = _first_int(raw, _STEP_NAMES)
        if step is None:
            return False
        self._factory = self._factory or "current_steps" in raw
        total = _first_int(raw, _TOTAL_NAMES)
        t = next((raw[n] for n in _TIME_NAMES if type(raw.get(n)) is float), None)
        numbers = _numbers(raw)
        if isinstance(raw.get("elapsed_time"), str):
            self._elapsed = _seconds(raw["elapsed_time"])
        if "loss" not in numbers and "current_steps" in raw:
            # LLaMA-Factory's own last line; evaluations have an eval_loss.
            numbers.pop("epoch", None)
            if not numbers:
                self._enter(step, total)
                if total is not None and step >= total - 1:
                    self._finish(self._elapsed)
                return True
        if numbers:
            self._numbers(step, numbers, total=total, t=t)
        return bool(numbers)


def _numbers(raw: dict[str, Any]) -> dict[str, float]:
    """The numbers of an object, nested ones under `outer/inner`."""
    found: dict[str, float] = {}
    for name, value in list(raw.items())[:500]:
        if name in _STEP_NAMES or name in _TOTAL_NAMES or name in _TIME_NAMES or name in _LEFT_OUT:
            continue
        if isinstance(value, dict):
            for inner, number in list(value.items())[:100]:
                if type(number) in (int, float):
                    found[f"{name}/{inner}"] = _float(number)
        elif type(value) in (int, float):
            found[name] = _float(value)
    return found


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer of more than 308 digits
        return float("inf")


def _first_int(raw: dict[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = raw.get(name)
        if type(value) is int and 0 <= value < 10**12:
            return value
    return None


def _seconds(words: str) -> float | None:
    """Of `1 day, 0:08:23` or `5:39:46`."""
    match = re.fullmatch(r"(?:(\d{1,6}) days?, )?(\d{1,4}):(\d\d):(\d\d)", words)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 86400.0 * days + 3600 * hours + 60 * minutes + seconds
