"""Derive what data, plan and memory estimate need from a `RunConfig`.

Used by the launcher to check a run and by the ranks to make it, so both get the same
numbers. No torch in here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from engine import fit
from engine.config import STARTER, RunConfig
from engine.data import row_files
from engine.data.entries import DataEntry, DataSettings, ExamLimits
from engine.data.hub import HUB
from engine.data.hub_sets import HUB_MARK, SCOPE_MARK, HubId, is_id
from engine.data.mixture import SEED
from engine.data.row_forms import RowForm
from engine.errors import ConfigError
from engine.files import checked
from engine.files.sizes import GIB
from engine.fit import MemoryPlan, plan_for
from engine.model.family import ModelShape
from engine.optimizer.lr_schedule import width_scale
from engine.step.packing import CPU_MAX_TOKENS
from engine.step.plan import Plan
from engine.step.row_packing import RowPlan

_NUMBER = r"(\d{1,6}(?:\.\d{1,6})?)"
_REPEATED = re.compile(rf"\*{_NUMBER}$")
"""How often an entry's rows stand in the mixture."""

_WEIGHED = re.compile(rf"@{_NUMBER}$")
"""In which proportion to others."""

CHATCORE = ("ARC-Easy", "ARC-Challenge", "MMLU", "GSM8K", "HumanEval")
"""Tasks of nanochat's ChatCORE, in its order."""

HELD_OUT = "held-out"
"""`validation` of rows that are held out of the training rows."""


EXAM_SEED = "exam_seed"
"""Of the manifest: what chose the rows and questions that the run is measured with."""


def exam_seed(manifest: Mapping[str, Any]) -> int:
    """The one a run began with; earlier versions took the run's seed and did not write it down."""
    told = manifest.get(EXAM_SEED)
    return int(manifest["config"].get("seed", SEED) if told is None else told)


def data_settings(config: RunConfig, exam: int = SEED) -> DataSettings:
    """Which rows are trained, validated and asked.

    Args:
        exam: `exam_seed` of a run that was begun before.

    Raises:
        ConfigError: a mixture or task entry cannot be understood.
    """
    data = config.data
    validation: DataEntry | tuple[DataEntry, ...] | None = DataEntry(name="SmolTalk", split="test")
    several = [text.strip() for text in data.validation.split(",") if text.strip()]
    if several:
        held_out = data.validation == HELD_OUT
        validation = None if held_out else tuple(_entry(text, split="test") for text in several)
        if validation is not None and len(validation) == 1:
            validation = validation[0]
    return DataSettings(
        data_dir=None if data.data_dir is None else Path(data.data_dir).expanduser(),
        mixture=tuple(_entry(text) for text in data.mixture),
        validation=validation,
        held_out=Fraction(str(data.val_share)),
        questions=tuple(DataEntry(name=name, split="test") for name in task_names(config)),
        form=RowForm.read(data.data_format, data.map),
        skip_bad_rows=data.skip_bad_rows,
        starter=config.start.source == STARTER
        and not (data.data_dir or data.mixture or data.validation),
        max_smoltalk_rows=data.smoltalk_rows,
        seed=data.seed,
        exam_seed=exam,
    )


def exam_limits(config: RunConfig) -> ExamLimits:
    """Most questions of each task; -1 of a setting asks all."""
    letters, generated = config.eval.eval_metrics_max_problems, config.eval.eval_max_generated
    return ExamLimits(
        letters=None if letters < 0 else letters, generated=None if generated < 0 else generated
    )


def has_own_files_alone(config: RunConfig) -> bool:
    """Whether every training row comes from a file, folder or data set that was named, and there
    is no data folder."""
    mixture = config.data.mixture
    return (
        bool(mixture)
        and config.data.data_dir is None
        and all(_is_own(_split_entry(text)[0]) for text in mixture)
    )


def check_rows(config: RunConfig, num_rows: int) -> None:
    """The rows fill one update, and at least one update is planned.

    Raises:
        ConfigError: with the numbers, and what would fit.
    """
    target = config.batch.target_examples_per_step
    if num_rows < target:
        ranks, size = config.runtime.gpus, config.batch.device_batch_size
        fits = num_rows // (ranks * size) * ranks * size
        advice = f"--target-examples-per-step {fits}" if fits else "smaller batches"
        raise ConfigError(
            f"there are {num_rows:,} training rows, fewer than the {target:,} of one update; "
            f"expected at least one whole update. Add rows, or lower the batch: {advice}."
        )
    plan = make_plan(config, num_rows)
    if plan.num_updates < 1 and config.batch.num_iterations == -1:
        epochs = config.batch.num_epochs
        raise ConfigError(
            f"{num_rows:,} training rows in updates of {target:,} make {plan.num_iterations} "
            f"iteration in {epochs} epoch(s), and the last one only evaluates: no update would be "
            f"made. Pass --num-epochs {epochs + 1}, or a smaller --target-examples-per-step."
        )


def make_plan(config: RunConfig, num_rows: int) -> Plan:
    """The plan of which rows every step takes.

    Raises:
        ConfigError: the batch does not divide, or there are too few rows for one step.
    """
    batch = config.batch
    return Plan(
        num_rows=num_rows,
        world_size=config.runtime.gpus,
        device_batch_size=batch.device_batch_size,
        target_examples_per_step=batch.target_examples_per_step,
        num_epochs=batch.num_epochs,
        requested_iterations=batch.num_iterations,
    )


def takes_optimizer(config: RunConfig, source: str, model: ModelShape) -> bool:
    """Whether a run from such a checkpoint begins with the optimizer state beside it."""
    return config.start.load_optimizer and source == "base" and model.generation != "2025"


def validation_rows_wanted(config: RunConfig) -> int:
    """Most rows of one validation: nanochat's eval_steps micro-batches on every rank; of packed
    rows, where tokens are counted, all there are."""
    if config.batch.packing == "best-fit":
        return sys.maxsize
    return config.eval.eval_steps * config.batch.device_batch_size * config.runtime.gpus


def packed_tokens(
    config: RunConfig,
    device_type: str,
    model: ModelShape | None = None,
    device_bytes: float | None = None,
) -> int:
    """Most tokens of a packed micro-step, or one single longer row.

    Left to us, on CUDA it is what fits into `device_bytes`, up to all that a rank may have to
    do in a step: every micro-step moves ten GiB of weights and gradients however few its
    tokens, so few large ones are faster. The gradient is the same.
    """
    if config.batch.micro_tokens:
        return config.batch.micro_tokens
    if device_type != "cuda":
        return CPU_MAX_TOKENS
    # Of an unknown card: what a padded micro-batch may take at worst.
    longest = fit.row_tokens(config)
    if model is None or device_bytes is None:
        return config.batch.device_batch_size * longest
    rows = -(-config.batch.target_examples_per_step // config.runtime.gpus)
    if config.batch.packing == "best-fit":
        rows = -(-config.batch.total_batch_size // (longest * config.runtime.gpus))
    plan = plan_for(config, model, device_type=device_type, packed_tokens=longest)
    room = fit.largest_tokens(plan, device_bytes)
    # Less than the longest row helps nothing: such a row is a micro-step of its own.
    return max(min(room, rows * longest), longest)


def memory_plan(
    config: RunConfig, model: ModelShape, device_type: str, device_bytes: float | None = None
) -> MemoryPlan:
    """What the memory of one rank depends on; `device_bytes` of its card, where it is known."""
    # On a card of unknown size the micro-step follows device_batch_size in both layouts.
    known = config.batch.micro_tokens or device_type != "cuda" or device_bytes is not None
    limit = packed_tokens(config, device_type, model, device_bytes) if known else None
    return plan_for(config, model, device_type=device_type, packed_tokens=limit)


def with_checkpointing_if_needed(
    config: RunConfig,
    model: ModelShape,
    device_type: str,
    device_bytes: float | None,
    typed: frozenset[str],
) -> tuple[RunConfig, str]:
    """Recompute activations where only that makes a card suffice; the config, and a note of it.

    Not where somebody typed the setting, nor on a CPU, whose memory swaps.
    """
    name = "activation_checkpointing"
    if device_type != "cuda" or device_bytes is None or name in typed:
        return config, ""
    changed = config.replace(activation_checkpointing=True)
    as_set, with_it = (
        fit.needed(memory_plan(each, model, device_type, device_bytes))
        for each in (config, changed)
    )
    if config.runtime.activation_checkpointing or not with_it <= device_bytes < as_set:
        return config, ""
    return changed, (
        f"activation checkpointing is on: without it a rank needs {as_set / GIB:.1f} GiB, "
        f"and the card has {device_bytes / GIB:.1f}. A step takes about a third longer"
    )


def effective_settings(
    config: RunConfig,
    model: ModelShape,
    plan: Plan | RowPlan,
    lrs: Mapping[str, float],
    *,
    device_type: str,
) -> dict[str, bool | int | float | str | None]:
    """Values that follow from the settings and the model: the run panel's second column."""
    counts = model.weight_counts()
    return {
        "n_layer": model.n_layer,
        "n_embd": model.n_embd,
        "n_head": model.n_head,
        "n_kv_head": model.n_kv_head,
        "vocab_size": model.vocab_size,
        "sequence_len": model.sequence_len,
        "num_parameters": model.num_parameters,
        **({"trainable_parameters": counts.trained} if counts.frozen else {}),
        "precision": "bfloat16" if config.runtime.mixed(device_type) else "float32",
        **_conversations(plan),
        "examples_per_micro_step": config.batch.device_batch_size * config.runtime.gpus,
        "grad_accum_steps": plan.grad_accum_steps,
        "num_iterations": plan.num_iterations,
        "updates": plan.num_iterations - 1,
        "width_scale": width_scale(model.n_embd),
        **{f"lr/{name}": lr for name, lr in lrs.items()},
    }


def _conversations(plan: Plan | RowPlan) -> dict[str, float]:
    """How many conversations an update takes: of rows that hold several, on the average."""
    if isinstance(plan, RowPlan):
        return {"conversations_per_update": plan.conversations / plan.num_updates}
    return {}


def task_names(config: RunConfig) -> tuple[str, ...]:
    """Tasks that are asked, in order; `chatcore` stands for its five."""
    return expanded(config.eval.eval_tasks)


def expanded(names: Sequence[str]) -> tuple[str, ...]:
    """Each task once, in order; `chatcore` stands for its five."""
    found: dict[str, None] = {}
    for name in names:
        found.update(dict.fromkeys(CHATCORE if is_chatcore(name) else (name,)))
    return tuple(found)


def is_chatcore(name: str) -> bool:
    """Whether a name of a task stands for the five of ChatCORE."""
    return name.casefold() == "chatcore"


def absolute_entry(text: str) -> str:
    """The same mixture entry with its file, if it is one, as an absolute path."""
    name, size = _split_entry(text)
    if not _is_own(name):
        return text
    # An id is marked as one: in another folder a file of that name might lie.
    path = HubId.read(name).text if _is_hub_id(name) else str(Path(name).expanduser().absolute())
    whole = path if size is None else f"{path}:{size}"
    # What stands behind name and rows is kept as it was typed.
    weight = _WEIGHED.search(text)
    times = _REPEATED.search(_WEIGHED.sub("", text))
    return whole + (times[0] if times else "") + (weight[0] if weight else "")


def _entry(text: str, *, split: str = "train") -> DataEntry:
    """`NAME`, `NAME:ROWS`, `FILE` or `FILE:ROWS`, each with `*TIMES` and `@WEIGHT` behind it."""
    name, size = _split_entry(text)
    rates: dict[str, Any] = {"epochs": _times(text), "weight": _weight(text)}
    if name == "MMLU" and split == "train":
        # The only rows of MMLU that are there to be trained on.
        split = "auxiliary_train"
    if not name:
        raise ConfigError(f"mixture entry {text!r} has no name; expected NAME, FILE or NAME:ROWS.")
    if _is_hub_id(name):
        hub = HubId.read(name)
        return DataEntry(name=hub.name, hub=hub, split=split, size=size, **rates)
    if _is_own(name):
        path = Path(name).expanduser()
        return DataEntry(name=row_files.name_of(path), file=path, split=split, size=size, **rates)
    return DataEntry(name=name, split=split, size=size, **rates)


def _split_entry(text: str) -> tuple[str, int | None]:
    text = _REPEATED.sub("", _WEIGHED.sub("", text))
    name, colon, rows = text.rpartition(":")
    number = checked.digits(rows)
    return (name, number) if colon and number is not None else (text, None)


def _times(text: str) -> Fraction:
    found = _REPEATED.search(_WEIGHED.sub("", text))
    return Fraction(found[1]) if found else Fraction(1)


def _weight(text: str) -> Fraction | None:
    found = _WEIGHED.search(text)
    return Fraction(found[1]) if found else None


def _is_hub_id(name: str) -> bool:
    """Whether a name is a data set's id: marked as one, or like one where nothing of it lies."""
    if name.startswith((HUB_MARK, SCOPE_MARK)):
        return True
    if row_files.is_named(name) or name.startswith((".", "~")) or not is_id(name):
        return False
    # `data/chat` where there is a folder data is a file that is missing, not a data set.
    path = Path(name)
    return not path.exists() and path.parts[0] not in ("", "/") and not Path(path.parts[0]).exists()


def _is_own(name: str) -> bool:
    """Whether a name is that of a file, a folder or a data set, and of no known task."""
    if "/" in name or row_files.is_named(name):
        return True
    return bool(name) and name not in HUB and Path(name).expanduser().is_dir()
