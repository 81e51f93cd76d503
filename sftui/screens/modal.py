"""The base of every box over the screen."""

from __future__ import annotations

from typing import TypeVar

from textual.screen import ModalScreen

from sftui.terminal.terminal_app import BOXES

Result = TypeVar("Result")


class Modal(ModalScreen[Result]):
    """A modal screen, styled by the sheet of the boxes, which no first frame waits for."""

    CSS_PATH = BOXES
