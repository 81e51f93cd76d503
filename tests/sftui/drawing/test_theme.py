"""Colours: what is read can be read, under every theme."""

import pytest
from textual.color import Color
from textual.theme import BUILTIN_THEMES

from sftui.drawing.roles import Back, Role
from sftui.drawing.theme import DAY, LINES, NIGHT, WORDS, Palette, contrast, least_contrast, legible
from tests import pictures
from tests.pictures import made_up

THEMES = [NIGHT, DAY] + [t for name, t in BUILTIN_THEMES.items() if not name.startswith("ansi")]
"""All but those that leave the colours to the terminal."""
UNDER = (Back.PANEL, Back.BAR, Back.ROW, Back.CURSOR)
BADGES = (Back.GOOD, Back.WARN, Back.BAD, Back.QUIET, Back.BUSY)
SCENERY = {"BORDER", "GRID", "AXIS", "TROUGH"}


def palette_of(theme):
    return Palette(theme.to_color_system().generate() | theme.variables)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    # Published pairs: the extremes, and the greys on both sides of 4.5 on white.
    [
        ("#000000", "#ffffff", 21.0),
        ("#ffffff", "#ffffff", 1.0),
        ("#767676", "#ffffff", 4.54),
        ("#777777", "#ffffff", 4.48),
        ("#ff0000", "#ffffff", 4.0),
        ("#0000ff", "#ffffff", 8.59),
    ],
)
def test_contrast_is_that_of_wcag(one, other, ratio):
    assert contrast(Color.parse(one), Color.parse(other)) == pytest.approx(ratio, abs=0.005)
    assert contrast(Color.parse(other), Color.parse(one)) == pytest.approx(ratio, abs=0.005)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_every_pair_of_role_and_background_can_be_read(theme):
    """Words at 4.5, lines that say something at 3; scenery may recede."""
    palette = palette_of(theme)
    pairs = [(role, back) for role in Role if role is not Role.ON_BADGE for back in UNDER]
    pairs += [(Role.ON_BADGE, back) for back in BADGES]
    for role, back in pairs:
        found = contrast(palette.color(role, back), palette._backs[back])
        least = (
            1
            if role.name in SCENERY
            else 3
            if role in (Role.RAW, Role.VAL_LINE, Role.FOCUS)
            else 4.5
        )
        assert found >= least, (role.name, back.name, round(found, 2))


@pytest.mark.parametrize("theme", [NIGHT, DAY], ids=lambda theme: theme.name)
def test_our_own_themes_need_no_help_on_a_panel(theme):
    """The colours they name are the colours that are seen."""
    palette = palette_of(theme)
    for role in Role:
        if role is not Role.ON_BADGE:
            assert palette.color(role) == palette._roles[role], role.name


@pytest.mark.parametrize("theme", [NIGHT.name, DAY.name, "textual-light", "solarized-light"])
@pytest.mark.parametrize("name", ["running", "failed", "start-up", "help", "stop"])
async def test_every_word_on_the_screen_can_be_read(name, theme):
    """As it is painted, the text of dialogs included; what lies under a dialog is dimmed."""
    shot = made_up()[name]
    shot = pictures.Shot(events=shot.events, keys=shot.keys, theme=theme)
    async with pictures.shown(shot, (120, 36)) as app:
        area = app.screen.region
        if name in ("help", "stop"):
            area = app.screen.query_one({"help": "#help", "stop": "#dialog"}[name]).region
        read = 0
        for y, strip in enumerate(app.screen._compositor.render_strips()):
            x = 0
            for segment in strip:
                inside = area.contains(x, y) and area.contains(x + segment.cell_length - 1, y)
                x += segment.cell_length
                if not inside or not any(char.isalnum() for char in segment.text):
                    continue
                colors = segment.style.color, segment.style.bgcolor
                fore, back = (Color.from_rich_color(color) for color in colors)
                assert contrast(fore, back) >= WORDS, (segment.text, fore.css, back.css)
                read += 1
    assert read > 5


def test_a_shade_goes_no_further_than_it_must():
    """Near the level, in its own hue; a colour that is enough stays."""
    surface = Color.parse("#d8d8d8")
    orange = Color.parse("#ffa62b")
    shade = legible(orange, surface, WORDS)
    assert WORDS <= contrast(shade, surface) < WORDS + 0.15
    assert shade.hsl.h == pytest.approx(orange.hsl.h, abs=0.01)
    assert legible(shade, surface, LINES) == shade


def test_scenery_asks_for_nothing():
    assert {role.name for role in Role if least_contrast(role) == 1} == SCENERY
