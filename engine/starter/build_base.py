"""Make the starter base from nothing: `python -m engine.starter.build_base [FOLDER]`.

Trains the tokenizer and the model on generated text alone, on one thread, and
writes `tokenizer.json`, `base.safetensors` (float16) and `base.json` with their
digests. The same machine and versions give the same files; another processor may
round differently, which moves the weights' digest but not what the model can do.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from engine.config import OptimConfig
from engine.conversations.chat_format import render_conversation
from engine.conversations.conversation import parse_messages
from engine.conversations.letter_questions import PROMPT_HEAD, PROMPT_TAIL
from engine.conversations.tokenizer import BOS, NANOCHAT_PATTERN, Tokenizer
from engine.model.nanochat.gpt import GPT, GPTConfig
from engine.optimizer.optim import build_optimizer
from engine.starter.base import ASSETS, INFO, TOKENIZER, WEIGHTS
from engine.starter.conversations import conversations, word_problems
from engine.starter.corpus import Corpus, Document
from engine.starter.facts import fact_problems, fact_sentences
from engine.starter.lists import list_problems
from engine.starter.logic import logic_problems
from engine.starter.words import RELATIONS
from engine.step.loss import weighted_loss

SEED = 1

VOCAB_SIZE = 3072
"""Enough for nearly every word of the tables to be one token, which small models need."""

SHAPE = {"sequence_len": 256, "n_layer": 4, "n_head": 4, "n_kv_head": 4, "n_embd": 128}

NUM_STEPS = 400
TOKENS_PER_STEP = 2500
MICRO_TOKENS = 1200
"""About a thousand tokens is the fastest micro-batch on a CPU."""

ANSWER_WEIGHT = 4.0
"""Weight of a token the assistant says; plain text has 1, what the user says has 0."""

OPTIM = OptimConfig(
    unembedding_lr=0.004, embedding_lr=0.1, matrix_lr=0.02, weight_decay=0.0, init_lr_frac=1.0
)
WARMUP_STEPS = 30
DECAY_SHARE = 0.5
"""The learning rate falls to zero over this last part of the training."""

Row = tuple[list[int], list[float]]
"""Token ids of a document, and the weight of each as a target."""


def build(folder: Path, num_steps: int = NUM_STEPS) -> dict[str, str]:
    """Write the three files; returns their SHA-256 by file name."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    tokenizer.save_json(folder / TOKENIZER)
    config = GPTConfig.from_dict(SHAPE | {"vocab_size": tokenizer.vocab_size})
    model = train(config, tokenizer, num_steps)
    state = {name: weight.detach().half() for name, weight in model.named_parameters()}
    (folder / WEIGHTS).write_bytes(save(state))
    digests = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (TOKENIZER, WEIGHTS)
    }
    info = {"model_config": config.to_dict(), "num_steps": num_steps, "sha256": digests}
    (folder / INFO).write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    return digests


def train_tokenizer() -> Tokenizer:
    """Byte pairs learnt from sentences and questions.

    Lists with letters are left out: "=A" must stay two tokens, so that the letter of
    a choice is the very token an answer consists of.
    """
    # Only this script trains a tokenizer; running the starter must not need rustbpe.
    import rustbpe  # noqa: PLC0415

    learner = rustbpe.Tokenizer()
    num_special = 9
    learner.train_from_iterator(
        _tokenizer_texts(), VOCAB_SIZE - num_special, pattern=NANOCHAT_PATTERN
    )
    ranks = sorted(learner.get_mergeable_ranks(), key=lambda pair: pair[1])
    return Tokenizer.from_merges(NANOCHAT_PATTERN, [bytes(piece) for piece, _ in ranks])


def _tokenizer_texts() -> Iterator[str]:
    rng = random.Random(f"{SEED}/tokenizer")
    for problem in [*fact_problems(rng), *logic_problems(rng, 3000), *list_problems(rng, 1500)]:
        yield from (problem.question, f" {problem.answer}", problem.answer)
    yield from fact_sentences()
    for relation in RELATIONS:
        for pair in relation.pairs:
            # Often enough to become one token with the blank before it.
            yield from (f" {side} " * 30 for side in pair)
    yield from [PROMPT_HEAD.format(question=""), PROMPT_TAIL] * 300
    talks = conversations(rng, 800, validation=False) + word_problems(rng, 400, validation=False)
    for row in talks:
        for message in row["messages"]:
            content = message["content"]
            yield from [content] if isinstance(content, str) else [p["text"] for p in content]


def train(config: GPTConfig, tokenizer: Tokenizer, num_steps: int) -> GPT:
    """The trained model; says every 50 steps how far it is."""
    model = GPT(config)
    model.init_weights(torch.Generator().manual_seed(SEED))
    optimizer = build_optimizer(model, OPTIM)
    documents = Corpus(random.Random(f"{SEED}/corpus")).documents()
    started = time.monotonic()
    for step in range(num_steps):
        optimizer.set_lr(_multiplier(step, num_steps))
        optimizer.zero_grad()
        rows: list[Row] = []
        while sum(len(ids) for ids, _ in rows) < TOKENS_PER_STEP:
            rows.append(encode(tokenizer, next(documents)))
        total = sum(sum(weights[1:]) for _, weights in rows)
        loss = 0.0
        for micro in _micro_batches(rows):
            part = _loss(model, micro, total)
            part.backward()
            loss += part.item()
        optimizer.step()
        if step % 50 == 0 or step == num_steps - 1:
            seconds = time.monotonic() - started
            sys.stdout.write(f"step {step:5d}/{num_steps} | loss {loss:.4f} | {seconds:.0f} s\n")
            sys.stdout.flush()
    return model


def encode(tokenizer: Tokenizer, document: Document) -> Row:
    """Ids, and weights aligned with them (not yet shifted)."""
    if "text" in document:
        ids = [tokenizer.special(BOS), *tokenizer.encode_ordinary(document["text"])]
        return ids, [1.0] * len(ids)
    rendered = render_conversation(tokenizer, parse_messages(document["messages"]))
    return rendered.ids, [ANSWER_WEIGHT * spoken for spoken in rendered.mask]


def _micro_batches(rows: list[Row]) -> Iterator[list[Row]]:
    micro: list[Row] = []
    size = 0
    for row in rows:
        micro.append(row)
        size += len(row[0])
        if size >= MICRO_TOKENS:
            yield micro
            micro, size = [], 0
    if micro:
        yield micro


def _loss(model: GPT, rows: list[Row], total_weight: float) -> Tensor:
    ids: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    spans: list[tuple[int, int]] = []
    for row_ids, row_weights in rows:
        start = len(ids)
        ids += row_ids[:-1]
        targets += row_ids[1:]
        weights += row_weights[1:]
        spans.append((start, len(ids)))
    hidden = model(torch.tensor(ids), spans=spans)
    wanted = torch.tensor(weights).nonzero().squeeze(-1)
    loss, _ = weighted_loss(
        hidden[wanted],
        model.head_weight,
        torch.tensor(targets)[wanted],
        torch.tensor(weights)[wanted] / total_weight,
    )
    return loss


def _multiplier(step: int, num_steps: int) -> float:
    left = (num_steps - step) / num_steps
    return min(1.0, (step + 1) / WARMUP_STEPS, left / DECAY_SHARE)


def main() -> None:
    """Build into the folder named on the command line, by default the package's own."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS
    for name, digest in build(folder).items():
        sys.stdout.write(f"{digest}  {name}\n")


if __name__ == "__main__":
    main()
