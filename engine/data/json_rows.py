"""JSON rows out of a file's bytes, whatever program wrote them; no row is lost silently.

A line ends at "\\n" and nowhere else: real rows hold U+2028 and U+0085 raw
inside their texts, where `str.splitlines` would cut them in two.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from engine.conversations.row_fault import RowFault, shown
from engine.errors import DataError
from engine.files import checked

UTF8_MARK = b"\xef\xbb\xbf"
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a character that is written as two escapes; the other half may be missing."""
_BLANK = re.compile(r"[ \t\n\r]*")
"""What JSON allows between values."""
_BEGINS = frozenset('{["-0123456789tfnNI\n')
"""What a value can begin with, `NaN` and `Infinity` included; or there is another line."""
_NOT_JSON = "not valid JSON at column {} ({}); expected one JSON object or list on the line"

Line = tuple[int, bytes]
"""Number of a row's first line, from 1, and the row's UTF-8 text."""


def as_utf8(data: bytes, path: Path) -> bytes:
    """The same text in UTF-8 without a byte order mark.

    UTF-16 and UTF-32 are told by their mark, or without one by the zeros around the first
    character, which in JSON is an ASCII one (RFC 4627, section 3).

    Raises:
        DataError: the bytes are not of the encoding that they begin with, or of a file that is no
            text at all.
    """
    if kind := _other_kind(data):
        raise DataError(f"{path}: is {kind}.")
    encoding = json.detect_encoding(data[:4])
    if encoding.startswith("utf-8") or len(data) <= 2:
        # What is no UTF-8 after all is told of the row it stands in.
        return data.removeprefix(UTF8_MARK)
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, "replace").count("\n") + 1
        raise DataError(
            f"{path}:{line}: begins as {encoding.upper()}, and byte {error.start + 1} of the file "
            "is not. Is the file cut off? Save it as UTF-8."
        ) from None


def _other_kind(data: bytes) -> str:
    """What a file is that begins like one of another kind, and what to do; empty for a text."""
    return next((words for begin, words in _OTHER_KINDS.items() if data.startswith(begin)), "")


_OTHER_KINDS = {
    b"\x1f\x8b": "packed with gzip; expected text. Rename it to end in .gz (.jsonl.gz, .csv.gz), "
    "or unpack it",
    b"PAR1\x15": "a Parquet file; expected text. Rename it to end in .parquet",
    b"BZh91AY&SY": "packed with bzip2; expected text. `bunzip2` unpacks it",
    b"\xfd7zXZ\0": "packed with xz; expected text. `unxz` unpacks it",
    b"\x28\xb5\x2f\xfd": "packed with zstd; expected text. `zstd -d` unpacks it",
    b"PK\x03\x04": "a zip archive, or an Excel workbook; expected text. Unpack it, or save its "
    "table as .csv",
    b"ARROW1\0\0": "an Arrow file; expected text. Write its rows to a .parquet or .jsonl file",
    b"SQLite format 3\0": "a SQLite database; expected text. Write its rows to a .jsonl file",
}
"""By their first bytes."""


def rows_of_text(data: bytes, path: Path) -> list[Line]:
    """The rows of a file: its lines, or the values of one array, or values over several lines.

    Raises:
        DataError: one array that is broken somewhere, with the line.
    """
    lines = [(n, line) for n, line in enumerate(data.split(b"\n"), start=1) if line.strip()]
    if not lines or (is_row(lines[0][1]) and len(lines) > 1):
        return lines
    if lines[0][1].lstrip()[:1] not in (b"[", b"{"):
        return lines
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return lines  # the line that is no UTF-8 is named when it is read
    is_array = text.lstrip()[:1] == "["
    if is_array and _is_conversation(text):
        return lines if len(lines) == 1 else [(lines[0][0], data.strip())]
    try:
        return _values(text, in_array=is_array)
    except json.JSONDecodeError as error:
        if not is_array or len(lines) == 1:
            return lines
        raise DataError(
            f"{path}:{error.lineno}: the file is one JSON array of rows, and it is broken at "
            f"column {error.colno} ({error.msg}). Is it cut off? Mend it, or write one row a line."
        ) from None
    except (RecursionError, ValueError):  # as in `parse_json`, which says so of the row
        return lines


def parse_json(line: bytes) -> object:
    """The value of one row.

    Raises:
        RowFault: not UTF-8, not JSON, or a key twice in one object: JSON readers keep the last
            of two, and what the first held would be lost without a word.
    """
    try:
        text = line.decode("utf-8")
        begin = len(text) - len(text.lstrip(" \t\r"))
        if text[begin : begin + 1] not in _BEGINS:
            # At once: files of other kinds are all faults, and an error of `json` costs as a row.
            raise RowFault(_NOT_JSON.format(begin + 1, "Expecting value"))
        value = _DECODER.decode(text)
        if _HALF.search(line):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise RowFault(
            f"{half} is half of a character (a lone surrogate), which no tokenizer reads; expected "
            "whole ones. Take it out"
        ) from None
    except UnicodeDecodeError as error:
        raise RowFault(f"byte {error.start + 1} is not UTF-8; expected UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise RowFault(_NOT_JSON.format(error.colno, error.msg)) from None
    except RowFault:
        raise
    except (ValueError, RecursionError):  # an absurdly long number, absurdly deep lists
        raise RowFault("not JSON that can be read; expected one object or list") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RowFault(
                    f"the key {shown(json.dumps(key, ensure_ascii=False), 80)} stands twice in one "
                    "object (a duplicate key); expected each once, since only one would be read"
                )
            seen.add(key)
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once)
"""Made once: `json.loads` makes one for every row."""


def is_row(line: bytes) -> bool:
    """Whether a line is JSON by itself."""
    try:
        checked.parse_json(line)
    except ValueError:
        return False
    return True


def _is_conversation(text: str) -> bool:
    """Whether an array is one row of nanochat's identity form: a list of messages."""
    try:
        found = checked.parse_json(text)
    except ValueError:
        return False
    return any(isinstance(each, dict) and "role" in each for each in found)


def _values(text: str, *, in_array: bool) -> list[Line]:
    """Every value of an array, or of a text of values one after another, as text with its line.

    Raises:
        JSONDecodeError: it is no such text.
    """
    # Only the ends of the values are wanted here: they are parsed when they are asked for.
    scan = json.JSONDecoder(object_pairs_hook=lambda _: None).raw_decode
    found: list[Line] = []
    place, line, counted = _skip(text, 0), 1, 0
    if in_array:
        place = _skip(text, place + 1)
        if text[place : place + 1] == "]":
            _expect_end(text, place + 1)
            return []
    while place < len(text) or in_array:
        try:
            _, end = scan(text, place)
        except StopIteration:
            raise json.JSONDecodeError("Expecting value", text, place) from None
        line += text.count("\n", counted, place)
        counted = place
        found.append((line, text[place:end].encode()))
        place = _skip(text, end)
        if not in_array:
            continue
        if text[place : place + 1] == "]":
            _expect_end(text, place + 1)
            break
        if text[place : place + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
        place = _skip(text, place + 1)
    return found


def _skip(text: str, place: int) -> int:
    blank = _BLANK.match(text, place)
    return place if blank is None else blank.end()


def _expect_end(text: str, place: int) -> None:
    place = _skip(text, place)
    if place < len(text):
        raise json.JSONDecodeError("Extra data after the array", text, place)
