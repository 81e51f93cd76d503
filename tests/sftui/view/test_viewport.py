"""Zoom, pan and crosshair: pure numbers first, then by keys and mouse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.text import format as fmt
from sftui.view.viewport import FEWEST, Extent, Viewport
from tests.sftui.fake_run import fake_run
from tests.sftui.test_app import make, panel_of, ready, text_of

FULL = (0.0, 400.0)


def test_zoom_keeps_its_place():
    """What is under the pointer stays there; out again is where it began."""
    viewport = Viewport(extent=Extent(FULL))
    viewport.zoom(True, 100.0)
    assert viewport.part == (50.0, 250.0)
    viewport.zoom(True, 100.0)
    assert viewport.part == (75.0, 175.0)
    viewport.zoom(False, 100.0)
    assert viewport.part == (50.0, 250.0)
    viewport.zoom(False, 100.0)
    assert viewport.part is None


def test_without_a_place_zoom_is_about_the_newest():
    """`+` alone looks at the end of the run."""
    viewport = Viewport(extent=Extent(FULL))
    viewport.zoom(True)
    assert viewport.part == (200.0, 400.0)


@given(st.lists(st.tuples(st.sampled_from("zoZPm"), st.floats(-900, 900)), max_size=40))
def test_whatever_is_pressed_the_part_lies_in_the_run(presses):
    """Never outside, never narrower than a few updates, never the wrong way round."""
    viewport = Viewport(extent=Extent(FULL, 80))
    for press, value in presses:
        if press in "zZ":
            viewport.zoom(press == "z", value)
        elif press == "o":
            viewport.zoom(False)
        elif press == "P":
            viewport.pan(value)
        else:
            viewport.move(int(value / 100), 399.0)
        low, high = viewport.shown
        assert FULL[0] <= low < high <= FULL[1] + 1e-6
        assert high - low >= FEWEST - 1e-6
        assert viewport.cursor is None or FULL[0] <= viewport.cursor <= 399.0


def test_the_picture_follows_the_crosshair():
    """At the edge of a zoom the arrow moves the picture."""
    viewport = Viewport(extent=Extent(FULL, 10), part=(100.0, 200.0), cursor=195.0)
    viewport.move(1, 399.0)
    assert viewport.cursor == 205.0
    assert viewport.part == (105.0, 205.0)


async def test_crosshair_by_keys_says_every_value():
    """Left shows it at the newest update; the box tells step, losses, rate; the accuracy chart
    has the same column."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("left", "left", "shift+left")
        text = text_of(dashboard)
        for words in ("step", "train", "lr ×", "grad", "val @"):
            assert words in text
        assert app.cockpit.view.viewport.cursor < 118
        await pilot.press("0")
        assert "grad  " not in text_of(dashboard)
        assert app.cockpit.view.viewport.cursor is None


async def test_the_crosshair_reaches_what_was_measured_last():
    """Update 400 has index 399; validation and accuracies of its weights stand at 400."""
    app = make(fake_run())
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("left")
        assert app.cockpit.view.viewport.cursor == 400
        state, box = app.cockpit.state, panel_of(dashboard, "loss").text().splitlines()
        words = next(line for line in box if " val  " in line)
        assert fmt.loss(state.validations[400].loss) in words
        assert any("train @399" in line for line in box)


async def test_crosshair_jumps():
    """`[` to the last checkpoint, `N` to the last event, and a word where there is none."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("left_square_bracket")
        assert app.cockpit.view.viewport.cursor == 100
        await pilot.press("N")
        assert app.cockpit.view.viewport.cursor == 50
        await pilot.press("n")
        assert app.cockpit.view.viewport.cursor == 100
        for key, words in (
            ("n", "no later event"),
            ("right_square_bracket", "no later checkpoint"),
        ):
            await pilot.press(key)
            await pilot.pause()
            assert [words in n.message for n in app._notifications] == [True]


async def test_zoom_by_keys_and_wheel():
    """All charts show the same part, and the frame says which."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("plus")
        assert app.cockpit.view.viewport.part is not None
        assert "x: " in panel_of(dashboard, "loss").grid.line(
            panel_of(dashboard, "loss").size.height - 1
        )
        await pilot.press("minus")
        assert app.cockpit.view.viewport.part is None


@pytest.mark.parametrize("size", [(160, 48), (80, 24), (40, 10)])
async def test_pointing_with_the_mouse(size):
    """The crosshair is under the pointer; a drag pans a zoom."""
    app = make()
    async with app.run_test(size=size) as pilot:
        dashboard = await ready(pilot)
        loss = panel_of(dashboard, "loss")
        col = loss.plot.col + 10
        await pilot.hover("#loss", offset=(col, 4))
        await pilot.pause()
        cursor = app.cockpit.view.viewport.cursor
        assert loss.plot.x_cell(cursor) == col
        await pilot.press("plus")
        await pilot.pause()
        low, _ = app.cockpit.view.viewport.part
        await pilot.mouse_down("#loss", offset=(col, 4))
        await pilot.hover("#loss", offset=(col + 5, 4))
        await pilot.mouse_up("#loss", offset=(col + 5, 4))
        assert app.cockpit.view.viewport.part[0] <= low
