"""Jump mode: letters on the panels, and where they lead at every size."""

import pytest

from sftui.drawing.roles import Back, parts
from sftui.keys.key_table import JUMP_LETTERS
from sftui.screens.jump import Jump
from sftui.view.view import PANELS
from tests.sftui.test_app import make, panel_of, ready, text_of


def badge(panel) -> str:
    """What stands on amber in the first row of a panel."""
    row = panel.grid.codes[0].tolist()
    backs = [parts(int(n))[2] for n in panel.grid.styles[0]]
    return "".join(chr(c) for c, b in zip(row, backs, strict=True) if b == Back.WARN).strip()


def test_letters_are_one_each():
    """No two panels share one, and every panel by number has one."""
    assert len(set(JUMP_LETTERS.values())) == len(JUMP_LETTERS)
    assert all(len(letter) == 1 and letter.islower() for letter in JUMP_LETTERS.values())
    assert set(PANELS) <= JUMP_LETTERS.keys()


async def test_every_panel_that_takes_the_focus_has_a_letter():
    """A new panel cannot be forgotten."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        assert {p.id for p in dashboard.panels if p.can_focus} == JUMP_LETTERS.keys()


@pytest.mark.parametrize("size", [(160, 48), (120, 36), (80, 24)])
@pytest.mark.parametrize("name", JUMP_LETTERS)
async def test_a_letter_goes_to_its_panel(size, name):
    """In sight or not; the letters are there while it waits, and gone afterwards."""
    app = make()
    async with app.run_test(size=size) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("j")
        await pilot.pause()
        visible = dashboard.boxes(dashboard.size)
        for shown in JUMP_LETTERS:
            if shown in visible:
                assert badge(panel_of(dashboard, shown)) == JUMP_LETTERS[shown]
        offered = name in visible or name in PANELS
        footer = panel_of(dashboard, "footer").grid.line(0)
        assert (f"{JUMP_LETTERS[name]} {name}" in footer) == offered
        await pilot.press(JUMP_LETTERS[name])
        await pilot.pause()
        assert app.screen is dashboard
        visible = dashboard.boxes(dashboard.size).keys() & JUMP_LETTERS.keys()
        assert all(badge(panel_of(dashboard, shown)) == "" for shown in visible)
        if offered:
            table = app.cockpit.dashboard.table
            assert dashboard.focused is not None
            assert dashboard.focused.id in (name, table if name == "accuracy" else name)


async def test_a_capital_shows_the_panel_alone():
    """`z` brings the others back; a second jump goes from one to the other."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("j", "M")
        await pilot.pause()
        assert set(dashboard.boxes(dashboard.size)) == {"header", "memory", "footer"}
        await pilot.press("j", "g")
        await pilot.pause()
        assert set(dashboard.boxes(dashboard.size)) == {"header", "log", "footer"}
        await pilot.press("z")
        await pilot.pause()
        assert len(dashboard.boxes(dashboard.size)) > 5


@pytest.mark.parametrize("key", ["escape", "x", "space", "question_mark"])
async def test_any_other_key_leaves_and_does_nothing_else(key):
    """Nothing is asked of the run, no panel changes."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        before, focused = text_of(dashboard), dashboard.focused
        await pilot.press("j")
        await pilot.pause()
        assert isinstance(app.screen, Jump)
        await pilot.press(key)
        await pilot.pause()
        assert app.screen is dashboard
        assert dashboard.focused is focused
        assert text_of(dashboard) == before
        assert app.source.sent == []


async def test_a_click_leaves():
    """Who changes their mind with the mouse."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("j")
        await pilot.pause()
        await pilot.click(offset=(50, 20))
        await pilot.pause()
        assert app.screen is dashboard
        assert app.cockpit.view.jumping == ()


@pytest.mark.parametrize("size", [(40, 10), (20, 5), (1, 1)])
async def test_a_tiny_screen_jumps_too(size):
    """Nothing raises where hardly anything is shown."""
    app = make()
    async with app.run_test(size=size) as pilot:
        dashboard = await ready(pilot)
        for letter in ("g", "a", "B", "escape"):
            await pilot.press("j", letter)
            await pilot.pause()
            assert app.screen is dashboard
