"""Long tables: the body shows a part of them, the appendix all."""

from __future__ import annotations

from sftui.report.language import Language

SHOWN = 60
"""Rows of a table in the body; the appendix holds all."""


def shortened(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The first and last rows, a gap between them."""
    if len(rows) <= SHOWN:
        return rows
    half = SHOWN // 2
    return [*rows[:half], tuple("…" for _ in rows[0]), *rows[-half:]]


def cut_note(tr: Language, total: int) -> str:
    return tr(
        f"{total:,} rows in all; the appendix has every one.", f"共 {total:,} 行；附录中有全部。"
    )
