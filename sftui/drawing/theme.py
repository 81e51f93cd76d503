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

from sftui.drawing.roles import TASK_ROLES, Back, Role, parts

_NIGHT_INKS = {
    Role.TEXT: "#c0caf5",
    Role.DIM: "#929bc3",
    Role.FAINT: "#767fa9",
    Role.BORDER: "#2b3350",
    Role.FOCUS: "#aab4de",
    Role.GRID: "#20263a",
    Role.AXIS: "#2f3750",
    Role.TITLE: "#8fa3dd",
    Role.TRAIN: "#7aa2f7",
    Role.RAW: "#47639b",
    Role.VAL: "#ff9e64",
    Role.VAL_LINE: "#8a5a3c",
    Role.GOOD: "#9ece6a",
    Role.SECOND: "#bb9af7",
    Role.SAVED: "#73daca",
    Role.WARN: "#e0af68",
    Role.BAD: "#f7768e",
    Role.RATE: "#8a78b6",
    Role.CHANCE: "#af7188",
    Role.TROUGH: "#2b3350",
    Role.ON_BADGE: "#11141c",
    Role.THIRD: "#7dcfff",
    Role.FOURTH: "#c3e88d",
    Role.TASK_1: "#2fd5dd",
    Role.TASK_2: "#d2a0dc",
    Role.TASK_3: "#e6e632",
    Role.TASK_4: "#28fa8c",
    Role.TASK_5: "#aaaa78",
    Role.TASK_6: "#1eb4fa",
    Role.TASK_7: "#f0a000",
    Role.TASK_8: "#f08c82",
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
    Role.TEXT: "#272d45",
    Role.DIM: "#4f5675",
    Role.FAINT: "#646b8b",
    Role.BORDER: "#c3c9dc",
    Role.FOCUS: "#59617f",
    Role.GRID: "#e0e4ee",
    Role.AXIS: "#b9c0d6",
    Role.TITLE: "#3a52a3",
    Role.TRAIN: "#2257c9",
    Role.RAW: "#7590c8",
    Role.VAL: "#b04c00",
    Role.VAL_LINE: "#bd7f4a",
    Role.GOOD: "#37760f",
    Role.SECOND: "#7c3bc4",
    Role.SAVED: "#0b766c",
    Role.WARN: "#8a5a00",
    Role.BAD: "#c32148",
    Role.RATE: "#7763a6",
    Role.CHANCE: "#a3536c",
    Role.TROUGH: "#ccd2e3",
    Role.ON_BADGE: "#ffffff",
    Role.THIRD: "#06709f",
    Role.FOURTH: "#5c7410",
    Role.TASK_1: "#006446",
    Role.TASK_2: "#aa1eb4",
    Role.TASK_3: "#64640a",
    Role.TASK_4: "#0a6e96",
    Role.TASK_5: "#783200",
    Role.TASK_6: "#464678",
    Role.TASK_7: "#961446",
    Role.TASK_8: "#d2001e",
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


def _named(roles: Mapping[Role, str], backs: Mapping[Back, str]) -> dict[str, str]:
    return {
        **{f"sftui-{role.name.lower()}": value for role, value in roles.items()},
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
_LINES = {Role.RAW: LINES, Role.VAL_LINE: LINES, Role.FOCUS: LINES}
_SCENERY = frozenset({Role.BORDER, Role.GRID, Role.AXIS, Role.TROUGH})
"""Frames, grid and axes: they carry no information and may be faint."""


def least_contrast(role: Role) -> float:
    """The contrast a role needs to its background; 1 for any."""
    return 1.0 if role in _SCENERY else _LINES.get(role, WORDS)


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
        return color  # the terminal's own colours are the user's
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
        self._roles = {role: _role(role, variables) for role in Role}
        self._backs = {back: _back(back, variables) for back in Back}
        self._styles: dict[int, Style] = {}

    def __getitem__(self, number: int) -> Style:
        found = self._styles.get(number)
        if found is None:
            role, bold, back = parts(number)
            found = self._styles[number] = Style(
                color=self.color(role, back).rich_color,
                bgcolor=self._backs[back].rich_color,
                bold=bold or None,
            )
        return found

    def color(self, role: Role, back: Back = Back.PANEL) -> Color:
        """The colour of a role over a background."""
        return legible(self._roles[role], self._backs[back], least_contrast(role))

    def variables(self) -> dict[str, str]:
        """The roles over a panel, for style sheets and marked-up text: `$role-warn`."""
        return {f"role-{role.name.lower()}": self.color(role).css for role in Role}


def _role(role: Role, variables: Mapping[str, str]) -> Color:
    named = variables.get(f"sftui-{role.name.lower()}")
    if named:
        return Color.parse(named)
    if role in TASK_ROLES:
        # No theme has eight colours that nobody takes for another: these are told apart.
        dark = Color.parse(variables["surface"]).brightness < 0.5
        return Color.parse((_NIGHT_INKS if dark else _DAY_INKS)[role])
    base, towards, amount = _MIXES[role]
    start = Color.parse(variables[base])
    return start.blend(Color.parse(variables[towards]), amount) if amount else start


def _back(back: Back, variables: Mapping[str, str]) -> Color:
    named = variables.get(f"sftui-back-{back.name.lower()}")
    if named:
        return Color.parse(named)
    base, towards, amount = _BACK_MIXES[back]
    start = Color.parse(variables[base])
    return start.blend(Color.parse(variables[towards]), amount) if amount else start


_MIXES: dict[Role, tuple[str, str, float]] = {
    Role.TEXT: ("foreground", "surface", 0.0),
    Role.DIM: ("foreground", "surface", 0.35),
    Role.FAINT: ("foreground", "surface", 0.55),
    Role.BORDER: ("foreground", "surface", 0.78),
    Role.FOCUS: ("foreground", "surface", 0.25),
    Role.GRID: ("foreground", "surface", 0.88),
    Role.AXIS: ("foreground", "surface", 0.75),
    Role.TITLE: ("primary", "foreground", 0.3),
    Role.TRAIN: ("primary", "surface", 0.0),
    Role.RAW: ("primary", "surface", 0.6),
    Role.VAL: ("accent", "surface", 0.0),
    Role.VAL_LINE: ("accent", "surface", 0.5),
    Role.GOOD: ("success", "surface", 0.0),
    Role.SECOND: ("secondary", "foreground", 0.15),
    Role.SAVED: ("success", "primary", 0.4),
    Role.WARN: ("warning", "surface", 0.0),
    Role.BAD: ("error", "surface", 0.0),
    Role.RATE: ("secondary", "surface", 0.35),
    Role.CHANCE: ("error", "surface", 0.45),
    Role.TROUGH: ("foreground", "surface", 0.78),
    Role.ON_BADGE: ("background", "surface", 0.0),
    Role.THIRD: ("primary", "success", 0.5),
    Role.FOURTH: ("warning", "success", 0.5),
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
