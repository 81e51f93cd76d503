"""The events as the log pane shows them: those the state keeps, before them the journal's.

A place is the row of the journal's index, or, above `MEMORY`, the number of an entry
that the state has kept. So a line keeps its place while new ones come.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from engine.events import Event
from sftui.logbook.entry_index import JournalRows
from sftui.logbook.event_lines import entry, whole_text
from sftui.logbook.file_search import FileSearch
from sftui.logbook.kinds import EVERYTHING, kind_of
from sftui.logbook.log_content import Line, Matches, Query, Window
from sftui.state.run_state import RunState

MEMORY = 1 << 60


@dataclass(frozen=True, slots=True)
class Places:
    """Rising places in two parts: rows of the file, numbers in memory."""

    rows: Any
    """A range or an array."""
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows) + len(self.numbers)

    def __getitem__(self, index: int) -> int:
        split = len(self.rows)
        if index < split:
            return int(self.rows[index])
        return MEMORY + self.numbers[index - split]

    def upto(self, place: int) -> int:
        """How many are at or before a place."""
        if place < MEMORY:
            return bisect.bisect_right(self.rows, place)
        return len(self.rows) + bisect.bisect_right(self.numbers, place - MEMORY)


class EventLog:
    """See the module. `kinds` is what the filter lets through."""

    timed = True

    def __init__(self, rows: JournalRows | None = None) -> None:
        self._rows = rows
        self._kinds = EVERYTHING
        self._bottom: int | None = None  # place of the last line shown; None follows
        self._wanted = False  # scrolled further back than the memory goes
        self._joined: tuple[int, int, int] = (-1, -1, 0)
        self._shown = 0  # rows of the index when it was last drawn
        self._query: Query | None = None
        self._search: FileSearch | None = None
        self._seen = 0  # entries in memory that were searched
        self._found: list[int] = []
        self._search_from: int | None = None  # go to the newest match up to here, once there is one
        self.current: int | None = None

    @property
    def kinds(self) -> int:
        return self._kinds

    def show(self, state: RunState, kinds: int) -> None:
        """Show other kinds of entries; a search starts again."""
        if kinds != self._kinds:
            self._kinds = kinds
            self._wanted = self._wanted or kinds != EVERYTHING
            self._bottom = self.current
            if self._query is not None:
                self.search_for(state, self._query)

    def window(self, state: RunState, rows: int) -> Window:
        places = self._places(state)
        count = len(places)
        bottom = self._end(state, places, rows)
        top = max(0, bottom - rows)
        lines = self._lines(state, [places[i] for i in range(top, bottom)])
        lost = 0 if len(places.rows) else _first(state)
        return Window(lines, count - bottom, top + lost)

    def scroll(self, state: RunState, by: int, rows: int) -> None:
        if by < 0 and _first(state):
            self._want()
        places = self._places(state)
        self._stand(places, self._end(state, places, rows) + by, rows)

    def follow(self) -> None:
        self._bottom = None

    def to_start(self, state: RunState, rows: int) -> None:
        self._want()
        places = self._places(state)
        self._stand(places, 0, rows)

    def whole(self, state: RunState, place: int) -> str:
        event = self._events(state, [place])[0]
        return whole_text(event) if event is not None else ""

    # ---- search ----------------------------------------------------------------------------

    def search_for(self, state: RunState, query: Query | None) -> None:
        if self._search is not None:
            self._search.cancel()
        self._query, self._search, self.current = query, None, None
        self._seen, self._found = 0, []
        self._search_from = None
        if query is None:
            return
        self._search_from = MEMORY + state.log_total if self._bottom is None else self._bottom
        self._want()
        if self._rows is not None:
            rows, pattern, needle, kinds = self._rows, query.pattern, query.needle, self._kinds
            self._search = FileSearch(
                lambda low, high: rows.search(pattern, needle, kinds, low, high)
            )
        self._search_memory(state)

    def matches(self, state: RunState) -> Matches:
        found = self._matching(state)
        at = found.upto(self.current) if self.current is not None else None
        share = 1.0
        if self._rows is not None and _first(state):
            if self._rows.busy:
                share = 0.5 * self._rows.share
            elif self._search is not None and self._search.busy:
                share = 0.5 + 0.5 * self._search.share
        full = self._search is not None and self._search.full
        return Matches(len(found), at, share, full)

    def step(self, state: RunState, by: int, rows: int) -> bool:
        found = self._matching(state)
        origin = self.current
        if origin is None:
            origin = MEMORY + state.log_total if self._bottom is None else self._bottom + 1
        at = found.upto(origin) if by > 0 else found.upto(origin - 1) - 1
        if not 0 <= at < len(found):
            return False
        self._search_from = None
        self._go(state, found[at], rows)
        return True

    def work(self, state: RunState, rows: int) -> bool:
        index, search = self._rows, self._search
        changed = False
        if index is not None and self._wanted and _first(state):
            if self._join(state) == len(index):
                index.follow()  # what has left the memory by now may not be in it
            if len(index) != self._shown:
                self._shown, changed = len(index), True
            if search is not None and not index.busy:
                search.reach(self._join(state))
        if self._query is not None:
            before = (len(self._found), self._search_from, self.current)
            self._search_memory(state)
            self._go_to_first_match(state, rows)
            changed = changed or before != (len(self._found), self._search_from, self.current)
            changed = changed or (search is not None and search.busy)
        return changed

    @property
    def busy(self) -> bool:
        index, search = self._rows, self._search
        return (index is not None and index.busy) or (search is not None and search.busy)

    def restart(self) -> None:
        if self._bottom is not None and self._bottom >= MEMORY:
            self._bottom = None
        if self.current is not None and self.current >= MEMORY:
            self.current = None
        self._seen, self._found, self._joined = 0, [], (-1, -1, 0)

    def close(self) -> None:
        if self._search is not None:
            self._search.cancel()
        if self._rows is not None:
            self._rows.close()

    # ---- inside ----------------------------------------------------------------------------

    def _want(self) -> None:
        """Index the file: what was asked for is no longer in memory."""
        self._wanted = True
        if self._rows is not None:
            self._rows.follow()

    def _join(self, state: RunState) -> int:
        """Rows of the file that are older than all in memory."""
        first = _first(state)
        if self._rows is None or not first or not self._wanted:
            return 0
        key = (first, len(self._rows))
        if self._joined[:2] != key:
            oldest = next((e for e in state.log if e.stamp.seq and e.stamp.src != "sup"), None)
            until = len(self._rows) if oldest is None else self._rows.before(oldest.stamp.seq)
            self._joined = (*key, until)
        return self._joined[2]

    def _places(self, state: RunState) -> Places:
        until, first = self._join(state), _first(state)
        if self._kinds == EVERYTHING:
            return Places(range(until), range(first, state.log_total))
        rows = self._rows.matching(self._kinds, until) if self._rows is not None and until else ()
        numbers = [n for n, e in enumerate(state.log, first) if kind_of(e) & self._kinds]
        return Places(rows, numbers)

    def _end(self, state: RunState, places: Places, rows: int) -> int:
        """How many lines are above the end of the window."""
        bottom = self._bottom
        if bottom is None:
            return len(places)
        gone = MEMORY + _first(state) - bottom
        if bottom >= MEMORY and gone > 0 and self._rows is not None:
            # It has left the memory since: it is in the file now.
            self._want()
            if not self._rows.busy:
                self._bottom = bottom = max(0, self._join(state) - gone)
        return min(len(places), max(places.upto(bottom), rows))

    def _stand(self, places: Places, end: int, rows: int) -> None:
        """Let the window end behind so many lines."""
        end = max(end, min(rows, len(places)))
        self._bottom = None if end >= len(places) else places[end - 1]

    def _lines(self, state: RunState, places: list[int]) -> list[Line]:
        """Of rising places."""
        events = self._events(state, places)
        return [_line(place, event) for place, event in zip(places, events, strict=True)]

    def _events(self, state: RunState, places: list[int]) -> list[Event | None]:
        """Of rising places; None for what is not there any more."""
        split = bisect.bisect_left(places, MEMORY)
        events: list[Event | None] = []
        if split and self._rows is not None:
            events = self._rows.events(places[:split])
        if split < len(places):
            # A deque is quick at its two ends alone, and the window is mostly at the newest.
            numbers = [place - MEMORY for place in places[split:]]
            newest = state.log_total - 1
            span = islice(reversed(state.log), newest - numbers[-1], newest - numbers[0] + 1)
            found = dict(zip(range(numbers[-1], numbers[0] - 1, -1), span, strict=False))
            events += [found.get(number) for number in numbers]
        return events

    def _search_memory(self, state: RunState) -> None:
        """Search what has come into memory since the last call."""
        query, first = self._query, _first(state)
        if query is None or self._seen == state.log_total:
            return
        if self._seen > state.log_total:
            self._seen, self._found = 0, []
        start = max(self._seen, first)
        pattern = query.pattern
        for number, event in enumerate(islice(state.log, start - first, None), start):
            if kind_of(event) & self._kinds:
                said = entry(event)
                if said is not None and pattern.search(said.text):
                    self._found.append(number)
        self._seen = state.log_total

    def _matching(self, state: RunState) -> Places:
        kept = self._found[bisect.bisect_left(self._found, _first(state)) :]
        if self._search is None:
            return Places((), kept)
        rows = self._search.found
        return Places(rows[: rows.searchsorted(self._join(state))], kept)

    def _go_to_first_match(self, state: RunState, rows: int) -> None:
        """Go to the match that the search began for, once it is found."""
        if self._search_from is None:
            return
        found = self._matching(state)
        at = found.upto(self._search_from) - 1
        unread = self._search is not None and self._search.high < self._join(state)
        if at < 0 and (self.busy or unread):
            return
        if len(found):
            self._go(state, found[max(0, at)], rows)
        self._search_from = None

    def _go(self, state: RunState, place: int, rows: int) -> None:
        self.current = place
        places = self._places(state)
        at, end = places.upto(place) - 1, self._end(state, places, rows)
        if not max(0, end - rows) <= at < end:
            self._stand(places, at + 1 + rows // 2, rows)


def _first(state: RunState) -> int:
    """Number of the oldest entry in memory: how many have left it."""
    return state.log_total - len(state.log)


def _line(place: int, event: Event | None) -> Line:
    said = entry(event) if event is not None else None
    if event is None or said is None:
        return Line(place, "")
    return Line(place, said.text, said.mark, said.role, event.stamp.t)
