"""nanochat's GPT, made of its parts: token ids in, final hidden states out.

October 2025's model is the one without any of the later parts (`parts.Parts`): a part that is
absent is an identity, chosen when the model is made.

The head is a separate call (`GPT.logits`), because the training loss runs it
only where a token carries weight and never needs the whole [B, T, V] tensor.
A batch comes in one of two layouts that give the same numbers: padded [B, T],
or packed [N], where documents lie end to end, attention stays inside each
document and positions restart at 0.
"""

# B batch, T tokens of a padded row, N tokens of a packed row, D width, V vocabulary,
# H heads, K key/value heads, E head_dim.

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from engine.config import OptimConfig
from engine.errors import ConfigError
from engine.model.compiled import compiled
from engine.model.family import ModelShape, ParameterGroup, Span
from engine.model.kv_cache import KeyValueCache
from engine.model.nanochat.attention import (
    Attend,
    cached_attention,
    packed_attention,
    padded_attention,
)
from engine.model.nanochat.gpt_config import GPTConfig as GPTConfig
from engine.model.nanochat.gpt_config import check_shapes
from engine.model.nanochat.names import EMBEDDING as EMBEDDING
from engine.model.nanochat.names import HEAD, is_embedding
from engine.model.nanochat.parameter_groups import groups_of
from engine.model.nanochat.parts import SMEAR_CHANNELS, VALUE_GATE_CHANNELS

Mixed = tuple[Tensor, Tensor, Tensor]
"""The first layer's input, and the strengths of a layer's own input and of that one."""
Before = Callable[..., tuple[Tensor, ...]]
"""`Block.before_attention`, or `Block.before_with_value` in a layer with a value embedding."""
After = Callable[["Block", Tensor, Tensor], Tensor]
Halves = tuple[Before, After]
Mix = Callable[[Tensor], Sequence[Mixed | None]]
TakeOut = Callable[[Tensor, Tensor], Tensor]
Smear = Callable[[Tensor, Tensor, KeyValueCache | None], Tensor]


def _first(x: Tensor, *_: object) -> Tensor:
    """A part that is absent."""
    return x


def _unmixed(layers: int, _first: Tensor) -> Sequence[None]:
    """The same of the mix, for each layer."""
    return [None] * layers


class GPT(nn.Module):
    """The decoder. Parameter names are those of nanochat's checkpoints.

    A new model has torch's default weights; call `init_weights`, or use
    `GPT.from_state`. `checkpoint_blocks = True` keeps only the block inputs and
    computes the rest again in the backward pass: less memory, about a third
    more time, the same gradient.
    """

    checkpoint_blocks: bool = False

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.table_rows, config.n_embd),
                "h": nn.ModuleList(Block(config, layer) for layer in range(config.n_layer)),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.table_rows, bias=False)
        self._mixed: Mix = functools.partial(_unmixed, config.n_layer)
        self._smear: Smear = _first
        self._take_out: TakeOut = _first
        self.value_embeds = nn.ModuleDict()
        self._add_parts()
        cos, sin = _rotary_tables(config)
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def _add_parts(self) -> None:
        config, has = self.config, self.config.parts
        if has.residual_mix:
            self.resid_lambdas = nn.Parameter(torch.ones(config.n_layer))
            self.x0_lambdas = nn.Parameter(torch.zeros(config.n_layer))
            self._mixed = self._mixes
        if has.smear:
            self.smear_gate = nn.Linear(SMEAR_CHANNELS, 1, bias=False)
            self.smear_lambda = nn.Parameter(torch.zeros(1))
            self._smear = self._smeared
        if has.backout:
            self.backout_lambda = nn.Parameter(torch.zeros(1))
            self._take_out = self._without
        for layer in filter(config.has_value_embedding, range(config.n_layer)):
            self.value_embeds[str(layer)] = nn.Embedding(config.table_rows, config.kv_dim)

    @classmethod
    def from_state(cls, config: GPTConfig, state: Mapping[str, Tensor]) -> GPT:
        """A model whose parameters are the tensors of `state` themselves (no copy).

        Raises:
            CheckpointError: names or shapes do not fit `config`.
        """
        check_state(config, state)
        # On the meta device no weight is allocated or filled: 335 M random numbers take seconds.
        with torch.device("meta"):
            model = cls(config)
        model.load_state_dict(dict(state), strict=True, assign=True)
        # Tables are never saved; they go where the weights are.
        model.cos, model.sin = (t.to(model.lm_head.weight.device) for t in _rotary_tables(config))
        return model

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """nanochat's initial weights for training from nothing.

        Embedding N(0, 1); linears of standard deviation
        `min(1, sqrt(fan_out / fan_in)) / sqrt(fan_in)`; head and every `c_proj` zero.
        """
        for name, weight in self.named_parameters():
            if weight.dim() == 1:
                continue
            rows, columns = weight.shape
            if name == EMBEDDING:
                weight.normal_(0.0, 1.0, generator=generator)
            elif name == HEAD or name.endswith("c_proj.weight"):
                weight.zero_()
            else:
                std = min(1.0, (rows / columns) ** 0.5) / columns**0.5
                weight.normal_(0.0, std, generator=generator)

    def forward(
        self,
        ids: Tensor,
        *,
        spans: Sequence[Span] | None = None,
        positions: Tensor | None = None,
        ends: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Hidden states after the final norm: [B, T, D] for ids [B, T], [N, D] for ids [N].

        A packed row [N] needs `spans`: the documents, in order and without gaps.
        Padding belongs to the right of a padded row; being causal, it needs no
        mask. `positions` (same shape as the tokens of a row) restart at 0 in each
        document, and `ends` is `document_ends` of the spans; both are worked out when not
        given, at the price of a copy to the device. With a `cache` (padded rows,
        without padding) the tokens follow those it holds, and are kept in it.
        """
        if (ids.dim() == 1) != (spans is not None):
            raise ValueError("ids [N] go with spans, ids [B, T] without")
        seen = cache.length if cache is not None else 0
        longest = max((end - start for start, end in spans), default=0) if spans else ids.shape[-1]
        longest += seen
        if longest > self.config.max_positions:
            raise ValueError(
                f"a row of {longest} tokens does not fit the {self.config.max_positions} "
                "positions of the rotary tables"
            )
        if positions is None:
            positions = (
                _positions(ids, spans)
                if cache is None
                else cache.positions(ids.shape[-1], ids.device)
            )
        x = self.transformer["wte"](ids)
        if torch.is_autocast_enabled(x.device.type):
            # nanochat's residual stream has the autocast dtype from the embedding on.
            x = x.to(torch.get_autocast_dtype(x.device.type))
        x = self._smear(_norm(x), positions, cache)
        # Gathered and widened once: each layer then multiplies plain tensors. [tokens, 1, E/2]
        cos = _table_rows(self.cos, positions).to(x.dtype)
        sin = _table_rows(self.sin, positions).to(x.dtype)
        attends = self._attends(spans, ids, ends, cache)
        mixed = self._mixed(x)
        middle, config = x, self.config
        for layer, block in enumerate(self.blocks()):
            value = (
                self.value_embeds[str(layer)](ids) if config.has_value_embedding(layer) else None
            )
            arguments = (x, cos, sin, attends[layer], mixed[layer], value)
            if self.checkpoint_blocks and self.training and torch.is_grad_enabled():
                # No random number is drawn in a block, so none has to be put back: saving the
                # generators' state costs a copy from the device for each block.
                x = checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(*arguments)
            if layer == config.n_layer // 2:
                middle = x
        if cache is not None:
            cache.advance(ids.shape[-1])
        return _norm(self._take_out(x, middle))

    def _attends(
        self,
        spans: Sequence[Span] | None,
        ids: Tensor,
        ends: Tensor | None,
        cache: KeyValueCache | None,
    ) -> list[Attend]:
        """One a layer; layers of one window share theirs, but for a cache."""
        windows = self.config.windows
        if cache is not None:
            return [cached_attention(cache, layer, window) for layer, window in enumerate(windows)]
        if spans is None:
            return [functools.partial(padded_attention, window=window) for window in windows]
        shared = {w: packed_attention(spans, ids.device, ends, w) for w in set(windows)}
        return [shared[window] for window in windows]

    def _mixes(self, first: Tensor) -> Sequence[Mixed | None]:
        """For each layer the first one's input, and the strengths of its own input and of it."""
        # Taken apart once: the gradients of all layers' are then put together once.
        strengths = zip(self.resid_lambdas.unbind(), self.x0_lambdas.unbind(), strict=True)
        return [(first, own, others) for own, others in strengths]

    def _smeared(self, x: Tensor, positions: Tensor, cache: KeyValueCache | None) -> Tensor:
        """Each token with a share of the embedding before it in its row, as its gate says."""
        before = F.pad(x, (0, 0, 1, 0)).narrow(-2, 0, x.shape[-2])
        if cache is not None:
            if cache.newest is not None:
                before = torch.cat((cache.newest[:, -1:], x[:, :-1]), dim=1)
            cache.newest = x
        gate = torch.sigmoid(self.smear_gate(x.narrow(-1, 0, SMEAR_CHANNELS)))
        gate = self.smear_lambda.to(x.dtype) * gate.to(x.dtype)
        # A row's first token has none before it: what a packed row ends with is another row's.
        return torch.where((positions > 0).unsqueeze(-1), x + gate * before, x)

    def _without(self, x: Tensor, middle: Tensor) -> Tensor:
        """Less a share of the middle layer's output."""
        return x - self.backout_lambda.to(x.dtype) * middle

    def blocks(self) -> Sequence[Block]:
        """The layers, first to last."""
        return cast(Sequence[Block], self.transformer["h"])

    def add_noise(self, alpha: float) -> None:
        raise ConfigError(
            f"neftune_alpha is {alpha:g}; expected 0: nanochat's models are trained without noise. "
            "Leave --neftune-alpha out."
        )

    def compile_blocks(self, backend: Any = "inductor") -> None:
        # A graph for each function: layers with a value embedding have one of their own, so that
        # no other layer's call finds a graph that does not fit and has one made anew.
        befores = {block.before: compiled(block.before, backend) for block in self.blocks()}
        after = compiled(Block.after_attention, backend)
        for block in self.blocks():
            block.halves = (befores[block.before], after)

    @property
    def head_weight(self) -> Tensor:
        """[V, D]: of a padded head the rows that stand for tokens."""
        weight = self.lm_head.weight
        return weight if len(weight) == self.config.vocab_size else weight[: self.config.vocab_size]

    @property
    def softcap(self) -> float | None:
        return self.config.parts.softcap

    def logits(self, hidden: Tensor) -> Tensor:
        """fp32 logits [..., V] in (-15, 15) of hidden states [..., D]."""
        z = F.linear(hidden, self.head_weight).float()
        return z if self.softcap is None else self.softcap * torch.tanh(z / self.softcap)

    def new_cache(self) -> KeyValueCache:
        return KeyValueCache(num_layers=self.config.n_layer, limit=self.config.max_positions)

    def optimizer_groups(self, settings: OptimConfig) -> list[ParameterGroup]:
        return groups_of(self.config, settings)


class Block(nn.Module):
    """One layer. What lies before its attention and what lies after it are calls of their own,
    which training passes take compiled after `GPT.compile_blocks`.

    Attention stays outside: it is one kernel already, and what it takes besides tensors (where
    each document ends) would make each packing a graph of its own.
    """

    halves: Halves | None = None
    """The two, compiled; taken in training passes."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        takes_value = config.has_value_embedding(layer)
        self.before: Before = Block.before_with_value if takes_value else Block.before_attention
        self.attn = _Attention(config, takes_value=takes_value)
        self.mlp = _MLP(config)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        attend: Attend,
        mixed: Mixed | None,
        value: Tensor | None,
    ) -> Tensor:
        before = self.before
        after: After = Block.after_attention
        # One token alone (a rank without rows) would be a graph of its own: sizes of 1 are.
        if self.halves and self.training and torch.is_grad_enabled() and x.shape[-2] > 1:
            before, after = self.halves
        # Not in a graph: in the first layer both of what is mixed are one tensor, in others two.
        x = _mix(x, mixed)
        return after(self, x, attend(*before(self, x, cos, sin, value)))

    def before_attention(
        self, x: Tensor, cos: Tensor, sin: Tensor, value: None
    ) -> tuple[Tensor, ...]:
        """q [..., H, E], k and v [..., K, E] of the residual stream x [..., D]."""
        return self.attn.project(_norm(x), cos, sin, value)

    def before_with_value(
        self, x: Tensor, cos: Tensor, sin: Tensor, value: Tensor
    ) -> tuple[Tensor, ...]:
        """The same with `value` [..., K * E], the layer's embedding of the tokens."""
        return self.attn.project(_norm(x), cos, sin, value)

    def after_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        """The residual stream after the layer, from that before it and the attention's output."""
        x = x + self.attn.c_proj(attended.flatten(-2))
        return cast(Tensor, x + self.mlp(_norm(x)))


class _Attention(nn.Module):
    def __init__(self, config: GPTConfig, *, takes_value: bool) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.gain = config.parts.qk_gain
        self.c_q = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.c_k = nn.Linear(config.n_embd, config.kv_dim, bias=False)
        self.c_v = nn.Linear(config.n_embd, config.kv_dim, bias=False)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)
        if takes_value:
            self.ve_gate = nn.Linear(VALUE_GATE_CHANNELS, config.n_kv_head, bias=False)

    def project(
        self, x: Tensor, cos: Tensor, sin: Tensor, value: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Rotated, normed and gained q and k, and v, of the normed stream."""
        q = self.c_q(x).unflatten(-1, (-1, self.head_dim))
        k = self.c_k(x).unflatten(-1, (-1, self.head_dim))
        v = self.c_v(x).unflatten(-1, (-1, self.head_dim))
        if value is not None:
            # One gate a token and key head, 0 to 3, from the normed input's first channels.
            gate = 3 * torch.sigmoid(self.ve_gate(x.narrow(-1, 0, VALUE_GATE_CHANNELS)))
            v = v + gate.unsqueeze(-1) * value.to(v.dtype).unflatten(-1, (-1, self.head_dim))
        # Rotation first, norm second: nanochat's order ("QK norm").
        q, k = _norm(_rotate(q, cos, sin)), _norm(_rotate(k, cos, sin))
        if self.gain != 1.0:
            q, k = q * self.gain, k * self.gain
        return q, k, v


class _MLP(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.c_proj(_relu_squared(self.c_fc(x))))


class _ReluSquared(torch.autograd.Function):
    """relu(x)^2 that keeps one tensor and stays in the dtype of x.

    Written as `relu(x).square()` it is a power, which CUDA autocast computes and keeps in
    fp32: 16 D bytes a token and layer. Value and gradient are the same bits either way.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = F.relu(x)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # d relu(x)^2 / dx = 2 relu(x), which is already 0 where x is not positive. Doubling
        # is exact, so g r + g r of the product rule is this to the last bit.
        (positive,) = ctx.saved_tensors
        return cast(Tensor, (gradient * positive).mul_(2))


def _relu_squared(x: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        positive = F.relu(x)
        return positive * positive
    return cast(Tensor, _ReluSquared.apply(x))  # type: ignore[no-untyped-call]


def check_state(config: ModelShape, state: Mapping[str, Tensor]) -> None:
    """Names and shapes of `state` are exactly those of `config`.

    Raises:
        CheckpointError: naming the first tensor that is missing, unknown or of another shape.
    """
    check_shapes(config, {name: tuple(tensor.shape) for name, tensor in state.items()})


def as_trained(state: Mapping[str, Tensor], *, mixed: bool) -> dict[str, Tensor]:
    """Weights in the dtypes they are trained in, whatever a file held.

    All fp32; under bf16 autocast (`mixed`) the embedding is bf16, as in nanochat. A model of
    both kinds without autocast cannot multiply, so every source of weights passes here.
    """
    embedding = torch.bfloat16 if mixed else torch.float32
    return {
        name: tensor.to(embedding if is_embedding(name) else torch.float32)
        for name, tensor in state.items()
    }


def as_loaded(state: Mapping[str, Tensor], embedding_dtype: torch.dtype) -> dict[str, Tensor]:
    """All fp32 but the embedding, which gets `embedding_dtype`; contiguous."""
    return {
        name: tensor.to(embedding_dtype if is_embedding(name) else torch.float32).contiguous()
        for name, tensor in state.items()
    }


def as_exported(
    state: Mapping[str, Tensor], embedding_dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Copies on the CPU in the dtypes of nanochat's files: all fp32 but the embedding, which keeps
    its own (bfloat16 on CUDA) unless `embedding_dtype` names another."""
    plain = {}
    for name, tensor in state.items():
        wanted = (embedding_dtype or tensor.dtype) if is_embedding(name) else torch.float32
        # A view would be saved with the whole storage behind it.
        plain[name] = tensor.detach().to("cpu", wanted).clone(memory_format=torch.contiguous_format)
    return plain


def _mix(x: Tensor, mixed: Mixed | None) -> Tensor:
    """A layer's input and the first layer's, each at its own strength."""
    if mixed is None:
        return x
    first, own, others = mixed
    # Numbers without dimensions: they do not widen a residual stream in 16 bit.
    return own * x + others * first


def _norm(x: Tensor) -> Tensor:
    """RMS norm over the last dimension, in the dtype of x (its sums are fp32 inside).

    Outside autocast: from torch 2.12 on CUDA's autocast widens rms_norm to fp32, and with it
    q, k, the residual stream and all that is kept for the backward pass.
    """
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return F.rms_norm(x, (x.size(-1),))
    with torch.autocast(kind, enabled=False):
        return F.rms_norm(x, (x.size(-1),))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate [..., heads, E] by minus the position's angle, first half against second half."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos + second * sin, second * cos - first * sin), dim=-1)


def _rotary_tables(config: GPTConfig) -> tuple[Tensor, Tensor]:
    """cos and sin [positions, E/2]; October's rounded to bfloat16, as nanochat stored them.

    That rounding is part of the model on a CPU too: with fp32 tables the logits
    of a trained checkpoint move by more than the parity tolerance.
    """
    with torch.device("cpu"):
        half = torch.arange(0, config.head_dim, 2, dtype=torch.float32)
        inverse_frequency = 1.0 / (config.parts.rotary_base ** (half / config.head_dim))
        position = torch.arange(config.max_positions, dtype=torch.float32)
        angle = torch.outer(position, inverse_frequency)
        if config.parts.rotary_dtype == "bfloat16":
            return angle.cos().bfloat16(), angle.sin().bfloat16()
        # In fp32: the forward pass rounds what it gathers to its own dtype.
        return angle.cos(), angle.sin()


def _table_rows(table: Tensor, positions: Tensor) -> Tensor:
    """[*positions, 1, E/2] of a rotary table."""
    found = table.index_select(0, positions.flatten())
    return found.view(*positions.shape, 1, -1)


def _positions(ids: Tensor, spans: Sequence[Span] | None) -> Tensor:
    if spans is None:
        return torch.arange(ids.shape[-1], device=ids.device)
    parts = [torch.arange(end - start) for start, end in spans]
    return torch.cat(parts).to(ids.device)
