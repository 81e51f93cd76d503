"""A log one can read: whole lines, wrapped ones, repeats folded, from a line to its point and
back."""

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.drawing.canvas import text_width
from sftui.logbook.folds import Folds
from sftui.screens.line_reader import LineReader
from sftui.state.run_state import RunState
from sftui.widgets.line_page import rows_of
from tests.conftest import examples
from tests.sftui.fake_run import START
from tests.sftui.test_app import make, panel_of, ready


def line(seq: int, text: str, level: ev.LogLevel = "info") -> ev.LogLine:
    return ev.LogLine(text=text, level=level, stamp=ev.Stamp(seq=seq, t=START + seq))


async def test_enter_shows_the_whole_line_and_y_copies_it():
    """Ten megabytes open at once; the pane itself shows one row of them."""
    long = "word " * 2_000_000
    app = make([line(1, "before"), line(2, long)])
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("5", "up")
        begun = time.process_time()
        await pilot.press("enter")
        await pilot.pause()
        reader: Any = app.screen
        assert isinstance(reader, LineReader)
        assert time.process_time() - begun < 3.0
        await pilot.press("end", "y")
        assert app.clipboard.startswith("word word")
        await pilot.press("left")
        assert "before" in reader.page.text()
        await pilot.press("escape")
        assert not isinstance(app.screen, LineReader)


async def test_w_wraps_long_lines_in_the_pane():
    """And once more cuts them again."""
    app = make([line(1, "begins " + "middle " * 30 + "finis")])
    async with app.run_test(size=(80, 24)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("5", "W")
        pane = panel_of(dashboard, "log")
        assert "finis" in pane.text()
        await pilot.press("W")
        assert "finis" not in pane.text()


async def test_a_warning_that_repeats_stands_once_with_its_count():
    """Between other lines too, whatever time stands in front; `F` shows every one."""
    events: list[ev.Event] = []
    for n in range(40):
        events.append(line(2 * n + 1, f"2026-01-02 03:04:{n:02d} UserWarning: slow", "warn"))
        events.append(line(2 * n + 2, f"something {n}"))
    app = make(events)
    async with app.run_test(size=(80, 24)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("5")
        pane = panel_of(dashboard, "log")
        await pilot.pause()
        assert pane.text().count("UserWarning") == 1
        assert "×40" in pane.text()
        await pilot.press("F")
        assert pane.text().count("UserWarning") > 5
        assert "×40" not in pane.text()


async def test_l_goes_from_a_point_to_its_line_and_back():
    """The same update on both sides."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("1", "left", "[")
        at = app.cockpit.view.viewport.cursor
        await pilot.press("L")
        assert dashboard.focused.id == "log"
        log = app.cockpit.view.log
        assert log.step_at_cursor(app.cockpit.state) == at
        app.cockpit.view.viewport.point(None)
        await pilot.press("L")
        assert dashboard.focused.id == "loss"
        assert app.cockpit.view.viewport.cursor == at


@examples(100)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_no_line_is_lost_by_folding(entries):
    """What is shown, counted as often as it says, is what was logged."""
    state, folds = RunState(), Folds()
    for n, (text, warns) in enumerate(entries):
        state.apply(line(n + 1, text, "warn" if warns else "info"))
        if n % 7 == 0:
            folds.follow(state)
    folds.follow(state)
    shown = [n for n in range(len(entries)) if n not in folds.hidden]
    assert sum(folds.times.get(n, 1) for n in shown) == len(entries)
    for text in "abc":
        told = sum(folds.times.get(n, 1) for n in shown if entries[n][0] == text)
        assert told == sum(found == text for found, _ in entries)


@examples(100)
@given(st.text(alphabet="ab 中", max_size=200), st.integers(8, 40))
def test_rows_hold_every_character_and_fit(text, width):
    """Nothing of a line is lost but blanks at a break."""
    rows = rows_of(text, width)
    assert all(text_width(row) <= width for row in rows)
    assert "".join(rows).replace(" ", "") == text.replace(" ", "")
