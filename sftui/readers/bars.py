"""Progress bars of tqdm, Keras and rich: how far of how many, under which label, with what beside.

A bar is not a step by itself: loading, mapping and evaluating have bars too. Which of them
is the training's is decided by what comes while it stands (`counters`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sftui.readers.meanings import split_of
from sftui.readers.quantities import quantity

_TQDM = re.compile(
    r"(?<!\d)\d{1,3}%\s?\|[^|]{0,400}\|\s?(?P<done>\d[\d.]{0,11}[kK]?)/(?P<total>\d[\d.]{0,11}[kK]?)"
    r"(?: \[(?P<beside>[^\]\[]{0,4000})\]?)?"
)
_BLOCKS = re.compile(r"\[[=>.#\s-]{8,}\]|[━╸╺╶─]{4,}")
_SPEED = re.compile(r"(?:it/s|s/it|B/s|\?|[a-z]+/s|s/[a-z]+)(?:, |\s*$)")
_TORCHTUNE = re.compile(r"\s*(\d{1,6})\|(\d{1,12})\|\s*(.*)")


@dataclass(frozen=True, slots=True)
class Bar:
    """One redraw."""

    label: str
    done: int
    total: int
    split: str


def is_bar(line: str) -> bool:
    """Whether a line holds a redraw of a bar, of which a log has thousands."""
    return "%|" in line or "it/s]" in line or "s/it]" in line or "B/s]" in line


def _count(text: str) -> int:
    """How many a bar says: `1.05k` of `unit_scale` is a rounded 1050."""
    try:
        return round(quantity(text) or 0)
    except ValueError:  # 1.2.3
        return 0


def take_bars(line: str) -> tuple[list[Bar], str]:
    """The bars of a line, and the line with what was printed beside them in their place."""
    if "%|" not in line and "% |" not in line:
        return [], _BLOCKS.sub(" | ", line) if "━" in line or "[=" in line or "==" in line else line
    found: list[Bar] = []
    rest: list[str] = []
    end = 0
    for match in _TQDM.finditer(line):
        label = line[end : match.start()].strip().rstrip(":").strip()[-400:]
        if tune := _TORCHTUNE.fullmatch(label):
            label = f"epoch {tune[1]} | global_step {tune[2]} | {tune[3]}"
        found.append(Bar(label, _count(match["done"]), _count(match["total"]), split_of(label)))
        beside = _SPEED.split(match["beside"] or "", maxsplit=1)
        rest.append(f" {label} | {beside[1]} | " if len(beside) > 1 else f" {label} | ")
        end = match.end()
    rest.append(line[end:])
    return found, "".join(rest)
