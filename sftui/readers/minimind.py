"""Read MiniMind's trainers: `Epoch:[1/2](30/39695), loss: 8.1, ..., lr: 0.0005, ...`.

The number in parentheses starts again in each epoch; steps here go on over epochs.
"""

from __future__ import annotations

import re
from typing import ClassVar

from sftui.readers.text import NUMBER, TextReader

_LINE = re.compile(r"Epoch:? ?\[(\d{1,6})/(\d{1,6})\] ?\((\d{1,12})/(\d{1,12})\),? ?(.*)")
_PAIR = re.compile(rf"([A-Za-z_]{{1,40}}): ?({NUMBER})(min|s)?")


class MiniMindReader(TextReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "minimind"
    words: ClassVar[str] = "MiniMind log"
    marks: ClassVar[re.Pattern[bytes]] = re.compile(
        rb"Epoch:? ?\[\d+/\d+\] ?\(\d+/\d+\),? ?loss: ?[\d.na]+"
    )

    def _line(self, line: str) -> bool:
        match = _LINE.search(line)
        if match is None:
            return False
        epoch, epochs, within, length = (int(part) for part in match.groups()[:4])
        numbers = {
            name: float(value) * (60 if unit == "min" else 1)
            for name, value, unit in _PAIR.findall(match[5])
        }
        numbers.pop("epoch_Time", None)
        if "epoch_time" in numbers:  # what is left of the epoch
            numbers["epoch_seconds_left"] = numbers.pop("epoch_time")
        if "loss" not in numbers:
            return False
        numbers["epoch"] = epoch - 1 + within / length if length else float(epoch)
        self._numbers((epoch - 1) * length + within, numbers, total=epochs * length)
        return True
