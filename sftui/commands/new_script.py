"""`sftui new trl|accelerate|lightning|loop`: a short script with the lines for sftui in it.

It runs as it is, offline, on a model that it makes itself: a place to begin, and the shortest
answer to how a trainer is attached.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from engine.errors import UsageError
from sftui.commands.options import Typed

NAMES = ("trl", "accelerate", "lightning", "loop")
_FOLDER = Path(__file__).with_name("scripts")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFlags:
    """Print a short script that trains and is shown and steered by sftui.

    It runs as it is; put your model and data in their place.

    Examples:
      sftui new trl > train.py
      sftui new loop > my_loop.py
    """

    kind: Annotated[str, Typed(metavar="KIND", positional=True, choices=NAMES)]
    """trl, accelerate, lightning or loop."""


def script(flags: NewFlags) -> str:
    """The script to print.

    Raises:
        UsageError: no such kind.
    """
    if flags.kind not in NAMES:
        raise UsageError(f"sftui new takes one of {', '.join(NAMES)}; found {flags.kind[:80]!r}.")
    return (_FOLDER / f"{flags.kind}.txt").read_text(encoding="utf-8")
