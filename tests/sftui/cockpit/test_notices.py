"""Calls for a person who looks elsewhere, ASCII terminals, and what is remembered."""

import json
import time

import numpy as np
import pytest

from engine import events as ev
from sftui.app import SftuiApp
from sftui.cockpit.notices import Notices, terminal_notice
from sftui.cockpit.screen_request import ScreenRequest
from sftui.drawing.canvas import Grid
from sftui.drawing.roles import Role, style
from sftui.keys import preferences
from sftui.keys.preferences import Preferences
from sftui.terminal import ascii_glyphs
from tests.sftui.fake_run import START, ListSource, fake_run
from tests.sftui.test_app import Clock, panel_of, ready

ALARM = ev.AlarmRaised(kind="spike", text="Loss 9.1", stamp=ev.Stamp(t=START + 10))


def test_only_news_is_told():
    """The end, an alarm, a lost rank; nothing of the history, nothing that is routine."""
    told = []
    notices = Notices(START, call=told.append)
    notices.observe(ALARM)
    notices.observe(ev.RankLost(rank=1, reason="gone", stamp=ev.Stamp(t=START + 11)))
    notices.observe(ev.StepFinished(step=1, loss=1.0, stamp=ev.Stamp(t=START + 12)))
    notices.observe(ev.RunFinished(status="finished", stamp=ev.Stamp(t=START - 50)))
    assert len(told) == 2
    assert "9.1" in told[0]


def test_the_command_gets_the_event(tmp_path):
    """One JSON line on stdin, as in the event log; a broken command harms nobody."""
    out = tmp_path / "out"
    Notices(START, call=lambda _: None, command=f"cat > {out}.part && mv {out}.part {out}").observe(
        ALARM
    )
    Notices(START, call=lambda _: None, command="exit 3").observe(ALARM)
    while not out.exists():
        time.sleep(0.01)
    found = json.loads(out.read_text())
    assert found["type"] == "alarm_raised"
    assert found["d"]["kind"] == "spike"


def test_a_notice_cannot_carry_an_escape():
    """Text of a log ends the sequence nowhere but at its end."""
    notice = terminal_notice("bad \x07\x1b]52;c;eA==\x07 end")
    assert notice.startswith("\a\x1b]9;")
    assert notice.count("\x1b") == 1
    assert notice.count("\a") == 2


async def test_a_live_screen_rings_and_a_replay_does_not(monkeypatch):
    """The driver gets the notice once, for the alarm that came while watching."""
    for replay_of, rings in ((None, 1), ("a test", 0)):
        events = fake_run(until=20)
        source = ListSource(events)
        if replay_of is not None:
            from sftui.sources.replay import replay_events

            source = replay_events([*events, ALARM])
        app = SftuiApp(ScreenRequest(source, "t", replay_of=replay_of), now=Clock(START + 1))
        async with app.run_test(size=(100, 30)) as pilot:
            while app.cockpit is None:
                await pilot.pause()
            written = []
            monkeypatch.setattr(app._driver, "write", written.append)
            if replay_of is None:
                app.source.events.append(ALARM)
            for _ in range(5):
                app.cockpit.tick()
            assert len([w for w in written if "]9;" in w]) == rings


# ---- ASCII -------------------------------------------------------------------------------------


def test_which_encodings_need_it():
    """UTF-8 does not; Latin-1, ASCII and what nobody knows do."""
    assert not ascii_glyphs.needed("utf-8")
    assert ascii_glyphs.needed("latin-1")
    assert ascii_glyphs.needed("ascii")
    assert ascii_glyphs.needed("no-such-encoding")


async def test_the_whole_screen_in_ascii():
    """Every cell of every panel has an ASCII character, and the layers of the chart differ."""
    app = SftuiApp(ScreenRequest(ListSource(fake_run(until=288)), "t"), now=Clock(START + 300))
    app.ascii = True
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        for panel in dashboard.panels:
            if panel.id in dashboard.boxes(dashboard.size):
                for y in range(panel.size.height):
                    text = panel.render_line(y).text
                    assert text.isascii()
                    assert "?" not in text or panel.id == "footer"
        chart = "".join(panel_of(dashboard, "loss").render_line(y).text for y in range(20))
        for mark in "#.o*:":
            assert mark in chart


def test_wide_characters_become_marks_of_the_same_width():
    """A character and its right half are two cells in ASCII too."""
    grid = Grid(1, 6)
    grid.text(0, 0, "日本a", style(Role.TEXT))
    out = ascii_glyphs.plain(grid.codes[0], grid.styles[0])
    assert out.tobytes().decode("utf-32-le") == "? ? a "
    assert out.dtype == np.uint32


# ---- preferences -------------------------------------------------------------------------------


def test_what_was_liked_comes_back(tmp_path, monkeypatch):
    """Written to the file that SFTUI_CONFIG names, read from there."""
    monkeypatch.setenv("SFTUI_CONFIG", str(tmp_path / "deep" / "mine.json"))
    liked = Preferences(theme="nord", smoothing=2, log_y=True, table="validation")
    preferences.save(liked)
    assert preferences.load() == liked


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"smoothing": "much", "log_y": 1}', "null"])
def test_a_bad_file_is_no_obstacle(tmp_path, monkeypatch, text):
    """Each odd value is the default; an unwritable place costs nothing."""
    file = tmp_path / "p.json"
    file.write_text(text)
    monkeypatch.setenv("SFTUI_CONFIG", str(file))
    assert preferences.load() == Preferences()
    monkeypatch.setenv("SFTUI_CONFIG", str(file / "below"))
    preferences.save(Preferences())


async def test_the_screen_opens_as_it_was_left():
    """Smoothing, axis, table and theme."""
    liked = Preferences(theme="nord", smoothing=1, log_y=True, table="validation")
    app = SftuiApp(
        ScreenRequest(ListSource(fake_run(until=300)), "t"),
        now=Clock(START + 99),
        preferences=liked,
    )
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        assert app.theme == "nord"
        assert "log · mean of 15 steps" in panel_of(dashboard, "loss").text()
        assert "validation" in dashboard.boxes(dashboard.size)
        await pilot.press("l", "v")
        assert app.preferences() == Preferences(theme="nord", smoothing=1, table="benchmarks")
