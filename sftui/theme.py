"""Roles to terminal colours: our night palette, and a fair translation to any other theme.

A theme may name a role itself (variable `sftui-<role>`); what it does not name is
mixed from the colours every theme has, so all of Textual's themes work.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from sftui.ink import Back, Ink, parts

_NIGHT_INKS = {
    Ink.TEXT: "#c0caf5",
    Ink.DIM: "#8189b0",
    Ink.FAINT: "#5f6892",
    Ink.BORDER: "#2b3350",
    Ink.FOCUS: "#7aa2f7",
    Ink.GRID: "#20263a",
    Ink.AXIS: "#2f3750",
    Ink.TITLE: "#8fa3dd",
    Ink.TRAIN: "#7aa2f7",
    Ink.RAW: "#3a5282",
    Ink.VAL: "#ff9e64",
    Ink.VAL_LINE: "#8a5a3c",
    Ink.GOOD: "#9ece6a",
    Ink.SECOND: "#bb9af7",
    Ink.SAVED: "#73daca",
    Ink.WARN: "#e0af68",
    Ink.BAD: "#f7768e",
    Ink.RATE: "#7d6ba8",
    Ink.CHANCE: "#8a5468",
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
    Back.QUIET: "#5f6892",
    Back.BUSY: "#7aa2f7",
    Back.CURSOR: "#2f3a5c",
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
    variables={
        **{f"sftui-{ink.name.lower()}": value for ink, value in _NIGHT_INKS.items()},
        **{f"sftui-back-{back.name.lower()}": value for back, value in _NIGHT_BACKS.items()},
    },
)


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
                color=self._inks[ink].rich_color,
                bgcolor=self._backs[back].rich_color,
                bold=bold or None,
            )
        return found


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
