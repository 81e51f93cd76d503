"""Whose a run is, in a folder of runs that several users share."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def owner(path: Path) -> str:
    """Name of the user whose file or folder it is; the number where the machine knows no name."""
    try:
        return _name(os.lstat(path).st_uid)
    except OSError:
        return "nobody"


def other_owner(path: Path) -> str:
    """As `owner`, for what is another user's; empty for one's own, and where nothing is."""
    try:
        uid = os.lstat(path).st_uid
    except OSError:
        return ""
    return "" if uid == os.geteuid() else _name(uid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
