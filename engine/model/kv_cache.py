"""Keys and values of the tokens a model has already seen, so that a new token costs one token.

One cache belongs to one model and one batch of rows of equal length. A model
that is given a cache reads on where it stands; nothing is computed twice.
"""

# B rows, T new tokens, S tokens seen with the new ones, K key/value heads, E head_dim.

from __future__ import annotations

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
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * num_layers

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the keys and values [B, T, K, E] of one layer; all of them so far, [B, S, K, E].

        The tokens count (`advance`) when every layer has them.
        """
        end = self.length + k.shape[1]
        kept = self._layers[layer]
        if kept is None or kept[0].shape[1] < end:
            kept = self._layers[layer] = (
                self._grown(kept, 0, k, end),
                self._grown(kept, 1, v, end),
            )
        keys, values = kept
        keys[:, self.length : end] = k
        values[:, self.length : end] = v
        return keys[:, :end], values[:, :end]

    def advance(self, num_tokens: int) -> None:
        self.length += num_tokens

    def _grown(
        self, kept: tuple[Tensor, Tensor] | None, which: int, like: Tensor, end: int
    ) -> Tensor:
        """Room for `end` tokens and as many again, with what was kept in front."""
        capacity = min(max(FIRST_CAPACITY, 2 * end), max(self.limit, end))
        batch, _, heads, width = like.shape
        room = torch.empty(batch, capacity, heads, width, dtype=like.dtype, device=like.device)
        if kept is not None:
            room[:, : self.length] = kept[which][:, : self.length]
        return room
