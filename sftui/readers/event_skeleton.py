"""The event lines of our log by their skeleton: results of one kind are alike but for numbers.

As `Skeleton` does for updates: our writer puts the same names in the same order into every line of
a kind, so a regular expression made from one line reads the next, and what it finds needs no
check of its own. It is stricter than JSON; a line that it does not match is read the other way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from engine.events import Event, Stamp, Unknown
from engine.files import checked

_COUNT = r"(?:0|[1-9]\d{0,14})"
_PATTERNS: dict[type, tuple[str, Callable[[str], Any]]] = {
    int: (rf"(-?{_COUNT})", int),
    # With a point or an exponent: without either it is a whole number, and checked as one.
    float: (rf"(-?{_COUNT}(?:\.\d{{1,30}}(?:e[+-]?\d{{1,3}})?|e[+-]?\d{{1,3}}))", float),
    str: (r'"([^"\\\x00-\x1f]*)"', str),
}
"""How a value of each type is written, and read."""
_TIME = r"((?:0|[1-9]\d{0,10})\.\d{1,9})"
_STAMPED = ("t", "m")


class EventSkeleton:
    """Lines like one that was read."""

    __slots__ = ("_att", "_boot", "_kind", "_match", "_names", "_readers", "_run", "_src")

    def __init__(self, line: str, event: Event) -> None:
        """`event`: what the line says.

        Raises:
            ValueError: the line is laid out in another way than our writer's, or holds more than
                numbers and texts.
        """
        if isinstance(event, Unknown):
            raise ValueError("a kind of tomorrow")
        raw = checked.parse_json(line)
        if json.dumps(raw, separators=(",", ":"), ensure_ascii=False) != line:
            raise ValueError("no line of our writer's")
        stamp = event.stamp
        self._kind, self._names, self._readers = type(event), list[str](), list[Any]()
        self._run, self._src, self._att, self._boot = stamp.run, stamp.src, stamp.att, stamp.boot
        pattern = ",".join(self._pattern(name, value, event) for name, value in raw.items())
        self._match = re.compile(rf"\{{{pattern}\}}", re.ASCII).fullmatch
        if repr(self.event(line)) != repr(event):
            raise ValueError("it says something else in this way")

    def _pattern(self, name: str, value: Any, event: Event) -> str:
        """Of one entry of a line."""
        key = re.escape(json.dumps(name, ensure_ascii=False)) + ":"
        if name == "d":
            if not isinstance(value, dict):
                raise ValueError("its payload is no object")
            inner = (self._field(field, item, event) for field, item in value.items())
            return key + r"\{" + ",".join(inner) + r"\}"
        if name in ("seq", "step"):
            self._names.append(name)
            self._readers.append(int)
            return f"{key}({_COUNT})"
        if name in _STAMPED:
            self._names.append(name)
            self._readers.append(float)
            return key + _TIME
        if name not in ("v", "type", "src", "att", "run", "boot"):
            raise ValueError(f"it has {name}")
        return key + re.escape(json.dumps(value, ensure_ascii=False))

    def _field(self, name: str, value: Any, event: Event) -> str:
        found = _PATTERNS.get(type(value))
        if found is None or type(getattr(event, name, None)) is not type(value):
            raise ValueError(f"{name} is neither a number nor a text")
        if name in ("step", "seq", *_STAMPED):
            raise ValueError(f"{name} in two places")
        pattern, read = found
        self._names.append(name)
        self._readers.append(read)
        return re.escape(json.dumps(name, ensure_ascii=False)) + ":" + pattern

    def event(self, line: str) -> Event | None:
        """The event of a line; None for a line that is not like the first."""
        found = self._match(line)
        if found is None:
            return None
        texts = zip(self._names, self._readers, found.groups(), strict=True)
        values = {name: read(text) for name, read, text in texts}
        stamp = Stamp(
            run=self._run,
            src=self._src,
            att=self._att,
            seq=values.pop("seq", 0),
            t=values.pop("t", None),
            m=values.pop("m", None),
            boot=self._boot,
        )
        return self._kind(stamp=stamp, **values)


class EventSkeletons:
    """Those of one file, by the kind of their events."""

    def __init__(self) -> None:
        self._known: dict[str, list[EventSkeleton]] = {}
        self._tries: dict[str, int] = {}

    def event(self, line: str) -> Event | None:
        """The event of a line that is like one before; None for another."""
        for skeleton in self._known.get(_kind_of(line), ()):
            event = skeleton.event(line)
            if event is not None:
                return event
        return None

    def learn(self, line: str, event: Event) -> None:
        """Know lines like this one; not for ever, where every line of a kind is another."""
        kind = _kind_of(line)
        tries = self._tries[kind] = self._tries.get(kind, 0) + 1
        if not kind or tries > _MOST_TRIES:
            return
        known = self._known.setdefault(kind, [])
        try:
            known.insert(0, EventSkeleton(line, event))
        except (ValueError, RecursionError):  # also of what is written again
            return
        del known[_MOST_OF_A_KIND:]


_MOST_OF_A_KIND, _MOST_TRIES = 4, 12
_BEFORE_KIND = '{"v":1,"type":"'


def _kind_of(line: str) -> str:
    """The word for its kind, where our writer writes it; empty in any other line."""
    if not line.startswith(_BEFORE_KIND):
        return ""
    start = len(_BEFORE_KIND)
    return line[start : max(start, line.find('"', start))]
