"""What the log pane shows: which content, which filter, which search."""

from __future__ import annotations

import re
from pathlib import Path

from sftui.logbook.entry_index import JournalRows
from sftui.logbook.event_log import EventLog
from sftui.logbook.file_log import FileLog
from sftui.logbook.kinds import FILTERS
from sftui.logbook.log_content import Line, LogContent, Query, Window
from sftui.logbook.text_file import TextFile
from sftui.state.run_state import RunState
from sftui.text import format as fmt
from sftui.text.clean import clean

MOST_TYPED = 200


class LogBook:
    """State of the log pane, changed by the app alone; the pane gives its height when it draws."""

    def __init__(self, journal: Path | None = None, text: Path | None = None) -> None:
        """`journal`: events of the run on disk; `text`: the log file of another program."""
        self._event_log = EventLog(JournalRows(journal) if journal is not None else None)
        self._file_log = FileLog(TextFile(text)) if text is not None else None
        self._in_file = False
        self._filter = 0
        self._came_from: tuple[bool, int] | None = None  # content and filter before the search
        self.rows = 10
        self.query = ""
        self.typing = False
        """Whether keys go into the query."""

    @property
    def content(self) -> LogContent:
        return self._file_log if self._in_file and self._file_log is not None else self._event_log

    @property
    def name(self) -> str:
        """Name of the filter, or `file`."""
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
        """Whether a thread works: the screen asks again soon."""
        return self.content.busy

    @property
    def reads_file(self) -> bool:
        """Whether a text file is shown, which has to know the clock."""
        return self._in_file

    def set_limit(self, offset: int | None) -> None:
        """Hide what lies behind that offset of the text file: it has not happened yet."""
        if self._file_log is not None:
            self._file_log.limit = offset

    def work(self, state: RunState) -> bool:
        """Take over what threads have found; True when there is something new to draw."""
        return self.content.work(state, self.rows)

    def restart(self) -> None:
        """The state begins again: drop what was numbered by it."""
        for content in (self._event_log, self._file_log):
            if content is not None:
                content.restart()

    def close(self) -> None:
        for content in (self._event_log, self._file_log):
            if content is not None:
                content.close()

    def window(self, state: RunState, rows: int) -> Window:
        self.rows = max(1, rows)
        return self.content.window(state, self.rows)

    def whole(self, state: RunState, line: Line) -> str:
        """A line to its end, as it is copied."""
        return self.content.whole(state, line.place) or line.text

    # ---- keys --------------------------------------------------------------------------------

    def scroll(self, state: RunState, by: int) -> None:
        self.content.scroll(state, by, self.rows)

    def follow(self) -> None:
        self.content.follow()

    def to_start(self, state: RunState) -> None:
        self.content.to_start(state, self.rows)

    def next_filter(self, state: RunState) -> None:
        """Show the next kind of entries; after the last, the whole file where there is one."""
        self._came_from = None
        if self._in_file:
            self._turn(state, False, 0)
        elif self._filter + 1 < len(FILTERS):
            self._turn(state, False, self._filter + 1)
        else:
            self._turn(state, self._file_log is not None, 0)

    def begin_search(self, state: RunState) -> None:
        """Keys make a query from now on.

        The event log of another program's log is only what was understood of it, so without a
        filter its whole file is searched.
        """
        self.typing = True
        self._set_query(state, "")
        if self._file_log is not None and not self._in_file and self._filter == 0:
            self._came_from = (self._in_file, self._filter)
            self._turn(state, True, self._filter)

    def type(self, state: RunState, text: str) -> None:
        """Add text from the keyboard or the clipboard to the query; of several lines the first."""
        self._set_query(state, (self.query + clean(text, MOST_TYPED))[:MOST_TYPED])

    def erase(self, state: RunState, everything: bool = False) -> None:
        """Erase the last character, or all; with nothing left to erase the search ends."""
        if not self.query:
            self.end_search(state)
        else:
            self._set_query(state, "" if everything else self.query[:-1])

    def accept(self, state: RunState) -> None:
        """End typing: keys have their usual meaning again."""
        self.typing = False
        if not self.query:
            self.end_search(state)

    def end_search(self, state: RunState) -> None:
        """End the search and go back to the filter before it."""
        self.typing = False
        self._set_query(state, "")
        if self._came_from is not None:
            before, self._came_from = self._came_from, None
            self._turn(state, *before)

    def step(self, state: RunState, by: int) -> bool:
        """Select the next match (1) or the one before (-1); False when there is none."""
        return self.content.step(state, by, self.rows)

    # ---- words -----------------------------------------------------------------------------

    def search_words(self, state: RunState) -> str:
        """`3 of 17`, and how far it has searched; empty without a query."""
        if not self.query:
            return ""
        found = self.content.matches(state)
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
            self.content.search_for(state, None)
        self._in_file, self._filter = in_file and self._file_log is not None, number
        if not self._in_file:
            self._event_log.show(state, FILTERS[number][1])
        if query is not None:
            self.content.search_for(state, query)

    def _set_query(self, state: RunState, text: str) -> None:
        if text != self.query:
            self.query = text
            self.content.search_for(state, Query(text) if text else None)
