"""Numbers as people's programs print them: `12,345`, `0,85`, `1.31M`, `45.7ms`, `12.3%`, `n/a`.

`NUMBER` cuts them out of a line; `quantity` says what one is worth. Times become seconds and
percentages fractions. A comma parts thousands, unless what follows it can be no thousands.
"""

from __future__ import annotations

import math
import re

_TIMES = {
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "secs": 1.0,
    "seconds": 1.0,
    "min": 60.0,
    "mins": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "ms/step": 1e-3,
    "ms/it": 1e-3,
    "ms/iter": 1e-3,
    "s/it": 1.0,
    "s/step": 1.0,
}
SIZES = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
_RATES = ("tokens/sec", "tokens/s", "tok/sec", "tok/s", "samples/s", "iter/s", "it/s", "steps/s")
_BYTES = ("GiB", "MiB", "GB", "MB", "TB")
UNITS = {
    **_TIMES,
    **SIZES,
    "%": 0.01,
    **{f"{size}{rate}": scale for size, scale in SIZES.items() for rate in ("it/s", "tok/s")},
    **dict.fromkeys(_RATES, 1.0),
    **dict.fromkeys(_BYTES, 1.0),
}
"""What one of each is worth; memory stays in the unit of its print."""

_GAPS = "'\u2019\u00a0\u2009\u202f"
"""Apostrophes and narrow blanks, which part thousands and nothing else."""
_DIGITS = (
    r"(?:\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d{1,3}(?:_\d{3})+"
    rf"|[1-9]\d{{0,2}}(?:[{_GAPS}]\d{{3}})+(?!\d)(?:[.,]\d+)?|\d{{1,3}}(?:\.\d{{3}})*,\d+(?![\d,])"
    r"|\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?"
)
_WORDS = r"(?<!of )(?<!num )[-+]?(?:[nN][aA][nN]|[iI]nf(?:inity)?|INF)|[nN]/[aA]|None|null"
_UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_FIRST = r"(?=[-+.\dnNiI])"
"""One look at how any of them begins: two thirds of the time go into places where none does."""
NUMBER = re.compile(
    rf"{_FIRST}(?<![\w.])(?<![\w)]-)((?:[-+]?{_DIGITS}(?:{_UNIT})?|{_WORDS})(?!\w|\.\d))"
)
"""A number that stands alone, with the unit that touches it; one group."""

_PARTS = re.compile(rf"([-+]?)({_DIGITS})\s?({_UNIT})?")
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_EITHER = re.compile(r"\d{1,3},\d{3}(?:[eE][-+]?\d+)?")
_MISSING = frozenset({"n/a", "none", "null", "na", "-", ""})


def quantity(text: str, *, decimal_commas: bool = False) -> float | None:
    """What a printed number is worth; None where it says that there is none.

    `decimal_commas`: of one comma that could part thousands or decimals, it is the latter.

    Raises:
        ValueError: it is no number.
    """
    try:
        return float(text)
    except ValueError:
        pass
    text = text.strip()
    if text.lower() in _MISSING:
        return None
    match = _PARTS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no number")
    sign, digits, unit = match.groups()
    value = _worth(digits, decimal_commas)
    if unit:
        worth = UNITS[unit]
        value = times(value, worth)
    return -value if sign == "-" else value


def times(value: float, worth: float) -> float:
    """A printed number in a unit of this worth; `1.1k` is 1100, not a little more."""
    if worth < 1:
        # Dividing rounds once: 12.3 % is 0.123, where a product with 0.01 is not.
        return value / round(1 / worth)
    return round(value * worth, 6) if worth >= 1000 else value * worth


def unit_of(text: str) -> str:
    """The unit that touches a number; empty for none."""
    match = _PARTS.fullmatch(text)
    return (match[3] or "") if match else ""


def is_decimal_comma(text: str) -> bool:
    """Whether a comma in it can part no thousands: `0,85`, `2,3456`, `1.234,5`."""
    if "," not in text:
        return False
    match = _PARTS.fullmatch(text)
    return match is not None and "," in match[2] and not _THOUSANDS.fullmatch(match[2])


def whole(value: float | None) -> int | None:
    """The count that a number is, if it is one: 10.0 is, 0.5 and NaN are not."""
    if value is None or not math.isfinite(value) or value != int(value):
        return None
    return int(value) if 0 <= value < 10**12 else None


def clock(text: str) -> float | None:
    """Seconds of `1 day, 0:08:23`, `5:39:46` or `41m 48s`; None for what is no such thing."""
    match = re.fullmatch(r"(?:(\d{1,6}) days?, )?(\d{1,4}):(\d\d):(\d\d)", text)
    if match is None:
        match = re.fullmatch(r"(?:(\d{1,6})d ?)?(?:(\d{1,4})h ?)?(?:(\d{1,4})m ?)?(\d{1,2})s", text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 86400.0 * days + 3600 * hours + 60 * minutes + seconds


_BLANKED = str.maketrans("", "", f"_{_GAPS}")


def _worth(digits: str, decimal_commas: bool) -> float:
    digits = digits.translate(_BLANKED)
    if "," not in digits:
        return float(digits)
    if _THOUSANDS.fullmatch(digits) and not (decimal_commas and _EITHER.fullmatch(digits)):
        return float(digits.replace(",", ""))
    return float(digits.replace(".", "").replace(",", "."))
