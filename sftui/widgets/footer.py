"""The keys, from the one table; as many as fit, the last two always help and the way out."""

from __future__ import annotations

from textual.events import Click

from sftui.drawing.canvas import Grid, text_width
from sftui.drawing.roles import Back, Role, style
from sftui.keys.key_table import JUMP_LETTERS, Key
from sftui.state.records import Topic
from sftui.widgets.panel import Panel


class KeyFooter(Panel):
    """One row of keys, the most important that fit."""

    TOPICS = Topic.RUN | Topic.CONTROLS | Topic.VIEW

    mode = ""
    """Of the keys, where a screen over the same view has its own; empty for those of the view."""

    _buttons: tuple[tuple[int, int, str], ...] = ()
    """First column, the one after the last, and the key, of every word as it was painted last."""

    def on_click(self, event: Click) -> None:
        """A word is a button: as if its key were pressed."""
        for start, end, key in self._buttons:
            if start <= event.x < end:
                event.stop()
                self.app.simulate_key(key)

    def paint(self, grid: Grid) -> None:
        self._buttons = ()
        grid.back(0, 0, grid.width, Back.BAR)
        key_style = style(Role.WARN, bold=True, back=Back.BAR)
        word_style = style(Role.DIM, back=Back.BAR)
        if self.view.jumping:
            self._letters(grid, key_style, word_style)
            return
        if self.view.chart_page.typing if self.mode == "charts" else self.view.log.typing:
            self._line_keys(grid, key_style, word_style)
            return
        gap = 2
        keys = self._fitting(self._useful(), gap, grid.width)
        col = 1
        buttons = []
        for key in keys:
            start = col
            col = grid.text(0, col, self._shown(key), key_style)
            buttons += self._halves(key, start, col)
            start = col
            col = grid.text(0, col, f" {self._words(key)}", word_style)
            buttons.append((start, col, key.keys.split(",")[0]))
            col += gap
        self._buttons = tuple(buttons)

    def _fitting(self, keys: list[Key], gap: int, room: int) -> list[Key]:
        """Those for which there is room, two at least.

        The least important goes first; the way out and help stay.
        """
        used = sum(self._width(key) + gap for key in keys)
        spare = [key for key in keys if key.words not in ("Help", "Leave", "Close")]
        stay = [key for key in keys if key.words in ("Help", "Leave", "Close")]
        gone: set[str] = set()
        for key in [*sorted(spare, key=lambda key: key.footer, reverse=True), *stay]:
            if used <= room or len(keys) - len(gone) <= 2:
                break
            gone.add(key.id)
            used -= self._width(key) + gap
        return [key for key in keys if key.id not in gone]

    def _halves(self, key: Key, start: int, end: int) -> list[tuple[int, int, str]]:
        """The glyphs of a key as buttons: two, where two keys share a place."""
        if key.id not in _PAIRS:
            return [(start, end, key.keys.split(",")[0])]
        first, second = (self.view.keys.by_id(name) for name in _PAIRS[key.id][:2])
        between = start + text_width(first.shown)
        return [
            (start, between, first.keys.split(",")[0]),
            (between, end, second.keys.split(",")[0]),
        ]

    def _letters(self, grid: Grid, key_style: int, word_style: int) -> None:
        """Where `jump` leads: letters with their panels, letters alone where there is no room."""
        names = self.view.jumping
        lead = "jump to  " if grid.width >= 80 else ""
        named = sum(text_width(name) + 4 for name in names) + 1 <= grid.width
        if named and sum(text_width(name) + 4 for name in names) + len(lead) > grid.width:
            lead = ""
        col = grid.text(0, 1, lead, word_style)
        for name in names:
            col = grid.text(0, col, JUMP_LETTERS[name], key_style)
            col = grid.text(0, col, f" {name}  " if named else "  ", word_style)

    def _line_keys(self, grid: Grid, key_style: int, word_style: int) -> None:
        """While a line is typed other keys are letters: only these act."""
        col, buttons = 1, []
        for key, shown, words in _LINE_KEYS:
            end = grid.text(0, col, shown, key_style)
            end = grid.text(0, end, f" {words}", word_style)
            buttons.append((col, end, key))
            col = end + 2
        self._buttons = tuple(buttons)

    def _useful(self) -> list[Key]:
        """Keys that do something now: neither a run that ended nor a replay takes requests."""
        replay = self.view.replay
        no_requests = self.state.ended or bool(self.view.trouble) or replay is not None
        keys = [
            key
            for key in self.view.keys.footer(self.mode or self.view.mode)
            if not (no_requests and key.group == "run") and key.id not in self._off()
        ]
        if replay is not None and len(replay.stages) < 2:
            keys = [key for key in keys if key.id != "stage"]
        return keys

    def _off(self) -> set[str]:
        """Keys of what another's trainer cannot do."""
        found = self.state.run.unavailable if self.state.run is not None else {}
        return {key for key, command in _COMMANDS.items() if command in found}

    def _width(self, key: Key) -> int:
        return text_width(self._shown(key)) + 1 + text_width(self._words(key))

    def _words(self, key: Key) -> str:
        if key.id == "pause" and self.state.badge == "paused":
            return "Resume"
        replay = self.view.replay
        if key.id == "quit" and (self.state.ended or self.view.trouble or replay is not None):
            return "Close"
        if key.id == "play" and replay is not None and replay.moving:
            return "Pause"
        if key.id == "charts_grid_3":
            return "Grid"
        if self.view.chart_page.full and key.id in _OVER_ONE_CHART:
            return _OVER_ONE_CHART[key.id]
        if key.id == "scrub_back" and self.view.looking:
            return "Look"
        if key.id == "faster":
            return "Speed"
        if key.id in ("fit", "charts_fit"):
            return "So far" if self.view.whole else "Whole run"
        if key.id == "log_y":
            return "Linear" if self.view.log_y else "Log-y"
        return key.words

    def _shown(self, key: Key) -> str:
        """Two keys that are one another's opposite share a place."""
        if key.id not in _PAIRS:
            return key.shown
        first, second, gap = _PAIRS[key.id]
        keys = self.view.keys
        return gap.join((keys.by_id(first).shown, keys.by_id(second).shown))


_COMMANDS = {
    "pause": "pause",
    "evaluate": "eval",
    "checkpoint": "checkpoint",
    "stop": "stop",
    "learning_rate": "lr",
    "more_steps": "resume",
}
"""Keys of requests, and the word of each on the wire."""

_LINE_KEYS = (
    ("enter", "enter", "Keep"),
    ("escape", "esc", "Drop"),
    ("ctrl+u", "ctrl+u", "Empty"),
)
"""Keys of a filter, limits or a search while they are typed, as they are pressed and shown."""

_OVER_ONE_CHART = {
    "charts_open": "All charts",
    "charts_right": "Crosshair",
    "charts_page_down": "Chart",
}
"""Words of keys that do something else over one chart alone than over the page."""

_PAIRS = {
    "scrub_back": ("scrub_back", "scrub_on", ""),
    "faster": ("slower", "faster", " "),
    "step_on": ("step_back", "step_on", " "),
    "pick_down": ("pick_up", "pick_down", ""),
    "overlay_down": ("overlay_up", "overlay_down", ""),
    "overlay_left": ("overlay_left", "overlay_right", ""),
    "charts_page_down": ("charts_page_up", "charts_page_down", " "),
    "charts_zoom_in": ("charts_zoom_in", "charts_zoom_out", " "),
    "charts_grid_3": ("charts_grid_1", "charts_grid_4", "–"),
    "overlay_zoom_in": ("overlay_zoom_in", "overlay_zoom_out", " "),
}
