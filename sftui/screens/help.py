"""Every key, verb and mark of the screen, from their tables, filtered as one types."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.widgets import Input, Static

from sftui.keys.key_table import GROUPS, PROGRAMS, SCREENS, Key, KeyTable
from sftui.screens.modal import Modal
from sftui.verbs.verb_table import GROUPS as VERB_GROUPS
from sftui.verbs.verb_table import VERBS
from sftui.view.chart_filter import MOST_CHARACTERS, ChartFilter, parse

MARKS = (
    ("━", "training loss, moving average"),
    ("⣿", "training loss of every step, faint"),
    ("●", "validation loss"),
    ("★", "best validation loss; the starting weights count"),
    ("▴", "spikes above the range of the chart"),
    ("◆ ◇", "checkpoint, and one removed since"),
    ("▾ ┊", "a request that took effect"),
    ("╎", "end of an epoch"),
    ("▲▼", "a clear difference; anything less is grey"),
)

OVERLAY_MARKS = (
    ("━", "training loss, moving average; the pinned run's is thick"),
    ("⣿", "raw training loss of the pinned run, faint"),
    ("A B C", "the run whose curve ends there"),
    ("● ■ ▲", "validation loss, a mark for each run"),
)


CHART_MARKS = (
    ("━", "mean of a centred window, over what is lowest and highest in each column, pale"),
    ("●", "a single point, where there are few; one standard error on either side is tinted"),
    ("▴ ▾", "points outside the range of the chart"),
    ("╌", "accuracy of guessing"),
    ("⌖", "pinned to the dashboard"),
)
_MARKS_OF = {"compare": OVERLAY_MARKS, "charts": CHART_MARKS}

_KEYS = 12
"""Cells of the first column of keys and marks."""
_USAGE = 28
"""The same of verbs, in both with what is between."""
_ROOMY, _INDENT = 60, 6
"""Below so many cells a verb has a line of its own, and its words begin here."""
_COLUMN, _GAP = 52, 3
"""Least cells of each of two columns, and those between them."""
FRAME = 7
"""Cells of border, padding and scroll bar."""
WIDEST = 158
NARROWEST = 84
HINT = "letters filter all keys and verbs · esc closes"
_NOW = {"live": ("", "live", "search"), "replay": ("", "replay", "look", "search")}
"""Modes of the keys that may act over a run and over a replay."""

_PLACES = {
    "replay": "Replay",
    "log": "Log",
    "line": "Line",
    "browser": "Checkpoints",
    "questions": "Questions",
    "rows": "Rows",
    "charts": "Charts",
    "picker": "Runs",
    "compare": "Compare",
}
"""How the help of a group's keys begins where they stand among all others, as in docs/keys.md."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its rows: what is typed, and what it does."""

    title: str
    rows: tuple[tuple[str, str], ...]
    usage: bool = False
    """Whether the first column is that of verbs."""

    def filtered(self, wanted: ChartFilter) -> Section:
        """The rows that are asked for; all of them where the heading is."""
        rows = [
            row for row in self.rows if wanted.matches(row[0], f"{self.title} {row[1]}".lower())
        ]
        return Section(self.title, tuple(rows), self.usage)


class Help(Modal[None]):
    """Over a run, a replay, the page of charts, or `sftui compare`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "close", show=False, priority=True),
        Binding("up", "scroll_by(-1)", show=False, priority=True),
        Binding("down", "scroll_by(1)", show=False, priority=True),
        Binding("pageup", "scroll_by(-15)", show=False, priority=True),
        Binding("pagedown", "scroll_by(15)", show=False, priority=True),
    ]

    def __init__(self, keys: KeyTable, only: str = "", mode: str = "") -> None:
        """`only` one group of keys: that of a program of its own. `mode`: `live` or `replay`,
        whose keys stand there at first; empty for those of both."""
        super().__init__()
        self._keys, self._only, self._mode = keys, only, mode

    def compose(self) -> ComposeResult:
        with Vertical(id="help"):
            yield Input(id="help-filter", placeholder=HINT, max_length=MOST_CHARACTERS)
            with VerticalScroll(id="help-page"):
                yield Static(markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).can_focus = False
        self.query_one(Input).focus()
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def on_input_changed(self) -> None:
        self.query_one(VerticalScroll).scroll_home(animate=False)
        self._draw()

    def on_click(self, event: Click) -> None:
        """Anywhere but in the line of the filter or on the bar closes the page."""
        if event.widget is self or isinstance(event.widget, Static):
            self.dismiss()

    def action_close(self) -> None:
        """The filter goes first, then the page."""
        line = self.query_one(Input)
        if line.value:
            line.value = ""
        else:
            self.dismiss()

    def action_scroll_by(self, rows: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=rows, animate=False)

    def _draw(self) -> None:
        screen = self.app.size.width
        two = screen >= 2 * _COLUMN + _GAP + FRAME and not self._only
        cells = min(WIDEST if two else NARROWEST, screen)
        self.query_one("#help").styles.width = cells
        query = self.query_one(Input).value
        content = help_content(
            self._keys, self._only, max(20, cells - FRAME), mode=self._mode, query=query
        )
        self.query_one(Static).update(content)


def help_content(
    keys: KeyTable, only: str = "", width: int = 76, *, mode: str = "", query: str = ""
) -> Content:
    """The page as styled text, of one group or of all that the screen over a run has.

    What is longer than a column goes on under its beginning, not under the key. From two columns'
    width on, keys stand left, verbs and marks right.

    Args:
        keys: the table with the user's own keys.
        only: one group of keys alone.
        width: cells of a line.
        mode: without a query, the keys that act over a run (`live`) or a `replay`; empty: all.
        query: what is looked for among all keys, verbs and marks, as on the page of charts.
    """
    mode = "" if query else mode
    found = key_sections(keys, only, mode)
    others = [] if only else verb_sections(mode)
    others.append(Section("Marks", _MARKS_OF.get(only, MARKS)))
    wanted = parse(query)
    left, right = (
        [section for each in side if (section := each.filtered(wanted)).rows]
        for side in (found, others)
    )
    if not left and not right:
        return Content.styled(f"nothing has {query!r}; esc clears the filter", "$role-dim")
    if width < 2 * _COLUMN + _GAP or only:
        return Content("\n").join(_lines([*left, *right], width))
    column = (width - _GAP) // 2
    pairs = itertools.zip_longest(_lines(left, column), _lines(right, column), fillvalue=_EMPTY)
    return Content("\n").join(
        Content.assemble(a, " " * (column + _GAP - a.cell_length), b) for a, b in pairs
    )


_EMPTY = Content("")


def key_sections(keys: KeyTable, only: str, mode: str) -> list[Section]:
    """The keys by group, those of a screen of their own last."""
    found = []
    for group, words in GROUPS.items():
        if group != only if only else group in PROGRAMS:
            continue
        rows = [k for k in keys.entries if k.group == group and _acts(k, mode)]
        found.append((any(k.mode in SCREENS for k in rows), Section(words, _rows(rows, group))))
    return [section for _, section in sorted(found, key=lambda each: each[0])]


def _acts(key: Key, mode: str) -> bool:
    if mode == "replay" and key.group == "run":
        return False  # they only say why nothing happens
    return not mode or key.mode in _NOW[mode]


def _rows(keys: Sequence[Key], group: str) -> tuple[tuple[str, str], ...]:
    """What is typed and what it does, without the name of the place that is the heading."""
    place = f"{_PLACES.get(group, '')}: "
    return tuple((key.shown, _capital(key.help.removeprefix(place))) for key in keys)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def verb_sections(mode: str) -> list[Section]:
    """What `:` takes: verbs of the run first, then of the replay, views, looks."""
    verbs = [verb for verb in VERBS if not mode or verb.works_in(mode)]
    return [
        Section(
            f":  {title}",
            tuple((verb.usage, verb.help) for verb in verbs if verb.group == group),
            usage=True,
        )
        for group, title in VERB_GROUPS.items()
    ]


def _lines(sections: Sequence[Section], width: int) -> list[Content]:
    """Headings and folded rows, with an empty line between sections."""
    lines: list[Content] = []
    for section in sections:
        lines += [_EMPTY] * bool(lines) + [Content.styled(section.title, "bold $role-title")]
        cells = _USAGE if section.usage else _KEYS
        own_line = section.usage and width < _ROOMY
        for typed, words in section.rows:
            if own_line:
                lines.append(Content.styled(f"  {typed}", "bold $role-warn"))
                pieces = textwrap.wrap(words, max(16, width - _INDENT))
                lines += [Content(" " * _INDENT + piece) for piece in pieces]
                continue
            first, *rest = textwrap.wrap(words, max(16, width - cells)) or [""]
            name = f"  {typed:<{cells - 4}}" if section.usage else f"{typed:>{cells - 2}}"
            lines.append(Content.assemble(Content.styled(name, "bold $role-warn"), f"  {first}"))
            lines += [Content(" " * cells + piece) for piece in rest]
    return lines
