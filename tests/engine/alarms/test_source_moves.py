"""Losses by source decide between over-fitting and a shift of the mixture."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from engine.alarms.alarm_engine import AlarmEngine
from engine.alarms.source_moves import source_moves

losses = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 20), max_size=6)


@pytest.mark.parametrize(
    ("now", "meaning"),
    [
        ({"a": 1.1, "b": 2.2}, "over-fitting"),
        ({"a": 1.1, "b": 1.8}, "shift"),
        ({"a": 1.1, "b": 2.0}, "unknown"),
        ({"a": 1.1, "b": 2.01}, "over-fitting"),
        ({"a": 1.1, "b": 1.99}, "unknown"),
        ({"a": 1.01, "b": 1.98}, "unknown"),
        ({"a": 0.9, "b": 1.8}, "unknown"),
        ({"a": 1.1}, "unknown"),
        ({"a": float("nan"), "b": 2.2}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_what_a_rise_comes_from(now: Mapping[str, float], meaning: str) -> None:
    """All up is over-fitting, some up and some down a shift; else it is not known."""
    assert source_moves({"a": 1.0, "b": 2.0}, now).meaning == meaning


@given(losses, losses)
def test_a_source_moves_one_way_at_most(before: dict[str, float], now: dict[str, float]) -> None:
    """And only those that both have are compared; the other way round, they swap."""
    found, back = source_moves(before, now), source_moves(now, before)
    assert not set(found.rose) & set(found.fell)
    assert {*found.rose, *found.fell} <= before.keys() & now.keys()
    assert found.sources == len(before.keys() & now.keys())
    assert not set(found.rose) & set(back.rose)


def overfitting_text(after: Mapping[str, float]) -> str:
    """The alarm of a validation that rises from step 350 on."""
    engine, calm = AlarmEngine(), {"code": 1.0, "chat": 1.0}
    events = [
        ev.ValidationFinished(step=50 * i, loss=1.0 + 0.001 * (i % 2), loss_by_source=calm)
        for i in range(8)
    ]
    events += [
        ev.ValidationFinished(step=400 + i, loss=1.03, loss_by_source=after) for i in (0, 50)
    ]
    raised = [a for e in events for a in engine.observe(e) if isinstance(a, ev.AlarmRaised)]
    assert [a.kind for a in raised] == ["overfitting"]
    return raised[0].text


def test_the_alarm_says_which_it_is() -> None:
    """Over-fitting wants fewer steps, a shift more of the rows that got worse."""
    text = overfitting_text({"code": 1.05, "chat": 1.01})
    assert "on every source (2): over-fitting. More steps are unlikely to help" in text
    text = overfitting_text({"code": 1.1, "chat": 0.96})
    assert "rose on code and fell on chat: a shift of the mixture. More rows of what" in text
    text = overfitting_text({})
    assert "for the second time. More steps" in text
