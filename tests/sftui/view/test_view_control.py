"""Who writes how a run is shown, and what the mouse asks of it."""

import ast
from pathlib import Path

import pytest

import sftui
from sftui.keys.preferences import Preferences
from sftui.state.records import Topic
from sftui.view.view import SMOOTHING, View
from sftui.view.view_control import ViewControl
from sftui.view.viewport import Extent
from sftui.widgets.zoom_chart import ChartMoved

ROOT = Path(sftui.__file__).parent
OWNERS = ("view", "cockpit")
"""Rooms whose modules write a view."""


def written_views(source: str) -> list[str]:
    """Assignments to a field of something called a view or a viewport, as they are written."""
    found = []
    for node in ast.walk(ast.parse(source)):
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else targets
        for target in targets:
            names = ast.unparse(target).split(".")
            if isinstance(target, ast.Attribute) and {"view", "viewport"} & set(names[:-1]):
                found.append(ast.unparse(target))
    return found


def test_widgets_screens_and_app_write_no_view():
    """A view is written by its control and the cockpit; whoever paints reads it."""
    assert written_views("self.view.viewport.columns = 3\nview.panel += 1\nself.view = View()") == [
        "self.view.viewport.columns",
        "view.panel",
    ]
    others = {
        str(path.relative_to(ROOT)): written
        for path in sorted(ROOT.rglob("*.py"))
        if path.relative_to(ROOT).parts[0] not in OWNERS
        and (written := written_views(path.read_text(encoding="utf-8")))
    }
    assert others == {}


def control(view: View, shown: list[Topic], extent: Extent | None = None) -> ViewControl:
    return ViewControl(view, extent=lambda: extent or Extent((0.0, 400.0), 80), show=shown.append)


@pytest.mark.parametrize(
    ("moved", "part", "cursor"),
    [
        (ChartMoved("zoom in", 100.0), (75.0, 175.0), 120.0),
        (ChartMoved("zoom in"), (85.0, 185.0), 120.0),
        (ChartMoved("zoom out", 100.0), None, 120.0),
        (ChartMoved("pan", 50.0), (100.0, 300.0), 120.0),
        (ChartMoved("pan", -500.0), (0.0, 200.0), 120.0),
        (ChartMoved("point", 60.0), (50.0, 250.0), 60.0),
        (ChartMoved("point"), (50.0, 250.0), None),
    ],
    ids=lambda value: str(value),
)
def test_the_mouse_moves_within_what_the_chart_drew_last(moved, part, cursor):
    """About the pointer, else the crosshair; all of the run is the end of zooming out."""
    shown: list[Topic] = []
    view = View(now=lambda: 0.0)
    view.viewport.part, view.viewport.cursor = (50.0, 250.0), 120.0
    control(view, shown).move(moved.apply)
    assert view.viewport.part == part
    assert view.viewport.cursor == cursor
    assert shown == [Topic.VIEW]


def test_what_moves_nothing_paints_nothing():
    """The pointer over the place it was at; panning while all is shown."""
    shown: list[Topic] = []
    view = View(now=lambda: 0.0)
    charts = control(view, shown)
    for moved in (ChartMoved("point"), ChartMoved("pan", 20.0), ChartMoved("zoom out", 3.0)):
        charts.move(moved.apply)
    assert shown == []


def test_an_odd_preference_is_not_taken():
    """A file of another version may name what is not there."""
    view = View(now=lambda: 0.0)
    control(view, []).prefer(Preferences(smoothing=len(SMOOTHING) + 1, x_axis="moons", log_y=True))
    assert (view.smoothing, view.x_axis, view.log_y) == (1, "step", True)
