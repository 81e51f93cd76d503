"""Wait for the letter of a panel; the letters are drawn by the panels themselves."""

from __future__ import annotations

from collections.abc import Iterable

from textual import events

from sftui.keys.key_table import JUMP_LETTERS
from sftui.screens.modal import Modal


class Jump(Modal[tuple[str, bool] | None]):
    """Dismissed with the panel and whether it was a capital; None by any other key."""

    def __init__(self, panels: Iterable[str]) -> None:
        super().__init__()
        self._panels = {JUMP_LETTERS[name]: name for name in panels}

    def on_key(self, event: events.Key) -> None:
        event.stop()
        letter = event.character or ""
        name = self._panels.get(letter.lower())
        self.dismiss((name, letter.isupper()) if name is not None else None)

    def on_click(self) -> None:
        self.dismiss(None)
