"""The product's own words and verdicts, held to the truth of known worlds: a lighter form of
`tests/honesty_sim.py`, whose worlds and limits these are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import honesty_sim


@pytest.fixture
def broken() -> Iterator[list[str]]:
    """The limits that were broken."""
    honesty_sim.FAILED.clear()
    yield honesty_sim.FAILED
    honesty_sim.FAILED.clear()


def test_no_sentence_says_what_its_numbers_do_not_carry(broken: list[str]) -> None:
    """Harm, hints of harm, an unmeasured start, what can be seen, and one estimand."""
    honesty_sim.words(0)
    assert broken == []


def test_the_seed_does_not_change_what_is_asked(broken: list[str]) -> None:
    """Questions and validation rows."""
    honesty_sim.exam(0)
    assert broken == []


def test_validations_without_rows_are_judged_by_their_scatter(broken: list[str]) -> None:
    """Noise is not called a change; a rise of many scatters is."""
    honesty_sim.validation(60)
    assert broken == []


@pytest.mark.slow
def test_a_run_in_which_nothing_changed_is_not_coloured(broken: list[str]) -> None:
    """Cells and headline, in five worlds."""
    honesty_sim.judge(60)
    assert broken == []


@pytest.mark.slow
def test_a_gain_that_a_paired_test_sees_is_said(broken: list[str]) -> None:
    """At two correlations and three sizes."""
    honesty_sim.power(60)
    assert broken == []
