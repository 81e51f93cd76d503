"""One meaning a colour: what stands beside each other is told apart, by day and by night."""

from __future__ import annotations

import itertools

import pytest
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from sftui.drawing.roles import TASK_MARKS, TASK_ROLES, Role, task_mark, task_role
from sftui.drawing.theme import DAY, NIGHT, Palette
from sftui.terminal import ascii_glyphs
from tests.sftui.drawing.colour_difference import difference, lab

OURS = [NIGHT, DAY]
ALL = [*OURS, *(t for t in BUILTIN_THEMES.values() if "ansi" not in t.name)]
LOSS = (Role.TRAIN, Role.VAL, Role.GOOD, Role.SAVED, Role.WARN, Role.RATE)
"""What the loss chart draws in a colour of its own."""


def palette_of(theme: Theme) -> Palette:
    return Palette(theme.to_color_system().generate() | theme.variables)


def apart(palette: Palette, one: Role, other: Role) -> float:
    first, second = (palette.color(role) for role in (one, other))
    return difference(lab(first.rgb), lab(second.rgb))


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    # Of the published table: greys, the turn of the hue, and a large difference.
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
        ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0011), 7.2195),
        ((50.0, 2.5000, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((50.0, 2.5000, 0.0), (56.0, -27.0, -3.0), 31.9030),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
    ],
)
def test_the_difference_is_that_of_the_published_table(
    one: tuple[float, float, float], other: tuple[float, float, float], wanted: float
) -> None:
    assert difference(one, other) == pytest.approx(wanted, abs=1e-4)
    assert difference(other, one) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("theme", ALL, ids=lambda theme: theme.name)
def test_eight_tasks_are_told_apart_under_every_theme(theme: Theme) -> None:
    palette = palette_of(theme)
    for one, other in itertools.combinations(TASK_ROLES, 2):
        assert apart(palette, one, other) >= 12, (one.name, other.name)


@pytest.mark.parametrize("theme", OURS, ids=lambda theme: theme.name)
def test_a_task_has_no_colour_that_means_something_else(theme: Theme) -> None:
    """Blue and orange are the losses, green is good, red is bad, purple the rate."""
    palette = palette_of(theme)
    for task, other in itertools.product(TASK_ROLES, (*LOSS, Role.BAD, Role.CHANCE)):
        assert apart(palette, task, other) >= 8, (task.name, other.name)
    for task in TASK_ROLES:
        assert apart(palette, task, Role.TRAIN) >= 13
        assert apart(palette, task, Role.VAL) >= 13


@pytest.mark.parametrize("theme", OURS, ids=lambda theme: theme.name)
def test_what_the_loss_chart_draws_is_told_apart(theme: Theme) -> None:
    palette = palette_of(theme)
    for one, other in itertools.combinations(LOSS, 2):
        assert apart(palette, one, other) >= 10, (one.name, other.name)
    # What is pale is of the same hue and plainly weaker.
    for bright, pale in ((Role.TRAIN, Role.RAW), (Role.VAL, Role.VAL_LINE)):
        assert apart(palette, bright, pale) >= 10
    # The frame in focus is neither a curve nor another frame.
    assert apart(palette, Role.FOCUS, Role.BORDER) >= 25
    assert apart(palette, Role.FOCUS, Role.TRAIN) >= 10


def test_every_task_of_sixteen_has_a_pair_of_mark_and_colour_of_its_own() -> None:
    pairs = {(task_mark(i), task_role(i)) for i in range(16)}
    assert len(pairs) == 16
    assert len({task_mark(i) for i in range(8)}) == len({task_role(i) for i in range(8)}) == 8


def test_marks_stay_apart_where_only_ascii_is_printed() -> None:
    plain = {ascii_glyphs._SAME[mark] for mark in TASK_MARKS}
    assert len(plain) == len(TASK_MARKS)


def test_a_theme_that_is_light_has_the_colours_of_day() -> None:
    light = palette_of(next(t for t in BUILTIN_THEMES.values() if t.name == "solarized-light"))
    assert light.color(Role.TASK_1).brightness < Color.parse("#808080").brightness
