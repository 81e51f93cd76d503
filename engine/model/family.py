"""What the engine asks of a model, and nothing else about it: families and their decoders.

A *family* knows the parameter names, the file formats and the constants of a kind of models;
the rest of the engine sees a shape (`ModelShape`, without torch), a `Decoder` (with torch)
and lists of `ParameterGroup`. nanochat's generations are one family, made of parts. The place
of a second one, models of transformers, is a folder beside `engine/model/nanochat/` and a
line in `FAMILIES`.

No torch is imported by this module: the launcher asks for shapes and must stay fast.
"""

# B rows, T tokens of a padded row, N tokens of a packed row, D width, V vocabulary.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from engine.conversations.chat_format import ChatTokenizer
from engine.errors import CheckpointError
from engine.files import checked

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from engine.config import OptimConfig

Span = tuple[int, int]
"""Start and end (not included) of one attention row in a packed micro-step."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of tensors by their names in a checkpoint."""

Kernel = Literal["adamw", "muon", "normuon"]
"""What updates a group: AdamW; Muon of October 2025; Muon with the Polar Express, equilibrated
rows, a second moment by rows or columns and cautious decay (nanochat 2026)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterGroup:
    """Parameters that one kernel updates at one rate."""

    name: str
    """Unique; learning rates and distances are reported by it."""
    kernel: Kernel
    parameters: tuple[str, ...]
    """By name, in model order."""
    lr: float
    """At multiplier 1."""
    shared_by_rows: bool = False
    """A large table, of which each rank updates some rows. Otherwise every parameter has one
    rank that updates all of it."""
    spread: bool = False
    """Of AdamW's, many parameters: each rank updates its share of them. Otherwise, and where
    they are not shared by rows, rank 0 updates all."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's; of `normuon` the second one alone, of its second moment."""
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.95
    """Of the Muons, where the schedule says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightCounts:
    """Elements of a model by the way they are kept and updated."""

    matrices: int
    """Updated by Muon: one momentum each."""
    head: int
    """Updated by AdamW in fp32: two moments each."""
    tables: int
    """Embeddings: AdamW too, and in bf16 under autocast."""
    others: int = 0
    """Updated by AdamW in fp32 as the head is, and no part of the loss."""
    frozen: int = 0
    """Not trained: no gradient and no state; in bf16 under autocast."""
    frozen_head: int = 0
    """Of those, the head's: the loss multiplies with it and gives it no gradient."""

    @property
    def total(self) -> int:
        return self.trained + self.frozen

    @property
    def trained(self) -> int:
        return self.matrices + self.head + self.tables + self.others


class ModelShape(Protocol):
    """The numbers of a model, read from its meta file and tensor names; no torch."""

    @property
    def family(self) -> str: ...
    @property
    def generation(self) -> str:
        """Which recipe and which log names it goes with, e.g. `2025` or `2026`."""
        ...

    @property
    def sequence_len(self) -> int: ...
    @property
    def vocab_size(self) -> int:
        """Ids the tokenizer has; a table in the model may be padded beyond."""
        ...

    @property
    def n_layer(self) -> int: ...
    @property
    def n_head(self) -> int: ...
    @property
    def n_kv_head(self) -> int: ...
    @property
    def n_embd(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def kv_dim(self) -> int: ...
    @property
    def max_positions(self) -> int:
        """Longest row the model has positions for."""
        ...

    @property
    def num_parameters(self) -> int: ...
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor of a checkpoint, in file order."""
        ...

    def weight_counts(self) -> WeightCounts:
        """For the memory estimate: elements by kind."""
        ...

    @property
    def kept_per_layer(self) -> float:
        """For the memory estimate: activations of one layer that stay for the backward pass, in
        units of [N, D], on average."""
        ...

    @property
    def kept_by_recomputing(self) -> float:
        """The same with activation checkpointing: what a layer is given."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """JSON; `shape_from` reads it back. Kept in manifests and checkpoints of runs."""
        ...


class DecoderCache(Protocol):
    """Keys, values and whatever else a decoder must remember of the tokens it has read.

    Made by `Decoder.new_cache`, for one batch of rows. A call with B rows of T tokens reads
    them after what is in the cache and keeps them.

    Rows of unequal lengths: pad on the RIGHT, call once, then `trim(lengths)`. From then on row
    b continues at its own length, and what was padding is overwritten and never seen:

        cache = model.new_cache()
        hidden = model(prompts_padded_right, cache=cache)          # [B, T, D]
        last = hidden[torch.arange(B), lengths - 1]                # each prompt's end
        cache.trim(lengths)
        hidden = model(next_ids[:, None], cache=cache)             # [B, 1, D], all at once
        cache.select(torch.tensor([0, 2, 3]))                      # row 1 has ended
    """

    @property
    def length(self) -> int:
        """Tokens read by the longest row."""
        ...

    def trim(self, lengths: Sequence[int]) -> None:
        """Row b has only `lengths[b]` tokens: forget what stands behind.

        The newest call must hold the place `lengths[b] - 1` of every row (so: right after the
        prompts were read), since a model may need more of the newest token than its keys.
        """
        ...

    def select(self, rows: Tensor) -> None:
        """Keep these rows alone, in this order (int64 [rows])."""
        ...


class Decoder(Protocol):
    """A causal language model: ids in, final hidden states out, and a head to multiply with.

    Modules of torch. Calling it gives hidden states and never logits, because the loss runs
    the head only where a token carries weight. Logits are
    `softcap * tanh(h @ head_weight.T / softcap)` in fp32, or without the cap where `softcap` is
    None; `logits` does that.
    """

    checkpoint_blocks: bool
    """Keep only the inputs of blocks for the backward pass."""
    training: bool

    @property
    def config(self) -> ModelShape: ...
    @property
    def head_weight(self) -> Tensor:
        """[V, D], V the tokenizer's vocabulary: a padded head is a view of its first rows.

        Its device is the model's.
        """
        ...

    @property
    def softcap(self) -> float | None: ...

    def __call__(
        self,
        ids: Tensor,
        *,
        spans: Sequence[Span] | None = None,
        positions: Tensor | None = None,
        ends: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Hidden states after the final norm: [B, T, D] of ids [B, T], [N, D] of ids [N].

        ids [N] go with `spans`: rows end to end, in order and without gaps. Nothing crosses
        from one to the next (attention, positions, nor any shift of tokens); `positions` [N]
        restart at 0 in each and `ends` (int32 [rows + 1], 0 and the ends) are worked out when
        not given. Padding belongs on the right of ids [B, T]. `cache`: one of `new_cache`, with
        ids [B, T] only.

        Raises:
            ValueError: a row is longer than `config.max_positions`.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """fp32 [..., V] of hidden states [..., D]; call it outside autocast with fp32 states."""
        ...

    def new_cache(self) -> DecoderCache: ...

    def compile_blocks(self, backend: Any = "inductor") -> None:
        """Have training passes go through torch.compile, in a few graphs for every packing.

        Compiled at the first pass, which `compiled.try_out` makes; measuring stays eager.

        Raises:
            ConfigError: this family cannot.
        """
        ...

    def add_noise(self, alpha: float) -> None:
        """From now on training passes add noise to the embeddings (NEFTune, Jain et al. 2023).

        Uniform within `alpha / sqrt(L D)`, L the tokens of a packed row (of a padded one its whole
        length), drawn from torch's default generator of the device. Measuring stays without.

        Raises:
            ConfigError: this family cannot.
        """
        ...

    def optimizer_groups(self, settings: OptimConfig) -> list[ParameterGroup]:
        """Every parameter in exactly one group, in the family's order."""
        ...

    # Of nn.Module, as far as it is used.
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def to(self, device: torch.device) -> Any: ...


class RunTokenizer(ChatTokenizer, Protocol):
    """The tokenizer of a run, kept whole in one file of its directory."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides how a conversation becomes tokens."""
        ...

    def decode(self, ids: Sequence[int]) -> str: ...
    def bytes_of(self, token: int) -> bytes: ...
    def save_json(self, path: Path) -> None: ...


class Family(Protocol):
    """One kind of models. The first methods need no torch."""

    name: str
    in_folders: bool
    """Whether its models are folders of transformers, start and result alike."""

    def read_tokenizer(self, path: Path) -> RunTokenizer:
        """The tokenizer in a file that the family keeps, or that a run directory holds.

        Raises:
            CheckpointError: missing or damaged.
        """
        ...

    def recognises(self, described: Mapping[str, Any]) -> bool:
        """Whether `described` (a meta file's `model_config`, or `ModelShape.to_dict`) is ours."""
        ...

    def read_config(self, described: Mapping[str, Any], tensors: Shapes | None) -> ModelShape:
        """The shape; `tensors` of the checkpoint decide where the description leaves it open.

        Raises:
            CheckpointError: something is missing, unknown or of a kind that cannot be trained.
        """
        ...

    def check_shapes(self, shape: ModelShape, found: Shapes) -> None:
        """The tensors are exactly those of `shape`.

        Raises:
            CheckpointError: naming the first that is missing, unknown or of another shape.
        """
        ...

    def initial_lrs(self, shape: ModelShape, settings: OptimConfig) -> dict[str, float]:
        """Learning rates at multiplier 1, by group."""
        ...

    # Below: torch.

    def build(self, shape: ModelShape, state: Mapping[str, Tensor]) -> Decoder:
        """A decoder whose parameters are these tensors (no copy).

        Raises:
            CheckpointError: they do not fit.
        """
        ...

    def check_tokenizer(self, shape: ModelShape, tokenizer: RunTokenizer) -> None:
        """It reads as the model's own library reads; asked by the ranks.

        Raises:
            CheckpointError: it does not; where is said.
        """
        ...

    def start_state(self, shape: ModelShape) -> dict[str, Tensor]:
        """What is trained, as a run begins with it; of families whose models lie in a folder.

        Raises:
            CheckpointError: the folder has changed, or cannot be read.
        """
        ...

    def as_trained(
        self, shape: ModelShape, state: Mapping[str, Tensor], *, mixed: bool
    ) -> dict[str, Tensor]:
        """The tensors in the dtypes they are trained in; `mixed`: under bf16 autocast."""
        ...

    def as_exported(
        self, shape: ModelShape, state: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, order and dtype, and `model_config`, as the family's own files hold
        them."""
        ...

    def export(
        self,
        folder: Path,
        shape: ModelShape,
        state: Mapping[str, Tensor],
        tokenizer: RunTokenizer,
        *,
        adapter: bool = False,
    ) -> int:
        """Write the folder that transformers loads; bytes written. `adapter`: adapters alone.

        Raises:
            CheckpointError: it cannot be written.
        """
        ...

    def read_optimizer(
        self, shape: ModelShape, settings: OptimConfig, files: Sequence[Path]
    ) -> dict[str, Tensor]:
        """One whole optimizer state, as `ShardedOptimizer.load_state_dict` takes it, from the
        shards of all ranks of any world size.

        Raises:
            CheckpointError: a shard is missing, or does not fit; or the family has none.
        """
        ...

    def optimizer_file(
        self,
        shape: ModelShape,
        settings: OptimConfig,
        shards: Sequence[Mapping[str, Tensor]],
        *,
        multiplier: float,
        momentum: float | None,
    ) -> dict[str, Any] | None:
        """The optimizer file that one rank of the family's own trainer would write, from ours of
        any number of ranks; None where it writes none.

        Raises:
            CheckpointError: a part of the state is in no shard.
        """
        ...


FAMILIES = {
    "nanochat": "engine.model.nanochat.nanochat_family",
    "hf": "engine.model.hf.hf_family",
}
"""Name -> module with a `FAMILY` object."""


@lru_cache
def named(name: str) -> Family:
    """The family of that name.

    Raises:
        CheckpointError: there is none.
    """
    if name not in FAMILIES:
        raise CheckpointError(
            f"the model is of a family {name!r}; expected one of {', '.join(FAMILIES)}. Name "
            "another checkpoint."
        )
    found: Family = import_module(FAMILIES[name]).FAMILY
    return found


def run_tokenizer(shape: ModelShape, path: Path, digest: str) -> RunTokenizer:
    """The tokenizer of a run, refused when it is another one than the manifest says.

    It is a file in the run's folder: a link, which may lead anywhere, is not followed.

    Raises:
        CheckpointError: missing, damaged, or of another digest.
    """
    try:
        checked.open_file(path).close()
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); expected the tokenizer of the run. Put "
            "the file there again, or start a new run."
        ) from None
    found = of(shape).read_tokenizer(path)
    if found.digest != digest:
        raise CheckpointError(
            f"{path} is not the tokenizer this run was started with; expected the digest "
            f"{digest[:12]}. Restore the file, or start a new run."
        )
    return found


def of(shape: ModelShape) -> Family:
    """The family of a shape."""
    return named(shape.family)


def shape_from(described: object, tensors: Shapes | None = None) -> ModelShape:
    """The shape of whichever family recognises the description, which may be of anybody's.

    Raises:
        CheckpointError: as `Family.read_config`, or it is no table.
    """
    if not isinstance(described, Mapping):
        raise CheckpointError(
            f"model_config is {checked.short(described)}; expected a table. Name another "
            "checkpoint, or repair the file that describes the model."
        )
    for name in FAMILIES:
        family = named(name)
        if family.recognises(described):
            return family.read_config(described, tensors)
    # The first one says what it would have expected.
    return named(next(iter(FAMILIES))).read_config(described, tensors)
