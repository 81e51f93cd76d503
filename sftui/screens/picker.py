"""The run picker: every run and recent log, filtered as one types, one opened or two compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from sftui.keys.bindings import bindings, rebind
from sftui.keys.key_table import DEFAULT_KEYS, KeyTable
from sftui.screens.modal import Modal
from sftui.state.run_state import RunState
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.chart_filter import MOST_CHARACTERS, ChartFilter, parse
from sftui.view.view import View
from sftui.widgets.footer import KeyFooter
from sftui.widgets.run_list import PickedByMouse, RunList

if TYPE_CHECKING:
    from sftui.sources.run_entries import Entry, EntryFeed

POLL_SECONDS = 0.1
"""Between two looks at what the thread has read, until everything was."""
SLOW_SECONDS = 1.0
"""The same afterwards; ages go on as well."""

FIRST_STEPS = (
    ("sftui run", "trains the starter recipe: a minute, no download"),
    ("sftui demo", "a recorded run for a first look: no training"),
    ("sftui replay FILE", "the screen over any log or run that is over"),
    ("sftui --help", "every command"),
)
"""What to type where there is nothing to pick."""

Words = tuple[str, ...]
"""A command and its targets, as `Onward.words`; empty: nothing was picked."""


class PickerScreen(Modal[None]):
    """Over a run, or the whole of `sftui` typed alone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(DEFAULT_KEYS.of_mode("picker"), priority=True)
    ]

    def __init__(
        self,
        feed: EntryFeed,
        keys: KeyTable,
        choose: Callable[[Words], None],
        *,
        now: Callable[[], float],
        said: str = "",
    ) -> None:
        """`choose` is called once, with what was picked. `said`: why the last pick was not
        opened."""
        super().__init__()
        rebind(self, keys.of_mode("picker"), priority=True)
        state, view = RunState(), View(now=now, keys=keys, screen="picker")
        self._feed = feed
        self._choose = choose
        self._said = said
        self._filter = ChartFilter()
        self._seen = -1
        self.list = RunList(state, view, id="run-list")
        self.footer = KeyFooter(state, view, id="picker-footer")

    def compose(self) -> ComposeResult:
        yield Input(
            id="picker-filter",
            placeholder="filter: any words of a name, state or task",
            max_length=MOST_CHARACTERS,
        )
        yield self.list
        yield self.footer

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._feed.start()
        self._show()
        self.set_timer(POLL_SECONDS, self._poll)
        if self._said:
            self.notify(self._said, title="Not opened", severity="warning", markup=False)

    def on_unmount(self) -> None:
        self._feed.close()

    def _poll(self) -> None:
        """What the thread has read meanwhile; the ages once a second."""
        if self._feed.version != self._seen:
            self._show()
        else:
            self.list.rebuild()
        self.set_timer(SLOW_SECONDS if self._feed.loaded else POLL_SECONDS, self._poll)

    # ---- what is listed --------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        self._filter = parse(event.value)
        self.list.cursor = 0
        self._show()

    def _show(self) -> None:
        self._seen = self._feed.version
        entries = self._feed.entries
        rows = [entry for entry in entries if self._filter.matches(entry.name, _title(entry))]
        known = {entry.target for entry in entries}
        self.list.marked = [target for target in self.list.marked if target in known]
        self.list.empty = self._empty(len(entries))
        self.list.set_rows(rows, len(entries), sum(entry.live for entry in entries))

    def _empty(self, total: int) -> list[tuple[str, str]]:
        """Why there is no row, and what to type."""
        typed = self.query_one(Input).value
        if total:
            esc = self.list.view.keys.by_id("pick_close").shown
            return [("", f"none of {fmt.count(total)} has {typed!r}; {esc} clears the filter")]
        where = clean(str(self._feed.root), 300)
        if not self._feed.loaded:
            return [("", f"reading {where} …")]
        why = clean(self._feed.problem, 300) or f"no runs under {where}, and no logs here"
        return [("", why), ("", ""), *FIRST_STEPS]

    # ---- keys ------------------------------------------------------------------------------

    def action_pick_move(self, by: int) -> None:
        self.list.move(by)

    def action_pick_page(self, by: int) -> None:
        self.list.page(by)

    def action_pick_mark(self) -> None:
        if self._may_be_read():
            self.list.toggle_mark()

    def action_pick_open(self) -> None:
        """The row under the cursor, or those that are marked beside each other."""
        marked = self.list.marked
        if len(marked) > 1:
            self._choose(("compare", *marked))
        else:
            self._open_chosen()

    def _open_chosen(self) -> None:
        if self.list.chosen is not None and self._may_be_read():
            self._choose(self.list.chosen.words)

    def _may_be_read(self) -> bool:
        """Whether the row under the cursor can be shown; says why it cannot."""
        chosen = self.list.chosen
        if chosen is None or chosen.readable:
            return True
        why = f"{chosen.name} is {chosen.state}. Ask its owner for the right to read it."
        self.notify(why, title="Not opened", severity="warning", markup=False)
        return False

    def action_pick_close(self) -> None:
        """The filter goes first, then the marks, then the list."""
        line = self.query_one(Input)
        if line.value:
            line.value = ""
        elif self.list.marked:
            self.list.marked = []
            self.list.rebuild()
        else:
            self._choose(())

    def action_pick_leave(self) -> None:
        self._choose(())

    def on_picked_by_mouse(self, message: PickedByMouse) -> None:
        self._open_chosen()


def _title(entry: Entry) -> str:
    """What a filter finds beside the name."""
    return " ".join([entry.state, entry.kind, *(task for task, _ in entry.tasks)]).lower()
