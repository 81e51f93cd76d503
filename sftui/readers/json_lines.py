"""Read one JSON object a line: LLaMA-Factory's `trainer_log.jsonl`, ms-swift's `logging.jsonl`,
prime-rl's `metrics.jsonl`, and any other with a step.

LLaMA-Factory calls the step `current_steps` and gives times as words ("0:24:10").
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from sftui.readers import Sniffed
from sftui.readers.meanings import Kind, Names
from sftui.readers.objects import MOST_LAYOUTS, ObjectReader, number_of

_SNIFFED_LINES = 400
_LONGEST = 64 * 1024
"""Longer lines are no row of numbers, and cost too much to look at."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the names of a line say of it."""

    idle: tuple[str, ...]
    """Words that tell nothing: a row of numbers alone is read several times as fast."""
    times: bool
    is_summary: bool
    is_place: bool
    """It says how far the run is, and no number."""


class JsonLinesReader(ObjectReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "jsonl"
    words: ClassVar[str] = "JSON lines"
    marks: ClassVar[re.Pattern[bytes]] = re.compile(rb"^\{", re.MULTILINE)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._wording = ""
        self._elapsed: float | None = None
        self._kinds: dict[tuple[str, ...], _Kind] = {}

    @classmethod
    def sniff(cls, head: bytes, names: Names | None = None) -> Sniffed:
        meaning = (names or Names()).of
        good = rows = 0
        example = ""
        lines = re.split(rb"[\r\n]+", head, maxsplit=_SNIFFED_LINES)[:_SNIFFED_LINES]
        lines = [line for line in lines if line.strip()]
        if not lines or sum(line.lstrip()[:1] == b"{" for line in lines) <= 0.5 * len(lines):
            return Sniffed(0.0)
        for line in lines:
            if not (line[:1] == b"{" and len(line) < _LONGEST):
                continue
            items = _parsed(line.decode("utf-8", "replace"))
            if items is None:
                continue
            rows += 1
            kinds = {
                meaning(name).kind for name, value in items.items() if not isinstance(value, list)
            }
            if kinds & {Kind.STEP, Kind.EPOCH} and kinds - {Kind.STEP, Kind.EPOCH, Kind.TIME}:
                good += 1
                example = example or line.decode("utf-8", "replace").strip()[:60]
        if not good or good <= 0.3 * rows:
            return Sniffed(0.0)
        return Sniffed(
            min(0.95, 0.5 + 0.05 * good), f"{good} line{'s' * (good != 1)} like {example!r}"
        )

    @property
    def format(self) -> str:
        return self._wording or self.words

    def _line(self, line: str) -> bool:
        if line[:1] != "{":
            return False
        raw = _parsed(line)
        if raw is None:
            return False
        names = tuple(raw)
        kind = self._kinds.get(names)
        if kind is None:
            kind = self._kind_of(names, raw)
        if kind.times and isinstance(raw.get("elapsed_time"), str):
            self._elapsed = number_of(raw["elapsed_time"])
        for name in kind.idle:
            del raw[name]
        if kind.is_summary:
            return True  # of what stood in the lines before it
        return self._last_line(raw) if kind.is_place else self._object(raw)

    def _kind_of(self, names: tuple[str, ...], raw: dict[str, Any]) -> _Kind:
        """What holds for all lines with the names of this one."""
        if "current_steps" in raw:
            self._wording = "LLaMA-Factory trainer_log.jsonl"
        elif "global_step/max_steps" in raw:
            self._wording = "ms-swift logging.jsonl"
        kinds = {name: self.names.of(name).kind for name in names}
        kind = _Kind(
            idle=tuple(
                name
                for name, each in kinds.items()
                if each is Kind.NOTHING and isinstance(raw[name], str) and name != "train_runtime"
            ),
            times="elapsed_time" in raw,
            is_summary="log_history" in raw,
            is_place=all(each in _ABOUT_PLACE for each in kinds.values()),
        )
        if len(self._kinds) >= MOST_LAYOUTS:
            self._kinds.clear()
        self._kinds[names] = kind
        return kind

    def _last_line(self, raw: dict[str, Any]) -> bool:
        """LLaMA-Factory's own last line has a step and no number; evaluations have one."""
        step, total = raw.get("current_steps"), raw.get("total_steps")
        if type(step) is not int or type(total) is not int:
            return False
        self._flush_block()
        self._enter_stage(step, total)
        if step >= total - 1:
            self._finish(self._elapsed)
        return True


_ABOUT_PLACE = frozenset(
    {Kind.STEP, Kind.EPOCH, Kind.EPOCHS, Kind.PLANNED, Kind.NOTHING, Kind.TIME}
)


_decode = json.JSONDecoder().decode
"""As `json.loads`, without its checks of what it was given."""


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        raw = _decode(line)
    except (ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) else None
