"""Draw the pictures of the README: real runs at their moments, as SVG and PNG.

    python tests/make_screenshots.py              makes starter runs (2 minutes each), then draws
    python tests/make_screenshots.py --runs DIR   draws runs made before
    python tests/make_screenshots.py --made-up    states of an invented run, for looking only

PNG files need a Chromium (`--chromium` names it); without one only SVG is written.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Pictures must not depend on where and when they are taken.
os.environ.setdefault("TZ", "UTC")
os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
time.tzset()

from engine import events as ev  # noqa: E402  after the environment is fixed
from engine.run import run_dir  # noqa: E402
from tests import pictures  # noqa: E402
from tests.pictures import Shot, Size  # noqa: E402

WIDE, MIDDLE, NARROW = (160, 48), (120, 36), (80, 24)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A starter run to draw."""

    flags: tuple[str, ...]
    """What is typed for it."""
    rate: tuple[int, float] | None = None
    """After so many updates its learning rate is multiplied, by a person's command."""


RUNS = {
    "whole": Wanted(("--gpus=2",)),
    "gentle": Wanted(("--gpus=2", "--init-lr-frac=0.1")),
    # Late: a run diverges from the best it had, which is known after a hundred updates.
    "diverged": Wanted(("--gpus=2",), rate=(118, 60.0)),
}
"""By the name they get."""


def make_runs(folder: Path) -> None:
    """The runs that are not there yet."""
    for name, wanted in RUNS.items():
        if name not in by_name(folder):
            words = ("run", "--recipe=starter", "--headless", f"--run={name}", *wanted.flags)
            process = sftui(folder, *words)
            if wanted.rate is not None:
                step, factor = wanted.rate
                while name not in by_name(folder) or updates(by_name(folder)[name]) < step:
                    assert process.poll() is None, "the run ended too early"
                    time.sleep(0.1)
                sftui(folder, "ctl", by_name(folder)[name].name, "lr", str(factor)).wait()
            assert process.wait() == 0, f"the run {name} failed"


def sftui(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    print(f"sftui {' '.join(words)}", flush=True)
    command = [sys.executable, "-m", "sftui", *words, f"--runs-dir={folder}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def by_name(folder: Path) -> dict[str, Path]:
    return {run.id.rpartition("-")[2]: run.path for run in run_dir.list_runs(folder)}


def updates(run: Path) -> int:
    return sum(isinstance(event, ev.StepFinished) for event in pictures.read_run(run))


def shots(folder: Path) -> dict[str, tuple[Shot, tuple[Size, ...]]]:
    """Name -> what to draw, and at which sizes."""
    runs = by_name(folder)
    whole, diverged = runs["whole"], runs["diverged"]
    events, lost = pictures.read_run(whole), pictures.read_run(diverged)
    live = pictures.until(events, 130)
    evaluating = next(
        i
        for i, event in enumerate(events)
        if isinstance(event, ev.EvalFinished) and (event.step or 0) > 0
    )
    alarm = next(e for e in lost if isinstance(e, ev.AlarmRaised) and e.kind == "diverging")
    one = (MIDDLE,)
    return {
        "live": (Shot(events=live, folder=whole), (WIDE, MIDDLE, NARROW)),
        "paused": (Shot(events=pictures.paused(live), folder=whole, clock=3), one),
        "evaluating": (Shot(events=events[:evaluating], folder=whole), one),
        "diverged": (
            Shot(events=pictures.until(lost, (alarm.step or 0) + 12), folder=diverged),
            one,
        ),
        "finished": (Shot(events=events, folder=whole), (WIDE,)),
        "checkpoints": (Shot(events=events, folder=whole, keys="c down"), one),
        "questions": (Shot(events=events, folder=whole, keys="w down"), one),
        "settings": (Shot(events=events, folder=whole, keys="i"), one),
        "crosshair": (Shot(events=live, folder=whole, keys="left " * 12), one),
        "compare": (Shot(compare=(whole, runs["gentle"])), (WIDE, MIDDLE)),
        "help": (Shot(events=live, folder=whole, keys="question_mark"), one),
        "no-color": (Shot(events=live, folder=whole, no_color=True), (WIDE, MIDDLE, NARROW)),
        "light": (Shot(events=live, folder=whole, theme="sftui-day"), (WIDE, MIDDLE, NARROW)),
        "charts": (Shot(events=events, folder=whole, keys="m"), (WIDE, MIDDLE)),
        "one-chart": (Shot(events=events, folder=whole, keys="m enter left left"), one),
        "verbs": (Shot(events=live, folder=whole, keys="r 0 full_stop 5"), one),
        "picker": (Shot(events=events, folder=whole, keys="o"), one),
        "validation-range": (Shot(events=events, folder=whole, keys="g"), one),
        "compare-light": (Shot(compare=(whole, runs["gentle"]), theme="sftui-day"), one),
        "compare-no-color": (Shot(compare=(whole, runs["gentle"]), no_color=True), one),
        # What has no real run here.
        "start-up": (pictures.made_up()["start-up"], one),
        "failed": (pictures.made_up()["failed"], one),
        "cuda": (pictures.made_up()["cuda"], one),
    }


def to_png(svg: Path, chromium: str) -> None:
    """Rasterise with a headless browser, at the size of the SVG."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg.read_text())
    assert box is not None
    width, height = (round(float(n)) for n in box.groups())
    with tempfile.TemporaryDirectory() as profile:
        page = Path(profile) / "page.html"
        text = svg.read_text()
        # The SVG names a web font: pictures are drawn with what is installed.
        text = re.sub(r"@font-face \{.*?\}", "", text, flags=re.S)
        page.write_text(
            "<meta charset='utf-8'><style>html,body{margin:0;background:#0d1017}svg{display:block}"
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
    parser.add_argument("--runs", type=Path, help="folder of runs made before (kept)")
    parser.add_argument("--made-up", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("screenshots"))
    parser.add_argument("--only", default="", help="names of pictures, comma-separated")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if args.made_up:
            found: dict[str, tuple[Shot, tuple[Size, ...]]] = {
                name: (shot, (WIDE, MIDDLE, NARROW)) for name, shot in pictures.made_up().items()
            }
        else:
            runs = (args.runs or Path(folder)).absolute()
            make_runs(runs)
            found = shots(runs)
            # Paths on the pictures are as they are typed beside the runs.
            args.out = args.out.absolute()
            os.chdir(runs)
        for name in args.only.split(",") if args.only else found:
            shot, sizes = found[name]
            for size in sizes:
                path = args.out / f"{name}-{size[0]}x{size[1]}.svg"
                path.write_text(asyncio.run(pictures.svg(shot, size)))
                if args.chromium:
                    to_png(path, args.chromium)
                print(path, flush=True)


if __name__ == "__main__":
    main()
