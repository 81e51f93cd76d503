"""Cells in plain ASCII, for a terminal whose encoding has no other characters.

A curve is drawn by what it is: `#` for the moving average, `.` for everything faint, so
the picture keeps its layers although a cell has one dot now instead of eight.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sftui.drawing.canvas import BRAILLE
from sftui.drawing.roles import BOLD, Role

_SAME = {
    "━": "=", "╸": "-", "─": "-", "┈": ".", "╌": "-", "│": "|", "┊": ":", "╎": ":", "╵": "'",
    "╭": "+", "╮": "+", "╰": "+", "╯": "+", "└": "+", "┴": "+", "┬": "+", "┤": "+", "┄": "-",
    "●": "o", "◉": "@", "★": "*", "◆": "#", "◇": "o", "▷": ">", "⇪": "^", "•": "o", "▪": ".",
    "▾": "v", "▴": "^", "▲": "^", "▼": "v", "▶": ">", "■": "#", "‖": "|", "▌": "|", "✓": "v",
    "✗": "x", "·": ".", "×": "x", "→": ">", "←": "<", "↑": "^", "↓": "v", "…": "~", "–": "-",
    "Δ": "d", "±": "~", "°": "'", "▁": "_", "▂": "_", "▃": ".", "▄": "-", "▅": "-", "▆": "=",
    "▇": "#", "█": "#", "⣿": ".", "○": "0", "□": "%", "△": "&", "›": ">",
}  # fmt: skip
_TABLE = np.full(0x3000, ord("?"), dtype=np.uint32)
_TABLE[:128] = np.arange(128)
for _char, _plain in _SAME.items():
    _TABLE[ord(_char)] = ord(_plain)

_FULL = np.zeros(64, dtype=bool)
"""Colours of other runs' averages on one chart: neither the main curve nor faint."""
_FULL[[Role.VAL, Role.SAVED, Role.SECOND, Role.WARN, Role.BAD, Role.GOOD, Role.THIRD]] = True


def needed(encoding: str | None = None) -> bool:
    """Whether the terminal's encoding (stdout's, if not given) lacks our characters."""
    name = encoding or getattr(sys.__stdout__, "encoding", None) or "utf-8"
    try:
        "⣿━●".encode(name)
    except (UnicodeError, LookupError):
        return True
    return False


def plain(codes: NDArray[Any], styles: NDArray[Any]) -> NDArray[Any]:
    """The codes of one row in ASCII; 0, the right half of a wide character, becomes a blank."""
    known = np.minimum(codes, len(_TABLE) - 1)
    out: NDArray[Any] = _TABLE[known]
    out[codes >= len(_TABLE)] = ord("?")
    braille = (codes > BRAILLE) & (codes <= BRAILLE + 0xFF)
    bright = ((styles & 0x3F) == Role.TRAIN) | ((styles & BOLD) != 0)
    out[braille & bright] = ord("#")
    out[braille & ~bright] = ord(".")
    out[braille & ~bright & _FULL[styles & 0x3F]] = ord(":")
    out[codes == BRAILLE] = ord(" ")
    out[codes == 0] = ord(" ")
    return out
