"""Several runs on one chart: who is who, what a key does, what is followed, what is refused."""

import dataclasses
import json
import os
import time

import numpy as np
import pytest

from engine import events as ev
from engine.errors import UsageError
from sftui import cli, compare_app
from sftui.compare.overlay_feed import FRESH_SECONDS, open_overlay
from sftui.compare.overlay_reading import OverlayReading
from sftui.compare_app import CompareApp
from sftui.drawing.canvas import BRAILLE, Grid
from sftui.drawing.roles import Role, parts
from sftui.keys import key_table
from sftui.screens.overlay import OverlayScreen, boxes
from sftui.state.run_state import RunState
from sftui.terminal import ascii_glyphs
from sftui.widgets.overlay_chart import OverlayChart
from sftui.widgets.overlay_list import _shortened
from tests.sftui.compare.test_comparison import BEFORE, NOW, make


def write_log(folder, name: str, *, start: float, steps: int = 200, old: bool = True):
    """A CSV log whose loss falls from `start`, a validation every fifty steps."""
    path = folder / f"{name}.csv"
    rows = ["step,loss,val_loss,grad_norm"]
    for step in range(steps):
        rows.append(f"{step},{start / (1 + step / 50):.5f},,{1 + step % 7}")
        if step % 50 == 49:
            rows.append(f"{step},,{start / (1 + step / 50) + 0.1:.5f},")
    path.write_text("\n".join(rows) + "\n")
    if old:
        then = time.time() - 2 * FRESH_SECONDS
        os.utime(path, (then, then))
    return path


def three(folder):
    """Three logs, read to their ends."""
    logs = [write_log(folder, f"log{i}", start=2.0 + i) for i in range(3)]
    feed = open_overlay([str(log) for log in logs])
    read(feed)
    return feed


def read(feed) -> None:
    while feed.overlay.loading:
        feed.poll()


def chart(overlay, rows: int = 30, columns: int = 90) -> Grid:
    grid = Grid(rows, columns)
    OverlayChart(RunState(), overlay, id="chart").paint(grid)
    return grid


def cells_of(grid: Grid, role: Role) -> int:
    """Braille cells of one colour."""
    dots = (grid.codes > BRAILLE) & (grid.codes < BRAILLE + 256)
    colours = np.vectorize(lambda number: parts(int(number))[0] == role)(grid.styles)
    return int((dots & colours).sum())


# ---- the chart ----------------------------------------------------------------------------------


def test_every_run_has_its_letter_its_mark_and_its_colour(tmp_path):
    """No run is told from another by hue alone."""
    overlay = three(tmp_path).overlay
    grid = chart(overlay)
    plain = "\n".join(grid.lines()[1:-1])
    for contender in overlay.contenders:
        assert contender.letter in plain
        assert contender.mark in plain
        assert cells_of(grid, contender.role) > 10
    assert len({c.role for c in overlay.contenders}) == 3
    assert len({c.mark for c in overlay.contenders}) == 3


def test_colours_stay_whatever_is_hidden_or_pinned(tmp_path):
    """The third run is the third run, alone on the chart too."""
    overlay = three(tmp_path).overlay
    before = [(c.letter, c.role, c.mark) for c in overlay.contenders]
    overlay.choose(-1)
    assert overlay.toggle() == ""
    grid = chart(overlay)
    assert cells_of(grid, overlay.contenders[0].role) == 0
    assert cells_of(grid, overlay.contenders[2].role) > 10
    overlay.choose(2)
    overlay.pin()
    assert overlay.reference.letter == "C"
    assert [(c.letter, c.role, c.mark) for c in overlay.contenders] == before


def test_the_last_run_in_sight_stays(tmp_path):
    """An empty chart would say nothing; and pinning shows what was hidden."""
    overlay = three(tmp_path).overlay
    for place in (1, 2):
        overlay.chosen = place
        assert overlay.toggle() == ""
    overlay.chosen = 0
    assert overlay.toggle() != ""
    assert [c.letter for c in overlay.shown] == ["A"]
    overlay.chosen = 2
    overlay.pin()
    assert [c.letter for c in overlay.shown] == ["A", "C"]
    overlay.show_all()
    assert len(overlay.shown) == 3


def test_equal_curves_take_turns(tmp_path):
    """Two runs on one line are both to be seen, not the last one painted alone."""
    logs = [write_log(tmp_path, name, start=2.0) for name in ("a", "b")]
    feed = open_overlay([str(log) for log in logs])
    read(feed)
    feed.overlay.view.smoothing = 3
    grid = chart(feed.overlay)
    shares = [cells_of(grid, c.role) for c in feed.overlay.contenders]
    assert min(shares) > 0.3 * sum(shares)


def test_the_crosshair_tells_every_value(tmp_path):
    """At the step under it, the smoothed loss of each run and its distance from the pinned."""
    overlay = three(tmp_path).overlay
    overlay.view.smoothing = 3
    overlay.view.viewport.cursor = 100.0
    text = "\n".join(chart(overlay).lines())
    for start in (2.0, 3.0, 4.0):
        assert f"{start / 3:.4f}" in text
    assert f"▲ {1 / 3:.4f}" in text
    assert "@99" in text


@pytest.mark.parametrize("columns", [60, 90])
@pytest.mark.parametrize("every", [3, 10, 200])
def test_what_a_person_did_is_whole_and_covers_no_validation(tmp_path, columns, every):
    """However many validations stand around it; at the edge too, and twice in one place."""
    overlay = three(tmp_path).overlay
    state = overlay.contenders[1].state
    for step in range(0, 200, every):
        state.apply(ev.ValidationFinished(step=step, loss=3.0 / (1 + step / 50)))
    before = "".join(chart(overlay, 14, columns).lines()).count("■")
    for number, step in enumerate((60, 61, 195)):
        state.apply(
            ev.ControlApplied(
                id=str(number), command="lr", argument=0.5, outcome="applied", step=step
            )
        )
    drawn = "".join(chart(overlay, 14, columns).lines())
    assert drawn.count("B lr ×0.5") == 3
    assert drawn.count("■") == before


def test_in_ascii_the_pinned_run_is_still_told_from_the_others(tmp_path):
    """By the characters of the curves, the letters at their ends and the marks."""
    overlay = three(tmp_path).overlay
    overlay.chosen = 1
    overlay.pin()
    grid = chart(overlay)
    rows = [ascii_glyphs.plain(c, s) for c, s in zip(grid.codes, grid.styles, strict=True)]
    text = "\n".join("".join(map(chr, row)) for row in rows[1:-1])
    assert "?" not in text
    assert text.count("#") > 20
    assert text.count(":") > 20
    for letter in "ABC":
        assert letter in text


def test_another_unit_has_no_place_on_the_axis(tmp_path):
    """Bits a byte are not drawn beside nats."""
    overlay = three(tmp_path).overlay
    chart_of = OverlayReading(overlay)
    assert len(chart_of.comparable_validations(overlay.contenders[1])) == 4
    validations = overlay.contenders[1].state.validations
    for validation in list(validations.values()):
        validations.put(dataclasses.replace(validation, metric="bpb"))
    assert chart_of.comparable_validations(overlay.contenders[1]) == []


@pytest.mark.parametrize("size", [(200, 60), (160, 48), (120, 36), (80, 24), (60, 16), (20, 5)])
@pytest.mark.parametrize("runs", [2, 3, 20])
def test_panels_fill_the_screen_and_never_overlap(size, runs):
    """Every cell belongs to one panel."""
    for big in (False, True):
        seen = np.zeros((size[1], size[0]), dtype=int)
        for box in boxes(*size, runs, big=big).values():
            assert box.width > 0
            assert box.height > 0
            seen[box.y : box.y + box.height, box.x : box.x + box.width] += 1
        assert (seen == 1).all()


# ---- the screen ---------------------------------------------------------------------------------


async def test_every_key_of_the_screen(tmp_path, monkeypatch):
    """Each does what its words say, and the screen stays up."""
    monkeypatch.chdir(tmp_path)  # charts are written here
    feed = three(tmp_path)
    app, overlay = CompareApp(feed), feed.overlay
    view = overlay.view
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause()
        assert isinstance(app.screen, OverlayScreen)
        expect = {
            "down": lambda: overlay.chosen == 2,
            "up": lambda: overlay.chosen == 1,
            "j": lambda: overlay.chosen == 2,
            "k": lambda: overlay.chosen == 1,
            "space": lambda: overlay.contenders[1].hidden,
            "h": lambda: overlay.axis_name == "share",
            "a": lambda: len(overlay.shown) == 3,
            "c": lambda: overlay.number == "grad_norm",
            "C": lambda: overlay.number == "loss",
            "p": lambda: overlay.pinned == 1 and overlay.chosen == 0,
            "enter": lambda: overlay.pinned == 0 and overlay.chosen == 1,
            "l": lambda: view.log_y,
            "s": lambda: view.smoothing == 1,
            "left": lambda: view.viewport.cursor is not None,
            "right": lambda: view.viewport.cursor is not None,
            "shift+left": lambda: view.viewport.cursor < 190,
            "shift+right": lambda: view.viewport.cursor is not None,
            "y": lambda: "step" in app.clipboard,
            "Y": lambda: list(tmp_path.glob("*.csv")),
            "plus": lambda: view.viewport.part is not None,
            "equals_sign": lambda: view.viewport.part[1] - view.viewport.part[0] < 60,
            "minus": lambda: view.viewport.part[1] - view.viewport.part[0] > 60,
            "0": lambda: view.viewport.part is None and view.viewport.cursor is None,
            "pagedown": lambda: overlay.scrolled >= 0,
            "pageup": lambda: overlay.scrolled == 0,
            "z": lambda: "runs" not in app.board.boxes(app.screen.size),
            "question_mark": lambda: app.screen is not app.board,
            "escape": lambda: app.screen is app.board,
            "m": lambda: app.board.front is app.screen is not app.board,
        }
        for key, holds in expect.items():
            await pilot.press(key)
            await pilot.pause()
            assert holds(), key
        await pilot.press("m", "plus", "escape")
        await pilot.pause()
        assert view.viewport.part is None
        told = {k for key in key_table.DEFAULT_KEYS.of_mode("compare") for k in key.keys.split(",")}
        assert told - set(expect) == {"q", "ctrl+c"}
        await pilot.press("q")
    assert app.return_code == 0


async def test_ctrl_c_closes(tmp_path):
    """As q does: nothing of the runs depends on this screen."""
    app = CompareApp(three(tmp_path))
    async with app.run_test() as pilot:
        await pilot.press("ctrl+c")
    assert not app.is_running


async def test_a_key_in_the_help_does_nothing_behind_it(tmp_path):
    """The help closes; the run behind it is not hidden."""
    feed = three(tmp_path)
    app = CompareApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("question_mark")
        await pilot.press("space", "escape", "escape")
        await pilot.pause()
        assert app.screen is app.board
        assert len(feed.overlay.shown) == 3


async def test_the_mouse_points_zooms_and_chooses(tmp_path):
    """Hovering tells the values there; a click on a row chooses it."""
    feed = three(tmp_path)
    app, viewport = CompareApp(feed), feed.overlay.view.viewport
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause()
        await pilot.hover("#chart", offset=(30, 10))
        await pilot.pause()
        assert viewport.cursor is not None
        await pilot.click("#runs", offset=(5, 3))
        await pilot.pause()
        assert feed.overlay.chosen == 2


@pytest.mark.parametrize("size", [(160, 48), (120, 36), (80, 24), (40, 10), (20, 5)])
async def test_paired_statistics_stand_beside_the_chart(tmp_path, size):
    """What `compare --json` says of two runs, the screen says; and nothing raises when small."""
    a = make(tmp_path, "a", right=10, losses=BEFORE, matrix_lr=0.02)
    b = make(tmp_path, "b", right=30, losses=NOW, matrix_lr=0.04)
    feed = open_overlay([str(a), str(b)])
    app = CompareApp(feed)
    async with app.run_test(size=size) as pilot:
        while feed.overlay.loading:
            await pilot.pause(0.02)
        await pilot.pause()
        details = app.board.details
        grid = Grid(40, 70)
        details.paint(grid)
        text = "\n".join(grid.lines())
        assert "B against A (pinned)" in text
        assert "+0.0200 nats" in text
        assert "20 gained, 0 lost" in text
        assert "matrix_lr" in text
        # What is copied is whole at any size: no line broken, no name cut, nothing scrolled away.
        lines = details.copied().splitlines()
        assert lines[0] == "B against A"
        assert any("+0.0200 nats" in line and "paired over 8 rows" in line for line in lines)
        assert [line.split() for line in lines if "matrix_lr" in line] == [
            ["matrix_lr", "0.02", "0.04"]
        ]
        runs = app.board.panels[1].copied().splitlines()
        for line, contender in zip(runs, feed.overlay.contenders, strict=True):
            assert line.startswith(f"{contender.letter} {contender.title}: finished, 3 steps, val ")
        await pilot.press("p")
        grid = Grid(40, 70)
        details.paint(grid)
        text = "\n".join(grid.lines())
        assert "A against B (pinned)" in text
        assert "-0.0200 nats" in text
    feed.close()


async def test_a_hostile_name_is_drawn_not_obeyed(tmp_path):
    """Markup and escapes in a file's name are letters."""
    name = "[red]a\x1b[31m"
    feed = open_overlay(
        [str(write_log(tmp_path, name, start=2.0)), str(write_log(tmp_path, "b", start=2.0))]
    )
    app = CompareApp(feed)
    async with app.run_test(size=(160, 48)) as pilot:
        while feed.overlay.loading:
            await pilot.pause(0.02)
        await pilot.pause()
        shown = app.board.panels[1].text()
    assert "[red]a" in shown
    assert "\x1b" not in shown


# ---- reading ------------------------------------------------------------------------------------


def test_a_log_that_grows_is_followed(tmp_path):
    """New lines come with the next polls; a log of yesterday is read once."""
    old = write_log(tmp_path, "old", start=2.0)
    new = write_log(tmp_path, "new", start=3.0, steps=100, old=False)
    feed = open_overlay([str(old), str(new)])
    try:
        read(feed)
        first, second = feed.overlay.contenders
        assert (first.follow, second.follow) == (False, True)
        assert not first.moving
        with new.open("a") as file:
            file.writelines(f"{step},0.5,,\n" for step in range(100, 150))
        while second.state.updates < 150:
            assert feed.overlay.moving
            feed.poll()
    finally:
        feed.close()


def test_a_bad_name_closes_what_was_opened(tmp_path):
    """One line; no thread reads on."""
    good = write_log(tmp_path, "a", start=2.0)
    with pytest.raises(UsageError, match="does not exist"):
        open_overlay([str(good), str(tmp_path / "nothing.log")])


# ---- the command --------------------------------------------------------------------------------


def test_a_terminal_gets_the_screen_and_a_pipe_the_words(tmp_path, monkeypatch, capsys):
    """`--plain` and `--json` print on a terminal too."""
    logs = [str(write_log(tmp_path, name, start=2.0)) for name in "abc"]
    opened = []

    def run_screen(targets, runs_dir, said, *, by, metric):
        assert (by, metric) == ("step", None)
        opened.append(targets)
        return cli.ExitCode.DONE

    monkeypatch.setattr(compare_app, "run_screen", run_screen)
    monkeypatch.setattr(cli, "_has_terminal", lambda: True)
    assert cli.main(["compare", *logs]) == 0
    assert opened == [logs]
    assert cli.main(["compare", *logs, "--plain"]) == 0
    out = capsys.readouterr().out
    for words in ("B against A", "C against A", "train C"):
        assert words in out
    assert cli.main(["compare", *logs, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [pair["b"]["source"]["path"] for pair in found["more"]] == logs[2:]
    monkeypatch.setattr(cli, "_has_terminal", lambda: False)
    assert cli.main(["compare", *logs[:2]]) == 0
    assert "more" not in json.loads(_json_of(logs[:2], capsys))
    assert opened == [logs]


def _json_of(logs, capsys) -> str:
    capsys.readouterr()
    assert cli.main(["compare", *logs, "--json"]) == 0
    return capsys.readouterr().out


def test_more_runs_than_letters_are_refused(tmp_path, capsys):
    """Exit code 2, and what to do."""
    log = str(write_log(tmp_path, "a", start=2.0))
    assert cli.main(["compare", *[log] * 27]) == 2
    assert "27 runs to compare; at most 26" in capsys.readouterr().err


def test_where_a_name_is_cut_its_time_goes_first():
    """What tells runs apart stands at the end of their ids."""
    assert _shortened("20260101-000000-gentle", 30) == "20260101-000000-gentle"
    assert _shortened("20260101-000000-gentle", 12) == "…gentle"
    assert _shortened("20260101-000000-a-longer-name", 8) == "…a-long…"
    assert _shortened("train.log", 6) == "train…"
