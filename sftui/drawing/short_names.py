"""Names in the width of a column, no two alike: heads of tables and legends."""

from __future__ import annotations

import functools
import re
from collections import Counter
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
_RUN_TIME = re.compile(r"^\d{8}-\d{6}-(?=.)")


def short_id(run: str, instead: str = "") -> str:
    """A run's id without its day and time, where something follows them: that tells runs apart."""
    return _RUN_TIME.sub(instead, run)


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


def fit_path(name: str, cells: int, names: tuple[str, ...]) -> str:
    """`name` in at most `cells` cells (4 or more), unlike any other of `names`, which holds it:
    `rewards/format/mean` beside `rewards/answer/mean` is `format/mean`, not `…/mean`."""
    return name if text_width(name) <= cells else _apart(names, cells)[name]


@functools.lru_cache(maxsize=64)
def _apart(names: tuple[str, ...], cells: int) -> dict[str, str]:
    """A short form of every name that is too long, by the first way that is nobody else's."""
    long = [name for name in dict.fromkeys(names) if text_width(name) > cells]
    taken = {name for name in names if text_width(name) <= cells}
    ways = [
        {name: way(name, cells) for name in long} for way in (fit_end, _two_parts, _both_ends, fit)
    ]
    counts = [Counter(way.values()) for way in ways]
    found: dict[str, str] = {}
    for place, name in enumerate(long, 1):
        tries = (way[name] for way, many in zip(ways, counts, strict=True) if many[way[name]] == 1)
        number = f"…{place}"
        last = fit(name, cells - len(number)).rstrip("…") + number
        found[name] = next((each for each in tries if each not in taken), last)
        taken.add(found[name])
    return found


def fit_end(text: str, cells: int) -> str:
    """`text` in at most `cells` cells, the end of it where it is too long; of a path whole parts,
    where one has room."""
    if text_width(text) <= cells:
        return text
    while text and text_width(text) > cells - 1:
        text = text[1:]
    part = text.find("/")
    if 0 <= part < len(text) - 1:
        text = text[part:]
    return f"…{text}" if cells > 0 else ""


def _two_parts(name: str, cells: int) -> str:
    """The last part of a path whole, and the beginning of the part before it."""
    head, _, last = name.rpartition("/")
    room = cells - text_width(last) - 1
    if room < 2:
        return fit_end(name, cells)
    return f"{fit(head.rpartition('/')[2], room)}/{last}"


def _both_ends(name: str, cells: int) -> str:
    """Half of the room for the beginning, and half for the end."""
    head = fit(name, cells // 2)
    tail = name
    while tail and text_width(tail) > cells - text_width(head):
        tail = tail[1:]
    return head + tail
