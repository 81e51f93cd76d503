"""The shape of a Hugging Face model, read from its folder without torch.

What the engine cannot do exactly is refused here by name: better no run than one that
computes something else than the model.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError
from engine.files import checked
from engine.files.lfs import pointer_fault
from engine.model.family import Shapes, WeightCounts
from engine.model.hf import trusted

KEY = "transformers"
"""In a description: the model's own config.json. By it the family knows its own."""

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
MAX_CONFIG_BYTES = 2**22
MAX_HEADER_BYTES = 2**27

OTHER_INPUTS = ("vision_config", "audio_config", "vision_tower", "text_config")
ATTENTION = frozenset({"full_attention", "sliding_attention"})
"""Kinds of layers that are computed exactly."""

UNADAPTED = ("embed", "lm_head", "wte", "wpe", ".router.")
"""In names of matrices that are no linear layer to peft, or are the head."""
FUSED = ("gate_proj", "up_proj", "w1", "w3")
"""Matrices of an expert that transformers keeps as one of both."""

NOT_COMPILED = (
    "--compile is for nanochat's models; a model of transformers runs as its library wrote it. "
    "Leave the flag out: the numbers are the same."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Low-rank adapters: W + scale B A beside frozen matrices W (Hu et al. 2021)."""

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] = ("all-linear",)
    """Names of the modules that get adapters; `all-linear` is every one but the head."""
    rslora: bool = False
    """Scale alpha / sqrt(rank) instead of alpha / rank."""
    save: tuple[str, ...] = ()
    """Modules that are trained whole and kept with the adapters."""
    seed: int = 42

    def to_dict(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "alpha": self.alpha,
            "dropout": self.dropout,
            "targets": list(self.targets),
            "rslora": self.rslora,
            "save": list(self.save),
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Lora:
        lists = {name: tuple(found[name]) for name in ("targets", "save")}
        return cls(**{**found, **lists})


@dataclass(frozen=True, slots=True, kw_only=True)
class HfConfig:
    """A decoder of transformers, its folder and, if there are some, its adapters."""

    config: Mapping[str, Any]
    """The whole config.json."""
    folder: Path
    shapes: Shapes = field(repr=False)
    """Of the tensors in its files."""
    fingerprint: str
    """SHA-256 over names, sizes and headers of its weight files."""
    lora: Lora | None = None
    remote_code: bool = False
    """Its folder's own Python may run (`--trust-remote-code`)."""
    adapter: Path | None = None
    """Folder of somebody's adapters, merged into the weights when they are loaded."""
    family: str = "hf"

    @property
    def generation(self) -> str:
        return str(self.config["model_type"])

    def _number(self, *names: str) -> int | None:
        for name in names:
            value = self.config.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
        return None

    def _need(self, *names: str) -> int:
        found = self._number(*names)
        if found is None:
            raise CheckpointError(
                f"{self.folder / CONFIG} has no {' or '.join(names)}; expected the config.json of "
                "a decoder of transformers."
            )
        return found

    @property
    def sequence_len(self) -> int:
        return self.max_positions

    @property
    def max_positions(self) -> int:
        return self._need("max_position_embeddings", "n_positions", "max_sequence_length")

    @property
    def vocab_size(self) -> int:
        return self._need("vocab_size")

    @property
    def n_layer(self) -> int:
        return self._need("num_hidden_layers", "n_layer")

    @property
    def n_head(self) -> int:
        return self._need("num_attention_heads", "n_head")

    @property
    def n_kv_head(self) -> int:
        return self._number("num_key_value_heads") or self.n_head

    @property
    def n_embd(self) -> int:
        return self._need("hidden_size", "n_embd")

    @property
    def head_dim(self) -> int:
        return self._number("head_dim") or self.n_embd // self.n_head

    @property
    def kv_dim(self) -> int:
        return self.n_kv_head * self.head_dim

    @property
    def softcap(self) -> float | None:
        found = self.config.get("final_logit_softcapping")
        return float(found) if found else None

    @property
    def logit_scale(self) -> float:
        """Factor on the logits: Cohere's `logit_scale`, one over Granite's `logits_scaling`."""
        scale = self.config.get("logit_scale")
        divisor = self.config.get("logits_scaling")
        found = 1.0 if scale is None else float(scale)
        return found / float(divisor) if divisor else found

    @property
    def num_parameters(self) -> int:
        """Elements of the tensors in the files: a tied head counts once."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return dict(self.shapes)

    def weight_counts(self) -> WeightCounts:
        """All are AdamW's; adapters alone under LoRA, where the base has no state."""
        head = self.vocab_size * self.n_embd
        if self.lora is None:
            return WeightCounts(matrices=0, head=head, tables=0, others=self.num_trained - head)
        return WeightCounts(
            matrices=0,
            head=0,
            tables=0,
            others=self.num_trained,
            frozen=self.num_parameters,
            frozen_head=head,
        )

    @property
    def num_trained(self) -> int:
        """Elements that are trained."""
        if self.lora is None:
            return self.num_parameters
        rank = self.lora.rank
        adapters = sum(rank * self._adapter_rows(name) for name in self._adapted())
        saved = self.lora.save
        whole = (math.prod(n) for name, n in self.shapes.items() if _module_of(name) in saved)
        return adapters + sum(whole)

    def _adapter_rows(self, name: str) -> int:
        """Rows and columns that the two adapters of a matrix have, for each rank of theirs.

        peft keeps an expert's gate and its way up in one matrix of both, and doubles its rank: A
        [2r, D] and B [2I, 2r] for the two, so r * (D + 2I) for either.
        """
        rows, columns = self.shapes[name]
        fused = ".experts." in name and _module_of(name) in FUSED
        return rows + columns + (rows if fused else 0)

    def _adapted(self) -> list[str]:
        """Matrices that get adapters."""
        assert self.lora is not None
        every = self.lora.targets == ("all-linear",)
        return [
            name
            for name, shape in self.shapes.items()
            if len(shape) == 2
            and name.endswith(".weight")
            and not any(part in name for part in UNADAPTED)
            and (every or _module_of(name) in self.lora.targets)
        ]

    @property
    def kept_per_layer(self) -> int:
        """Activations a layer keeps for its backward pass, in units of [N, D]: two norms' inputs,
        queries to values, attention's result, and three of the MLP's width."""
        inner = self._number("intermediate_size", "n_inner") or 4 * self.n_embd
        return 6 + math.ceil((2 * self.kv_dim + 3 * inner) / self.n_embd)

    @property
    def kept_by_recomputing(self) -> int:
        """With layers computed again: the input of each."""
        return 1

    def to_dict(self) -> dict[str, Any]:
        return {
            KEY: dict(self.config),
            "folder": str(self.folder),
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "fingerprint": self.fingerprint,
            "lora": None if self.lora is None else self.lora.to_dict(),
            "remote_code": self.remote_code,
        }

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> HfConfig:
        """What `to_dict` gave.

        Raises:
            CheckpointError: it is damaged.
        """
        try:
            shapes = {name: tuple(shape) for name, shape in described["shapes"].items()}
            lora = described.get("lora")
            folder = Path(described["folder"])
            return cls(
                config=described[KEY],
                folder=folder,
                shapes=shapes,
                fingerprint=str(described["fingerprint"]),
                lora=None if lora is None else Lora.from_dict(lora),
                # Who described it may be anybody: what this user typed decides.
                remote_code=bool(described.get("remote_code")) and trusted.is_trusted(folder),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise CheckpointError(
                f"the description of a transformers model is damaged ({error}); expected what the "
                "run wrote."
            ) from None


def _module_of(name: str) -> str:
    """The last name of the module that a tensor belongs to: `q_proj`."""
    return name.rpartition(".")[0].rpartition(".")[2]


def read_folder(
    folder: Path,
    *,
    lora: Lora | None = None,
    remote_code: bool = False,
    adapter: Path | None = None,
) -> HfConfig:
    """The shape of the model in a folder, as `save_pretrained` writes it.

    Raises:
        CheckpointError: a file is missing or damaged, or the model is of a kind that is not
            trained here; which and why is said.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise CheckpointError(
            f"{folder} {what}; expected a model's folder with {CONFIG}, {WEIGHTS} and its "
            "tokenizer. Download one with: hf download NAME --local-dir DIR"
        )
    config = _json(folder / CONFIG)
    _refuse_other_kinds(folder, config, remote_code=remote_code)
    shapes: dict[str, tuple[int, ...]] = {}
    print_of = hashlib.sha256()
    for path in weight_files(folder):
        header = _header(path)
        print_of.update(f"{path.name} {path.stat().st_size} ".encode())
        print_of.update(json.dumps(header, sort_keys=True).encode())
        shapes |= {name: tuple(entry["shape"]) for name, entry in header.items()}
    found = HfConfig(
        config=config,
        folder=folder.absolute(),
        shapes=shapes,
        fingerprint=print_of.hexdigest(),
        lora=lora,
        remote_code=remote_code,
        adapter=adapter,
    )
    # Each raises where the number is missing.
    _ = found.n_layer, found.n_head, found.n_embd, found.vocab_size, found.max_positions
    return found


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, in order.

    Raises:
        CheckpointError: there are none, or one that the index names is missing.
    """
    index = folder / INDEX
    if index.is_file():
        table = _json(index).get("weight_map")
        names = sorted(set(table.values())) if isinstance(table, dict) else []
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            raise CheckpointError(
                f"{folder}: {index.name} names {missing[0] if missing else 'no file'}, which is "
                "not there; expected all parts of the model. Download the rest."
            )
        return [folder / name for name in names]
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    others = sorted(
        p.name for pattern in ("*.bin", "*.gguf", "*.pth") for p in folder.glob(pattern)
    )
    found = f"found {', '.join(others[:3])}" if others else "found no weights"
    raise CheckpointError(
        f"{folder}: {found}; expected {WEIGHTS}. Save the model once with "
        "AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)."
    )


def _refuse_other_kinds(folder: Path, config: Mapping[str, Any], *, remote_code: bool) -> None:
    kind = config.get("model_type")
    where = f"{folder / CONFIG}: "
    if not isinstance(kind, str) or not kind:
        raise CheckpointError(
            f"{where}it has no model_type; expected the config.json of a model of transformers."
        )
    if config.get("is_encoder_decoder"):
        raise CheckpointError(
            f"{where}{kind} is an encoder with a decoder; expected a decoder alone (a causal "
            "language model). It cannot be trained here."
        )
    other = next((name for name in OTHER_INPUTS if config.get(name)), None)
    if other is not None:
        raise CheckpointError(
            f"{where}{kind} has a {other}, so it takes more than text; expected a model of text "
            "alone. Take its text model, where it is published by itself."
        )
    if config.get("auto_map") and not remote_code:
        raise CheckpointError(
            f"{where}{kind} brings Python code of its own, which is not run unasked. If you trust "
            "the folder, type --trust-remote-code; for a run that was begun with it elsewhere, "
            f"set {trusted.VARIABLE} to the folder."
        )
    if config.get("quantization_config"):
        raise CheckpointError(
            f"{where}the weights are quantized; expected 16 or 32 bit. Save the model unquantized."
        )
    layers = config.get("layer_types")
    odd = sorted(set(_texts(layers)) - ATTENTION)
    if odd:
        raise CheckpointError(
            f"{where}{kind} has layers of the kind {odd[0]}; expected attention in every layer. "
            "It cannot be trained here."
        )


def _texts(value: object) -> Sequence[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _json(path: Path) -> dict[str, Any]:
    if fault := pointer_fault(path):
        raise CheckpointError(f"{fault}.")
    try:
        found = checked.parse_json(checked.read_typed(path, MAX_CONFIG_BYTES))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent}: there is no {path.name}; expected a model's folder as "
            "save_pretrained writes it."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is not a JSON object.")
    return found


def _header(path: Path) -> dict[str, dict[str, Any]]:
    """Names, dtypes and shapes of a safetensors file: its JSON header, after eight bytes of size.

    Raises:
        CheckpointError: it is no such file, or cut off.
    """
    if fault := pointer_fault(path):
        raise CheckpointError(f"{fault}.")
    advice = "Download it again."
    try:
        found = path.stat()
        if fault := checked.hollow_fault(path, found):
            raise CheckpointError(f"{fault}.")
        whole = found.st_size
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if not 2 <= size <= min(MAX_HEADER_BYTES, whole - 8):
                raise ValueError("its header does not fit it")
            header = checked.table(checked.parse_json(file.read(size)))
        header.pop("__metadata__", None)
        entries = list(map(checked.table, header.values()))
        ends = [checked.whole(entry["data_offsets"][1]) for entry in entries]
        shapes = [entry["shape"] for entry in entries]
        right = all(isinstance(n, int) and n >= 0 for shape in shapes for n in shape)
    except (OSError, ValueError, LookupError, TypeError, struct.error) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error}). {advice}") from None
    if not right:
        raise CheckpointError(f"{path}: a shape in its header is none. {advice}")
    if max(ends, default=0) + 8 + size != whole:
        raise CheckpointError(
            f"{path}: has {whole:,} bytes, its header says {max(ends, default=0) + 8 + size:,}. "
            f"{advice}"
        )
    return dict(header)


def check_unchanged(shape: HfConfig) -> None:
    """The base in the folder is the one that the run began with.

    Raises:
        CheckpointError: it is another one, or gone.
    """
    now = read_folder(shape.folder, remote_code=shape.remote_code)
    if now.fingerprint != shape.fingerprint:
        raise CheckpointError(
            f"{shape.folder} holds other weights than the run began with; expected the same "
            "files. Put them back, or start a new run."
        )
