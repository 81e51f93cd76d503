"""What the cursor is on to the clipboard, and the chart in sight to files: for every screen.

The clipboard is that of the terminal a person sits at, reached by an escape sequence (OSC 52):
it works over ssh, and inside tmux once tmux lets it through. Text from outside was cleaned
where it was taken, so what is pasted holds no control characters.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from textual.screen import Screen

from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.text.paths import typed_path

if TYPE_CHECKING:
    from sftui.drawing.chart_data import ChartData
    from sftui.report.chart_files import Kind
    from sftui.terminal.terminal_app import TerminalApp
    from sftui.widgets.panel import Panel

MOST_BYTES = 74_994
"""Of a copy: with its frame in base64 100,000 bytes, from which on terminals drop the sequence."""
_NOTE_CHARACTERS = 160


def copy_from(screen: Screen[Any]) -> None:
    """Copy what the focused panel has under its cursor, and say what it was."""
    panel = _focused(screen)
    text = panel.copied() if panel is not None else ""
    app = cast("TerminalApp", screen.app)
    if not text:
        app.tell("There is nothing here to copy.")
        return
    copy_text(app, text)


def copy_text(app: TerminalApp, text: str) -> None:
    """Send cleaned text to the terminal's clipboard, and say what it was."""
    raw = text.encode("utf-8", "replace")
    kept = raw[:MOST_BYTES].decode("utf-8", "ignore")
    app.copy_to_clipboard(kept)
    lines = kept.count("\n") + 1
    more = f" and {lines - 1} more lines" if lines > 2 else " and 1 more line" * (lines == 2)
    words = f"Copied: {clean(kept.split(chr(10))[0], _NOTE_CHARACTERS)}{more}"
    if len(kept.encode()) < len(raw):
        words += f"\nThe first {fmt.size(len(kept.encode()))} of {fmt.size(len(raw))}."
    if os.environ.get("TMUX") and not app.told_of_tmux:
        app.told_of_tmux = True
        words += "\n(tmux passes it on with: set -s set-clipboard on)"
    app.tell(words)


def export_from(screen: Screen[Any], kinds: tuple[Kind, ...] = ("svg", "png", "csv")) -> None:
    """Write the chart of the focused panel, else the first chart in sight, and say where it is."""
    app = cast("TerminalApp", screen.app)
    chart = _chart(screen)
    if chart is None:
        app.tell("There is no chart here to write.")
        return
    app.tell(f"Writing {clean(chart.title, 60)}...")
    threading.Thread(
        target=_write, args=(app, chart, app.chart_folder, kinds), name="chart files", daemon=True
    ).start()


def _write(app: TerminalApp, chart: ChartData, folder: Path, kinds: tuple[Kind, ...]) -> None:
    # matplotlib: half a second of imports, in a thread, for who asks for files.
    from sftui.report import chart_files  # noqa: PLC0415

    try:
        words = written_words(chart_files.write(chart, folder, kinds))
    except OSError as error:
        words = f"Not written: {folder}: {error.strerror or error}."
    app.in_loop(lambda: app.tell(words, seconds=10))


def written_words(paths: list[Path]) -> str:
    """Where the files are, as it can be typed in this folder."""
    endings = ", ".join(path.suffix for path in paths[1:])
    return f"Wrote {clean(typed_path(paths[0]), 400)}" + (
        f" ({endings} beside it)" if endings else ""
    )


def _focused(screen: Screen[Any]) -> Panel | None:
    """The panel that keys act on."""
    from sftui.widgets.panel import Panel  # noqa: PLC0415  as above

    focused = screen.focused
    if isinstance(focused, Panel):
        return focused
    panels = [panel for panel in screen.query(Panel) if panel.can_focus and panel.display]
    return panels[0] if panels else None


def _chart(screen: Screen[Any]) -> ChartData | None:
    from sftui.widgets.panel import Panel  # noqa: PLC0415  as above

    focused = _focused(screen)
    panels: list[Panel] = [*([focused] if focused is not None else []), *screen.query(Panel)]
    for panel in panels:
        if panel.grid.height and (chart := panel.chart_data()) is not None:
            return chart
    return None
