"""How the screen was shown last, kept between runs: theme, smoothing, axis, table, prompt,
typed lines, charts.

One small JSON file in the user's configuration directory; `SFTUI_CONFIG` names
another. A file that cannot be read or written is no error: the defaults hold.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from engine.files import checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What is remembered, with its defaults."""

    theme: str = "sftui-night"
    smoothing: int = 0
    log_y: bool = False
    whole: bool = False
    table: str = "benchmarks"
    x_axis: str = "step"
    prompt: str = ""
    """The prompt that a checkpoint was asked last."""
    typed: list[Any] = field(default_factory=list)
    """Lines typed after `:`, newest first."""
    charts: dict[str, Any] = field(default_factory=dict)
    """The page of charts: what `ChartPage.kept` gave."""


def path() -> Path:
    """The file: `SFTUI_CONFIG`, else the place of this system for a user's settings."""
    named = os.environ.get("SFTUI_CONFIG")
    if named:
        return Path(named).expanduser()
    from platformdirs import user_config_path  # noqa: PLC0415  not needed where it is named

    return user_config_path("sftui") / "preferences.json"


def load() -> Preferences:
    """What was saved; the default for each value that is missing or of another type."""
    raw: Any = None
    with contextlib.suppress(OSError, ValueError):
        raw = checked.parse_json(checked.read_typed(path()))
    if not isinstance(raw, dict):
        return Preferences()
    default = Preferences()
    known = {
        f.name: raw[f.name]
        for f in fields(Preferences)
        if type(raw.get(f.name)) is type(getattr(default, f.name))
    }
    return Preferences(**known)


def save(preferences: Preferences) -> None:
    """Replace the file; says nothing when it cannot."""
    from engine.files import written  # noqa: PLC0415  when a screen closes, not before it opens

    with contextlib.suppress(OSError):
        # A link of the user's own, as people keep their settings in one folder, stays one.
        target = path().resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        with written.replacing(target) as fresh:
            fresh.write_text(json.dumps(asdict(preferences), indent=1) + "\n", encoding="utf-8")
