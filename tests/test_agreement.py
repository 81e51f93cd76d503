"""One verdict in all places: the screen's table and sentences, `show`, `compare` and the report."""

from __future__ import annotations

import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.run.run_dir import RunDir
from sftui import report, run_json
from sftui.commands import show
from sftui.compare import compare_text, comparison
from sftui.compare.overlay_feed import open_overlay
from sftui.drawing.canvas import Grid
from sftui.drawing.roles import Role, parts
from sftui.sources import snapshot
from sftui.sources.snapshot import Snapshot
from sftui.state.run_state import RunState
from sftui.statistics.paired_tests import CLEAR
from sftui.statistics.scores import Scoreboard
from sftui.statistics.validation_scores import LossBoard
from sftui.view.view import View
from sftui.widgets.benchmarks import Benchmarks
from sftui.widgets.overlay_details import OverlayDetails
from sftui.widgets.validation_table import ValidationTable
from tests import honesty_sim
from tests.conftest import examples

ITEMS = 120
GOOD_OR_BAD = {Role.GOOD, Role.BAD}


def answers(seed: int, tasks: int, evals: int, gain: float) -> dict[tuple[str, int], Any]:
    """(task, step) -> right or wrong; the accuracy changes by `gain`."""
    rng, right = np.random.default_rng(seed), {}
    for task in range(tasks):
        hard = rng.normal(size=ITEMS)
        for k in range(evals):
            level = 0.3 - gain * k / max(1, evals - 1)
            right[f"T{task}", 10 * k] = hard + 0.6 * rng.normal(size=ITEMS) > level
    return right


def validations(seed: int, evals: int, drift: float) -> list[tuple[int, float, NDArray[Any]]]:
    """(step, loss, losses row by row)."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(1.3, 0.3, 60)
    found = [rows + drift * k / evals + rng.normal(0, 0.02, 60) for k in range(evals)]
    return [(10 * k, float(each.mean()), each) for k, each in enumerate(found)]


worlds = st.tuples(
    st.integers(0, 10**6),
    st.integers(1, 2),
    st.integers(2, 6),
    st.sampled_from([-0.6, -0.3, 0.0, 0.3, 0.6]),
    st.sampled_from([-0.1, 0.0, 0.02]),
)


def written(
    root: str, right: dict[tuple[str, int], Any], vals: list[tuple[int, float, Any]]
) -> RunDir:
    """A run with these answers and validations, as the simulation writes one for its reports."""
    before = set(Path(root).iterdir())
    honesty_sim.made(root, right, vals)
    [path] = set(Path(root).iterdir()) - before
    return RunDir(path)


def drawn(kind: type[Benchmarks | ValidationTable], shot: Snapshot) -> Grid:
    """A panel of the screen over this run."""
    assert shot.run is not None
    view = View(now=lambda: 0.0, board=Scoreboard(shot.run.path), losses=LossBoard(shot.run.path))
    grid = Grid(40, 400)
    kind(shot.state, view, id="panel").paint(grid)
    return grid


@given(worlds)
@examples(15)
def test_screen_show_and_report_say_the_same(world: tuple[int, int, int, float, float]) -> None:
    """Sentence for sentence, and no colour without the word."""
    seed, tasks, evals, gain, drift = world
    with tempfile.TemporaryDirectory() as root:
        right = answers(seed, tasks, evals, gain)
        run = written(root, right, validations(seed, evals, drift))
        shot = snapshot.read(str(run.path))
        said = "\n".join(show.summary_lines(shot))
        text = report.markdown(report.open_facts(str(run.path), command="x"), "en", stem="r")
        told = json.loads(run_json.as_json(shot))["stages"][0]["evals"]
        grid = drawn(Benchmarks, shot)
        screen = "\n".join(line.rstrip(" │") for line in grid.lines())
        last = 10 * (evals - 1)
        for number in range(tasks):
            task = f"T{number}"
            on_show = re.search(rf"{task} at step {last} against the start: (.+)", said)
            on_screen = re.search(rf"{task} vs start: (.+)", screen)
            in_report = re.search(rf"{task} .*? points from the start.*?: \*\*(.+?)\*\*", text)
            assert on_show
            assert on_screen
            assert in_report
            assert on_show[1] == on_screen[1]
            word = on_show[1].split(",")[0]
            assert in_report[1] == word
            [entry] = [each for each in told if each["task"] == task and each["step"] == last]
            assert entry["against"]["start"]["verdict"] == word
            assert (colours(grid, "Δstart", number) != set()) == (word == CLEAR)
        assert_loss_agrees(shot, text)


def assert_loss_agrees(shot: Snapshot, text: str) -> None:
    """The newest row of the table has a colour where the report's verdict has a direction."""
    word = re.search(r"\*\*Validation:\*\* (better|worse|no clear change|not known)", text)
    assert word
    coloured = colours(drawn(ValidationTable, shot), "Δstart", 0) != set()
    assert coloured == (word[1] in ("better", "worse"))


def colours(grid: Grid, head: str, number: int) -> set[Role]:
    """Good or bad, of the newest row under the `number`-th column of this head."""
    [at] = [i for i, line in enumerate(grid.lines()[:4]) if head in line]
    ends = [found.end() for found in re.finditer(head, grid.lines()[at])]
    cell = grid.styles[at + 1, ends[number] - 7 : ends[number]]
    return {parts(int(style))[0] for style in cell} & GOOD_OR_BAD


@given(worlds, st.integers(0, 10**6))
@examples(8)
def test_compare_says_the_same_printed_on_the_screen_and_as_json(
    world: tuple[int, int, int, float, float], other: int
) -> None:
    """Two runs side by side: one verdict a task, however it is asked for."""
    seed, tasks, evals, gain, drift = world
    with tempfile.TemporaryDirectory() as root:
        paths = [
            str(
                written(root, answers(one, tasks, evals, each), validations(one, evals, drift)).path
            )
            for one, each in ((seed, gain), (other, 0.0))
        ]
        found = comparison.compare_all(paths, None)
        printed = compare_text.result_lines(found[0])
        told = json.loads(comparison.as_json(found))
        screen = details_of(paths)
        for pair in told["tasks"]:
            [line] = [line for line in printed if line.startswith(f"{pair['task']}: ")]
            said = line.split("; B - A ")[1].split("; not paired")[0]
            assert said.split(",")[0] == pair["verdict"]
            assert f"B - A {said}" in screen
        [validation] = [line for line in printed if line.startswith("validation: ")]
        assert validation.split("; ", 1)[1] in screen
        whole = " ".join(compare_text.as_text(found, 100, 30).split())
        for text in (screen, whole):
            assert "A verdict is of these checkpoints, not of recipes" in text


def details_of(paths: list[str]) -> str:
    """What the screen of several runs says of the second against the first."""
    feed = open_overlay(paths)
    while feed.overlay.loading:
        feed.poll()
    deadline = time.monotonic() + 20
    while feed.overlay.comparison() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    grid = Grid(60, 1000)
    OverlayDetails(RunState(), feed.overlay, id="details").paint(grid)
    return "\n".join(" ".join(line.split()) for line in grid.lines())
