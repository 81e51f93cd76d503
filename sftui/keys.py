"""Every key of the screen, once: bindings, footer, help screen, palette and README come from here.

An id never changes (people remap by it); a key may. `confirm` marks what cannot be undone:
to stop the run, to delete a checkpoint. Quitting never asks, because training goes on.
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
    """A chapter of the help screen, see GROUPS."""
    confirm: bool = False
    footer: int = 0
    """Rank in the footer, 1 first; 0 = not shown there."""
    mode: str = ""
    """`live`, `replay` or `browser`: where the key means this; empty = over both a run and a
    replay."""


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
        mode="live",
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
        id="play",
        keys="space",
        shown="space",
        action="toggle_clock",
        words="Play",
        help="Replay: stop the clock or let it go on; at the end, play from the start.",
        group="replay",
        footer=1,
        mode="replay",
    ),
    Key(
        id="scrub_back",
        keys="left",
        shown="←",
        action="scrub(-1)",
        words="Scrub",
        help="Replay: a hundredth of the stage back (shift: a tenth).",
        group="replay",
        footer=3,
        mode="replay",
    ),
    Key(
        id="scrub_on",
        keys="right",
        shown="→",
        action="scrub(1)",
        words="Scrub on",
        help="Replay: a hundredth of the stage on (shift: a tenth).",
        group="replay",
        mode="replay",
    ),
    Key(
        id="scrub_far_back",
        keys="shift+left",
        shown="shift+←",
        action="scrub(-10)",
        words="Far back",
        help="Replay: a tenth of the stage back.",
        group="replay",
        mode="replay",
    ),
    Key(
        id="scrub_far_on",
        keys="shift+right",
        shown="shift+→",
        action="scrub(10)",
        words="Far on",
        help="Replay: a tenth of the stage on.",
        group="replay",
        mode="replay",
    ),
    Key(
        id="step_back",
        keys="comma",
        shown=",",
        action="step_clock(-1)",
        words="Step back",
        help="Replay: one update back, and stand still.",
        group="replay",
        mode="replay",
    ),
    Key(
        id="step_on",
        keys="full_stop",
        shown=".",
        action="step_clock(1)",
        words="Step",
        help="Replay: one update on, and stand still.",
        group="replay",
        footer=6,
        mode="replay",
    ),
    Key(
        id="slower",
        keys="less_than_sign",
        shown="<",
        action="change_speed(-1)",
        words="Slower",
        help="Replay: the next slower speed, down to 1×.",
        group="replay",
        mode="replay",
    ),
    Key(
        id="faster",
        keys="greater_than_sign",
        shown=">",
        action="change_speed(1)",
        words="Faster",
        help="Replay: the next faster speed, up to 1000×, then all at once.",
        group="replay",
        footer=4,
        mode="replay",
    ),
    Key(
        id="next_mark",
        keys="n",
        shown="n",
        action="jump_mark(1)",
        words="Next event",
        help="Replay: to the next evaluation, checkpoint, request or alarm.",
        group="replay",
        footer=5,
        mode="replay",
    ),
    Key(
        id="previous_mark",
        keys="N",
        shown="N",
        action="jump_mark(-1)",
        words="Last event",
        help="Replay: to the event before.",
        group="replay",
        mode="replay",
    ),
    Key(
        id="to_start",
        keys="home",
        shown="home",
        action="to_start",
        words="Start",
        help="Replay: to the start of the stage.",
        group="replay",
        mode="replay",
    ),
    Key(
        id="to_end",
        keys="end",
        shown="end",
        action="to_end",
        words="End",
        help="Replay: to the end of what was read.",
        group="replay",
        mode="replay",
    ),
    Key(
        id="stage",
        keys="t",
        shown="t",
        action="next_stage",
        words="Stage",
        help="Replay: the next stage of a log that holds several.",
        group="replay",
        footer=7,
        mode="replay",
    ),
    Key(
        id="log_y",
        keys="l",
        shown="l",
        action="toggle_log_y",
        words="Log-y",
        help="Loss axis linear or logarithmic.",
        group="chart",
        footer=9,
    ),
    Key(
        id="smooth",
        keys="s",
        shown="s",
        action="cycle_smoothing",
        words="Smooth",
        help="Next strength of the moving average; the last one is off.",
        group="chart",
        footer=10,
    ),
    Key(
        id="fit",
        keys="f",
        shown="f",
        action="toggle_whole",
        words="Fit",
        help="Steps so far, or the whole planned run.",
        group="chart",
        footer=11,
    ),
    Key(
        id="next_panel",
        keys="tab",
        shown="tab",
        action="step_panel(1)",
        words="Panel",
        help="Next panel.",
        group="panels",
        footer=12,
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
        id="table",
        keys="v",
        shown="v",
        action="toggle_table",
        words="Val table",
        help="Benchmarks or validation losses in the table.",
        group="panels",
        footer=13,
    ),
    Key(
        id="maximise",
        keys="z",
        shown="z",
        action="toggle_maximised",
        words="Zoom",
        help="The focused panel alone, or all of them again.",
        group="panels",
        footer=15,
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
        mode="live",
    ),
    Key(
        id="hide_alarms",
        keys="a",
        shown="a",
        action="hide_alarms",
        words="Hide alarms",
        help="Put the alarms away until they come again; the log keeps them.",
        group="panels",
    ),
    Key(
        id="browse",
        keys="c",
        shown="c",
        action="browse",
        words="Checkpoints",
        help="The checkpoints with a cursor: mark, evaluate, export, delete.",
        group="panels",
        footer=8,
    ),
    Key(
        id="facts",
        keys="i",
        shown="i",
        action="show_facts",
        words="Run",
        help="The run: every setting, what it came to, and what it means.",
        group="panels",
        footer=14,
    ),
    Key(
        id="shelf_up",
        keys="up",
        shown="↑",
        action="shelf_move(-1)",
        words="Up",
        help="Checkpoints: the one above.",
        group="browser",
        mode="browser",
    ),
    Key(
        id="shelf_down",
        keys="down",
        shown="↓",
        action="shelf_move(1)",
        words="Down",
        help="Checkpoints: the one below.",
        group="browser",
        mode="browser",
    ),
    Key(
        id="shelf_page_up",
        keys="pageup",
        shown="pgup",
        action="shelf_move(-10)",
        words="Page up",
        help="Checkpoints: ten up.",
        group="browser",
        mode="browser",
    ),
    Key(
        id="shelf_page_down",
        keys="pagedown",
        shown="pgdn",
        action="shelf_move(10)",
        words="Page down",
        help="Checkpoints: ten down.",
        group="browser",
        mode="browser",
    ),
    Key(
        id="shelf_mark",
        keys="m",
        shown="m",
        action="shelf_mark",
        words="Mark",
        help="Checkpoints: never prune this one, or prune it again.",
        group="browser",
        footer=1,
        mode="browser",
    ),
    Key(
        id="shelf_eval",
        keys="e",
        shown="e",
        action="shelf_start('eval')",
        words="Eval",
        help="Checkpoints: ask it the questions again, in a process of its own.",
        group="browser",
        footer=2,
        mode="browser",
    ),
    Key(
        id="shelf_export",
        keys="x",
        shown="x",
        action="shelf_start('nanochat')",
        words="Export",
        help="Checkpoints: export it for nanochat.",
        group="browser",
        footer=3,
        mode="browser",
    ),
    Key(
        id="shelf_hf",
        keys="h",
        shown="h",
        action="shelf_start('hf')",
        words="HF",
        help="Checkpoints: export it for transformers.",
        group="browser",
        footer=4,
        mode="browser",
    ),
    Key(
        id="shelf_delete",
        keys="d,delete",
        shown="d",
        action="shelf_delete",
        words="Delete",
        help="Checkpoints: delete it from disk (asks first; never the only one).",
        group="browser",
        footer=5,
        confirm=True,
        mode="browser",
    ),
    Key(
        id="shelf_close",
        keys="escape,c,q",
        shown="esc",
        action="shelf_close",
        words="Close",
        help="Checkpoints: back to the run.",
        group="browser",
        footer=6,
        mode="browser",
    ),
    Key(
        id="help",
        keys="question_mark",
        shown="?",
        action="help",
        words="Help",
        help="This page.",
        group="app",
        footer=16,
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
    "replay": "A replay",
    "chart": "The loss chart",
    "panels": "Panels",
    "log": "The log",
    "browser": "The checkpoint browser",
    "app": "The screen",
}


def footer_keys(mode: str = "live") -> list[Key]:
    """In the order in which a footer that grows wider shows them.

    The keys of the run are bound over a replay too: they say why nothing happens.
    """
    keys = (key for key in of_mode(mode) if not (mode == "replay" and key.group == "run"))
    return sorted((key for key in keys if key.footer), key=lambda key: key.footer)


def of_mode(mode: str) -> list[Key]:
    """The keys that mean something over a `live` run, a `replay`, or in the `browser`."""
    return [key for key in TABLE if key.mode == mode or (not key.mode and mode != "browser")]


def by_id(name: str) -> Key:
    """The entry with this id."""
    return next(key for key in TABLE if key.id == name)


def markdown() -> str:
    """The table of the README."""
    rows = [f"| `{key.shown}` | {key.help} |" for key in TABLE]
    return "\n".join(["| key | does |", "|---|---|", *rows])
