"""Answers of models, prompt by prompt, as wrapped lines: for the browser and the samples panel.

All of it is text from outside: cleaned here, wrapped by cells, drawn literally.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import get_character_cell_size

from sftui.drawing.canvas import Grid, Span, fit, text_width
from sftui.drawing.roles import Role, style
from sftui.text.clean import clean, clean_text

MOST_CHARACTERS = 4000
"""Of one answer that are shown."""

_LABEL = 14
"""Cells of a label at most."""

Line = tuple[tuple[int, Span], ...]
"""Spans of one row, each with its column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer."""

    label: str
    """Whose it is: `step 60`."""
    text: str
    note: str = ""
    """What else to know: that it was cut."""
    bad: bool = False
    """`text` says why there is none."""
    fresh: bool = True
    """The newest for its prompt; older ones are dim."""


Group = tuple[str, Sequence[Answer]]
"""A prompt and its answers."""


def answer_text(found: Sequence[tuple[str, str, str]]) -> str:
    """Prompts, labels and whole answers as text to be copied; a prompt stands once."""
    lines: list[str] = []
    before, most = None, 1_000_000
    for prompt, label, text in found:
        if prompt and prompt != before:
            lines += [*([""] if lines else []), *clean_text(prompt, most, most)]
        before = prompt
        first, *rest = clean_text(text, most, most)
        lines += [f"{clean(label, 80).strip()}: {first}" if label.strip() else first, *rest]
    return "\n".join(lines)


def wrap(text: str, cells: int) -> list[str]:
    """One cleaned line in rows of at most `cells`: at blanks, and inside a longer word."""
    rows, row, used = [], "", 0
    for piece in re.findall(r"\S+|\s+", text):
        width = text_width(piece)
        if used + width <= cells:
            row, used = row + piece, used + width
            continue
        if piece.isspace():
            # A blank at the end of a row is the break itself.
            rows.append(row)
            row, used = "", 0
            continue
        if row:
            rows.append(row.rstrip())
            row, used = "", 0
        for char in piece:
            size = get_character_cell_size(char)
            if used + size > cells and row:
                rows.append(row)
                row, used = "", 0
            row, used = row + char, used + size
    return [*rows, row]


def lines_of(groups: Sequence[Group], width: int, *, tight: bool = False) -> list[Line]:
    """All rows of these groups, `width` cells wide; a blank row between two prompts, if not
    `tight`."""
    labels = [text_width(clean(said.label, 60)) for _, answers in groups for said in answers]
    label = min(max(labels, default=0), _LABEL)
    indent = 1 + label + 2
    rows: list[Line] = []
    for prompt, answers in groups:
        if rows and not tight:
            rows.append(())
        if prompt:
            title = style(Role.TITLE, bold=True)
            asked = [row for line in clean_text(prompt, 600) for row in wrap(line, max(8, width))]
            rows += [((0, (row, title)),) for row in asked]
        for said in answers:
            role = Role.BAD if said.bad else Role.TEXT if said.fresh else Role.DIM
            wrapped = [
                row
                for line in clean_text(said.text, MOST_CHARACTERS)
                for row in wrap(line, max(8, width - indent))
            ]
            for i, row in enumerate(wrapped):
                spans: list[tuple[int, Span]] = [(indent, (row, style(role)))]
                if not i:
                    name = fit(clean(said.label, 60), label)
                    spans.insert(0, (1, (name, style(Role.FAINT))))
                rows.append(tuple(spans))
            if said.note:
                rows.append(((indent, (clean(said.note, 200), style(Role.FAINT))),))
    return rows


Sides = tuple[Sequence[str], Sequence[str]]
"""What two checkpoints answered to one prompt; empty where one was not asked."""


def beside_lines(asked: Mapping[str, Sides], width: int) -> list[Line]:
    """Prompts, each with the answers of two checkpoints side by side, in `width` cells."""
    half = max(4, (width - 3) // 2)
    rows: list[Line] = []
    for prompt, sides in asked.items():
        rows += [()] if rows else []
        title = style(Role.TITLE, bold=True)
        words = [row for line in clean_text(prompt, 600) for row in wrap(line, max(8, width))]
        rows += [((0, (row, title)),) for row in words if prompt]
        columns = [_column(texts, half) for texts in sides]
        alike = list(sides[0]) == list(sides[1])
        for i in range(max(map(len, columns))):
            spans: list[tuple[int, Span]] = [(half + 1, ("│", style(Role.AXIS)))]
            for start, column in zip((0, half + 3), columns, strict=True):
                if i < len(column):
                    # Answers that are the same on both sides need no second look.
                    spans.append((start, (column[i], style(Role.DIM if alike else Role.TEXT))))
            rows.append(tuple(sorted(spans)))
    return rows


def _column(texts: Sequence[str], cells: int) -> list[str]:
    """Answers one below the other."""
    return [
        row
        for text in texts or ("(not asked)",)
        for line in clean_text(text or "(nothing)", MOST_CHARACTERS)
        for row in wrap(line, cells)
    ]


def paint_lines(grid: Grid, lines: Sequence[Line], top: int) -> int:
    """Draw a framed panel's inside from row `top` of the lines on; the top that could be had."""
    rows = grid.height - 2
    top = max(0, min(top, len(lines) - rows))
    for i, line in enumerate(lines[top : top + max(0, rows)]):
        for column, (text, number) in line:
            grid.text(1 + i, 2 + column, text, number, grid.width - 2)
    return top
