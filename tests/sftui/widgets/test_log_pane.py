"""The log pane by keys: search, next and previous match, filter, the file of a foreign log."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.events import Paste

from engine import events as ev
from engine.journal import wire
from sftui.app import SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
from sftui.drawing.canvas import Grid
from sftui.drawing.roles import Back, Role, parts
from sftui.logbook.log_book import LogBook
from sftui.sources.open_log import open_replay
from sftui.state import run_state as state_module
from sftui.state.run_state import RunState
from sftui.view.view import View
from sftui.widgets.log_pane import LogPane
from tests.conftest import examples
from tests.sftui.fake_run import START, ListSource
from tests.sftui.logbook.test_logbook import long_run, nanochat_log
from tests.sftui.test_app import Clock, make, panel_of, ready

LINES = [
    ev.LogLine(text=f"line {i} {'oom' if i % 10 == 0 else ''}", stamp=ev.Stamp(seq=i + 1))
    for i in range(60)
]


def pane_text(dashboard) -> str:
    return panel_of(dashboard, "log").text()


async def quiet(pilot) -> None:
    """Tick until no thread works for the log."""
    cockpit = pilot.app.cockpit
    for _ in range(200):
        cockpit.tick()
        await pilot.pause(0.01)
        if not cockpit.view.log.busy:
            break
    cockpit.tick()
    cockpit.tick()
    await pilot.pause()


async def test_search_as_one_types_and_step_through_the_matches():
    """`/` takes every key, enter gives them back, `n` and `N` step, esc ends it."""
    app = make(LINES)
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("slash", *"oom")
        await quiet(pilot)
        assert "/oom▌ · 6 of 6" in pane_text(dashboard)
        assert "line 50 oom" in pane_text(dashboard)
        assert app.cockpit.view.log_y is False, "keys went into the query"
        await pilot.press("enter", "N")
        await pilot.pause()
        assert "/oom · 5 of 6" in pane_text(dashboard)
        assert "▶" in next(line for line in pane_text(dashboard).splitlines() if "line 40" in line)
        await pilot.press("N", "N", "N", "N", "N")
        await pilot.pause()
        assert "/oom · 1 of 6" in pane_text(dashboard)
        assert len(app._notifications) == 1
        await pilot.press("n")
        await pilot.pause()
        assert "/oom · 2 of 6" in pane_text(dashboard)
        assert app.cockpit.view.viewport.cursor is None, "n did not move the crosshair"
        await pilot.press("escape")
        await pilot.pause()
        assert "oom ·" not in pane_text(dashboard)
        assert not app.cockpit.view.log.searching
        await pilot.press("end")
        await pilot.pause()
        assert "follow" in pane_text(dashboard)


async def test_n_jumps_between_events_when_nothing_is_searched():
    """The same key, by what is going on; after esc it is the chart's again."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("N")
        before = app.cockpit.view.viewport.cursor
        assert before is not None
        await pilot.press("slash", *"val", "enter", "N")
        assert app.cockpit.view.viewport.cursor == before
        await pilot.press("escape", "N")
        assert app.cockpit.view.viewport.cursor < before


@pytest.mark.parametrize("size", [(160, 48), (120, 36), (80, 24)])
async def test_the_prompt_is_edited(size):
    """Backspace, ctrl+u, paste, blanks; an emptied query ends; esc forgets; on a small screen
    the log comes up."""
    app = make(LINES)
    async with app.run_test(size=size) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("slash", *"lx", "backspace", *"ine 3")
        await quiet(pilot)
        assert "/line 3▌ · 11 of 11" in pane_text(dashboard)
        await pilot.press("ctrl+u", "5")
        await quiet(pilot)
        assert "/5▌" in pane_text(dashboard)
        await pilot.press("backspace", "backspace")
        assert not app.cockpit.view.log.typing
        await pilot.press("slash", "x", "escape")
        assert not app.cockpit.view.log.query
        await pilot.press("slash")
        app.post_message(Paste("oom\nmore"))
        await quiet(pilot)
        assert app.cockpit.view.log.query == "oom more"
        await pilot.press("tab")
        await pilot.pause()
        assert not app.cockpit.view.log.typing, "who leaves the pane has typed enough"


async def test_a_screen_without_room_for_a_log_says_so():
    """No keys are swallowed by a pane that is not there."""
    app = make(LINES)
    async with app.run_test(size=(30, 8)) as pilot:
        await ready(pilot)
        await pilot.press("slash")
        await pilot.pause()
        assert not app.cockpit.view.log.typing
        assert len(app._notifications) == 1


async def test_filters_go_round():
    """Each kind alone, named in the frame, and back to all."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        everything = pane_text(dashboard)
        for name, has in (
            ("warnings", "no CUDA"),
            ("controls", ""),
            ("evaluations", "val loss"),
            ("checkpoints", "checkpoint saved"),
            ("plain lines", "no CUDA"),
        ):
            await pilot.press("backslash")
            await quiet(pilot)
            assert f"log · {name}" in pane_text(dashboard)
            assert has in pane_text(dashboard)
        await pilot.press("backslash")
        await quiet(pilot)
        assert pane_text(dashboard) == everything


async def test_the_journal_is_read_where_memory_ends(tmp_path, monkeypatch):
    """A run with more lines than are kept: back to the first by keys, and a search finds it."""
    monkeypatch.setattr(state_module, "LOG_LINES", 40)
    events = long_run()
    first = next(e for e in events if isinstance(e, ev.LogLine))
    (tmp_path / "events.jsonl").write_bytes(b"".join(map(wire.encode, events)))
    app = SftuiApp(
        ScreenRequest(ListSource(events), "t", folder=tmp_path), now=Clock(START + 900.0)
    )
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("home")
        await quiet(pilot)
        await pilot.press("home")
        await quiet(pilot)
        assert "starter" in panel_of(dashboard, "log").grid.line(1)
        await pilot.press("slash", *first.text[:6].strip(), "enter")
        await quiet(pilot)
        for _ in range(3):
            await pilot.press("n")
        assert "no match" not in pane_text(dashboard)
        await pilot.press("escape", "end")
        await quiet(pilot)
        assert "follow" in pane_text(dashboard)


async def test_a_foreign_log_is_searched_line_by_line(tmp_path):
    """Its story knows no update lines; the search shows the file, up to the clock, and ends where
    it began."""
    path = tmp_path / "sft.log"
    path.write_text(nanochat_log(300))
    opened = open_replay(str(path))
    while opened.source.loading:
        opened.source.poll()
    app = SftuiApp(ScreenRequest(opened.source, "t", replay_of="a test"), now=Clock(100.0))
    async with app.run_test(size=(120, 36)) as pilot:
        while app.cockpit is None:
            await pilot.pause()
        await quiet(pilot)
        dashboard = app.cockpit.dashboard
        await pilot.press("slash", *"Step 00", "enter")
        await quiet(pilot)
        assert "log · file /Step 00 · 306 of 306" in pane_text(dashboard)
        assert "Step 00299/" in pane_text(dashboard)
        app.source.seek_step(120)
        await quiet(pilot)
        await pilot.press("end", "home")
        for _ in range(30):
            await pilot.press("right")
        await quiet(pilot)
        step = app.source.step
        assert 50 < step < 200
        for _ in range(100):  # until the file, too, is seen up to the clock
            if f"Step {step:05}/" in pane_text(dashboard):
                break
            await quiet(pilot)
        assert f"Step {step:05}/" in pane_text(dashboard)
        await pilot.press("slash", *"| Training", "enter")
        await quiet(pilot)
        assert f"{step + 1} of {step + 1}" in pane_text(dashboard)
        assert f"Step {step:05d}/" in pane_text(dashboard)
        assert f"Step {step + 1:05d}/" not in pane_text(dashboard)
        await pilot.press("escape")
        await quiet(pilot)
        assert "· file" not in pane_text(dashboard)
    opened.source.close()


# ---- drawing -------------------------------------------------------------------------------------


def drawn(lines, query="", *, width=60, height=8) -> Grid:
    """The pane over log lines, searched for `query`."""
    state = RunState()
    for text in lines:
        state.apply(ev.LogLine(text=text))
    book = LogBook()
    if query:
        book.begin_search(state)
        book.type(state, query)
        book.accept(state)
        book.work(state)
    grid = Grid(height, width)
    LogPane(state, View(now=lambda: 0.0, log=book), id="log").paint(grid)
    return grid


def marked(grid: Grid, row: int) -> str:
    """The characters of a row that stand on another background."""
    backs = [parts(int(n))[2] for n in grid.styles[row]]
    line = grid.codes[row].tolist()
    return "".join(chr(c) for c, b in zip(line, backs, strict=True) if b != Back.PANEL and c)


def test_matches_are_marked_where_they_stand():
    """Wide characters count as two cells; the line one stands on is dark on amber."""
    grid = drawn(["nothing", "训练 loss 训练 LOSS", "a loss"], "loss", height=5)
    assert [marked(grid, row) for row in (1, 2, 3)] == ["", "lossLOSS", "loss"]
    here = {parts(int(n))[0] for n in grid.styles[3] if parts(int(n))[2] == Back.WARN}
    assert here == {Role.ON_BADGE}


def test_a_match_beyond_the_edge_is_brought_into_sight():
    """The line then begins a little before it."""
    grid = drawn(["x" * 300 + " needle " + "y" * 50], "needle", width=60)
    assert marked(grid, 1) == "needle"
    assert "…" in grid.line(1)


NASTY = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.text(alphabet="[]/\\bold\x1b\x9b;m \u202e\u0301训👩‍👩‍👧\t\r\n", max_size=30),
        st.sampled_from(["[bold]oops[/]", "\x1b]52;c;aGk=\x07", "[link=x]", "\x1b[2J"]),
    ),
    min_size=1,
    max_size=12,
)


@given(lines=NASTY, query=st.text(max_size=6), width=st.integers(1, 90), height=st.integers(1, 9))
@examples(100)
def test_any_text_and_any_query_is_drawn_literally(lines, query, width, height):
    """Nothing raises, no control character reaches a cell, borders stay whole."""
    grid = drawn(lines, query, width=width, height=height)
    cells = [chr(code) for code in grid.codes.ravel().tolist() if code]
    # Python calls no space but the plain one printable.
    assert all(char.isprintable() or unicodedata.category(char) == "Zs" for char in cells)
    if width >= 10 and height >= 3:
        for line in grid.lines()[1:-1]:
            assert line[0] == line[-1] == "│"
    if not any(ord(c) < 32 or not c.isascii() for line in lines for c in line) and width > 80:
        plain = [line for line in lines[-(height - 2) :] if height > 2]
        shown = "\n".join(grid.lines())
        assert all(line.strip() in shown for line in plain if not query)


def test_markup_in_a_query_stays_text():
    """Brackets are looked for as they are."""
    grid = drawn(["[bold]x[/bold]", "bold"], "[bold]")
    assert marked(grid, 1) == "[bold]"
    assert "/[bold]" in grid.line(0)


def test_the_file_is_named_when_memory_alone_cannot_go_further():
    """Without a journal the pane ends at what is kept, and does not raise."""
    state = RunState()
    for i in range(6000):
        state.apply(ev.LogLine(text=f"line {i}"))
    book, grid = LogBook(), Grid(6, 80)
    book.window(state, 4)
    book.to_start(state)
    LogPane(state, View(now=lambda: 0.0, log=book), id="log").paint(grid)
    assert "1,000 older lines are in the file" in grid.line(0)
    assert "line 1000" in grid.line(1)
