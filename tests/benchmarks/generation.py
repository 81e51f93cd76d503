"""Tokens a second of an answer: from the cache, against a full forward pass a token.

    python tests/benchmarks/generation.py [--width 256] [--tokens 256] [--prompt 128]

Greedy, one thread, CPU time, turn by turn. Both must say the same tokens. The target is not
in the design; it says that a token costs one token's work and not that of all before it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from engine.model.generate import Dialogue, Sampling
from engine.model.nanochat.gpt import GPT
from tests import material

TARGET = 5


@torch.no_grad()
def plain(model: GPT, ids: list[int], most: int) -> list[int]:
    """Every token from a pass over all before it, the head at the last position only."""
    said: list[int] = []
    for _ in range(most):
        hidden = model(torch.tensor([ids + said]))[:, -1]
        said.append(int(model.logits(hidden).argmax()))
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--family", choices=material.FAMILIES, default="nanochat-2025")
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = material.tokenizer()
    vocab = max(options.vocab, tokenizer.vocab_size)
    model = material.model(
        width=options.width, vocab=vocab, layers=options.layers, family=options.family
    )
    model.eval()
    dialogue = Dialogue(model, tokenizer, Sampling(max_tokens=options.tokens))
    # Random weights end nothing on purpose, and an answer cut short is no measure.
    dialogue._ends.clear()
    prompt = tokenizer.bytes_of(65).decode() * options.prompt

    list(dialogue.reply(prompt))
    dialogue.clear()
    begin = time.process_time()
    reply = dialogue.reply(prompt)
    asked = list(dialogue.ids)
    said = list(reply)
    middle = time.process_time()
    expected = plain(model, asked, len(said))
    end = time.process_time()
    same = sum(a == b for a, b in zip(said, expected, strict=True))
    fast, slow = len(said) / (middle - begin), len(said) / (end - middle)
    print(
        f"vocabulary {vocab}, width {options.width}, {options.layers} layers, prompt of "
        f"{len(asked)} tokens, {len(said)} tokens of answer, one thread"
    )
    print(f"a full pass a token {slow:8.1f} tokens a CPU second")
    print(f"from the cache      {fast:8.1f} tokens a CPU second")
    print(f"same tokens: {same} of {len(said)}")
    print(f"ratio: {fast / slow:.1f} (target >= {TARGET})")


if __name__ == "__main__":
    main()
