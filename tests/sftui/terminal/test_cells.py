"""What a terminal shows is what the screen means: an emulator's cells against the app's own.

The app writes its bytes as to any terminal, through the compositor of `sftui.terminal` and its
shortened colours; pyte, a terminal in memory, makes cells of them. Whatever was done, each of
them must be the cell that the app's own screen has at that place.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pyte
import pytest
from rich.cells import get_character_cell_size
from rich.color import Color
from textual.drivers import headless_driver
from textual.geometry import Size
from textual.pilot import Pilot

from engine import events as ev
from sftui.app import SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
from sftui.terminal.terminal_app import TerminalApp
from tests.sftui.fake_run import ListSource, fake_run

LONG = "exported for nanochat  chatsft_checkpoints/" + "very_long_directory_name/" * 8 + "model.pt"
RUNNING = fake_run(until=120)
STORY = [
    ev.LogLine(text=LONG),
    ev.LogLine(text="宽字符 wide and narrow ─ mixed 日本語 " * 6),
    ev.CheckpointSaved(step=120, path="export/" + "d/" * 40 + "model_000120.pt", kind="nanochat"),
    *(ev.LogLine(text=f"line {i} " + "x" * (i * 7 % 150)) for i in range(120)),
]
"""Log lines longer than any panel, so that a notice lies over the middle of some."""


class Terminal:
    """A terminal in memory: takes the bytes that the app writes."""

    def __init__(self, columns: int, lines: int) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self.screen)

    def write(self, data: str) -> None:
        self._stream.feed(data)

    def resize(self, columns: int, lines: int) -> None:
        """Another size. What a terminal then shows is its own affair: here it is rubbish, all of
        which must be painted over."""
        self.screen.resize(lines, columns)
        self._stream.feed("\x1b[0m" + "".join(
            f"\x1b[{y + 1};1H" + "#" * (columns - 1) for y in range(lines)
        ))  # fmt: skip

    def cells(self) -> list[list[tuple[str, str, str, bool]]]:
        """Rows of (character, foreground, background, bold)."""
        buffer, (columns, lines) = self.screen.buffer, (self.screen.columns, self.screen.lines)
        rows = [[buffer[y][x] for x in range(columns)] for y in range(lines)]
        return [[(c.data or "", c.fg, c.bg, c.bold) for c in row] for row in rows]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The app's output goes here, in the way it goes to a terminal."""
    made = Terminal(120, 36)

    class Driver(headless_driver.HeadlessDriver):
        @property
        def is_headless(self) -> bool:
            return False

        def write(self, data: str) -> None:
            made.write(data)

    monkeypatch.setattr(headless_driver, "HeadlessDriver", Driver)
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    return made


def wanted(app: TerminalApp) -> list[list[tuple[str, str, str, bool]]]:
    """The same of the app's own screen."""
    rows = []
    for strip in app.screen._compositor.render_strips():
        row = []
        for segment in strip:
            style = segment.style
            fore = _colour(style.color if style else None)
            back = _colour(style.bgcolor if style else None)
            bold = bool(style and style.bold)
            for char in segment.text:
                width = get_character_cell_size(char)
                row += [(char, fore, back, bold), ("", fore, back, bold)][:width]
        rows.append(row)
    return rows


def _colour(color: Color | None) -> str:
    known = color is not None and color.triplet is not None
    return color.triplet.hex[1:] if known else "default"


def same(app: TerminalApp, terminal: Terminal, after: str) -> None:
    """Fails with the first row that differs. Under a blank only the background is seen."""
    theirs, ours = terminal.cells(), wanted(app)
    assert (len(theirs), len(theirs[0])) == (len(ours), len(ours[0])), after
    for y, (there, here) in enumerate(zip(theirs, ours, strict=True)):
        for x, (one, other) in enumerate(zip(there, here, strict=True)):
            seen = (one[0], one[2]) == (other[0], other[2])
            if seen and one[0] in ("", " "):
                continue
            words = "".join(cell[0] for cell in there), "".join(cell[0] for cell in here)
            assert one == other, f"after {after}, row {y} column {x}:\n{words[0]}\n{words[1]}"


@asynccontextmanager
async def running(
    terminal: Terminal, events: list[ev.Event]
) -> AsyncIterator[tuple[SftuiApp, Pilot[None]]]:
    end = max(event.stamp.t or 0.0 for event in events)
    app = SftuiApp(ScreenRequest(ListSource(list(events)), "test"), now=lambda: end + 0.5)
    size = terminal.screen.columns, terminal.screen.lines
    async with app.run_test(size=size, notifications=True) as pilot:
        while app.cockpit is None or app.source.poll(0):
            await pilot.pause(0.01)
        while getattr(app.source, "events", None):
            app.cockpit.tick()
        app.cockpit.tick()
        await settled(pilot)
        yield app, pilot


async def settled(pilot: Pilot[None]) -> None:
    """Until everything that was asked for has been painted."""
    for _ in range(3):
        await pilot.pause()


Act = Callable[[SftuiApp, Pilot[None], Terminal], Awaitable[None]]


def pressing(*keys: str) -> Act:
    async def act(app: SftuiApp, pilot: Pilot[None], terminal: Terminal) -> None:
        await pilot.press(*keys)

    return act


def saying(words: str, title: str = "", severity: str = "") -> Act:
    async def act(app: SftuiApp, pilot: Pilot[None], terminal: Terminal) -> None:
        if severity:
            app.notify(words, title=title, severity="error", markup=False, timeout=30)
        else:
            app.tell(words, title=title)

    return act


def resizing(columns: int, lines: int) -> Act:
    async def act(app: SftuiApp, pilot: Pilot[None], terminal: Terminal) -> None:
        terminal.resize(columns, lines)
        driver = app._driver
        assert driver is not None
        driver._size = Size(columns, lines)
        await pilot.resize_terminal(columns, lines)

    return act


async def _silence(app: SftuiApp, pilot: Pilot[None], terminal: Terminal) -> None:
    app.clear_notifications()


async def _event(app: SftuiApp, pilot: Pilot[None], terminal: Terminal) -> None:
    """The run goes on, under whatever lies over the dashboard."""
    source, cockpit = app.source, app.cockpit
    assert isinstance(source, ListSource)
    assert cockpit is not None
    step = cockpit.state.updates
    source.events += [
        ev.StepFinished(step=step, loss=1.0 + step % 7 / 10, lr_mult=0.5),
        ev.LogLine(text=f"said at {step}: " + LONG),
        ev.CheckpointSaved(step=step, path=f"export/model_{step:06}.pt", kind="nanochat"),
    ]
    cockpit.tick()
    cockpit.tick()


async def _alarm(app: SftuiApp, pilot: Pilot[None], terminal: Terminal) -> None:
    """An alarm opens a bar over the panels and moves all of them."""
    source, cockpit = app.source, app.cockpit
    assert isinstance(source, ListSource)
    assert cockpit is not None
    source.events.append(ev.AlarmRaised(kind="diverging", severity="error", text="loss rises " * 9))
    cockpit.tick()


ACTS: dict[str, Act] = {
    "a word about a key": saying("Nothing to show here."),
    "a refusal": saying("The run has ended: it takes no requests any more.", title="Not sent"),
    "a long notice": saying("what was found, what was expected " * 12, "Keys", "error"),
    "a second notice": saying("宽字符 and more", "日本", "error"),
    "the notices go": _silence,
    "narrower": resizing(80, 24),
    "wider": resizing(160, 48),
    "tiny": resizing(40, 12),
    "as before": resizing(120, 36),
    "the run goes on": _event,
    "an alarm": _alarm,
    "the alarm goes": pressing("a"),
    "the log in focus": pressing("5"),
    "the log up": pressing("pageup", "up", "up"),
    "the log down": pressing("pagedown", "down"),
    "the log's end": pressing("end"),
    "another panel": pressing("tab"),
    "one panel alone": pressing("z"),
    "crosshair": pressing("left", "left", "shift+left"),
    "zoom": pressing("plus", "plus"),
    "all again": pressing("0"),
    "log-y": pressing("l"),
    "smoothing": pressing("s"),
    "help": pressing("question_mark"),
    "back": pressing("escape"),
    "charts": pressing("m"),
    "checkpoints": pressing("c"),
    "the palette": pressing("ctrl+p"),
    "jump": pressing("g"),
    "settings": pressing("i"),
}


async def done(name: str, app: SftuiApp, pilot: Pilot[None], terminal: Terminal) -> None:
    await ACTS[name](app, pilot, terminal)
    await settled(pilot)


NOTICES = ("a word about a key", "a refusal", "a long notice", "a second notice")


@pytest.mark.parametrize("notice", NOTICES)
async def test_a_notice_comes_and_goes_without_a_hole(notice: str, terminal: Terminal) -> None:
    """Over log lines longer than their panel, with the log scrolled and written to meanwhile."""
    async with running(terminal, [*RUNNING, *STORY]) as (app, pilot):
        same(app, terminal, "the start")
        for name in (notice, "the run goes on", "the log in focus", "the log up", notice):
            await done(name, app, pilot, terminal)
            same(app, terminal, name)
        for name in ("the run goes on", "the notices go", "the run goes on", "the log's end"):
            await done(name, app, pilot, terminal)
            same(app, terminal, name)


@pytest.mark.parametrize("size", ["narrower", "wider", "tiny"])
async def test_a_resize_repaints_every_cell(size: str, terminal: Terminal) -> None:
    async with running(terminal, [*RUNNING, *STORY]) as (app, pilot):
        for name in ("a long notice", size, "the run goes on", "the notices go", "as before"):
            await done(name, app, pilot, terminal)
            same(app, terminal, name)


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_keys_notices_and_sizes_leaves_no_hole(
    seed: int, terminal: Terminal
) -> None:
    chosen = random.Random(seed)
    async with running(terminal, [*RUNNING, *STORY]) as (app, pilot):
        told = []
        for _ in range(16):
            name = chosen.choice(list(ACTS))
            told.append(name)
            await done(name, app, pilot, terminal)
            same(app, terminal, ", ".join(told))


async def test_a_cell_that_was_not_drawn_is_found(terminal: Terminal) -> None:
    """This comparison can fail: one cell of a log line is blank, then one has another colour."""
    async with running(terminal, [*RUNNING, *STORY]) as (app, _):
        same(app, terminal, "the start")
        row = next(y for y, cells in enumerate(wanted(app)) if "line 119" in _words(cells))
        column = _words(wanted(app)[row]).index("line 119")
        terminal.write(f"\x1b[{row + 1};{column + 1}H ")
        with pytest.raises(AssertionError, match=f"row {row} column {column}"):
            same(app, terminal, "a blank")
        terminal.write(f"\x1b[{row + 1};{column + 1}H\x1b[38;2;1;2;3ml\x1b[0m")
        with pytest.raises(AssertionError, match=f"row {row} column {column}"):
            same(app, terminal, "another colour")


def _words(cells: list[tuple[str, str, str, bool]]) -> str:
    return "".join(cell[0] or " " for cell in cells)
