"""Rows made by processes are those a rank makes itself, and none is lost with a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine import errors
from engine.errors import DataError, SlowPathWarning
from engine.step.token_rows import TokenRows
from tests.engine.small import BYTES, ListSource

ROWS = [("a", "x" * (i % 9), "y" * (1 + i % 50)) for i in range(40)]


@pytest.fixture(scope="module")
def ahead() -> Iterator[TokenRows]:
    """Rows with a process; the last third is cut."""
    found = TokenRows(ListSource(ROWS), BYTES, 40, workers=1)
    yield found
    found.close()


def test_rows_made_elsewhere_are_those_made_here(ahead: TokenRows) -> None:
    """Tokens, masks and the count of cut rows; asked in another order than prepared, and again."""
    here = TokenRows(ListSource(ROWS), BYTES, 40)
    ahead.prepare(range(20))
    ahead.prepare(range(10, 30))
    assert ahead.num_cut == 0, "rows that nobody has seen yet do not count"
    for index in (*range(25, 5, -1), *range(40), 3):
        assert ahead[index].digest() == here[index].digest()
        assert ahead.num_cut == here.num_cut
    assert here.num_cut > 0


@pytest.mark.slow
def test_an_id_the_model_lacks_is_named_from_elsewhere_too() -> None:
    """The same error with the same row, raised where the row is taken."""
    said = []
    for workers in (0, 1):
        rows = TokenRows(ListSource(ROWS), BYTES, 40, vocab_size=200, workers=workers)
        rows.prepare([5])
        with pytest.raises(DataError) as caught:
            _ = rows[5]
        said.append(str(caught.value))
        rows.close()
    assert said[0] == said[1]
    assert "row 5 (a)" in said[0]


@pytest.mark.slow
def test_a_process_that_dies_costs_a_warning_and_no_row() -> None:
    """Killed while rows are wanted: the rank makes them itself, and says so."""
    errors._told.clear()
    here = TokenRows(ListSource(ROWS), BYTES, 40)
    rows = TokenRows(ListSource(ROWS), BYTES, 40, workers=1)
    rows.prepare([0])
    assert rows[0].digest() == here[0].digest()
    assert rows._pool is not None
    [pid] = rows._pool._executor._processes
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rows.prepare([1, 2])
        found = [rows[1], rows[2]]
    assert [warning.category for warning in said] == [SlowPathWarning]
    assert "tokenised by the rank itself" in str(said[0].message)
    assert [row.digest() for row in found] == [here[1].digest(), here[2].digest()]
    errors._told.clear()


RANK = """
import os, sys, time
from engine.step.token_rows import TokenRows
from tests.engine.small import BYTES, ListSource
if __name__ == "__main__":
    rows = TokenRows(ListSource([("a", "b", "c")] * 3), BYTES, workers=1)
    rows.prepare([0]); rows[0]
    print(*rows._pool._executor._processes, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_rank_leaves_no_process_behind(tmp_path: Path) -> None:
    """SIGKILL says nothing to anybody; a stop signal alone does not end the process."""
    script = tmp_path / "rank.py"
    script.write_text(RANK, encoding="utf-8")
    rank = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    assert rank.stdout is not None
    pid = int(rank.stdout.readline())
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.3)
    assert lives(pid)
    rank.kill()
    rank.wait()
    rank.stdout.close()
    deadline = time.monotonic() + 10
    while lives(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lives(pid: int) -> bool:
    """A process that nobody has asked after has still ended."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
