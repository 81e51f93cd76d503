"""Load a Hugging Face model, put adapters beside it, and give the engine a decoder of it."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from engine.config import OptimConfig
from engine.errors import CheckpointError
from engine.model.family import ParameterGroup
from engine.model.hf import adamw_groups
from engine.model.hf.hf_config import HfConfig, Lora, check_unchanged
from engine.model.hf.hf_decoder import HfDecoder
from engine.model.hf.hf_tokenizer import INSTALL, HfTokenizer, same_as_transformers

ADAPTER = "default"
"""peft's name of the only adapter."""


class TrainedDecoder(HfDecoder):
    """A decoder that names, saves and trains only what is trained, under the files' own names."""

    def __init__(self, model: nn.Module, config: HfConfig) -> None:
        super().__init__(model, config)
        self._trained: dict[str, nn.Parameter] = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    def named_parameters(self, *_: Any, **__: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """What is trained; a tied head is named once, as the embedding."""
        yield from self._trained.items()

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        yield from self._trained.values()

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """The trained tensors: what a checkpoint holds."""
        return {name: parameter.detach() for name, parameter in self._trained.items()}

    def optimizer_groups(self, settings: OptimConfig) -> list[ParameterGroup]:
        shapes = {name: tuple(each.shape) for name, each in self._trained.items()}
        return adamw_groups.groups(shapes, settings, self.config.vocab_size)


def build(shape: HfConfig, state: Mapping[str, Tensor]) -> TrainedDecoder:
    """A decoder whose trained parameters are these tensors.

    Raises:
        CheckpointError: they do not fit, or the base cannot be read.
    """
    device = next((tensor.device for tensor in state.values()), torch.device("cpu"))
    if shape.lora is None:
        model = _model(shape, dict(state))
    else:
        check_unchanged(shape)
        # Frozen weights need no more digits than their products have on a card.
        narrow = torch.bfloat16 if device.type == "cuda" else torch.float32
        model = _with_adapters(_model(shape, None).to(narrow), shape.lora)
    model.to(device)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    _refuse_others(trained, state)
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.data = state[name].to(parameter.device, torch.float32)
    # Tied weights were one tensor and must be again.
    base_of(model).tie_weights()
    decoder = TrainedDecoder(model, shape)
    decoder.eval()
    return decoder


def check_tokenizer(shape: HfConfig, tokenizer: HfTokenizer) -> None:
    """transformers' own tokenizer of the folder reads a conversation as ours does.

    Raises:
        CheckpointError: it does not, or cannot be made.
    """
    transformers = _transformers()
    try:
        other = transformers.AutoTokenizer.from_pretrained(
            str(shape.folder), local_files_only=True, trust_remote_code=shape.remote_code
        )
    except Exception as error:  # whatever a tokenizer's own code raises
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{shape.folder}: transformers cannot load its tokenizer ({reason})."
        ) from None
    if found := same_as_transformers(tokenizer, other):
        raise CheckpointError(
            f"{shape.folder}: its tokenizer is not read here as transformers reads it: {found}. "
            "Save it anew with AutoTokenizer.from_pretrained(...).save_pretrained(...)."
        )


def base_of(model: Any) -> Any:
    """transformers' model inside peft's, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def start_state(shape: HfConfig) -> dict[str, Tensor]:
    """Tensors of what is trained, as a run begins."""
    check_unchanged(shape)
    if shape.lora is None:
        model = _model(shape, None)
        if shape.adapter is not None:
            model = _merged(model, shape)
        return {name: p.detach().float() for name, p in model.named_parameters()}
    with torch.device("meta"):
        model = _with_adapters(_empty(shape), shape.lora)
    whole = None
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if ".lora_" in name:
            found[name] = _fresh(name, tuple(parameter.shape), shape.lora.seed)
            continue
        # A module that is trained whole begins as the base's.
        whole = _model(shape, None) if whole is None else whole
        plain = _plain_name(name)
        found[name] = dict(whole.named_parameters())[plain].detach().float().clone()
    return found


def _merged(model: nn.Module, shape: HfConfig) -> nn.Module:
    """The model with somebody's adapters multiplied into its matrices, by peft itself.

    Raises:
        CheckpointError: they do not fit the base, or cannot be merged; or the head would no longer
            be the embedding that it is by the model's config.
    """
    peft = _peft()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted: Any = peft.PeftModel.from_pretrained(model, str(shape.adapter))
            inner = adapted.get_base_model()
            tables = (inner.get_input_embeddings(), inner.get_output_embeddings())
            touched = any(type(each).__module__.startswith("peft.") for each in tables)
            found: Any = adapted.merge_and_unload()
    except Exception as error:  # whatever peft raises of files that are not as it wrote them
        reason = str(error).strip().partition("\n")[0][:200]
        raise CheckpointError(
            f"{shape.adapter}: peft cannot merge these adapters into {shape.folder} ({reason})."
        ) from None
    if touched and inner.config.tie_word_embeddings:
        # Merged into the one matrix, what was learned of the embedding would change the head too.
        raise CheckpointError(
            f"{shape.adapter}: the adapters change head or embedding, which are one matrix in "
            f"{shape.folder.name}; expected adapters that leave it alone. Merge them with peft "
            "into a model that does not tie them."
        )
    merged: nn.Module = found
    return merged


def _fresh(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Adapters as peft begins them: A uniform (Kaiming, a = sqrt 5), B zero; by name, so that every
    rank and every attempt begin alike."""
    if ".lora_A" not in name and ".lora_embedding_B" not in name:
        return torch.zeros(shape)
    key = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    random = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
    bound = 1 / math.sqrt(shape[-1])
    return torch.empty(shape).uniform_(-bound, bound, generator=random)


def _plain_name(name: str) -> str:
    """The base's name of a module that peft keeps a trained copy of."""
    return name.removeprefix("base_model.model.").replace(f".modules_to_save.{ADAPTER}", "")


def _empty(shape: HfConfig) -> nn.Module:
    """The model without its weights."""
    transformers = _transformers()
    config = _config(shape)
    found: nn.Module = transformers.AutoModelForCausalLM.from_config(
        config, trust_remote_code=shape.remote_code
    )
    return found


def _model(shape: HfConfig, state: dict[str, Tensor] | None) -> nn.Module:
    """The model with its folder's weights, or with these, in fp32.

    Raises:
        CheckpointError: transformers cannot make it, a tensor is missing or unknown, or the head
            has a bias.
    """
    options: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
    options |= {"config": _config(shape)}
    where = str(shape.folder) if state is None else None
    options |= {"local_files_only": True} if state is None else {"state_dict": state}
    try:
        with torch.device("meta"):
            kind: Any = type(_empty(shape))
        model, told = kind.from_pretrained(where, **options)
    except Exception as error:  # whatever modelling code raises
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{shape.folder}: transformers cannot load it ({reason}).") from None
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(str(name) for name in told.get(what, ())):
            words = what.removesuffix("_keys")
            raise CheckpointError(
                f"{shape.folder}: tensor {names[0]} is {words}; expected exactly the model's."
            )
    head = model.get_output_embeddings()
    if head is None or getattr(head, "bias", None) is not None:
        raise CheckpointError(
            f"{shape.folder}: its head has {'no weight' if head is None else 'a bias'}; expected a "
            "head that is one matrix. It cannot be trained here."
        )
    found: nn.Module = model
    return found


def _config(shape: HfConfig) -> Any:
    transformers = _transformers()
    raw = dict(shape.config)
    if shape.remote_code:
        return transformers.AutoConfig.from_pretrained(str(shape.folder), trust_remote_code=True)
    kind = raw.pop("model_type")
    try:
        return transformers.AutoConfig.for_model(kind, **raw)
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise CheckpointError(
            f"{shape.folder}: transformers {transformers.__version__} does not know the model type "
            f"{kind!r} ({reason}). Install a newer one: {INSTALL} --upgrade"
        ) from None


def _with_adapters(model: nn.Module, lora: Lora) -> nn.Module:
    """The model with adapters beside its matrices, everything else frozen.

    Raises:
        CheckpointError: peft is missing, or no module has one of the names.
    """
    peft = _peft()
    targets: Any = lora.targets[0] if lora.targets == ("all-linear",) else list(lora.targets)
    settings = peft.LoraConfig(
        r=lora.rank,
        # A number to peft, whatever its annotation says.
        lora_alpha=cast(int, lora.alpha),
        lora_dropout=lora.dropout,
        target_modules=targets,
        use_rslora=lora.rslora,
        modules_to_save=list(lora.save) or None,
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            # peft asks transformers by a name that is going to change, and speaks of experts that
            # keep their weights in one tensor and get no adapters.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            # It sees for itself that GPT-2's matrices lie the other way round.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
            found: nn.Module = peft.get_peft_model(model, settings)
    except ValueError as error:
        reason = str(error).partition("\n")[0][:200]
        raise CheckpointError(
            f"the model has no modules {', '.join(lora.targets)} ({reason}); expected names such "
            "as q_proj,v_proj. Type --lora-targets all-linear for every one."
        ) from None
    return found


def _refuse_others(trained: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]) -> None:
    """Exactly these tensors, of these shapes.

    Raises:
        CheckpointError: naming the first that is missing, unknown or of another shape.
    """
    for name, parameter in trained.items():
        if name not in state:
            raise CheckpointError(f"tensor {name} is missing; expected what the run trained.")
        if state[name].shape != parameter.shape:
            raise CheckpointError(
                f"tensor {name} has the shape {tuple(state[name].shape)}; expected "
                f"{tuple(parameter.shape)}."
            )
    for name in state:
        if name not in trained:
            raise CheckpointError(f"tensor {name} is unknown; expected what the run trained.")


def _peft() -> Any:
    try:
        import peft  # noqa: PLC0415  an extra
    except ImportError:
        raise CheckpointError(
            f"adapters need peft, which is not installed. Type: {INSTALL}"
        ) from None
    return peft


def _transformers() -> Any:
    try:
        import transformers  # noqa: PLC0415  an extra, and slow to import
    except ImportError:
        raise CheckpointError(
            f"a model of transformers needs that library, which is not installed. Type: {INSTALL}"
        ) from None
    # Its bars and advice are for whoever types in Python.
    quiet: Any = transformers.logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    return transformers
