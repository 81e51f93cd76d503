"""The run picker: what it lists, how it filters, and what it opens."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import cast

import pytest
from textual.widgets import Input

from engine import events as ev
from engine.errors import UsageError
from engine.journal.event_files import JournalWriter
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui import cli, picker_app
from sftui.cockpit.screen_request import Onward
from sftui.commands import watch
from sftui.commands.screen_flags import ReplayFlags
from sftui.diagnostics import ExitCode
from sftui.picker_app import PickerApp
from sftui.screens.picker import PickerScreen
from sftui.sources import recent_logs
from sftui.sources.run_entries import EntryFeed
from sftui.state.run_state import RunState
from tests.sftui.test_app import make as make_app
from tests.sftui.test_app import ready

NANOCHAT = "step 00001/00010 | Training loss: 1.5| lrm: 1.0| num_tokens: 512\n"


def make(root: Path, name: str, day: int, status: ev.EndStatus | None = "finished") -> RunDir:
    """A run of eight updates, with one evaluation."""
    run = run_dir.create(root, name, datetime(2026, 1, day))
    run.manifest.write_text(json.dumps({"id": run.id, "world_size": 1}))
    writer = JournalWriter(run.events, run.id, "r0")
    writer.write(ev.RunStarted(name=name, num_iterations=12), 1)
    for step in range(8):
        writer.write(ev.StepFinished(step=step, loss=2.5), 1)
    for task, correct in (("MMLU", 31), ("ARC-Easy", 34)):
        writer.write(ev.EvalFinished(step=8, task=task, correct=correct, total=100), 1)
    if status is not None:
        writer.write(ev.RunFinished(status=status, updates=8), 1)
    return run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three runs, the oldest of which lives, and a log."""
    monkeypatch.setenv("SFTUI_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setattr("engine.run.lock.evidence", lambda run: ("live" in run.id, "said"))
    root = tmp_path / "runs"
    make(root, "live", 1, None)
    make(root, "starter", 2)
    make(root, "sweep", 3, "failed")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "other.log").write_text(NANOCHAT)
    os.utime(tmp_path / "logs" / "other.log", (1.7e9, 1.7e9))
    # The link to a run's own log is that run, not a log beside it.
    (tmp_path / "logs" / "run.log").symlink_to(next(root.iterdir()) / "run.log")
    next(root.iterdir()).joinpath("run.log").write_text(NANOCHAT)
    return tmp_path


def app_over(place: Path) -> PickerApp:
    return PickerApp(EntryFeed(place / "runs", place, None))


async def loaded(app: PickerApp, pilot: object) -> None:
    while not app.picker._feed.loaded:
        await pilot.pause(0.02)  # type: ignore[attr-defined]
    app.picker._show()


def names(app: PickerApp) -> list[str]:
    return [entry.name.split("-")[-1] for entry in app.picker.list.rows]


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (40, 10)])
async def test_runs_and_logs_stand_with_state_loss_and_results(
    place: Path, size: tuple[int, int]
) -> None:
    """What lives comes first; enter opens the row under the cursor, a log as a replay."""
    app = app_over(place)
    async with app.run_test(size=size) as pilot:
        await loaded(app, pilot)
        assert names(app) == ["live", "sweep", "starter", "logs/other.log"]
        text = app.picker.list.text()
        for word in ("runs and logs · 4", "1 running", "running", "failed", "log"):
            assert word in text
        if size[0] >= 80:
            assert "2.5000" in text
            assert "ARC-Easy 34.0%" in text
            assert "8 of 11 updates" in text
        if size[0] >= 120:
            assert "MMLU 31.0%" in text
            assert "8/11" in text
        await pilot.press("down", "down", "down", "enter")
        log = str(place / "logs" / "other.log")
        assert app.onward == Onward(words=("replay", log), back=("pick",))


@pytest.mark.parametrize("size", [(120, 36), (80, 24)])
async def test_another_users_run_is_a_row_that_is_neither_opened_nor_marked(
    place: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names its owner instead; the screen from which the list was opened stays."""
    runs = run_dir.list_runs(place / "runs")
    monkeypatch.setattr(run_dir, "runs_and_private", lambda _: (runs[1:], runs[:1]))
    monkeypatch.setattr("sftui.sources.run_entries.owner", lambda _: "bob[red]")
    app = app_over(place)
    async with app.run_test(size=size) as pilot:
        await loaded(app, pilot)
        assert names(app) == ["live", "starter", "logs/other.log", "sweep"]
        await pilot.press("end", "down", "down", "down")
        assert "private to bob[red]" in app.picker.list.text()
        await pilot.press("enter", "tab")
        await pilot.pause()
        assert app.onward is None
        assert app.picker.list.marked == []
        said = [note.message for note in app._notifications]
        assert len(said) == 2
        assert all("sweep is private to bob[red]. Ask" in each for each in said)


FILTERS = [
    ("starter", ["starter"]),
    ("FAILED", ["sweep"]),
    ("sw|liv", ["live", "sweep"]),
    ("!log mmlu", ["live", "sweep", "starter"]),
    ("log", ["logs/other.log"]),
    ("q", []),
]


async def test_letters_filter_by_name_state_kind_and_task(place: Path) -> None:
    """Every letter, also those that are keys elsewhere; esc brings all back, then closes."""
    app = app_over(place)
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(app, pilot)
        for typed, left in FILTERS:
            app.picker.query_one(Input).insert_text_at_cursor(typed)
            await pilot.pause()
            assert names(app) == left
            if not left:
                assert f"none of 4 has {typed!r}" in app.picker.list.text()
                await pilot.press("enter")
                assert app.onward is None
            await pilot.press("escape")
            await pilot.pause()
            assert len(names(app)) == 4
        await pilot.press("escape")
        await pilot.pause()
        assert app.onward is None
        assert app._exit


async def test_two_that_are_marked_are_compared_by_key_and_by_mouse(place: Path) -> None:
    """In the order of their marks, which stay under a filter."""
    app = app_over(place)
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(app, pilot)
        await pilot.press("down", "tab")
        assert "mark another to compare" in app.picker.list.text()
        await pilot.press("escape")
        assert not app.picker.list.marked
        await pilot.click("#run-list", offset=(2, 4))  # the edge of the third row
        await pilot.press("up", "up", "tab")
        await pilot.pause()
        assert "enter compares" in app.picker.list.text()
        targets = {entry.name.split("-")[-1]: entry.target for entry in app.picker.list.rows}
        await pilot.press("enter")
        assert app.onward is not None
        assert app.onward.words == ("compare", targets["starter"], targets["live"])


async def test_a_row_is_chosen_by_a_click_and_opened_by_two(place: Path) -> None:
    """And the words of the footer are buttons."""
    app = app_over(place)
    async with app.run_test(size=(120, 36)) as pilot:
        await loaded(app, pilot)
        await pilot.click("#run-list", offset=(10, 3))
        assert app.picker.list.chosen is not None
        assert app.picker.list.chosen.name.endswith("sweep")
        app.picker.list.on_mouse_scroll_down()
        assert app.picker.list.cursor == 3
        await pilot.press("pageup")
        assert app.picker.list.cursor == 0
        await pilot.press("pagedown")
        assert app.picker.list.cursor == 3
        await pilot.click("#run-list", offset=(10, 4), times=2)
        await pilot.pause()
        assert app.onward is not None
        assert app.onward.words[1].endswith("-starter")


async def test_where_nothing_is_it_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty folder, with the place that was looked at."""
    monkeypatch.setenv("SFTUI_CONFIG", str(tmp_path / "config.json"))
    app = PickerApp(EntryFeed(tmp_path / "runs", tmp_path, None), said="no such file.")
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(app, pilot)
        text = app.picker.list.text()
        assert str(tmp_path) in text.replace("│", "").replace("\n", "").replace(" ", "")
        for word in ("no runs under", "sftui run", "sftui demo", "sftui replay FILE"):
            assert word in text
        assert [note.message for note in app._notifications] == ["no such file."]
        await pilot.press("ctrl+c")
        assert app._exit


async def test_a_key_over_a_run_opens_the_list_and_leaves_for_another(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`o`, or `:open` alone; esc is back over the run."""
    monkeypatch.setenv("SFTUI_RUNS", str(place / "runs"))
    monkeypatch.chdir(place)
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        for keys in (["o"], [*":open", "enter"]):
            await pilot.press(*keys)
            await pilot.pause()
            assert isinstance(app.screen, PickerScreen)
            await pilot.press("escape")
            await pilot.pause()
            assert app.screen is app._cockpit.dashboard
        await pilot.press("o")
        await pilot.pause()
        picker = cast(PickerScreen, app.screen)
        while not picker._feed.loaded:
            await pilot.pause(0.02)
        picker._show()
        await pilot.press(*"sweep", "enter")
        await pilot.pause()
        assert app.onward is not None
        assert app.onward.words[0] == "attach"
        assert app.onward.words[1].endswith("-sweep")


def test_a_log_that_was_replayed_is_listed_with_what_it_said(tmp_path: Path) -> None:
    """Wherever it lies, until it changes or goes; a damaged memory costs the memory alone."""
    memory, log = tmp_path / "logs.json", tmp_path / "far" / "x.txt"
    log.parent.mkdir()
    log.write_text(NANOCHAT)
    state = RunState()
    state.apply(ev.StepFinished(step=6, loss=1.25))
    state.apply(ev.EvalFinished(step=6, task="MMLU", accuracy=0.5))
    recent_logs.remember(log, state, memory)
    [found] = recent_logs.listed(tmp_path, memory)
    assert (found.known, found.done, found.last_loss) == (True, state.done, 1.25)
    assert found.tasks == (("MMLU", 0.5),)
    recent_logs.remember(log, None, memory)  # looked at in part: what was known stays
    assert recent_logs.listed(tmp_path, memory) == [found]
    log.write_text(NANOCHAT * 2)
    [found] = recent_logs.listed(tmp_path, memory)
    assert (found.known, found.last_loss) == (False, None)
    for damage in ("", "[", '{"version": 1, "logs": [{"path": 3}]}', '{"version": 1}'):
        memory.write_text(damage)
        assert recent_logs.listed(tmp_path, memory) == []
    recent_logs.remember(log, state, memory)
    log.unlink()
    assert recent_logs.listed(tmp_path, memory) == []


def test_sftui_alone_is_the_list_on_a_terminal_and_the_help_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be opened comes back to the list with the reason; a signal ends all."""
    assert cli.main([]) == 0
    assert "usage: sftui COMMAND" in capsys.readouterr().out
    monkeypatch.setattr(cli, "_has_terminal", lambda: True)
    asked: list[tuple[str, ...]] = []
    answers: list[tuple[ExitCode, Onward | None]] = [
        (ExitCode.DONE, Onward(words=("replay", "gone.log"), back=("pick",))),
        (ExitCode.DONE, Onward(words=("replay", "there.log"), back=("pick",))),
    ]

    def pick(runs_dir: Path | None = None, *said: str) -> tuple[ExitCode, Onward | None]:
        asked.append(said)
        return answers.pop(0)

    def show_replay(flags: ReplayFlags) -> tuple[ExitCode, Onward | None]:
        if flags.log == "gone.log":
            raise UsageError("gone.log: no such file.")
        return ExitCode.TERMINATED, None

    monkeypatch.setattr(picker_app, "run_screen", pick)
    monkeypatch.setattr(watch, "show_replay", show_replay)
    assert cli.main([]) == ExitCode.TERMINATED
    assert asked == [(), ("gone.log: no such file.",)]
