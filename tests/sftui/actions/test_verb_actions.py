"""Typed lines on the screen: what is asked of the run, what changes, what is said."""

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from engine.control import Command, Request
from sftui.app import SftuiApp
from sftui.screens.command_line import CommandLine
from tests.sftui.fake_run import ListSource, fake_run
from tests.sftui.test_app import make, ready, text_of


async def type_line(pilot: Pilot[None], line: str) -> None:
    """A line after `:`, at once as a paste, and enter."""
    await pilot.press("colon")
    pilot.app.screen.query_one(Input).insert_text_at_cursor(line)
    await pilot.press("enter")
    await pilot.pause()


def sent(app: SftuiApp) -> list[Request]:
    """The requests that were posted."""
    source = app.source
    assert isinstance(source, ListSource)
    return source.sent  # type: ignore[return-value]


def said(app: SftuiApp) -> str:
    """What the screen told last."""
    notes = list(app._notifications)
    return notes[-1].message if notes else ""


REQUESTS = [
    ("lr 0.5", Command.LR_FACTOR, 0.5),
    ("pause", Command.PAUSE, None),
    ("pause in 50", Command.RESUME, 50.0),
    ("resume 7", Command.RESUME, 7.0),
    ("resume", Command.RESUME, None),
    ("eval", Command.EVALUATE, None),
    ("checkpoint", Command.CHECKPOINT, None),
    ("cancel", Command.CANCEL, None),
]


async def test_verbs_of_the_run_are_requests():
    """Each with its argument, once."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        for line, command, argument in REQUESTS:
            sent(app).clear()
            app._cockpit.view.pending.clear()
            await type_line(pilot, line)
            assert [(r.command, r.argument) for r in sent(app)] == [(command, argument)], line
        # Newest first, for the list and the next screen.
        assert app.typed_lines == [line for line, _, _ in reversed(REQUESTS)]
        assert app.preferences() is None


async def test_keys_open_the_line_with_their_verb_and_the_rates_stand_under_it():
    """`r` and `u`: a factor or a number is all that is typed."""
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("r", "0", "full_stop", "5")
        await pilot.pause()
        says = app.screen.query_one("#command-says", Static)
        assert "×1 → ×0.5" in str(says.content)
        await pilot.press("enter")
        await pilot.press("u", "9", "enter")
        await pilot.pause()
        assert [(r.command, r.argument) for r in sent(app)] == [
            (Command.LR_FACTOR, 0.5),
            (Command.RESUME, 9.0),
        ]


async def test_a_wrong_line_stays_and_says_what_to_type():
    """Nothing is sent; it can be mended and sent."""
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await type_line(pilot, "lr 200")
        assert "up to 100" in str(app.screen.query_one("#command-says", Static).content)
        assert isinstance(app.screen, CommandLine)
        assert sent(app) == []
        await pilot.press("backspace", "backspace", "enter")
        await pilot.pause()
        assert [r.argument for r in sent(app)] == [2.0]


async def test_views_and_looks_by_name():
    """What a key does, its verb does; some take what no key can."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        view = app._cockpit.view
        await type_line(pilot, "x tokens")
        assert view.x_axis == "tokens"
        await type_line(pilot, "theme nord")
        assert app.theme == "nord"
        await type_line(pilot, "panel log")
        assert dashboard.panel == "log"
        await type_line(pilot, "find checkpoint")
        assert view.log.query == "checkpoint"
        assert not view.log.typing
        await type_line(pilot, "log-y")
        assert view.log_y
        await type_line(pilot, "charts")
        assert app._cockpit.chart_screen is not None
        # On the page of charts its own key of that name acts, and views close it.
        await type_line(pilot, "smooth")
        assert view.smoothing == 1
        await type_line(pilot, "panel loss")
        assert app._cockpit.chart_screen is None
        assert "RUNNING" in text_of(dashboard)


CANNOT_BE_DONE = [
    ("theme nordd", "did you mean nord?"),
    ("open nothing-of-that-name", "`open` alone lists both"),
    (f"open {'x' * 300}", "`open` alone lists both"),
    ("past ~nobody-of-that-name/run", "`open` alone lists both"),
    ("baseline nosuch.json", "`open` alone lists both"),
    ("baseline nosuch:200", "nosuch is no run"),
    ("compare last", "`compare RUN` takes any run or log"),
    ("eval MMLU 200", "no checkpoint here to ask"),
    ("x tokns", "did you mean tokens?"),
]


async def test_what_cannot_be_done_is_said_while_the_line_can_be_mended(tmp_path):
    """Files, runs, themes, checkpoints: under the line as it is typed, and again at enter."""
    app = make(runs_dir=tmp_path)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        for line, hint in CANNOT_BE_DONE:
            await pilot.press("colon")
            app.screen.query_one(Input).insert_text_at_cursor(line)
            await pilot.pause()
            says = app.screen.query_one("#command-says", Static)
            assert hint in str(says.content), f"{line}, before enter"
            await pilot.press("enter")
            await pilot.pause()
            assert isinstance(app.screen, CommandLine), line
            assert hint in str(says.content), line
            await pilot.press("escape")
        assert said(app) == ""


async def test_the_only_word_an_argument_can_become_is_taken():
    """`theme nor` and enter; of what is asked of a run nothing is guessed."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        await type_line(pilot, "theme nor")
        assert app.theme == "nord"
        await type_line(pilot, "x tok")
        assert app._cockpit.view.x_axis == "tokens"
        await type_line(pilot, "panel sam")
        assert dashboard.panel == "samples"
        await type_line(pilot, "lr .")
        assert isinstance(app.screen, CommandLine)
        assert sent(app) == []


async def test_a_run_that_has_ended_says_so_before_enter():
    """No rates are foretold for it."""
    app = make(fake_run())
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("r", "0", "full_stop", "5")
        await pilot.pause()
        says = app.screen.query_one("#command-says", Static)
        assert "has ended" in str(says.content)
        await pilot.press("enter")
        assert isinstance(app.screen, CommandLine)
        assert sent(app) == []


async def test_a_row_is_chosen_and_completed():
    """Down and enter, tab, escape, and the mouse on a row."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("ctrl+p", *"checkpoint", "down", "enter")
        await pilot.pause()
        # The second row is the browser of checkpoints.
        assert type(app.screen).__name__ == "Browser"
        await pilot.press("escape", "colon", *"base", "tab")
        await pilot.pause()
        assert app.screen.query_one(Input).value == "baseline "
        await pilot.press("escape", "colon", *"canc")
        await pilot.pause()
        await pilot.click("#command-list", offset=(3, 0))
        await pilot.pause()
        assert [r.command for r in sent(app)] == [Command.CANCEL]


@pytest.mark.parametrize("name", ["learning_rate", "more_steps", "command", "palette"])
def test_keys_of_the_line_are_in_the_table(name):
    """They can be given other keys."""
    from sftui.keys.key_table import DEFAULT_KEYS

    assert DEFAULT_KEYS.changed({name: "f9"}).by_id(name).keys == "f9"
