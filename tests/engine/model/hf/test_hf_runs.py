"""Runs on a Hugging Face model, started as a person starts them: train, resume, export, talk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.processes.heartbeat_file import read_record
from engine.run.run_dir import RunDir
from sftui.text import format as fmt
from tests import hf_material
from tests.place import final_weights
from tests.processes import children, environment, wait_for, wait_for_end

STEPS = 9
LORA_STEPS = 60
"""Long enough to be killed in its middle."""

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and a file of conversations."""
    found = tmp_path_factory.mktemp("hf")
    hf_material.folder(found / "tiny")
    hf_material.chat_file(found / "chat.jsonl")
    return found


SETTINGS = (
    *("--headless", "--model", "tiny", "--data", "chat.jsonl", "--lr", "0.01"),
    *("--num-iterations", str(STEPS + 1), "--eval-every", "3", "--checkpoint-every", "3"),
    *("--lora-dropout", "0.1"),
)
CHOICES = {
    "full": (
        *("--neftune-alpha", "5", "--optimizer", "muon", "--matrix-lr", "0.01"),
        *("--lr-schedule", "wsd", "--warmup-steps", "2", "--label-smoothing", "0.1"),
    ),
    "lora": (
        *("--lora", "4", "--max-grad-norm", "0.5", "--lr-schedule", "cosine"),
        *("--num-iterations", str(LORA_STEPS + 1), "--eval-every", "20"),
        *("--checkpoint-every", "20"),
    ),
}


def sftui(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = environment(SFTUI_CONFIG=str(place / "config.json"), OMP_NUM_THREADS="1")
    return subprocess.run(
        [sys.executable, "-m", "sftui", *words],
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def train(place: Path, runs: str, *words: str) -> Path:
    """A run to its end; its directory."""
    done = sftui(place, "run", *SETTINGS, "--runs-dir", runs, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return next((place / runs).iterdir())


def _started(run: Path) -> dict[str, Any]:
    """What followed from the settings, as the run says it at its start."""
    for line in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["type"] == "run_started":
            return dict(event["d"]["effective"])
    raise AssertionError("the run never started")


def losses(run: Path) -> dict[int, float]:
    """Loss of every update, the newest attempt's."""
    found = {}
    for line in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["type"] == "step_finished":
            found[event["step"]] = event["d"]["loss"]
    return found


@pytest.fixture(scope="module")
def adapted(place: Path) -> Path:
    """A run with adapters, to its end."""
    return train(place, "runs-lora", *CHOICES["lora"])


@pytest.mark.slow
def test_a_run_learns_and_goes_on_from_a_checkpoint_to_the_last_bit(place: Path) -> None:
    """Also with noise: the generators are kept."""
    run = train(place, "runs-full", *CHOICES["full"])
    whole = losses(run)
    rates = multipliers(run)
    # Up in two updates, down in the last fifth of nine.
    assert [rates[s] for s in range(STEPS)] == pytest.approx([0, 0.5, *[1] * 5, 1, 0.5])
    assert sorted(whole) == list(range(STEPS))
    assert whole[STEPS - 1] < whole[0]
    # As if the machine had gone down after the checkpoint of step 3.
    events = (run / "events.jsonl").read_text().splitlines()
    kept = [e for e in events if json.loads(e)["type"] != "run_finished"]
    (run / "events.jsonl").write_text("\n".join(kept) + "\n")
    for step in (6, STEPS):
        _remove(run / "ckpt" / f"step-{step}")
    done = sftui(place, "run", "--headless", "--resume", str(run))
    assert done.returncode == 0, done.stdout + done.stderr
    assert losses(run) == whole


@pytest.mark.slow
def test_a_killed_rank_starts_again_and_ends_with_the_same_bits(place: Path, adapted: Path) -> None:
    """Adapters with dropout; ten kills of each kind are in `tests/test_kills.py`."""
    whole = losses(adapted)
    assert whole[LORA_STEPS - 1] < whole[0]
    with children() as started:
        env = environment(SFTUI_CONFIG=str(place / "config.json"))
        runs = place / "runs-killed"
        words = ["run", *SETTINGS, *CHOICES["lora"], "--runs-dir", str(runs)]
        words += ["--model", str(place / "tiny"), "--data", str(place / "chat.jsonl")]
        process = started.start("-m", "sftui", *words, env=env, stdout=-1, stderr=-2)
        wait_for(lambda: list(runs.glob("*/events.jsonl")), 60)
        [run] = [RunDir(path) for path in runs.iterdir()]
        wait_for(lambda: 24 in losses(run.path), 90)
        record = read_record(run.heartbeat(0))
        assert record is not None
        started.note_descendants()
        assert record["pid"] in started.known
        os.kill(record["pid"], signal.SIGKILL)
        wait_for_end(started, process, 100)
    assert process.returncode == 0
    events = [json.loads(line)["type"] for line in run.events.read_text().splitlines()]
    assert events.count("attempt_started") == 2
    assert losses(run.path) == whole
    assert final_weights(run) == final_weights(RunDir(adapted))


def multipliers(run: Path) -> dict[int, float]:
    """Of the learning rate, by update."""
    return {
        event["step"]: event["d"]["lr_mult"]
        for event in map(json.loads, (run / "events.jsonl").read_text().splitlines())
        if event["type"] == "step_finished"
    }


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@pytest.mark.slow
def test_two_ranks_train_as_one(place: Path) -> None:
    """The same rows, each supervised token with the same weight."""
    batch = ("--device-batch-size", "2")
    one = losses(train(place, "runs-one", *batch))
    two = losses(train(place, "runs-two", "--gpus", "2", *batch))
    assert two == pytest.approx(one, abs=1e-4)


@pytest.mark.slow
def test_adapters_are_exported_and_merged(place: Path, adapted: Path) -> None:
    """Merged, and loaded by transformers alone, the model gives the logits it was trained to."""
    import peft
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = adapted
    assert (run / "export" / f"step-{LORA_STEPS}" / "adapter_model.safetensors").is_file()
    done = sftui(place, "export", str(run), "--format", "hf", "-o", "merged")
    assert done.returncode == 0, done.stderr
    tokenizer = AutoTokenizer.from_pretrained(place / "merged")
    chat = [{"role": "user", "content": "what is 2 plus 2?"}]
    asked: Any = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    merged = AutoModelForCausalLM.from_pretrained(place / "merged").eval()
    base = AutoModelForCausalLM.from_pretrained(place / "tiny")
    beside = peft.PeftModel.from_pretrained(base, run / "export" / f"step-{LORA_STEPS}").eval()
    with torch.no_grad():
        logits, wanted = merged(**asked).logits, beside(**asked).logits
    assert torch.allclose(logits, wanted, atol=1e-5)
    plain = AutoModelForCausalLM.from_pretrained(place / "tiny").eval()
    assert not torch.allclose(logits, plain(**asked).logits.detach(), atol=1e-3)
    # What is said to be trained is what the adapters hold.
    numbers = sum(p.numel() for name, p in beside.named_parameters() if ".lora_" in name)
    assert _started(run)["trainable_parameters"] == numbers
    assert f", {fmt.si(numbers)} trained" in sftui(place, "show", str(run)).stdout
    # The run and the merged folder answer alike.
    answers = [
        sftui(place, "chat", what, "--prompt", "what is 2 plus 2?").stdout
        for what in (str(run), "merged")
    ]
    assert answers[0] == answers[1] != ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "nowhere"), "does not exist"),
        (("--model", "tiny", "--compile"), "--compile"),
        (("--lora", "4", "--source", "starter"), "--model DIR"),
        (("--model", "tiny", "--lora", "4", "--lora-dropout", "1"), "lora_dropout"),
        (("--chat-template", "x"), "--model DIR"),
        (("--source", "starter", "--neftune-alpha", "5"), "neftune_alpha is set without model"),
        (("--source", "starter", "--lr", "1e-4"), "lr is set without model"),
        (("--model", "tiny", "--label-smoothing", "1"), "label_smoothing"),
        (("--model", "tiny", "--packing", "best-fit"), "--packing"),
    ],
)
def test_a_mistake_costs_one_line(words: tuple[str, ...], said: str, place: Path) -> None:
    done = sftui(place, "run", "--headless", "--data", "chat.jsonl", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_row_that_the_template_cannot_mask_is_named_before_anything_starts(place: Path) -> None:
    hf_material.folder(place / "thinking", template_name="qwen3")
    said = [{"role": role, "content": "yes"} for role in ("user", "assistant")] * 2
    rows = [{"messages": said[:2]}] * 40 + [{"messages": said}] * 2
    (place / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = sftui(place, "run", "--dry-run", "--model", "thinking", "--data", "two.jsonl")
    assert done.returncode == 2
    assert "two.jsonl:41" in done.stderr
    assert "--last-answer-only" in done.stderr
    again = sftui(
        place,
        "run",
        "--dry-run",
        "--model",
        "thinking",
        "--data",
        "two.jsonl",
        "--last-answer-only",
    )
    assert again.returncode == 0, again.stderr


def test_rows_longer_than_the_models_positions_are_cut_and_said(place: Path) -> None:
    """They ended the run at the step that held one."""
    said = {"role": "assistant", "content": "yes " * 900}
    row = {"messages": [{"role": "user", "content": "long?"}, said]}
    (place / "long.jsonl").write_text((json.dumps(row) + "\n") * 40)
    done = sftui(
        place, "run", "--headless", "--model", "tiny", "--data", "long.jsonl", "--num-iterations",
        "2", "--runs-dir", "runs-long", "--eval-every", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cut at 512 tokens" in done.stderr
    assert "rows of long.jsonl lose their end at 512 tokens" in done.stderr
