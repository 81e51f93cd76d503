"""A check, its verdict, the table on the terminal and the JSON beside it."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.gpu_check.bench import Bench

SCHEMA = 1

Verdict = Literal["ok", "fail", "info", "skipped", "dry"]
Measured = dict[str, Any]
Faults = list[str]


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table: measured on the device, judged by arithmetic alone."""

    id: int
    name: str
    measure: Callable[[Bench], Measured]
    judge: Callable[[Measured], Faults]
    """What is wrong with the numbers, a sentence each; tested without a device."""
    wanted: dict[str, float] = field(default_factory=dict)
    told: str = "{}"
    """One line of the measured numbers, for the table."""
    info: bool = False
    """Never fails: its numbers are for reading."""
    gpus: int = 1
    """Fewer, and it is skipped."""


class Skipped(Exception):
    """Raised by `measure`: it cannot be measured here, and why."""


@dataclass(slots=True)
class Row:
    """One check's outcome."""

    check: Check
    verdict: Verdict
    measured: Measured
    why: str
    seconds: float

    def line(self) -> str:
        try:
            told = self.check.told.format(**self.measured) if self.measured else ""
        except (KeyError, ValueError, TypeError):
            told = ", ".join(f"{key} {value}" for key, value in list(self.measured.items())[:4])
        text = f"{self.check.id:>2} {self.check.name:<16} {told[:60]:<60} {self.verdict}"
        return f"{text}  {self.why}" if self.why else text

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.check.id,
            "name": self.check.name,
            "verdict": self.verdict,
            "measured": self.measured,
            "wanted": self.check.wanted,
            "why": self.why,
            "seconds": round(self.seconds, 1),
        }


def run_one(check: Check, bench: Bench, num_gpus: int) -> Row:
    """Measure and judge; whatever goes wrong is this check's verdict, not the others'."""
    started = time.monotonic()
    measured: Measured = {}
    try:
        if not bench.dry and num_gpus < check.gpus:
            raise Skipped(f"needs {check.gpus} GPUs")
        measured = check.measure(bench)
        faults = [] if bench.dry else check.judge(measured)
        verdict: Verdict = "dry" if bench.dry else "info" if check.info else "ok"
        if faults and not check.info:
            verdict = "fail"
        why = "; ".join(faults)
    except Skipped as reason:
        verdict, why = "skipped", str(reason)
    except Exception as error:
        # In a dry walk too: a check that cannot be walked is broken.
        traceback.print_exc()
        words = str(error).strip().splitlines() or [""]
        verdict, why = "fail", f"{type(error).__name__}: {words[0][:200]}"
    return Row(check, verdict, measured, why, time.monotonic() - started)


def write(path: Path, box: Measured, commit: str, rows: list[Row], seconds: float) -> None:
    content = {
        "schema": SCHEMA,
        "box": box,
        "commit": commit,
        "seconds": round(seconds, 1),
        "checks": [row.to_dict() for row in sorted(rows, key=lambda row: row.check.id)],
    }
    path.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


def exit_code(rows: list[Row]) -> int:
    return int(any(row.verdict == "fail" for row in rows))
