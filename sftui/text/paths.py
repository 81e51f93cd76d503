"""Paths as they are typed."""

from __future__ import annotations

from pathlib import Path


def typed_path(path: Path) -> str:
    """The path as it can be typed in this directory."""
    try:
        here = Path.cwd()
    except OSError:
        return str(path)  # the folder that this was started in is gone
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
