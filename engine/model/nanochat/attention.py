"""Causal attention over padded rows, over a cache, and over documents lying end to end.

On CUDA in 16 bit one flash kernel takes all documents of a packed row; everywhere else each
document is a call of its own. Both give the same numbers, the second slowly: where CUDA
falls to it, `SlowPathWarning` says why.
"""

# B batch, T tokens of a padded row, N tokens of a packed row, H heads, K key/value heads,
# E head_dim.

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import slow_path
from engine.model.family import Span
from engine.model.kv_cache import KeyValueCache

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Causal attention over q [..., tokens, H, E] and k, v [..., tokens, K, E]; the shape of q out."""

FLASH_CAPABILITY = (8, 0)
"""The flash kernels need an Ampere card or a newer one; below, they raise when called."""
FLASH_HEAD_DIM = 256
"""Widest head the flash kernels take; it must be a multiple of 8 too."""


def padded_attention(q: Tensor, k: Tensor, v: Tensor, window: int | None = None) -> Tensor:
    """q [B, T, H, E], k and v [B, T, K, E]; SDPA wants heads before tokens.

    A token sees itself and the `window` tokens before it (None: all).
    """
    k, v = _one_key_a_query(q, k, v)
    if window is not None and window + 1 < q.shape[1]:
        return _banded(q, k, v, window)
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True
    )
    return out.transpose(1, 2)


def _banded(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Windowed attention in blocks of queries, each against the keys it may see at most.

    Full attention with a mask would work out T x T scores. Here a block of C queries meets
    C + window keys, all blocks in one call; the first ones' missing keys are masked zeros.
    """
    tokens, block = q.shape[1], max(window, 1)
    blocks = -(-tokens // block)
    # Behind the last token: queries that nobody reads, so that blocks are whole.
    after = blocks * block - tokens
    # [B, blocks, C, H, E] and [B, blocks, C + window, H, E]: a key lies in two blocks at most.
    queries = F.pad(q, (0, 0, 0, 0, 0, after)).unflatten(1, (blocks, block))
    keys, values = (
        F.pad(x, (0, 0, 0, 0, window, after)).unfold(1, block + window, block).movedim(-1, 2)
        for x in (k, v)
    )
    # Query c of block n is token n C + c; key j of the block is token n C - window + j.
    places = torch.arange(block + window, device=q.device)
    back = torch.arange(block, device=q.device).unsqueeze(-1) + window - places
    exists = torch.arange(blocks, device=q.device).unsqueeze(-1) * block - window + places >= 0
    mask = ((back >= 0) & (back <= window)) & exists.unsqueeze(1)
    out = F.scaled_dot_product_attention(
        queries.flatten(0, 1).transpose(1, 2),
        keys.flatten(0, 1).transpose(1, 2),
        values.flatten(0, 1).transpose(1, 2),
        attn_mask=mask.repeat(q.shape[0], 1, 1).unsqueeze(1),
    )
    joined: Tensor = out.transpose(1, 2).unflatten(0, (-1, blocks)).flatten(1, 2)
    return joined[:, :tokens]


def cached_attention(cache: KeyValueCache, layer: int, window: int | None = None) -> Attend:
    """Attention of new tokens over themselves and all that the cache holds of this layer."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not cache.length:
            cache.append(layer, k, v)
            return padded_attention(q, k, v, window)
        k, v = _one_key_a_query(q, *cache.append(layer, k, v))
        # The newest token sees all there is; of several, each sees those up to itself.
        mask = cache.visible(q.shape[1], window, q.device)
        out = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask
        )
        return out.transpose(1, 2)

    return attend


def packed_attention(
    spans: Sequence[Span],
    device: torch.device,
    ends: Tensor | None = None,
    window: int | None = None,
) -> Attend:
    """Attention over [N, H, E] that never crosses a document, nor looks back past `window`.

    `ends` is `document_ends(spans)` on the device. Handed in, it costs nothing here; made
    here, it is a copy to the device that the host waits for.
    """
    lengths = [end - start for start, end in spans]
    varlen, no_card = None, ""
    if device.type == "cuda":
        no_card = card_obstacle(device)
        varlen = _varlen_attention(
            document_ends(lengths).to(device) if ends is None else ends, max(lengths), window
        )

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if varlen is not None:
            obstacle = no_card or varlen_obstacle(q, k, v)
            if not obstacle:
                k, v = _one_key_a_query(q, k, v)
                return varlen(q, k, v)
            slow_path(f"attention runs document by document, many times slower: {obstacle}")
        elif device.type == "cuda":
            slow_path(
                "attention with windows runs document by document, many times slower: torch "
                f"{torch.__version__} has no windows in its kernel for packed rows"
            )
        # One call per document: no mask is built, and no work is spent on pairs of documents.
        documents = zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
        return torch.cat(
            [padded_attention(a[None], b[None], c[None], window)[0] for a, b, c in documents]
        )

    return attend


def document_ends(lengths: Sequence[int]) -> Tensor:
    """int32 [documents + 1] on the host: 0, then where each document ends in the packed row."""
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)


def varlen_obstacle(q: Tensor, k: Tensor, v: Tensor) -> str:
    """Why the flash kernel for packed rows cannot take these CUDA tensors; "" when it can."""
    # One dtype for all: what widened only q and k (torch 2.12's autocast did, through the
    # norm) is the fault to name, so the values alone say whether 16 bit was asked for.
    if v.dtype not in (torch.bfloat16, torch.float16):
        return f"its kernel takes 16-bit numbers only, and these are {_name(v.dtype)}"
    if q.dtype != v.dtype or k.dtype != v.dtype:
        return (
            f"queries and keys are {_name(q.dtype)} and values {_name(v.dtype)}, so something "
            f"between them was widened (torch {torch.__version__})"
        )
    if q.shape[-1] % 8 or q.shape[-1] > FLASH_HEAD_DIM:
        return (
            f"its kernel takes heads of a multiple of 8 up to {FLASH_HEAD_DIM}, and this "
            f"model's have {q.shape[-1]}"
        )
    return ""


def card_obstacle(device: torch.device) -> str:
    """Why the card or torch has no flash kernel; "" when it has, or when there is no card."""
    if not torch.cuda.is_available():
        return ""
    found = torch.cuda.get_device_capability(device)
    if found < FLASH_CAPABILITY:
        wanted = ".".join(map(str, FLASH_CAPABILITY))
        return (
            f"the card's compute capability is {'.'.join(map(str, found))}, and the kernel "
            f"needs {wanted}"
        )
    return ""


def _varlen_attention(ends: Tensor, longest: int, window: int | None) -> Attend | None:
    """All documents in one flash-attention kernel; None where torch's has no windows.

    Not run on a GPU yet: calls, shapes and dtypes were checked with fake tensors. The loop
    over documents is what it has to equal; `make gpu-check` compares them.
    """
    # Deferred: only CUDA needs it.
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415

    # torch 2.10 calls it is_causal; later versions have a window that reaches left only.
    by_window = "window_size" in inspect.signature(varlen_attn).parameters
    if window is not None and window + 1 >= longest:
        window = None
    if not by_window and window is not None:
        return None
    back = -1 if window is None else window
    causal = {"window_size": (back, 0)} if by_window else {"is_causal": True}

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return cast(Tensor, varlen_attn(q, k, v, ends, ends, longest, longest, **causal))

    return attend


def _one_key_a_query(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """k and v with as many heads as q: each key head serves consecutive query heads."""
    times = q.shape[-2] // k.shape[-2]
    if times == 1:
        return k, v
    return k.repeat_interleave(times, dim=-2), v.repeat_interleave(times, dim=-2)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
