"""Names in the width of a column, no two alike: heads of tables and legends."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sftui.drawing.canvas import fit, text_width

_KNOWN = {
    "ARC-Easy": "ARC-E",
    "ARC-Challenge": "ARC-C",
    "HumanEval": "HumEv",
    "HellaSwag": "HSwag",
    "SpellingBee": "Spell",
    "WinoGrande": "Wino",
    "TruthfulQA": "TruQA",
    "OpenBookQA": "OBQA",
}
"""As people who evaluate models shorten them."""


def short_names(names: Sequence[str], cells: int) -> dict[str, str]:
    """Each name in at most `cells` cells (3 or more), without the beginning that all of them share
    (`Starter-`); different names stay different."""
    head = names[0][: names[0].find("-") + 1] if len(names) > 1 else ""
    shared = head if all(name.startswith(head) and name != head for name in names) else ""
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        short = _short(name.removeprefix(shared), cells)
        if short in found.values():
            # The end tells it apart where the beginning does not, else its place does.
            tails = (name[-k:] for k in range(1, cells - 1))
            tries = (f"{name.removeprefix(shared)[: cells - 1 - len(t)]}…{t}" for t in tails)
            places = (f"{name[: cells - 1 - len(str(i))]}…{i}" for i in range(2, len(names) + 2))
            short = next(
                each
                for each in (*tries, *places)
                if each not in found.values() and text_width(each) <= cells
            )
        found[name] = short
    return found


def _short(name: str, cells: int) -> str:
    if text_width(name) <= cells:
        return name
    known = _KNOWN.get(name)
    if known is not None and text_width(known) <= cells:
        return known
    first, *others = re.split(r"[-_ /.]+", name)
    initials = "".join(part[:1] for part in others)
    if others and first and initials and text_width(f"{first}-{initials}") <= cells:
        return f"{first}-{initials}"
    return fit(name, cells)
