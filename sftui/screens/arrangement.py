"""Where every panel goes at every terminal size: a pure function of a few facts.

Three families: wide (all panels), narrow (one big panel over a strip that always
sums up the run), tiny (one thing at a time). What does not fit is dropped
whole, in a fixed order; no panel is ever cut in mid-border. What a log does not have
leaves its room to the loss.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDE_COLUMNS, WIDE_ROWS = 110, 34
NARROW_COLUMNS, NARROW_ROWS = 60, 16


@dataclass(frozen=True, slots=True)
class Box:
    """Cells of one panel: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


def family(width: int, height: int) -> str:
    """`wide`, `narrow` or `tiny`."""
    if width >= WIDE_COLUMNS and height >= WIDE_ROWS:
        return "wide"
    return "narrow" if width >= NARROW_COLUMNS and height >= NARROW_ROWS else "tiny"


def arrange(
    width: int,
    height: int,
    *,
    panel: str,
    lower: str = "accuracy",
    maximised: bool = False,
    num_ranks: int = 1,
    replay: bool = False,
    alarms: int = 0,
    kind: str = "",
    absent: frozenset[str] = frozenset(),
) -> dict[str, Box]:
    """Boxes by widget id; a widget that is not named is not shown.

    `lower`: accuracy, samples or pinned, where one of them stands among all panels; `alarms`: how
    many lines they want; `kind`: the family, when the size does not decide it; `absent`: those of
    accuracy, memory, benchmarks and checkpoints that would stay empty.
    """
    if width < 1 or height < 1:
        return {}
    kind = kind or family(width, height)
    rows = min(alarms, 4 if height >= 44 else 3 if height >= 34 else 2 if height >= 20 else 1)
    if rows and height >= 8:
        # Alarms push everything under the header down.
        boxes = arrange(
            width,
            height - rows,
            panel=panel,
            lower=lower,
            maximised=maximised,
            num_ranks=num_ranks,
            replay=replay,
            kind=kind,
            absent=absent,
        )
        top = boxes["header"].height
        moved = {
            name: box if name == "header" else Box(box.x, box.y + rows, box.width, box.height)
            for name, box in boxes.items()
        }
        return moved | {"alarms": Box(0, top, width, rows)}
    if not replay or height < 6:
        return _arrange(kind, width, height, panel, lower, maximised, num_ranks, absent)
    # The bar has the row above the keys; everything else shares what is left.
    boxes = _arrange(kind, width, height - 1, panel, lower, maximised, num_ranks, absent)
    return boxes | {
        "scrubber": Box(0, height - 2, width, 1),
        "footer": Box(0, height - 1, width, 1),
    }


def _arrange(
    kind: str,
    width: int,
    height: int,
    panel: str,
    lower: str,
    maximised: bool,
    num_ranks: int,
    absent: frozenset[str],
) -> dict[str, Box]:
    if kind == "wide" and not maximised:
        return _wide(width, height, lower, num_ranks, absent)
    if kind == "tiny":
        return _tiny(width, height, panel, absent)
    if maximised:
        return _maximised(width, height, panel, absent)
    return _narrow(width, height, panel, absent)


def _wide(
    width: int, height: int, lower: str, num_ranks: int, absent: frozenset[str]
) -> dict[str, Box]:
    log = 9 if height >= 46 else 8 if height >= 42 else 6
    top, bottom = 2, height - 1 - log
    body = bottom - top
    # 50 columns hold two tasks with both differences, 58 their counts as well.
    right = max(50, round(width * 0.365))
    left = width - right
    column = [n for n in ("memory", "benchmarks", "checkpoints") if n not in absent]
    chart = left if column else width
    accuracy = max(10, round(body / 3.35)) if body >= 24 and lower not in absent else 0
    boxes = {
        "header": Box(0, 0, width, 2),
        "loss": Box(0, top, chart, body - accuracy),
        "log": Box(0, bottom, width if column else left, log),
        "footer": Box(0, height - 1, width, 1),
    }
    if accuracy:
        boxes[lower] = Box(0, bottom - accuracy, chart, accuracy)
    elif lower == "samples":
        boxes[lower] = boxes.pop("log")
    if not column:
        # One panel alone is no column: beside the log it leaves the whole width to the loss.
        return boxes | {"now": Box(left, bottom, right, log)}
    # The three lines under the numbers take their rows where the tables keep enough.
    now = 11 if body >= 34 else 9 if body >= 26 else 6
    # Two lines a rank while they fit, then one.
    wanted = 2 + (2 * num_ranks if num_ranks <= 2 else num_ranks)
    rows = {"memory": min(max(4, wanted), max(4, body // 3))}
    rest = body - now - (rows["memory"] if "memory" in column else 0)
    # Where both have rows, the sentence of every task goes before checkpoints of long ago.
    rows["benchmarks"] = max(5, round(rest * (0.62 if body >= 34 else 0.54)))
    boxes["now"] = Box(left, top, right, now)
    y = top + now
    for name in column:
        # The last one has what is left.
        size = bottom - y if name == column[-1] else rows[name]
        boxes[name] = Box(left, y, right, size)
        y += size
    return boxes


def _narrow(width: int, height: int, panel: str, absent: frozenset[str]) -> dict[str, Box]:
    header = 2 if height >= 28 else 1
    strip = 6 if height >= 20 else 0
    log = 6 if height >= 30 and panel != "log" else 0
    big = height - header - strip - log - 1
    boxes = {
        "header": Box(0, 0, width, header),
        "footer": Box(0, height - 1, width, 1),
    }
    if strip:
        boxes["summary"] = Box(0, header + big, width, strip)
    if log:
        boxes["log"] = Box(0, header + big + strip, width, log)
    return boxes | _big(Box(0, header, width, big), panel, absent)


def _maximised(width: int, height: int, panel: str, absent: frozenset[str]) -> dict[str, Box]:
    boxes = {"header": Box(0, 0, width, 1), "footer": Box(0, height - 1, width, 1)}
    return boxes | _big(Box(0, 1, width, height - 2), panel, absent)


def _tiny(width: int, height: int, panel: str, absent: frozenset[str]) -> dict[str, Box]:
    boxes = {"header": Box(0, 0, width, 1)}
    footer = 1 if height >= 4 else 0
    if footer:
        boxes["footer"] = Box(0, height - 1, width, 1)
    middle = Box(0, 1, width, height - 1 - footer)
    if middle.height < 1:
        return boxes
    if middle.height >= 8 and width >= 36:
        return boxes | _big(middle, panel, absent)
    return boxes | {"summary": middle}


def _big(box: Box, panel: str, absent: frozenset[str]) -> dict[str, Box]:
    """The panel of a number key over the whole of `box`; accuracy brings its table along."""
    if panel != "accuracy" or "benchmarks" in absent:
        return {panel: box}
    if box.width >= 100:
        chart = box.width * 11 // 20
        return {
            "accuracy": Box(box.x, box.y, chart, box.height),
            "benchmarks": Box(box.x + chart, box.y, box.width - chart, box.height),
        }
    if box.height >= 18:
        chart = box.height // 2
        return {
            "accuracy": Box(box.x, box.y, box.width, chart),
            "benchmarks": Box(box.x, box.y + chart, box.width, box.height - chart),
        }
    return {"benchmarks": box}
