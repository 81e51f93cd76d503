"""The shape of a nanochat model, and the numbers that follow from it.

Kept apart from `model.py` because the launcher, the memory estimate and the
checkpoint search need the shape but must not pay for importing torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from engine.errors import CheckpointError
from engine.files import checked
from engine.model.family import ModelShape, WeightCounts
from engine.model.nanochat.names import EMBEDDING, HEAD

SOFTCAP = 15.0
"""Logits are squashed to (-15, 15) by `15 * tanh(z / 15)`."""

ROTARY_BASE = 10_000.0

ROTARY_LENGTHS = 10
"""Rotary tables hold this many times `sequence_len` positions; longer rows are refused."""


LARGEST = {
    "sequence_len": 2**24,
    "vocab_size": 2**24,
    "n_layer": 4096,
    "n_head": 65_536,
    "n_kv_head": 65_536,
    "n_embd": 2**20,
}
"""Beyond every model there is: what a meta file says is believed up to here before anything of that
size is made or counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GPTConfig:
    """`model_config` of nanochat's `meta_*.json`, October-2025 generation.

    Raises:
        CheckpointError: a number is not positive, or the heads do not divide the width.
    """

    sequence_len: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_kv_head: int
    n_embd: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value, most = getattr(self, field.name), LARGEST[field.name]
            if type(value) is not int or not 1 <= value <= most:
                raise CheckpointError(
                    f"model_config.{field.name} is {checked.short(value)}; expected a whole number "
                    f"from 1 to {most:,}. Name another checkpoint, or repair its meta file."
                )
        if self.n_embd % self.n_head or self.head_dim % 2:
            raise CheckpointError(
                f"model_config has n_embd {self.n_embd} and n_head {self.n_head}; expected n_embd "
                "to be an even multiple of n_head. Name another checkpoint."
            )
        if self.n_head % self.n_kv_head:
            raise CheckpointError(
                f"model_config has n_head {self.n_head} and n_kv_head {self.n_kv_head}; expected "
                "n_kv_head to divide n_head. Name another checkpoint."
            )

    @property
    def family(self) -> str:
        return "nanochat"

    @property
    def generation(self) -> str:
        return "2025"

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @property
    def kv_dim(self) -> int:
        """Width of the keys and of the values."""
        return self.n_kv_head * self.head_dim

    @property
    def max_positions(self) -> int:
        """Longest document the rotary tables can place."""
        return ROTARY_LENGTHS * self.sequence_len

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """(rows, columns) of every tensor in a checkpoint, by its name there, in file order."""
        wide, kv = self.n_embd, self.kv_dim
        shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (self.vocab_size, wide)}
        for layer in range(self.n_layer):
            block = f"transformer.h.{layer}"
            shapes[f"{block}.attn.c_q.weight"] = (wide, wide)
            shapes[f"{block}.attn.c_k.weight"] = (kv, wide)
            shapes[f"{block}.attn.c_v.weight"] = (kv, wide)
            shapes[f"{block}.attn.c_proj.weight"] = (wide, wide)
            shapes[f"{block}.mlp.c_fc.weight"] = (4 * wide, wide)
            shapes[f"{block}.mlp.c_proj.weight"] = (wide, 4 * wide)
        shapes[HEAD] = (self.vocab_size, wide)
        return shapes

    def weight_counts(self) -> WeightCounts:
        """Elements by the way they are kept and updated."""
        table = self.vocab_size * self.n_embd
        return WeightCounts(matrices=self.num_parameters - 2 * table, head=table, tables=table)

    @property
    def kept_per_layer(self) -> int:
        """Of [N, D]: the inputs of two norms, four products and the attention (block input 1,
        normed 1, q k v 3, rotated 2, normed 2, attention out 1; block middle 1, normed 1, MLP 4
        and its square 4), less what two of them share."""
        return 18

    def to_dict(self) -> dict[str, int]:
        """As `meta_*.json` holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> GPTConfig:
        """From `meta_*.json`.

        Raises:
            CheckpointError: a key is missing or unknown; a key of the 2026
                generation (`window_pattern`) is named as what it is.
        """
        if "window_pattern" in found:
            raise CheckpointError(
                "This checkpoint is of nanochat's 2026 generation (its model_config has "
                "window_pattern), which sftui cannot train yet; expected one of the October-2025 "
                "generation. Name another with --source, --model-tag and --step."
            )
        wanted = [field.name for field in fields(cls)]
        missing = [name for name in wanted if name not in found]
        unknown = sorted(set(found) - set(wanted))
        if missing or unknown:
            raise CheckpointError(
                f"model_config has keys {', '.join(sorted(found)) or 'none'}; expected exactly "
                f"{', '.join(wanted)}. Name another checkpoint, or repair its meta file."
            )
        return cls(**{name: found[name] for name in wanted})


def check_shapes(config: ModelShape, found: Mapping[str, tuple[int, ...]]) -> None:
    """Names and shapes of the tensors that were found are exactly those of `config`.

    Raises:
        CheckpointError: naming the first tensor that is missing, unknown or of another shape.
    """
    wanted = config.parameter_shapes()
    if any(name.startswith(("smear_", "resid_lambdas", "value_embeds.")) for name in found):
        raise CheckpointError(
            "This checkpoint is of nanochat's 2026 generation (it holds smear_gate or "
            "resid_lambdas), which sftui cannot train yet; expected one of the October-2025 "
            "generation. Name another with --source, --model-tag and --step."
        )
    for name in found:
        if name not in wanted:
            raise CheckpointError(
                f"The checkpoint holds a tensor {name}; expected only those of a "
                f"{config.n_layer}-layer nanochat model. Name another checkpoint."
            )
    for name, shape in wanted.items():
        if name not in found:
            raise CheckpointError(
                f"The checkpoint lacks the tensor {name}; expected it with shape {shape}. "
                "Name another checkpoint."
            )
        if found[name] != shape:
            raise CheckpointError(
                f"Tensor {name} has shape {found[name]}; expected {shape} from the "
                "meta file. Name another checkpoint."
            )
