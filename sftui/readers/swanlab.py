"""Read SwanLab's `backup.swanlab`, which it keeps of every run in the run's folder.

A record file of JSON objects: `{"model_type": "Scalar", "data": {...}}`. A scalar is one
number with its key and step; what one call of `swanlab.log` brought is one row here. The
header's version 1 is read; a newer one holds other records, and none of them is counted as
known.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from engine.events import Event
from engine.files import checked
from sftui.readers.record_files import RecordFileReader


class SwanLabReader(RecordFileReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "swanlab"
    words: ClassVar[str] = "SwanLab run"
    magic: ClassVar[bytes] = b":SWL"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._call: dict[str, Any] = {}
        self._call_step = -1
        self._call_time: float | None = None

    def close(self) -> list[Event]:
        self._give_call()
        return super().close()

    def _record(self, record: bytes) -> bool:
        try:
            raw = checked.parse_json(record)
            kind, data = raw["model_type"], raw["data"]
        except (ValueError, KeyError, TypeError):
            return False
        if not isinstance(data, dict):
            return False
        if kind == "Scalar":
            return self._scalar(data)
        if kind == "Experiment" and isinstance(data.get("name"), str):
            self._settings["name"] = data["name"][:200]
        elif kind == "Footer":
            self._footer(data)
        return True

    def _scalar(self, data: dict[str, Any]) -> bool:
        """One number; its value lies in `metric`, with the time it was logged at."""
        key, step, metric = data.get("key"), data.get("step"), data.get("metric")
        if not isinstance(key, str) or type(step) is not int or not isinstance(metric, dict):
            return False
        if key.startswith("__swanlab__"):
            return True  # of the machine
        if not 0 <= step < 10**12:
            return False
        if step != self._call_step or key in self._call:
            self._give_call()
            self._call_step, self._call_time = step, _moment(metric.get("create_time"))
        self._call[key] = metric.get("data")
        return True

    def _give_call(self) -> None:
        items, self._call = self._call, {}
        if items:
            self._object(items, at=self._call_step, t=self._call_time)

    def _footer(self, data: dict[str, Any]) -> None:
        self._give_call()
        if self._running:
            self._finish(status="finished" if data.get("success") is True else "failed")


def _moment(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
