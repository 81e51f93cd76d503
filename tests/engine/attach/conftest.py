"""Trainers of other people warn of their own future; only our own warnings are errors here."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(autouse=True)
def _no_keeper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test is a folder of its own, started by nobody's keeper."""
    monkeypatch.chdir(tmp_path)
    for name in ("SFTUI_RUN_DIR", "SFTUI_ATTEMPT", "SFTUI_RUNS", "SFTUI_FIRST_SEQ"):
        monkeypatch.delenv(name, raising=False)
