"""Kinds of log entries, for the filter: of an event, or of its line without decoding it."""

from __future__ import annotations

import re

from engine import events as ev

WARNING, CONTROL, RESULT, CHECKPOINT, PLAIN, OTHER = (1 << i for i in range(6))
"""Bits: a line that warns is a plain line as well."""
EVERYTHING = 0xFF

FILTERS: tuple[tuple[str, int], ...] = (
    ("all", EVERYTHING),
    ("warnings", WARNING),
    ("controls", CONTROL),
    ("evaluations", RESULT),
    ("checkpoints", CHECKPOINT),
    ("plain lines", PLAIN),
)
"""What the filter key goes through: name and bits."""

_BITS: dict[type[ev.Event], int] = {
    ev.LogLine: PLAIN,
    ev.ValidationFinished: RESULT,
    ev.EvalFinished: RESULT,
    ev.SampleGenerated: RESULT,
    ev.CheckpointSaved: CHECKPOINT,
    ev.ControlApplied: CONTROL,
    ev.StateChanged: CONTROL,
    ev.AttemptStarted: CONTROL,
    ev.AlarmRaised: WARNING,
    ev.RankLost: WARNING,
    ev.EventsDropped: WARNING,
    ev.RunStarted: OTHER,
    ev.RunFinished: OTHER,
}
"""Every event that may have a line in the log."""


def kind_of(event: ev.Event) -> int:
    """The bits of an event; 0 = no kind that a log shows."""
    bits = _BITS.get(type(event), 0)
    if isinstance(event, ev.LogLine) and event.level != "info":
        bits |= WARNING
    if isinstance(event, ev.RunFinished) and event.status == "failed":
        bits |= WARNING
    return bits


ENTRY = re.compile(rb'"type":\s?"(%s)"' % b"|".join(ev.TYPE_NAME[kind].encode() for kind in _BITS))
"""Finds the lines of a journal that have an entry; group 1 is for `kind_of_line`."""

_BY_NAME = {ev.TYPE_NAME[kind].encode(): bits for kind, bits in _BITS.items()}
# Quotes inside a text are escaped, so these can only be fields.
_LOUD = re.compile(rb'"level":\s?"(?!info)')
_REASON = re.compile(rb'"reason":\s?"')
_FAILED = re.compile(rb'"status":\s?"failed"')


def kind_of_line(name: bytes, line: bytes) -> int:
    """The same for a line of the journal whose type is `name`; 0 = it has no entry."""
    bits = _BY_NAME.get(name, 0)
    warns = {b"log_line": _LOUD, b"run_finished": _FAILED}.get(name)
    if warns is not None and warns.search(line):
        bits |= WARNING
    first = name == b"attempt_started" and b'"att":1,' in line[:200]
    silent = name == b"state_changed" and not _REASON.search(line)
    return 0 if first or silent else bits
