"""Before each test of the sandbox."""

import pytest

from tests.engine.sandbox import leftovers


@pytest.fixture(autouse=True)
def children_before() -> None:
    """What is left behind is told from what was there."""
    leftovers.note_children()
