"""Answer many prompts at once, greedily: one token of every row a step, from one cache.

The answers are those of one prompt at a time. As nanochat counts them, what the calculator puts
into an answer are tokens of it, one a step.
"""

# B rows of a batch, T tokens of the longest prompt, V vocabulary.

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.conversations.chat_format import format_of
from engine.conversations.tokenizer import BOS
from engine.errors import CheckpointError
from engine.model.calculator_calls import CalculatorCalls, calls_of
from engine.model.family import Decoder, RunTokenizer


@dataclass(slots=True)
class _Row:
    """One prompt's answer as it grows."""

    item: int
    calls: CalculatorCalls | None
    ids: list[int] = field(default_factory=list)
    forced: deque[int] = field(default_factory=deque)
    positions: int = 0
    """Tokens that may still be read."""


def generate(
    model: Decoder,
    tokenizer: RunTokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    rows: int,
    calculator: bool = True,
    on_token: Callable[[int, int], None] = lambda done, tokens: None,
) -> list[list[int]]:
    """The answer of every prompt, without the token that ended it, in the order of `prompts`.

    An answer ends at `<|assistant_end|>`, `<|bos|>`, `max_tokens`, or the model's last position.

    Args:
        rows: prompts of one batch.
        on_token: called after each step of a batch with the answers that are done and the
            tokens made so far; what it raises ends the work.

    Raises:
        CheckpointError: the logits are no numbers.
    """
    # Like lengths together: a batch is padded to its longest prompt.
    order = sorted(range(len(prompts)), key=lambda item: -len(prompts[item]))
    answers: list[list[int]] = [[] for _ in prompts]
    done = tokens = 0
    with torch.no_grad():
        for first in range(0, len(order), rows):
            batch = order[first : first + rows]
            for row in _batch(model, tokenizer, prompts, batch, max_tokens, calculator):
                if isinstance(row, int):
                    tokens += row
                    on_token(done, tokens)
                    continue
                answers[row.item] = row.ids
                done += 1
    on_token(done, tokens)
    return answers


def _batch(
    model: Decoder,
    tokenizer: RunTokenizer,
    prompts: Sequence[Sequence[int]],
    batch: Sequence[int],
    max_tokens: int,
    calculator: bool,
) -> Iterator[_Row | int]:
    """Rows as they end, and after each step how many tokens it made."""
    device = model.head_weight.device
    ends = set(format_of(tokenizer).ends())
    pad = format_of(tokenizer).pad(BOS)
    cache = model.new_cache()
    lengths = [len(prompts[item]) for item in batch]
    living = [
        _Row(
            item=item,
            calls=calls_of(tokenizer) if calculator else None,
            positions=model.config.max_positions - length,
        )
        for item, length in zip(batch, lengths, strict=True)
    ]
    width = max(lengths)
    padded = [[*prompts[i], *[pad] * (width - len(prompts[i]))] for i in batch]
    hidden = model(torch.tensor(padded, device=device), cache=cache)
    places = torch.tensor(lengths, device=device) - 1
    last = hidden[torch.arange(len(batch), device=device), places]
    cache.trim(lengths)
    while living:
        best = _best(model, last, tokenizer.vocab_size)
        stay: list[int] = []
        for number, (row, token) in enumerate(zip(living, best, strict=True)):
            if _goes_on(row, token, ends, max_tokens):
                stay.append(number)
            else:
                yield row
        yield len(living)
        if len(stay) < len(living):
            living = [living[number] for number in stay]
            if living:
                cache.select(torch.tensor(stay, device=device))
        if living:
            newest = torch.tensor([[row.ids[-1]] for row in living], device=device)
            last = model(newest, cache=cache)[:, -1]


def _goes_on(row: _Row, likeliest: int, ends: set[int], max_tokens: int) -> bool:
    """Take the row's next token; whether another one follows it."""
    token = row.forced.popleft() if row.forced else likeliest
    if token in ends:
        return False
    row.ids.append(token)
    if row.calls is not None:
        row.forced.extend(row.calls.feed(token))
    return len(row.ids) < max_tokens and len(row.ids) <= row.positions


def _best(model: Decoder, hidden: Tensor, vocab_size: int) -> list[int]:
    """Likeliest token of each row [B], the first of equals; NaN is an error."""
    with torch.autocast(hidden.device.type, enabled=False):
        logits = model.logits(hidden.float())[:, :vocab_size]
    # One copy from the device a step.
    *best, finite = torch.cat(
        [logits.argmax(dim=-1), torch.isfinite(logits).all().long().unsqueeze(0)]
    ).tolist()
    if not finite:
        raise CheckpointError(
            "the model answers with numbers that are none (NaN): its weights are broken. Take "
            "an earlier checkpoint."
        )
    return best
