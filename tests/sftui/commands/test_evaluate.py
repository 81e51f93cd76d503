"""`sftui eval` and `sftui export` from the outside: what is typed, printed and written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.checkpoints import checkpoint_target
from engine.processes import devices
from engine.run.run_dir import RunDir
from sftui.cli import main
from sftui.commands import evaluate
from tests import tiny
from tests.processes import ROOT


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with one SFT checkpoint in a nanochat cache, and data beside it."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tiny.write_cache(tmp_path / "cache", source="sft")))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(devices, "count_gpus", lambda *_: 0)
    tiny.write_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_checkpoint_is_evaluated_and_its_results_are_written(place, capsys):
    """A line a task with counts, interval and chance; the file where the last line says."""
    assert main(["eval", "sft", "--data-dir=data", "--max-problems=16", "--tasks=MMLU"]) == 0
    printed = capsys.readouterr()
    label, line = printed.out.splitlines()
    assert label == "sft d1 step 7"
    assert line.startswith("MMLU  ")
    assert "/16  chance 25.0%" in line
    [path] = Path("evals").glob("*.json")
    assert f"results in {path}" in printed.err
    found = json.loads(path.read_text())
    assert list(found["results"]) == ["mmlu_letter"]
    assert (path.parent / found["sftui"]["tasks"][0]["items_file"]).is_file()


@pytest.mark.slow
def test_an_export_becomes_a_checkpoint_again(place, capsys):
    """Out to transformers' layout, and evaluated there with the same answers."""
    assert main(["export", "sft:d1:7", "--format=hf", "-o", "out"]) == 0
    assert "sft d1 step 7 exported to" in capsys.readouterr().err
    answers = []
    for name in ("sft", "out"):
        words = [
            "eval",
            name,
            "--data-dir=data",
            "--max-problems=8",
            "--json",
            "-o",
            f"{name}.json",
        ]
        assert main(words) == 0
        answers.append(json.loads(capsys.readouterr().out)["results"])
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval"], "no checkpoint was named"),
        (["eval", "sft:d1:9"], "has no step 9"),
        (["eval", "sft", "--tasks=Nonsense"], "Nonsense"),
        (["eval", "sft", "--data-dir=nowhere"], "nowhere"),
        (["export", "sft", "--format=onnx"], "onnx"),
        (["export", "nothing"], "no run is called"),
    ],
)
def test_slips_are_one_line(place, capsys, words, said):
    """Exit code 2 and nothing written."""
    before = sorted(place.iterdir())
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = [line for line in printed.err.splitlines() if line]
    assert line.startswith("sftui: error: ")
    assert said in line
    assert sorted(place.iterdir()) == before


def test_results_of_a_run_lie_with_the_run(tmp_path):
    """And others in evals/ here, under a name that says what they are of."""
    shape = tiny.tiny_model().config
    common = {"config": shape, "path": tmp_path, "tokenizer": tmp_path}
    run = checkpoint_target.Target(
        kind="sftui", label="x step 4", step=4, run=RunDir(tmp_path / "x"), **common
    )
    assert evaluate.default_output(run) == tmp_path / "x/evals/step-4.results.json"
    other = checkpoint_target.Target(kind="hf", label="my/model (transformers)", **common)
    assert evaluate.default_output(other) == Path("evals/my-model-transformers.json")


@pytest.mark.slow
def test_the_command_line_never_imports_torch(place):
    """The work is done by another process."""
    code = (
        "import sys; from sftui.cli import main;"
        "code = main(['eval', 'sft', '--data-dir=data', '--max-problems=2', '--tasks=MMLU']);"
        "assert code == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100, capture_output=True)
