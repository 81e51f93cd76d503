"""A start searches for no cycles, and keeps none."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from engine.processes import collecting


class Node:
    """Garbage that only the search finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def dropped() -> weakref.ref[Node]:
    return weakref.ref(Node())


def test_nothing_is_searched_inside_and_searches_go_on_behind() -> None:
    searches: list[str] = []

    def heard(phase: str, _: dict[str, int]) -> None:
        searches.append(phase)

    gc.callbacks.append(heard)
    try:
        with collecting.put_off(collect=False):
            kept = [[index] for index in range(100_000)]
            assert searches == []
        assert gc.isenabled()
        assert gc.get_freeze_count() >= len(kept)
    finally:
        gc.callbacks.remove(heard)


def test_a_model_that_was_dropped_inside_does_not_stay() -> None:
    with collecting.put_off(collect=True):
        garbage = dropped()
    assert garbage() is None


def test_a_start_that_fails_searches_again() -> None:
    with pytest.raises(ValueError), collecting.put_off(collect=True):
        raise ValueError
    assert gc.isenabled()
