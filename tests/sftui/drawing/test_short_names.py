"""Names in the width of a column: never two alike."""

from hypothesis import given
from hypothesis import strategies as st

from sftui.drawing.canvas import text_width
from sftui.drawing.short_names import short_names


def test_tasks_are_shortened_as_people_do() -> None:
    tasks = ["ARC-Easy", "ARC-Challenge", "MMLU", "GSM8K", "HumanEval", "SpellingBee"]
    assert list(short_names(tasks, 6).values()) == [
        "ARC-E", "ARC-C", "MMLU", "GSM8K", "HumEv", "Spell",
    ]  # fmt: skip


def test_what_all_share_is_left_out() -> None:
    names = ["Starter-Facts", "Starter-Lists"]
    assert list(short_names(names, 6).values()) == ["Facts", "Lists"]
    assert short_names(["Starter-Facts"], 20) == {"Starter-Facts": "Starter-Facts"}


@given(
    st.lists(st.text("abAB-_ 1字", min_size=1, max_size=20), min_size=1, max_size=12, unique=True),
    st.integers(5, 12),
)
def test_no_two_are_alike_and_none_is_too_wide(names: list[str], cells: int) -> None:
    found = short_names(names, cells)
    assert set(found) == set(names)
    assert len(set(found.values())) == len(names)
    assert all(text_width(short) <= cells for short in found.values())
