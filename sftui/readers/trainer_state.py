"""Read `trainer_state.json`, the state that Hugging Face's Trainer keeps beside a checkpoint,
its `log_history` saved alone, and any other JSON file that is one list of rows.

One JSON value, so nothing can be said before its end: it is gathered, then read.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from engine.events import Event
from engine.files import checked
from sftui.readers import Sniffed
from sftui.readers.counters import Decisions
from sftui.readers.meanings import Names
from sftui.readers.objects import ObjectReader

MAX_BYTES = 256 * 1024 * 1024
"""More is no trainer state: a million log entries take half of it."""
_LIST = re.compile(rb"\s*\[\s*\{")
_COLUMNS = re.compile(rb'"(?:train_|training_)?loss(?:es)?"\s*:\s*\[\s*[-\d.N]')
_SERIES = re.compile(rb'"(?:steps|values)"\s*:\s*\[\s*[-\d.N]')
"""Numbers by name, each with its steps and values, as Sacred keeps its `metrics.json`."""
_ROW = re.compile(rb'"(?:step|epoch|global_step|iteration|iter|current_steps|_step)"\s*:')
_HISTORY = re.compile(rb'"log_history":\s*\[')
"""Nothing before the name: blanks that may be repeated are looked at from each of them anew."""


class TrainerStateReader(ObjectReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "trainer-state"
    words: ClassVar[str] = "Hugging Face trainer_state.json"
    marks: ClassVar[re.Pattern[bytes]] = _HISTORY

    def __init__(self, names: Names | None = None, settled: Decisions | None = None) -> None:
        super().__init__(names, settled)
        self._data = bytearray()
        self._is_list = False

    @property
    def format(self) -> str:
        return "a JSON list of log entries" if self._is_list else self.words

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        if _LIST.match(head) and _ROW.search(head):
            return Sniffed(0.97, "a JSON list of objects with steps")
        if head.lstrip()[:1] == b"{" and _COLUMNS.search(head) and not _is_lines(head):
            return Sniffed(0.9, "a JSON object of columns")
        if (
            head.lstrip()[:1] == b"{"
            and len(set(_SERIES.findall(head))) > 1
            and not _is_lines(head)
        ):
            return Sniffed(0.9, "a JSON object of series with steps and values")
        if head.lstrip()[:1] == b"{" and cls.marks.search(head) and not _is_lines(head):
            return Sniffed(0.98, "a JSON object with a log_history")
        return Sniffed(0.0)

    def feed(self, data: bytes) -> list[Event]:
        self._data += data[: max(0, MAX_BYTES - len(self._data))]
        return []

    def close(self) -> list[Event]:
        self.lines.total = self._data.count(b"\n") + 1
        raw: dict[str, Any] = {}
        try:
            found = checked.parse_json(self._data.decode("utf-8-sig", "replace"))
            self._is_list = isinstance(found, list)
            raw = {} if self._is_list else found
            history = found if self._is_list else found.get("log_history") or _rows_of(found)
            history = history or _rows_of_series(found)
            entries = [entry for entry in history if isinstance(entry, dict)]
        except (ValueError, KeyError, TypeError):
            self.lines.unrecognised = self.lines.total
            return []
        self._settings = {
            name: raw[name]
            for name in ("num_train_epochs", "train_batch_size", "logging_steps", "eval_steps")
            if isinstance(raw.get(name), int | float)
        }
        total = raw.get("max_steps")
        self._planned = total if isinstance(total, int) and total > 0 else None
        for entry in entries:
            if entry.get("epoch") is not None and any(key.startswith("eval_") for key in entry):
                entry = {key: value for key, value in entry.items() if key != "epoch"}
            self._object(entry, entry=True)
        self._settle_results()
        return self._drain()


def _rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of columns of one length, as Keras' `history` keeps them."""
    for inner in (found, *found.values()):
        if isinstance(inner, dict) and any("loss" in name for name in inner):
            columns = {name: each for name, each in inner.items() if isinstance(each, list)}
            longest = max(map(len, columns.values()), default=0)
            return [
                {name: each[i] for name, each in columns.items() if len(each) == longest}
                for i in range(longest)
            ]
    return []


def _rows_of_series(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of `{"training.loss": {"steps": [10], "values": [2.5]}}`, by step."""
    rows: dict[int, dict[str, Any]] = {}
    for name, series in found.items():
        if not isinstance(series, dict):
            continue
        steps, values = series.get("steps"), series.get("values")
        if isinstance(steps, list) and isinstance(values, list):
            for step, value in zip(steps, values, strict=False):
                if isinstance(step, int):
                    rows.setdefault(step, {"step": step})[name.replace(".", "/")] = value
    return [rows[step] for step in sorted(rows)]


def _is_lines(head: bytes) -> bool:
    """Whether each line is an object of its own."""
    first, *others = re.split(rb"[\r\n]+", head.lstrip(), maxsplit=1)
    rest = others[0] if others else b""
    try:
        return isinstance(checked.parse_json(first), dict) and rest.lstrip()[:1] == b"{"
    except ValueError:
        return False
