"""The list of runs: status from evidence, and removing one."""

import dataclasses
import io
import json
from datetime import datetime

import pytest

from engine.journal.wire import encode
from engine.run import lock, run_dir
from engine.run.run_dir import RunDir
from sftui import cli
from sftui.commands import runs
from sftui.sources import snapshot
from tests.sftui.fake_run import fake_run

EVENTS = fake_run(until=40)
LAST = max(e.stamp.t for e in EVENTS)


@pytest.fixture
def run(tmp_path, monkeypatch) -> RunDir:
    """A run of 40 updates under `runs/` of the working directory, which nobody drives."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SFTUI_RUNS", raising=False)
    made = run_dir.create(tmp_path / "runs", "x", datetime(2026, 1, 2, 3, 4, 5))
    made.manifest.write_text(json.dumps({"id": made.id}))
    made.events.write_bytes(b"".join(encode(e) + b"\n" for e in EVENTS))
    return made


def test_a_silent_run_is_said(run):
    """Alive by its lock, and for how long it said nothing."""
    shot = dataclasses.replace(snapshot.read_run(run), alive=True)
    assert runs.status_words(shot, LAST + 5) == "running"
    assert runs.status_words(shot, LAST + 95) == "running, silent for 1m 35s"
    dead = dataclasses.replace(shot, alive=False)
    assert runs.status_words(dead, LAST + 95) == "interrupted"


def test_rm_shows_asks_and_deletes(run, monkeypatch, capsys):
    """Anything but yes leaves everything; yes takes the run and the link that points into it."""
    link = run_dir.link_run_log(run, run.path.parents[1])
    run.run_log.write_text("step 0\n")
    assert cli.main(["runs", "rm", run.id]) == 2  # nobody to ask
    assert "--yes" in capsys.readouterr().err

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal("\n"))
    assert cli.main(["runs", "rm", run.id]) == 0
    assert run.path.exists()
    assert "in all" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert cli.main(["runs", "rm", run.id]) == 0
    assert not run.path.exists()
    assert not link.is_symlink()
    assert list(run.path.parent.iterdir()) == []


def test_a_running_run_is_not_removed(run, capsys):
    """`--yes` does not make it otherwise."""
    with lock.RunLock.acquire(run):
        assert cli.main(["runs", "rm", run.id, "--yes"]) == 2
    assert "is running" in capsys.readouterr().err
    assert run.events.exists()


def test_rm_of_nothing_names_what_there_is(run, capsys):
    """A slip of the finger deletes nothing."""
    assert cli.main(["runs", "rm", "2031", "--yes"]) == 2
    assert run.id in capsys.readouterr().err
