"""`sftui demo`: a run that was recorded once, on the screen of a replay.

The recording lies in the package: no training, no network, no model. It is a whole run
directory without its weights, so questions, report and comparison work on it as well.
"""

from __future__ import annotations

import shlex
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UsageError
from sftui import diagnostics
from sftui.commands.screen_flags import ReplayFlags

if TYPE_CHECKING:
    from sftui.diagnostics import ExitCode

RECORDING = Path(__file__).with_name("demo.zip")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFlags:
    """Show a recorded run of the starter recipe: no training, no network, nothing is written.

    Two CPU ranks, a pause, an evaluation on request, a learning rate changed by hand, samples.
    It plays from the start; `?` lists the keys. --keep leaves the recording for other commands.

    Examples:
      sftui demo
      sftui demo --keep demo
      sftui report demo
    """

    speed: float = 10.0
    """Times the clock of the run, 1 to 1000; inf shows all there is."""
    keep: Path | None = None
    """Unpack the recording into this new folder as well, and say what to try on it."""
    headless: bool = False
    """Plain lines instead of the screen."""


def watch_demo(flags: DemoFlags, *, plain: bool) -> ExitCode:
    """Play the recording until the user leaves, and say what may be typed next.

    Raises:
        UsageError: the folder to keep it in is there already, or no speed was named.
    """
    from sftui.commands import onward  # noqa: PLC0415  numpy, psutil
    from sftui.sources.clock import check_speed  # noqa: PLC0415  as above

    check_speed(flags.speed)
    with tempfile.TemporaryDirectory(prefix="sftui-demo-") as folder:
        run = unpack(Path(folder)) if flags.keep is None else _kept(flags.keep)
        speed = float("inf") if plain else flags.speed
        replay = ReplayFlags(log=str(run), speed=speed, headless=plain)
        code = onward.watch_replay(replay, plain=plain, charts=Path.cwd())
    for line in _next(flags.keep):
        diagnostics.note(line)
    return code


def _next(kept: Path | None) -> list[str]:
    """Lines on what may be typed after the demo."""
    lines = ["  a run of your own, three minutes on a CPU: sftui run --recipe starter"]
    if kept is None:
        return [*lines, "  this recording as a folder to try commands on: sftui demo --keep demo"]
    name = shlex.quote(str(kept))
    return [
        f"the recording is in {name}",
        f"  measure, count, draw: sftui report {name}, sftui questions {name}, sftui show {name}",
        f"  see it again: sftui replay {name}",
        *lines,
    ]


def unpack(folder: Path) -> Path:
    """Unpack the recording into a folder; returns the run directory."""
    with zipfile.ZipFile(RECORDING) as packed:
        packed.extractall(folder)
        return folder / packed.namelist()[0].partition("/")[0]


def _kept(place: Path) -> Path:
    """The recording under a name of the user's; the folder is whole or not there."""
    if place.exists():
        raise UsageError(f"{place} is there already; name a new folder after --keep.")
    with tempfile.TemporaryDirectory(prefix=".sftui-demo-", dir=place.absolute().parent) as folder:
        unpack(Path(folder)).rename(place)
    return place
