"""Read mlx-lm's LoRA trainer: `Iter 10: Train loss 3.6, Learning Rate 1e-05, It/sec 1.2, ...`."""

from __future__ import annotations

import re
from typing import ClassVar

from engine.events import CheckpointSaved, ValidationFinished
from sftui.readers.text import NUMBER, TextReader, canonical

_LINE = re.compile(r"Iter (\d{1,12}): (.*)")
_PAIR = re.compile(rf"([A-Za-z][A-Za-z/ ]{{0,30}}?) ({NUMBER})(?: ?(GB|s))?(?:, |\s*$)")
_SAVED = re.compile(
    r"Saved adapter weights to (?:\S++\s++){0,20}?(\S{1,4096}_adapters\.safetensors)"
)
_START = re.compile(r"Starting training\.\.\., iters: (\d{1,12})")
_NAMES = {"Train loss": "loss", "Learning Rate": "lrs/lr", "Tokens/sec": "tokens_per_second"}


class MlxReader(TextReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "mlx"
    words: ClassVar[str] = "mlx-lm LoRA log"
    stage_name: str = "sft"
    marks: ClassVar[re.Pattern[bytes]] = re.compile(
        rb"^Iter \d+: (?:Train|Val) loss [\d.na]+, ", re.MULTILINE
    )

    def __init__(self) -> None:
        super().__init__()
        self._planned: int | None = None

    def _line(self, line: str) -> bool:
        if start := _START.match(line):
            self._planned = int(start[1])
            return True
        match = _LINE.match(line)
        if match is None:
            return False
        step, rest = int(match[1]), match[2]
        if saved := _SAVED.match(rest):
            self._emit(
                CheckpointSaved(step=step, path=saved[1].rstrip("."), kind="mlx", stamp=self._stamp)
            )
            return True
        numbers = {name: float(value) for name, value, _ in _PAIR.findall(rest)}
        if "Val loss" in numbers:
            self._enter(step, self._planned)
            seconds = numbers.get("Val took")
            self._emit(
                ValidationFinished(
                    step=step, loss=numbers["Val loss"], seconds=seconds, stamp=self._stamp
                )
            )
            return True
        if "Train loss" not in numbers:
            return False
        row = {_NAMES.get(name, canonical(name)): value for name, value in numbers.items()}
        if (rate := row.pop("It/sec", 0.0)) > 0:
            row["seconds"] = 1 / rate
        self._row(step, row, total=self._planned)
        if step == self._planned:
            self._finish()
        return True
