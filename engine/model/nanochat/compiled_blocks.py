"""The blocks of a training pass through `torch.compile`: a few fused kernels instead of a hundred.

A block becomes two graphs, before its attention and after it. Attention stays outside: it is
one kernel already, and what it takes besides tensors (where each document ends) differs in
every micro-step and would make each packing a graph of its own. All layers share the two
graphs, whose weights are inputs and whose number of tokens is a symbol.

Measuring has other shapes and runs as before. Nothing falls back to eager by itself: a graph
that breaks or would be compiled again and again is an error.
"""

# N tokens of a packed row, B rows of T tokens of a padded batch.

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch._dynamo.exc import TorchDynamoException

from engine.errors import ConfigError
from engine.model.nanochat.gpt import EMBEDDING, GPT, Block, GPTConfig

Made = TypeVar("Made")


def compile_blocks(model: GPT, backend: Any = "inductor") -> None:
    """Have every block of `model` go through compiled halves in training passes.

    Compiled at the first pass, or by `try_out`. `backend` is torch.compile's.
    """
    before = _reported(_compiled(Block.before_attention, backend))
    after = _reported(_compiled(Block.after_attention, backend))
    for block in model.blocks():
        block.halves = (before, after)


def try_out(model: GPT, *, mixed: bool, padded_rows: int | None = None) -> None:
    """Compile both ways now, with a pass over a few tokens that leaves no gradient.

    `padded_rows` is B of a padded layout; None when rows are packed.

    Raises:
        ConfigError: torch.compile does not work here, with its reason.
    """
    weight = model.get_parameter(EMBEDDING)
    kind = weight.device.type
    tokens = _unlike_any_size(model.config, padded_rows or 1)
    ids = torch.zeros(tokens, dtype=torch.int64, device=weight.device)
    autocast = torch.autocast(
        kind, dtype=torch.bfloat16, enabled=mixed, cache_enabled=not model.checkpoint_blocks
    )
    with warnings.catch_warnings(), autocast:
        # Of the compiler's own doing: it looks at `.grad` of what it is given.
        warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        if padded_rows is None:
            hidden = model(ids, spans=((0, 2), (2, tokens)))
        else:
            hidden = model(ids.expand(padded_rows, -1).contiguous())
        try:
            # Of one weight, and not into `.grad`: its hooks would send it to the other ranks.
            torch.autograd.grad(hidden.sum(), weight)
        except TorchDynamoException as error:
            raise _failed(error) from error


def _unlike_any_size(config: GPTConfig, rows: int) -> int:
    """A number of tokens that is none of the model's own sizes.

    Sizes that are equal when a graph is made are one symbol in it: the tokens would be taken
    for the width, and the graph for this number of tokens only.
    """
    half = config.head_dim // 2
    heads = {config.n_head, config.n_kv_head}
    taken = {rows, half, config.head_dim, config.kv_dim, config.n_embd, 4 * config.n_embd, *heads}
    return next(number for number in itertools.count(5) if number not in taken)


def _compiled(half: Callable[..., Made], backend: Any) -> Callable[..., Made]:
    # fullgraph makes an error of what torch would else run eagerly and mention in a log.
    return torch.compile(half, fullgraph=True, dynamic=True, backend=backend)


def _reported(half: Callable[..., Made]) -> Callable[..., Made]:
    """`half`, whose compiler's error is a sentence for the person who asked for it."""

    def run(*arguments: Any) -> Made:
        try:
            return half(*arguments)
        except TorchDynamoException as error:
            raise _failed(error) from error

    return run


def _failed(error: Exception) -> ConfigError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = " ".join(lines[:2])
    return ConfigError(
        f"--compile: torch.compile failed ({type(error).__name__}: {words[:300]}). The rest of "
        "its report is in the log of the rank. Mend that, or run without --compile: the numbers "
        "are the same within rounding."
    )
