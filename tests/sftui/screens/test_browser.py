"""The checkpoint browser on the screen: which checkpoint is better, seen by keys and by mouse."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from textual.pilot import Pilot

from engine import events as ev
from sftui.app import SftuiApp
from sftui.checkpoints.checkpoint_list import CheckpointList
from sftui.cockpit.screen_request import ScreenRequest
from sftui.commands import demo
from sftui.drawing.canvas import Grid
from sftui.screens.browser import Browser
from sftui.screens.questions import QuestionsScreen
from sftui.state.run_state import RunState
from sftui.statistics.flips import FlipBook
from sftui.view.view import View
from sftui.widgets.checkpoint_table import CheckpointTable
from tests import pictures
from tests.sftui.fake_run import START, ListSource
from tests.sftui.test_app import Clock, ready


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.unpack(tmp_path_factory.mktemp("demo"))


def app_over(folder: Path) -> SftuiApp:
    events = pictures.read_run(folder)
    end = max(event.stamp.t or 0.0 for event in events)
    return SftuiApp(ScreenRequest(ListSource(events), "t", folder=folder), now=Clock(end))


def browser(app: SftuiApp) -> Browser:
    return cast(Browser, app.screen)


async def opened(pilot: Pilot[None]) -> CheckpointTable:
    await ready(pilot)
    await pilot.press("c")
    await pilot.pause()
    return cast(Browser, pilot.app.screen).table


def values(table: CheckpointTable) -> list[float | None]:
    return [table.state.checkpoint_loss(row.known) for row in table.rows]


def heading(table: CheckpointTable) -> str:
    return table.text().splitlines()[1]


async def test_a_checkpoint_is_chosen_by_keys_and_by_the_mouse(recorded: Path) -> None:
    """Sorted by a key and by a heading, judged against the best or a picked one, its place on the
    curve, its answers beside the other's; the order stays while rows come and go."""
    app = app_over(recorded)
    async with app.run_test(size=(160, 48)) as pilot:
        table = await opened(pilot)
        assert "checkpoint▾" in heading(table)
        await pilot.press("s")
        assert "val▴" in heading(table)
        known = [value for value in values(table) if value is not None]
        assert known == sorted(known)
        await pilot.press("r")
        assert "val▾" in heading(table)
        column = heading(table).index("val")
        await pilot.click("#checkpoint-table", offset=(column + 1, 1))
        await pilot.pause()
        assert "val▴" in heading(table)
        table.reload()
        assert known == [value for value in values(table) if value is not None]
        # The lowest loss stands first: the second is not it.
        chosen, best = table.rows[1], table.rows[0]
        while table.chosen is None or table.chosen.known.path != chosen.known.path:
            await pilot.press("up" if table.cursor > 1 else "down")
        if chosen.step == best.step:
            await pilot.press("down")
        assert table.other is not None
        assert table.other.step == best.step
        first = table.text()
        assert table.chosen is not None
        assert "cannot be told apart" in first or "is worse than" in first
        assert f"◆ step {table.chosen.step}, chosen" in first
        assert f"★ against step {best.step}, best" in first
        assert "samples of" in first
        assert "paired" in first
        picked = table.chosen
        await pilot.press("space", "end")
        assert table.other is not None
        assert table.other.known.path == picked.known.path
        await pilot.press("enter")
        await pilot.pause()
        # What was not measured stands last.
        assert "was not evaluated at step 115" in cast(QuestionsScreen, app.screen).table.text()
        await pilot.press("escape", "up")
        line = 2 + table.cursor - table._top
        await pilot.click("#checkpoint-table", offset=(8, line), times=2)
        await pilot.pause()
        beside = cast(QuestionsScreen, app.screen)
        assert table.chosen is not None
        book = beside.table.book
        assert isinstance(book, FlipBook)
        assert (book.step_before, book.step) == (picked.step, table.chosen.step)
        assert beside.answers.display
        found = table.pair()
        assert found is not None
        [task] = [m for m in found.measures if m.name == book.task]
        assert task.judged is not None
        # One interval for one difference, on both screens.
        told = task.judged.comparison
        assert (book.comparison.low, book.comparison.high) == (told.low, told.high)


async def test_in_a_small_terminal_the_list_comes_first(recorded: Path) -> None:
    """The sentence stays, the samples give way; nothing is cut in two."""
    app = app_over(recorded)
    async with app.run_test(size=(80, 24)) as pilot:
        table = await opened(pilot)
        await pilot.press("down")
        text = table.text()
        assert "samples of" not in text
        assert sum(" step " in line[:12] for line in text.splitlines()) >= 3
        assert {line[0] + line[-1] for line in text.splitlines()[1:-1]} == {"││"}
        await pilot.press("enter")
        await pilot.pause()
        assert not cast(QuestionsScreen, app.screen).answers.display


def table_of(*events: ev.Event) -> str:
    """The browser's table over these events, its cursor on the second row."""
    state = RunState()
    for event in events:
        state.apply(event)
    table = CheckpointTable(state, View(now=lambda: START), CheckpointList(None), id="table")
    table.reload()
    table.move(1)
    grid = Grid(36, 120)
    table.paint(grid)
    return "\n".join(grid.lines())


def test_a_log_without_scores_has_its_curve_and_says_that_nothing_was_measured() -> None:
    """Another trainer's checkpoints: the training loss is the curve, and no verdict is made up."""
    steps = [ev.StepFinished(step=i, loss=3.0 - i / 50) for i in range(100)]
    saved = [ev.CheckpointSaved(step=s, path=f"c-{s}", kind="hf") for s in (30, 60, 90)]
    text = table_of(*steps, *saved)
    assert "step 60 or step 30, which is better cannot be said" in text
    assert "no number was measured at both" in text
    assert "◆ step 60, chosen  ○ against step 30" in text


def test_a_place_that_was_not_measured_is_a_hollow_mark() -> None:
    """It stands on the line between two validations, and does not pass for one."""
    told = [ev.ValidationFinished(step=s, loss=3.0 - s / 100) for s in (0, 100, 200)]
    saved = [ev.CheckpointSaved(step=s, path=f"c-{s}", kind="hf") for s in (150, 200)]
    text = table_of(*told, *saved)
    assert "◇ step 150, chosen, not measured" in text


def test_the_best_is_held_against_the_last_one_before_it_that_was_measured() -> None:
    """Between the two lies one of which nothing is known; where nothing was measured, that one."""
    told = [ev.ValidationFinished(step=s, loss=3.0 - s / 200) for s in (0, 100, 200)]
    saved = [ev.CheckpointSaved(step=s, path=f"c-{s}", kind="hf") for s in (50, 100, 150, 200, 250)]
    assert "against step 100" in table_of(*told, *saved)
    assert "against step 150" in table_of(*told[:2], *saved[::2], *saved[3:4])
