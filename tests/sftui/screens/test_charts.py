"""The page of charts over a run, a replay and several runs: keys, mouse, what stays."""

import dataclasses
import json

import pytest
from textual.events import MouseMove, MouseScrollDown
from textual.pilot import Pilot

from engine import events as ev
from sftui.app import SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
from sftui.compare.overlay_feed import open_overlay
from sftui.compare_app import CompareApp
from sftui.keys.preferences import Preferences
from sftui.screens.charts import ChartsScreen
from sftui.screens.dashboard import Dashboard
from sftui.screens.overlay import OverlayScreen
from sftui.sources.open_log import open_replay
from sftui.terminal.terminal_app import TerminalApp
from sftui.view.view import SMOOTHING
from sftui.widgets.footer import KeyFooter
from tests.conftest import SHARED, needs_shared
from tests.sftui.fake_run import START, ListSource, fake_run

SIZE = (160, 48)


async def opened(app: SftuiApp, pilot: Pilot) -> ChartsScreen:
    """The page, once all events are in."""
    while app.cockpit is None:
        await pilot.pause(0.01)
    for _ in range(20):
        app.cockpit.tick()
    await pilot.press("m")
    await pilot.pause()
    return charts_of(app)


def charts_of(app: TerminalApp) -> ChartsScreen:
    """The page, which is open."""
    page: object = app.screen
    assert isinstance(page, ChartsScreen)
    return page


def live(preferences: Preferences | None = None, **run) -> SftuiApp:
    source = ListSource(fake_run(finish=False, **({"until": 120} | run)))
    return SftuiApp(ScreenRequest(source, "run"), now=lambda: START + 60, preferences=preferences)


def words(page: ChartsScreen) -> str:
    return page.charts.text()


async def test_m_opens_the_page_and_every_way_back_leads_to_the_dashboard():
    """m, q and esc; the dashboard is whole again."""
    app = live()
    async with app.run_test(size=SIZE) as pilot:
        for key in ("m", "q", "escape"):
            page = await opened(app, pilot)
            assert "loss" in words(page)
            await pilot.press(key)
            await pilot.pause()
            assert isinstance(app.screen, Dashboard)
            assert app.cockpit is not None
            assert app.cockpit.front is app.screen


async def test_a_filter_is_typed_and_no_key_acts_meanwhile():
    """`q` and `m` are letters then; enter keeps, esc drops."""
    app = live()
    async with app.run_test(size=SIZE) as pilot:
        page = await opened(app, pilot)
        everything = len(page.charts.panels)
        await pilot.press("slash", *"gradm", "backspace")
        await pilot.pause()
        assert app.screen is page
        assert {panel.key for panel in page.charts.panels} == {"grad_norm"}
        await pilot.press("escape")
        assert len(page.charts.panels) == everything
        await pilot.press("slash", *"loss", "space", "exclamation_mark", *"val", "enter")
        assert page.page.query == "loss !val"
        await pilot.press("escape")
        assert page.page.query == ""
        assert app.screen is page


async def test_the_words_of_the_footer_are_of_the_line_while_one_is_typed():
    """A click on a word of the page would else be a letter of the filter."""
    app = live()
    async with app.run_test(size=SIZE) as pilot:
        page = await opened(app, pilot)
        footer = next(panel for panel in page.panels if isinstance(panel, KeyFooter))
        for line in ("slash", "L"):
            await pilot.press(line, "7")
            await pilot.pause()
            assert footer.text().split() == ["enter", "Keep", "esc", "Drop", "ctrl+u", "Empty"]
            starts = {key: start for start, _, key in footer._buttons}
            await pilot.click(footer, offset=(starts["ctrl+u"] + 8, 0))
            assert page.page.typed == ""
            assert page.page.typing
            await pilot.click(footer, offset=(starts["escape"], 0))
            await pilot.pause()
            assert not page.page.typing
            assert "Pin" in footer.text()


async def test_every_smoothing_draws_the_charts_and_those_with_none_the_points():
    """Also none at all, which every chart of more points than dots once failed of."""
    app = live(until=400)
    async with app.run_test(size=SIZE) as pilot:
        page = await opened(app, pilot)
        shown = set()
        for _ in SMOOTHING:
            shown.add((app.cockpit.view.smoothing, words(page)))
            await pilot.press("enter")
            await pilot.pause()
            await pilot.press("enter", "s")
            await pilot.pause()
        assert [smoothing for smoothing, _ in sorted(shown)] == list(range(len(SMOOTHING)))
        assert len({text for _, text in shown}) == len(SMOOTHING)


async def test_charts_are_walked_opened_and_pages_turned():
    """Arrows focus, pgdn turns, digits set the grid, enter opens and closes one."""
    app = live()
    async with app.run_test(size=SIZE) as pilot:
        page = await opened(app, pilot)
        await pilot.press("2")
        assert len(page.charts.cells) == 4
        await pilot.press("right", "down")
        assert page.chosen is page.charts.panels[3]
        await pilot.press("pagedown")
        assert page.chosen is page.charts.panels[7]
        await pilot.press("enter")
        assert len(page.charts.cells) == 1
        before = app.cockpit.view.viewport.cursor if app.cockpit else None
        await pilot.press("left")
        assert app.cockpit is not None
        assert app.cockpit.view.viewport.cursor != before
        await pilot.press("escape")
        assert len(page.charts.cells) == 4
        await pilot.press("r", "c")
        assert page.page.grid(160, 45, 100) == (3, 3)


async def test_the_mouse_focuses_opens_and_turns_pages():
    """A click, two clicks, the wheel."""
    app = live()
    async with app.run_test(size=SIZE) as pilot:
        page = await opened(app, pilot)
        await pilot.press("2")
        await pilot.pause()
        cell = page.charts.cells[3][0]
        await pilot.click("#charts", offset=(cell.x + 20, cell.y + 5))
        await pilot.pause()
        assert page.chosen is page.charts.panels[3]
        await pilot.click("#charts", offset=(cell.x + 20, cell.y + 5), times=2)
        await pilot.pause()
        assert page.page.full
        await pilot.press("enter")
        first = page.charts.cells[0][0].place
        await pilot._post_mouse_events(
            [MouseScrollDown],
            "#charts",
            (40, 20),
        )
        await pilot.pause()
        assert page.charts.cells[0][0].place > first


async def test_wheel_and_drag_over_a_page_zoom_nothing():
    """They belong to the page; a chart alone on the dashboard has them for itself."""
    app = live()
    async with app.run_test(size=SIZE) as pilot:
        await opened(app, pilot)
        viewport = app.cockpit.view.viewport
        viewport.part = (10.0, 60.0)
        for _ in range(3):
            await pilot._post_mouse_events([MouseScrollDown], "#charts", (40, 20))
        await pilot.mouse_down("#charts", offset=(30, 10))
        await pilot._post_mouse_events([MouseMove], "#charts", (60, 16), button=1)
        await pilot.mouse_up("#charts", offset=(60, 16))
        await pilot.pause()
        assert (viewport.part, viewport.y_part) == ((10.0, 60.0), None)


async def test_log_y_range_limits_and_pins_are_remembered():
    """Through the preferences, for the next run."""
    app = live(Preferences())
    async with app.run_test(size=SIZE) as pilot:
        page = await opened(app, pilot)
        await pilot.press("l", "3", "p", "right", "L", *"1:2", "enter", "p")
        await pilot.press("m")
        await pilot.pause()
        kept = app.preferences()
        assert kept is not None
        second = page.charts.panels[1].key
        pinned = app.screen.query_one("#pinned")
        assert pinned.size.height > 5
    again = json.loads(json.dumps(dataclasses.asdict(kept)))
    app = live(Preferences(**again))
    async with app.run_test(size=SIZE) as pilot:
        page = await opened(app, pilot)
        assert page.page.look("loss").log_y
        assert page.page.look(second).limits == (1.0, 2.0)
        assert page.page.pins == ["loss", second]
        assert len(page.charts.cells) == 9


async def test_events_reach_the_page_while_it_is_open():
    """The dashboard behind it is not painted; its own clock and requests go on."""
    app = live(until=60)
    async with app.run_test(size=SIZE) as pilot:
        page = await opened(app, pilot)
        assert app.cockpit is not None
        before = words(page)
        source = app.source
        assert isinstance(source, ListSource)
        known = {e.step for e in fake_run(until=60) if isinstance(e, ev.StepFinished)}
        source.events = [
            e
            for e in fake_run(until=110, finish=False)
            if isinstance(e, ev.StepFinished) and e.step not in known
        ]
        for _ in range(4):
            app.cockpit.tick()
        await pilot.pause()
        assert words(page) != before
        await pilot.press("space")
        assert source.sent


async def test_every_key_of_the_page_does_no_harm_over_run_and_replay(tmp_path, monkeypatch):
    """One after the other, as the table has them, at a small size too."""
    from sftui.keys.key_table import DEFAULT_KEYS

    monkeypatch.chdir(tmp_path)  # one of them writes a chart
    path = tmp_path / "log.csv"
    path.write_text("step,loss,kl\n" + "".join(f"{i},{9 - i / 9},{i}\n" for i in range(60)))
    for size in ((80, 24), (40, 12)):
        opened_log = open_replay(path)
        replay = SftuiApp(
            ScreenRequest(opened_log.source, "log", replay_of="csv"), now=lambda: START
        )
        for app in (live(), replay):
            async with app.run_test(size=size) as pilot:
                page = await opened(app, pilot)
                for key in DEFAULT_KEYS.of_mode("charts"):
                    if key.id in ("charts_close", "charts_back", "charts_help"):
                        continue
                    for name in key.keys.split(","):
                        await pilot.press(name)
                        if page.page.typing:
                            await pilot.press("escape")
                assert app.screen is page
                await pilot.press("question_mark")
                await pilot.pause()
                assert app.screen is not page
                await pilot.press("escape", "m")
                await pilot.pause()
                assert isinstance(app.screen, Dashboard)
        opened_log.source.close()


async def test_a_log_without_a_training_loss_opens_on_its_charts(tmp_path):
    """Once; closed, it stays closed."""
    path = tmp_path / "metrics.csv"
    path.write_text("step,reward,kl\n" + "".join(f"{i},{i / 9},{i}\n" for i in range(60)))
    log = open_replay(path)
    app = SftuiApp(ScreenRequest(log.source, "log", replay_of="csv"), now=lambda: START)
    async with app.run_test(size=SIZE) as pilot:
        for _ in range(100):
            await pilot.pause(0.02)
            if isinstance(app.screen, ChartsScreen):
                break
        await pilot.pause(0.1)
        page = charts_of(app)
        assert {panel.key for panel in page.charts.panels} == {"reward", "kl"}
        await pilot.press("m")
        await pilot.pause(0.3)
        assert isinstance(app.screen, Dashboard)
    log.source.close()


async def test_runs_of_compare_share_every_chart(tmp_path):
    """m over `sftui compare`, and back."""
    paths = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.csv"
        rows = "".join(f"{i},{9 - i / 90},{i}\n" for i in range(200))
        path.write_text("step,loss,kl\n" + rows)
        paths.append(str(path))
    feed = open_overlay(paths)
    while feed.overlay.loading:
        feed.poll()
    app = CompareApp(feed)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("m")
        await pilot.pause()
        page = charts_of(app)
        assert [[c.label for c in p.curves] for p in page.charts.panels][:2] == [["A", "B"]] * 2
        await pilot.press("right", "shift+left", "l", "m")
        await pilot.pause()
        assert isinstance(app.screen, OverlayScreen)
    feed.close()


@needs_shared
@pytest.mark.parametrize(
    ("log", "first", "there"),
    [
        ("wandb_offline/run-md4wekyz.wandb", "loss", {"tokens_per_second", "mfu"}),
        ("hf_trainer/hotpotqa_grpo.stdout.log", "loss", {"reward", "kl", "completion_length"}),
    ],
)
async def test_real_logs_have_all_their_numbers_on_the_page(log, first, there):
    """A wandb file and the output of a GRPO run: loss first, rewards right after it."""
    opened_log = open_replay(SHARED / "logs" / log)
    app = SftuiApp(ScreenRequest(opened_log.source, "log", replay_of="it"), now=lambda: START)
    async with app.run_test(size=SIZE) as pilot:
        for _ in range(200):
            await pilot.pause(0.02)
            if not opened_log.source.loading and opened_log.source.at_end:
                break
        page = await opened(app, pilot)
        keys = [panel.key for panel in page.charts.panels]
        assert keys[0] == first
        assert there <= set(keys)
    opened_log.source.close()
