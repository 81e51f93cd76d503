"""Every verb of the screen, once: what `:` and the palette take, their help and `docs/keys.md`.

A verb is a word that a person types, with arguments; most have a key that does the same. `action`
is what a verb without arguments does; with arguments, `VerbActions` has a method of its name.
"""

from __future__ import annotations

from dataclasses import dataclass

from sftui.drawing.x_axis import AXES
from sftui.keys.key_table import SCREENS, TABLE, Key
from sftui.view.view import PANELS

GROUPS = {"run": "The run", "replay": "The replay", "views": "Views", "looks": "Looks"}
"""In the order of the palette."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One word and what may follow it."""

    name: str
    help: str
    """One sentence for the palette and the docs."""
    group: str
    """One of GROUPS."""
    arguments: str = ""
    """As people read them: `FACTOR` must be there, `[STEPS]` may."""
    examples: tuple[str, ...] = ()
    """Lines that work as they stand; the first is shown when a line is wrong."""
    choices: tuple[str, ...] = ()
    """Words for the first argument, where they are always the same."""
    mode: str = ""
    """`live` or `replay`, where it works there alone; empty = over both."""
    key: str = ""
    """Id of the key that does the same; empty where there is none."""
    action: str = ""
    """Textual action of the verb without arguments; empty: that of the key."""

    @property
    def required(self) -> bool:
        """Whether it does nothing without an argument."""
        return bool(self.arguments) and not self.arguments.startswith("[")

    @property
    def usage(self) -> str:
        """The verb and its arguments as they are typed."""
        return f"{self.name} {self.arguments}".strip()

    def works_in(self, mode: str) -> bool:
        """Whether it means something over a `live` run or a `replay`."""
        return self.mode in ("", mode)


VERBS: tuple[Verb, ...] = (
    # ---- the run ---------------------------------------------------------------------------
    Verb(
        name="pause",
        arguments="[in STEPS]",
        help="Pause training after this step, or after so many more.",
        group="run",
        mode="live",
        key="pause",
        action="ask_pause",
        examples=("pause in 50", "pause"),
        choices=("in",),
    ),
    Verb(
        name="resume",
        arguments="[STEPS]",
        help="Let a paused run go on, for so many steps or to its end.",
        group="run",
        mode="live",
        action="ask_resume",
        examples=("resume 50", "resume"),
    ),
    Verb(
        name="eval",
        arguments="[TASK [QUESTIONS]]",
        help="Evaluate before the next step; with a task, ask it of the newest checkpoint.",
        group="run",
        key="evaluate",
        examples=("eval MMLU 200", "eval"),
    ),
    Verb(
        name="lr",
        arguments="FACTOR",
        help="Multiply the learning rates of the schedule from the next step on.",
        group="run",
        mode="live",
        key="learning_rate",
        examples=("lr 0.5", "lr 1"),
        choices=("0.5", "0.1", "1", "2"),
    ),
    Verb(
        name="checkpoint",
        help="Save a checkpoint after this step.",
        group="run",
        mode="live",
        key="checkpoint",
        examples=("checkpoint",),
    ),
    Verb(
        name="cancel",
        help="Give up the evaluation that runs; training goes on.",
        group="run",
        mode="live",
        key="cancel_evaluation",
        examples=("cancel",),
    ),
    Verb(
        name="stop",
        help="Stop the run with a checkpoint (asks first).",
        group="run",
        mode="live",
        key="stop",
        examples=("stop",),
    ),
    # ---- the replay ------------------------------------------------------------------------
    Verb(
        name="play",
        help="Let the clock of the replay run, or stop it.",
        group="replay",
        mode="replay",
        key="play",
        examples=("play",),
    ),
    Verb(
        name="speed",
        arguments="TIMES",
        help="Play so many times as fast as it happened; `inf` shows all there is.",
        group="replay",
        mode="replay",
        examples=("speed 60", "speed inf"),
        choices=("1", "10", "60", "1000", "inf"),
    ),
    Verb(
        name="stage",
        help="The next stage of a log that holds several.",
        group="replay",
        mode="replay",
        key="stage",
        examples=("stage",),
    ),
    # ---- views -----------------------------------------------------------------------------
    Verb(
        name="open",
        arguments="[RUN or LOG]",
        help="Another run or log; alone, choose it from a list.",
        group="views",
        key="open_run",
        examples=("open FILE", "open"),
    ),
    Verb(
        name="compare",
        arguments="RUN or LOG",
        help="This run beside another: curves, settings, statistics. `last`: the run before.",
        group="views",
        examples=("compare last",),
        choices=("last",),
    ),
    Verb(
        name="past",
        arguments="[RUN or LOG]",
        help="The last run of the same model and data, or this one, as a pale line; again: away.",
        group="views",
        key="past_run",
        examples=("past FILE", "past"),
    ),
    Verb(
        name="baseline",
        arguments="FILE",
        help="Compare accuracies with those of a results file, a run or a log as well.",
        group="views",
        examples=("baseline FILE",),
    ),
    Verb(
        name="report",
        arguments="[en or zh]",
        help="Write the report of this run as Markdown with pictures.",
        group="views",
        action="write_report",
        examples=("report zh", "report"),
        choices=("en", "zh"),
    ),
    Verb(
        name="copy",
        help="Copy what the focused panel has under its cursor, to your terminal's clipboard.",
        group="views",
        key="copy",
        examples=("copy",),
    ),
    Verb(
        name="export",
        arguments="[svg, png or csv]",
        help="Write the chart as it is seen, as one kind of file or as all three.",
        group="views",
        key="export_chart",
        examples=("export png", "export"),
        choices=("svg", "png", "csv"),
    ),
    Verb(
        name="charts",
        help="Every number as a page of charts.",
        group="views",
        key="charts",
        examples=("charts",),
    ),
    Verb(
        name="checkpoints",
        help="Every checkpoint, and what can be done with it.",
        group="views",
        key="browse",
        examples=("checkpoints",),
    ),
    Verb(
        name="questions",
        help="Which questions were gained and lost between two evaluations.",
        group="views",
        key="questions",
        examples=("questions",),
    ),
    Verb(
        name="rows",
        help="The rows of this step as the model reads them, token by token.",
        group="views",
        key="rows",
        examples=("rows",),
    ),
    Verb(
        name="settings",
        help="Everything the run was asked to do and what it came to.",
        group="views",
        key="facts",
        examples=("settings",),
    ),
    Verb(
        name="panel",
        arguments="NAME",
        help="Bring a panel to the front.",
        group="views",
        examples=("panel log",),
        choices=PANELS,
    ),
    Verb(
        name="find",
        arguments="TEXT",
        help="Search the log.",
        group="views",
        key="search",
        examples=("find step",),
    ),
    Verb(
        name="filter",
        help="Show the next kind of log lines alone.",
        group="views",
        key="log_filter",
        examples=("filter",),
    ),
    Verb(
        name="wrap",
        help="Long lines of the log in as many rows as they need, or one row each.",
        group="views",
        key="log_wrap",
        examples=("wrap",),
    ),
    Verb(
        name="fold",
        help="Repeated warnings of the log as one line with their count, or every one.",
        group="views",
        key="log_fold",
        examples=("fold",),
    ),
    Verb(
        name="line",
        help="From the point of the chart to its line of the log, and back.",
        group="views",
        key="log_point",
        examples=("line",),
    ),
    Verb(
        name="validation",
        help="The table of validation losses in place of the benchmarks, and back.",
        group="views",
        key="table",
        examples=("validation",),
    ),
    Verb(
        name="maximise",
        help="The focused panel alone, or all panels.",
        group="views",
        key="maximise",
        examples=("maximise",),
    ),
    Verb(
        name="hide",
        help="Put the active alarms away until they are raised again.",
        group="views",
        key="hide_alarms",
        examples=("hide",),
    ),
    Verb(
        name="help",
        help="The keys that work here, and what the marks mean.",
        group="views",
        key="help",
        examples=("help",),
    ),
    Verb(
        name="quit",
        help="Close the screen; a run goes on, and `sftui attach` comes back.",
        group="views",
        key="quit",
        examples=("quit",),
    ),
    # ---- looks -----------------------------------------------------------------------------
    Verb(
        name="theme",
        arguments="[NAME]",
        help="Other colours; alone, choose them from a list.",
        group="looks",
        action="change_theme",
        examples=("theme sftui-night",),
    ),
    Verb(
        name="x",
        arguments="[AXIS]",
        help="Horizontal axis of the charts; alone, the next one.",
        group="looks",
        key="x_axis",
        examples=("x step", "x"),
        choices=AXES,
    ),
    Verb(
        name="range",
        help="Loss axis by the average and validation, by validation alone, all, or from 0.",
        group="looks",
        key="y_range",
        examples=("range",),
    ),
    Verb(
        name="log-y",
        help="Loss axis linear or logarithmic.",
        group="looks",
        key="log_y",
        examples=("log-y",),
    ),
    Verb(
        name="smooth",
        help="Next window of the drawn line; the last one shows every point.",
        group="looks",
        key="smooth",
        examples=("smooth",),
    ),
    Verb(
        name="fit",
        help="Steps so far, or the whole planned run.",
        group="looks",
        key="fit",
        examples=("fit",),
    ),
    Verb(
        name="all",
        help="All updates again, and no crosshair.",
        group="looks",
        key="reset_look",
        examples=("all",),
    ),
)

_BY_NAME = {verb.name: verb for verb in VERBS}
_KEYS = {key.id: key for key in TABLE}
_BY_KEY = {verb.key: verb for verb in VERBS if verb.key}


def by_name(name: str) -> Verb | None:
    """The verb of this name; None where there is none."""
    return _BY_NAME.get(name)


def verb_of_key(key: str) -> Verb | None:
    """The verb that does what the key of this id does."""
    return _BY_KEY.get(key)


def action_of(verb: Verb) -> str:
    """The Textual action of the verb alone; empty where it has only a method of its own."""
    if verb.action:
        return verb.action
    return _KEYS[verb.key].action if verb.key else ""


MOVES = frozenset(
    ["point_left", "point_right", "point_far_left", "point_far_right", "zoom_in", "zoom_out"]
    + ["next_event", "previous_event", "next_checkpoint", "previous_checkpoint"]
    + ["scrub_back", "scrub_on", "scrub_far_back", "scrub_far_on", "step_back", "step_on"]
    + ["slower", "faster", "next_mark", "previous_mark", "to_start", "to_end"]
    + ["next_panel", "previous_panel", "jump", "open_panel", "palette", "command", "more_steps"]
    + ["log_up", "log_down", "log_page_up", "log_page_down", "log_start", "log_end", "interrupt"]
    + [f"panel_{i}" for i in range(1, len(PANELS) + 1)]
)
"""Keys that move something by a little, or open the line itself: of no use as a word."""


def wordless() -> list[Key]:
    """Keys over a run or a replay that are no moves and yet have no verb: there should be none."""
    own = (*SCREENS, "search", "look")
    return [k for k in TABLE if k.mode not in own and k.id not in MOVES and k.id not in _BY_KEY]


def markdown() -> str:
    """The table of verbs in `docs/keys.md`."""
    rows = [
        f"| `:{verb.usage}` | {verb.help} | {_where(verb)} | {_shown(verb)} |" for verb in VERBS
    ]
    return "\n".join(["| verb | does | works over | key |", "|---|---|---|---|", *rows])


def _where(verb: Verb) -> str:
    return {"live": "a run", "replay": "a replay"}.get(verb.mode, "both")


def _shown(verb: Verb) -> str:
    return f"`{_KEYS[verb.key].shown}`" if verb.key else "none"
