"""The log as a person reads it: which sheet, which filter, what is looked for."""

from __future__ import annotations

import re
from pathlib import Path

from sftui.logbook.entry_index import JournalRows
from sftui.logbook.kinds import FILTERS
from sftui.logbook.pages import Pages
from sftui.logbook.sheet import Query, Sheet, Window
from sftui.logbook.story import Story
from sftui.logbook.text_file import TextFile
from sftui.state.run_state import RunState
from sftui.text import format as fmt
from sftui.text.clean import clean

MOST_TYPED = 200


class LogBook:
    """Mutable; the app alone writes it. The pane says how many rows it has when it draws."""

    def __init__(self, journal: Path | None = None, text: Path | None = None) -> None:
        """`journal`: events of the run on disk; `text`: the log file of another program."""
        self._story = Story(JournalRows(journal) if journal is not None else None)
        self._pages = Pages(TextFile(text)) if text is not None else None
        self._in_file = False
        self._filter = 0
        self._came_from: tuple[bool, int] | None = None  # sheet and filter before the search
        self.rows = 10
        self.query = ""
        self.typing = False
        """Whether keys go into the query."""

    @property
    def sheet(self) -> Sheet:
        return self._pages if self._in_file and self._pages is not None else self._story

    @property
    def name(self) -> str:
        """Of the filter."""
        return "file" if self._in_file else FILTERS[self._filter][0]

    @property
    def searching(self) -> bool:
        """Whether there is a search to go on with or to end."""
        return self.typing or bool(self.query)

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """What to mark in the lines."""
        return Query(self.query).pattern if self.query else None

    @property
    def busy(self) -> bool:
        """Whether a thread works: the screen looks again soon."""
        return self.sheet.busy

    @property
    def reads_file(self) -> bool:
        """Whether the sheet in sight is a text file, which has to know the clock."""
        return self._in_file

    def set_limit(self, offset: int | None) -> None:
        """What lies behind that offset of the text file has not happened yet."""
        if self._pages is not None:
            self._pages.limit = offset

    def work(self, state: RunState) -> bool:
        """Go on with what threads have found; whether there is something new to draw."""
        return self.sheet.work(state, self.rows)

    def restart(self) -> None:
        """The state begins again."""
        for sheet in (self._story, self._pages):
            if sheet is not None:
                sheet.restart()

    def close(self) -> None:
        for sheet in (self._story, self._pages):
            if sheet is not None:
                sheet.close()

    def window(self, state: RunState, rows: int) -> Window:
        self.rows = max(1, rows)
        return self.sheet.window(state, self.rows)

    # ---- what a person does ----------------------------------------------------------------

    def scroll(self, state: RunState, by: int) -> None:
        self.sheet.scroll(state, by, self.rows)

    def follow(self) -> None:
        self.sheet.follow()

    def to_start(self, state: RunState) -> None:
        self.sheet.to_start(state, self.rows)

    def next_filter(self, state: RunState) -> None:
        """The next of the kinds; behind the last, the whole file where there is one."""
        self._came_from = None
        if self._in_file:
            self._turn(state, False, 0)
        elif self._filter + 1 < len(FILTERS):
            self._turn(state, False, self._filter + 1)
        else:
            self._turn(state, self._pages is not None, 0)

    def begin_search(self, state: RunState) -> None:
        """Keys make a query from now on.

        The story of another program's log is only what was understood of it, so without a
        filter its whole file is searched.
        """
        self.typing = True
        self._set_query(state, "")
        if self._pages is not None and not self._in_file and self._filter == 0:
            self._came_from = (self._in_file, self._filter)
            self._turn(state, True, self._filter)

    def type(self, state: RunState, text: str) -> None:
        """Text from the keyboard or the clipboard; its first line counts."""
        self._set_query(state, (self.query + clean(text, MOST_TYPED))[:MOST_TYPED])

    def erase(self, state: RunState, everything: bool = False) -> None:
        """The last character, or all; with nothing left to erase the search ends."""
        if not self.query:
            self.end_search(state)
        else:
            self._set_query(state, "" if everything else self.query[:-1])

    def accept(self, state: RunState) -> None:
        """The query stands: keys mean what they meant before."""
        self.typing = False
        if not self.query:
            self.end_search(state)

    def end_search(self, state: RunState) -> None:
        """No query; the filter of before."""
        self.typing = False
        self._set_query(state, "")
        if self._came_from is not None:
            before, self._came_from = self._came_from, None
            self._turn(state, *before)

    def step(self, state: RunState, by: int) -> bool:
        """To the next match (1) or the one before (-1); False when there is none."""
        return self.sheet.step(state, by, self.rows)

    # ---- words -----------------------------------------------------------------------------

    def search_words(self, state: RunState) -> str:
        """`3 of 17`, and how far it has looked; empty without a query."""
        if not self.query:
            return ""
        found = self.sheet.matches(state)
        if not found.count:
            words = "no match" if found.share >= 1.0 else "no match yet"
        elif found.at:
            words = f"{fmt.count(found.at)} of {fmt.count(found.count)}"
        else:
            words = f"{fmt.count(found.count)} matching line{'' if found.count == 1 else 's'}"
        if found.full:
            words += " and more"
        if found.share < 1.0:
            words += f" · {fmt.percent(found.share, 0)} searched"
        return words

    # ---- inside ----------------------------------------------------------------------------

    def _turn(self, state: RunState, in_file: bool, number: int) -> None:
        query = Query(self.query) if self.query else None
        if in_file != self._in_file:
            self.sheet.look_for(state, None)
        self._in_file, self._filter = in_file and self._pages is not None, number
        if not self._in_file:
            self._story.show(state, FILTERS[number][1])
        if query is not None:
            self.sheet.look_for(state, query)

    def _set_query(self, state: RunState, text: str) -> None:
        if text != self.query:
            self.query = text
            self.sheet.look_for(state, Query(text) if text else None)
