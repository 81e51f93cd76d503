"""A text log in the log pane: every line of the file as it stands, up to the replay's clock.

A place is the offset of a line's first byte.
"""

from __future__ import annotations

from sftui.drawing.roles import Role
from sftui.logbook.event_lines import MOST_WHOLE
from sftui.logbook.file_search import FileSearch
from sftui.logbook.log_content import Line, Matches, Query, Window
from sftui.logbook.log_level import log_level
from sftui.logbook.step_words import last_step
from sftui.logbook.text_file import TextFile
from sftui.state.run_state import RunState
from sftui.text.clean import clean

_PAGE_BYTES = 64 * 1024
"""Before a line and of it, in which the update is looked for that it belongs to."""
_PAGE_LINES, _MOST_BYTES = 2000, 32 * 1024 * 1024
"""Lines of a page in which an update is looked for, and how far back in all."""
_ROLES = {"error": Role.BAD, "warn": Role.WARN, "info": Role.DIM}


class FileLog:
    """See the module. `limit`: what comes behind that offset has not happened yet."""

    timed = False

    def __init__(self, file: TextFile) -> None:
        self._file = file
        self.limit: int | None = None
        self._bottom: int | None = None  # offset behind the last line in sight; None follows
        self._search: FileSearch | None = None
        self._search_from: int | None = None
        self._drawn: tuple[object, ...] = ()
        self.current: int | None = None

    @property
    def end(self) -> int:
        """Offset behind the newest line."""
        size = self._file.size
        return size if self.limit is None else min(self.limit, size)

    def window(self, state: RunState, rows: int) -> Window:
        end = self.end
        bottom = end if self._bottom is None else min(self._bottom, end)
        lines = self._file.before(bottom, rows)
        if len(lines) < rows:
            more = self._file.after(bottom, rows - len(lines), end)
            lines += more
            bottom = self._behind(more[-1], end) if more else bottom
        newer = self._between(bottom, end)
        older = self._file.number(lines[0][0]) if lines else 0
        return Window([_line(start, raw) for start, raw in lines], newer, older)

    def scroll(self, state: RunState, by: int, rows: int) -> None:
        end = self.end
        bottom = end if self._bottom is None else min(self._bottom, end)
        if by < 0:
            lines = self._file.before(bottom, -by)
            bottom = lines[0][0] if lines else bottom
            if len(self._file.before(bottom, rows)) < rows:
                self.to_start(state, rows)
                return
        else:
            lines = self._file.after(bottom, by, end)
            bottom = self._behind(lines[-1], end) if lines else end
        self._bottom = bottom if bottom < end else None

    def follow(self) -> None:
        self._bottom = None

    def to_start(self, state: RunState, rows: int) -> None:
        end = self.end
        lines = self._file.after(0, rows, end)
        bottom = self._behind(lines[-1], end) if lines else end
        self._bottom = bottom if bottom < end else None

    def step_at(self, state: RunState, place: int) -> int | None:
        """The last number after the word step up to that line, some pages back at most."""
        line = self._file.read(place, place + _PAGE_BYTES).partition(b"\n")[0]
        return last_step(self._file.read(max(0, place - _PAGE_BYTES), place) + line)

    def place_of(self, state: RunState, step: float) -> int | None:
        # From the end back: a page begins later than the update that is looked for, or has it.
        end = self.end
        while end > max(0, self.end - _MOST_BYTES):
            lines = self._file.before(end, _PAGE_LINES)
            if not lines:
                return None
            for start, raw in reversed(lines):
                named = last_step(raw)
                if named is not None and named <= step:
                    return start
            end = lines[0][0]
        return None

    def show_place(self, state: RunState, place: int, rows: int) -> None:
        self._show(place, rows)

    def _show(self, place: int, rows: int) -> None:
        end = self.end
        bottom = end if self._bottom is None else min(self._bottom, end)
        shown = self._file.before(bottom, rows)
        if shown and shown[0][0] <= place <= shown[-1][0]:
            return
        below = self._file.after(place, 1 + rows // 2, end)
        bottom = self._behind(below[-1], end) if below else end
        self._bottom = bottom if bottom < end else None

    def whole(self, state: RunState, place: int) -> str:
        raw = self._file.read(place, min(self.end, place + 4 * MOST_WHOLE)).partition(b"\n")[0]
        return clean(raw, MOST_WHOLE)

    # ---- search ----------------------------------------------------------------------------

    def search_for(self, state: RunState, query: Query | None) -> None:
        if self._search is not None:
            self._search.cancel()
        self._search = self._search_from = self.current = None
        if query is None:
            return
        file, pattern, needle = self._file, query.pattern, query.needle
        self._search = FileSearch(lambda low, high: file.search(pattern, needle, low, high))
        self._search_from = self.end if self._bottom is None else self._bottom
        self._search.reach(file.size)

    def matches(self, state: RunState) -> Matches:
        search = self._search
        if search is None:
            return Matches(0, None)
        count = int(search.found.searchsorted(self.end))
        at = None
        if self.current is not None:
            at = int(search.found.searchsorted(self.current, side="right"))
        return Matches(count, at, search.share if search.busy else 1.0, search.full)

    def step(self, state: RunState, by: int, rows: int) -> bool:
        if self._search is None:
            return False
        found = self._search.found[: self._search.found.searchsorted(self.end)]
        origin = self.current
        if origin is None:
            origin = self.end if self._bottom is None else self._bottom
        if by > 0:
            at = int(found.searchsorted(origin, side="right"))
        else:
            at = int(found.searchsorted(origin)) - 1
        if not 0 <= at < len(found):
            return False
        self._search_from = None
        self._go(int(found[at]), rows)
        return True

    def work(self, state: RunState, rows: int) -> bool:
        self._file.follow()
        end, search = self.end, self._search
        busy = self.busy
        if search is not None:
            search.reach(self._file.size)
            self._go_to_first_match(rows)
        drawn = (end, self._file.num_bytes, self.current, busy)
        changed = drawn != self._drawn or (search is not None and search.busy)
        self._drawn = drawn
        return changed

    @property
    def busy(self) -> bool:
        return self._file.busy or (self._search is not None and self._search.busy)

    def restart(self) -> None:
        return  # offsets hold whatever the clock does

    def close(self) -> None:
        if self._search is not None:
            self._search.cancel()
        self._file.close()

    # ---- inside ----------------------------------------------------------------------------

    def _go_to_first_match(self, rows: int) -> None:
        """Go to the match that the search began for, once it is found."""
        search, seek = self._search, self._search_from
        if search is None or seek is None:
            return
        # Asked before what it found: its thread may come to its end in between.
        busy = search.busy
        found = search.found[: search.found.searchsorted(self.end)]
        at = int(found.searchsorted(seek)) - 1
        if at < 0 and busy:
            return
        if len(found):
            self._go(int(found[max(0, at)]), rows)
        self._search_from = None

    def _go(self, place: int, rows: int) -> None:
        self.current = place
        self._show(place, rows)

    def _between(self, bottom: int, end: int) -> int | None:
        """Lines from one offset to another."""
        if bottom >= end:
            return 0
        low, high = self._file.number(bottom), self._file.number(end)
        return None if low is None or high is None else high - low

    def _behind(self, line: tuple[int, bytes], end: int) -> int:
        return min(end, line[0] + len(line[1]) + 1)


def _line(start: int, raw: bytes) -> Line:
    text = clean(raw)
    return Line(start, text, "", _ROLES[log_level(text)])
