"""Read `trainer_state.json`, the state that Hugging Face's Trainer keeps beside a checkpoint.

One JSON object, so nothing can be said before its end: it is gathered, then read.
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from engine.events import Event
from sftui.readers import Sniffed
from sftui.readers.text import TextReader

MAX_BYTES = 256 * 1024 * 1024
"""More is no trainer state: a million log entries take half of it."""

_COSTS = ("_runtime", "_samples_per_second", "_steps_per_second")


class TrainerStateReader(TextReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "trainer-state"
    words: ClassVar[str] = "Hugging Face trainer_state.json"
    marks: ClassVar[re.Pattern[bytes]] = re.compile(rb'"log_history":\s*\[')

    def __init__(self) -> None:
        super().__init__()
        self._data = bytearray()

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        if head.lstrip()[:1] == b"{" and cls.marks.search(head):
            return Sniffed(0.98, "a JSON object with a log_history")
        return Sniffed(0.0)

    def feed(self, data: bytes) -> list[Event]:
        self._data += data[: max(0, MAX_BYTES - len(self._data))]
        return []

    def close(self) -> list[Event]:
        self.lines.total = self._data.count(b"\n") + 1
        try:
            raw = json.loads(self._data)
            history = raw["log_history"]
            entries = [entry for entry in history if isinstance(entry, dict)]
        except (ValueError, KeyError, TypeError, RecursionError):
            self.lines.unrecognised = self.lines.total
            return []
        self._settings = {
            name: raw[name]
            for name in ("num_train_epochs", "train_batch_size", "logging_steps", "eval_steps")
            if isinstance(raw.get(name), int | float)
        }
        total = raw.get("max_steps")
        for entry in entries:
            self._entry(entry, total if isinstance(total, int) and total > 0 else None)
        return self._drain()

    def _line(self, line: str) -> bool:
        raise AssertionError("the file is one object, not lines")

    def _entry(self, entry: dict[str, Any], total: int | None) -> None:
        step = entry.get("step")
        if type(step) is not int or not 0 <= step < 10**12:
            return
        numbers = {}
        for name, value in entry.items():
            if type(value) in (int, float) and name != "step" and not name.endswith(_COSTS):
                number = _float(value)
                if number is None:
                    self.lines.unrecognised += 1
                else:
                    numbers[name] = number
        if "train_runtime" in entry:
            runtime = entry["train_runtime"]
            self._row(step, {"train_mean_loss": numbers.get("train_loss", float("nan"))})
            self._finish(_float(runtime) if type(runtime) in (int, float) else None)
            return
        if any(name.startswith("eval_") for name in numbers):
            numbers.pop("epoch", None)
        self._numbers(step, numbers, total=total)


def _float(value: float) -> float | None:
    """None for a number of hundreds of digits: Python's whole numbers have no end."""
    try:
        return float(value)
    except OverflowError:
        return None
