"""How serious a line of somebody's log is, by its words."""

from __future__ import annotations


def log_level(line: str) -> str:
    """info, warn or error."""
    if line.startswith("Traceback") or "Error" in line[:200]:
        return "error"
    return "warn" if "arning" in line or "WARN" in line or line[:2] == "[W" else "info"
