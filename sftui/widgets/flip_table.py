"""Questions that two checkpoints answer differently: a list with a cursor, and the question."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from textual.events import Click

from sftui.drawing.canvas import Grid, Span, fit
from sftui.drawing.roles import Back, Role, style
from sftui.state.records import Topic
from sftui.text import format as fmt
from sftui.text.clean import clean, clean_text
from sftui.widgets.panel import Panel

if TYPE_CHECKING:
    from sftui.state.run_state import RunState
    from sftui.statistics.flips import Asked, FlipBook, Item, Questions
    from sftui.view.view import View

_MARKS = {
    # Green and red are kept for differences that are clear; one question never is.
    "gained": ("▲", Role.SAVED),
    "lost": ("▼", Role.WARN),
    "right": ("✓", Role.DIM),
    "wrong": ("✗", Role.DIM),
}
_BESIDE = 100
"""Columns from which the question stands beside the list."""


class FlipTable(Panel):
    """A list with a cursor and the chosen question; `book` is its data, or why there is none."""

    TOPICS = Topic.ALL
    can_focus = True
    border_keys = "questions"

    def __init__(self, state: RunState, view: View, *, id: str) -> None:
        super().__init__(state, view, id=id)
        self.book: FlipBook | str = ""
        self.kind = "flipped"
        self.questions: Questions | None = None
        self.cursor = 0
        self._top = 0

    @property
    def items(self) -> list[Item]:
        return [] if isinstance(self.book, str) else self.book.of_kind(self.kind)

    def move(self, by: int) -> None:
        self.cursor = max(0, min(len(self.items) - 1, self.cursor + by))
        self.rebuild()

    def on_click(self, event: Click) -> None:
        if event.y < self.size.height - 1:
            self.move(self._top + event.y - _HEAD - self.cursor)

    def copied(self) -> str:
        """The chosen question with its choices and both answers."""
        items = self.items
        if not items:
            return super().copied()
        item = items[self.cursor]
        asked = self._asked(item)
        lines = [clean(asked.question, 4000) if asked is not None else f"question {item.id}"]
        choices = asked.choices if asked is not None else ()
        for letter, choice in zip(item.letters, choices, strict=False):
            lines.append(f"{clean(letter, 3)}) {clean(choice, 1000)}")
        told = (("right", item.gold), ("before", item.before), ("now", item.now))
        lines += [f"{name}: {clean(value, 1000)}" for name, value in told]
        for name, wrote in (("before", item.wrote_before), ("now", item.wrote_now)):
            lines += [f"{name} wrote:", *clean_text(wrote)] if wrote else []
        return "\n".join(lines)

    def paint(self, grid: Grid) -> None:
        notes = self.key_notes(grid.width - 8)
        title = [("questions", style(Role.TITLE, bold=True))]
        book = self.book
        if isinstance(book, str):
            grid.frame(title, notes, border=self.border)
            for i, line in enumerate(textwrap.wrap(clean(book, 600), max(8, grid.width - 4))):
                if 1 + i < grid.height - 1:
                    grid.text(1 + i, 2, fit(line, grid.width - 4), style(Role.DIM))
            return
        since = "start" if book.step_before == 0 else f"step {fmt.count(book.step_before)}"
        words = f" · {clean(book.task, 40)} · {since} → step {fmt.count(book.step)} · {self.kind}"
        grid.frame([*title, (words, style(Role.DIM))], notes, border=self.border)
        self._head(grid, book)
        items = self.items
        self.cursor = max(0, min(self.cursor, len(items) - 1))
        beside = grid.width >= _BESIDE
        rows = grid.height - 1 - _HEAD
        list_rows = rows if beside else max(3, rows // 3)
        list_end = max(44, grid.width * 2 // 5) if beside else grid.width - 1
        self._top = max(0, min(self.cursor - list_rows // 2, len(items) - list_rows))
        for i, item in enumerate(items[self._top : self._top + list_rows]):
            self._item(grid, _HEAD + i, list_end, item, chosen=self._top + i == self.cursor)
        if not items:
            grid.text(_HEAD, 2, fit("none of this kind", grid.width - 4), style(Role.FAINT))
            return
        if beside:
            for row in range(_HEAD, grid.height - 1):
                grid.put(row, list_end, "│", style(Role.AXIS))
            self._question(grid, _HEAD, list_end + 2, items[self.cursor])
        else:
            self._question(grid, _HEAD + list_rows + 1, 2, items[self.cursor])

    def _head(self, grid: Grid, book: FlipBook) -> None:
        """The comparison, the letters answered, and the subjects that moved most."""
        found, end = book.comparison, grid.width - 2
        low, high = (fmt.points(100 * bound) for bound in (found.low, found.high))
        words = f"{fmt.points(found.points)} points [{low}, {high}]"
        spans: list[Span] = [(words, style(Role.TEXT, bold=True))]
        spans.append((f"  ▲ {found.gains} gained", style(Role.SAVED)))
        spans.append((f"  ▼ {found.losses} lost", style(Role.WARN)))
        spans.append((f"  of {len(book.items):,}", style(Role.DIM)))
        if book.error_by_subject is not None:
            error = f"  ± {100 * book.error_by_subject:.1f} by subject"
            spans.append((error, style(Role.FAINT)))
        grid.spans(1, 2, spans, end)
        total = max(1, len(book.items))
        letters = "  ".join(
            f"{clean(letter, 4)} {fmt.percent(count / total, 0)}"
            f" ({fmt.percent(book.gold.get(letter, 0) / total, 0)})"
            for letter, count in book.answered.items()
        )
        if letters:
            grid.text(2, 2, fit(f"answered (right): {letters}", end - 2), style(Role.DIM))
        moved = "  ".join(f"{clean(n, 30)} +{g} -{lost}" for n, g, lost in book.subjects()[:8])
        if moved:
            grid.text(3, 2, fit(f"subjects: {moved}", end - 2), style(Role.FAINT))

    def _item(self, grid: Grid, row: int, end: int, item: Item, *, chosen: bool) -> None:
        mark, role = _MARKS[item.kind]
        col = grid.text(row, 2, f"{mark} ", style(role), end)
        col = grid.text(row, col, f"{clean(item.before, 3)}→{clean(item.now, 3)} ",
                        style(Role.TEXT, bold=chosen), end)  # fmt: skip
        asked = self._asked(item)
        words = asked.question if asked is not None else item.subject or item.id
        grid.text(row, col, fit(clean(words, 300), end - col - 1), style(Role.DIM), end)
        if chosen:
            grid.back(row, 1, end, Back.ROW)

    def _asked(self, item: Item) -> Asked | None:
        """The question that was asked, None until it was read."""
        if self.questions is None or isinstance(self.book, str):
            return None
        return self.questions.get(self.book.task, item.id)

    def _question(self, grid: Grid, row: int, col: int, item: Item) -> None:
        """Words, choices with both probabilities, the right letter."""
        end, last = grid.width - 2, grid.height - 1
        width = max(8, end - col)
        asked = self._asked(item)
        lines: list[tuple[str, int]] = []
        if item.subject:
            lines.append((clean(item.subject, 80), style(Role.FAINT)))
        if asked is not None:
            words = textwrap.wrap(clean(asked.question, 1500), width)
            lines += [(line, style(Role.TEXT, bold=True)) for line in words]
        elif self.questions is None or self.questions.ready:
            why = self.questions.problem if self.questions is not None else ""
            told = clean(f"question {item.id[:80]}; its words are not here. {why[:400]}")
            lines += [(line, style(Role.DIM)) for line in textwrap.wrap(told, width)]
        else:
            lines.append(("reading the questions…", style(Role.SAVED)))
        lines.append(("", 0))
        if not item.letters:
            lines += _written(item, width)
        else:
            lines.append(("     before   now", style(Role.FAINT)))
        for i, letter in enumerate(item.letters):
            right = letter == item.gold
            given = ("before " if letter == item.before else "") + (
                "now" if letter == item.now else ""
            )
            p = f"{clean(letter, 3):>3} {item.p_before[i]:7.1%} {item.p_now[i]:6.1%}  "
            text = clean(asked.choices[i], 400) if asked is not None else ""
            told = f"{p}{'✓ ' if right else '  '}{text}" + (f"  ← {given.strip()}" if given else "")
            role = style(Role.GOOD, bold=True) if right else style(Role.TEXT if given else Role.DIM)
            wrapped = textwrap.wrap(told, width, subsequent_indent=" " * 23) or [told]
            # Wrapping eats the blanks that the columns stand on.
            wrapped[0] = told[: len(told) - len(told.lstrip())] + wrapped[0].lstrip()
            lines += [(line, role) for line in wrapped]
        for text, number in lines:
            if row >= last:
                return
            grid.text(row, col, fit(text, end - col), number)
            row += 1


def _written(item: Item, width: int) -> list[tuple[str, int]]:
    """The right answer, and both that were written out."""
    lines = [(f"right: {clean(item.gold, 60)}", style(Role.GOOD, bold=True))]
    for name, found, wrote in (
        ("before", item.before, item.wrote_before),
        ("now", item.now, item.wrote_now),
    ):
        lines += [("", 0), (f"{name}: {clean(found, 100) or '(no answer)'}", style(Role.FAINT))]
        for line in wrote.split("\n"):
            told = clean(line, 400)
            role = style(Role.TEXT)
            # Blanks at the beginning are part of a program.
            lines += [
                (part, role) for part in textwrap.wrap(told, width, drop_whitespace=False) or [""]
            ]
    return lines


_HEAD = 5
"""First row of the list."""
