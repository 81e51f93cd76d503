"""The charts of a page: which curves stand in one panel, and in which order the panels come.

Training and validation of one number share a panel (`loss` and `val/loss`, `rewards/chosen` and
`eval_rewards/chosen`), so do the groups of a learning rate, the sources of a loss, the ranks of
a machine, and the same number of several runs. Loss comes first, then what is judged by, then
rewards, the policy, rates, gradients, speed, memory, and all else by its path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from sftui.drawing.roles import Role
from sftui.state.catalog import ACCURACY, RATE, SOURCE, VALIDATION, Catalog, Entry
from sftui.state.run_state import RunState
from sftui.state.series import Series
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.chart_filter import ChartFilter

MOST_CURVES = 8
"""Curves of one run that are told apart in a panel; of more, the lowest and the highest are
drawn."""
Place = tuple[int, tuple[tuple[int, str], ...]]
MOST_NAME = 120
"""Characters of a name that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartRun:
    """One run whose numbers are drawn."""

    state: RunState
    letter: str = ""
    """What tells it from the others; empty where there is one run alone."""
    role: Role = Role.TRAIN
    """Colour of its curves, where there are several runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of a panel."""

    name: str
    """In the catalog of its run."""
    label: str
    """What tells it from the other lines of its panel."""
    series: Series
    error: Series | None = None
    split: str = ""
    """`train`, `val` or `test` where the name says so."""
    over_time: bool = False
    run: int = 0
    """Index of its run."""


def general(value: float | None) -> str:
    """Any number in at most eight cells: four digits, ten thousands as k and M."""
    if value is None:
        return fmt.UNKNOWN
    size = abs(value)
    if 0 < size < 1e-3:
        return fmt.rate(value)
    return fmt.si(value, 4) if size >= 10_000 else fmt.loss(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """How the numbers of a panel are written."""

    factor: float = 1.0
    """Times the number of the series: what the axis counts."""
    words: str = ""
    """After the title."""
    write: Callable[[float | None], str] = general
    """The number of the series in words, the unit included where it has one."""


@dataclass(slots=True, kw_only=True)
class ChartPanel:
    """Curves that share axes."""

    key: str
    """The same for this number in every run: pins and settings go by it."""
    title: str
    place: Place = (0, ())
    """Order on the page."""
    curves: list[Curve] = field(default_factory=list)

    @property
    def unit(self) -> Unit:
        return unit_of(self.curves[0].name)

    @property
    def has_validation(self) -> bool:
        """Whether a curve of it was measured on data that is not trained on."""
        return any(curve.split in ("val", "test") for curve in self.curves)

    @property
    def falls(self) -> bool:
        """Whether it is a loss: what it was at the start says least."""
        return self.place[0] <= _LOSS

    @property
    def over_time(self) -> bool:
        """Whether x is the wall clock."""
        return all(curve.over_time for curve in self.curves)


def chart_panels(runs: Sequence[ChartRun], wanted: ChartFilter | None = None) -> list[ChartPanel]:
    """All panels in order, with the curves that the filter asks for; without empty ones."""
    found: dict[str, ChartPanel] = {}
    for index, run in enumerate(runs):
        for key, title, curve in _curves(run, index):
            if wanted is not None and not wanted.matches(curve.name, title):
                continue
            panel = found.get(key)
            if panel is None:
                place = place_of(curve.name, key)
                panel = found[key] = ChartPanel(key=key, title=title, place=place)
            panel.curves.append(curve)
    for panel in found.values():
        names = {curve.name for curve in panel.curves}
        if len(names) == 1:
            # One source's loss is not the loss, nor one rank's memory the machine's.
            alone = panel.key in _FAMILY_TITLES and panel.key != SOURCE
            family = panel.title.partition(" by ")[0] if alone else ""
            panel.title = family or title_of(panel.curves[0].name)
    return sorted(found.values(), key=lambda panel: panel.place)


def _curves(run: ChartRun, index: int) -> Iterator[tuple[str, str, Curve]]:
    """Key and title of its panel, and the curve."""
    taken: set[tuple[str, str]] = set()
    loss_name = run.state.loss_name
    for entry in Catalog(run.state).entries():
        key, title, label, split = _panel_of(entry, loss_name)
        if (key, label) in taken:
            # Two numbers that differ in how they name the training alone, `loss` and `train_loss`.
            key, title = f"={entry.name}", title_of(entry.name)
        taken.add((key, label))
        curve = Curve(
            name=entry.name,
            label=_of_run(run.letter, label),
            series=entry.series,
            error=entry.error,
            split=split,
            over_time=entry.over_time,
            run=index,
        )
        yield key, title, curve


def _of_run(letter: str, label: str) -> str:
    """`A`, `A val`: the training is what a run is known by. Of one run alone its own name."""
    return letter if letter and label == "train" else f"{letter} {label}".strip()


def _panel_of(entry: Entry, loss_name: str) -> tuple[str, str, str, str]:
    """Key, title, label within the panel, split."""
    name = entry.name
    if entry.kind == "rank":
        rank, _, number = name.partition("/")
        key = f"rank/{number}"
        return key, _FAMILY_TITLES.get(key, f"{number} by rank"), rank, ""
    if entry.kind in ("rate", "source", "update") and "/" in name:
        family, _, member = name.partition("/")
        return family + "/", _FAMILY_TITLES.get(family + "/", family), _label(member), ""
    if entry.kind == "accuracy":
        return name, title_of(name), "", ""
    if entry.kind == "validation":
        metric, _, rows = name.removeprefix(VALIDATION).partition("/")
        return metric, title_of(metric), _label(rows) or "val", "val"
    if name == loss_name:
        return "loss", "loss", "train", "train"
    base, split = split_of(name)
    return base, title_of(base), split or "train", split


_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "eval", "dev"), "val"),
    "test": "test",
}
_WORDS = "|".join(sorted(_SPLITS, key=len, reverse=True))
_FIRST = re.compile(rf"({_WORDS})[/_.\-:](.+)", re.IGNORECASE)
_LAST = re.compile(rf"(.+)[/_.\-:]({_WORDS})", re.IGNORECASE)


@lru_cache(maxsize=4096)
def split_of(name: str) -> tuple[str, str]:
    """A name without the word for its data, and that data: `eval_loss` -> (`loss`, `val`)."""
    if match := _FIRST.fullmatch(name):
        return match[2], _SPLITS[match[1].lower()]
    if match := _LAST.fullmatch(name):
        return match[1], _SPLITS[match[2].lower()]
    return name, ""


# ---- words -----------------------------------------------------------------------------------

_TITLES = {
    "lr_mult": "lr ×",
    "grad_norm": "gradient norm",
    "tokens_per_second": "tokens/s",
    "seconds": "seconds a step",
    "since_start": "seconds since the start",
    "loss_rows_mean": "loss by row",
    "loss_micro_last": "last micro-batch loss",
}
_VALIDATIONS = {"loss": "validation loss", "bpb": "validation, bits a byte"}
"""By metric; of other rows than the first their name follows."""
_FAMILY_TITLES = {
    RATE: "learning rate by group",
    SOURCE: "loss by source",
    "grad_norms/": "gradient norm by group",
    "rank/memory_bytes": "memory by rank",
    "rank/load": "load by rank",
    "rank/power_watts": "power by rank",
    "rank/temperature_celsius": "temperature by rank",
    "rank/step_seconds": "seconds a step by rank",
}


def title_of(name: str) -> str:
    """The name as a title: ours in words, others as the log has it."""
    if title := _TITLES.get(name):
        return title
    family, _, member = name.partition("/")
    if member and (title := _FAMILY_TITLES.get(family + "/")):
        return f"{title}: {_label(member)}"
    if name.startswith(VALIDATION) and (title := _VALIDATIONS.get(member.partition("/")[0])):
        rows = member.partition("/")[2]
        return f"{title}: {_label(rows)}" if rows else title
    return _label(name.removeprefix(ACCURACY))


def _label(name: str) -> str:
    return clean(name, MOST_NAME)


_PLAIN = Unit()
_UNITS = (
    (ACCURACY, Unit(factor=100.0, words="%", write=fmt.percent)),
    (RATE, Unit(write=fmt.rate)),
)
_ENDS = (
    ("_bytes", Unit(factor=2.0**-30, words="GiB", write=fmt.size)),
    ("power_watts", Unit(words="W", write=fmt.si)),
    ("temperature_celsius", Unit(words="°C", write=fmt.si)),
    ("/load", Unit(words="%", write=fmt.si)),
    ("_per_second", Unit(write=fmt.si)),
)


def unit_of(name: str) -> Unit:
    """How the numbers of that name are written."""
    for start, unit in _UNITS:
        if name.startswith(start):
            return unit
    for end, unit in _ENDS:
        if name.endswith(end):
            return unit
    return _PLAIN


# ---- order -----------------------------------------------------------------------------------

_ORDER: tuple[tuple[int, frozenset[str]], ...] = (
    (3, frozenset({"reward", "rewards", "return", "returns", "margin", "margins"})),
    (1, frozenset({"loss", "losses", "nll", "bpb", "perplexity", "ppl", "xent"})),
    (2, frozenset({"accuracy", "acc", "accuracies", "f1", "em", "bleu", "rouge", "score"})),
    (2, frozenset({"scores", "win", "wins", "core", "chatcore", "pass", "exact"})),
    (4, frozenset({"kl", "entropy", "clip", "clipped", "logps", "logits", "completion"})),
    (4, frozenset({"completions", "advantage", "advantages", "policy", "sampling"})),
    (5, frozenset({"lr", "lrm", "rate", "momentum"})),
    (6, frozenset({"grad", "grads", "gradient", "norm", "update"})),
    (8, frozenset({"mem", "memory", "gpu", "cpu", "vram", "system", "power", "temperature"})),
    (7, frozenset({"second", "seconds", "sec", "time", "dt", "runtime", "throughput", "mfu"})),
    (7, frozenset({"tok", "tps", "speed", "ms", "flops"})),
)
_LOSS, _MEMORY, _REST, _CLOCKS = 1, 8, 9, 10
_CLOCK_NAMES = frozenset(
    {"epoch", "tokens", "supervised_tokens", "since_start", "step", "num_tokens"}
)
_TOKEN = re.compile(r"[a-z]+|\d+")


@lru_cache(maxsize=4096)
def place_of(name: str, key: str) -> Place:
    """Where the panel of a curve stands: its group, then its path, numbers by their size."""
    path = tuple((int(t), "") if t.isdecimal() else (-1, t) for t in _TOKEN.findall(key.lower()))
    if key == "loss":
        return 0, ()
    if key.startswith("rank/"):
        return _MEMORY, path
    if split_of(name)[0] in _CLOCK_NAMES:
        return _CLOCKS, path
    words = set(_TOKEN.findall(name.lower()))
    return next((group for group, known in _ORDER if words & known), _REST), path
