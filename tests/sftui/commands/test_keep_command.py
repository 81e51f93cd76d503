"""What may stand before the lone -- of `sftui run -- CMD`, and taking such a run up again."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from engine.events import RunFinished
from engine.journal.event_files import JournalWriter
from engine.run import foreign, resume_file, seal
from engine.run.run_dir import RunDir
from sftui.cli import main
from sftui.commands.keep_command import name_of


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpus", "2"], "--gpus is a flag of sftui's own trainer"),
        (["--recipe", "starter", "--matrix-lr", "0.1"], "--matrix-lr, --recipe are flags of"),
        (["--resume", "x"], "no run is called"),
        (["--seeds", "3"], "--seeds is a flag"),
    ],
)
def test_settings_of_our_own_trainer_are_refused_by_name(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["run", "--runs-dir", str(tmp_path), *words, "--", sys.executable, "train.py"])
    assert code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_gpus_before_a_command_names_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--gpus", "4", "--", sys.executable, "train.py"]) == 2
    assert "torchrun --nproc-per-node 4" in capsys.readouterr().err


def test_a_script_without_its_python_is_refused_with_the_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--runs-dir", str(tmp_path), "--", "train.py"]) == 2
    assert "Did you mean `python train.py`?" in capsys.readouterr().err


def test_no_attach_needs_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--no-attach"]) == 2
    assert "after a lone --" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_kept_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "run",
        "--runs-dir",
        str(tmp_path),
        "--dry-run",
        "--max-restarts",
        "1",
        "--run",
        "mine",
    ]
    assert main([*words, "--", sys.executable, "my train.py", "--gpus", "2"]) == 0
    out = capsys.readouterr().out
    assert "'my train.py' --gpus 2" in out
    assert "mine" in out
    assert "up to 1" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["torchrun", "--nproc-per-node", "2", "dir/train_sft.py", "--x", "y.py"], "train_sft"),
        (["accelerate", "launch", "loop.py"], "loop"),
        (["python", "-m", "axolotl.cli.train", "config.yml"], "train"),
        (["llamafactory-cli", "train", "x.yaml"], "llamafactory-cli"),
        (["/usr/bin/python3"], "python3"),
    ],
)
def test_a_run_is_named_after_its_script(command: list[str], name: str) -> None:
    assert name_of(command) == name


def make(tmp_path: Path, *, command: list[str] | None = None) -> RunDir:
    return foreign.create(
        tmp_path / "runs",
        "script",
        command=command or [sys.executable, "-c", "print('step 1 loss 2.0')"],
        cwd=tmp_path,
        now=datetime.now(),
        max_restarts=0,
        kept=True,
    )


def test_a_stopped_run_of_a_command_is_started_again(tmp_path: Path) -> None:
    run = make(tmp_path)
    JournalWriter(run.events, run.id, "r0").write(RunFinished(status="stopped", reason="by a test"))
    words = [sys.executable, "-P", "-m", "sftui", "run", "--headless", "--resume", str(run.path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "goes on" in done.stderr
    (entry,) = resume_file.read(run)
    assert entry.attempt == 2
    assert (run.rank_log(2, 0) / "stdout.log").read_text() == "step 1 loss 2.0\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command": ["/nowhere/python", "x.py"]}, "is not there any more"),
        ({"cwd": "/nowhere"}, "which is gone"),
    ],
)
def test_a_run_whose_command_cannot_be_started_is_refused(
    tmp_path: Path, change: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(tmp_path)
    run.manifest.write_text(json.dumps(seal.sealed(run.read_manifest() | change)))
    assert main(["run", "--headless", "--resume", str(run.path)]) == 2
    assert said in capsys.readouterr().err
    assert not run.resume.exists()


def test_a_dry_run_of_a_resumption_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    run = make(tmp_path, command=[sys.executable, "-c", f"open({str(made)!r}, 'w')"])
    assert main(["run", "--headless", "--dry-run", "--resume", str(run.path)]) == 0
    assert "nothing was started" in capsys.readouterr().out
    assert not made.exists()
    assert not run.resume.exists()


STRANGE: tuple[dict[str, object], ...] = (
    {"command": ["true"]},
    {"command": "true"},
    {"command": {"a": 1}},
    {"command": ["tr\0ue"]},
    {"command": [["true"]]},
    {"cwd": "\0"},
    {"cwd": ["/"]},
    {"cwd": "/"},
    {"id": "20260101-000000-other"},
    {"world_size": None, "device_type": None, "max_restarts": None, "command": ["true"]},
    {"seal": None},
    {"seal": "0" * 64},
    {"seal": ["é"]},
    {"seal": "é" * 64},
)


@pytest.mark.parametrize("change", STRANGE)
def test_a_command_that_was_never_typed_here_is_not_started(
    tmp_path: Path, change: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """A run directory of another person, or one whose manifest was changed."""
    made = tmp_path / "made"
    run = make(tmp_path, command=[sys.executable, "-c", f"open({str(made)!r}, 'w')"])
    run.manifest.write_text(json.dumps(run.read_manifest() | change))
    assert main(["run", "--headless", "--resume", str(run.path)]) == 2
    said = capsys.readouterr().err
    assert "not made by you" in said or "the command or its folder is" in said
    assert not run.resume.exists()
    assert not made.exists()


def test_a_strangers_command_is_started_when_it_is_typed_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", "print('step 1 loss 2.0')"]
    run = make(tmp_path, command=command)
    run.manifest.write_text(json.dumps(run.read_manifest() | {"seal": None}))
    words = ["run", "--headless", "--dry-run", "--resume", str(run.path), "--"]
    assert main([*words, *command]) == 2, "from another folder"
    monkeypatch.chdir(tmp_path)
    assert main([*words, *command, "more"]) == 2
    assert "expected the same" in capsys.readouterr().err
    assert main([*words, *command]) == 0


def test_a_finished_command_is_not_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(tmp_path)
    JournalWriter(run.events, run.id, "r0").write(RunFinished(status="finished"))
    assert main(["run", "--resume", str(run.path)]) == 2
    assert "is finished" in capsys.readouterr().err


def test_settings_beside_the_resumption_of_a_command_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(tmp_path)
    assert main(["run", "--resume", str(run.path), "--matrix-lr", "0.1"]) == 2
    assert "--matrix-lr" in capsys.readouterr().err
