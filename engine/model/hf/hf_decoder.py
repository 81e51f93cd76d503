"""A decoder of transformers behind the engine's protocol (`engine.model.family.Decoder`).

transformers builds and holds the model. What is ours: how its layers attend
(`document_attention`), that the head runs only where a token carries loss, and a cache whose
rows may have unequal lengths.
"""

# B rows, T tokens of a padded row, N tokens of a packed row, D width, V vocabulary.

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import ConfigError
from engine.model.hf import document_attention
from engine.model.hf.document_attention import Layout
from engine.model.hf.hf_config import NOT_COMPILED

Span = tuple[int, int]


class HfCache:
    """Keys and values of what was read, with rows of unequal lengths (`DecoderCache`).

    transformers' cache holds all rows at one length. After `trim` the rows are moved so that
    all of them end at the last place; what then lies before a row's first token is hidden
    from attention. Keys were rotated when they came in, so that places may move.
    """

    def __init__(self) -> None:
        from transformers import DynamicCache  # noqa: PLC0415  an extra, and slow to import

        # Without a config: layers with windows keep all keys, and attention leaves them out.
        self.inner = DynamicCache()
        self.hidden_before: Tensor | None = None
        """int64 [B]: empty places at the head of each row."""

    @property
    def length(self) -> int:
        """Tokens read by the longest row."""
        return int(self.inner.get_seq_length())

    def trim(self, lengths: Sequence[int]) -> None:
        """Row b has only `lengths[b]` tokens."""
        width, before = self.length, self.hidden_before
        read = [width] * len(lengths) if before is None else (width - before).tolist()
        # How far each row moves to the right; its oldest places come round and are hidden.
        moves = [have - keep for have, keep in zip(read, lengths, strict=True)]
        if min(moves) < 0:
            raise ValueError("a row cannot be trimmed to more tokens than it has read")
        longest = max(lengths)
        layers: list[Any] = list(self.inner.layers)
        for layer in layers:
            layer.keys = _moved(layer.keys, moves, longest)
            layer.values = _moved(layer.values, moves, longest)
        device = layers[0].keys.device
        empty = torch.tensor([longest - keep for keep in lengths], device=device)
        self.hidden_before = empty if bool(empty.any()) else None

    def select(self, rows: Tensor) -> None:
        """Keep these rows alone, in this order."""
        self.inner.batch_select_indices(rows)
        if self.hidden_before is None:
            return
        self.hidden_before = self.hidden_before[rows]
        # Places that only longer rows had used, which are gone: without them the length is that
        # of the longest row that is left, and nothing runs past the model's positions.
        unused = int(self.hidden_before.min())
        if unused:
            for layer in list[Any](self.inner.layers):
                layer.keys = layer.keys[:, :, unused:]
                layer.values = layer.values[:, :, unused:]
            left = self.hidden_before - unused
            self.hidden_before = left if bool(left.any()) else None

    def positions(self, num_new: int, device: torch.device) -> Tensor:
        """int64 [B or 1, num_new]: positions of the next tokens."""
        place = torch.arange(self.length, self.length + num_new, device=device)
        if self.hidden_before is None:
            return place[None]
        return place[None] - self.hidden_before[:, None]


def _moved(held: Tensor, moves: Sequence[int], longest: int) -> Tensor:
    """[B, K, T, E] with row b rolled to the right by `moves[b]`, cut to the last `longest`."""
    rows = [row.roll(by, dims=1) for row, by in zip(held, moves, strict=True)]
    return torch.stack(rows)[:, :, held.shape[2] - longest :]


class HfDecoder(nn.Module):
    """A causal language model of transformers: ids in, final hidden states out."""

    def __init__(self, model: nn.Module, config: Any) -> None:
        """`model`: as `AutoModelForCausalLM` makes it, or with adapters of peft around it;
        `config`: the engine's `HfConfig`."""
        super().__init__()
        document_attention.register()
        self.model = model
        self.config = config
        self._layout = Layout()
        whole: Any = model
        base = whole.get_base_model() if hasattr(model, "get_base_model") else whole
        base.set_attn_implementation(document_attention.NAME)
        document_attention.hold(base, self._layout)
        # In a list: they are part of `model` already.
        self._parts = [base, base.get_decoder(), base.get_output_embeddings()]
        self._checkpoint_blocks = False

    @property
    def checkpoint_blocks(self) -> bool:
        """Keep only the inputs of blocks for the backward pass."""
        return self._checkpoint_blocks

    @checkpoint_blocks.setter
    def checkpoint_blocks(self, wanted: bool) -> None:
        base: Any = self._parts[0]
        # Named anew in transformers 5.
        new = hasattr(base, "activation_checkpointing_enable")
        name = "activation_checkpointing" if new else "gradient_checkpointing"
        if wanted and not self._checkpoint_blocks:
            getattr(base, f"{name}_enable")({"use_reentrant": False})
        elif self._checkpoint_blocks and not wanted:
            getattr(base, f"{name}_disable")()
        self._checkpoint_blocks = wanted

    @property
    def head_weight(self) -> Tensor:
        """[V, D]."""
        weight: Tensor = self._parts[2].weight
        return weight

    @property
    def softcap(self) -> float | None:
        """Of the logits."""
        found = self.config.softcap
        return None if found is None else float(found)

    def forward(
        self,
        ids: Tensor,
        *,
        spans: Sequence[Span] | None = None,
        positions: Tensor | None = None,
        ends: Tensor | None = None,
        cache: HfCache | None = None,
    ) -> Tensor:
        """See `engine.model.family.Decoder`."""
        layout, packed = self._layout, ids.dim() == 1
        if packed:
            if spans is None:
                spans = [(0, len(ids))]
            lengths = [end - start for start, end in spans]
            if positions is None:
                positions = torch.cat([torch.arange(n, device=ids.device) for n in lengths])
            layout.lengths, layout.ends, layout.hidden_before = lengths, ends, None
            ids, positions, longest = ids[None], positions[None], max(lengths)
        else:
            layout.lengths = layout.ends = layout.hidden_before = None
            if cache is not None:
                layout.hidden_before = cache.hidden_before
                positions = cache.positions(ids.shape[1], ids.device)
            elif positions is None:
                positions = torch.arange(ids.shape[1], device=ids.device)[None]
            longest = ids.shape[1] + (cache.length if cache is not None else 0)
        if longest > self.config.max_positions:
            raise ValueError(
                f"a row of {longest:,} tokens is longer than the {self.config.max_positions:,} "
                "positions of the model"
            )
        found: Tensor = self._parts[1](
            input_ids=ids,
            position_ids=positions.expand(ids.shape[0], -1),
            past_key_values=None if cache is None else cache.inner,
            use_cache=cache is not None,
        ).last_hidden_state
        if self.config.logit_scale != 1.0:
            # Cohere and Granite scale logits; scaling what is multiplied with the head is the same.
            found = found * self.config.logit_scale
        return found[0] if packed else found

    def logits(self, hidden: Tensor) -> Tensor:
        """fp32 [..., V] of hidden states [..., D]."""
        logits = (hidden @ self.head_weight.to(hidden.dtype).T).float()
        cap = self.softcap
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def add_noise(self, alpha: float) -> None:
        table: nn.Module = self._parts[0].get_input_embeddings()
        layout = self._layout

        def noisy(_module: nn.Module, _ids: Any, embedded: Tensor) -> Tensor:
            if not self.training:
                return embedded
            return embedded + embedding_noise(embedded, layout.lengths, alpha)

        table.register_forward_hook(noisy)

    def compile_blocks(self, backend: Any = "inductor") -> None:
        raise ConfigError(NOT_COMPILED)

    def new_cache(self) -> HfCache:
        return HfCache()


def embedding_noise(embedded: Tensor, lengths: Sequence[int] | None, alpha: float) -> Tensor:
    """Noise of NEFTune for embeddings [B, T, D]: uniform within `alpha / sqrt(L D)`.

    L is the row's length: one of `lengths` where rows lie packed behind each other in [1, N, D],
    else T, padding included, as in transformers.
    """
    rows, tokens, width = embedded.shape
    sizes = [tokens] * rows if lengths is None else lengths
    bounds = torch.tensor([alpha / math.sqrt(size * width) for size in sizes])
    each = bounds.repeat_interleave(torch.tensor(sizes)).to(embedded.device, embedded.dtype)
    drawn = torch.empty_like(embedded).uniform_(-1.0, 1.0)
    return drawn * each.view(rows, tokens, 1)
