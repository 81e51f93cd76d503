"""Draw the screen of a run at several sizes into SVG and PNG files.

    python tests/make_screenshots.py                  the recorded fake run, every state
    python tests/make_screenshots.py runs/20261124-..  a real run directory, as it is now

PNG files need a Chromium (`--chromium` names it); without one only SVG is written.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Pictures must not depend on where and when they are taken.
os.environ.setdefault("TZ", "UTC")
os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
time.tzset()

from engine import events as ev  # noqa: E402  after the environment is fixed
from engine.run_dir import RunDir  # noqa: E402
from engine.wire import decode  # noqa: E402
from sftui.app import SftuiApp  # noqa: E402
from sftui.canvas import text_width  # noqa: E402
from tests.sftui.fake_run import ListSource, fake_run  # noqa: E402

SIZES = ((160, 48), (120, 36), (80, 24))


async def picture(
    events: list[ev.Event], size: tuple[int, int], *, press: str = "", theme: str = ""
) -> str:
    """The SVG of the screen after these events and keys."""
    now = max(e.stamp.t or 0.0 for e in events) + 0.5
    app = SftuiApp(ListSource(events), title="", now=lambda: now)
    async with app.run_test(size=size) as pilot:
        if theme:
            app.theme = theme
        await pilot.pause()
        assert app.cockpit is not None
        while app.source.events:
            app.cockpit.tick()
        app.cockpit.tick()
        await pilot.pause()
        for key in press.split():
            await pilot.press(key)
        await pilot.pause()
        return pin_characters(app.export_screenshot(title="sftui"))


def states() -> dict[str, tuple[list[ev.Event], str, str]]:
    """Name -> events, keys and theme."""
    running = fake_run(until=288)
    paused = fake_run(until=140)
    stamp = running[-1].stamp
    paused += [
        ev.ControlApplied(
            id="p", command="pause", author="screen", step=140, stamp=_after(paused, 1)
        )
    ]
    cut = next(i for i, e in enumerate(running) if isinstance(e, ev.StepFinished))
    phases = [e for e in running[:cut] if not isinstance(e, ev.EvalFinished)][:9]
    failed = fake_run(until=288)
    failed += [
        ev.LogLine(
            text="torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.50 GiB",
            level="error",
            rank=1,
            stamp=_after(failed, 1),
        ),
        ev.RankLost(rank=1, reason="exit code 1", stamp=_after(failed, 2)),
        ev.RunFinished(
            status="failed", reason="rank 1 ran out of memory at step 288", stamp=_after(failed, 3)
        ),
    ]
    assert stamp.seq
    return {
        "running": (running, "", ""),
        "cuda": (fake_run(until=288, device="cuda"), "", ""),
        "start-up": (phases, "", ""),
        "first-steps": (fake_run(until=12), "", ""),
        "paused": (paused, "", ""),
        "finished": (fake_run(), "", ""),
        "failed": (failed, "", ""),
        "log-y": (running, "l s f", ""),
        "accuracy": (running, "2", ""),
        "help": (running, "question_mark", ""),
        "stop": (running, "x", ""),
        "light": (running, "", "textual-light"),
    }


def _after(events: list[ev.Event], n: int) -> ev.Stamp:
    last = events[-1].stamp
    return ev.Stamp(run=last.run, src="r0", seq=last.seq + n, t=(last.t or 0) + n, att=last.att)


def read_run(path: Path) -> list[ev.Event]:
    """All events of a run directory, in order of time."""
    run = RunDir(path)
    found = []
    for file in (run.events, run.supervisor_events):
        if file.exists():
            found += [decode(line) for line in file.read_bytes().splitlines() if line.strip()]
    return sorted(found, key=lambda e: e.stamp.t or 0.0)


_RUN = re.compile(
    r'<text class="([^"]+)" x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)" ([^>]*)>([^<]*)</text>'
)


def pin_characters(svg: str) -> str:
    """Give every character of a run that is not plain ASCII its own x.

    Textual's SVG names the length of a whole run of text; where a font lacks a glyph, the
    substitute has another width and shifts its neighbours. A terminal never does that.
    """

    def pin(match: re.Match[str]) -> str:
        style, x, y, length, rest, body = match.groups()
        text = html.unescape(body)
        if text.replace("\xa0", " ").isascii():
            return match.group(0)
        widths = [text_width(char) for char in text]
        cell, at, places = float(length) / max(1, sum(widths)), float(x), []
        for width in widths:
            places.append(f"{at:.1f}")
            at += cell * width
        return f'<text class="{style}" x="{" ".join(places)}" y="{y}" {rest}>{body}</text>'

    return _RUN.sub(pin, svg)


def cut(events: list[ev.Event], updates: int | None) -> list[ev.Event]:
    """The events up to the given number of updates."""
    if updates is None:
        return events
    done = [i for i, e in enumerate(events) if isinstance(e, ev.StepFinished)]
    inside = [i for i in done if (events[i].step or 0) < updates]
    return events[: 1 + max(inside, default=len(events))]


def to_png(svg: Path, chromium: str) -> None:
    """Rasterise with a headless browser, at twice the size of the SVG."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg.read_text())
    assert box is not None
    width, height = (round(float(n)) for n in box.groups())
    with tempfile.TemporaryDirectory() as profile:
        page = Path(profile) / "page.html"
        text = svg.read_text()
        # The SVG names a web font: pictures are drawn with what is installed.
        text = re.sub(r"@font-face \{.*?\}", "", text, flags=re.S)
        page.write_text(
            "<style>html,body{margin:0;background:#0d1017}svg{display:block}"
            "text{font-family:'DejaVu Sans Mono',monospace !important}</style>" + text
        )
        subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--hide-scrollbars",
                f"--user-data-dir={profile}/data",
                f"--window-size={width},{height}",
                f"--screenshot={svg.with_suffix('.png').absolute()}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path, help="a run directory")
    parser.add_argument("--until", type=int, help="show it as it was after this many updates")
    parser.add_argument("--out", type=Path, default=Path("screenshots"))
    parser.add_argument("--only", default="", help="names of states, comma-separated")
    parser.add_argument("--sizes", default=",".join(f"{w}x{h}" for w, h in SIZES))
    parser.add_argument("--chromium", default=shutil.which("chromium") or "")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    todo = {"live": (cut(read_run(args.run), args.until), "", "")} if args.run else states()
    if args.only:
        todo = {name: todo[name] for name in args.only.split(",")}
    for name, (events, press, theme) in todo.items():
        for size in args.sizes.split(","):
            width, height = (int(n) for n in size.split("x"))
            svg = asyncio.run(picture(events, (width, height), press=press, theme=theme))
            path = args.out / f"{name}-{size}.svg"
            path.write_text(svg)
            if args.chromium:
                to_png(path, args.chromium)
            print(path)


if __name__ == "__main__":
    main()
