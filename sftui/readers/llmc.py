"""Read the logs of llm.c (`s:10 trl:9.9 lr:0.000009 norm:3.8`) and modded-nanogpt
(`step:10/6200 train_loss:6.7 train_time:77676ms step_avg:nanms`).

llm.c's `tel` is a validation loss, its `eval` HellaSwag accuracy. modded-nanogpt's newer
records print a time but no training loss; its clock is started anew after warm-up.
"""

from __future__ import annotations

import re
from typing import ClassVar

from engine.events import EvalFinished, ValidationFinished
from sftui.readers.text import NUMBER, TextReader

_LLMC = re.compile(rf"s:(\d{{1,12}}) ((?:[a-z]{{2,5}}:(?:{NUMBER}) ?)+)")
_PAIR = re.compile(rf"([a-z]{{2,5}}):({NUMBER})")
_MODDED = re.compile(
    rf"step:(\d{{1,12}})/(\d{{1,12}})(?: (train|val)_loss:({NUMBER}))?"
    rf" train_time:({NUMBER})ms step_avg:(?:{NUMBER})ms"
)
_MEMORY = re.compile(rf"peak memory (?:allocated|consumption): ({NUMBER}) MiB.*")
_NAMES = {"trl": "loss", "lr": "lrs/lr", "norm": "grad_norm"}


class LlmcReader(TextReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "llmc"
    words: ClassVar[str] = "llm.c log"
    stage_name: str = "pretrain"
    marks: ClassVar[re.Pattern[bytes]] = re.compile(
        rb"^(?:s:\d+ (?:trl|tel|eval):[\d.na]+|step:\d+/\d+ [a-z_:.\d ]*train_time:\d+ms)",
        re.MULTILINE,
    )

    def __init__(self) -> None:
        super().__init__()
        self._clock: float | None = None
        self._modded = False

    @property
    def format(self) -> str:
        return "modded-nanogpt log" if self._modded else self.words

    def _line(self, line: str) -> bool:
        if line[:2] == "s:" and (match := _LLMC.fullmatch(line.rstrip())):
            return self._llmc(int(match[1]), _PAIR.findall(match[2]))
        if line[:5] == "step:" and (match := _MODDED.fullmatch(line.rstrip())):
            step, total, kind, loss, clock = match.groups()
            return self._modded_line(int(step), int(total), kind, loss, float(clock) / 1000)
        if self._running and (match := _MEMORY.fullmatch(line)):
            self._row(self._step, {"peak_memory_mib": float(match[1])})
            return True
        return False

    def _llmc(self, step: int, pairs: list[tuple[str, str]]) -> bool:
        row = {_NAMES[name]: float(value) for name, value in pairs if name in _NAMES}
        if "loss" in row:
            self._row(step, row)
        for name, value in pairs:
            if name == "tel":
                self._enter(step)
                self._emit(ValidationFinished(step=step, loss=float(value), stamp=self._stamp))
            elif name == "eval":
                self._enter(step)
                self._emit(
                    EvalFinished(
                        step=step, task="HellaSwag", accuracy=float(value), stamp=self._stamp
                    )
                )
        return True

    def _modded_line(
        self, step: int, total: int, kind: str | None, loss: str | None, clock: float
    ) -> bool:
        self._modded = True
        self._enter(step, total)
        if kind == "val" and loss is not None:
            self._emit(ValidationFinished(step=step, loss=float(loss), stamp=self._stamp))
        else:
            row = {"loss": float(loss)} if loss is not None else {}
            if self._clock is not None and clock >= self._clock:
                row["seconds"] = clock - self._clock
            else:
                row["seconds"] = 0.0  # the clock was set back after warm-up
            self._row(step, row)
        self._clock = clock
        if step == total and kind == "val":
            self._finish(clock)
        return True
