"""The line that takes every verb, with what it may go on with under it: `:` and `ctrl+p`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import UsageError
from sftui.drawing.canvas import fit, text_width
from sftui.keys.key_table import KeyTable
from sftui.screens.modal import Modal
from sftui.verbs.completion import Around, Suggestion, suggest
from sftui.verbs.typed import NotHereError, Typed, read
from sftui.verbs.verb_table import by_name

_USAGE = 23
"""Cells of a verb and its arguments, before what it does."""
_MOST_KEY = 7
_BEGUN_NUMBER = re.compile(r"[x×]?[\d.,_]*")
"""What may still become a number as it is typed."""


class CommandLine(Modal[str]):
    """Dismissed with a line that can be done, or with an empty string.

    Any other line stays, with what to type instead under it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c,ctrl+p", "close", "Close", show=False, priority=True),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("pagedown", "move(8)", show=False, priority=True),
        Binding("pageup", "move(-8)", show=False, priority=True),
        Binding("tab", "complete", show=False, priority=True),
    ]

    def __init__(
        self,
        around: Around,
        keys: KeyTable,
        preview: Callable[[str], str],
        *,
        problem: Callable[[Typed], str] = lambda _: "",
        line: str = "",
    ) -> None:
        """`preview`: what a line would do, in words. `problem`: why one that was understood cannot
        be done, else empty. `line`: what stands there at first."""
        super().__init__()
        self._around = around
        self._keys = keys
        self._preview = preview
        self._problem = problem
        self._first = line
        self._rows: list[Suggestion] = []
        self._places: list[int | None] = []
        """The suggestion of each row of the list; None for a heading."""
        self._moved = False
        """Whether a row was chosen since the line changed: enter then takes the row."""

    def compose(self) -> ComposeResult:
        with Vertical(id="command"):
            yield Input(
                self._first,
                id="command-line",
                placeholder="a verb: lr 0.5 · pause in 50 · compare last",
                max_length=4000,
                select_on_focus=False,
            )
            yield Static(id="command-says", markup=False)
            yield OptionList(id="command-list", markup=False, compact=True)

    def on_mount(self) -> None:
        line = self.query_one(Input)
        line.focus()
        line.cursor_position = len(self._first)
        self.query_one(OptionList).can_focus = False
        self._show(self._first)

    # ---- typing ----------------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        self._moved = False
        self._show(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        here = self.query_one(OptionList).highlighted
        if self._moved and here is not None:
            self._choose(here)
        else:
            self._take(event.value)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(event.option_index)

    def on_click(self, event: Click) -> None:
        if event.widget is self:
            self.dismiss("")

    def action_close(self) -> None:
        self.dismiss("")

    def action_complete(self) -> None:
        """Let the chosen row stand in the line."""
        if (chosen := self._chosen()) is not None:
            takes_more = chosen.shown.startswith(chosen.line) and chosen.shown != chosen.line
            self._set(chosen.line.rstrip() + " " * takes_more)

    def action_move(self, by: int) -> None:
        rows = self.query_one(OptionList)
        places = [i for i, place in enumerate(self._places) if place is not None]
        if not places:
            return
        here = rows.highlighted
        at = places.index(here) + by if here in places else 0 if by > 0 else len(places) - 1
        rows.highlighted = places[max(0, min(len(places) - 1, at))]
        self._moved = True

    def _set(self, text: str) -> None:
        line = self.query_one(Input)
        line.value = text
        line.cursor_position = len(text)

    def _chosen(self) -> Suggestion | None:
        here = self.query_one(OptionList).highlighted
        place = self._places[here] if here is not None and here < len(self._places) else None
        return self._rows[place] if place is not None else None

    def _choose(self, index: int) -> None:
        place = self._places[index]
        if place is None:
            return
        row = self._rows[place]
        if row.whole:
            self._take(row.line)
        else:
            self._set(row.line)

    def _take(self, text: str) -> None:
        """Leave with this line, with the chosen row where the line is only its beginning, or say
        what to type."""
        chosen = self._chosen() or self._only_end(text)
        typed = text.strip().removeprefix(":").strip()
        try:
            wrong = self._problem(read(typed, self._around.mode))
        except UsageError as error:
            wrong = str(error)
        if not wrong:
            self.dismiss(typed)
        elif chosen is None or chosen.line.strip() == typed:
            self._say(wrong, "$role-warn")
        elif chosen.whole:
            self._take(chosen.line)
        else:
            self._set(chosen.line)

    def _only_end(self, text: str) -> Suggestion | None:
        """The one word that a begun argument can become. Never what is asked of a run."""
        verb = by_name(text.strip().removeprefix(":").lstrip().split(" ")[0])
        if verb is None or verb.group == "run" or len(self._rows) != 1:
            return None
        return self._rows[0]

    # ---- drawing ---------------------------------------------------------------------------

    def _show(self, line: str) -> None:
        typed = line.strip().removeprefix(":").lstrip()
        # A word that is typed whole is no help under itself.
        self._rows = [row for row in suggest(line, self._around) if row.help or row.line != typed]
        options: list[Option] = []
        self._places = []
        group = ""
        headed = not line.strip().removeprefix(":")
        for i, row in enumerate(self._rows):
            if headed and row.group != group:
                group = row.group
                options.append(Option(Content.styled(group, "bold $role-title"), disabled=True))
                self._places.append(None)
            options.append(Option(self._row(row)))
            self._places.append(i)
        rows = self.query_one(OptionList)
        rows.clear_options()
        rows.add_options(options)
        rows.display = bool(options)
        first = next((i for i, place in enumerate(self._places) if place is not None), None)
        # Where a verb is typed whole, enter takes the line and not a row.
        rows.highlighted = first if " " not in line.strip() else None
        self._explain()

    def on_option_list_option_highlighted(self) -> None:
        self._explain()

    def _explain(self) -> None:
        """Under the line: what is wrong with it or what it would do, else what the verb is for."""
        line = self.query_one(Input).value.strip().removeprefix(":").lstrip()
        if wrong := self._wrong(line):
            self._say(wrong, "$role-warn")
            return
        if words := self._preview(line):
            self._say(words, "$role-good")
            return
        verb = by_name(line.split(" ")[0])
        chosen = self._chosen()
        if chosen is not None and chosen.help:
            verb = by_name(chosen.shown.split(" ")[0])
        self._say("" if verb is None else f"{verb.usage}: {verb.help}", "$role-dim")

    def _wrong(self, line: str) -> str:
        """What is wrong with a line as far as it was typed: nothing that more letters can mend."""
        name, _, rest = line.partition(" ")
        verb = by_name(name)
        if verb is None:
            return ""
        begun = any(row.line.strip() != line for row in self._rows)
        try:
            typed = read(line, self._around.mode)
        except NotHereError as error:
            return str(error)
        except UsageError as error:
            unfinished = begun or _BEGUN_NUMBER.fullmatch(rest.split(" ")[-1])
            return "" if unfinished else str(error)
        return "" if begun and verb.group != "run" else self._problem(typed)

    def _say(self, words: str, role: str) -> None:
        says = self.query_one("#command-says", Static)
        says.update(Content.styled(words, role))
        says.display = bool(words)

    def _row(self, row: Suggestion) -> Content:
        width = max(20, min(70, self.app.size.width) - 6)
        if not row.help:
            return Content(fit(row.shown, width))
        shown = self._keys.by_id(row.key).shown if row.key else ""
        key = fit(shown, _MOST_KEY) if shown else ""
        room = width - _USAGE - _MOST_KEY - 2
        told = fit(row.help, max(0, room))
        gap = " " * max(1, width - _USAGE - text_width(told) - text_width(key) - 1)
        name = fit(row.shown, _USAGE)
        return Content.assemble(
            name + " " * (_USAGE - text_width(name) + 1),
            Content.styled(told, "$role-dim"),
            gap,
            Content.styled(key, "$role-warn"),
        )
