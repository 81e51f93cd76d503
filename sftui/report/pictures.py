"""The report's pictures, drawn by matplotlib from the data: SVG for pages, PNG for the rest.

The same data give the same bytes: no date, no random ids. Text from outside is never read
as mathematics, and words are English in both languages: matplotlib's own font has no
Chinese, and the caption says what there is to see.
"""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.files import written
from sftui.report.report_facts import Facts
from sftui.report.verdicts import chance_of
from sftui.statistics.accuracy import wilson
from sftui.text.clean import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BLOCKS = 800
"""Steps drawn one by one; of more, lowest and highest of a quarter as many blocks."""
MOST_TASKS = 8
_FONT_END = 0x250
"""Up to here, the end of Latin with its accents, the font has every character."""
COLOURS = ("#3465a4", "#cc6600", "#4e9a06", "#75507b", "#a40000", "#06989a", "#8f5902", "#555753")
SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "sftui",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.dpi": 100,
}


def names(facts: Facts, stem: str) -> dict[str, str]:
    """Which pictures there will be, and their file names without ending."""
    found = {}
    if len(facts.losses[1]) >= 2 or len(facts.finite_validations()) >= 2:
        found["loss"] = f"{stem}-loss"
    if any(_points(facts, task) for task in facts.tasks):
        found["accuracy"] = f"{stem}-accuracy"
    return found


def draw(facts: Facts, folder: Path, stem: str) -> list[Path]:
    """Write them; returns the files.

    Raises:
        OSError: the folder cannot be written.
    """
    matplotlib = quiet_matplotlib()
    # Not pyplot, which looks for a display; this class only draws into files.
    from matplotlib.figure import Figure  # noqa: PLC0415

    drawn = []
    settings: Any = SETTINGS  # the stubs want literal keys
    with matplotlib.rc_context(settings):
        for kind, name in names(facts, stem).items():
            figure = Figure(figsize=(8.0, 4.0), layout="constrained")
            (_loss if kind == "loss" else _accuracy)(facts, figure)
            for ending, metadata in (
                ("svg", {"Date": None, "Creator": None}),
                ("png", {"Software": None}),
            ):
                path = folder / f"{name}.{ending}"
                with written.replacing(path) as fresh:
                    figure.savefig(fresh, format=ending, metadata=metadata)
                drawn.append(path)
    return drawn


def quiet_matplotlib() -> Any:
    """matplotlib, whose log says nothing: where it cannot write into the home directory it has a
    folder of its own until the process ends, and would tell of it on stderr.

    Half a second of imports that only a picture is worth.
    """
    # Before the import, during which it looks for its folders.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib  # noqa: PLC0415  as above

    return matplotlib


def label(text: str, limit: int = 40) -> str:
    """Outside text that matplotlib's font can draw."""
    return "".join(c if ord(c) < _FONT_END else "?" for c in clean(text, limit))


def _loss(facts: Facts, figure: Figure) -> None:
    axes = figure.subplots()
    steps, values = facts.losses
    if len(values) >= 2:
        if len(values) <= MOST_BLOCKS:
            axes.plot(steps, values, color=COLOURS[0], alpha=0.3, linewidth=0.7)
        else:
            x, low, high = _band(steps, values)
            axes.fill_between(x, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
        centre, smooth = _smoothed(steps, values)
        axes.plot(centre, smooth, color=COLOURS[0], linewidth=1.3, label="training, smoothed")
    validations = facts.finite_validations()
    if validations:
        axes.plot(
            [s for s, _ in validations],
            [v for _, v in validations],
            color=COLOURS[1],
            marker="o",
            markersize=4,
            linewidth=1,
            label="validation",
        )
        best = min(validations, key=lambda pair: (pair[1], pair[0]))
        axes.plot(
            [best[0]],
            [best[1]],
            "o",
            markersize=9,
            markerfacecolor="none",
            color=COLOURS[1],
            label="best validation",
        )
    _marks(facts, axes)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    _legend(axes)
    _limit(axes, values, [v for _, v in validations])


def _legend(axes: Axes) -> None:
    """Above the picture: inside it there is no place that is free in every run."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=6, fontsize=8, frameon=False)


def _limit(axes: Axes, values: Any, validations: list[float]) -> None:
    """A single spike must not flatten the curve; it leaves through the top."""
    known = np.concatenate((np.asarray(values, dtype=float), np.asarray(validations, dtype=float)))
    if len(known) < 2:
        return
    low, high = float(known.min()), float(np.quantile(known, 0.995))
    high = max([high, *validations])
    room = 0.06 * (high - low) or 0.5
    axes.set_ylim(low - room, high + room)


def _marks(facts: Facts, axes: Axes) -> None:
    kinds: tuple[tuple[str, str, str, list[int | None]], ...] = (
        ("alarm", "#a40000", "v", [a.raised.step for a in facts.counts.alarms]),
        (
            "control",
            "#75507b",
            "s",
            [c.step for c in facts.state.controls if c.outcome == "applied"],
        ),
        (
            "checkpoint",
            "#555753",
            "D",
            [c.step for c in facts.state.checkpoints.values() if not c.exported],
        ),
    )
    for place, (name, colour, marker, found) in enumerate(kinds):
        at = sorted({step for step in found if step is not None})[:200]
        if at:
            heights = [0.02 + 0.04 * place] * len(at)
            # x in steps, y as a part of the height: along the lower edge.
            axes.plot(
                at,
                heights,
                marker,
                color=colour,
                markersize=4,
                transform=axes.get_xaxis_transform(),
                label=name,
                linestyle="none",
            )


def _band(steps: Any, values: Any) -> tuple[list[float], list[float], list[float]]:
    edges = np.linspace(0, len(values), MOST_BLOCKS // 4 + 1).astype(int)
    x, low, high = [], [], []
    for start, end in itertools.pairwise(edges.tolist()):
        x.append(float(steps[start:end].mean()))
        low.append(float(values[start:end].min()))
        high.append(float(values[start:end].max()))
    return x, low, high


def _smoothed(steps: Any, values: Any) -> tuple[Any, Any]:
    """Running mean over a fiftieth of the steps, thinned to what a picture can show."""
    window = min(len(values), max(5, len(values) // 50))
    sums = np.cumsum(np.concatenate(([0.0], values)))
    smooth = (sums[window:] - sums[:-window]) / window
    centre = steps[window // 2 : window // 2 + len(smooth)]
    stride = max(1, len(smooth) // (2 * MOST_BLOCKS))
    return centre[::stride], smooth[::stride]


def _points(facts: Facts, task: str) -> list[tuple[int, float, float, float]]:
    """(step, percent, low, high); the interval is empty where there are no counts."""
    out = []
    for step in facts.evaluated_steps(task):
        found = facts.state.evals[task][step]
        value = facts.board.evaluation(found).value
        if value is None:
            continue
        low = high = value
        if found.correct is not None and found.total:
            low, high = wilson(found.correct, found.total)
        out.append((step, 100 * value, 100 * low, 100 * high))
    return out


def _accuracy(facts: Facts, figure: Figure) -> None:
    axes = figure.subplots()
    levels: set[float] = set()
    shown = [task for task in facts.tasks if _points(facts, task)][:MOST_TASKS]
    last = max(facts.evaluated_steps(task)[-1] for task in shown)
    for i, task in enumerate(shown):
        found = _points(facts, task)
        # Beside each other, not on each other.
        shift = (i - (len(shown) - 1) / 2) * max(1.0, last / 150)
        colour = COLOURS[i % len(COLOURS)]
        middle = [p[1] for p in found]
        errors = [[max(0.0, p[1] - p[2]) for p in found], [max(0.0, p[3] - p[1]) for p in found]]
        axes.errorbar(
            [p[0] + shift for p in found],
            middle,
            yerr=errors,
            color=colour,
            marker="o",
            markersize=4,
            linewidth=1,
            elinewidth=0.8,
            capsize=2,
            label=label(task),
        )
        chance = chance_of(facts, task)
        if chance is not None:
            level = round(100 * chance, 1)
            # Two lines that a picture cannot tell apart are one.
            if all(abs(level - other) > 0.5 for other in levels):
                levels.add(level)
    for level in sorted(levels):
        axes.axhline(
            level, color="#555753", linewidth=0.9, linestyle="--", label=f"chance {level:g} %"
        )
    axes.set_xlabel("step")
    axes.set_ylabel("right answers, %")
    _legend(axes)
