"""What a cell's colour means: roles, never hues.

A style is one small integer (role, weight, background), so that two frames can
be compared as arrays. `theme` alone turns it into a terminal colour.
"""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """Meaning of a foreground colour."""

    TEXT = 0
    DIM = 1
    FAINT = 2
    BORDER = 3
    FOCUS = 4
    GRID = 5
    AXIS = 6
    TITLE = 7
    TRAIN = 8
    RAW = 9
    VAL = 10
    VAL_LINE = 11
    GOOD = 12
    SECOND = 13
    SAVED = 14
    WARN = 15
    BAD = 16
    RATE = 17
    CHANCE = 18
    TROUGH = 19
    ON_BADGE = 20
    THIRD = 21
    FOURTH = 22
    TASK_1 = 23
    TASK_2 = 24
    TASK_3 = 25
    TASK_4 = 26
    TASK_5 = 27
    TASK_6 = 28
    TASK_7 = 29
    TASK_8 = 30


class Back(IntEnum):
    """Meaning of a background colour."""

    PANEL = 0
    BAR = 1
    ROW = 2
    GOOD = 3
    WARN = 4
    BAD = 5
    QUIET = 6
    BUSY = 7
    CURSOR = 8


BOLD = 1 << 6
_BACK_SHIFT = 8

TASK_ROLES = tuple(Role(number) for number in range(Role.TASK_1, Role.TASK_8 + 1))
"""Colours of tasks, in the order in which they first appear. Nothing else has them: blue and
orange are the losses'."""
TASK_MARKS = "●■▲○□△▼×"
"""Their marks: where there are no colours they alone tell the tasks apart."""


def task_role(place: int) -> Role:
    """The colour of the task that appeared as number `place`, from 0."""
    return TASK_ROLES[place % len(TASK_ROLES)]


def task_mark(place: int) -> str:
    """Its mark. With more tasks than colours, mark and colour repeat at different places."""
    return TASK_MARKS[(place + place // len(TASK_MARKS)) % len(TASK_MARKS)]


def style(role: Role, *, bold: bool = False, back: Back = Back.PANEL) -> int:
    """The number of a style: role, weight, background."""
    return int(role) | (BOLD if bold else 0) | (int(back) << _BACK_SHIFT)


def on(back: Back, number: int) -> int:
    """The same style over another background."""
    return (number & 0xFF) | (int(back) << _BACK_SHIFT)


def parts(number: int) -> tuple[Role, bool, Back]:
    """Role, weight and background of a style number."""
    return Role(number & 0x3F), bool(number & BOLD), Back(number >> _BACK_SHIFT)
