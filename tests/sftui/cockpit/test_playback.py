"""A replay on the screen: its clock by keys, and every panel as it was at that moment."""

import math

import pytest
from textual.events import MouseMove
from textual.widgets._toast import Toast

from engine import events as ev
from engine.errors import UsageError
from sftui import cli
from sftui.app import SftuiApp
from sftui.cockpit.playback import Playback
from sftui.cockpit.screen_request import ScreenRequest
from sftui.drawing.canvas import Grid
from sftui.sources import open_log
from sftui.sources.clock import SPEEDS
from sftui.sources.replay import replay_events
from sftui.state.run_state import RunState
from sftui.view.replay_status import ReplayMark, ReplayStatus
from sftui.view.view import View
from sftui.widgets.run_header import RunHeader
from sftui.widgets.scrubber import Scrubber
from tests.conftest import SHARED, needs_shared
from tests.sftui.fake_run import fake_run
from tests.sftui.test_app import Clock, panel_of, text_of

WHOLE = fake_run()


def app_of(events=WHOLE, *, speed=math.inf, clock=None) -> SftuiApp:
    clock = clock or Clock(100.0)
    source = replay_events(events, speed=speed, now=clock)
    return SftuiApp(ScreenRequest(source, "old", replay_of="a test"), now=clock)


async def shown(pilot):
    """Wait until the picture is whole."""
    while pilot.app.cockpit is None:
        await pilot.pause()
    for _ in range(3):
        pilot.app.cockpit.tick()
    await pilot.pause()
    return pilot.app.cockpit.dashboard


# ---- the clock by keys -------------------------------------------------------------------------


async def test_a_replay_opens_on_everything_and_says_so():
    """Badge, clock, bar with its marks, and what was recognised."""
    app = app_of()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await shown(pilot)
        text = text_of(dashboard)
        assert " REPLAY " in text
        assert "(a test)" in text
        assert "400/400" in text
        bar = panel_of(dashboard, "scrubber").grid.line(0)
        for mark in ("◆", "•", "▾", "●", "all at once"):
            assert mark in bar


async def test_a_key_pressed_again_says_its_words_once():
    """Four presses at the end leave one notice, not a column of them over the panels."""
    app = app_of()
    async with app.run_test(size=(160, 48)) as pilot:
        await shown(pilot)
        await pilot.press("n", "n", "n", "h")
        await pilot.press("right_square_bracket", "right_square_bracket")
        await pilot.pause()
        assert len(app._notifications) == 1


async def test_a_notice_leaves_the_bar_of_the_replay_free():
    """Where the replay stands is what the next key is about."""
    app = app_of()
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        await shown(pilot)
        await pilot.press("n")
        await pilot.pause(0.2)
        [toast] = app.screen.query(Toast)
        assert toast.region.height > 0
        assert toast.region.bottom <= app.size.height - 2


async def test_seeking_back_shows_the_state_of_that_moment():
    """Nothing of what came later is left in any panel."""
    app = app_of()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await shown(pilot)
        await pilot.press("home")
        assert app.cockpit.state.updates == 0
        for _ in range(50):
            await pilot.press("right")
        state = app.cockpit.state
        assert 100 < state.updates < 300
        whole = RunState()
        for event in app.source.events_until(app.source.position):
            whole.apply(event)
        assert state.updates == whole.updates
        assert state.validations.keys() == whole.validations.keys()
        assert state.evals.keys() == whole.evals.keys()
        assert all(panel.state is state for panel in dashboard.panels)
        assert "finished" not in text_of(dashboard)
        await pilot.press("end")
        assert app.cockpit.state.updates == 400


async def test_steps_one_by_one():
    """`,` and `.` move by one update and stand still."""
    app = app_of()
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(pilot)
        await pilot.press("comma")
        before = app.source.step
        await pilot.press("comma")
        assert app.source.step == before - 1
        await pilot.press("full_stop")
        assert app.source.step == before
        assert app.source.paused


async def test_space_plays_and_stops_the_clock():
    """At the end it plays from the start; a second press stands still; nothing is sent."""
    clock = Clock(100.0)
    app = app_of(clock=clock)
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await shown(pilot)
        await pilot.press("space")
        assert app.cockpit.state.updates == 0
        clock.t += 1.0
        await shown(pilot)
        assert 0 < app.cockpit.state.updates < 400
        assert "REPLAY 60×" in text_of(dashboard)
        await pilot.press("space")
        here = app.cockpit.state.updates
        clock.t += 5.0
        await shown(pilot)
        assert app.cockpit.state.updates == here
        assert "REPLAY paused" in text_of(dashboard)


async def test_header_and_bar_count_steps_alike():
    """Of a log without times: in the middle, and at the end of one that only makes updates."""
    steps = [ev.StepFinished(step=i, loss=1.0, stamp=ev.Stamp(seq=i + 2)) for i in range(40)]
    events = [ev.RunStarted(name="x", num_iterations=41, stamp=ev.Stamp(seq=1)), *steps]
    app = app_of(events)
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await shown(pilot)
        bar = panel_of(dashboard, "scrubber")
        assert "step 40/40" in text_of(dashboard)
        assert "step 40 of 40" in bar.grid.line(0)
        await pilot.press("comma", "comma")
        await pilot.pause()
        assert "step 38/40" in text_of(dashboard)
        assert "step 38 of 40" in bar.grid.line(0)


async def test_a_log_without_times_shows_no_time_that_stands_still():
    """`elapsed 0:00:00` at step 300 says that no time passed; nothing is known of it."""
    app = app_of([ev.StepFinished(step=i, loss=1.0) for i in range(40)])
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await shown(pilot)
        await pilot.press("comma")
        await pilot.pause()
        assert "elapsed" not in text_of(dashboard)


async def test_the_time_of_durations_is_that_of_the_bar():
    """A log with the seconds of its steps: the header says what the bar says."""
    started = ev.RunStarted(name="x", num_iterations=99, stamp=ev.Stamp(seq=1, t=5.0))
    steps = [
        ev.StepFinished(step=i, loss=1.0, seconds=10.0, stamp=ev.Stamp(seq=i + 2))
        for i in range(40)
    ]
    app = app_of([started, *steps])
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await shown(pilot)
        await pilot.press("home", "shift+right")
        await pilot.pause()
        bar = panel_of(dashboard, "scrubber").grid.line(0)
        assert "0:00:40 of 0:06:40" in bar
        assert "elapsed 0:00:40" in text_of(dashboard)


async def test_the_start_of_a_replay_waits_for_nobody():
    """Nothing will speak up by itself, and what comes later is not said to be missing."""
    app = app_of()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await shown(pilot)
        await pilot.press("home", "6")
        await pilot.pause()
        text = text_of(dashboard)
        assert "nothing has happened yet at this moment of the replay" in text
        assert "waiting" not in text
        assert "has spoken" not in text
        assert "No samples in this log" not in text


async def test_speeds_go_through_the_list():
    """`<` slows down to 1, `>` goes up to all at once."""
    app = app_of()
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(pilot)
        await pilot.press("home")
        for _ in range(len(SPEEDS) + 1):
            await pilot.press("less_than_sign")
        assert app.source.speed == 1.0
        for wanted in SPEEDS[1:]:
            await pilot.press("greater_than_sign")
            assert app.source.speed == wanted
        # All at once is now, and not a word that the next key forgets.
        assert app.source.at_end


async def test_jumps_from_event_to_event():
    """`n` and `N` stand right behind an evaluation, checkpoint or request."""
    app = app_of()
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(pilot)
        await pilot.press("home")
        seen = []
        for _ in range(8):
            await pilot.press("n")
            seen.append(app.source.position)
        assert seen == sorted(set(seen))
        assert seen[:8] == [mark.position for mark in app.source.marks[:8]]
        await pilot.press("N")
        assert app.source.position == seen[-2]


async def test_a_click_on_the_bar_goes_there():
    """The middle of the bar is the middle of the run."""
    app = app_of()
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await shown(pilot)
        start, end = panel_of(dashboard, "scrubber").bar
        await pilot.click("#scrubber", offset=((start + end) // 2, 0))
        assert 0.45 < app.cockpit.view.replay.part < 0.55


async def test_the_knob_follows_the_mouse_along_the_bar():
    """Every cell on the way, to the ends and not beyond; a click elsewhere moves nothing."""
    app = app_of()
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await shown(pilot)
        bar, view = panel_of(dashboard, "scrubber"), app.cockpit.view
        start, end = bar.bar
        await pilot.mouse_down("#scrubber", offset=(start + 5, 0))
        seen = []
        for x in (start + 20, start + 40, end + 8, start - 6):
            event = MouseMove(bar, x, 0, 0, 0, 1, False, False, False)
            bar.post_message(event)
            await pilot.pause()
            seen.append(view.replay.part)
        assert 0 < seen[0] < seen[1] < seen[2]
        assert seen[2] == pytest.approx(1.0)
        assert seen[3] == pytest.approx(0.0, abs=0.02)
        await pilot.mouse_up("#scrubber", offset=(start + 30, 0))
        at = view.replay.part
        assert at == pytest.approx(30 / (end - start), abs=0.05)
        bar.post_message(MouseMove(bar, start + 3, 0, 0, 0, 0, False, False, False))
        await pilot.click("#scrubber", offset=(2, 0))
        assert view.replay.part == at


async def test_controls_are_refused_with_a_word():
    """No run is behind a replay: `e`, `k` and `x` say so and ask nothing."""
    app = app_of(fake_run(until=120))
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(pilot)
        for key, name in (("e", "eval"), ("k", "checkpoint"), ("x", "stop")):
            await pilot.press(key)
            await pilot.pause()
            said = [n.message for n in app._notifications]
            assert len(said) == 1
            assert said[0].startswith(f"{name} needs a run")
            assert "replay" in said[0]
            assert app.screen is app.cockpit.dashboard


async def test_a_replay_that_stands_still_costs_nothing():
    """No tick is due at the end or while the clock stands; a key starts them again."""
    app = app_of()
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(pilot)
        assert app.cockpit.pace == 0
        await pilot.press("space")
        assert app.cockpit.pace > 0
        assert app.ticking


@pytest.mark.parametrize("size", [(160, 48), (120, 36), (80, 24), (60, 16), (40, 10), (20, 5)])
async def test_the_bar_fits_every_size(size):
    """The bar has the row above the keys; nothing is cut in mid-border."""
    app = app_of()
    async with app.run_test(size=size) as pilot:
        dashboard = await shown(pilot)
        boxes = dashboard.boxes(dashboard.size)
        if size[1] >= 6:
            assert boxes["scrubber"].y == size[1] - 2
        for panel in dashboard.panels:
            if panel.id in boxes:
                lines = panel.text().splitlines()
                if lines[0].startswith("╭"):
                    assert lines[-1][0] + lines[-1][-1] == "╰╯"


async def test_stages_switch():
    """A log of several stages opens on the SFT stage and goes round with `t`."""
    events = []
    for name in ("base_train", "chat_sft", "chat_rl"):
        events.append(ev.RunStarted(name=name, stamp=ev.Stamp(run=name)))
        steps = range(len(name))
        events += [ev.StepFinished(step=s, loss=1.0, stamp=ev.Stamp(run=name)) for s in steps]
    app = app_of(events)
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await shown(pilot)
        assert "stage 2/3 chat_sft" in text_of(dashboard)
        for name in ("chat_rl", "base_train", "chat_sft"):
            await pilot.press("t")
            await shown(pilot)
            assert app.cockpit.state.updates == len(name)
            assert name in text_of(dashboard)


async def test_a_foreign_log_is_judged_by_the_screen():
    """A NaN that the log's own program said nothing about raises an alarm, and seeking back takes
    it away."""
    events = [ev.RunStarted(name="other_sft")]
    losses = [2.0 - s / 500 for s in range(300)]
    losses[250:255] = [math.nan] * 5
    events += [ev.StepFinished(step=s, loss=x, seconds=0.5) for s, x in enumerate(losses[:260])]
    app = app_of(events)
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(pilot)
        while app.cockpit.alarms.busy:
            app.cockpit.tick()
        assert "nonfinite" in app.cockpit.state.alarms
        await pilot.press("home")
        assert app.cockpit.state.alarms == {}


# ---- the bar -----------------------------------------------------------------------------------


def bar_of(replay: ReplayStatus, width: int = 100) -> str:
    view = View(now=lambda: 0.0, replay=replay)
    grid = Grid(1, width)
    Scrubber(RunState(), view, id="scrubber").paint(grid)
    return grid.line(0)


def test_a_log_that_ends_without_an_end_does_not_say_that_the_run_runs():
    """What became of it nobody knows; in the middle and while following it is the log's word."""
    state = RunState()
    for event in fake_run(until=288):
        state.apply(event)

    def header(**changes) -> str:
        grid = Grid(2, 160)
        view = View(now=lambda: state.last_t or 0.0, replay=a_status(**changes))
        RunHeader(state, view, id="header").paint(grid)
        return "\n".join(grid.lines())

    end = header(at_end=True)
    assert "log ends" in end
    assert "running" not in end
    assert "eta" not in end
    for changes in ({}, {"at_end": True, "following": True}, {"at_end": True, "loading": True}):
        assert "running" in header(**changes)
        assert "eta" in header(**changes)


def a_status(**changes) -> ReplayStatus:
    values = {
        "part": 0.5, "seconds": 60.0, "total_seconds": 120.0, "clock": "time", "step": 9,
        "last_step": 20, "speed": 4.0, "paused": False, "at_end": False, "following": False,
        "loading": False, "stage": 0, "stages": ("chat_sft",),
        "marks": (ReplayMark(0.0, "validation"), ReplayMark(1.0, "checkpoint")),
    }  # fmt: skip
    return ReplayStatus(**(values | changes))


def test_bar_shows_time_marks_and_speed():
    """Time where the log has one, steps where it has none."""
    line = bar_of(a_status())
    assert line.startswith(" ▶ 0:01:00 of 0:02:00")
    assert "╵" in line
    assert "◆" in line
    assert line.rstrip().endswith("4×")
    assert "step 9 of 20" in bar_of(a_status(clock="steps"))


@pytest.mark.parametrize("width", [1, 2, 10, 24, 33, 50, 80, 300])
def test_bar_fits_any_width(width):
    """It raises nothing, and drops the least important first."""
    bar_of(a_status(stages=("a" * 50, "b")), width)


def test_bar_of_a_log_without_time_goes_by_events():
    """Where all events share one second, places are counted instead."""
    playback = Playback(replay_events([ev.LogLine(text=str(i)) for i in range(10)]))
    assert playback.status().part == 0.0  # no stage yet
    events = [ev.RunStarted(name="sft"), *(ev.ValidationFinished(step=0, loss=1.0),) * 9]
    playback = Playback(replay_events(events))
    playback.source.seek(5)
    assert playback.status().part == 0.5


# ---- the command -------------------------------------------------------------------------------


def test_a_stage_that_is_not_there_is_named():
    """What there is instead is listed."""
    source = replay_events([ev.RunStarted(name="chat_sft"), ev.StepFinished(step=0, loss=1.0)])
    open_log.choose_stage(source, 1)
    with pytest.raises(UsageError, match="no stage 2; the file has 1 chat_sft"):
        open_log.choose_stage(source, 2)


def test_missing_log_is_one_line(tmp_path, monkeypatch, capsys):
    """`sftui replay logs/run.log` with no run there: exit 2, and what to type."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["replay", "logs/run.log"]) == 2
    assert "sftui run" in capsys.readouterr().err
    assert cli.main(["replay", "x", "--speed", "0"]) == 2


@needs_shared
def test_a_real_log_as_plain_lines(capsys):
    """Without a terminal the log is told line by line."""
    log = SHARED / "logs/nanochat/speedrun_d20_2gpu_oct2025.log"
    assert cli.main(["replay", str(log)]) == 0
    out = capsys.readouterr()
    assert "1.0121" in out.out
    assert "nanochat" in out.err
