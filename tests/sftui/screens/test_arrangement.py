"""A log without evaluations, ranks or checkpoints: the loss has their room."""

import itertools
import math

import pytest

from engine import events as ev
from sftui.app import SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
from sftui.screens.arrangement import arrange, family
from sftui.sources.recording import Recording
from sftui.sources.replay import ReplaySource
from sftui.view.view import PANELS
from tests.sftui.cockpit.test_playback import app_of, shown
from tests.sftui.test_app import Clock, make, ready, text_of

MAY_BE_ABSENT = ("accuracy", "memory", "benchmarks", "checkpoints")
SETS = [frozenset(s) for n in range(5) for s in itertools.combinations(MAY_BE_ABSENT, n)]
STEPS = [
    ev.StepFinished(step=step, loss=3 - step / 100, stamp=ev.Stamp(seq=step + 2))
    for step in range(200)
]
START = ev.RunStarted(name="foreign", num_iterations=300, stamp=ev.Stamp(seq=1))
LATER = {
    "accuracy": ev.EvalFinished(step=150, task="MMLU", correct=30, total=100),
    "memory": ev.RankHeartbeat(rank=0, at_step=150, memory_bytes=2**30, pid=1),
    "checkpoints": ev.CheckpointSaved(step=150, path="ckpt/step-150"),
    "validation": ev.ValidationFinished(step=150, loss=1.4),
}


def with_one(name: str) -> list[ev.Event]:
    """All steps, and in the middle one event that this panel shows."""
    return [START, *STEPS[:150], LATER[name], *STEPS[150:]]


async def until(pilot, true) -> None:
    """Wait for the layout and for the paint that comes with it."""
    for _ in range(200):
        if true():
            return
        await pilot.pause(0.01)
    raise AssertionError("it did not come")


def painted_in_their_boxes(dashboard) -> bool:
    boxes = dashboard.boxes(dashboard.size)
    return all(
        (panel.grid.width, panel.grid.height) == (boxes[panel.id].width, boxes[panel.id].height)
        for panel in dashboard.panels
        if panel.id in boxes
    )


def names(dashboard) -> set[str]:
    return set(dashboard.boxes(dashboard.size))


@pytest.mark.parametrize("absent", SETS, ids=lambda s: "+".join(sorted(s)) or "none")
def test_boxes_cover_the_screen_whatever_is_absent(absent):
    """No cell twice, none outside, none empty above tiny sizes; what is absent has none."""
    for width, height in itertools.product(
        (1, 20, 40, 60, 80, 110, 120, 160, 200), (1, 5, 10, 20, 24, 34, 36, 42, 48, 60)
    ):
        for panel, lower, alarms in itertools.product(PANELS, ("accuracy", "samples"), (0, 2)):
            boxes = arrange(
                width, height, panel=panel, lower=lower, replay=True, alarms=alarms,
                num_ranks=2, absent=absent - {panel},
            )  # fmt: skip
            taken = [0] * (width * height)
            for box in boxes.values():
                assert box.width > 0
                assert box.height > 0
                assert box.x + box.width <= width
                assert box.y + box.height <= height
                for y in range(box.y, box.y + box.height):
                    for cell in range(y * width + box.x, y * width + box.x + box.width):
                        taken[cell] += 1
            assert max(taken, default=0) <= 1
            if family(width, height) != "tiny":
                assert min(taken) == 1
            if family(width, height) == "wide":
                assert not (absent - {panel}) & set(boxes)


def test_the_loss_never_loses_room_by_what_is_absent():
    """The more is absent, the larger the loss chart; without a column it has the whole width."""
    for size in ((110, 34), (120, 36), (160, 48), (200, 60)):
        for less in SETS:
            for more in SETS:
                if less < more:
                    a, b = (arrange(*size, panel="loss", absent=s)["loss"] for s in (less, more))
                    assert b.width * b.height >= a.width * a.height
        assert arrange(*size, panel="loss", absent=SETS[-1])["loss"].width == size[0]


@pytest.mark.parametrize("size", [(200, 60), (160, 48), (120, 36)])
async def test_a_log_of_losses_alone_gives_them_the_screen(size):
    """Nothing on the screen says that it has nothing."""
    app = app_of([START, *STEPS])
    async with app.run_test(size=size) as pilot:
        dashboard = await shown(pilot)
        assert names(dashboard) == {"header", "loss", "log", "now", "scrubber", "footer"}
        assert dashboard.boxes(dashboard.size)["loss"].width == size[0]
        for words in (
            "no evaluation in this log",
            "no memory figures",
            "no checkpoint in this log",
        ):
            assert words not in text_of(dashboard)


@pytest.mark.parametrize("name", ["accuracy", "memory", "checkpoints"])
async def test_what_comes_late_has_its_place_from_the_start(name):
    """Under a clock that is scrubbed the panels stay where they are."""
    app = app_of(with_one(name))
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await shown(pilot)
        there = dashboard.boxes(dashboard.size)
        assert name in there
        for key in ("home", "right", "right", "left", "comma", "end"):
            await pilot.press(key)
            await pilot.pause()
            assert dashboard.boxes(dashboard.size) == there


async def test_the_panel_of_a_followed_log_comes_with_its_first_event():
    """Until then its room is the loss chart's; then both are painted at their new sizes."""
    recording, clock = Recording(), Clock(100.0)
    recording.extend([START, *STEPS[:100]])
    source = ReplaySource(recording, speed=math.inf, follow=True, now=clock)
    app = SftuiApp(ScreenRequest(source, "x", replay_of="a test"), now=clock)
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await shown(pilot)
        for name in ("memory", "accuracy", "checkpoints"):
            assert name not in names(dashboard)
            recording.extend([LATER[name]])
            app.cockpit.tick()
            await pilot.pause()
            assert name in names(dashboard)
            await until(pilot, lambda: painted_in_their_boxes(dashboard))
        assert "benchmarks" in names(dashboard)
        assert "MMLU" in text_of(dashboard)


async def test_an_absent_panel_is_there_while_it_is_asked_for():
    """Its number key brings it, with the words that there is nothing; another takes it away."""
    app = app_of([START, *STEPS])
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await shown(pilot)
        for key, name, words in (
            ("2", "accuracy", "no evaluation in this log"),
            ("3", "memory", "no memory figures in this log"),
            ("4", "checkpoints", "no checkpoint in this log"),
        ):
            await pilot.press(key)
            await pilot.pause()
            assert name in names(dashboard)
            await until(pilot, lambda words=words: words in text_of(dashboard))
            await until(pilot, lambda name=name: app.focused.id == name)
            await pilot.press("1")
            await pilot.pause()
            assert name not in names(dashboard)
            await until(pilot, lambda: app.focused.id == "loss")
        await pilot.press("tab")
        await until(pilot, lambda: app.focused.id == "log")  # the next that has something


async def test_the_validation_table_comes_when_asked_for():
    """`v` brings it where no benchmarks are, and takes it away again."""
    app = app_of(with_one("validation"))
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await shown(pilot)
        assert "validation" not in names(dashboard)
        await pilot.press("v")
        await pilot.pause()
        assert "validation" in names(dashboard)
        await until(pilot, lambda: "1 measured" in text_of(dashboard))
        await pilot.press("v")
        await pilot.pause()
        assert not {"validation", "benchmarks"} & names(dashboard)
        await until(pilot, lambda: app.focused.id == "loss")


async def test_an_empty_table_is_shown_when_asked_for_and_goes_again():
    """A log with neither: the first `v` says that there is no validation, the second ends it."""
    app = app_of([START, *STEPS])
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await shown(pilot)
        before = names(dashboard)
        await pilot.press("v")
        await pilot.pause()
        await until(pilot, lambda: "no validation in this log" in text_of(dashboard))
        await pilot.press("v")
        await pilot.pause()
        assert names(dashboard) == before


async def test_a_live_run_keeps_all_its_places():
    """What has not come yet will: a run's panels do not come and go."""
    app = make([START, *STEPS[:20]])
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        assert {"accuracy", "memory", "benchmarks", "checkpoints"} <= names(dashboard)


async def test_a_panel_that_comes_back_shows_what_came_meanwhile():
    """At its old size, after a time out of sight in which the clock moved."""
    app = app_of(with_one("validation"))
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await shown(pilot)
        await pilot.press("v")
        await until(pilot, lambda: "1 measured" in text_of(dashboard))
        await pilot.press("1", "v", "home")
        await until(pilot, lambda: "validation" not in names(dashboard))
        await pilot.press("v")
        await until(pilot, lambda: "no validation so far" in text_of(dashboard))
