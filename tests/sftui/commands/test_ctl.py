"""`sftui ctl`: what is printed beside the answer."""

from __future__ import annotations

import pytest

from engine.events import ControlApplied, Stamp
from sftui.commands import ctl


def answered(t: float | None) -> ControlApplied:
    return ControlApplied(id="a", command="stop", stamp=Stamp(seq=1, t=t))


@pytest.mark.parametrize("t", [None, 96.0, 100.0, 103.0, 107.0])
def test_clocks_that_agree_are_not_mentioned(t: float | None) -> None:
    """The answer was made between the question at 100 and now, 103; a few seconds are nothing."""
    assert ctl.clocks_differ(answered(t), 100.0, 103.0) == ""


@pytest.mark.parametrize(
    ("t", "words"),
    [(100.0 - 6 * 3600, "6h 00m behind this"), (103.0 + 6 * 3600, "6h 00m ahead of")],
)
def test_clocks_that_differ_are_named_with_the_difference(t: float, words: str) -> None:
    """The machine on which one types is 6 hours off: "expired: read 21580 s too late"."""
    assert words in ctl.clocks_differ(answered(t), 100.0, 103.0)
