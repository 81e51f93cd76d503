"""The scripts of `sftui new`: short, and they run as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.events import RunFinished, RunStarted, StepFinished, ValidationFinished
from sftui.cli import main
from sftui.commands.new_script import NAMES
from tests.engine.attach.steered import events


@pytest.mark.parametrize("kind", NAMES)
def test_a_script_is_short_and_compiles(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", kind]) == 0
    text = capsys.readouterr().out
    compile(text, kind, "exec")
    assert 20 <= len(text.splitlines()) <= 45
    assert "sftui" in text


def test_another_word_is_refused_with_the_four(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "axolotl"]) == 2
    assert "trl, accelerate, lightning" in capsys.readouterr().err


def shortened(script: str) -> str:
    """The same script with 20 updates."""
    for whole in ("UPDATES = 400", "max_steps=300", "max_epochs=4"):
        name, sign, _ = whole.replace("max_epochs", "max_steps").rpartition("=")
        script = script.replace(whole, f"{name}{sign}{' ' * (' ' in whole)}20")
    return script


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "loop",
        "accelerate",
        pytest.param("trl", marks=pytest.mark.torture),
        pytest.param("lightning", marks=pytest.mark.torture),
    ],
)
def test_a_script_runs_as_it_is(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "lightning":
        pytest.importorskip("lightning", reason="Lightning is tested by `make trainers-matrix`")
    assert main(["new", kind]) == 0
    path = tmp_path / "my_script.py"
    path.write_text(shortened(capsys.readouterr().out))
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    (start,) = events(run, RunStarted)
    assert start.name == {"trl": "sft-out", "lightning": "Sum"}.get(kind, "my_script")
    assert len(events(run, StepFinished)) == 20
    assert events(run, ValidationFinished)[0].step == 0
    (end,) = events(run, RunFinished)
    assert end.status == "finished"
