"""Real rows and models of a given shape for benchmarks; made-up rows where no real ones are."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from engine.conversations.letter_questions import Question, with_ids
from engine.conversations.tokenizer import Tokenizer
from engine.data.dataset import open_rows, parse_row
from engine.data.mixture import Mixture, TaskRows
from engine.model.nanochat import parts
from engine.model.nanochat.gpt import GPT
from engine.model.nanochat.gpt_config import GPTConfig
from tests.conftest import SHARED
from tests.engine.small import BYTES

BENCH = SHARED / "nanochat" / "bench"


def tokenizer() -> Tokenizer:
    """nanochat's of vocabulary 4096, else one token a byte."""
    path = SHARED / "nanochat" / "base" / "tokenizer" / "tokenizer.pkl"
    return Tokenizer.load(path) if path.exists() else BYTES


def conversations(path: Path | None = None) -> Mixture:
    """Training rows of a file: by default 640 real ones of at most 512 tokens."""
    path = path or BENCH / "bench_train.jsonl"
    if path.exists():
        items = _parsed(path)
    else:
        # Lengths as skewed as those of nanochat's mixture.
        rng = random.Random(1)
        items = [
            parse_row(
                {
                    "messages": [
                        {"role": "user", "content": "x" * int(20 + 60 * rng.random())},
                        {"role": "assistant", "content": "y" * int(rng.lognormvariate(4.2, 0.9))},
                    ]
                }
            )
            for _ in range(640)
        ]
    return Mixture([TaskRows(name="bench", items=items)], seed=None)


def questions(path: Path | None = None) -> list[Question]:
    """Letter questions of a file: by default 256 real ones."""
    path = path or BENCH / "bench_eval.jsonl"
    if path.exists():
        return with_ids(item for item in _parsed(path) if isinstance(item, Question))
    rng = random.Random(1)
    return with_ids(
        Question(
            question="q" * int(rng.lognormvariate(4.5, 0.6)),
            choices=tuple("c" * rng.randrange(3, 40) for _ in range(4)),
            letters=tuple("ABCD"),
            gold=rng.choice("ABCD"),
        )
        for _ in range(256)
    )


FAMILIES = {"nanochat": (parts.NEWEST, "SSSL"), "nanochat-2025": (parts.OCTOBER, "")}
"""What the benchmarks' `--family` names: the parts of the model, and its windows."""


def model(
    *,
    width: int,
    vocab: int,
    layers: int = 4,
    sequence: int = 512,
    seed: int = 0,
    family: str = "nanochat-2025",
) -> GPT:
    """A model of nanochat's shape with random weights, none of them zero."""
    heads = max(1, width // 128)
    shape = GPTConfig(
        sequence_len=sequence,
        vocab_size=vocab,
        n_layer=layers,
        n_head=heads,
        n_kv_head=heads,
        n_embd=width,
        window_pattern=FAMILIES[family][1],
        parts=FAMILIES[family][0],
    )
    made = GPT(shape)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(0.0, width**-0.5, generator=generator)
    return made


def _parsed(path: Path) -> list:
    rows = open_rows(path)
    return [parse_row(rows.read(index)) for index in range(len(rows))]
