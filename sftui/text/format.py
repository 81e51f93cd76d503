"""Every number the product prints: digits, units, durations.

An unknown number is an en dash, never a zero; NaN is printed as such, because a
diverged loss is news. Differences of accuracies are points, never `%`.
"""

from __future__ import annotations

import math

UNKNOWN = "–"
LARGEST_KEPT = 2.0**126
"""What columns keep of a larger finite number (`state.series`), a quarter of what float32 holds: so
the distance and the sum of two, and the limits of an axis that holds them, are finite there too."""
_LARGEST = 1e15
"""From here on no unit is left but the exponent."""


def count(value: int | float | None) -> str:
    """1204 -> `1,204`."""
    if value is None:
        return UNKNOWN
    if isinstance(value, float):
        if not math.isfinite(value):
            return _nonfinite(value)
        value = round(value)
    return f"{value:,}"


def counted(number: int, thing: str) -> str:
    """`1 update`, `2 updates`."""
    return f"{count(number)} {thing}" + ("" if number == 1 else "s")


def loss(value: float | None, digits: int = 4) -> str:
    """A loss in nats with four decimals; large ones keep four significant digits."""
    if value is None:
        return UNKNOWN
    if not math.isfinite(value):
        return _nonfinite(value)
    size = abs(value)
    if size == LARGEST_KEPT:
        return f"{'>' if value > 0 else '<'}{value:.2e}"
    if size >= 1e5:
        return f"{value:.2e}"
    if size >= 10:
        digits = max(0, digits - (1 if size < 100 else 2 if size < 1000 else 3))
    return f"{value:.{digits}f}"


def si(value: float | None, digits: int = 3) -> str:
    """12431 -> `12.4k`, 335544320 -> `336M`, 1.4e18: at most `digits` significant digits."""
    if value is None:
        return UNKNOWN
    if not math.isfinite(value):
        return _nonfinite(value)
    size = abs(value)
    if size >= _LARGEST:
        return f"{value:.{max(0, digits - 1)}e}".replace("e+", "e")
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999.5 of a unit rounds up to 1000 of it: that is 1 of the next.
        if size >= factor * (1 - 0.5 * 10.0**-digits):
            return _significant(value / factor, digits) + unit
    return _significant(value, digits)


def tick(value: float, step: float) -> str:
    """A tick label: as many decimals as the step needs, SI from a thousand up."""
    if abs(value) < step * 1e-6:
        return "0"
    if abs(value) >= _LARGEST:
        return _exponent(value)
    if abs(value) >= 1000 and step >= 10:
        for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= factor:
                # A step of 1,2,2.5,5 x 10^n needs at most one digit more than its exponent.
                decimals = 0
                while decimals < 4 and not _whole(step / factor * 10**decimals):
                    decimals += 1
                return f"{value / factor:.{decimals}f}{unit}"
    decimals = 0
    # A step far below one is whole only after the point moved to its first digit.
    while decimals < 9 and not (step * 10**decimals > 0.5 and _whole(step * 10**decimals)):
        decimals += 1
    if decimals > 5:
        return _exponent(value)
    return f"{value:.{decimals}f}"


def _exponent(value: float) -> str:
    """With as many digits as a round tick has."""
    size = math.floor(math.log10(abs(value)) + 1e-9)
    digits = 0
    while digits < 6 and not _whole(value / 10.0**size * 10**digits):
        digits += 1
    return f"{value:.{digits}e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def time_tick(seconds: float) -> str:
    """A tick label of a time axis: `0`, `30s`, `1m30`, `2h`, `1h15`, `1:15:30`, `1d6h`."""
    days, rest = divmod(round(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    day = f"{days}d" if days else ""
    if rest and (days or hours):
        return f"{day}{hours}:{minutes:02d}:{rest:02d}"
    if days or hours:
        hour = f"{hours}h" if hours or minutes else ""
        return day + hour + (f"{minutes:02d}" if minutes else "")
    if minutes:
        return f"{minutes}m" + (f"{rest:02d}" if rest else "")
    return f"{rest}s" if rest else "0"


def epoch(value: float | None) -> str:
    """Epochs, to a hundredth: `1.25`."""
    if value is None:
        return UNKNOWN
    return f"{value:.2f}" if math.isfinite(value) else _nonfinite(value)


def rate(value: float | None) -> str:
    """A learning rate: `2e-4`, `0.02`, `8.0e-5`."""
    if value is None:
        return UNKNOWN
    if not math.isfinite(value):
        return _nonfinite(value)
    if value == 0:
        return "0"
    if 1e-2 <= abs(value) < 1000:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def percent(fraction: float | None, digits: int = 1) -> str:
    """0.616 -> `61.6%`."""
    if fraction is None:
        return UNKNOWN
    if not math.isfinite(fraction):
        return _nonfinite(fraction)
    return f"{100 * fraction:.{digits}f}%"


def points(value: float | None, digits: int = 1) -> str:
    """A difference in percentage points: `+2.1`, `-0.4`, `0.0`."""
    if value is None:
        return UNKNOWN
    if not math.isfinite(value):
        return _nonfinite(value)
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def change(value: float | None, digits: int = 4) -> str:
    """A change with an arrow, so that colour is never the only carrier: `▼ 0.0041`."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return _nonfinite(value)
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return f"= {text}"
    return f"{'▲' if value > 0 else '▼'} {text}"


def size(num_bytes: float | None) -> str:
    """Bytes as `62.5G`, `512M`: binary units, three digits."""
    if num_bytes is None:
        return UNKNOWN
    if not math.isfinite(num_bytes):
        return _nonfinite(num_bytes)
    value = float(num_bytes)
    for unit in ("", "K", "M", "G", "T"):
        if abs(value) < 999.5 or unit == "T":
            return (_significant(value, 3) if unit else f"{value:.0f}") + (unit or "B")
        value /= 1024
    raise AssertionError("the last unit always returns")


def size_of(used: float | None, total: float | None) -> str:
    """`62.5/80.0G`: both in the unit of the total."""
    if total is None or used is None or not 0 < total < math.inf or not math.isfinite(used):
        return size(used)
    text = size(total)
    unit = text[-1]
    power = {"B": 0, "K": 1, "M": 2, "G": 3, "T": 4}[unit]
    return f"{_significant(used / 1024**power, 3)}/{text}"


def clock(seconds: float | None) -> str:
    """A duration as h:mm:ss."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def duration(seconds: float | None) -> str:
    """A duration in two units at most: `412ms`, `3.1s`, `2m 05s`, `3h 12m`, `2d 4h`."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def age(seconds: float | None) -> str:
    """How long ago, in one unit: `now`, `20s`, `13m`, `5h`, `2d`."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 5:
        return "now"
    for limit, unit, length in ((60, "s", 1), (3600, "m", 60), (86400, "h", 3600)):
        if seconds < limit:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds // 86400)}d"


def _nonfinite(value: float) -> str:
    return "NaN" if math.isnan(value) else ("inf" if value > 0 else "-inf")


def _whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-6 * max(1.0, abs(value))


def _significant(value: float, digits: int) -> str:
    """At most `digits` significant digits; tokens/s of 98.76 reads 98.8, 5 reads 5."""
    if value == 0:
        return "0"
    before = max(1, math.floor(math.log10(abs(value))) + 1) if abs(value) >= 1 else 1
    text = f"{value:.{max(0, digits - before)}f}"
    if "." in text and len(text.replace("-", "").replace(".", "").lstrip("0")) > digits:
        text = text[:-1].rstrip(".")  # 99.96 was rounded to 100.0: one digit too many
    return text.split(".")[0] if value == round(value) else text
