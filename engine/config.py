"""The run's settings: one dataclass per owner, flat on the command line, grouped in TOML.

Names and defaults are nanochat's where nanochat has the setting, so that a
command line that worked there works here. Later sources win: defaults, then the
recipe, then `--config FILE.toml`, then flags. All faults are reported at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from engine.errors import ConfigError
from engine.files import checked

MOST_SAMPLE_PROMPTS = 8
"""Most prompts of a run: all ranks wait while rank 0 answers them."""

Compat = Literal["sound", "nanochat"]

STARTER = "starter"
"""`source` of the base model that ships with sftui."""

HF = "hf"
"""Recipe, and `source` in a manifest, of a run on a Hugging Face model."""

RECIPES = Path(__file__).parent / "recipes"

OLD_RECIPES = {"nanochat-sft": "nanochat-2025"}
"""Earlier names of recipes; a run says what its recipe is called now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartConfig:
    """Which checkpoint the run starts from."""

    source: str = "mid"
    """Where to start: base, mid, sft or rl (folders of nanochat's cache), or starter (ships with
    sftui)."""
    model_tag: str | None = None
    """Model folder, e.g. d16 (default: the deepest one there is)."""
    step: int | None = None
    """Step of the checkpoint (default: the last)."""
    inherit: bool = False
    """Take batch sizes, row length and rates that were not typed from the base's meta file."""
    load_optimizer: bool = True
    """Begin with the optimizer state that lies beside a base checkpoint of 2026."""
    model: str | None = None
    """Folder of a Hugging Face model, as save_pretrained writes it: start from it."""
    chat_template: str | None = None
    """With --model: a file with the chat template to use instead of the tokenizer's own."""
    last_answer_only: bool = False
    """With --model: train on the last answer of each row alone."""
    trust_remote_code: bool = False
    """With --model: let Python code in its folder run."""

    def faults(self) -> list[str]:
        found = _one_of("source", self.source, ("base", "mid", "sft", "rl", STARTER))
        if self.model is None:
            names = ("chat_template", "last_answer_only", "trust_remote_code")
            found += [
                f"{name} is set without model; expected both (--model DIR)"
                for name in names
                if getattr(self, name)
            ]
        return found


LORA_LR = 2e-4
"""AdamW rate of adapters where none is typed: ten times a whole model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters, with --model alone."""

    lora: int = 0
    """Rank of the adapters; 0 trains the whole model."""
    lora_alpha: float = 0.0
    """Their scale is alpha / rank (0: twice the rank)."""
    lora_dropout: float = 0.0
    """Share of their inputs left out in training."""
    lora_targets: tuple[str, ...] = ("all-linear",)
    """Modules that get adapters, comma-separated, e.g. q_proj,v_proj."""
    lora_save: tuple[str, ...] = ()
    """Modules trained whole beside the adapters, e.g. lm_head."""
    rslora: bool = False
    """Scale alpha / sqrt(rank) instead."""

    def faults(self) -> list[str]:
        found = _at_least("lora", self.lora, 0)
        if self.lora_alpha < 0:
            found.append(f"lora_alpha is {self.lora_alpha}; expected a number of at least 0")
        if not 0 <= self.lora_dropout < 1:
            found.append(f"lora_dropout is {self.lora_dropout}; expected 0 or more, below 1")
        if not self.lora_targets:
            found.append("lora_targets is empty; expected names of modules, or all-linear")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Which rows are trained on."""

    data_dir: str | None = None
    """Folder with TASK.SPLIT.jsonl or .parquet files (default: the hub, through datasets)."""
    mixture: tuple[str, ...] = ()
    """Training files, folders or task names, comma-separated, each NAME[:ROWS][*TIMES][@WEIGHT]:
    a.jsonl*0.5 takes half of its rows an epoch, a.jsonl@3,b.jsonl@1 three of a for one of b
    (default: ARC-Easy, ARC-Challenge, GSM8K, SmolTalk)."""
    validation: str = ""
    """Validation rows: NAME or FILE, several with commas, or held-out for a share of the
    training rows (default: held-out for own files without --data-dir, else SmolTalk's test
    rows)."""
    val_share: float = 0.05
    """Share of every training source that is held out, by a fixed seed."""
    data_format: str = ""
    """Form of the rows in named files: messages, sharegpt, alpaca, prompt-completion,
    question-answer or text (default: recognised by their columns, and said)."""
    map: tuple[str, ...] = ()
    """Columns of named files under their names here, comma-separated, each NAME=COLUMN, e.g.
    prompt=question,completion=reply; a dot goes into an object."""
    skip_bad_rows: bool = False
    """Skip and count malformed rows instead of refusing the file."""
    max_tokens: int = 2048
    """Longest row in tokens; longer rows are cut and counted."""
    smoltalk_rows: int = 10_000
    """Rows of SmolTalk taken after the shuffle."""
    seed: int = 42
    """Seed of the row order; 42 is nanochat's."""

    def faults(self) -> list[str]:
        return [
            *_at_least("max_tokens", self.max_tokens, 2),
            *(
                []
                if 0 < self.val_share < 1
                else [f"val_share is {self.val_share}; expected a number between 0 and 1"]
            ),
            *_at_least("smoltalk_rows", self.smoltalk_rows, 1),
            *_at_least("seed", self.seed, 0),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """How many rows a step takes, and for how long."""

    device_batch_size: int = 4
    """Rows of one micro-batch on one rank."""
    target_examples_per_step: int = 32
    """Rows of one update over all ranks, with documents packing; gradient accumulation follows
    from it."""
    num_epochs: int = 1
    """Passes over the mixture; typed without num_iterations it replaces a recipe's."""
    num_iterations: int = -1
    """Iterations, the last of which only evaluates (-1: from num_epochs)."""
    loss_norm: Literal["microbatch", "tokens"] = "microbatch"
    """microbatch: each micro-batch weighs the same, as in nanochat; tokens: each supervised
    token does."""
    micro_tokens: int = 0
    """Most tokens of a packed micro-step (0: auto, what the card has room for; 1,000 on a CPU)."""
    layout: Literal["packed", "padded"] = "packed"
    """How rows lie in memory. Same loss and gradient; packed is faster."""
    packing: Literal["documents", "best-fit"] = "documents"
    """documents: every conversation is read alone; best-fit: rows of max_seq_len filled with
    conversations that see each other, as nanochat does since 2026."""
    max_seq_len: int = 2048
    """Tokens of a best-fit row."""
    total_batch_size: int = 524_288
    """Token places of one update over all ranks, with best-fit packing; gradient accumulation
    follows from it."""
    compat: Compat = "sound"
    """nanochat: count best-fit steps and progress exactly as nanochat does, its faults included;
    sound: updates are updates, one rate on all ranks, never below final_lr_frac."""

    def faults(self) -> list[str]:
        found = [
            *_at_least("device_batch_size", self.device_batch_size, 1),
            *_at_least("target_examples_per_step", self.target_examples_per_step, 1),
            *_at_least("num_epochs", self.num_epochs, 1),
            *_at_least("micro_tokens", self.micro_tokens, 0),
            *_at_least("max_seq_len", self.max_seq_len, 2),
            *_at_least("total_batch_size", self.total_batch_size, 1),
            *_wrong_choices(self),
        ]
        if self.num_iterations != -1 and self.num_iterations < 1:
            found.append(f"num_iterations is {self.num_iterations}; expected -1 or at least 1")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """Learning rates before scaling; the run panel shows the effective ones."""

    unembedding_lr: float = 0.004
    """AdamW rate of the head, scaled by 1/sqrt(width/768)."""
    embedding_lr: float = 0.2
    """AdamW rate of the embedding, scaled by 1/sqrt(width/768)."""
    matrix_lr: float = 0.02
    """Muon rate of every matrix in the blocks."""
    scalar_lr: float = 0.5
    """With a base of 2026: AdamW rate of the residual mix (one number a layer)."""
    weight_decay: float = 0.0
    """Decoupled decay of embedding and head; with --model of everything but norms and biases."""
    lr: float = 2e-5
    """AdamW rate of a Hugging Face model (with --lora 2e-4 where none is typed)."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """With --model: muon updates the layers' matrices at matrix_lr, and AdamW the rest; adamw
    updates everything."""
    adam_beta1: float = 0.9
    """With --model: AdamW's decay rate of the mean gradient."""
    adam_beta2: float = 0.999
    """With --model: AdamW's decay rate of the mean square."""
    adam_epsilon: float = 1e-8
    """With --model: what AdamW adds to its denominator."""
    lr_schedule: Literal["linear", "cosine", "constant", "wsd"] = "linear"
    """With --model: how the rates fall after the warm-up, as in transformers; wsd holds them and
    falls by a cosine over the last warmdown_ratio of the updates."""
    warmup_steps: int = 0
    """With --model: updates in which the rates rise from zero (0: warmup_ratio says)."""
    max_grad_norm: float = 0.0
    """Gradients whose norm over all parameters is larger are scaled down to it (0: never). The norm
    shown is the one before."""
    neftune_alpha: float = 0.0
    """With --model: noise on the embeddings in training, uniform within alpha / sqrt(tokens of the
    row x width) (0: none)."""
    label_smoothing: float = 0.0
    """With --model: share of each target spread over the whole vocabulary. Losses are shown without
    it."""
    init_lr_frac: float = 0.02
    """Every rate starts at this share of itself, then falls as its schedule says."""
    warmup_ratio: float = 0.0
    """Share of a run with --model, or of a best-fit run, in which the rates rise from zero."""
    warmdown_ratio: float = 0.5
    """Share of a best-fit run, or of one with --lr-schedule wsd, in which the rates fall."""
    final_lr_frac: float = 0.0
    """Share of the rates that a run with --model, or a best-fit run, ends at."""

    def faults(self) -> list[str]:
        names = (
            "unembedding_lr",
            "embedding_lr",
            "matrix_lr",
            "lr",
            "weight_decay",
            "init_lr_frac",
            "adam_epsilon",
            "max_grad_norm",
            "neftune_alpha",
        )
        found = [
            f"{name} is {getattr(self, name)}; expected a number of at least 0"
            for name in names
            if not getattr(self, name) >= 0
        ]
        found += [
            f"{name} is {getattr(self, name)}; expected a number from 0 to 1"
            for name in ("warmup_ratio", "warmdown_ratio", "final_lr_frac")
            if not 0 <= getattr(self, name) <= 1
        ]
        found += [
            f"{name} is {getattr(self, name)}; expected 0 or more, below 1"
            for name in ("adam_beta1", "adam_beta2", "label_smoothing")
            if not 0 <= getattr(self, name) < 1
        ]
        return [*found, *_at_least("warmup_steps", self.warmup_steps, 0), *_wrong_choices(self)]


_INSTEAD = {"lr": ", or the rates of nanochat's: --matrix-lr, --embedding-lr, --init-lr-frac"}
"""What does for nanochat's models what a setting does for the others."""

WITH_MODEL = (
    *("lr", "optimizer", "adam_beta1", "adam_beta2", "adam_epsilon", "lr_schedule"),
    *("warmup_steps", "neftune_alpha", "label_smoothing"),
)
"""Settings of `OptimConfig` that nanochat's models have no use for: refused there, not ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """When and on how much the model is measured."""

    eval_every: int = 100
    """Validation loss every so many steps."""
    eval_steps: int = 100
    """Micro-batches per rank of one validation."""
    eval_tokens: int = 20_971_520
    """Token places of one validation with best-fit packing, which counts bits a byte."""
    eval_metrics_every: int = 200
    """Tasks are evaluated every so many steps; the start is always measured."""
    eval_metrics_max_problems: int = 1024
    """Questions of each task that is answered by letter (-1: all)."""
    eval_max_generated: int = 24
    """Problems of GSM8K and of HumanEval, whose answers are written out (-1: all)."""
    eval_tasks: tuple[str, ...] = ("MMLU", "ARC-Easy")
    """Tasks, comma-separated: ARC-Easy, ARC-Challenge, MMLU by letter, GSM8K and HumanEval written
    out; chatcore is all five."""
    unsafe_code: bool = False
    """HumanEval's programs, which the model writes, run without a sandbox: they can read and change
    your files and use the network."""
    sample_every: int = 0
    """Short greedy answers to a few prompts every so many steps (0: none)."""
    sample_prompts: tuple[str, ...] = ()
    """The prompts, one word or quoted text each (default: three of the validation rows)."""

    def faults(self) -> list[str]:
        return [
            *_at_least("eval_every", self.eval_every, 1),
            *_at_least("eval_steps", self.eval_steps, 1),
            *_at_least("eval_tokens", self.eval_tokens, 1),
            *_at_least("eval_metrics_every", self.eval_metrics_every, 1),
            *_limit("eval_metrics_max_problems", self.eval_metrics_max_problems),
            *_limit("eval_max_generated", self.eval_max_generated),
            *_at_least("sample_every", self.sample_every, 0),
            *self._prompt_faults(),
        ]

    def _prompt_faults(self) -> list[str]:
        prompts, found = self.sample_prompts, []
        if len(prompts) > MOST_SAMPLE_PROMPTS:
            found.append(
                f"sample_prompts holds {len(prompts)}; expected at most {MOST_SAMPLE_PROMPTS}"
            )
        if any(not prompt.strip() for prompt in prompts):
            found.append("sample_prompts holds an empty one; expected texts")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointConfig:
    """What is kept on disk."""

    checkpoint_every: int = 100
    """Checkpoint every so many steps (0: only at the end, at a stop and on request)."""
    keep: int = 3
    """Newest checkpoints kept, besides the best and the marked ones."""

    def faults(self) -> list[str]:
        return [
            *_at_least("checkpoint_every", self.checkpoint_every, 0),
            *_at_least("keep", self.keep, 1),
        ]


LEAST_SILENCE_SECONDS = 20
"""A busy machine may hold a rank's beat up for seconds: a rank is not killed for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """Where and how the run runs."""

    gpus: int = 1
    """Ranks: GPUs, or as many CPU ranks where there is no GPU."""
    device_type: str = ""
    """cuda, cpu or mps (default: found out)."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Precision of the matrix products: bfloat16 (autocast over fp32 weights) or float32; auto is
    bfloat16 on CUDA and float32 elsewhere."""
    threads: int = 0
    """CPU threads per rank (0: cores divided by ranks)."""
    loader_workers: int = -1
    """Processes of each rank that tokenise rows ahead of the training (-1: one beside a GPU where
    cores are to spare; 0: a thread of the rank does it)."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, slower."""
    compile: bool = False
    """Compile the layers' training pass with torch.compile: fewer and larger kernels, and up to a
    minute at the start. Refused, not ignored, where it cannot work."""
    on_nonfinite: Literal["stop", "skip", "warn"] = "stop"
    """What a NaN loss or gradient does: all ranks stop before the update, leave that update out,
    or only warn."""
    on_diverging: Literal["warn", "pause", "stop"] = "warn"
    """What a diverging loss does besides the alarm."""
    max_restarts: int = 3
    """Restarts of all ranks after a crash."""
    restart_silent: int = 0
    """Seconds without a heartbeat of rank 0 after which all ranks are restarted; 0: never."""
    nodes: int = 1
    """Machines that share the ranks; what to type on the others is printed at the start."""
    rendezvous: str = ""
    """With --nodes: HOST:PORT of this machine, as the others reach it."""
    run: str = ""
    """A name for the run, shown in the header and in its folder's name."""

    def faults(self) -> list[str]:
        return [
            *_at_least("gpus", self.gpus, 1),
            *_at_least("threads", self.threads, 0),
            *_at_least("loader_workers", self.loader_workers, -1),
            *_at_least("max_restarts", self.max_restarts, 0),
            *_at_least("restart_silent", self.restart_silent, 0),
            *self._silence_faults(),
            *_at_least("nodes", self.nodes, 1),
            *self._node_faults(),
            *_one_of("device_type", self.device_type, ("", "cuda", "cpu", "mps")),
            *_wrong_choices(self),
        ]

    def _silence_faults(self) -> list[str]:
        if 0 < self.restart_silent < LEAST_SILENCE_SECONDS:
            least = f"0 or at least {LEAST_SILENCE_SECONDS}"
            return [f"restart_silent is {self.restart_silent}; expected {least}"]
        return []

    def mixed(self, device_type: str) -> bool:
        """Whether a run on such a device computes in bfloat16 over fp32 weights."""
        return self.dtype == "bfloat16" or (self.dtype == "auto" and device_type == "cuda")

    def _node_faults(self) -> list[str]:
        found = []
        host, _, port = self.rendezvous.rpartition(":")
        if self.rendezvous and not (host and 0 < (checked.digits(port) or 0) < 65536):
            found.append(f"rendezvous is {self.rendezvous!r}; expected HOST:PORT")
        if self.nodes > 1 and not self.rendezvous:
            found.append(f"nodes is {self.nodes} without rendezvous; expected HOST:PORT with it")
        if self.nodes > 1 and self.gpus % self.nodes:
            found.append(
                f"gpus is {self.gpus}, which {self.nodes} nodes cannot share evenly; expected a "
                "multiple of nodes"
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Every setting of a run, grouped by owner."""

    start: StartConfig = field(default_factory=StartConfig)
    data: DataConfig = field(default_factory=DataConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    adapters: LoraConfig = field(default_factory=LoraConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    recipe: str | None = None
    """Where the settings begin; what is typed beside it is laid over it."""

    def check(self) -> RunConfig:
        """Return self, or raise with every value that is out of range.

        Raises:
            ConfigError: with all faults in one message.
        """
        found = [fault for group in GROUPS for fault in getattr(self, group).faults()]
        if self.start.model is None:
            found += [
                f"{name} is set without model; expected a Hugging Face model (--model DIR)"
                f"{_INSTEAD.get(name, '')}"
                for name in WITH_MODEL
                if getattr(self.optim, name) != getattr(OptimConfig(), name)
            ]
        if found:
            raise ConfigError("; ".join(found) + ".")
        return self

    def flat(self) -> dict[str, Any]:
        """Every setting by its name, groups removed."""
        return {
            f.name: getattr(getattr(self, group), f.name)
            for group, kind in GROUPS.items()
            for f in dataclasses.fields(kind)
        }

    def replace(self, **settings: Any) -> RunConfig:
        """The same settings with some changed, by flat name."""
        groups: dict[str, Any] = {}
        for group, kind in GROUPS.items():
            names = {f.name for f in dataclasses.fields(kind)} & settings.keys()
            if names:
                changed = {name: settings[name] for name in names}
                groups[group] = dataclasses.replace(getattr(self, group), **changed)
        if "recipe" in settings:
            groups["recipe"] = settings["recipe"]
        return dataclasses.replace(self, **groups)


_GROUP_HINTS = typing.get_type_hints(RunConfig)

GROUPS: dict[str, Any] = {
    f.name: _GROUP_HINTS[f.name]
    for f in dataclasses.fields(RunConfig)
    if dataclasses.is_dataclass(_GROUP_HINTS[f.name])
}
"""Group name -> its dataclass. A setting's name occurs in one group only."""

TEXTS = frozenset({"sample_prompts"})
"""Lists of texts, in which a comma is a comma."""

ALIASES = {
    "data": "mixture",
    "val_data": "validation",
    "max_iterations": "num_iterations",
    "chatcore_every": "eval_metrics_every",
    "chatcore_max_cat": "eval_metrics_max_problems",
    "chatcore_max_sample": "eval_max_generated",
}
"""What people type first, and names of other generations of nanochat."""

_HINTS: dict[str, Any] = {
    name: hint for kind in GROUPS.values() for name, hint in typing.get_type_hints(kind).items()
}
"""Setting -> its type."""


def setting_names() -> list[str]:
    """Every flat setting name, in order."""
    return [f.name for kind in GROUPS.values() for f in dataclasses.fields(kind)]


def recipe_names() -> list[str]:
    """Recipes that ship with sftui."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name: str) -> RunConfig:
    """The settings of a shipped recipe.

    Raises:
        ConfigError: no such recipe; the nearest is named.
    """
    path = RECIPES / f"{OLD_RECIPES.get(name, name)}.toml"
    if name not in (*recipe_names(), *OLD_RECIPES):
        close = nearest(name, recipe_names()) or "."
        raise ConfigError(
            f"no recipe is called {name!r}{close} There are {', '.join(recipe_names())}."
        )
    return load_toml(path, RunConfig()).replace(recipe=name)


def load_toml(path: Path, base: RunConfig) -> RunConfig:
    """`base` with the settings of a TOML file, grouped or flat, laid over it.

    Raises:
        ConfigError: unreadable, not TOML, unknown keys or wrong types, all named at once.
    """
    flat = _flat_toml(path)
    return apply(drop_shadowed_iterations(base, _names(flat)), flat, where=str(path))


def drop_shadowed_iterations(base: RunConfig, names: Collection[str]) -> RunConfig:
    """`base` without num_iterations, when the layer above it sets `names` with num_epochs only.

    Within one layer num_iterations wins over num_epochs, as in nanochat. From the layer below
    (a recipe's, say) it must not: the epochs that somebody typed would do nothing.
    """
    if "num_epochs" in names and "num_iterations" not in names:
        return base.replace(num_iterations=-1)
    return base


def names_in(path: Path) -> set[str]:
    """Names of the settings that a TOML file gives.

    Raises:
        ConfigError: unreadable or not TOML.
    """
    return _names(_flat_toml(path))


def _names(flat: Mapping[str, Any]) -> set[str]:
    return {_canonical(name) for name in flat}


def _canonical(name: str) -> str:
    """A setting's own name, from its spelling with dashes or an older one."""
    name = name.replace("-", "_")
    return ALIASES.get(name, name)


def _flat_toml(path: Path) -> dict[str, Any]:
    """The settings of a TOML file by their names as written, groups removed."""
    try:
        raw = checked.parse_toml(checked.read_typed(path).decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, dict) and key in GROUPS:
            flat.update(value)
        else:
            flat[key] = value
    flat.pop("recipe", None)
    return flat


def apply(base: RunConfig, settings: Mapping[str, Any], *, where: str) -> RunConfig:
    """`base` with flat `settings` laid over it, types checked as nanochat does (int is no float
    there; here a whole number is accepted where a float is expected).

    Raises:
        ConfigError: all unknown names and wrong types at once.
    """
    known = setting_names()
    found: list[str] = []
    clean: dict[str, Any] = {}
    for raw_name, raw_value in settings.items():
        name = _canonical(raw_name)
        if name not in known:
            # To look for a near name takes a tenth of a millisecond, and a file may hold anything.
            near = nearest(name, known) if len(found) < 20 else ""
            found.append(f"unknown setting {raw_name!r}{near}")
            continue
        if name in TEXTS and isinstance(raw_value, str):
            raw_value = [raw_value]
        try:
            clean[name] = _coerce(raw_value, _HINTS[name])
        except ValueError as error:
            found.append(f"{name} is {raw_value!r}; expected {error}")
    if found:
        raise ConfigError(f"{where}: {'; '.join(found)}.")
    return base.replace(**clean)


def from_flat(settings: Mapping[str, Any], recipe: str | None) -> RunConfig:
    """The config that `RunConfig.flat` came from (lists of a manifest become tuples again)."""
    return apply(RunConfig(), settings, where="run.json").replace(recipe=recipe)


def to_toml(config: RunConfig) -> str:
    """The settings as a TOML text that `load_toml` reads back; None is left out, with a note."""
    lines = [f"# recipe: {config.recipe}"] if config.recipe else []
    for group, kind in GROUPS.items():
        lines += ["", f"[{group}]"]
        for f in dataclasses.fields(kind):
            value = getattr(getattr(config, group), f.name)
            text = f"# {f.name} is not set" if value is None else f"{f.name} = {_toml(value)}"
            lines.append(text)
    return "\n".join(lines).lstrip("\n") + "\n"


def nearest(name: str, known: list[str]) -> str:
    """`; did you mean ...?` or nothing."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # JSON's strings, numbers and booleans are TOML's.
    return json.dumps(value)


def _coerce(value: Any, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        return _coerce(value, inner[0])
    if origin is Literal:
        choices = typing.get_args(hint)
        if value in choices:
            return value
        raise ValueError("one of " + ", ".join(map(repr, choices)))
    if origin is tuple:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise ValueError("a list of names")
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return value if isinstance(value, float) else _expected(checked.number, value)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return _expected(checked.whole, value)
    if hint is str and isinstance(value, str):
        return value
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    raise ValueError(words[hint])


_Number = TypeVar("_Number", int, float)


def _expected(take: Callable[[object], _Number], value: object) -> _Number:
    """What `take` makes of a value; its error says what was expected, and not of what."""
    try:
        return take(value)
    except ValueError as error:
        raise ValueError(str(error).partition("; expected ")[2]) from None


def _at_least(name: str, value: int, low: int) -> list[str]:
    return [] if value >= low else [f"{name} is {value}; expected at least {low}"]


def _limit(name: str, value: int) -> list[str]:
    """A number of questions, or -1 for all."""
    return [] if value == -1 else _at_least(name, value, 1)


def _wrong_choices(group: Any) -> list[str]:
    """Faults of a group's settings whose type is a `Literal`: values that are not among it."""
    return [
        fault
        for f in dataclasses.fields(group)
        if typing.get_origin(_HINTS[f.name]) is Literal
        for fault in _one_of(f.name, getattr(group, f.name), typing.get_args(_HINTS[f.name]))
    ]


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> list[str]:
    if value in choices:
        return []
    return [f"{name} is {value!r}; expected one of {', '.join(c or '(empty)' for c in choices)}"]
