"""Fewer bytes to the terminal for the same picture: colours are set only where they change.

Textual sets every colour of every piece of a line, and resets all after it: of a chart
that moves, two bytes of three are that. Here a setting is sent when the next printed
character needs it, and only the part that differs from the one before.

Only `Driver.write` of Textual is overridden. This may go when Textual 8.2's compositor renders
a line with the differences between its styles alone.

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


class _Rendition(NamedTuple):
    """A terminal's graphic rendition (ECMA-48 "SGR"); an empty colour is the default one."""

    marks: tuple[str, ...] = ()
    fore: str = ""
    back: str = ""


_PLAIN = _Rendition()


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


def shortening(driver: type[Driver]) -> type[Driver]:
    """`driver` with every write passed through `shorten`."""

    class ShorteningDriver(driver):  # type: ignore[misc, valid-type]
        def write(self, data: str) -> None:
            super().write(shorten(data))

    return ShorteningDriver


@lru_cache(maxsize=4096)
def _after(before: _Rendition, setting: str) -> _Rendition:
    """The settings after an SGR sequence with these parameters."""
    marks, fore, back = list(before.marks), before.fore, before.back
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
    return _Rendition(tuple(marks), fore, back)


@lru_cache(maxsize=4096)
def _change(old: _Rendition, new: _Rendition) -> str:
    """The shortest SGR sequence that leads from one rendition to another."""
    whole = ";".join([*new.marks, *filter(None, (new.fore, new.back))])
    short = whole if old == _PLAIN else ";".join(filter(None, ("0", whole)))
    kept = new.marks[: len(old.marks)] == old.marks
    if kept and (new.fore or not old.fore) and (new.back or not old.back):
        parts = list(new.marks[len(old.marks) :])
        parts += [new.fore] if new.fore != old.fore else []
        parts += [new.back] if new.back != old.back else []
        short = min(short, ";".join(parts), key=len)
    return f"\x1b[{short}m"
