"""Fewer bytes to the terminal for the same picture: colours are set only where they change.

Textual sets every colour of every piece of a line, and resets all after it: of a chart
that moves, two bytes of three are that. Here a setting is sent when the next printed
character needs it, and only the part that differs from the one before.

Light on purpose: it is imported before the first frame.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from textual.driver import Driver

_SETTING = re.compile(r"\x1b\[([0-9;]*)m")
_STYLELESS = re.compile(r"(?:\x1b\[[0-9;]*H|\x1b\[\?2026[hl])*")
"""What prints nothing: the cursor going somewhere, a synchronised update."""


class _Look(NamedTuple):
    """What a terminal's settings come to (ECMA-48 "SGR"); "" = its default."""

    marks: tuple[str, ...] = ()
    fore: str = ""
    back: str = ""


_PLAIN = _Look()


def shorten(sequence: str) -> str:
    """The same picture in fewer bytes. It begins and ends with the terminal's default colours."""
    pieces = _SETTING.split(sequence)
    if len(pieces) < 5:
        return sequence  # one setting and its end
    out = [pieces[0]]
    now = wanted = _PLAIN
    for i in range(1, len(pieces), 2):
        wanted = _after(wanted, pieces[i])
        text = pieces[i + 1]
        if wanted != now and not _STYLELESS.fullmatch(text):
            out.append(_change(now, wanted))
            now = wanted
        out.append(text)
    if now != _PLAIN:
        out.append("\x1b[0m")
    return "".join(out)


def thrifty(driver: type[Driver]) -> type[Driver]:
    """The driver of a terminal, writing less."""

    class Thrifty(driver):  # type: ignore[misc, valid-type]
        def write(self, data: str) -> None:
            super().write(shorten(data))

    return Thrifty


@lru_cache(maxsize=4096)
def _after(look: _Look, setting: str) -> _Look:
    """What a setting makes of a look."""
    marks, fore, back = list(look.marks), look.fore, look.back
    codes = setting.split(";")
    while codes:
        code = codes.pop(0)
        if code in ("", "0"):
            marks, fore, back = [], "", ""
        elif code in ("38", "48"):
            length = 4 if codes[:1] == ["2"] else 2
            colour = ";".join([code, *codes[:length]])
            del codes[:length]
            fore, back = (colour, back) if code == "38" else (fore, colour)
        elif code in ("39", "49"):
            fore, back = ("", back) if code == "39" else (fore, "")
        elif re.fullmatch("[39][0-7]", code):
            fore = code
        elif re.fullmatch("4[0-7]|10[0-7]", code):
            back = code
        else:
            marks.append(code)
    return _Look(tuple(marks), fore, back)


@lru_cache(maxsize=4096)
def _change(old: _Look, new: _Look) -> str:
    """The shortest setting that leads from one look to another."""
    whole = ";".join([*new.marks, *filter(None, (new.fore, new.back))])
    short = whole if old == _PLAIN else ";".join(filter(None, ("0", whole)))
    kept = new.marks[: len(old.marks)] == old.marks
    if kept and (new.fore or not old.fore) and (new.back or not old.back):
        parts = list(new.marks[len(old.marks) :])
        parts += [new.fore] if new.fore != old.fore else []
        parts += [new.back] if new.back != old.back else []
        short = min(short, ";".join(parts), key=len)
    return f"\x1b[{short}m"
