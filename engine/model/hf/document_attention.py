"""Attention for any decoder of transformers: documents side by side, and rows with a cache.

It goes in through transformers' own interface (`AttentionInterface`), so that modelling code
is used as it is. Windows, soft caps, sinks and scales are those the modules ask for; nothing
is approximated. No mask is ever built by transformers: what a query sees follows from the
layout of the call.
"""

# B rows, H query heads, K key heads, N tokens of a packed row, T of a padded one, E width.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.errors import CheckpointError, slow_path
from engine.model.nanochat.attention import card_obstacle, document_ends

NAME = "sftui_documents"
"""Of the implementation, in transformers' tables."""

_HOLDER = "sftui_layout"

CHANGES_NOTHING = frozenset(
    {"position_ids", "use_cache", "cache_position", "past_key_values", "output_attentions"}
    | {"output_router_logits", "output_hidden_states", "num_items_in_batch"}
)
"""What modelling code hands on to attention and what no score depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How one layer attends."""

    scaling: float | None
    """Factor on the scores; None: 1 / sqrt(E)."""
    dropout: float
    window: int | None
    """A query sees so many of the newest keys, its own among them."""
    softcap: float | None
    """Scores become cap * tanh(score / cap)."""
    sink: Tensor | None
    """[H]: the score of a sink, which takes its share of attention and gives nothing."""


@dataclass(slots=True)
class Layout:
    """How the tokens of the newest call lie. One for a whole model, read by every layer.

    It stays as it is until the next call: a layer that is run again in the backward pass (kept
    inputs instead of activations) must see what it saw.
    """

    lengths: Sequence[int] | None = None
    """Tokens of each document of a packed row; None for rows side by side."""
    ends: Tensor | None = None
    """int32 [documents + 1] on the device, for the kernel of packed rows."""
    hidden_before: Tensor | None = None
    """int64 [B]: places at the head of each row's cache that hold nothing; None where all do."""


def register() -> None:
    """Make the implementation known to transformers. Doing it again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface  # noqa: PLC0415  an extra

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _no_mask)


def hold(model: nn.Module, layout: Layout) -> None:
    """Have every module of a model find the layout."""
    for module in model.modules():
        # Not a submodule and not a buffer: nothing that a state dict would hold.
        object.__setattr__(module, _HOLDER, layout)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer: query [B, H, T, E], key and value [B, K, T', E] to [B, T, H, E].

    Arguments are transformers'; what they mean is said at `Wanted`.
    """
    for name, asked in others.items():
        if name not in CHANGES_NOTHING and asked is not None and asked is not False:
            raise CheckpointError(
                f"the attention of {type(module).__name__} asks for {name}, which is not done "
                "here; expected what its numbers follow from (scale, window, soft cap, sinks). The "
                "model cannot be trained here."
            )
    layout: Layout = getattr(module, _HOLDER)
    wanted = Wanted(
        scaling=scaling, dropout=dropout, window=sliding_window, softcap=softcap, sink=s_aux
    )
    if layout.lengths is None:
        found = _rows(query, key, value, layout.hidden_before, wanted)
    else:
        found = _documents(query, key, value, layout, wanted)
    return found.transpose(1, 2).contiguous(), None


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def _documents(q: Tensor, k: Tensor, v: Tensor, layout: Layout, wanted: Wanted) -> Tensor:
    """Documents of one packed row [1, H, N, E]: none sees another."""
    assert layout.lengths is not None
    lengths = list(layout.lengths)
    if q.is_cuda:
        obstacle = _kernel_obstacle(q, v, wanted)
        if not obstacle:
            return _one_kernel(q, k, v, layout, wanted)
        slow_path(f"attention runs document by document, many times slower: {obstacle}")
    parts = zip(q.split(lengths, 2), k.split(lengths, 2), v.split(lengths, 2), strict=True)
    return torch.cat([_rows(a, b, c, None, wanted) for a, b, c in parts], dim=2)


def _rows(q: Tensor, k: Tensor, v: Tensor, hidden_before: Tensor | None, wanted: Wanted) -> Tensor:
    """Causal attention of rows side by side; the newest queries stand at the end of the keys."""
    num_queries, num_keys = q.shape[2], k.shape[2]
    window = wanted.window
    if window is not None and window >= num_keys:
        window = None
    if wanted.softcap is not None or wanted.sink is not None:
        return _written_out(q, k, v, _seen(q, num_keys, window, hidden_before), wanted)
    plain = window is None and hidden_before is None
    causal = plain and num_queries == num_keys and num_queries > 1
    # One query at the end sees all keys.
    masked = not causal and not (plain and num_queries == 1)
    seen = _seen(q, num_keys, window, hidden_before) if masked else None
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(
        q, k, v, seen, wanted.dropout, causal, scale=wanted.scaling, enable_gqa=grouped
    )


def _seen(q: Tensor, num_keys: int, window: int | None, hidden_before: Tensor | None) -> Tensor:
    """bool [B or 1, 1, T, T']: which keys each query sees."""
    place = torch.arange(num_keys, device=q.device)
    own = place[num_keys - q.shape[2] :, None]
    seen = place[None, :] <= own
    if window is not None:
        seen = seen & (own - place[None, :] < window)
    if hidden_before is None:
        return seen[None, None]
    # A place that holds nothing sees itself, so that its softmax is a number; nobody reads it.
    filled = place[None, None, :] >= hidden_before[:, None, None]
    itself = place[None, :] == own
    return ((seen & filled) | itself)[:, None]


def _written_out(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, wanted: Wanted) -> Tensor:
    """Attention with its scores in hand, for what no kernel of torch does."""
    k, v = _one_key_a_query(q, k, v)
    scale = q.shape[-1] ** -0.5 if wanted.scaling is None else wanted.scaling
    scores = (q @ k.transpose(-2, -1)) * scale
    if wanted.softcap is not None:
        scores = torch.tanh(scores / wanted.softcap) * wanted.softcap
    scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    if wanted.sink is not None:
        column = wanted.sink.reshape(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
        scores = torch.cat([scores, column.to(scores.dtype)], dim=-1)
    shares = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    if wanted.sink is not None:
        shares = shares[..., :-1]
    return F.dropout(shares, wanted.dropout) @ v


def _one_key_a_query(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """k and v with as many heads as q."""
    times = q.shape[1] // k.shape[1]
    if times == 1:
        return k, v
    return k.repeat_interleave(times, dim=1), v.repeat_interleave(times, dim=1)


def _kernel_obstacle(q: Tensor, v: Tensor, wanted: Wanted) -> str:
    """Why the flash kernel for packed rows cannot take a layer; "" when it can."""
    if wanted.softcap is not None:
        return "this model's scores have a soft cap, and its kernel knows none"
    if wanted.sink is not None:
        return "this model has attention sinks, and its kernel knows none"
    if wanted.dropout:
        return "attention dropout is on, and its kernel has none"
    if v.dtype not in (torch.bfloat16, torch.float16) or q.dtype != v.dtype:
        return f"its kernel takes 16-bit numbers only, and these are {q.dtype} and {v.dtype}"
    return card_obstacle(q.device)


def _one_kernel(q: Tensor, k: Tensor, v: Tensor, layout: Layout, wanted: Wanted) -> Tensor:
    """All documents in one flash kernel. Not run on a GPU yet."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415  only CUDA needs it

    assert layout.lengths is not None
    if layout.ends is None:
        layout.ends = document_ends(layout.lengths).to(q.device)
    ends, longest = layout.ends, max(layout.lengths)
    k, v = _one_key_a_query(q, k, v)
    rows = [each[0].transpose(0, 1) for each in (q, k, v)]
    left = -1 if wanted.window is None else wanted.window - 1
    found: Any = varlen_attn(
        rows[0], rows[1], rows[2], ends, ends, longest, longest,
        scale=wanted.scaling, window_size=(left, 0),
    )  # fmt: skip
    return cast(Tensor, found.transpose(0, 1)[None])
