"""A text log as a sheet: every line of the file as it stands, up to the moment of the clock.

A place is the offset of a line's first byte.
"""

from __future__ import annotations

from sftui.drawing.roles import Ink
from sftui.logbook.log_level import log_level
from sftui.logbook.search import Hunt
from sftui.logbook.sheet import Line, Matches, Query, Window
from sftui.logbook.text_file import TextFile
from sftui.state.run_state import RunState
from sftui.text.clean import clean

_INKS = {"error": Ink.BAD, "warn": Ink.WARN, "info": Ink.DIM}


class Pages:
    """See the module. `limit`: what comes behind that offset has not happened yet."""

    timed = False

    def __init__(self, file: TextFile) -> None:
        self._file = file
        self.limit: int | None = None
        self._bottom: int | None = None  # offset behind the last line in sight; None follows
        self._hunt: Hunt | None = None
        self._seek: int | None = None
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

    # ---- search ----------------------------------------------------------------------------

    def look_for(self, state: RunState, query: Query | None) -> None:
        if self._hunt is not None:
            self._hunt.cancel()
        self._hunt = self._seek = self.current = None
        if query is None:
            return
        file, pattern, needle = self._file, query.pattern, query.needle
        self._hunt = Hunt(lambda low, high: file.search(pattern, needle, low, high))
        self._seek = self.end if self._bottom is None else self._bottom
        self._hunt.reach(file.size)

    def matches(self, state: RunState) -> Matches:
        hunt = self._hunt
        if hunt is None:
            return Matches(0, None)
        count = int(hunt.found.searchsorted(self.end))
        at = None
        if self.current is not None:
            at = int(hunt.found.searchsorted(self.current, side="right"))
        return Matches(count, at, hunt.share if hunt.busy else 1.0, hunt.full)

    def step(self, state: RunState, by: int, rows: int) -> bool:
        if self._hunt is None:
            return False
        found = self._hunt.found[: self._hunt.found.searchsorted(self.end)]
        origin = self.current
        if origin is None:
            origin = self.end if self._bottom is None else self._bottom
        if by > 0:
            at = int(found.searchsorted(origin, side="right"))
        else:
            at = int(found.searchsorted(origin)) - 1
        if not 0 <= at < len(found):
            return False
        self._seek = None
        self._go(int(found[at]), rows)
        return True

    def work(self, state: RunState, rows: int) -> bool:
        self._file.follow()
        end, hunt = self.end, self._hunt
        busy = self.busy
        if hunt is not None:
            hunt.reach(self._file.size)
            self._sought(rows)
        drawn = (end, self._file.num_bytes, self.current, busy)
        changed = drawn != self._drawn or (hunt is not None and hunt.busy)
        self._drawn = drawn
        return changed

    @property
    def busy(self) -> bool:
        return self._file.busy or (self._hunt is not None and self._hunt.busy)

    def restart(self) -> None:
        return  # offsets hold whatever the clock does

    def close(self) -> None:
        if self._hunt is not None:
            self._hunt.cancel()
        self._file.close()

    # ---- inside ----------------------------------------------------------------------------

    def _sought(self, rows: int) -> None:
        """Go to the match that the search began for, once it is found."""
        hunt, seek = self._hunt, self._seek
        if hunt is None or seek is None:
            return
        found = hunt.found[: hunt.found.searchsorted(self.end)]
        at = int(found.searchsorted(seek)) - 1
        if at < 0 and hunt.busy:
            return
        if len(found):
            self._go(int(found[max(0, at)]), rows)
        self._seek = None

    def _go(self, place: int, rows: int) -> None:
        self.current = place
        end = self.end
        bottom = end if self._bottom is None else min(self._bottom, end)
        shown = self._file.before(bottom, rows)
        if shown and shown[0][0] <= place <= shown[-1][0]:
            return
        below = self._file.after(place, 1 + rows // 2, end)
        bottom = self._behind(below[-1], end) if below else end
        self._bottom = bottom if bottom < end else None

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
    return Line(start, text, "", _INKS[log_level(text)])
