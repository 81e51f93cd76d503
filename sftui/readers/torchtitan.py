"""Read torchtitan's lines: `step: 10  loss: 7.1  grad_norm: 1.9  memory: 47.4GiB(59.9%)  ...`.

Its rank 0 logs through `logging`, in colours; a launcher may put `[rank0]:` before.
"""

from __future__ import annotations

import re
from typing import ClassVar

from engine.events import CheckpointSaved
from sftui.readers.text import NUMBER, TextReader

_LINE = re.compile(r"(?:^|- |\] )(validate )?step: {1,6}(\d{1,12}) {1,4}(loss: .*)")
_PAIR = re.compile(
    rf"([a-z_ ]{{2,20}}?): +(\d{{1,3}}(?:,\d{{3}})+(?:\.\d*)?|{NUMBER})(?:GiB\([\d.]+%\)|%)?"
)
_TOTAL = re.compile(r"total steps (\d{1,12})")
_SAVED = re.compile(r"Saving (?:the|a full) checkpoint|Finished saving the checkpoint .*")


class TorchTitanReader(TextReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "torchtitan"
    words: ClassVar[str] = "torchtitan log"
    marks: ClassVar[re.Pattern[bytes]] = re.compile(
        rb"step:(?:\x1b\[[\d;]*m)? {1,6}\d+ {1,4}(?:\x1b\[[\d;]*m)?loss: "
    )

    def __init__(self) -> None:
        super().__init__()
        self._planned: int | None = None

    def _line(self, line: str) -> bool:
        if total := _TOTAL.search(line):
            self._planned = int(total[1])
        match = _LINE.search(line)
        if match is None:
            if self._running and _SAVED.search(line):
                path = f"step-{self._step}"
                self._emit(
                    CheckpointSaved(step=self._step, path=path, kind="torch", stamp=self._stamp)
                )
                return True
            if "Training completed" in line:
                self._finish()
                return True
            return total is not None
        numbers = {
            name.strip(): float(value.replace(",", "")) for name, value in _PAIR.findall(match[3])
        }
        if match[1] and "loss" in numbers:
            numbers = {"val_loss": numbers["loss"]}
        self._numbers(int(match[2]), numbers, total=self._planned)
        return True
