"""Typed lines: one table, and what is read, suggested and foretold from it."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from sftui.actions.verb_actions import VerbActions
from sftui.app import SftuiApp
from sftui.state.run_state import RunState
from sftui.verbs.completion import Around, files, suggest
from sftui.verbs.preview import preview
from sftui.verbs.typed import read
from sftui.verbs.verb_table import GROUPS, VERBS, action_of, by_name, markdown, wordless
from tests.sftui.fake_run import fake_run

LINES = [(line, verb) for verb in VERBS for line in verb.examples]


@pytest.mark.parametrize(("line", "verb"), LINES, ids=[line for line, _ in LINES])
def test_an_example_of_the_table_is_a_line_that_is_understood(line, verb):
    """In the mode of its verb, and something is done for it."""
    typed = read(line, verb.mode or "live")
    assert typed.verb is verb
    if typed.alone:
        name = action_of(verb).split("(")[0]
        assert hasattr(SftuiApp, f"action_{name}")
    else:
        assert hasattr(VerbActions, f"verb_{verb.name}")


def test_every_verb_has_an_example_a_group_and_a_row_in_the_docs():
    """Names are unique; a verb with arguments has an example with them."""
    assert len({verb.name for verb in VERBS}) == len(VERBS)
    rows = markdown()
    for verb in VERBS:
        assert verb.group in GROUPS
        assert verb.examples, verb.name
        assert not verb.arguments or any(" " in line for line in verb.examples), verb.name
        assert f"`:{verb.usage}` | {verb.help}" in rows


def test_every_key_that_is_no_move_has_a_verb():
    """What a key does can be typed."""
    assert wordless() == []


MISTAKES = [
    ("lrr 0.5", "live", "did you mean lr?"),
    ("lr", "live", "`lr 0.5`"),
    ("lr two", "live", "`lr 0.5`"),
    ("lr 0", "live", "above 0"),
    ("lr nan", "live", "above 0"),
    ("lr 101", "live", "up to 100"),
    ("pause in", "live", "`pause in 50`"),
    ("pause in -3", "live", "1 or more"),
    ("pause in 5 minutes", "live", "`pause in 50`"),
    ("resume soon", "live", "`resume 50`"),
    ("eval MMLU many", "live", "`eval MMLU 200`"),
    ("eval MMLU 1 2", "live", "`eval MMLU 200`"),
    ("compare", "live", "`compare last`"),
    ("baseline", "live", "`baseline FILE`"),
    ("report fr", "live", "en, zh"),
    ("x stepp", "live", "did you mean step?"),
    ("panel lss", "live", "did you mean loss?"),
    ("stop now", "live", "`stop` alone"),
    ("speed 60", "live", "over a replay"),
    ("speed 0", "replay", "`speed 60`"),
    ("pause", "replay", "this is a replay"),
    ("", "live", "type a verb"),
    ("zzzzzz", "live", "`help` lists the keys"),
]


@pytest.mark.parametrize(("line", "mode", "hint"), MISTAKES, ids=[line for line, _, _ in MISTAKES])
def test_a_line_that_is_wrong_says_what_to_type(line, mode, hint):
    """What was found, what is taken, what to type."""
    with pytest.raises(UsageError) as found:
        read(line, mode)
    assert hint in str(found.value)


def test_numbers_and_words_of_a_line_are_kept():
    """As they were typed, with separators and signs that people use."""
    assert read("pause in 1,000 steps").number == 1000
    assert read("pause 50").number == 50
    assert read(":lr x0.5").number == 0.5
    assert read("  lr   0.5  ").number == 0.5
    assert read("eval MMLU 200").text == "MMLU"
    assert read("eval MMLU 200").number == 200
    assert read("find lr  0.5").text == "lr  0.5"
    assert read("open a b.log").text == "a b.log"


def problem_of(line: str, mode: str) -> str:
    """What is said of a line; empty where it is understood."""
    try:
        read(line, mode)
    except UsageError as error:
        return str(error)
    return ""


@given(st.text(string.printable + "×ä\0", max_size=40), st.sampled_from(["live", "replay"]))
def test_any_text_is_a_line_or_a_sentence_and_never_more(line, mode):
    """Nobody's typing ends the screen."""
    around = Around(mode=mode, tasks=("MMLU",), runs=("one",), folder=Path("/nonexistent"))
    for row in suggest(line, around):
        assert row.line
    state = RunState()
    preview(line, state, mode)
    problem = problem_of(line, mode)
    assert problem == "" or problem.endswith((".", "?"))


@given(st.sampled_from(VERBS), st.data())
def test_every_beginning_of_a_verb_finds_it(verb, data):
    """Before what only has it in its help; the whole name finds it first."""
    begun = verb.name[: data.draw(st.integers(1, len(verb.name)))]
    names = [row.shown.split(" ")[0] for row in suggest(begun, Around(mode=verb.mode or "live"))]
    assert verb.name in names[: 1 + sum(v.name.startswith(begun) for v in VERBS)]
    if begun == verb.name:
        assert names[0] == verb.name


def test_what_works_elsewhere_is_not_offered():
    """Requests over a replay, the clock over a run."""
    live, replay = (
        {row.shown.split(" ")[0] for row in suggest("", Around(mode=mode))}
        for mode in ("live", "replay")
    )
    assert {"pause", "lr", "stop"} <= live - replay
    assert {"play", "speed", "stage"} <= replay - live


def test_recent_lines_stand_first_and_groups_in_their_order():
    """What was typed last is one key away; then the run, views and looks."""
    rows = suggest("", Around(recent=("lr 0.5", "charts", "lr 0.5")))
    assert [row.line for row in rows[:2]] == ["lr 0.5", "charts"]
    groups = list(dict.fromkeys(row.group for row in rows[2:]))
    assert groups == ["The run", "Views", "Looks"]


def test_arguments_are_completed(tmp_path):
    """Tasks, runs, files, themes and fixed words, by what was begun."""
    (tmp_path / "one.log").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / ".hidden").touch()
    around = Around(
        tasks=("MMLU", "ARC-Easy"), runs=("20260101-a", "20250101-b"), themes=("nord",),
        folder=tmp_path,
    )  # fmt: skip
    begun = ("eval M", "compare l", "compare 2026", "baseline o", "theme n", "x t", "stop ")
    lines = {text: [row.line for row in suggest(text, around)] for text in begun}
    assert lines["eval M"] == ["eval MMLU"]
    assert lines["compare l"] == ["compare last"]
    assert lines["compare 2026"] == ["compare 20260101-a"]
    assert lines["baseline o"] == ["baseline one.log"]
    assert lines["theme n"] == ["theme nord"]
    assert lines["x t"] == ["x tokens", "x time"]
    assert lines["stop "] == []
    assert files("", tmp_path) == ["folder/", "one.log"]
    assert files(".h", tmp_path) == [".hidden"]
    assert files("nowhere/x", tmp_path) == []


@pytest.fixture(scope="module")
def state():
    """An invented run at update 120."""
    found = RunState()
    for event in fake_run(until=120):
        found.apply(event)
    return found


@given(factor=st.floats(0.01, 100))
def test_the_preview_of_a_factor_is_the_rates_that_follow(state, factor):
    """Every group's rate of the newest step times the factor."""
    words = preview(f"lr {factor!r}", state)
    assert words.startswith(f"×1 → ×{factor:g}: ")
    from sftui.text import format as fmt

    for name in state.steps.names:
        if name.startswith("lr/"):
            rate = state.steps.last(name)
            expected = f"{name[3:]} {fmt.rate(rate)} → {fmt.rate(rate * factor)}"
            assert expected in words


def test_a_preview_says_what_would_happen(state):
    """At which step it pauses, which checkpoint is asked; nothing for what says it all."""
    assert "at about step 170" in preview("pause in 50", state)
    assert "step 100" in preview("eval MMLU 200", state)
    assert "200 questions" in preview("eval MMLU 200", state)
    assert preview("stop", state) == preview("lr", state) == preview("lr x", state) == ""
    assert "not known yet" in preview("lr 0.5", RunState())
    assert "no checkpoint" in preview("eval MMLU", RunState())


def test_every_verb_is_found_by_its_name():
    """And nothing by another."""
    assert all(by_name(verb.name) is verb for verb in VERBS)
    assert by_name("") is None
