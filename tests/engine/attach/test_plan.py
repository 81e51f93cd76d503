"""`PLAN.md` names tests that exist, for each row of the plan and each obstacle."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_promise_names_tests_that_are_there() -> None:
    text = Path(__file__).with_name("PLAN.md").read_text()
    plan, obstacles = (
        re.findall(r"^\| (\d+) .*? \| (.+) \|$", part, re.M) for part in text.split("| obstacle |")
    )
    assert [int(number) for number, _ in plan] == list(range(1, 10))
    assert [int(number) for number, _ in obstacles] == list(range(1, 17))
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)", sources, re.M))
    for number, cell in (*plan, *obstacles):
        named = re.findall(r"`(test_\w+)`", cell)
        files = re.findall(r"`(tests/\S+\.py)`", cell)
        assert named or files, number
        assert set(named) <= there, set(named) - there
        assert all((ROOT / file).is_file() for file in files)
