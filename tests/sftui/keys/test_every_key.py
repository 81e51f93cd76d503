"""Every row of the key table is pressed, and judged by what it does; one app a place.

A row whose key did nothing, or a row that is not named here, fails. The keys of `sftui compare` are
pressed in `tests/sftui/screens/test_overlay.py`, those of the list of runs in `test_picker.py`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine import events as ev
from engine.control import Command
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui.app import SftuiApp
from sftui.checkpoints.checkpoint_list import CheckpointList
from sftui.checkpoints.checkpoint_order import Order
from sftui.checkpoints.step_rows import ShownRow, StepRows
from sftui.cockpit.screen_request import ScreenRequest
from sftui.commands import demo
from sftui.keys.key_table import TABLE, Key
from sftui.report import chart_files
from sftui.screens.browser import Browser
from sftui.screens.charts import ChartsScreen
from sftui.screens.line_reader import LineReader
from sftui.screens.questions import QuestionsScreen
from sftui.screens.rows import RowsScreen
from sftui.sources.replay import replay_events
from sftui.view.chart_page import ChartPage
from sftui.widgets.sample_panel import SamplePanel
from tests import pictures
from tests.sftui.checkpoints.test_checkpoint_list import add_checkpoint
from tests.sftui.cockpit.test_playback import shown
from tests.sftui.fake_run import ListSource, fake_run
from tests.sftui.test_app import Clock, panel_of, ready

WIDE = (120, 36)
"""The smallest size with all panels beside each other."""
LONG = "a word of a long line " * 400

Probe = Callable[[SftuiApp], Any]


@dataclass(frozen=True)
class Effect:
    """What a key does: `probe` is looked at before and after it, and must stand in `relation`."""

    probe: Probe
    relation: Callable[[Any, Any], bool] = operator.ne
    first: tuple[str, ...] = ()
    """Keys that are pressed before, to where it means something."""
    on: str = ""
    """The panel that has the focus."""
    then: tuple[str, ...] = ()
    """Keys that are pressed after it, where an effect needs an answer."""


def becomes(value: object) -> Callable[[Any, Any], bool]:
    return lambda before, after: after == value and before != after


def more(before: Any, after: Any) -> bool:
    """After is larger; a place that was not there yet is the smallest."""
    return bool(after > (-math.inf if before is None else before))


def less(before: Any, after: Any) -> bool:
    return bool(after < (math.inf if before is None else before))


def view(app: SftuiApp) -> Any:
    return app._cockpit.view


def sent(app: SftuiApp) -> list[tuple[Command, float | None]]:
    return [(r.command, r.argument) for r in cast(Any, app.source).sent]


def asks(command: Command) -> Effect:
    return Effect(sent, lambda before, after: after[len(before) :] == [(command, None)])


def screen(app: SftuiApp) -> str:
    return type(app.screen).__name__


def opens(name: str) -> Effect:
    return Effect(screen, becomes(name))


def cursor(app: SftuiApp) -> Any:
    return view(app).viewport.cursor


def span(app: SftuiApp) -> float:
    low, high = view(app).viewport.shown
    return float(high - low)


def typed(app: SftuiApp) -> str:
    """The line of `:` as it stands; nothing where there is none."""
    lines = app.screen.query(Input)
    return f"line {lines.first().value}" if lines else ""


def focused(app: SftuiApp) -> str | None:
    found = app.focused
    return None if found is None else found.id


def panel(app: SftuiApp) -> str:
    return app._cockpit.dashboard.panel


def log_top(app: SftuiApp) -> int:
    """Place of the first line in sight."""
    book, state = view(app).log, app._cockpit.state
    return int(book.window(state, book.rows).lines[0].place)


def log_cursor(app: SftuiApp) -> Any:
    return view(app).log.cursor


def matches(app: SftuiApp) -> Any:
    found = view(app).log.content.matches(app._cockpit.state)
    return found.count and found.at


def clipboard(app: SftuiApp) -> str:
    return app.clipboard


def closed(app: SftuiApp) -> list[object]:
    """What `exit` was called with."""
    return list(cast(Any, app).exits)


def charts_written(app: SftuiApp) -> int:
    return len(cast(Any, app).charts)


def top(app: SftuiApp) -> int:
    """Lines that the samples are scrolled by."""
    return cast(SamplePanel, panel_of(app._cockpit.dashboard, "samples")).top


def told(app: SftuiApp) -> int:
    """How many notices there are."""
    return len(app._notifications)


# ---- over a run and over a replay ----------------------------------------------------------------

BOTH = {
    "log_y": Effect(lambda a: view(a).log_y),
    "smooth": Effect(lambda a: view(a).smoothing, more),
    "fit": Effect(lambda a: view(a).whole),
    "y_range": Effect(lambda a: view(a).chart_page.look("loss").range),
    "x_axis": Effect(lambda a: view(a).x_axis, becomes("tokens")),
    "zoom_in": Effect(span, lambda b, a: a == pytest.approx(b / 2, rel=0.1), first=("plus",)),
    "zoom_out": Effect(span, more, first=("plus",)),
    "reset_look": Effect(lambda a: view(a).viewport.part, becomes(None), first=("plus",)),
    "next_checkpoint": Effect(cursor, becomes(200.0), first=("left_square_bracket",) * 2),
    "previous_checkpoint": Effect(cursor, becomes(100.0), first=("left_square_bracket",)),
    "next_panel": Effect(panel, becomes("accuracy")),
    "previous_panel": Effect(panel, becomes("loss"), on="accuracy"),
    **{
        f"panel_{number}": Effect(panel, becomes(name), on="now" if number == 1 else "loss")
        for number, name in enumerate(
            ("loss", "accuracy", "memory", "checkpoints", "log", "samples", "pinned"), start=1
        )
    },
    "table": Effect(lambda a: a._cockpit.dashboard.table, becomes("validation")),
    "open_panel": Effect(screen, becomes("Browser"), on="checkpoints"),
    "maximise": Effect(lambda a: a._cockpit.dashboard.maximised),
    "jump": opens("Jump"),
    "log_up": Effect(log_top, less, on="memory"),
    "log_down": Effect(log_top, more, on="memory", first=("up", "up", "up")),
    "log_page_up": Effect(log_top, lambda before, after: after <= before - 10, on="memory"),
    "log_page_down": Effect(
        log_top, lambda before, after: after == before + 10, on="memory", first=("pageup",)
    ),
    "search": Effect(lambda a: view(a).log.typing, becomes(True)),
    "log_filter": Effect(lambda a: view(a).log.name),
    "log_wrap": Effect(lambda a: view(a).log.wrapped),
    "log_fold": Effect(lambda a: view(a).log._event_log.folded),
    "log_point": Effect(focused, becomes("log")),
    "hide_alarms": Effect(lambda a: len(view(a).alarms(a._cockpit.state)), becomes(0)),
    "charts": opens("ChartsScreen"),
    "browse": opens("Browser"),
    "facts": opens("RunPanel"),
    "open_run": opens("PickerScreen"),
    "past_run": Effect(told, more),
    "questions": opens("QuestionsScreen"),
    "rows": opens("RowsScreen"),
    "copy": Effect(clipboard, lambda _, after: after.startswith("step 287, train ")),
    "export_chart": Effect(charts_written, more),
    "help": opens("Help"),
    "command": Effect(typed, becomes("line ")),
    "palette": Effect(typed, becomes("line ")),
    "quit": Effect(closed),
    "evaluate": asks(Command.EVALUATE),
    "cancel_evaluation": asks(Command.CANCEL),
    "checkpoint": asks(Command.CHECKPOINT),
    "stop": Effect(sent, lambda b, a: a[len(b) :] == [(Command.STOP, None)], then=("y",)),
    "interrupt": opens("Confirm"),
}
FOUND = ("slash", *"val", "enter")
LIVE = {
    **BOTH,
    "pause": asks(Command.PAUSE),
    "learning_rate": Effect(typed, becomes("line lr ")),
    "more_steps": Effect(typed, becomes("line pause in ")),
    "point_left": Effect(cursor, less, first=("left",)),
    "point_right": Effect(cursor, more, first=("left", "left", "left")),
    "point_far_left": Effect(cursor, less, first=("left",)),
    "point_far_right": Effect(cursor, more, first=("left", "shift+left", "shift+left")),
    "next_event": Effect(cursor, becomes(260.0), first=("N", "N", "N")),
    "previous_event": Effect(cursor, less, first=("N",)),
    "log_start": Effect(log_top, less, on="memory"),
    "log_end": Effect(log_top, more, on="memory", first=("home",)),
    "search_next": Effect(matches, more, first=(*FOUND, "N", "N")),
    "search_previous": Effect(matches, less, first=FOUND),
    "search_end": Effect(lambda a: view(a).log.searching, becomes(False), first=FOUND),
    "samples_up": Effect(top, lambda b, a: a == b - 1, on="samples", first=("down", "down")),
    "samples_down": Effect(top, becomes(1), on="samples"),
    "samples_page_up": Effect(top, lambda b, a: a == b - 10, on="samples", first=("pagedown",)),
    "samples_page_down": Effect(top, becomes(10), on="samples"),
    "log_cursor_up": Effect(log_cursor, lambda b, a: a == b - 1, on="log", first=("up", "up")),
    "log_cursor_down": Effect(log_cursor, lambda b, a: a == b + 1, on="log", first=("up", "up")),
    "log_open": Effect(screen, becomes("LineReader"), on="log"),
}


def status(app: SftuiApp) -> Any:
    """Of the clock of a replay."""
    return cast(Any, app.source).status()


def place(app: SftuiApp) -> float:
    return float(status(app).part)


def steps(app: SftuiApp) -> int:
    return app._cockpit.state.done


LOOK = ("enter", "left", "left", "shift+left")
"""The crosshair is asked for, and stands left of the newest."""
REPLAY = {
    **{name: effect for name, effect in BOTH.items() if effect.probe is not sent},
    # There is no run to ask: it says so.
    **dict.fromkeys(("evaluate", "cancel_evaluation", "checkpoint", "stop"), Effect(told, more)),
    "interrupt": Effect(closed),
    "play": Effect(lambda a: status(a).at_end, becomes(False)),
    "scrub_back": Effect(place, less),
    "scrub_on": Effect(place, more, first=("left",) * 4),
    "scrub_far_back": Effect(place, less),
    "scrub_far_on": Effect(place, more, first=("shift+left",) * 4),
    "step_back": Effect(steps, lambda before, after: after == before - 1, first=("comma",)),
    "step_on": Effect(steps, lambda before, after: after == before + 1, first=("comma",) * 3),
    "slower": Effect(lambda a: status(a).speed, becomes(1000)),
    "faster": Effect(lambda a: status(a).speed, more, first=("less_than_sign",) * 3),
    "next_mark": Effect(place, more, first=("N",) * 3),
    "previous_mark": Effect(place, less),
    "to_start": Effect(place, becomes(0.0)),
    "to_end": Effect(place, becomes(1.0), first=("home",)),
    "stage": Effect(lambda a: status(a).stage, becomes(1)),
    "look_left": Effect(cursor, less, first=LOOK),
    "look_right": Effect(cursor, more, first=LOOK),
    "look_far_left": Effect(cursor, less, first=LOOK),
    "look_far_right": Effect(cursor, more, first=LOOK),
    "look_next_event": Effect(cursor, more, first=(*LOOK, "N", "N")),
    "look_previous_event": Effect(cursor, less, first=LOOK),
    "look_end": Effect(lambda a: view(a).looking, becomes(False), first=LOOK),
}


# ---- screens of their own ------------------------------------------------------------------------


def page(app: SftuiApp) -> Any:
    return view(app).chart_page


def row(app: SftuiApp) -> int:
    return int(cast(Any, app.screen).table.cursor)


def on_dashboard(app: SftuiApp) -> bool:
    return app.screen is app._cockpit.dashboard


LEAVES = Effect(on_dashboard, becomes(True))


def line_place(app: SftuiApp) -> int:
    return cast(LineReader, app.screen).page._top


LINE = {
    "line_up": Effect(line_place, lambda b, a: a == b - 1, first=("down", "down")),
    "line_down": Effect(line_place, becomes(1)),
    "line_page_up": Effect(line_place, lambda b, a: a == b - 20, first=("pagedown", "down")),
    "line_page_down": Effect(line_place, becomes(20)),
    "line_start": Effect(line_place, becomes(0), first=("pagedown",)),
    "line_end": Effect(line_place, more),
    "line_before": Effect(log_cursor, less),
    "line_next": Effect(log_cursor, more, first=("left", "left")),
    "line_copy": Effect(clipboard, lambda _, after: LONG.strip() in after),
    "line_point": Effect(lambda a: on_dashboard(a) and cursor(a) is not None, becomes(True)),
    "line_close": LEAVES,
}


def chosen(app: SftuiApp) -> Any:
    found = cast(Browser, app.screen).table.chosen
    return found and found.step


def jobs(app: SftuiApp) -> list[list[str]]:
    return list(cast(Any, app).jobs)


def starts(*words: str) -> Effect:
    """A process of its own is started, with these among its arguments."""
    return Effect(jobs, lambda b, a: len(a) == len(b) + 1 and set(words) <= set(a[-1]))


def marked(app: SftuiApp) -> bool:
    found = cast(Browser, app.screen).table.chosen
    return found is not None and found.marked


def answers(app: SftuiApp) -> int:
    return cast(Browser, app.screen).answers.top


BROWSER = {
    "shelf_up": Effect(chosen, first=("down",)),
    "shelf_down": Effect(chosen),
    "shelf_page_up": Effect(chosen, first=("pagedown",)),
    "shelf_page_down": Effect(chosen),
    "shelf_first": Effect(chosen, first=("down", "down")),
    "shelf_last": Effect(chosen, becomes(0)),
    "shelf_answers": opens("QuestionsScreen"),
    "shelf_pick": Effect(lambda a: cast(Browser, a.screen).table.picked is not None),
    "shelf_sort": Effect(lambda a: cast(Browser, a.screen).table.order.column, becomes("val")),
    "shelf_turn": Effect(lambda a: cast(Browser, a.screen).table.order.turned, becomes(True)),
    "shelf_branch": Effect(clipboard, lambda _, after: "sftui run --source sft --step" in after),
    "shelf_mark": Effect(marked),
    "shelf_eval": starts("eval"),
    "shelf_sample": Effect(lambda a: cast(Browser, a.screen).prompt.display, becomes(True)),
    "shelf_scroll_up": Effect(answers, less, first=("shift+down", "shift+down")),
    "shelf_scroll_down": Effect(answers, more),
    "shelf_export": starts("export"),
    "shelf_hf": starts("export", "hf"),
    "shelf_delete": opens("Confirm"),
    "shelf_copy": Effect(clipboard, lambda _, after: "ckpt/step-" in after),
    "shelf_close": LEAVES,
}


def book(app: SftuiApp) -> Any:
    return cast(QuestionsScreen, app.screen).table.book


def flip_answers(app: SftuiApp) -> str:
    return "shown" if cast(QuestionsScreen, app.screen).answers.display else "away"


def flip_lines(app: SftuiApp) -> int:
    return cast(QuestionsScreen, app.screen).answers.top


QUESTIONS = {
    "flip_up": Effect(row, lambda before, after: after == before - 1, first=("down", "down")),
    "flip_down": Effect(row, becomes(1)),
    "flip_page_up": Effect(row, lambda b, a: a == b - 10, first=("pagedown", "down")),
    "flip_page_down": Effect(row, becomes(10)),
    "flip_kind": Effect(lambda a: cast(QuestionsScreen, a.screen).table.kind, becomes("gained")),
    "flip_task": Effect(lambda a: book(a).task),
    "flip_against": Effect(lambda a: book(a).step_before, more),
    "flip_earlier": Effect(lambda a: book(a).step, less),
    "flip_later": Effect(lambda a: book(a).step, more, first=("left",)),
    "flip_prompts": Effect(flip_answers, becomes("shown")),
    "flip_prompts_up": Effect(flip_lines, less, first=("p", "shift+down", "shift+down")),
    "flip_prompts_down": Effect(flip_lines, more, first=("p",)),
    "flip_copy": Effect(clipboard, lambda _, after: after.count("\n") > 3),
    "flip_close": LEAVES,
}


def row_step(app: SftuiApp) -> int:
    return cast(RowsScreen, app.screen).table.rows.step


def row_lines(app: SftuiApp) -> int:
    return cast(RowsScreen, app.screen).table.scrolled


ROWS = {
    "rows_up": Effect(row, less, first=("down",)),
    "rows_down": Effect(row, becomes(1)),
    "rows_page_up": Effect(row_lines, lambda b, a: a == b - 10, first=("pagedown", "pagedown")),
    "rows_page_down": Effect(row_lines, becomes(10)),
    "rows_earlier": Effect(row_step, lambda before, after: after == before - 1),
    "rows_later": Effect(row_step, lambda b, a: a == b + 1, first=("left", "left")),
    "rows_copy": Effect(clipboard, lambda _, after: "made up, row 0" in after),
    "rows_close": LEAVES,
}


def chart(app: SftuiApp) -> Any:
    """Key of the focused chart."""
    found = cast(ChartsScreen, app.screen).chosen
    return found and found.key


def look(app: SftuiApp) -> Any:
    return page(app).look(chart(app))


def grid(rows: int, columns: int) -> Callable[[Any, Any], bool]:
    return becomes((rows, columns))


def shape(app: SftuiApp) -> tuple[int, int]:
    return page(app).rows, page(app).columns


CHARTS = {
    "charts_open": Effect(lambda a: page(a).full, becomes(True)),
    "charts_filter": Effect(lambda a: page(a).typing, becomes("filter")),
    "charts_back": Effect(lambda a: page(a).full, becomes(False), first=("enter",)),
    "charts_left": Effect(chart, first=("right",)),
    "charts_right": Effect(chart),
    "charts_up": Effect(chart, first=("2", "down")),
    "charts_down": Effect(chart, first=("2",)),
    "charts_look_left": Effect(cursor, less, first=("shift+left",)),
    "charts_look_right": Effect(cursor, more, first=("shift+left",) * 3),
    "charts_page_up": Effect(chart, first=("1", "pagedown")),
    "charts_page_down": Effect(chart, first=("1",)),
    "charts_first": Effect(chart, first=("end",)),
    "charts_last": Effect(chart),
    "charts_grid_1": Effect(shape, grid(1, 1)),
    "charts_grid_2": Effect(shape, grid(2, 2)),
    "charts_grid_3": Effect(shape, grid(3, 3)),
    "charts_grid_4": Effect(shape, grid(4, 4)),
    "charts_rows": Effect(shape, grid(2, 1), first=("1",)),
    "charts_columns": Effect(shape, grid(1, 2), first=("1",)),
    "charts_pin": Effect(lambda a: list(page(a).pins), lambda before, after: before != after),
    "charts_log_y": Effect(lambda a: look(a).log_y),
    "charts_range": Effect(lambda a: look(a).range),
    "charts_limits": Effect(
        lambda a: look(a).limits, becomes((1.0, 1.1)), then=(*"1:1.1", "enter")
    ),
    "charts_copy": Effect(clipboard, lambda _, after: after.startswith("loss 0.")),
    "charts_export": Effect(charts_written, more),
    "charts_smooth": BOTH["smooth"],
    "charts_fit": BOTH["fit"],
    "charts_x_axis": BOTH["x_axis"],
    "charts_zoom_in": Effect(span, less),
    "charts_zoom_out": BOTH["zoom_out"],
    "charts_reset": BOTH["reset_look"],
    "charts_pause": asks(Command.PAUSE),
    "charts_help": opens("Help"),
    "charts_close": LEAVES,
}


@dataclass(frozen=True)
class Place:
    """Where keys mean something: how it is reached, and what each of its keys does there."""

    effects: dict[str, Effect]
    opened_by: tuple[str, ...] = ()
    """Keys that lead there from the panels."""
    app: str = "live"
    size: tuple[int, int] = (80, 24)
    again: Callable[[Any], object] | None = None
    """Puts an open screen back to how it opens, which is cheaper than to open it anew."""


def _browser_again(screen: Any) -> None:
    screen._close_prompt()
    screen.answers.top = 0
    screen.table.picked = None
    screen.table.sort_by(Order())
    screen.table.move(-100)


def _questions_again(screen: Any) -> None:
    screen._step, screen._task_at, screen._previous, screen.table.kind = 0, 0, False, "flipped"
    screen._show_answers(False)
    screen._open()


def _rows_again(screen: Any) -> None:
    screen._rows.ask(287)
    screen.table.move(-100)


PLACES = {
    "live": Place(LIVE, size=WIDE),
    "replay": Place(REPLAY, app="replay", size=WIDE),
    "line": Place(LINE, ("5", "enter"), again=lambda s: s.page.scroll_rows(-100_000)),
    "browser": Place(BROWSER, ("c",), again=_browser_again),
    "questions": Place(QUESTIONS, ("w",), app="demo", again=_questions_again),
    "rows": Place(ROWS, ("b",), again=_rows_again),
    "charts": Place(CHARTS, ("m",), again=lambda s: s._changed()),
}


# ---- the apps ------------------------------------------------------------------------------------


def recording() -> list[ev.Event]:
    """A run that goes on, with samples, an alarm, and a line that is longer than a page."""
    events = fake_run(until=288)
    more = [
        ev.SampleGenerated(step=step, prompt=f"prompt {number}", text="an answer " * 20)
        for step in range(20)
        for number in range(3)
    ]
    alarm = ev.AlarmRaised(kind="spike", severity="warn", step=280, text="a spike")
    for event in (*more, alarm, ev.LogLine(text=LONG)):
        events.append(dataclasses.replace(event, stamp=pictures.after(events, 1)))
    return events


def made_app(kind: str, run: RunDir, demo_run: Path) -> SftuiApp:
    """`live` over the recording, `replay` over two stages of it, or the demo's own run."""
    if kind == "demo":
        events = pictures.read_run(demo_run)
        request = ScreenRequest(ListSource(events), "demo", folder=demo_run)
    elif kind == "replay":
        clock = Clock(100.0)
        other = [ev.RunStarted(name="chat_rl"), ev.StepFinished(step=0, loss=1.0)]
        stages = [dataclasses.replace(e, stamp=ev.Stamp(run="other")) for e in other]
        source = replay_events([*recording(), *stages], speed=math.inf, now=clock)
        request = ScreenRequest(source, "old", replay_of="a test", folder=run.path)
        return SftuiApp(request, now=clock)
    else:
        events = recording()
        request = ScreenRequest(ListSource(events), "test", folder=run.path)
    end = max(event.stamp.t or 0.0 for event in events)
    return SftuiApp(request, now=Clock(end + 0.5))


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.unpack(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run with four checkpoints on disk, two of which its events know."""
    made = run_dir.create(tmp_path / "runs", "x", datetime(2026, 1, 2, 3, 4, 5))
    made.manifest.write_text(json.dumps({"id": made.id}))
    for step in (50, 100, 200, 250):
        add_checkpoint(made, step)
    return made


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """No process is started and no file written: what would be is kept. Returns the jobs."""
    begun: list[list[str]] = []

    def begin(_: CheckpointList, words: str, arguments: list[str]) -> str:
        begun.append(arguments)
        return ""

    def ask(rows: StepRows, step: int) -> None:
        rows.step = step
        tokens = tuple(f"token {i}" for i in range(4000))
        rows._known[step] = tuple(
            ShownRow(f"made up, row {i}", "made up", tokens, (True,) * len(tokens))
            for i in range(3)
        )

    monkeypatch.setattr(CheckpointList, "_begin", begin)
    monkeypatch.setattr(StepRows, "ask", ask)
    return begun


# ---- the test ------------------------------------------------------------------------------------


async def go_back(app: SftuiApp, pilot: Pilot[None], where: Place, opened: object) -> None:
    """To how the place was at first: nothing zoomed, filtered, chosen or asked.

    `opened`: its screen, where it has one of its own; it stays open if it is.
    """
    forget(app)
    if app.screen is opened and where.again is not None:
        where.again(app.screen)
        return
    dashboard = app._cockpit.dashboard
    while app.screen is not dashboard:
        front: Any = app.screen
        if isinstance(front, ChartsScreen):
            front.action_close_charts()
        else:
            app.pop_screen()
        await pilot.pause()
    was = (dashboard.maximised, dashboard.table, dashboard.lower, dashboard.panel)
    if was != (False, "benchmarks", "accuracy", "loss") or focused(app) != "loss":
        dashboard.maximised, dashboard.table, dashboard.lower = False, "benchmarks", "accuracy"
        dashboard.focus_panel("loss")
    for key in where.opened_by:
        await pilot.press(key)


def forget(app: SftuiApp) -> None:
    """Put back what is not a screen's: the view, the clock, and what was told."""
    cockpit, was = app._cockpit, view(app)
    was.viewport.reset()
    was.hidden_alarms.clear()
    was.pending.clear()
    was.log.end_search(cockpit.state)
    was.log._turn(cockpit.state, False, 0)
    was.log.follow()
    was.log.wrapped, was.log._event_log.folded = False, True
    was.looking = was.log_y = was.whole = False
    was.smoothing, was.x_axis, was.chart_page = 0, "step", ChartPage()
    cast(SamplePanel, panel_of(cockpit.dashboard, "samples")).top = 0
    cast(Any, app).exits.clear()
    app.clear_notifications()
    app._clipboard = ""
    if was.replay is not None:
        source = cast(Any, app.source)
        if source.stage:
            source.select_stage(0)
        source.speed = math.inf
        if not source.at_end:
            source.seek_end()
        cockpit.tick()


async def pressed(app: SftuiApp, pilot: Pilot[None], keys: tuple[str, ...]) -> None:
    for key in keys:
        await pilot.press(key)


async def failure(app: SftuiApp, pilot: Pilot[None], where: Place, key: Key) -> str:
    """Press every key of a row at its place; empty, or what did not come of it."""
    effect = where.effects[key.id]
    for name in key.keys.split(","):
        await go_back(app, pilot, where, cast(Any, app).opened)
        if where.opened_by:
            cast(Any, app).opened = app.screen
        if effect.on:
            app._cockpit.dashboard.focus_panel(effect.on)
        await pressed(app, pilot, effect.first)
        before = effect.probe(app)
        await pressed(app, pilot, (name, *effect.then))
        after = effect.probe(app)
        if not effect.relation(before, after):
            return f"{key.id} ({name}): {before!r} became {after!r}, but: {key.help}"
    return ""


@pytest.mark.parametrize("name", PLACES)
async def test_every_key_does_what_its_row_says(
    name: str,
    run: RunDir,
    demo_run: Path,
    small: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Judged by its effect, each from the same beginning."""
    where = PLACES[name]
    app: Any = made_app(where.app, run, demo_run)
    app.exits, app.charts, app.jobs, app.opened = [], [], small, None
    monkeypatch.setattr(app, "exit", lambda *_: app.exits.append("left"))
    monkeypatch.setattr(
        chart_files, "write", lambda data, *_: [app.charts.append(data), Path("chart.svg")][1:]
    )
    async with app.run_test(size=where.size) as pilot:
        await (shown if where.app == "replay" else ready)(pilot)
        rows = [key for key in TABLE if key.id in where.effects]
        said = [await failure(app, pilot, where, key) for key in rows]
        app._cockpit.checkpoints.close()
        app._cockpit.view.log.close()
    failed = [words for words in said if words]
    assert not failed, "\n".join(failed)


def test_every_row_of_the_table_is_pressed_where_it_means_something() -> None:
    """A new row fails here until its effect is written down; two places have tests of their own."""
    wanted = {key.id for key in TABLE if key.mode not in ("compare", "picker")}
    named = {name for where in PLACES.values() for name in where.effects}
    assert wanted - named == set()
    for mode in ("live", "replay"):
        there = {key.id for key in TABLE if key.mode in ("", mode)}
        assert there - set(PLACES[mode].effects) == set()
