"""Read what Hugging Face's Trainer (and TRL, LLaMA-Factory) print: one dict a logged step.

The dicts hold no step. The progress bar does: to print a dict, tqdm wipes its bar with
blanks first, so each wipe marks a logged step, by the number the bar last showed. Dicts
and wipes go to two channels and keep their order each, so they are paired first to
first, however late a buffered stdout delivers the dicts. Without a bar, entries are
counted and `format` says so.
"""

from __future__ import annotations

import re
from collections import deque
from typing import ClassVar

from engine.events import CheckpointSaved
from sftui.readers.text import NUMBER, TextReader, canonical

_DICT = re.compile(r"\{'[\w/. -]{1,80}': .{1,20000}?\}")
_ITEM = re.compile(rf"'([\w/. -]{{1,80}})': '?({NUMBER})'?[,}}]")
_BAR = re.compile(r"\s*\d+%\|[^|]*\| (\d{1,12})/(\d{1,12}) \[")
_SAVED = re.compile(r"Saving model checkpoint to (\S{1,400}?checkpoint-(\d{1,12}))")
_WORDS = frozenset({"loss", "eval_loss", "train_loss", "reward", "train_runtime"})
_EVAL_COSTS = re.compile(
    r"eval_(?:.*_)?(?:runtime|samples_per_second|steps_per_second|model_prep.*)"
)


class HfTrainerReader(TextReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "hf-trainer"
    words: ClassVar[str] = "Hugging Face Trainer output"
    marks: ClassVar[re.Pattern[bytes]] = re.compile(
        rb"\{'(?:loss|eval_loss|train_loss|train_runtime)': '?[-\d.a-z]+'?, '[^\n]{0,2000}'epoch': "
    )

    def __init__(self) -> None:
        super().__init__()
        self._bar: tuple[int, int] | None = None
        self._training_total: int | None = None
        self._wiped: deque[int] = deque(maxlen=100_000)
        self._bar_since_wipe = False
        self._entries = 0
        self._counted = False

    @property
    def format(self) -> str:
        return self.words + (" (steps counted: it prints none)" if self._counted else "")

    def _blank(self, line: str) -> None:
        if len(line) > 10 and self._bar is not None and self._bar_since_wipe:
            # With two bars on the screen (training and evaluation) one dict wipes both.
            self._bar_since_wipe = False
            self._wiped.append(self._bar[0])

    def _line(self, line: str) -> bool:
        known = False
        at = line.find("{'")
        if bar := _BAR.match(line):
            self._take_bar(int(bar[1]), int(bar[2]))
            known = True
        if at >= 0:
            for match in _DICT.finditer(line, at):
                known = self._entry(match[0]) or known
        elif saved := _SAVED.search(line):
            self._emit(
                CheckpointSaved(step=int(saved[2]), path=saved[1], kind="hf", stamp=self._stamp)
            )
            known = True
        return known

    def _take_bar(self, done: int, total: int) -> None:
        if self._training_total is None:
            self._training_total = total
        if total == self._training_total:
            self._bar = (done, total)
        self._bar_since_wipe = True

    def _entry(self, text: str) -> bool:
        items = _ITEM.findall(text)
        numbers = {name: float(value) for name, value in items}
        if not (_WORDS & numbers.keys() or "epoch" in numbers):
            return False
        step = self._step_of(numbers)
        if "train_runtime" in numbers:
            if self._running:
                self._row(step, {"train_mean_loss": numbers.get("train_loss", float("nan"))})
                self._finish(numbers["train_runtime"])
            return True
        for name in [n for n in numbers if _EVAL_COSTS.fullmatch(n)]:
            del numbers[name]
        if any(name.startswith("eval_") for name in numbers):
            numbers.pop("epoch", None)
        self._numbers(step, numbers, total=self._training_total)
        return True

    def _step_of(self, numbers: dict[str, float]) -> int:
        if self._wiped:
            return self._wiped.popleft()
        if self._bar is not None and self._bar[0] > max(self._step, 0):
            return self._bar[0]
        if any(canonical(name) == "loss" for name in numbers) or self._step < 0:
            self._entries += 1
            self._counted = self._counted or self._bar is None
            return max(self._step + 1, self._entries)
        return self._step
