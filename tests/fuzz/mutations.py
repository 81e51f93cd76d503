"""Damaged and hostile versions of real inputs, each a function of a random generator alone."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

MOST_BYTES = 200_000
"""Of an input; one in two hundred grows to `HUGE_BYTES`."""

HUGE_BYTES = 8_000_000

BIG = 10**400
"""A whole number that no float holds."""

NUMBERS = (
    "0", "-0", "-1", "1", "0.5", "1e308", "-1e308", "1e999", "5e-324", "NaN", "nan", "inf",
    "Infinity", "-inf", "1_000", "1,234.5", "0x10", "2147483648", "9223372036854775807",
    "9223372036854775808", "18446744073709551616", "-9223372036854775809", "9" * 31, "9" * 400,
    "9" * 5000, "1e-400", "1.", ".5", "+7", "007", "1e5", "١٢", "½", "100%", "3.5k", "2.1M",
)  # fmt: skip

TEXTS = (
    "", "a", "\x1b]52;c;aGk=\x07", "\x1b[2J", "\x9b2J", "\x90q\x9c", "a\nb", "\r", "\x00", "[/]",
    "[bold]x", "[x](javascript:1)", "<img src=x onerror=1>", "| a | b |", "# no", "\u202eabc",
    "e" + "\u0301" * 300, "\U0001f469\u200d\U0001f680" * 40, "\ud800", "../../etc/passwd", "/",
    "~nobody/x", "$(id)", "`id`", "'; id; '", "%s%n", "{0}", "x" * 70_000, "\u3000 ", "\ufeff",
    "[" * 5000, '{"a":' * 3000, '{"a": ' + "9" * 5000 + "}",
)  # fmt: skip

DEEP = "@deep@"
"""Stands for a value that `json` cannot write: `_dumped` puts lists within lists there."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, BIG, -BIG,
    0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"), [], {}, [[]], [None],
    [1, "a"], {"": None}, {"a": {"b": [1]}}, [0] * 5000, {str(n): n for n in range(2000)}, *TEXTS,
    DEEP,
)  # fmt: skip

TOKENS = (
    b"\x00", b"\xff", b"\xfc", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1b", b"\x1b[31m",
    b"\x1b]0;t\x07", b"\r", b"\r\n", b"\n", b"\x0b", b"\x85", b"\xe2\x80\xa8", b"{", b"}", b"[",
    b"]", b'"', b"\\", b"\\u", b"\\ud800", b",", b":", b"|", b"=", b"'", b"NaN", b"null",
    b"Infinity",
    b"[" * 5000, b'{"a":' * 3000, b"9" * 400, b"9" * 5000, b"x" * 70_000,
)  # fmt: skip

NUMBER = re.compile(rb"(?<![\w.])[-+]?\d[\d_,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")

Mutation = Callable[[random.Random, bytes], bytes]


def mutated(rng: random.Random, seeds: Sequence[bytes], cut: bool = False) -> bytes:
    """One of the inputs with one to five things wrong; now and then as it is.

    `cut`: a piece of a long one, its beginning and some lines from anywhere.
    """
    data = rng.choice(seeds)
    if cut and rng.random() < 0.9:
        data = _piece(rng, data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        other = rng.choice(seeds)
        data = (
            rng.choice(MUTATIONS)(rng, data) if rng.random() < 0.95 else _splice(rng, data, other)
        )
    most = HUGE_BYTES if rng.random() < 0.005 else MOST_BYTES
    return _grown(rng, data)[:most] if most == HUGE_BYTES else data[: max(most, len(data) // 2)]


def _piece(rng: random.Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    if len(lines) < 40:
        return data
    start = rng.randrange(len(lines))
    return b"".join(lines[: rng.choice((0, 5, 40))] + lines[start : start + rng.choice((20, 200))])


def _grown(rng: random.Random, data: bytes) -> bytes:
    """The same again and again: the whole, a line, or bytes without a line end."""
    unit = rng.choice((data, data[:200], b"x", b"9", b"\n", data.split(b"\n")[0])) or b" "
    return data + unit * (HUGE_BYTES // len(unit))


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 1, 2, 4, 16, 64, 500, 5000)))


def _flip(rng: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _junk(rng: random.Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _insert(rng: random.Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + rng.choice(TOKENS) + data[end if rng.random() < 0.5 else start :]


def _remove(rng: random.Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    times = rng.choice((1, 2, 30))
    return data[:end] + data[start:end] * times + data[end:]


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start, end = _span(rng, other)
    at = rng.randrange(len(data) + 1)
    return data[:at] + other[start : max(end, start + 2000)] + data[at:]


def _lines(rng: random.Random, data: bytes) -> bytes:
    """Lines removed, said twice, moved."""
    lines = data.split(b"\n")
    for _ in range(rng.choice((1, 3, 10))):
        at = rng.randrange(len(lines))
        match rng.randrange(3):
            case 0:
                lines.insert(at, lines[rng.randrange(len(lines))])
            case 1:
                lines[at] = lines[rng.randrange(len(lines))]
            case _ if len(lines) > 1:
                del lines[at]
    return b"\n".join(lines)


def _number(rng: random.Random, data: bytes) -> bytes:
    """Some numbers, or every one of a few lines, become others."""
    found = list(NUMBER.finditer(data[:100_000]))
    if not found:
        return _insert(rng, data)
    for match in sorted(rng.sample(found, min(len(found), rng.choice((1, 1, 3)))), key=_last_first):
        data = data[: match.start()] + rng.choice(NUMBERS).encode() + data[match.end() :]
    return data


def _last_first(match: re.Match[bytes]) -> int:
    return -match.start()


def _text(rng: random.Random, data: bytes) -> bytes:
    """A word becomes a text that acts on terminals, markup or paths."""
    words = list(re.finditer(rb"[A-Za-z_/]{2,}", data[:100_000]))
    if not words:
        return _insert(rng, data)
    match = rng.choice(words)
    text = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
    return data[: match.start()] + text + data[match.end() :]


def _json(rng: random.Random, data: bytes) -> bytes:
    """One value of the JSON of the whole, of a header or of one line, becomes another."""
    length = int.from_bytes(data[:8], "little")
    if data[8:9] == b"{" and length <= len(data) - 8:
        # A safetensors file, whose header tells its length before it.
        header = _json(rng, data[8 : 8 + length])
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    whole = data.lstrip()[:1] in (b"{", b"[") and len(data) < 2_000_000
    if whole and (found := _parsed(data)) is not None:
        return _dumped(_changed(rng, found))
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    if (found := _parsed(lines[at])) is None:
        return _number(rng, data)
    lines[at] = _dumped(_changed(rng, found))
    return b"\n".join(lines)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _dumped(value: Any) -> bytes:
    text = json.dumps(value).replace(f'"{DEEP}"', "[" * 5000 + "]" * 5000)
    return text.encode("utf-8", "replace")


def _changed(rng: random.Random, value: Any) -> Any:
    """A node of the tree replaced, taken out or said twice."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(VALUES)
    if isinstance(value, dict):
        key = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                return {name: item for name, item in value.items() if name != key}
            case 1:
                return value | {rng.choice(TEXTS): value[key]}
            case _:
                return value | {key: _changed(rng, value[key])}
    at = rng.randrange(len(value))
    match rng.randrange(8):
        case 0:
            return value[:at] + value[at + 1 :]
        case 1:
            return value[: at + 1] + value[at:]
        case _:
            return [*value[:at], _changed(rng, value[at]), *value[at + 1 :]]


MUTATIONS: tuple[Mutation, ...] = (
    _flip, _junk, _insert, _remove, _repeat, _truncate, _lines, _number, _number, _text, _json,
    _json, _json,
)  # fmt: skip
