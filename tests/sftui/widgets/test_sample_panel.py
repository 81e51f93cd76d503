"""The samples of a run on the screen: where they stand, which come first, what they cannot do."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.app import SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
from sftui.drawing.canvas import Grid
from sftui.screens.arrangement import arrange
from sftui.state.run_state import RunState
from sftui.view.view import View
from sftui.widgets.sample_panel import SamplePanel, groups
from tests.sftui.fake_run import START, ListSource, fake_run
from tests.sftui.test_app import Clock, panel_of, ready

SIZES = [
    (200, 60),
    (160, 48),
    (120, 36),
    (110, 34),
    (100, 30),
    (80, 24),
    (60, 16),
    (40, 10),
    (20, 5),
]
RUNNING = fake_run(until=288)


def with_samples(events=RUNNING, steps=(0, 100, 200), prompts=("Say hi.", "Count to 3.")):
    """These events with answers behind them."""
    made = list(events)
    for step in steps:
        for prompt in prompts:
            last = made[-1].stamp
            stamp = dataclasses.replace(last, seq=last.seq + 1)
            text = f"{prompt} at {step}, twice {step}"
            made.append(ev.SampleGenerated(step=step, prompt=prompt, text=text, stamp=stamp))
    return made


def app_over(events) -> SftuiApp:
    end = max(e.stamp.t or START for e in events)
    return SftuiApp(ScreenRequest(ListSource(list(events)), "t"), now=Clock(end + 0.5))


def painted(events, width=60, height=12) -> list[str]:
    state = RunState()
    for number, event in enumerate(events):
        state.apply(dataclasses.replace(event, stamp=ev.Stamp(seq=number + 1)))
    panel = SamplePanel(state, View(now=lambda: START), id="samples")
    grid = Grid(height, width)
    panel.paint(grid)
    return grid.lines()


@pytest.mark.parametrize("size", SIZES)
async def test_samples_stand_where_the_key_brings_them(size):
    """6 shows them at every size, whole; 2 brings the accuracy chart back; z enlarges."""
    app = app_over(with_samples())
    async with app.run_test(size=size) as pilot:
        dashboard = await ready(pilot)
        samples = panel_of(dashboard, "samples")
        assert "samples" not in dashboard.boxes(dashboard.size)
        await pilot.press("6")
        await pilot.pause()
        if min(size[0] - 36, size[1] - 10) >= 0:
            box = dashboard.boxes(dashboard.size)["samples"]
            assert (samples.grid.width, samples.grid.height) == (box.width, box.height)
            lines = samples.text().splitlines()
            assert lines[0][0] + lines[0][-1] + lines[-1][0] + lines[-1][-1] == "╭╮╰╯"
            text = "".join(lines)
            assert "Say hi." in text
            assert "Count to 3. at 200" in text
            assert app.focused is samples
        await pilot.press("z", "z", "2")
        await pilot.pause()
        assert "samples" not in dashboard.boxes(dashboard.size)


def test_boxes_hold_with_samples_below():
    """No two panels on one cell, nothing outside, at any size, with alarms and a bar."""
    for width in range(10, 170, 13):
        for height in range(4, 60, 5):
            for alarms in (0, 3):
                boxes = arrange(
                    width, height, panel="loss", lower="samples", replay=True, alarms=alarms
                )
                cells = [
                    (x, y)
                    for b in boxes.values()
                    for x in range(b.x, b.x + b.width)
                    for y in range(b.y, b.y + b.height)
                ]
                assert len(cells) == len(set(cells))
                assert all(0 <= x < width and 0 <= y < height for x, y in cells)
    assert "samples" in arrange(120, 36, panel="loss", lower="samples", alarms=3)


async def test_samples_come_and_are_scrolled():
    """A new one is painted at once; the arrows scroll this panel while it has the focus."""
    app = app_over(with_samples(steps=range(0, 280, 20)))
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        samples = panel_of(dashboard, "samples")
        await pilot.press("6")
        await pilot.pause()
        before = samples.text().splitlines()
        assert "260  Say hi. at 260" in "".join(before)
        assert "lines below · ↓" in before[-1]
        await pilot.press("down", "down")
        assert samples.top == 2
        assert "follow" in panel_of(dashboard, "log").text().splitlines()[-1]
        for _ in range(12):
            await pilot.press("pagedown")
        assert "below" not in samples.text().splitlines()[-1]
        assert "Count to 3. at 0," in samples.text()
        await pilot.press("pageup", "up")
        for _ in range(12):
            await pilot.press("pageup")
        assert samples.text().splitlines() == before
        stamp = dataclasses.replace(RUNNING[-1].stamp, seq=90_000)
        new = ev.SampleGenerated(step=280, prompt="Say hi.", text="a new one", stamp=stamp)
        app.source.events = [new]
        await ready(pilot)
        assert "280  a new one" in samples.text()


async def test_tab_passes_an_empty_panel_by():
    """Without samples tab goes from the log to the loss; with them it stops there."""
    for events, after in ((RUNNING, "loss"), (with_samples(), "samples")):
        app = app_over(events)
        async with app.run_test(size=(80, 24)) as pilot:
            await ready(pilot)
            await pilot.press("5", "tab")
            assert app.cockpit.dashboard.panel == after


def test_the_newest_of_every_prompt_come_first():
    """As many of each as fit, newest first; what is older only after all prompts."""
    events = with_samples([ev.RunStarted(name="x")], steps=(0, 50, 1000))
    rows = [line.strip("│ ") for line in painted(events, height=9)[1:-1]]
    assert rows == [
        *("Say hi.", "1,000  Say hi. at 1000, twice 1000", "50  Say hi. at 50, twice 50", ""),
        *(
            "Count to 3.",
            "1,000  Count to 3. at 1000, twice 1000",
            "50  Count to 3. at 50, twice 50",
        ),
    ]
    # Too few rows for blank ones between.
    rows = [line.strip("│ ") for line in painted(events, height=6)[1:-1]]
    assert rows == [
        *("Say hi.", "1,000  Say hi. at 1000, twice 1000"),
        *("Count to 3.", "1,000  Count to 3. at 1000, twice 1000"),
    ]


def test_a_step_told_twice_counts_once():
    """A resumed run may answer a step again; without prompts every answer counts."""
    twice = [ev.SampleGenerated(step=4, prompt="p", text=text) for text in ("old", "new")]
    assert [[said.text for said in answers] for _, answers in groups(twice)] == [["new"]]
    bare = [ev.SampleGenerated(step=None, prompt="", text=text) for text in ("one", "two")]
    assert [[said.text for said in answers] for _, answers in groups(bare)] == [["two", "one"]]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "No samples so far."),
        ({"sample_every": 0}, "--sample-every 100 answers a few prompts"),
        ({"sample_every": 60}, "None yet."),
    ],
)
def test_an_empty_panel_says_why(settings, said):
    """And what to type."""
    text = " ".join(
        line.strip("│ ") for line in painted([ev.RunStarted(name="x", settings=settings)])
    )
    assert said in text


def test_what_was_cut_is_said():
    """By tokens or by time; an answer of nothing has words too."""
    events = [
        ev.SampleGenerated(step=1, prompt="a", text="so long", stopped_by="max_tokens"),
        ev.SampleGenerated(step=1, prompt="b", text="", stopped_by="assistant_end"),
    ]
    text = "\n".join(painted(events))
    assert text.count("cut short") == 1
    assert "(nothing)" in text


@given(
    st.lists(
        st.builds(
            ev.SampleGenerated,
            step=st.none() | st.integers(0, 10**7),
            prompt=st.text(max_size=60),
            text=st.text(max_size=300) | st.just("\x1b]52;c;eA==\x07[/red]" * 9 + "日本語\r\n" * 9),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([(120, 30), (40, 9), (14, 4), (3, 3), (1, 1)]),
)
def test_whatever_is_said_stays_inside(events, size):
    """No control character, no cell over the border, at any size."""
    lines = painted(events, *size)
    for line in lines:
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)
    if min(size) >= 3:
        assert all(line[0] == "│" and line[-1] == "│" for line in lines[1:-1])
