"""Boxes over the screen have a style sheet of their own, which no first frame waits for."""

from __future__ import annotations

import importlib
import pkgutil

from textual.screen import ModalScreen

from sftui import screens
from sftui.screens.modal import Modal
from sftui.terminal.terminal_app import BOXES, TerminalApp
from tests.sftui.cockpit.test_playback import app_of, shown


def test_every_box_takes_its_style_from_the_sheet_of_the_boxes() -> None:
    for module in pkgutil.iter_modules(screens.__path__):
        found = vars(importlib.import_module(f"sftui.screens.{module.name}")).values()
        for kind in found:
            if isinstance(kind, type) and issubclass(kind, ModalScreen) and kind is not ModalScreen:
                assert issubclass(kind, Modal), kind
                assert kind.CSS_PATH == BOXES
                assert f"{kind.__name__} {{" not in TerminalApp.CSS_PATH.read_text()


async def test_the_sheet_of_the_boxes_is_read_before_the_first_of_them_opens() -> None:
    app = app_of()
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(pilot)
        await pilot.press("question_mark")
        assert app.stylesheet.has_source(str(BOXES), "")
        assert app.screen.query_one("#help").styles.border_top[0] == "round"
