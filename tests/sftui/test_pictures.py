"""Whole screens, character by character, and what each cell says by its colour.

What is expected lies in `pictures/`: `NAME-WIDTHxHEIGHT.txt` are the characters,
`NAME-WIDTHxHEIGHT.roles.txt` the roles (`tests.pictures.roles`: a letter an `Role`, a
capital where bold). After a change that was meant, draw them anew and look at what moved:

    SFTUI_REDRAW=1 python -m pytest tests/sftui/test_pictures.py
    git diff tests/sftui/pictures
"""

import json
import os
import time
from datetime import datetime
from pathlib import Path

import pytest

from engine.journal.wire import encode
from engine.run import run_dir
from sftui.drawing.roles import Role
from tests import pictures
from tests.pictures import ROLES, Shot, made_up
from tests.sftui.fake_run import fake_run

FOLDER = Path(__file__).with_name("pictures")
REDRAW = "SFTUI_REDRAW"
WIDE, MIDDLE, NARROW = (160, 48), (120, 36), (80, 24)

SCREENS = [
    ("running", WIDE),
    ("running", MIDDLE),
    ("running", NARROW),
    ("cuda", MIDDLE),
    ("start-up", MIDDLE),
    ("paused", MIDDLE),
    ("finished", MIDDLE),
    ("failed", MIDDLE),
    ("diverging", MIDDLE),
    ("log-y", MIDDLE),
    ("accuracy", NARROW),
    ("charts", WIDE),
    ("charts", MIDDLE),
    ("charts", NARROW),
    ("charts-filter", MIDDLE),
    ("chart", NARROW),
    ("charts-none", NARROW),
    ("charts-grpo", WIDE),
    ("pinned", MIDDLE),
    ("help", MIDDLE),
    ("stop", NARROW),
]
"""Those of `made_up`, each at the sizes that are worth a look."""
MOST_LINES = 12
"""Lines of a difference that are shown."""


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """Times of day as everywhere."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("name", "size"), SCREENS, ids=lambda value: str(value))
async def test_a_screen_is_drawn_as_before(name, size):
    """The states of an invented run."""
    await check(name, made_up()[name], size)


async def test_a_screen_in_plain_ascii_is_drawn_as_before():
    """No character that such a terminal cannot print."""
    assert (await check("ascii", Shot(events=RUNNING, ascii=True), MIDDLE)).isascii()


async def test_a_screen_without_colours_has_the_same_characters_in_grey():
    """NO_COLOR takes the colours away and nothing else."""
    async with pictures.shown(Shot(events=RUNNING, no_color=True), MIDDLE) as app:
        strips = app.screen._compositor.render_strips()
        colours = {
            tuple(colour.triplet)
            for strip in strips
            for segment in strip
            if segment.style is not None
            for colour in (segment.style.color, segment.style.bgcolor)
            if colour is not None and colour.triplet is not None
        }
        compare(pictures.characters(app), FOLDER / "running-120x36.txt")
    assert len(colours) > 3
    assert all(max(colour) - min(colour) <= 1 for colour in colours)


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=str)
async def test_two_runs_on_one_chart_are_drawn_as_before(tmp_path, size):
    """`sftui compare`, the crosshair in the middle."""
    folders = tuple(write_run(tmp_path, name, seed) for name, seed in (("one", 0), ("two", 7)))
    await check("compare", Shot(compare=folders), size)


def test_every_picture_belongs_to_a_test():
    """A screen that is not drawn any more leaves no file behind."""
    drawn = [*SCREENS, ("ascii", MIDDLE), ("compare", WIDE), ("compare", NARROW)]
    names = {f"{name}-{w}x{h}{layer}.txt" for name, (w, h) in drawn for layer in ("", ".roles")}
    assert {path.name for path in FOLDER.iterdir()} == names


def test_a_cell_that_changed_is_pointed_at():
    """The line, before and after, and a mark under each cell."""
    said = difference("ab\ncdef\n", "ab\ncxeg\n")
    assert said.splitlines() == ["row 2", "  - cdef", "  + cxeg", "     ^ ^"]
    assert "row 3" in difference("a\nb\n", "a\nb\nc\n")
    assert difference("a\n", "a\n") == ""


async def test_another_role_of_a_cell_is_seen():
    """The second layer knows a colour that the characters do not show."""
    async with pictures.shown(Shot(events=RUNNING), NARROW) as app:
        before, words = pictures.roles(app), pictures.characters(app)
        panel = app.cockpit.dashboard.panels[0]
        panel.grid.styles[0, 0] = Role.BAD
        assert pictures.characters(app) == words
        assert pictures.roles(app) != before


# ---- the comparison ------------------------------------------------------------------------------

RUNNING = fake_run(until=288)


async def check(name: str, shot: Shot, size: tuple[int, int]) -> str:
    """The characters, once they and the roles were found to be what is expected."""
    stem = f"{name}-{size[0]}x{size[1]}"
    async with pictures.shown(shot, size) as app:
        words, roles = pictures.characters(app), pictures.roles(app)
    compare(words, FOLDER / f"{stem}.txt")
    compare(roles, FOLDER / f"{stem}.roles.txt")
    return words


def compare(now: str, file: Path) -> None:
    """Fails with the lines that differ; with `SFTUI_REDRAW` set, writes the file instead."""
    if os.environ.get(REDRAW):
        file.parent.mkdir(exist_ok=True)
        file.write_text(now, encoding="utf-8")
        return
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if said := difference(before, now):
        legend = ""
        if ".roles" in file.name:
            legend = (
                "  ".join(
                    f"{letter} {role.name}" for letter, role in zip(ROLES, Role, strict=False)
                )
                + "\n"
            )
        how = f"{REDRAW}=1 python -m pytest {Path(__file__).name}"
        pytest.fail(f"{file.name}\n{said}\n{legend}meant? {how}", pytrace=False)


def difference(before: str, now: str) -> str:
    """Rows that differ: as they were, as they are, and a mark under each cell that changed."""
    old, new = before.splitlines(), now.splitlines()
    said: list[str] = []
    rows = [y for y in range(max(len(old), len(new))) if old[y : y + 1] != new[y : y + 1]]
    for y in rows[:MOST_LINES]:
        a, b = ("".join(lines[y : y + 1]) for lines in (old, new))
        length = max(len(a), len(b))
        pairs = zip(a.ljust(length), b.ljust(length), strict=True)
        marks = "".join("^" if one != other else " " for one, other in pairs).rstrip()
        said += [f"row {y + 1}", f"  - {a}", f"  + {b}", f"    {marks}"]
    if len(rows) > MOST_LINES:
        said.append(f"and {len(rows) - MOST_LINES} more rows")
    return "\n".join(said)


def write_run(place: Path, name: str, seed: int) -> Path:
    """A run directory with the journal of an invented run."""
    run = run_dir.create(place / "runs", name, datetime(2026, 1, 1))
    run.manifest.write_text(json.dumps({"tokenizer_sha256": "t", "cwd": "/w"}))
    lines = [encode(event) for event in fake_run(seed=seed)]
    run.events.write_bytes(b"".join(lines))
    return run.path
