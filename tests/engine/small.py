"""Small real things for tests: a byte tokenizer, a list of rows, a tiny model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.conversations.conversation import Conversation, parse_messages
from engine.conversations.tokenizer import Tokenizer
from engine.model.nanochat import parts
from engine.model.nanochat.gpt import GPT
from engine.model.nanochat.gpt_config import GPTConfig

BYTES = Tokenizer.from_merges(r"[\s\S]", [bytes([value]) for value in range(256)])
"""One token a byte; the special tokens are ids 256 to 264."""


class ListSource:
    """Rows the loader can take: (source, user text, assistant text)."""

    def __init__(self, rows: Sequence[tuple[str, str, str]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def conversation(self, index: int) -> Conversation:
        _, user, assistant = self.rows[index]
        messages = [{"role": "user", "content": user}]
        # An empty answer stands for none at all: such a row has no supervised token.
        if assistant:
            messages.append({"role": "assistant", "content": assistant})
        return parse_messages(messages)

    def source_of(self, index: int) -> str:
        return self.rows[index][0]


def tiny_model(seed: int = 0) -> GPT:
    """One layer, width 16, grouped keys; its weights are random, also where nanochat's are zero."""
    config = GPTConfig(
        sequence_len=64, vocab_size=BYTES.vocab_size, n_layer=1, n_head=4, n_kv_head=2, n_embd=16
    )
    model = GPT(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.5, generator=generator)
    return model


def tiny_model_2026(seed: int = 0) -> GPT:
    """Three layers with every part of 2026, two of them with a window of 128; width 32."""
    config = GPTConfig(
        sequence_len=512,
        vocab_size=BYTES.vocab_size,
        n_layer=3,
        n_head=2,
        n_kv_head=1,
        n_embd=32,
        window_pattern="SSSL",
        parts=parts.NEWEST,
    )
    model = GPT(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.3, generator=generator)
    return model
