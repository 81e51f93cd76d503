"""Markdown that stays what it is, whatever a log says.

Every text from outside is either escaped (`text`) or put into a code span (`code`), in
which nothing is read: no HTML, no link, no mention, no table border. Both clean it first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sftui.text.clean import clean

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+\-!|~&$@:])")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,/=]*(?:[-_][A-Za-z0-9 .,/=]+)*")


def text(outside: str, limit: int = 200) -> str:
    """Outside text as itself."""
    cleaned = clean(outside, limit).strip()
    if _PLAIN.fullmatch(cleaned) and "__" not in cleaned and "www" not in cleaned.lower():
        # A hyphen or an underscore between letters means nothing in Markdown.
        return cleaned
    return _SPECIAL.sub(r"\\\1", cleaned)


def code(outside: str, limit: int = 300) -> str:
    """Outside text as a code span; its fence is longer than any run of backticks in it."""
    cleaned = clean(outside, limit).strip()
    if not cleaned:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", cleaned)), default=0) + 1)
    pad = " " if cleaned[0] == "`" or cleaned[-1] == "`" else ""
    return f"{fence}{pad}{cleaned}{pad}{fence}"


def block(lines: Iterable[str], limit: int = 2000) -> str:
    """Outside lines as a fenced block."""
    cleaned = [clean(line, limit) for line in lines]
    longest = max((len(run) for line in cleaned for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}text", *cleaned, fence])


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    """A table; `numbers`: all columns but the first are set to the right.

    Cells are Markdown already; a bar in them (of a code span) is masked as tables want it.
    """
    marks = ["---", *(("---:" if numbers else "---") for _ in head[1:])]
    lines = [_row(head), _row(marks), *(_row(row) for row in rows)]
    return "\n".join(lines)


def bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def numbered(items: Iterable[str]) -> str:
    return "\n".join(f"{i}. {item}" for i, item in enumerate(items, start=1))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in cells) + " |"
