"""Keys and values of the tokens a model has already seen, so that a new token costs one token.

One cache belongs to one model and one batch of rows, which may be of unequal lengths after
`trim`. A model that is given a cache reads on where it stands; nothing is computed twice.
"""

# B rows, T new tokens, S tokens seen with the new ones, K key/value heads, E head_dim, D width.

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FIRST_CAPACITY = 256
"""Tokens there is room for at first; doubled when they are full, up to the model's positions."""


class KeyValueCache:
    """Empty at first; `length` tokens long after a forward pass over them."""

    def __init__(self, *, num_layers: int, limit: int) -> None:
        """`limit`: most tokens that are ever kept, the positions of the rotary tables."""
        self.limit = limit
        self.length = 0
        """Of the longest row."""
        self.lengths: Tensor | None = None
        """int64 [B] of every row, where they differ."""
        self.newest: Tensor | None = None
        """[B, T, D] a model's embeddings of the newest call's tokens, if it keeps them."""
        self._newest_start = 0
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * num_layers

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the keys and values [B, T, K, E] of one layer; all of them so far, [B, S, K, E].

        The tokens count (`advance`) when every layer has them. In rows of unequal lengths each
        row's follow its own; what stands behind the end of a shorter row means nothing.
        """
        end = self.length + k.shape[1]
        kept = self._layers[layer]
        if kept is None or kept[0].shape[1] < end:
            kept = self._layers[layer] = (
                self._grown(kept, 0, k, end),
                self._grown(kept, 1, v, end),
            )
        keys, values = kept
        if self.lengths is None:
            keys[:, self.length : end] = k
            values[:, self.length : end] = v
        else:
            places = self.positions(k.shape[1], k.device)
            rows = torch.arange(len(places), device=k.device).unsqueeze(-1)
            keys[rows, places] = k
            values[rows, places] = v
        return keys[:, :end], values[:, :end]

    def positions(self, num_tokens: int, device: torch.device) -> Tensor:
        """int64 positions of the next tokens: [T], or [B, T] in rows of unequal lengths."""
        new = torch.arange(num_tokens, device=device)
        return new + self.length if self.lengths is None else self.lengths.unsqueeze(-1) + new

    def visible(self, num_tokens: int, window: int | None, device: torch.device) -> Tensor | None:
        """bool [T, S] or [B, 1, T, S]: which of the S tokens each new one sees; None for all.

        Itself and what came before, of which no more than the `window` tokens before it.
        """
        seen = self.length + num_tokens
        narrow = window if window is not None and window + 1 < seen else None
        if self.lengths is None and num_tokens == 1 and narrow is None:
            return None
        # How far each of the S tokens lies before each new one.
        back = self.positions(num_tokens, device).unsqueeze(-1) - torch.arange(seen, device=device)
        found = back >= 0
        if narrow is not None:
            found &= back <= narrow
        return found if self.lengths is None else found.unsqueeze(1)

    def advance(self, num_tokens: int) -> None:
        """All layers have these tokens."""
        self._newest_start = self.length
        self.length += num_tokens
        if self.lengths is not None:
            self.lengths = self.lengths + num_tokens

    def trim(self, lengths: Sequence[int]) -> None:
        """Row b has only `lengths[b]` tokens; see `family.DecoderCache`.

        Raises:
            ValueError: a length outside the newest call, or after rows came to differ.
        """
        first, last = self._newest_start + 1, self.length
        if self.lengths is not None or any(not first <= each <= last for each in lengths):
            raise ValueError(f"lengths are {list(lengths)}; expected {first} to {last}, and once")
        device = next(layer[0].device for layer in self._layers if layer is not None)
        places = torch.tensor(list(lengths), device=device)
        if self.newest is not None:
            rows = torch.arange(len(lengths), device=device)
            self.newest = self.newest[rows, places - 1 - self._newest_start].unsqueeze(1)
        self.length = max(lengths)
        if min(lengths) != self.length:
            self.lengths = places

    def select(self, rows: Tensor) -> None:
        """Keep these rows alone, in this order (int64 [rows])."""
        for number, kept in enumerate(self._layers):
            if kept is not None:
                at = rows.to(kept[0].device)
                self._layers[number] = (kept[0][at], kept[1][at])
        if self.newest is not None:
            self.newest = self.newest[rows.to(self.newest.device)]
        if self.lengths is not None:
            self.lengths = self.lengths[rows.to(self.lengths.device)]

    def _grown(
        self, kept: tuple[Tensor, Tensor] | None, which: int, like: Tensor, end: int
    ) -> Tensor:
        """Room for `end` tokens and as many again, with what was kept in front."""
        capacity = min(max(FIRST_CAPACITY, 2 * end), max(self.limit, end))
        batch, _, heads, width = like.shape
        # Zeros, not whatever lay there: a masked place still takes part in a product, and
        # 0 times NaN is NaN.
        room = torch.zeros(batch, capacity, heads, width, dtype=like.dtype, device=like.device)
        if kept is not None:
            room[:, : self.length] = kept[which][:, : self.length]
        return room
