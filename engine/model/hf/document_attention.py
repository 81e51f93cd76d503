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
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.errors import slow_path
from engine.model.nanochat.attention import card_obstacle, document_ends

NAME = "sftui_documents"
"""Of the implementation, in transformers' tables."""

_HOLDER = "sftui_layout"


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
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer: query [B, H, T, E], key and value [B, K, T', E] to [B, T, H, E].

    `sliding_window` w: a query sees the w newest keys, its own among them. `softcap`: scores
    become cap * tanh(score / cap). `s_aux` [H]: the score of a sink, which takes its share of
    attention and gives nothing.
    """
    layout: Layout = getattr(module, _HOLDER)
    options = {"scaling": scaling, "dropout": dropout, "window": sliding_window}
    options |= {"softcap": softcap, "sink": s_aux}
    if layout.lengths is None:
        found = _rows(query, key, value, layout.hidden_before, **options)
    else:
        found = _documents(query, key, value, layout, **options)
    return found.transpose(1, 2).contiguous(), None


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def _documents(q: Tensor, k: Tensor, v: Tensor, layout: Layout, **options: Any) -> Tensor:
    """Documents of one packed row [1, H, N, E]: none sees another."""
    assert layout.lengths is not None
    lengths = list(layout.lengths)
    if q.is_cuda:
        obstacle = _kernel_obstacle(q, v, options)
        if not obstacle:
            return _one_kernel(q, k, v, layout, **options)
        slow_path(f"attention runs document by document, many times slower: {obstacle}")
    parts = zip(q.split(lengths, 2), k.split(lengths, 2), v.split(lengths, 2), strict=True)
    return torch.cat([_rows(a, b, c, None, **options) for a, b, c in parts], dim=2)


def _rows(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    hidden_before: Tensor | None,
    *,
    scaling: float | None,
    dropout: float,
    window: int | None,
    softcap: float | None,
    sink: Tensor | None,
) -> Tensor:
    """Causal attention of rows side by side; the newest queries stand at the end of the keys."""
    num_queries, num_keys = q.shape[2], k.shape[2]
    if window is not None and window >= num_keys:
        window = None
    if softcap is None and sink is None:
        plain = window is None and hidden_before is None
        causal = plain and num_queries == num_keys and num_queries > 1
        seen = None
        if not causal and not (plain and num_queries == 1):
            seen = _seen(q, num_keys, window, hidden_before)
        grouped = q.shape[1] != k.shape[1]
        return F.scaled_dot_product_attention(
            q, k, v, seen, dropout, causal, scale=scaling, enable_gqa=grouped
        )
    return _written_out(
        q, k, v, _seen(q, num_keys, window, hidden_before), scaling, dropout, softcap, sink
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


def _written_out(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    seen: Tensor,
    scaling: float | None,
    dropout: float,
    softcap: float | None,
    sink: Tensor | None,
) -> Tensor:
    """Attention with its scores in hand, for what no kernel of torch does."""
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scale = q.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (q @ k.transpose(-2, -1)) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    if sink is not None:
        column = sink.reshape(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
        scores = torch.cat([scores, column.to(scores.dtype)], dim=-1)
    shares = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    if sink is not None:
        shares = shares[..., :-1]
    return F.dropout(shares, dropout) @ v


def _kernel_obstacle(q: Tensor, v: Tensor, options: dict[str, Any]) -> str:
    """Why the flash kernel for packed rows cannot take a layer; "" when it can."""
    for name, words in (("softcap", "scores with a soft cap"), ("sink", "attention sinks")):
        if options[name] is not None:
            return f"this model has {words}, and its kernel knows none"
    if options["dropout"]:
        return "attention dropout is on, and its kernel has none"
    if v.dtype not in (torch.bfloat16, torch.float16) or q.dtype != v.dtype:
        return f"its kernel takes 16-bit numbers only, and these are {q.dtype} and {v.dtype}"
    return card_obstacle(q.device)


def _one_kernel(q: Tensor, k: Tensor, v: Tensor, layout: Layout, **options: Any) -> Tensor:
    """All documents in one flash kernel. Not run on a GPU yet."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415  only CUDA needs it

    assert layout.lengths is not None
    if layout.ends is None:
        layout.ends = document_ends(layout.lengths).to(q.device)
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    longest = max(layout.lengths)
    window = options["window"]
    left = -1 if window is None else window - 1
    rows = (t[0].transpose(0, 1) for t in (q, k, v))
    found = varlen_attn(
        *rows,
        layout.ends,
        layout.ends,
        longest,
        longest,
        scale=options["scaling"],
        window_size=(left, 0),
    )
    return found.transpose(0, 1)[None]
