"""The app, driven by keys and judged by requests, state and cells; few pictures."""

import asyncio
import collections
import dataclasses
import itertools
import math
import os
import pty
import select
import signal
import statistics
import subprocess
import sys
import time
from array import array

import pytest

from engine import events as ev
from engine.control import Command
from engine.errors import RunDirError, UsageError
from sftui.app import Outcome, SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
from sftui.drawing.canvas import Grid
from sftui.drawing.roles import Back, Role, parts, style
from sftui.drawing.theme import Palette
from sftui.screens.arrangement import arrange, family
from sftui.screens.dashboard import Dashboard
from sftui.view.view import PANELS
from sftui.widgets.panel import Panel
from tests.sftui.fake_run import START, ListSource, fake_run

RUNNING = fake_run(until=120)
SIZES = [(160, 48), (120, 36), (100, 30), (80, 24), (60, 16), (40, 10), (20, 5), (1, 1), (300, 90)]


class Clock:
    """A clock that a test sets."""

    def __init__(self, t: float) -> None:
        self.t = t

    def __call__(self) -> float:
        return self.t


def make(events=None, *, launch=None, runs_dir=None) -> SftuiApp:
    events = RUNNING if events is None else events
    end = max((e.stamp.t or START for e in events), default=START)
    return SftuiApp(
        ScreenRequest(ListSource(list(events)), "test", launch=launch, runs_dir=runs_dir),
        now=Clock(end + 0.5),
    )


async def ready(pilot) -> Dashboard:
    """Wait until the panels are there and everything was folded."""
    app = pilot.app
    while app.cockpit is None:
        await pilot.pause()
    while app.source.events:
        app.cockpit.tick()
    app.cockpit.tick()  # steps alone are painted at every second tick
    await pilot.pause()
    return app.cockpit.dashboard


def panel_of(dashboard: Dashboard, name: str):
    """The panel with this id."""
    return next(p for p in dashboard.panels if p.id == name)


def cells_changed(before: Grid, after: Grid) -> int:
    """How many cells one painting sent to the terminal; none where nothing was painted."""
    return 0 if after is before else int(after.changed_from(before).sum())


def text_of(dashboard: Dashboard) -> str:
    """All visible panels as text."""
    visible = dashboard.boxes(dashboard.size)
    return "\n".join(p.text() for p in dashboard.panels if p.id in visible)


@pytest.mark.parametrize("size", SIZES)
async def test_every_size_is_whole(size):
    """At any size every visible panel has exactly its box, with an unbroken border."""
    app = make()
    async with app.run_test(size=size) as pilot:
        dashboard = await ready(pilot)
        boxes = dashboard.boxes(dashboard.size)
        for panel in dashboard.panels:
            if panel.id not in boxes:
                continue
            box = boxes[panel.id]
            assert (panel.grid.width, panel.grid.height) == (box.width, box.height)
            lines = panel.text().splitlines()
            if lines[0].startswith("╭"):
                assert lines[0].endswith("╮")
                assert lines[-1][0] + lines[-1][-1] == "╰╯"
                assert all(line[0] == line[-1] == "│" for line in lines[1:-1])


@pytest.mark.parametrize("panel", PANELS)
@pytest.mark.parametrize("maximised", [False, True])
def test_boxes_neither_overlap_nor_leave_the_screen(panel, maximised):
    """Every cell belongs to at most one panel, and above tiny sizes to exactly one."""
    for width in (1, 10, 20, 40, 59, 60, 80, 109, 110, 120, 160, 250):
        for height in (1, 2, 3, 5, 10, 15, 16, 20, 24, 28, 30, 34, 36, 42, 48, 80):
            for ranks in (1, 2, 8):
                boxes = arrange(
                    width, height, panel=panel, maximised=maximised, num_ranks=ranks
                ).values()
                taken = set()
                for box in boxes:
                    assert box.width > 0
                    assert box.height > 0
                    cells = {
                        (x, y)
                        for x in range(box.x, box.x + box.width)
                        for y in range(box.y, box.y + box.height)
                    }
                    assert not cells & taken
                    taken |= cells
                    assert box.x + box.width <= width
                    assert box.y + box.height <= height
                if family(width, height) != "tiny":
                    assert len(taken) == width * height


@pytest.mark.parametrize("panel", PANELS)
def test_boxes_hold_with_alarms_and_a_bar(panel):
    """Alarms and the bar of a replay take rows from the others; nothing overlaps."""
    for width in (1, 40, 60, 80, 110, 160):
        for height in (1, 5, 8, 10, 16, 20, 24, 34, 36, 48):
            for alarms in (0, 1, 5):
                boxes = arrange(width, height, panel=panel, replay=True, alarms=alarms)
                rows = [0] * height
                for box in boxes.values():
                    assert box.width > 0
                    assert box.height > 0
                    assert box.x + box.width <= width
                    assert box.y + box.height <= height
                    for y in range(box.y, box.y + box.height):
                        rows[y] += box.width
                assert all(cells <= width for cells in rows)
                if family(width, height) != "tiny":
                    assert all(cells == width for cells in rows)


async def test_alarms_have_a_place_while_they_last():
    """An alarm takes a line under the header with its advice; cleared or put away, it goes."""
    raised = ev.AlarmRaised(
        kind="spike", step=120, text="Loss 9.1 is far above. Look at the batch.",
        stamp=ev.Stamp(seq=90_000, t=START + 50),
    )  # fmt: skip
    app = make([*RUNNING, raised])
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        assert "alarms" in dashboard.boxes(dashboard.size)
        assert "Look at the batch" in panel_of(dashboard, "alarms").grid.line(0)
        await pilot.press("a")
        await pilot.pause()
        assert "alarms" not in dashboard.boxes(dashboard.size)
        again = dataclasses.replace(raised, stamp=ev.Stamp(seq=90_001, t=START + 60))
        app.source.events = [again]
        await ready(pilot)
        assert "2 times" in panel_of(dashboard, "alarms").grid.line(0)
        app.source.events = [ev.AlarmCleared(kind="spike", stamp=ev.Stamp(seq=90_002))]
        await ready(pilot)
        assert "alarms" not in dashboard.boxes(dashboard.size)


async def test_a_run_that_falls_silent_is_said_by_the_screen():
    """Nobody else can: the run itself is silent."""
    app = make(fake_run(until=120, device="cpu"))
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        app._now.t += 900
        await ready(pilot)
        assert "alarms" in dashboard.boxes(dashboard.size)
        assert any(kind in app.cockpit.state.alarms for kind in ("stall", "rank_silent"))


async def test_resize_to_nothing_and_back():
    """A terminal that shrinks to one cell and grows again shows everything again."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        before = text_of(dashboard)
        for size in ((1, 1), (300, 5), (5, 80), (120, 36)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert text_of(dashboard) == before


async def test_run_in_words():
    """The screen says what the state knows: badge, steps, losses, tasks, checkpoints, log."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        text = text_of(await ready(pilot))
    for words in ("RUNNING", "120/400", "tok/s", "eta", "2 ranks on cpu (gloo)", "resident"):
        assert words in text
    for words in (
        "MMLU",
        "ARC-Easy",
        "n=1024",
        "step 100",
        "start",
        "checkpoint saved",
        "chance 25",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("key", "command"),
    [("space", Command.PAUSE), ("e", Command.EVALUATE), ("k", Command.CHECKPOINT)],
)
async def test_key_asks_and_waits_for_the_answer(key, command):
    """A key sends one request; the screen says so until the engine answers, and not longer."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press(key)
        await pilot.press(key)
        assert [r.command for r in app.source.sent] == [command]
        request = app.source.sent[0]
        assert request.attempt == 1
        assert f"{command.value} requested…" in text_of(dashboard)
        assert "RUNNING" in text_of(dashboard)
        app.source.events = [
            ev.ControlApplied(
                id=request.id, command=command.value, step=121, stamp=ev.Stamp(seq=99_999)
            )
        ]
        await ready(pilot)
        assert "requested" not in text_of(dashboard)


async def test_space_resumes_a_paused_run():
    """Space names the wanted state, not a toggle of unknown outcome."""
    paused = [*RUNNING, ev.StateChanged(state="paused", stamp=ev.Stamp(seq=99_999))]
    app = make(paused)
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        assert "PAUSED" in text_of(dashboard)
        assert "Resume" in text_of(dashboard)
        await pilot.press("space")
        assert [r.command for r in app.source.sent] == [Command.RESUME]


async def test_stop_asks_first():
    """Stop is the one key that asks; `esc` changes nothing."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("x")
        await pilot.press("escape")
        assert app.source.sent == []
        await pilot.press("x")
        await pilot.press("e")  # keys of the dashboard are dead under the question
        await pilot.press("y")
        await pilot.pause()
        assert [r.command for r in app.source.sent] == [Command.STOP]


async def test_interrupt_offers_to_leave_or_to_stop():
    """Ctrl-C never kills anything by itself."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("ctrl+c")
        await pilot.press("x")
        await pilot.pause()
        assert [r.command for r in app.source.sent] == [Command.STOP]
        await pilot.press("ctrl+c")
        await pilot.press("q")
        await pilot.pause()
        assert not app.is_running or app._exit


async def test_leaving_sends_nothing():
    """`q` leaves the run alone."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("q")
    assert app.source.sent == []


async def test_refused_request_is_said():
    """A request that cannot be sent is not shown as pending."""
    app = make()

    def refuse(request):
        raise UsageError("this log has no run behind it")

    app.source.send = refuse
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("space")
        await pilot.pause()
        assert "requested" not in text_of(dashboard)
        assert len(app._notifications) == 1


async def test_ended_run_takes_no_requests():
    """After the end the keys of the run say so instead of posting into the void."""
    app = make(fake_run())
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        assert "FINISHED" in text_of(dashboard)
        assert "Pause" not in text_of(dashboard)
        for key in ("space", "e", "k", "x"):
            await pilot.press(key)
        assert app.source.sent == []


async def test_dead_run_is_said():
    """Processes that are gone without a last word: LOST, with the reason."""
    app = make()
    app.source.is_alive = (False, "the supervisor is gone")
    async with app.run_test(size=(120, 36)) as pilot:
        text = text_of(await ready(pilot))
        assert "LOST" in text
        assert "the supervisor is gone" in text


async def test_looks():
    """Log axis, smoothing and range change the chart's words and cells."""
    app = make(fake_run(until=300))
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        seen = {text_of(dashboard)}
        for key, words in (("l", "log · "), ("s", "mean of 15 steps"), ("f", "whole run")):
            await pilot.press(key)
            text = text_of(dashboard)
            assert words in text
            assert text not in seen
            seen.add(text)


async def test_panels_by_number_on_a_small_screen():
    """One big panel at a time, by number, by tab and back."""
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        dashboard = await ready(pilot)
        wanted = {"1": "loss", "2": "benchmarks", "3": "memory", "4": "checkpoints", "5": "log"}
        for key, name in wanted.items():
            await pilot.press(key)
            await pilot.pause()
            assert name in dashboard.boxes(dashboard.size)
            assert dashboard.focused is not None
            assert dashboard.focused.id == name
            assert dashboard.focused.grid.codes.any()
        await pilot.press("tab")
        assert app.cockpit is not None
        assert app.cockpit.dashboard.panel == "loss"
        await pilot.press("shift+tab")
        assert app.cockpit.dashboard.panel == "log"


@pytest.mark.parametrize("size", [(160, 48), (120, 36), (80, 24)])
async def test_the_table_turns_to_validation_and_back(size):
    """`v` shows the validation losses where the benchmarks are."""
    app = make()
    async with app.run_test(size=size) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("v")
        await pilot.pause()
        assert "benchmarks" not in dashboard.boxes(dashboard.size)
        assert "measured" in panel_of(dashboard, "validation").text()
        await pilot.press("z", "z", "v")
        await pilot.pause()
        assert "validation" not in dashboard.boxes(dashboard.size)


async def test_log_stays_where_it_was_scrolled_to():
    """New lines do not move what a person reads; `end` follows again."""
    lines = [ev.LogLine(text=f"line {i}", stamp=ev.Stamp(seq=i + 1)) for i in range(60)]
    app = make(lines)
    async with app.run_test(size=(80, 24)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("5")
        await pilot.pause()
        await pilot.press("pageup", "pageup")
        before = panel_of(dashboard, "log").text().splitlines()[1:-1]
        assert "line 39" in before[-1]
        app.source.events = [
            ev.LogLine(text=f"new {i}", stamp=ev.Stamp(seq=900 + i)) for i in range(7)
        ]
        await ready(pilot)
        assert panel_of(dashboard, "log").text().splitlines()[1:-1] == before
        await pilot.press("end")
        assert "new 6" in text_of(dashboard)


@pytest.mark.parametrize("size", [(160, 48), (120, 36), (80, 24)])
async def test_help_filters_as_one_types_and_does_nothing_behind_it(size):
    """Two columns where there is room, else one that scrolls; esc clears it, then closes."""
    app = make()
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("question_mark")
        await pilot.pause()
        page = app.screen.query_one("#help-page")
        text = str(app.screen.query_one("#help-page Static").content)
        first = text.splitlines()[0]
        assert ("The run" in first, ":  The run" in first) == (True, size[0] >= 120)
        assert "Replay" not in text, "over a run, keys of a replay do nothing"
        order = [text.index(f":  {title}") for title in ("The run", "Views", "Looks")]
        assert order == sorted(order)
        assert page.max_scroll_y > 0
        await pilot.press("pagedown")
        await pilot.pause()
        assert page.scroll_y > 0
        await pilot.press(*"checkpoint")
        await pilot.pause()
        text = str(app.screen.query_one("#help-page Static").content)
        assert "Save a checkpoint after" in text
        assert "The checkpoint browser" in text, "what works elsewhere is found as well"
        assert "Loss axis" not in text
        assert page.scroll_y == 0
        await pilot.press(*"zzz")
        await pilot.pause()
        assert "nothing has" in str(app.screen.query_one("#help-page Static").content)
        await pilot.press("escape")
        await pilot.pause()
        assert len(app.screen_stack) == 3
        await pilot.press("escape")
        await pilot.pause()
        assert len(app.screen_stack) == 2
        assert app.source.sent == []


async def test_palette_runs_our_actions():
    """A verb that is typed into the palette is carried out."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("ctrl+p")
        await pilot.pause()
        await pilot.press(*"eval", "enter")
        while not app.source.sent:
            await pilot.pause()
        assert [r.command for r in app.source.sent] == [Command.EVALUATE]


async def test_the_focused_panel_alone_has_a_bright_border():
    """At once, also where no event will ever paint it again."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        for key, name in (("5", "log"), ("3", "memory"), ("6", "samples"), ("1", "loss")):
            await pilot.press(key)
            await pilot.pause()
            visible = dashboard.boxes(dashboard.size)
            bright = [
                panel.id
                for panel in dashboard.panels
                if panel.id in visible and parts(int(panel.grid.styles[0, 1]))[0] is Role.FOCUS
            ]
            assert bright == [name]


async def test_clicked_panel_is_enlarged():
    """`z` enlarges the panel that has the focus, also by mouse, and brings all back."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        await pilot.click("#benchmarks")
        await pilot.press("z")
        await pilot.pause()
        assert set(dashboard.boxes(dashboard.size)) == {"header", "benchmarks", "footer"}
        await pilot.press("z")
        await pilot.pause()
        assert len(dashboard.boxes(dashboard.size)) == 9


async def test_every_theme_has_every_role():
    """All of Textual's themes resolve all roles, and a change of theme repaints."""
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        for theme in app.available_themes.values():
            palette = Palette({**theme.to_color_system().generate(), **theme.variables})
            for role in Role:
                for back in Back:
                    assert palette[style(role, back=back)].color is not None
        before = app.export_screenshot()
        app.theme = "textual-light"
        await pilot.pause()
        assert app.export_screenshot() != before


async def test_hostile_text_is_literal():
    """Markup, escapes and reordering in every outside field neither raise nor act."""
    nasty = "[bold]oops [/] \x1b]52;c;aGk=\x07\x1b[2J\u202e训练\x00\ud800"
    events = [
        ev.RunStarted(name=nasty, source=nasty, recipe=nasty, device=nasty, backend=nasty),
        ev.PhaseStarted(phase=nasty, detail=nasty),
        ev.LogLine(text=nasty, level=nasty),
        ev.StepFinished(step=0, loss=math.nan, lrs={nasty: 1.0}),
        ev.StepFinished(step=1, loss=math.inf, lr_mult=math.nan, grad_norm=-math.inf),
        ev.EvalStarted(task=nasty),
        ev.EvalFinished(step=0, task=nasty, correct=3, total=4),
        ev.EvalFinished(step=1, task=nasty, accuracy=math.nan),
        ev.ValidationFinished(step=0, loss=math.inf, metric=nasty),
        ev.CheckpointSaved(step=1, path=nasty, kind="sftui"),
        ev.ControlApplied(id="1", command=nasty, author=nasty, reason=nasty, step=1),
        ev.RankHeartbeat(rank=0, memory_kind=nasty, device_name=nasty, memory_bytes=5),
        ev.RankLost(rank=0, reason=nasty),
        ev.AlarmRaised(kind=nasty, text=nasty),
        ev.SampleGenerated(prompt=nasty, text=nasty),
        ev.StateChanged(state=nasty, reason=nasty),
        ev.RunFinished(status=nasty, reason=nasty),
    ]
    for size in ((160, 48), (80, 24), (40, 10)):
        app = make(events)
        async with app.run_test(size=size) as pilot:
            dashboard = await ready(pilot)
            for key in "12345zlsf":
                await pilot.press(key)
            text = text_of(dashboard)
            assert "\x1b" not in text
            assert "\u202e" not in text


async def test_what_a_key_did_is_painted_before_a_tick_that_is_due(monkeypatch):
    """A tick of catching up came between the two; with keys all the time, ticks still come."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        ticked = []
        monkeypatch.setattr(app.cockpit, "tick", lambda: ticked.append(time.monotonic()))
        app._tick()
        for _ in range(3):
            await app.run_action("toggle_log_y")
            assert len(ticked) == 1
            app._next_tick()
            assert len(ticked) == 1, "not before the paint"
        ends = time.monotonic() + 1.5
        while time.monotonic() < ends:
            await app.run_action("toggle_log_y")
            await asyncio.sleep(0.01)
        longest = max(later - sooner for sooner, later in itertools.pairwise([*ticked, ends]))
        assert longest < 1.0


async def test_idle_screen_paints_nothing():
    """No event and no second passed: not one cell is sent."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        before = [p.grid for p in dashboard.panels]
        for _ in range(20):
            app.cockpit.tick()
        await pilot.pause()
        assert all(p.grid is grid for p, grid in zip(dashboard.panels, before, strict=True))


async def test_a_second_moves_the_clocks_alone():
    """A second of a running run repaints a few cells of the header and nothing of the charts."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        before = {p.id: p.grid for p in dashboard.panels}
        app._now.t += 1
        app.cockpit.tick()
        after = {p.id: cells_changed(before[p.id], p.grid) for p in dashboard.panels}
        assert 0 < after["header"] < 12
        assert after["loss"] == after["accuracy"] == after["log"] == 0


async def test_a_step_repaints_few_cells():
    """One more step moves a few cells of the chart; only a jump of an axis moves them all."""
    events = fake_run(until=300)
    app = make(events[:-120])
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        loss = panel_of(dashboard, "loss")
        moved = []
        for event in events[-120:]:
            app.source.events = [event]
            changed = 0
            for _ in range(2):
                before = loss.grid
                app.cockpit.tick()
                changed += cells_changed(before, loss.grid)
            if isinstance(event, ev.StepFinished):
                moved.append(changed)
        assert 0 < statistics.median(moved) < 40


async def test_launch_starts_after_the_first_frame_and_its_refusal_closes_the_screen():
    """A run that cannot start is one error for the command, with the terminal restored."""
    started = []

    def launch():
        started.append(time.monotonic())
        raise RunDirError("the run directory is in use")

    app = make([], launch=launch)
    async with app.run_test(size=(80, 24)) as pilot:
        while app.error is None:
            await pilot.pause()
    assert len(started) == 1
    assert isinstance(app.error, RunDirError)


async def test_nothing_is_lost_while_it_starts():
    """Until `launch` returned the run cannot be dead, however long it takes."""
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    done = []

    def launch():
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        done.append(True)

    app = make([], launch=launch)
    app.source.is_alive = (False, "no supervisor yet")
    async with app.run_test(size=(80, 24)) as pilot:
        dashboard = await ready(pilot)
        assert "LOST" not in text_of(dashboard)
        assert "STARTING" in text_of(dashboard)
        release.set()
        while not done:
            await pilot.pause()


PROGRAM = """
import sys
from sftui.app import run_screen
from sftui.cockpit.screen_request import ScreenRequest
from tests.sftui.fake_run import ListSource, fake_run
events = fake_run() if sys.argv[1] == "finished" else fake_run(until=30)
end = run_screen(ScreenRequest(ListSource(events), "pty"))
heavy = {"torch", "plotext", "pandas", "pyarrow", "datasets"} & set(sys.modules)
print("OUTCOME", end.outcome.name, sorted(heavy))
"""


def in_terminal(kind, act) -> tuple[bytes, int]:
    """Run the screen in a pseudo-terminal; `act(pid, fd)` once the panels are drawn."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "36"}
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM, kind])
    out, acted = b"", False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ready_fds, _, _ = select.select([fd], [], [], 1.0)
        if not ready_fds:
            continue
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        out += piece
        if not acted and b"checkpoints" in out:
            acted = True
            act(pid, fd)
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    return out, status


@pytest.mark.parametrize(
    ("kind", "outcome"), [("running", b"LEFT_RUNNING"), ("finished", b"FINISHED")]
)
def test_leaving_in_a_real_terminal(kind, outcome):
    """`q` restores the terminal, says how it ended, and no heavy library was ever imported."""
    out, status = in_terminal(kind, lambda pid, fd: os.write(fd, b"q"))
    assert status == 0
    assert out.index(b"\x1b[?1049l") < out.index(b"OUTCOME " + outcome + b" []")


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM],
)
def test_signals_restore_the_terminal(number):
    """A terminal that closes, or a cluster that says stop, leaves no alternate screen behind."""
    out, status = in_terminal("running", lambda pid, fd: os.kill(pid, number))
    assert status == 0
    assert b"\x1b[?1049l" in out
    assert b"\x1b[?1003l" in out
    assert b"OUTCOME LEFT_RUNNING" in out


def test_first_frame_is_light():
    """Before the first frame neither numpy nor the events nor the panels are imported."""
    code = (
        "import sys, sftui.app; "
        "print(sorted({'numpy', 'torch', 'plotext', 'scipy', 'engine.events'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_outcomes_have_words():
    """Every way a screen can end can be printed."""
    assert all(outcome.value for outcome in Outcome)


@pytest.mark.parametrize(("rows", "ticks"), [(100, 2), (4000, 10)])
async def test_steps_that_move_no_dot_wait_for_a_second(rows, ticks):
    """Of a long run one more update is painted at leisure; of a short one at once."""
    clock = Clock(fake_run(until=2, finish=False)[-1].stamp.t)
    source = ListSource(fake_run(until=2, finish=False))
    app = SftuiApp(ScreenRequest(source, "run"), now=clock)
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause()
        cockpit = app.cockpit
        cockpit.tick()

        def steps(first: int, last: int) -> None:
            source.events += [
                ev.StepFinished(step=n, loss=1.0, stamp=ev.Stamp(seq=10_000 + n))
                for n in range(first, last)
            ]

        steps(2, rows)
        while source.events:
            cockpit.tick()
        for _ in range(12):
            cockpit.tick()
        chart = cockpit.dashboard.query_one("#loss")
        painted, waited = chart.grid, 0
        steps(rows, rows + 1)
        while chart.grid is painted:
            cockpit.tick()
            waited += 1
        assert waited <= ticks
        painted, waited = chart.grid, 0
        steps(rows + 1, rows + 2)
        while chart.grid is painted:
            cockpit.tick()
            waited += 1
        assert waited == ticks


def measured(step: int) -> list[ev.Event]:
    """An update after which everything was measured and saved."""
    stamps = [ev.Stamp(seq=10_000 + 4 * step + i) for i in range(4)]
    return [
        ev.StepFinished(step=step, loss=1.0, stamp=stamps[0]),
        ev.ValidationFinished(step=step, loss=1.0, stamp=stamps[1]),
        ev.EvalFinished(step=step, task="GSM8K", correct=5, total=9, stamp=stamps[2]),
        ev.CheckpointSaved(step=step, path=f"checkpoints/{step:06d}", stamp=stamps[3]),
    ]


@pytest.mark.parametrize("rows", [20, 40_000])
async def test_results_at_every_step_are_painted_as_seldom_as_its_steps(rows, monkeypatch):
    """One more of thousands moves no dot: in four seconds with ten rows each the panels are
    painted every third second, the log twice a second. One of a few is news, painted at once."""
    events = fake_run(until=2, finish=False)
    source = ListSource(events)
    app = SftuiApp(ScreenRequest(source, "run"), now=Clock(events[-1].stamp.t))
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause()
        cockpit = app.cockpit
        every = array("d", [1.0]) * (rows - 2)
        columns = {"loss": every, "validation:loss": every, "accuracy:GSM8K": every}
        stamp = ev.Stamp(seq=9_999)
        source.events.append(
            ev.StepBatch(stamp=stamp, steps=array("q", range(2, rows)), columns=columns)
        )
        while source.events:
            cockpit.tick()
        painted, before = collections.Counter(), cockpit._ticks
        rebuild = Panel.rebuild
        monkeypatch.setattr(
            Panel, "rebuild", lambda self: (painted.update([self.id]), rebuild(self))[1]
        )
        for step in range(rows, rows + 40):
            source.events += measured(step)
            cockpit.tick()
            await pilot.pause()
        ticks = cockpit._ticks - before  # the app's own are among them
        most = 45 if rows == 20 else 2 + ticks // 30
        for panel in ("loss", "benchmarks", "checkpoints"):
            assert 1 <= painted[panel] <= most, (panel, painted, ticks)
        if rows == 20:
            assert painted["benchmarks"] >= 40
        else:
            assert 7 <= painted["log"] <= 1 + ticks // 5 + most
        for _ in range(35):
            cockpit.tick()
        await pilot.pause()
        assert f"{rows + 39:,}" in text_of(cockpit.dashboard), "the newest is shown in the end"
