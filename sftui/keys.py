"""Every key of the screen, once: bindings, footer, help screen, palette and README come from here.

An id never changes (people remap by it); a key may. `confirm` marks what changes
the run beyond repair: only stop. Quitting never asks, because training goes on.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One action and the keys that reach it."""

    id: str
    keys: str
    """As Textual names them, comma-separated."""
    shown: str
    """As people read them."""
    action: str
    words: str
    """One or two words for the footer."""
    help: str
    """One sentence for the help screen and the README."""
    group: str
    """`run`, `chart`, `panels`, `log` or `app`: the chapters of the help screen."""
    confirm: bool = False
    footer: int = 0
    """Rank in the footer, 1 first; 0 = not shown there."""


TABLE: tuple[Key, ...] = (
    Key(
        id="pause",
        keys="space",
        shown="space",
        action="toggle_pause",
        words="Pause",
        help="Pause training after the step it is in, or resume it.",
        group="run",
        footer=1,
    ),
    Key(
        id="evaluate",
        keys="e",
        shown="e",
        action="ask_evaluate",
        words="Eval now",
        help="Validate and evaluate before the next step.",
        group="run",
        footer=3,
    ),
    Key(
        id="checkpoint",
        keys="k",
        shown="k",
        action="ask_checkpoint",
        words="Checkpoint",
        help="Save a checkpoint after the step it is in.",
        group="run",
        footer=4,
    ),
    Key(
        id="stop",
        keys="x,S",
        shown="x",
        action="ask_stop",
        words="Stop",
        help="Stop the run with a checkpoint (asks first).",
        group="run",
        confirm=True,
        footer=5,
    ),
    Key(
        id="log_y",
        keys="l",
        shown="l",
        action="toggle_log_y",
        words="Log-y",
        help="Loss axis linear or logarithmic.",
        group="chart",
        footer=6,
    ),
    Key(
        id="smooth",
        keys="s",
        shown="s",
        action="cycle_smoothing",
        words="Smooth",
        help="Next strength of the moving average; the last one is off.",
        group="chart",
        footer=7,
    ),
    Key(
        id="fit",
        keys="f",
        shown="f",
        action="toggle_whole",
        words="Fit",
        help="Steps so far, or the whole planned run.",
        group="chart",
        footer=8,
    ),
    Key(
        id="next_panel",
        keys="tab",
        shown="tab",
        action="step_panel(1)",
        words="Panel",
        help="Next panel.",
        group="panels",
        footer=9,
    ),
    Key(
        id="previous_panel",
        keys="shift+tab",
        shown="shift+tab",
        action="step_panel(-1)",
        words="Back",
        help="Previous panel.",
        group="panels",
    ),
    *(
        Key(
            id=f"panel_{i}",
            keys=str(i),
            shown=str(i),
            action=f"show_panel({i})",
            words=name.capitalize(),
            help=f"Go to the {name} panel.",
            group="panels",
        )
        for i, name in enumerate(
            ("loss", "accuracy", "memory", "checkpoints", "log"),
            start=1,
        )
    ),
    Key(
        id="maximise",
        keys="z",
        shown="z",
        action="toggle_maximised",
        words="Zoom",
        help="The focused panel alone, or all of them again.",
        group="panels",
        footer=10,
    ),
    Key(
        id="log_up",
        keys="up",
        shown="↑",
        action="scroll_log(-1)",
        words="Up",
        help="Log: one line back; it stops following.",
        group="log",
    ),
    Key(
        id="log_down",
        keys="down",
        shown="↓",
        action="scroll_log(1)",
        words="Down",
        help="Log: one line on.",
        group="log",
    ),
    Key(
        id="log_page_up",
        keys="pageup",
        shown="pgup",
        action="scroll_log(-10)",
        words="Page up",
        help="Log: ten lines back.",
        group="log",
    ),
    Key(
        id="log_page_down",
        keys="pagedown",
        shown="pgdn",
        action="scroll_log(10)",
        words="Page down",
        help="Log: ten lines on.",
        group="log",
    ),
    Key(
        id="log_end",
        keys="end",
        shown="end",
        action="follow_log",
        words="Follow",
        help="Log: to the newest line, and follow it.",
        group="log",
    ),
    Key(
        id="help",
        keys="question_mark",
        shown="?",
        action="help",
        words="Help",
        help="This page.",
        group="app",
        footer=11,
    ),
    Key(
        id="palette",
        keys="ctrl+p",
        shown="ctrl+p",
        action="command_palette",
        words="Palette",
        help="Search for any command; themes are there too.",
        group="app",
    ),
    Key(
        id="quit",
        keys="q",
        shown="q",
        action="leave",
        words="Leave",
        help="Close the screen and leave the run running; `sftui attach` comes back.",
        group="app",
        footer=2,
    ),
    Key(
        id="interrupt",
        keys="ctrl+c",
        shown="ctrl+c",
        action="interrupt",
        words="Interrupt",
        help="Asks: leave the run running, or stop it.",
        group="app",
    ),
)

GROUPS = {
    "run": "The run",
    "chart": "The loss chart",
    "panels": "Panels",
    "log": "The log",
    "app": "The screen",
}


def footer_keys() -> list[Key]:
    """In the order in which a footer that grows wider shows them."""
    return sorted((key for key in TABLE if key.footer), key=lambda key: key.footer)


def by_id(name: str) -> Key:
    """The entry with this id."""
    return next(key for key in TABLE if key.id == name)


def markdown() -> str:
    """The table of the README."""
    rows = [f"| `{key.shown}` | {key.help} |" for key in TABLE]
    return "\n".join(["| key | does |", "|---|---|", *rows])
