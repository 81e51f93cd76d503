"""The screen of the app after given events and keys: as SVG, as text, as roles of its cells."""

from __future__ import annotations

import contextlib
import html
import math
import os
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from textual.app import App
from textual.pilot import Pilot

from engine import events as ev
from engine.journal.wire import decode
from engine.run.run_dir import RunDir
from sftui.app import SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
from sftui.compare.overlay_feed import open_overlay
from sftui.compare_app import CompareApp
from sftui.drawing.canvas import BLANK, CONTINUED, text_width
from sftui.drawing.roles import Back, parts
from sftui.screens.charts import ChartsScreen
from sftui.screens.dashboard import Dashboard
from sftui.screens.overlay import OverlayScreen
from sftui.state.records import Topic
from sftui.terminal.terminal_app import TerminalApp
from tests.sftui.fake_run import ListSource, fake_run

Size = tuple[int, int]
"""Columns and rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One screen to draw: of a run, or of several beside each other."""

    events: list[ev.Event] = field(default_factory=list)
    folder: Path | None = None
    """The run directory, for screens that read more than events."""
    compare: tuple[Path, ...] = ()
    """Run directories for the screen of `sftui compare`; there are no events then."""
    keys: str = ""
    theme: str = ""
    no_color: bool = False
    ascii: bool = False
    """Whether the terminal prints nothing but ASCII."""
    clock: float = 0.5
    """Seconds after the last event."""


async def svg(shot: Shot, size: Size) -> str:
    async with shown(shot, size) as app:
        return pin_characters(app.export_screenshot(title="sftui"))


async def text(shot: Shot, size: Size) -> str:
    """The characters alone, a line a row."""
    async with shown(shot, size) as app:
        return characters(app)


@contextlib.asynccontextmanager
async def shown(shot: Shot, size: Size) -> AsyncIterator[TerminalApp]:
    """The app, at rest with this on its screen.

    All events are folded before anything is painted: axes keep what they once had to show, so
    a picture of the same events in other portions would differ.
    """
    with contextlib.ExitStack() as done:
        before = os.environ.pop("NO_COLOR", None)
        if shot.no_color:
            os.environ["NO_COLOR"] = "1"
        try:
            app = _compare_app(shot, done) if shot.compare else _run_app(shot)
        finally:
            os.environ.pop("NO_COLOR", None)
            if before is not None:
                os.environ["NO_COLOR"] = before
        app.ascii = shot.ascii
        async with app.run_test(size=size) as pilot:
            if shot.theme:
                app.theme = shot.theme
            if isinstance(app, SftuiApp):
                await _fold(app, pilot)
                done.callback(_close, app)
            await pilot.pause()
            for key in shot.keys.split():
                await pilot.press(key)
                await pilot.pause()
            # What a screen reads from disk comes in a moment later.
            await pilot.pause(0.3 if shot.folder is not None and shot.keys else None)
            yield app


def _run_app(shot: Shot) -> SftuiApp:
    now = max(event.stamp.t or 0.0 for event in shot.events) + shot.clock
    return SftuiApp(ScreenRequest(ListSource(shot.events), "", folder=shot.folder), now=lambda: now)


async def _fold(app: SftuiApp, pilot: Pilot[None]) -> None:
    while app.cockpit is None:
        await pilot.pause(0.01)
    # Once more than needed: steps alone are painted at every second tick.
    source = app.source
    assert isinstance(source, ListSource)
    while source.events or app.cockpit.alarms.busy:
        app.cockpit.tick()
    app.cockpit.tick()
    app.cockpit.dashboard.show(Topic.ALL)


def _close(app: SftuiApp) -> None:
    if app.cockpit is not None:
        app.cockpit.checkpoints.close()
        app.cockpit.view.log.close()


def _compare_app(shot: Shot, done: contextlib.ExitStack) -> CompareApp:
    """All of every run is read, and the crosshair is in the middle."""
    feed = open_overlay([str(path) for path in shot.compare], now=lambda: math.inf)
    done.callback(feed.close)
    while feed.overlay.loading:
        feed.poll()
    feed.overlay.view.viewport.cursor = round(feed.overlay.last_place() / 2)
    return CompareApp(feed)


def characters(app: App[None]) -> str:
    """What the terminal shows, without its colours, blanks at the ends of lines left out."""
    strips = app.screen._compositor.render_strips()
    rows = ["".join(segment.text for segment in strip).rstrip() for strip in strips]
    return "\n".join(rows) + "\n"


ROLES = "abcdefghijklmnopqrstuvwxyzαβγδε"
"""A letter for every `Role`, in its order."""


def roles(app: TerminalApp) -> str:
    """What every cell of the panels says by its colour: a letter a role, a capital where bold.

    A blank shows no foreground and is left out. Rows that have a background follow, a digit
    a `Back`. Screens that lie on the panels (help, questions) are not in it.
    """
    board: object = app.screen
    if isinstance(app, SftuiApp) and app.cockpit and not isinstance(board, ChartsScreen):
        board = app.cockpit.dashboard
    assert isinstance(board, Dashboard | OverlayScreen | ChartsScreen)
    width, height = board.size
    roles = [[" "] * width for _ in range(height)]
    backs = [[" "] * width for _ in range(height)]
    boxes = board.boxes(board.size)
    for panel in board.panels:
        if panel.id not in boxes:
            continue
        box, grid = boxes[panel.id], panel.grid
        for y in range(min(box.height, grid.height)):
            for x in range(min(box.width, grid.width)):
                role, bold, back = parts(int(grid.styles[y, x]))
                if grid.codes[y, x] not in (BLANK, CONTINUED):
                    letter = ROLES[role]
                    roles[box.y + y][box.x + x] = letter.upper() if bold else letter
                if back is not Back.PANEL:
                    backs[box.y + y][box.x + x] = str(int(back))
    rows = ["".join(row).rstrip() for row in roles]
    rows += [
        f"{y + 1:>3}:{''.join(row).rstrip()}"
        for y, row in enumerate(backs)
        if any(c != " " for c in row)
    ]
    return "\n".join(rows) + "\n"


# ---- what to draw --------------------------------------------------------------------------------


def made_up() -> dict[str, Shot]:
    """States that the generator of a run gives, hardware that may not be here included."""
    running = fake_run(until=288)
    cut = next(i for i, e in enumerate(running) if isinstance(e, ev.StepFinished))
    phases = [e for e in running[:cut] if not isinstance(e, ev.EvalFinished)][:9]
    failed = fake_run(until=288)
    failed += [
        ev.LogLine(
            text="torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.50 GiB",
            level="error",
            rank=1,
            stamp=after(failed, 1),
        ),
        ev.RankLost(rank=1, reason="exit code 1", stamp=after(failed, 2)),
        ev.RunFinished(
            status="failed", reason="rank 1 ran out of memory at step 288", stamp=after(failed, 3)
        ),
    ]
    alarm = ev.AlarmRaised(
        kind="diverging",
        severity="error",
        step=287,
        text="loss 1.749 (median of 20 steps) is 85.2% above its best stretch (0.9445). "
        "Halve the rate, or stop and resume from an earlier checkpoint",
        stamp=after(running, 1),
    )
    return {
        "running": Shot(events=running),
        "diverging": Shot(events=[*running, alarm]),
        "cuda": Shot(events=fake_run(until=288, device="cuda")),
        "start-up": Shot(events=phases),
        "first-steps": Shot(events=fake_run(until=12)),
        "paused": Shot(events=paused(fake_run(until=140))),
        "finished": Shot(events=fake_run()),
        "failed": Shot(events=failed, folder=Path("20260304-101500-starter")),
        "log-y": Shot(events=running, keys="l s f"),
        "accuracy": Shot(events=running, keys="2"),
        "charts": Shot(events=running, keys="m"),
        "charts-filter": Shot(events=running, keys="m slash l o s s"),
        "chart": Shot(events=running, keys="m enter shift+left shift+left"),
        "charts-none": Shot(events=running, keys="m slash x y z"),
        "charts-grpo": Shot(events=grpo(), keys="m"),
        "pinned": Shot(events=running, keys="m right p right p m"),
        "help": Shot(events=running, keys="question_mark"),
        "stop": Shot(events=running, keys="x"),
    }


def grpo() -> list[ev.Event]:
    """The numbers that a trainer of rewards logs, 200 rows of them."""
    rng = random.Random(0)
    found: list[ev.Event] = []
    for row in range(200):
        up = 1 - math.exp(-row / 60)
        values = {
            "reward": 0.2 + 0.5 * up + rng.gauss(0, 0.03),
            "reward_std": 0.3 - 0.2 * up + rng.gauss(0, 0.01),
            "rewards/format": 0.1 + 0.8 * up + rng.gauss(0, 0.02),
            "rewards/answer": 0.1 + 0.2 * up + rng.gauss(0, 0.02),
            "kl": 0.04 * up + abs(rng.gauss(0, 0.002)),
            "entropy": 1.4 - 0.8 * up + rng.gauss(0, 0.02),
            "completions/mean_length": 180 + 90 * up + rng.gauss(0, 9),
        }
        if row % 40 == 0:
            values["eval_rewards/answer"] = 0.1 + 0.18 * up
        t = 1_760_000_000.0 + row
        loss = 0.02 * up + rng.gauss(0, 0.002)
        step = ev.StepFinished(
            step=row * 10,
            loss=loss,
            lrs={"0": 1e-6 * (1 - row / 200)},
            grad_norm=0.4 + abs(rng.gauss(0, 0.1)),
            stamp=ev.Stamp(seq=2 * row + 1, t=t),
        )
        found.append(step)
        found.append(
            ev.MetricLogged(step=row * 10, values=values, stamp=ev.Stamp(seq=2 * row + 2, t=t))
        )
    return found


def paused(events: list[ev.Event]) -> list[ev.Event]:
    """The same run, paused by a person after its last event."""
    step = max(e.step or 0 for e in events if isinstance(e, ev.StepFinished))
    return [
        *events,
        ev.ControlApplied(
            id="p", command="pause", author="screen", step=step, stamp=after(events, 1)
        ),
        ev.StateChanged(state="paused", reason="by screen", step=step, stamp=after(events, 1)),
    ]


def after(events: list[ev.Event], seconds: float) -> ev.Stamp:
    """A stamp for an event so long after the last one."""
    last = events[-1].stamp
    return ev.Stamp(
        run=last.run,
        src="r0",
        seq=last.seq + round(seconds),
        t=(last.t or 0) + seconds,
        att=last.att,
    )


def read_run(path: Path) -> list[ev.Event]:
    """All events of a run directory, in order of time."""
    run = RunDir(path)
    found = []
    for file in (run.events, run.supervisor_events):
        if file.exists():
            found += [decode(line) for line in file.read_bytes().splitlines() if line.strip()]
    return sorted(found, key=lambda e: e.stamp.t or 0.0)


def until(events: list[ev.Event], updates: int) -> list[ev.Event]:
    """The events up to the given number of updates."""
    inside = [
        i
        for i, event in enumerate(events)
        if isinstance(event, ev.StepFinished) and (event.step or 0) < updates
    ]
    return events[: 1 + max(inside, default=len(events))]


# ---- SVG -----------------------------------------------------------------------------------------

_RUN = re.compile(
    r'<text class="([^"]+)" x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)" ([^>]*)>([^<]*)</text>'
)


def pin_characters(picture: str) -> str:
    """Give every character of a run that is not plain ASCII its own x.

    Textual's SVG names the length of a whole run of text; where a font lacks a glyph, the
    substitute has another width and shifts its neighbours. A terminal never does that.
    """

    def pin(match: re.Match[str]) -> str:
        style, x, y, length, rest, body = match.groups()
        words = html.unescape(body)
        if words.replace("\xa0", " ").isascii():
            return match.group(0)
        widths = [text_width(char) for char in words]
        cell, at, places = float(length) / max(1, sum(widths)), float(x), []
        for width in widths:
            places.append(f"{at:.1f}")
            at += cell * width
        return f'<text class="{style}" x="{" ".join(places)}" y="{y}" {rest}>{body}</text>'

    return _RUN.sub(pin, picture)
