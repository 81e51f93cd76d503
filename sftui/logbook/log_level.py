"""The level of a line of another program's log, guessed from its words."""

from __future__ import annotations

from engine.events import LogLevel


def log_level(line: str) -> LogLevel:
    """The level that the words of a line suggest."""
    if line.startswith("Traceback") or "Error" in line[:200]:
        return "error"
    return "warn" if "arning" in line or "WARN" in line or line[:2] == "[W" else "info"
