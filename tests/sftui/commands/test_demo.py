"""`sftui demo`: the shipped recording is whole, names nobody's machine, and plays anywhere."""

import fnmatch
import json
import re
import tomllib
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from engine import events as ev
from sftui import cli
from sftui.commands import demo
from sftui.sources import snapshot
from sftui.statistics.flips import open_book
from tests.sftui.test_app import make


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return demo.unpack(tmp_path_factory.mktemp("demo"))


def test_the_demo_plays_without_a_terminal_and_writes_nothing(capsys, tmp_path, monkeypatch):
    """Plain lines of a whole run; the folder it was typed in stays empty, --keep aside."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "--headless"]) == 0
    out, next_to_type = capsys.readouterr()
    for words in ("after 180 updates", "paused", "lr ×0.5", "checkpoint saved", "run finished"):
        assert words in out
    assert not list(tmp_path.iterdir())
    assert "sftui run --recipe starter" in next_to_type
    assert "sftui demo --keep demo" in next_to_type
    assert cli.main(["demo", "--headless", "--keep", "here"]) == 0
    kept = capsys.readouterr().err
    assert "sftui report here" in kept
    assert "sftui replay here" in kept
    assert "--keep" not in kept
    assert cli.main(["show", "here", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "finished"
    assert cli.main(["demo", "--keep", "here"]) == 2
    assert "name a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_the_recording_has_one_of_everything(recording):
    """Two ranks, both tasks, samples, checkpoints, and what a person did."""
    kinds: Counter[type[ev.Event]] = Counter()
    shot = snapshot.read(str(recording), listener=lambda event: kinds.update([type(event)]))
    state = shot.state
    assert shot.status == "finished"
    assert state.updates == 180
    assert len(state.ranks) == 2
    assert len(state.evals) == 2
    assert len(state.samples) >= 10
    assert {c.command for c in state.controls} == {"pause", "resume", "eval", "checkpoint", "lr"}
    assert sum(not c.removed for c in state.checkpoints.values() if c.kind == "sftui") >= 3
    assert kinds[ev.ValidationFinished] >= 10
    task = next(iter(state.evals))
    steps = sorted(state.evals[task])
    book = open_book(recording, state, task, steps[-1], steps[0])
    assert not isinstance(book, str), book
    assert book.of_kind("gained")


def test_the_recording_names_no_machine(recording):
    """No path, no host but the made-up one."""
    for path in recording.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".toml", ".log"):
            text = path.read_text()
            assert not re.search(r"/(tmp|home|root|work|Users)\b", text), path.name
            assert set(re.findall(r'"host": ?"([^"]*)"', text)) <= {"laptop"}


def test_the_recording_is_small_and_goes_into_the_wheel():
    """Package data name it, so an installed sftui has it too."""
    assert demo.RECORDING.stat().st_size < 300_000
    root = Path(__file__).resolve().parents[3]
    data = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    inside = demo.RECORDING.relative_to(root / "sftui").as_posix()
    assert any(fnmatch.fnmatch(inside, pattern) for pattern in data["sftui"])
    with zipfile.ZipFile(demo.RECORDING) as packed:
        assert packed.testzip() is None


def test_charts_of_the_demo_are_written_where_it_was_typed(tmp_path, monkeypatch):
    """Not into the folder that goes with it."""
    monkeypatch.chdir(tmp_path)
    app = make([])
    app.request = app.request._replace(charts=Path.cwd(), folder=tmp_path / "gone")
    assert app.chart_folder == tmp_path
