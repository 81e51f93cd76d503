"""A nanochat cache and data folder of our own: small enough to train in a second."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import Any

import tiktoken
import torch

from engine.checkpoints.nanochat_io import export, export_optimizer
from engine.checkpoints.nanochat_paths import SOURCE_FOLDERS, checkpoint_paths
from engine.config import OptimConfig
from engine.optimizer.optim import build_optimizer
from tests.engine.small import BYTES, tiny_model, tiny_model_2026

LETTERS = "ABCD"


def write_cache(base: Path, *, source: str = "mid", tag: str = "d1", step: int = 7) -> Path:
    """A cache with a byte tokenizer and a one-layer model; returns the base folder."""
    _write_tokenizer(base)
    model = tiny_model()
    export(base / SOURCE_FOLDERS[source] / tag, step, model.config, model.state_dict(), {})
    return base


def write_cache_2026(base: Path, *, step: int = 7) -> Path:
    """The same of nanochat's newest generation: its base with sizes, rates and the optimizer
    state that two updates left."""
    _write_tokenizer(base)
    folder = base / SOURCE_FOLDERS["base"] / "d3"
    model = tiny_model_2026()
    settings = OptimConfig()
    optimizer = build_optimizer(model, settings)
    for _ in range(2):
        (model(torch.arange(256)[None]).square().mean() * 1e-2).backward()
        optimizer.step()
        optimizer.zero_grad()
    meta = {
        "max_seq_len": 256,
        "device_batch_size": 1,
        "total_batch_size": 1024,
        "user_config": {"embedding_lr": 0.3, "unembedding_lr": 0.008, "matrix_lr": 0.02},
    }
    export(folder, step, model.config, model.state_dict(), meta)
    model_path = checkpoint_paths(folder, step)[0]
    export_optimizer(model_path, model.config, settings, [optimizer.state_dict()])
    return base


def _write_tokenizer(base: Path) -> None:
    tokenizer = base / "tokenizer" / "tokenizer.pkl"
    tokenizer.parent.mkdir(parents=True, exist_ok=True)
    encoding = tiktoken.Encoding(
        name="rustbpe",
        pat_str=r"[\s\S]",
        mergeable_ranks={bytes([value]): value for value in range(256)},
        special_tokens={name: BYTES.special(name) for name in SPECIALS},
    )
    tokenizer.write_bytes(pickle.dumps(encoding, protocol=4))


SPECIALS = (
    "<|bos|>",
    "<|user_start|>",
    "<|user_end|>",
    "<|assistant_start|>",
    "<|assistant_end|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|output_start|>",
    "<|output_end|>",
)


def write_data(folder: Path, rows: int = 24) -> Path:
    """Every file a run reads with --data-dir, in the plain forms."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(3)
    for task in ("ARC-Easy", "ARC-Challenge", "MMLU"):
        for split in ("train", "test"):
            _write(folder / f"{task}.{split}.jsonl", [question(rng, task) for _ in range(rows)])
    for task in ("GSM8K", "SmolTalk"):
        for split in ("train", "test"):
            _write(folder / f"{task}.{split}.jsonl", [talk(rng) for _ in range(rows)])
    return folder


def question(rng: random.Random, subject: str) -> dict[str, Any]:
    numbers = rng.sample(range(100), 4)
    return {
        "question": f"Which is the largest of {numbers}?",
        "choices": [str(n) for n in numbers],
        "letters": list(LETTERS),
        "answer": LETTERS[numbers.index(max(numbers))],
        "subject": subject,
    }


def talk(rng: random.Random) -> dict[str, Any]:
    number = rng.randrange(1000)
    return {
        "messages": [
            {"role": "user", "content": f"Say {number}."},
            {"role": "assistant", "content": f"{number}, gladly." * rng.randrange(1, 4)},
        ]
    }


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


SETTINGS = (
    "--device-batch-size=2",
    "--target-examples-per-step=8",
    "--eval-every=4",
    "--eval-steps=2",
    "--eval-metrics-every=8",
    "--eval-metrics-max-problems=16",
    "--checkpoint-every=4",
    "--num-iterations=13",
    "--recipe=nanochat-sft",
)
"""Flags of a run that takes about a second of training."""

SETTINGS_2026 = (
    "--recipe=nanochat",
    "--mixture=SmolTalk,GSM8K*2",
    "--validation=SmolTalk,GSM8K:10",
    "--eval-every=4",
    "--eval-tokens=2048",
    "--eval-tasks=MMLU",
    "--eval-metrics-every=8",
    "--eval-metrics-max-problems=8",
    "--checkpoint-every=4",
    "--num-iterations=10",
)
"""The same of a base of 2026: packed rows, and everything else inherited."""
