"""Roles to terminal colours: a palette for night and one for day, and a fair translation to any
other theme.

A theme may name a role itself (variable `sftui-<role>`); what it does not name is
mixed from the colours every theme has, so all of Textual's themes work. Whatever the
theme says, a word keeps a contrast of 4.5 to what lies under it and a line that says
something one of 3 (the levels of WCAG 2.2, 1.4.3 and 1.4.11).
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from sftui.drawing.roles import Back, Ink, parts

_NIGHT_INKS = {
    Ink.TEXT: "#c0caf5",
    Ink.DIM: "#929bc3",
    Ink.FAINT: "#767fa9",
    Ink.BORDER: "#2b3350",
    Ink.FOCUS: "#7aa2f7",
    Ink.GRID: "#20263a",
    Ink.AXIS: "#2f3750",
    Ink.TITLE: "#8fa3dd",
    Ink.TRAIN: "#7aa2f7",
    Ink.RAW: "#47639b",
    Ink.VAL: "#ff9e64",
    Ink.VAL_LINE: "#8a5a3c",
    Ink.GOOD: "#9ece6a",
    Ink.SECOND: "#bb9af7",
    Ink.SAVED: "#73daca",
    Ink.WARN: "#e0af68",
    Ink.BAD: "#f7768e",
    Ink.RATE: "#8a78b6",
    Ink.CHANCE: "#af7188",
    Ink.TROUGH: "#2b3350",
    Ink.ON_BADGE: "#11141c",
    Ink.THIRD: "#7dcfff",
    Ink.FOURTH: "#c3e88d",
}
_NIGHT_BACKS = {
    Back.PANEL: "#11141c",
    Back.BAR: "#161b2a",
    Back.ROW: "#1c2233",
    Back.GOOD: "#9ece6a",
    Back.WARN: "#e0af68",
    Back.BAD: "#f7768e",
    Back.QUIET: "#7a83ad",
    Back.BUSY: "#7aa2f7",
    Back.CURSOR: "#2f3a5c",
}

_DAY_INKS = {
    Ink.TEXT: "#272d45",
    Ink.DIM: "#4f5675",
    Ink.FAINT: "#646b8b",
    Ink.BORDER: "#c3c9dc",
    Ink.FOCUS: "#2f62d6",
    Ink.GRID: "#e0e4ee",
    Ink.AXIS: "#b9c0d6",
    Ink.TITLE: "#3a52a3",
    Ink.TRAIN: "#2257c9",
    Ink.RAW: "#7590c8",
    Ink.VAL: "#b04c00",
    Ink.VAL_LINE: "#bd7f4a",
    Ink.GOOD: "#37760f",
    Ink.SECOND: "#7c3bc4",
    Ink.SAVED: "#0b766c",
    Ink.WARN: "#8a5a00",
    Ink.BAD: "#c32148",
    Ink.RATE: "#7763a6",
    Ink.CHANCE: "#a3536c",
    Ink.TROUGH: "#ccd2e3",
    Ink.ON_BADGE: "#ffffff",
    Ink.THIRD: "#06709f",
    Ink.FOURTH: "#5c7410",
}
_DAY_BACKS = {
    Back.PANEL: "#f8f9fc",
    Back.BAR: "#e8ebf4",
    Back.ROW: "#e4eaf8",
    Back.GOOD: "#37760f",
    Back.WARN: "#8a5a00",
    Back.BAD: "#c32148",
    Back.QUIET: "#646b8b",
    Back.BUSY: "#2257c9",
    Back.CURSOR: "#d3def6",
}


def _named(inks: Mapping[Ink, str], backs: Mapping[Back, str]) -> dict[str, str]:
    return {
        **{f"sftui-{ink.name.lower()}": value for ink, value in inks.items()},
        **{f"sftui-back-{back.name.lower()}": value for back, value in backs.items()},
    }


NIGHT = Theme(
    name="sftui-night",
    primary="#7aa2f7",
    secondary="#bb9af7",
    accent="#ff9e64",
    warning="#e0af68",
    error="#f7768e",
    success="#9ece6a",
    foreground="#c0caf5",
    background="#0d1017",
    surface="#11141c",
    panel="#161b2a",
    dark=True,
    variables=_named(_NIGHT_INKS, _NIGHT_BACKS),
)
DAY = Theme(
    name="sftui-day",
    primary="#2257c9",
    secondary="#7c3bc4",
    accent="#b04c00",
    warning="#8a5a00",
    error="#c32148",
    success="#37760f",
    foreground="#272d45",
    background="#eef0f6",
    surface="#f8f9fc",
    panel="#e8ebf4",
    dark=False,
    variables=_named(_DAY_INKS, _DAY_BACKS),
)

WORDS, LINES = 4.5, 3.0
"""Least contrast of what is read, and of what is only seen."""
_LINES = {Ink.RAW: LINES, Ink.VAL_LINE: LINES, Ink.FOCUS: LINES}
_SCENERY = frozenset({Ink.BORDER, Ink.GRID, Ink.AXIS, Ink.TROUGH})
"""It carries no news, and recedes."""


def least_contrast(ink: Ink) -> float:
    """Of this role to what lies under it; 1 asks for nothing."""
    return 1.0 if ink in _SCENERY else _LINES.get(ink, WORDS)


def contrast(one: Color, other: Color) -> float:
    """The contrast ratio of WCAG 2.2, from 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: Color) -> float:
    parts = (value / 255 for value in color.rgb)
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def legible(color: Color, under: Color, least: float) -> Color:
    """`color`, or the nearest shade of it towards black or white with that much contrast."""
    if color.ansi is not None or under.ansi is not None:
        return color  # the terminal's own colours are the person's
    for hundredth in range(101):
        for pole in (_BLACK, _WHITE):
            shade = color.blend(pole, hundredth / 100) if hundredth else color
            if contrast(shade, under) >= least:
                return shade
    return color  # never: black or white has 4.58 to any colour


_BLACK, _WHITE = Color(0, 0, 0), Color(255, 255, 255)


class Palette:
    """Style numbers to Rich styles under one theme."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._inks = {ink: _ink(ink, variables) for ink in Ink}
        self._backs = {back: _back(back, variables) for back in Back}
        self._styles: dict[int, Style] = {}

    def __getitem__(self, number: int) -> Style:
        found = self._styles.get(number)
        if found is None:
            ink, bold, back = parts(number)
            found = self._styles[number] = Style(
                color=self.color(ink, back).rich_color,
                bgcolor=self._backs[back].rich_color,
                bold=bold or None,
            )
        return found

    def color(self, ink: Ink, back: Back = Back.PANEL) -> Color:
        """Of a role over a background."""
        return legible(self._inks[ink], self._backs[back], least_contrast(ink))

    def variables(self) -> dict[str, str]:
        """The roles over a panel, for style sheets and marked-up text: `$ink-warn`."""
        return {f"ink-{ink.name.lower()}": self.color(ink).css for ink in Ink}


def _ink(ink: Ink, variables: Mapping[str, str]) -> Color:
    named = variables.get(f"sftui-{ink.name.lower()}")
    if named:
        return Color.parse(named)
    base, towards, amount = _MIXES[ink]
    start = Color.parse(variables[base])
    return start.blend(Color.parse(variables[towards]), amount) if amount else start


def _back(back: Back, variables: Mapping[str, str]) -> Color:
    named = variables.get(f"sftui-back-{back.name.lower()}")
    if named:
        return Color.parse(named)
    base, towards, amount = _BACK_MIXES[back]
    start = Color.parse(variables[base])
    return start.blend(Color.parse(variables[towards]), amount) if amount else start


_MIXES: dict[Ink, tuple[str, str, float]] = {
    Ink.TEXT: ("foreground", "surface", 0.0),
    Ink.DIM: ("foreground", "surface", 0.35),
    Ink.FAINT: ("foreground", "surface", 0.55),
    Ink.BORDER: ("foreground", "surface", 0.78),
    Ink.FOCUS: ("primary", "surface", 0.0),
    Ink.GRID: ("foreground", "surface", 0.88),
    Ink.AXIS: ("foreground", "surface", 0.75),
    Ink.TITLE: ("primary", "foreground", 0.3),
    Ink.TRAIN: ("primary", "surface", 0.0),
    Ink.RAW: ("primary", "surface", 0.6),
    Ink.VAL: ("accent", "surface", 0.0),
    Ink.VAL_LINE: ("accent", "surface", 0.5),
    Ink.GOOD: ("success", "surface", 0.0),
    Ink.SECOND: ("secondary", "foreground", 0.15),
    Ink.SAVED: ("success", "primary", 0.4),
    Ink.WARN: ("warning", "surface", 0.0),
    Ink.BAD: ("error", "surface", 0.0),
    Ink.RATE: ("secondary", "surface", 0.35),
    Ink.CHANCE: ("error", "surface", 0.45),
    Ink.TROUGH: ("foreground", "surface", 0.78),
    Ink.ON_BADGE: ("background", "surface", 0.0),
    Ink.THIRD: ("primary", "success", 0.5),
    Ink.FOURTH: ("warning", "success", 0.5),
}
_BACK_MIXES: dict[Back, tuple[str, str, float]] = {
    Back.PANEL: ("surface", "surface", 0.0),
    Back.BAR: ("panel", "surface", 0.0),
    Back.ROW: ("surface", "primary", 0.15),
    Back.GOOD: ("success", "surface", 0.0),
    Back.WARN: ("warning", "surface", 0.0),
    Back.BAD: ("error", "surface", 0.0),
    Back.QUIET: ("foreground", "surface", 0.5),
    Back.BUSY: ("primary", "surface", 0.0),
    Back.CURSOR: ("surface", "primary", 0.3),
}
