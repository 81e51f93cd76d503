"""The screen of the app after given events and keys, as SVG and as text."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine import events as ev
from engine.run_dir import RunDir
from engine.wire import decode
from sftui.app import SftuiApp
from sftui.canvas import text_width
from tests.sftui.fake_run import ListSource, fake_run

Size = tuple[int, int]
"""Columns and rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One screen to draw."""

    events: list[ev.Event]
    folder: Path | None = None
    """The run directory, for screens that read more than events."""
    keys: str = ""
    theme: str = ""
    no_color: bool = False
    clock: float = 0.5
    """Seconds after the last event."""


async def svg(shot: Shot, size: Size) -> str:
    return await _draw(shot, size, lambda app: pin_characters(app.export_screenshot(title="sftui")))


async def text(shot: Shot, size: Size) -> str:
    """The characters alone, a line a row."""
    return await _draw(shot, size, _characters)


async def _draw(shot: Shot, size: Size, take: Callable[[SftuiApp], str]) -> str:
    now = max(event.stamp.t or 0.0 for event in shot.events) + shot.clock
    if shot.no_color:
        os.environ["NO_COLOR"] = "1"
    try:
        app = SftuiApp(ListSource(shot.events), title="", now=lambda: now, folder=shot.folder)
    finally:
        os.environ.pop("NO_COLOR", None)
    async with app.run_test(size=size) as pilot:
        if shot.theme:
            app.theme = shot.theme
        while app.cockpit is None:
            await pilot.pause(0.01)
        while app.source.events:
            app.cockpit.tick()
        app.cockpit.tick()
        await pilot.pause()
        for key in shot.keys.split():
            await pilot.press(key)
            await pilot.pause()
        # What a screen reads from disk comes in a moment later.
        await pilot.pause(0.3 if shot.folder is not None and shot.keys else None)
        taken = take(app)
    if app.cockpit is not None:
        app.cockpit.shelf.close()
        app.cockpit.view.log.close()
    return taken


def _characters(app: SftuiApp) -> str:
    strips = app.screen._compositor.render_strips()
    rows = ["".join(segment.text for segment in strip).rstrip() for strip in strips]
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
    return {
        "running": Shot(events=running),
        "cuda": Shot(events=fake_run(until=288, device="cuda")),
        "start-up": Shot(events=phases),
        "first-steps": Shot(events=fake_run(until=12)),
        "paused": Shot(events=paused(fake_run(until=140))),
        "finished": Shot(events=fake_run()),
        "failed": Shot(events=failed),
        "log-y": Shot(events=running, keys="l s f"),
        "accuracy": Shot(events=running, keys="2"),
        "help": Shot(events=running, keys="question_mark"),
        "stop": Shot(events=running, keys="x"),
    }


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
        if isinstance(event, ev.StepFinished) and event.step < updates
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
