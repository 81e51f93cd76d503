"""`README.md` beside this file says which test injects which fault; here it is held to that."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import SHARED, needs_shared

FOLDER = Path(__file__).parent
TESTS = FOLDER.parent
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")

NUM_FAULTS = 144

DESIGNED = 69
"""Of them; the others were found by trying."""

ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([012]) \| ([^|]*) \|$", re.MULTILINE)
NAME = re.compile(r"`([\w/]+\.py::\w+)`(\*?)")
SPOKEN = re.compile(r"Faults? (\d+(?:(?:, | and | to )\d+)*)")


def rows():
    """(number, priority, names of its tests) of each fault."""
    return [
        (int(number), int(priority), [name for name, _ in NAME.findall(tests)])
        for number, _, priority, tests in ROW.findall(PAGE)
    ]


def collected():
    """Every test function by its name on the page: its docstring, and whether it is torture."""
    found = {}
    for path in TESTS.rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        whole = any(
            isinstance(node, ast.Assign) and "mark.torture" in ast.unparse(node)
            for node in tree.body
        )
        for node in tree.body:
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and node.name.startswith("test_"):
                marks = [ast.unparse(mark) for mark in node.decorator_list]
                torture = whole or any("mark.torture" in mark for mark in marks)
                name = f"{path.relative_to(TESTS)}::{node.name}"
                found[name] = (ast.get_docstring(node) or "", torture)
    return found


COLLECTED = collected()


def spoken(text):
    """Numbers of the faults that a docstring names: `Faults 10, 13 and 37 to 40`."""
    found = set()
    for words in SPOKEN.findall(text):
        numbers = [int(number) for number in re.findall(r"\d+", words)]
        found |= set(range(numbers[0], numbers[-1] + 1)) if " to " in words else set(numbers)
    return found


def test_every_fault_has_its_row():
    """Each number once, in order."""
    assert [number for number, _, _ in rows()] == list(range(1, NUM_FAULTS + 1))


def test_every_test_that_is_named_exists():
    """Also those beyond the table; a star stands where `make torture` is needed, nowhere else."""
    named = NAME.findall(PAGE)
    assert {name for name, _ in named} - set(COLLECTED) == set()
    wrong = [name for name, star in named if COLLECTED[name][1] != bool(star)]
    assert wrong == []


@pytest.mark.parametrize("priority", [0, 1])
def test_every_fault_that_counts_is_injected(priority):
    """By at least one test that runs in `make test`."""
    bare = [
        number
        for number, found, names in rows()
        if found == priority and all(COLLECTED[name][1] for name in names)
    ]
    assert bare == []


def test_what_a_test_says_it_injects_stands_in_that_row():
    """So that a new test does not stay unknown."""
    table = {number: names for number, _, names in rows()}
    missing = [
        (number, name)
        for name, (text, _) in COLLECTED.items()
        for number in spoken(text)
        if name not in table[number]
    ]
    assert missing == []


@needs_shared
def test_the_priorities_are_those_of_the_design():
    """Nobody makes a fault less urgent in passing."""
    design = (SHARED / "RELIABILITY.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (\d+) \|.*\| ([012]) \|$", design, re.MULTILINE)
    assert [(number, priority) for number, priority, _ in rows()[:DESIGNED]] == [
        (int(number), int(priority)) for number, priority in found
    ]
