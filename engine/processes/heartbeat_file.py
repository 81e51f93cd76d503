"""What stands in the heartbeat file of a rank. No torch in here: the supervisor reads it too."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from engine.events import RankHeartbeat
from engine.files import checked
from engine.journal import wire

SILENT_SECONDS = 10.0
"""Ten missed beats; a stopped rank costs its peers the collective timeout of two minutes."""

FIELDS = frozenset(f.name for f in fields(RankHeartbeat)) - {"step", "stamp"}


def read_record(path: Path) -> dict[str, Any] | None:
    """A heartbeat file; None when it is missing or just being written."""
    try:
        raw = checked.table(checked.read_json(path))
        # As an event of the same fields would be: the screen is told of it as one.
        wire.check_fields(RankHeartbeat, {name: raw[name] for name in FIELDS if name in raw})
        checked.number(raw.get("t") or 0.0)
    except (OSError, ValueError):
        return None
    return raw if "rank" in raw else None
