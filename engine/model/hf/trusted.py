"""Model folders whose own Python code this user lets run: those behind `--trust-remote-code`.

A run's manifest names the folder of its model, and says that its code may run. It may come from
another person, so what it says counts only where this user typed the flag for that folder: then
the folder is written down, in the user's own settings, and in the environment for the processes
of this run, in case no settings can be written.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from engine.files import checked, written

VARIABLE = "SFTUI_TRUSTED_MODELS"
"""Folders, parted as those of PATH are."""


def list_path() -> Path:
    """The list: beside the file that `SFTUI_CONFIG` names, else where settings are kept."""
    if named := os.environ.get("SFTUI_CONFIG"):
        return Path(named).expanduser().with_suffix(".trusted")
    from platformdirs import user_config_path  # noqa: PLC0415  not needed where it is named

    return user_config_path("sftui") / "models.trusted"


def trust(folder: Path) -> None:
    """Note that the user typed the flag for this folder."""
    name = _name(folder)
    others = [each for each in os.environ.get(VARIABLE, "").split(os.pathsep) if each]
    os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys([*others, name]))
    with contextlib.suppress(OSError):
        path = list_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        listed = _listed()
        if name not in listed:
            with written.replacing(path, private=True) as fresh:
                fresh.write_text(json.dumps([*listed, name], indent=1) + "\n", encoding="utf-8")


def is_trusted(folder: Path) -> bool:
    """Whether the user typed the flag for this folder, here."""
    name = _name(folder)
    return name in os.environ.get(VARIABLE, "").split(os.pathsep) or name in _listed()


def _listed() -> list[str]:
    with contextlib.suppress(OSError, ValueError):
        found = checked.parse_json(checked.read_typed(list_path()))
        if isinstance(found, list):
            return [each for each in found if isinstance(each, str)]
    return []


def _name(folder: Path) -> str:
    """The folder itself, wherever links to it lie."""
    return os.path.realpath(folder)
