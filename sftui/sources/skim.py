"""The few lines of a run's event log that a list of runs needs, without reading the others.

A log is mostly updates and heartbeats. How far the run came stands in the last of them, and how
it ended behind that; the validations are found by their word. What was found goes through the
same `RunState` as the whole log does, so that both say the same. A log that cannot be skimmed
with the same result (another program's, of several boots, with lines that are no events) is left
to whoever reads it whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine import events as ev
from engine.errors import WireError
from engine.files import checked
from engine.journal import wire
from engine.run.run_dir import RunDir
from sftui.sources import snapshot
from sftui.state.run_state import RunState

SHORT_BYTES = 8 * 1024
"""A log up to this size is read line by line: that is as quick."""

FRAMED_BYTES = 512 * 1024
"""Every line of a log up to this size is looked at for being an event. In a longer one, lines
that are none cost nothing and are not counted in a list; `show` counts them."""

MOST_BYTES = 256 * 1024 * 1024
_MOST_SUPERVISOR_BYTES = 256 * 1024

LAST_LINES = 3
"""Of the end of a log; rank 0 writes for all ranks, so the newest event is the last."""

_STEP = ev.TYPE_NAME[ev.StepFinished].encode()
_EVALUATION = ev.TYPE_NAME[ev.EvalFinished].encode()
_VALIDATION = ev.TYPE_NAME[ev.ValidationFinished].encode()
_ATTEMPT = ev.TYPE_NAME[ev.AttemptStarted].encode()
_LOSS = re.compile(
    rb'\{"v":1,"type":"%b",[^{}]*"step":(\d{1,18}),[^{}]*"d":\{"loss":(-?\d[\d.e+-]{0,30})'
    rb'(?:,"(?:rows|seconds|paired_error)":[\d.e+-]+|,"rows_file":"[^"{}\\]*")*\}\}' % _VALIDATION
)
"""A validation of the only set of rows: its step and loss."""
_STATE = ev.TYPE_NAME[ev.StateChanged].encode()
_AFTER = tuple(
    ev.TYPE_NAME[kind].encode() for kind in (ev.AttemptStarted, ev.PhaseStarted, ev.RunFinished)
)
"""Kinds that say how a run stands after its last update."""


class _Whole(Exception):
    """The log has to be read whole."""


def read(run: RunDir) -> tuple[RunState, int] | None:
    """The state of a run as far as a list shows it, and how many lines are no events.

    The state has the end, badge, newest update, plan, best validation, newest evaluation and
    newest time of the run; its series, logs and ranks are not filled. None where the log has to
    be read whole.
    """
    state = RunState()
    try:
        main = _bytes(run.events, MOST_BYTES)
        ours = _Lines(main, short=len(main) <= SHORT_BYTES)
        others = _Lines(_bytes(run.supervisor_events, _MOST_SUPERVISOR_BYTES), short=True)
        for event in snapshot.by_time(iter(ours.events()), iter(others.events())):
            state.apply(event)
    except _Whole:
        return None
    return state, ours.unreadable + others.unreadable


def _bytes(path: Path, most: int) -> bytes:
    try:
        return checked.read_bytes(path, most)
    except FileNotFoundError:
        return b""
    except OSError:
        raise _Whole from None


@dataclass
class _Lines:
    """One log, and the places in it of the lines that are needed."""

    data: bytes
    short: bool
    unreadable: int = 0
    _places: set[int] = field(default_factory=set)
    _decoded: dict[int, ev.Event | None] = field(default_factory=dict)

    def events(self) -> list[ev.Event]:
        """The needed events, in the order of the log.

        Raises:
            _Whole: it has to be read whole.
        """
        if not self.data:
            return []
        if not self.short:
            self._choose()
        found = []
        starts = self._all_starts() if self.short else iter(sorted(self._places))
        for start in starts:
            event = self._event(start)
            if event is not None:
                found.append(event)
        if len({event.stamp.boot for event in found}) > 1:
            # Each boot has a clock of its own, told by its first event.
            raise _Whole
        return found

    def _choose(self) -> None:
        self._check_frames()
        first = self._event(0)
        if not isinstance(first, ev.RunStarted) or first.stamp.src != "r0":
            raise _Whole
        end = len(self.data) - 1
        self._places.add(0)
        for _ in range(LAST_LINES):
            start = self.data.rfind(b"\n", 0, end) + 1
            self._places.add(start)
            end = start - 1
            if end <= 0:
                break
        newest = self._event(max(self._places))
        if newest is None:
            raise _Whole
        last_step = self._last_step()
        for word in _AFTER:
            self._places.update(self._find(word, last_step))
        once = newest.stamp.att == first.stamp.att
        self._places.update(self._best_validation(once))
        self._places.update(self._newest_evaluation(once))
        if not once:
            starts = self._find(_ATTEMPT)
            events = [self._event(place) for place in starts]
            attempts = {e.stamp.att for e in events if isinstance(e, ev.AttemptStarted)}
            if newest.stamp.att not in attempts:
                raise _Whole  # its first event tells that it began: any may be that
            self._places.update(starts)
        if not any(isinstance(self._event(place), ev.RunFinished) for place in self._places):
            self._places.update(self._find(_STATE))

    def _check_frames(self) -> None:
        """Every line begins like the first one, up to its kind, and ends as an object does."""
        data = self.data
        head = data[: data.find(b'"type"', 0, 64)]
        frame = head + data[len(head) : data.find(b'"', len(head) + 7) + 1]
        if not frame.startswith(b'{"v"') or not data.endswith(b"}\n"):
            raise _Whole
        if len(data) <= FRAMED_BYTES and data.count(b"}\n" + frame) + 1 != data.count(b"\n"):
            raise _Whole

    def _last_step(self) -> int:
        """Start of the last update's line, which is needed; 0 when there is none."""
        end = len(self.data)
        while (at := self.data.rfind(_STEP, 0, end)) >= 0:
            start = self.data.rfind(b"\n", 0, at) + 1
            # The word may also stand in a text.
            if isinstance(self._event(start), ev.StepFinished):
                self._places.add(start)
                return start
            end = at
        return 0

    def _best_validation(self, once: bool) -> list[int]:
        """The first and the lowest validation; all of them where it is not plain which that is.

        Args:
            once: no attempt after the first, which would drop validations of the one before.
        """
        places = self._find(_VALIDATION)
        found = [_LOSS.match(self.data, place) for place in places]
        plain = [each for each in found if each is not None]
        steps = {each[1] for each in plain}
        if not once or len(steps) < len(places):
            return places
        lowest = min(plain, key=lambda each: (float(each[2]), int(each[1])), default=None)
        return places if lowest is None else [places[0], lowest.start()]

    def _newest_evaluation(self, once: bool) -> list[int]:
        """The results of the newest step that was evaluated; of several attempts, all results."""
        places = self._find(_EVALUATION)
        if not once:
            return places
        found: list[int] = []
        newest: int | None = None
        for place in reversed(places):
            event = self._event(place)
            if not isinstance(event, ev.EvalFinished):
                continue  # the word may also stand in a text
            if event.step is None:
                raise _Whole  # it belongs to the update before it, which is not read
            if newest is not None and event.step != newest:
                break
            newest = event.step
            found.append(place)
        return found

    def _find(self, word: bytes, start: int = 0) -> list[int]:
        """Where the lines with that word begin, from `start` (of a line) on.

        From the end to the start: `rfind` takes half the time of `find` for a word that is not
        there.
        """
        found: list[int] = []
        at = len(self.data)
        while (at := self.data.rfind(word, start, at)) >= 0:
            at = self.data.rfind(b"\n", start, at) + 1 or start
            found.append(at)
        return found[::-1]

    def _event(self, start: int) -> ev.Event | None:
        if start not in self._decoded:
            self._decoded[start] = self._decode(start)
        return self._decoded[start]

    def _decode(self, start: int) -> ev.Event | None:
        end = self.data.find(b"\n", start)
        line = self.data[start : end if end >= 0 else len(self.data)]
        if not line or line.isspace():
            return None
        try:
            event = wire.decode(line)
        except WireError:
            if not self.short:
                raise _Whole from None
            self.unreadable += 1
            return None
        self.unreadable += isinstance(event, ev.Unknown)
        return event

    def _all_starts(self) -> Iterator[int]:
        start = 0
        while 0 <= start < len(self.data):
            yield start
            start = self.data.find(b"\n", start) + 1 or -1
