"""A few inputs of every target of `make fuzz`, and that what it looks for is found."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import pace
from tests.conftest import EXAMPLES
from tests.fuzz import doors, runner
from tests.fuzz.__main__ import table
from tests.fuzz.doors import Finding
from tests.fuzz.mutations import HUGE_BYTES, mutated
from tests.fuzz.runner import Child, Tally
from tests.fuzz.targets import TARGETS, Tried

INPUTS = 6 * EXAMPLES

SEED = 20261129


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A target changes variables and the working folder; afterwards they are as they were."""
    before = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    limit = sys.getrecursionlimit()
    yield tmp_path
    sys.setrecursionlimit(limit)
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("name", TARGETS)
def test_some_damaged_inputs_do_nothing(apart: Path, name: str) -> None:
    """The light part of `make fuzz`."""
    tried = Tried(name, apart, SEED)
    for number in range(INPUTS):
        tried.try_number(number)


@pytest.mark.parametrize("name", TARGETS)
def test_an_input_is_made_of_its_name_seed_and_number_alone(apart: Path, name: str) -> None:
    """So that a finding can be tried again; and inputs differ."""
    (apart / "a").mkdir()
    (apart / "b").mkdir()
    first, second = Tried(name, apart / "a", 3), Tried(name, apart / "b", 3)
    a, b = str(apart / "a").encode(), str(apart / "b").encode()
    made = [first.input(number)[1] for number in range(12)]
    assert [data.replace(a, b) for data in made] == [second.input(n)[1] for n in range(12)]
    assert len(set(made)) > 6
    assert all(len(data) <= 2 * HUGE_BYTES for data in made)


def test_an_unchanged_input_is_among_them() -> None:
    """A fuzzer whose every input is refused at the door tries nothing behind it."""
    import random

    seeds = [b'{"a": [1, {"b": 2}]}\n' * 9]
    made = [mutated(random.Random(number), seeds) for number in range(300)]
    assert 10 < made.count(seeds[0]) < 150
    assert any(b"999999999" in data for data in made)
    assert any(b"\x1b" in data for data in made)


# ---- each kind of finding is noticed ------------------------------------------------------------

BROKEN = """
import os, sys, time
from tests.fuzz import child, doors, targets
def broken(desk, rng, data):
    {code}
targets.TARGETS["keys"] = doors.Target(lambda desk: [b"x"], broken)
child.main()
"""

FAULTS = {
    "raise KeyError('lost')": "KeyError",
    "raise doors.Finding('said so')": "Finding",
    "sys.exit(3)": "SystemExit",
    "os._exit(3)": "it died",
    "os.write(2, b'\\x1b]52;c;aGk=\\x07')": "printed past Python",
    "b = bytearray(1_100_000_000)": "more than 1 GB",
    "while True: pass": "of CPU",
    "time.sleep(1000)": "waits for more than",
}


@pytest.mark.parametrize(("code", "kind"), FAULTS.items())
def test_what_it_looks_for_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, kind: str
) -> None:
    """A fuzzer that cannot fail says nothing; after a finding the next input has a child too."""
    (tmp_path / "broken_child.py").write_text(BROKEN.format(code=code))
    paths = [str(runner.ROOT), str(tmp_path)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    # To fill a gigabyte takes a second of CPU too, where the machine has no large pages to give.
    monkeypatch.setattr(runner, "MOST_CPU_SECONDS", 1.0 if kind == "of CPU" else 60.0)
    monkeypatch.setattr(runner, "MOST_WAITING_SECONDS", 2.0)
    tried = Child("keys", 1, module="broken_child")
    with contextlib.closing(tried):
        tried.try_one(0)
        tried.try_one(1)
    assert tried.tally.inputs == 2
    [(found, count)] = tried.tally.findings.items()
    assert kind in found
    assert count == 2


def test_what_a_killed_child_leaves_goes_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an hour left twenty-six unpacked runs beside everybody's temporary files."""
    code = "import tempfile; raise KeyError(tempfile.mkdtemp(prefix='left-'))"
    (tmp_path / "broken_child.py").write_text(BROKEN.format(code=code))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(runner.ROOT), str(tmp_path)]))
    tried = Child("keys", 1, module="broken_child")
    with contextlib.closing(tried):
        tried.try_one(0)
    [(_, story)] = tried.tally.first.values()
    [left] = re.findall(r"KeyError: '(/[^']*left-[^']*)'", story)
    assert not Path(left).exists()


def test_seconds_of_a_shared_core_count_as_those_of_a_whole_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loop that takes thrice its time makes the limit three times as long, and none shorter."""
    for factor, expected in ((3.0, 3.0), (1.0, 1.0), (0.5, 1.0)):
        loop = factor * pace.ADDITIONS * pace.SECONDS_AN_ADDITION
        monkeypatch.setattr(pace, "adding", lambda loop=loop: loop)
        assert pace.slowness() == pytest.approx(expected)


def test_what_acts_on_a_terminal_is_found_in_what_a_command_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The door of `typed`: escape sequences, other exit codes, JSON that is none."""
    from sftui import cli

    def says(text: str, code: int = 0) -> None:
        def main(words: list[str]) -> int:
            print(text)
            return code

        monkeypatch.setattr(cli, "main", main)

    says("ok\tfine")
    doors.typed(["show"])
    for text, code in (("\x1b[2J", 0), ("\x9b", 1), ("fine", 7), ('{"a": NaN}', 0)):
        says(text, code)
        with pytest.raises(Finding):
            doors.typed(["show", "--json"])


def test_the_counts_are_printed() -> None:
    """Of each target and of all: what was tried, for how long, what was found."""
    tally = Tally(inputs=1200, seconds=7.4, slowest=(3.21, 41))
    tally.note("KeyError", 3, "story")
    tally.note("KeyError", 9, "another")
    lines = table({"log": tally, "wire": Tally(inputs=300, seconds=2.0)})
    assert lines[1].split() == ["log", "1,200", "7", "2", "1", "3.2", "41"]
    assert lines[-1].split() == ["all", "1,500", "9", "2"]
    assert tally.first["KeyError"] == (3, "story")
