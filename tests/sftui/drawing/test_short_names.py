"""Names in the width of a column: never two alike."""

from hypothesis import given
from hypothesis import strategies as st

from sftui.drawing.canvas import text_width
from sftui.drawing.short_names import fit_end, fit_path, short_names


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


def test_a_long_name_keeps_its_end() -> None:
    """Which tells it from its neighbours; of a path whole parts, where one has room."""
    assert fit_end("train/update_ratio/lm_head", 12) == "…/lm_head"
    assert fit_end("train/update_ratio/lm_head", 24) == "…/update_ratio/lm_head"
    assert fit_end("train/update_ratio/lm_head", 6) == "…_head"
    assert fit_end("loss", 12) == "loss"


def test_rewards_of_a_trainer_keep_what_tells_them_apart() -> None:
    """TRL's `rewards/FUNCTION/mean` and `/std`: the end alone would be the same in all."""
    functions = ("soft_format_reward_func", "strict_format_reward_func", "correctness_reward_func")
    names = tuple(f"rewards/{name}/{what}" for name in functions for what in ("mean", "std"))
    shown = [fit_path(name, 24, names) for name in names]
    assert shown[0] == "soft_format_reward…/mean"
    assert shown[3] == "strict_format_rewar…/std"
    assert len(set(shown)) == len(names)


@given(
    st.lists(st.text("ab/_ 1字", min_size=1, max_size=30), min_size=1, max_size=30, unique=True),
    st.integers(6, 24),
)
def test_no_two_titles_of_a_page_are_alike(names: list[str], cells: int) -> None:
    shown = [fit_path(name, cells, tuple(names)) for name in names]
    assert len(set(shown)) == len(names)
    assert all(text_width(each) <= cells for each in shown)
