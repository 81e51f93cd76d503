"""The words that a person types to find a chart."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.view.chart_filter import parse

NAMES = ("loss", "val/loss", "rewards/chosen", "rewards/rejected", "kl", "lr/matrix", "rank 0/load")
PLAIN = st.text(alphabet="abcdefgh/_0123456789.", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", NAMES),
        ("loss", ("loss", "val/loss")),
        ("val loss", ("val/loss",)),
        ("loss !val", ("loss",)),
        ("kl | chosen", ("rewards/chosen", "kl")),
        ("rewards/* !chosen | kl", ("rewards/rejected", "kl")),
        ("LOSS", ("loss", "val/loss")),
        ("r*/?oad", ("rank 0/load",)),
        ("l*", ("loss", "lr/matrix")),
        ("!", NAMES),
        ("kl |", ("kl",)),
        ("| !", NAMES),
        ("nothing", ()),
    ],
)
def test_a_query_means_what_its_signs_say(query, found):
    """Space and, bar or, exclamation mark not, globs over the whole name; half a query is none."""
    assert tuple(name for name in NAMES if parse(query).matches(name)) == found


@given(name=PLAIN, a=PLAIN, b=PLAIN)
def test_signs_are_logic(name, a, b):
    """And, or and not of words are those of their results; their order does not matter."""
    has_a, has_b = parse(a).matches(name), parse(b).matches(name)
    assert has_a == (a in name)
    assert parse(f"{a} {b}").matches(name) == (has_a and has_b) == parse(f"{b} {a}").matches(name)
    assert parse(f"{a}|{b}").matches(name) == (has_a or has_b) == parse(f"{b} | {a}").matches(name)
    assert parse(f"!{a}").matches(name) is not has_a
    assert parse(f"!!{a}").matches(name) is has_a
    assert parse(f"{a} !{b} | !{a} {b}").matches(name) == (has_a != has_b)


@given(name=PLAIN, glob=st.text(alphabet="abc*?[]", min_size=1, max_size=8))
def test_a_glob_is_that_of_the_shell_without_brackets(name, glob):
    """Against the standard library's; a bracket is a bracket, as names have them."""
    if "*" in glob or "?" in glob:
        expected = fnmatch.fnmatchcase(name, glob.replace("[", "[[]"))
        assert parse(glob).matches(name) == expected


@given(query=st.text(max_size=300), name=st.text(max_size=40))
def test_anything_may_be_typed(query, name):
    """No text is refused, and what it says of a name does not depend on capitals."""
    assert parse(query).matches(name) in (True, False)


def test_a_glob_of_many_stars_is_answered_at_once():
    """A pattern that makes a naive matcher try every way to cut a long name."""
    assert not parse("*a" * 40 + "b").matches("a" * 120)
