"""Where the charts of a page are, and what keys make of it."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.view.chart_page import (
    LEAST_HEIGHT,
    LEAST_WIDTH,
    MOST,
    RANGES,
    ChartPage,
    Look,
    limits_of,
)
from sftui.view.chart_panels import ChartPanel

SIZES = {
    "width": st.integers(1, 300),
    "height": st.integers(1, 100),
    "count": st.integers(1, 300),
    "rows": st.integers(0, MOST),
    "columns": st.integers(0, MOST),
}


def panels(count: int) -> list[ChartPanel]:
    return [ChartPanel(key=f"p{i}", title=f"p{i}") for i in range(count)]


@given(**SIZES, full=st.booleans())
def test_every_chart_is_on_one_page_and_charts_neither_overlap_nor_are_cut(
    width, height, count, rows, columns, full
):
    """At every size, grid and number of charts."""
    page = ChartPage(rows=rows, columns=columns, full=full)
    shown = page.grid(width, height, count)
    seen: list[int] = []
    last = None
    for index in range(count):
        cells = page.cells(index, width, height, count)
        number, pages = page.page_of(index, width, height, count)
        assert index in [cell.place for cell in cells]
        assert 0 <= number < pages
        if number == last:
            continue
        last = number
        seen += [cell.place for cell in cells]
        free = {(x, y) for x in range(width) for y in range(height)} if width < 40 else None
        for cell in cells:
            assert cell.x >= 0
            assert cell.y >= 0
            assert cell.x + cell.width <= width
            assert cell.y + cell.height <= height
            assert cell.height >= LEAST_HEIGHT or shown[0] == 1
            assert cell.width >= LEAST_WIDTH or shown[1] == 1
            if free is not None:
                own = {
                    (x, y)
                    for x in range(cell.x, cell.x + cell.width)
                    for y in range(cell.y, cell.y + cell.height)
                }
                assert own <= free
                free -= own
        by_row: dict[int, list] = {}
        for cell in cells:
            by_row.setdefault(cell.y, []).append(cell)
        for row in by_row.values():
            assert all(a.x + a.width == b.x for a, b in pairwise(row))
    assert seen == list(range(count))


@given(**SIZES)
def test_a_grid_is_what_was_asked_for_as_far_as_there_is_room(width, height, count, rows, columns):
    """Never more than asked for, than fits, or than there are charts."""
    page = ChartPage(rows=rows, columns=columns)
    shown = page.grid(width, height, count)
    assert 1 <= shown[0] <= (rows or MOST)
    assert 1 <= shown[1] <= (columns or MOST)
    if width >= MOST * LEAST_WIDTH and height >= MOST * LEAST_HEIGHT and count >= MOST * MOST:
        assert not rows or shown[0] == rows
        assert not columns or shown[1] == columns
    # No row stays empty on a page that holds all charts.
    assert (shown[0] - 1) * shown[1] < count


@pytest.mark.parametrize(
    ("width", "height", "grid"), [(160, 45, (4, 4)), (120, 33, (3, 3)), (80, 21, (2, 2))]
)
def test_without_a_choice_the_grid_follows_the_screen(width, height, grid):
    """At the three sizes of terminal that are looked at."""
    assert ChartPage().grid(width, height, 100) == grid


@given(
    count=st.integers(1, 60),
    moves=st.lists(st.integers(-20, 20), max_size=10),
    turns=st.lists(st.integers(-3, 3), max_size=5),
)
def test_the_focus_is_always_on_a_chart(count, moves, turns):
    """However it is moved; the ends hold it."""
    page, all_panels = ChartPage(), panels(count)
    for by in moves:
        page.move(all_panels, by)
        assert page.focus in {panel.key for panel in all_panels}
    for by in turns:
        page.turn(all_panels, by, 160, 45)
        assert 0 <= page.focused(all_panels) < count
    page.move(all_panels, -1000)
    assert page.focused(all_panels) == 0
    page.turn(all_panels, 1000, 160, 45)
    assert page.focused(all_panels) == count - 1


def test_a_dropped_filter_is_the_one_before():
    """Escape while typing takes back what was typed; enter keeps it."""
    page = ChartPage(query="loss")
    page.begin("filter", page.query)
    page.type("loss !val")
    assert page.query == "loss !val"
    page.drop()
    assert (page.query, page.typing) == ("loss", "")
    page.begin("filter", page.query)
    page.type("kl")
    page.keep("")
    assert (page.query, page.typing) == ("kl", "")


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6))
def test_typed_limits_are_those_of_the_chart(low, span):
    """Any two numbers in order; everything else is refused with what to write."""
    page = ChartPage()
    page.begin("range")
    page.type(f"{low!r}:{low + span!r}")
    assert page.keep("loss") == ""
    assert page.look("loss").limits == (low, low + span)


@pytest.mark.parametrize("text", ["1", "2:1", "a:b", "1:1", "nan:2", "1:inf", "1:2:3", ":"])
def test_no_range_is_refused_with_what_to_write(text):
    assert limits_of(text) is None
    page = ChartPage()
    page.begin("range")
    page.type(text)
    assert "low:high" in page.keep("loss")
    assert page.look("loss").range == "eye"


def test_a_logarithmic_axis_takes_no_limit_at_zero():
    """In whichever order the two are asked for."""
    page = ChartPage()
    page.toggle_log_y("a")
    page.begin("range")
    page.type("0:1")
    assert "above 0" in page.keep("a")
    page.begin("range")
    page.type("0:1")
    page.keep("b")
    page.toggle_log_y("b")
    assert (page.look("b").log_y, page.look("b").limits) == (True, None)


def test_ranges_come_round_and_one_of_validation_alone_only_where_there_is_one():
    page, panel = ChartPage(), panels(1)[0]
    seen = []
    for _ in range(3):
        page.next_range(panel)
        seen.append(page.look("p0").range)
    assert seen == ["all", "zero", "eye"]
    assert set(seen) < set(RANGES)


LOOKS = st.builds(
    Look,
    log_y=st.booleans(),
    range=st.sampled_from(RANGES),
)


@given(
    rows=st.integers(0, MOST),
    columns=st.integers(0, MOST),
    pins=st.lists(st.text(max_size=10), unique=True, max_size=5),
    looks=st.dictionaries(st.text(max_size=10), LOOKS, max_size=5),
)
def test_what_is_kept_comes_back(rows, columns, pins, looks):
    """Through the file of preferences; what was not chosen is not written."""
    page = ChartPage(rows=rows, columns=columns, pins=pins, looks=looks)
    again = ChartPage()
    again.restore(json.loads(json.dumps(page.kept())))
    assert (again.rows, again.columns, again.pins) == (rows, columns, pins)
    for key, look in looks.items():
        assert again.look(key) == look


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)


@given(kept=st.fixed_dictionaries({}, optional=dict.fromkeys(("rows", "pins", "looks"), JSON)))
def test_a_file_that_somebody_edited_is_taken_as_far_as_it_makes_sense(kept):
    page = ChartPage()
    page.restore(kept)
    assert 0 <= page.rows <= MOST
    assert page.grid(160, 45, 20)
    assert all(isinstance(key, str) for key in page.pins)
