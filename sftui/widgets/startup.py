"""What a run shows before its first update: its phases with their times, or why it ended."""

from __future__ import annotations

from collections.abc import Mapping

from engine import events as ev
from sftui.drawing.canvas import Grid, fit, text_width
from sftui.drawing.roles import Role, style
from sftui.logbook.event_lines import other_numbers, parameters, ranks
from sftui.state.run_state import RunState
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.empty_words import awaited
from sftui.view.view import View

PHASES: Mapping[str, str] = {
    "import": "import torch",
    "group": "join the other ranks",
    "model": "load the model",
    "data": "read the data",
    "validate": "validation loss",
    "evaluate": "ask the questions",
    "sample": "answer the prompts",
    "train": "first update",
    "save": "save a checkpoint",
    "export": "export for nanochat",
}
"""Phase names in words: the engine's, and `evaluate` of the state."""


def paint_startup(grid: Grid, state: RunState, view: View, *, inset: int) -> None:
    """Phases so far, one a line; the lasting one with its seconds; a line of keys below."""
    text, dim = style(Role.TEXT), style(Role.DIM)
    row, end = (1 if inset else 0), grid.width - inset
    col = inset
    run = state.run
    if run is None:
        words = "getting ready" if state.startup else "waiting for the run to speak…"
        if view.replay is not None:
            words = "nothing has happened yet at this moment of the replay"
        grid.text(row, col, fit(words, end - col), dim)
        row += 2
    else:
        facts = [word for word in (clean(run.name, 80), ranks(run)) if word]
        if size := parameters(run):
            facts.append(size)
        if state.planned is not None:
            facts.append(f"{fmt.count(state.planned)} updates")
        grid.text(row, col, fit(" · ".join(facts), end - col), text)
        row += 2
    if not state.startup and state.metrics:
        # A log without a training loss, as eval jobs and other people's scalars are.
        row = paragraph(grid, row, col, end, other_numbers(state), text) + 1
    last_row = grid.height - (3 if inset else 1)
    phases = state.startup[-max(1, last_row - row) :]
    for phase in phases:
        going = phase.end is None and not state.ended
        words = PHASES.get(phase.name) or clean(phase.name, 40)
        if phase.detail:
            words += f" · {clean(phase.detail, 200)}"
        mark, role = ("▸", style(Role.TRAIN)) if going else ("✓", style(Role.GOOD))
        seconds = None
        if phase.start is not None:
            until = view.now() if going else phase.end
            seconds = None if until is None else max(0.0, until - phase.start)
        time = "" if seconds is None else fmt.duration(seconds)
        if going and seconds is not None:
            time = fmt.duration(int(seconds)) if seconds >= 10 else f"{int(seconds)}s"
        room = min(end, col + 64)
        grid.text(row, col, mark, role)
        grid.text(row, col + 2, fit(words, room - col - 12), text if going else dim)
        grid.right(row, room, [(time, text if going else dim)], col + 2)
        row += 1
    if run is None and not phases and not state.ended:
        row = _paint_wait(grid, state, row, col, end)
    if state.badge == "failed":
        _paint_failure(grid, state, row + 1, col, end)
    elif inset and grid.height >= 8:
        _paint_coach(grid, state, view, row, (col, end))


def _paint_coach(grid: Grid, state: RunState, view: View, row: int, cells: tuple[int, int]) -> None:
    """What is waited for, and the first useful keys. `row`: the first that is free."""
    col, end = cells
    live = (("pause", "pause"), ("quit", "leave it running"))
    replay = (("play", "play"), ("next_mark", "next event"))
    keys = (*(live if view.replay is None else replay), ("help", "all keys"))
    tip = " · ".join(f"{view.keys.by_id(name).shown} {words}" for name, words in keys)
    grid.text(grid.height - 2, col, fit(tip, end - col), style(Role.FAINT))
    # A blank row stays above it; where there is none, the phases are what is read.
    if row < grid.height - 4:
        told = awaited(state, view)
        while len(told) > 1 and text_width(" · ".join(told)) > end - col:
            told.pop()
        grid.text(grid.height - 3, col, fit(" · ".join(told), end - col), style(Role.DIM))


def _paint_wait(grid: Grid, state: RunState, row: int, col: int, end: int) -> int:
    """The newest warning in full: it may hold the command to type on the other machines."""
    for event in reversed(state.log):
        if isinstance(event, ev.LogLine) and event.level == "warn":
            return paragraph(grid, row, col, end, clean(event.text), style(Role.TEXT))
    return row


def _paint_failure(grid: Grid, state: RunState, row: int, col: int, end: int) -> None:
    """The reason, the last error line, and where to look."""
    why = clean(state.reason) or "the run ended without a reason"
    row = paragraph(grid, row, col, end, why, style(Role.BAD, bold=True))
    for event in reversed(state.log):
        if isinstance(event, ev.LogLine) and event.level == "error":
            row = paragraph(grid, row, col, end, clean(event.text), style(Role.TEXT))
            break
    where = "The whole output is in logs/ of the run directory."
    paragraph(grid, row, col, end, where, style(Role.DIM))


def paragraph(grid: Grid, row: int, col: int, end: int, text: str, number: int) -> int:
    """`text` over as many rows as it needs, long words too; returns the row after it."""
    line, width = "", max(1, end - col)
    pieces = (
        word[at : at + width] for word in text.split(" ") for at in range(0, len(word), width)
    )
    for word in pieces:
        longer = f"{line} {word}" if line else word
        if len(longer) > width and line:
            grid.text(row, col, line, number, end)
            row, line = row + 1, word
        else:
            line = longer
    grid.text(row, col, line, number, end)
    return row + 1
