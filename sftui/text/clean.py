"""Make text from outside safe to draw: logs, data, samples, file names, errors.

Nothing below cleans: no text widget filters escape sequences, and one clipboard
or title sequence in a log line reaches the terminal. So every outside string
passes here once, is cut first (a 2 MB line must not cost anything), and is then
drawn literally, never as markup.
"""

from __future__ import annotations

import re
import unicodedata

CUT_MARK = "…"

_ESCAPES = re.compile(
    "(?:\x1b\\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?"  # OSC: clipboard, title, links
    "|\x1b[PX^_][^\x1b]*(?:\x1b\\\\)?"  # DCS, SOS, PM, APC
    "|(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor, clear
    "|\x1b[ -/]*[0-~]?"  # two-character escapes
)
# C0, DEL, C1, surrogates; zero-width and bidirectional controls, which reorder a line.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


_NO_LAYOUT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def without_escapes(text: str) -> str:
    """What was pasted, without escape sequences and controls; tabs and line breaks stay."""
    return _NO_LAYOUT.sub("", _ESCAPES.sub("", text))


def clean(text: str | bytes, limit: int = 2000) -> str:
    """One printable line of at most `limit` characters.

    A tab becomes spaces, a line break a blank; a line that was redrawn with
    carriage returns counts from its last one. Characters without a width of
    their own are dropped after composition, so every character is 1 or 2 cells.
    """
    if isinstance(text, bytes):
        # 4 bytes a character at most, and twice the room for what is dropped below.
        text = text[: limit * 8].decode("utf-8", "replace")
    cut = len(text) > limit * 2
    text = text[: limit * 2]
    if text.isascii() and text.isprintable():
        return text if len(text) <= limit and not cut else text[: limit - 1] + CUT_MARK
    text = text.rstrip("\r\n").replace("\r\n", "\n")
    if "\r" in text:
        text = text[text.rindex("\r") + 1 :]
    text = _ESCAPES.sub("", text)
    text = text.replace("\t", "    ").replace("\n", " ")
    text = _CONTROLS.sub("", text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        text = "".join(c for c in text if unicodedata.category(c) not in _WIDTHLESS)
    if cut or len(text) > limit:
        text = text[: limit - 1] + CUT_MARK
    return text


_WIDTHLESS = frozenset({"Mn", "Me", "Cf", "Cc", "Cs", "Cn", "Co"})


class CleanStream:
    """Text that comes in pieces, made safe line by line while it comes.

    What was given out never has to be taken back: the last character waits, since an accent may
    still join it, and an escape sequence is dropped however it was cut.
    """

    def __init__(self) -> None:
        self._line = ""
        self._given = 0
        """How many characters of the cleaned line were returned so far."""

    def feed(self, piece: str) -> str:
        """Take the next piece; returns what can be printed now, line breaks included."""
        found = []
        *whole, rest = piece.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for part in whole:
            found.append(self._more(part, 0) + "\n")
            self._line, self._given = "", 0
        found.append(self._more(rest, 1))
        if len(self._line) > _LONG_LINE:
            # A line without an end is cleaned in lengths: every piece costs the whole of one.
            found.append(self.end())
        return "".join(found)

    def end(self) -> str:
        """The rest that `feed` held back; nothing may be fed after it."""
        rest = self._more("", 0)
        self._line, self._given = "", 0
        return rest

    def _more(self, part: str, held: int) -> str:
        self._line += part
        text = clean(self._line, 4 * _LONG_LINE)
        until = max(self._given, len(text) - held)
        new, self._given = text[self._given : until], until
        return new


_LONG_LINE = 4000


def clean_text(text: str, limit: int = 20_000, line_limit: int = 2000) -> list[str]:
    """The lines of a longer text, each as `clean` makes it."""
    cut = len(text) > limit
    lines = [clean(line, line_limit) for line in re.split("\r\n|\n|\r", text[:limit])]
    if cut:
        lines[-1] += CUT_MARK
    return lines
