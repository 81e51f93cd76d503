"""`sftui fit`: the memory of a run before anything is loaded, as a table."""

from __future__ import annotations

import re
from pathlib import Path

from engine import fit
from engine.config import RunConfig
from engine.errors import CheckpointError
from engine.files.sizes import GIB
from engine.model.family import ModelShape
from engine.model.hf import hf_config, hf_folders, hf_start
from engine.model.nanochat.gpt_config import GPTConfig
from engine.processes import devices, launch
from engine.step import run_plan
from sftui.commands.run_flags import FitFlags
from sftui.text import format as fmt

_VOCABULARY = 65_536
_SEQUENCE = 2048


def lines(flags: FitFlags, typed: frozenset[str]) -> list[str]:
    """The table of one rank, whether it fits, and what each switch would do.

    Raises:
        UsageError: neither a checkpoint nor a tag says the model's shape.
    """
    config, choice = launch.choose_recipe(flags.settings, typed)
    shape, label = _shape(config)
    ranks = config.runtime.gpus
    device_type = config.runtime.device_type or ("cuda" if devices.count_gpus() else "cpu")
    name, room = devices.memory_of_rank(device_type, ranks)
    if flags.memory is not None:
        name, room = "as typed", round(flags.memory * GIB)
    plan = run_plan.memory_plan(config, shape, device_type)
    row_tokens = config.data.max_tokens
    rows = fit.table(plan)
    width = max(len(part) for part, _, _ in rows)
    out = [f"{choice}"] if choice else []
    out += [
        f"{label}: {fmt.si(shape.num_parameters)} parameters, {ranks} x {device_type}, "
        f"{_micro_step(config, plan)}",
        "",
        *(f"{part:<{width}}  {fmt.size(size):>7}  {what}" for part, size, what in rows),
        "",
    ]
    if room is None:
        out.append(f"{name}: type --memory GIB to hear whether it fits")
    else:
        out.append(f"{name}, {fmt.size(room)}: {fit.advice(plan, room, row_tokens=row_tokens)}")
    if room is not None and device_type == "cuda" and config.batch.layout == "packed":
        most = run_plan.packed_tokens(config, device_type, shape, room)
        out.append(f"a run would take packed micro-steps of up to {most:,} tokens (--micro-tokens)")
    out += ["", *_options(plan, room, row_tokens)]
    checkpoint = fit.checkpoint_bytes(shape, mixed=plan.mixed)
    kept = config.checkpoint.keep
    return [
        *out,
        "",
        f"on disk: {fmt.size(checkpoint)} a checkpoint, {kept} kept besides the best",
    ]


def _options(plan: fit.MemoryPlan, room: int | None, row_tokens: int) -> list[str]:
    found = fit.options(plan, room, row_tokens=row_tokens)
    width = max(len(option.name) for option in found)
    out = []
    for option in found:
        text = f"{option.name:<{width}}  {fmt.size(option.needed):>7}"
        if option.fits is not None:
            text += "  fits        " if option.fits else "  does not fit"
            text += f"  up to {option.largest_batch} rows of {row_tokens} tokens"
        out.append(text)
    return out


def _micro_step(config: RunConfig, plan: fit.MemoryPlan) -> str:
    rows = f"{config.batch.device_batch_size} rows of {config.data.max_tokens} tokens"
    if plan.packed:
        return f"packed micro-steps of up to {plan.tokens} tokens"
    return f"micro-batches of up to {rows}"


def _shape(config: RunConfig) -> tuple[ModelShape, str]:
    """The model's shape: its checkpoint's, or nanochat's for the depth in the tag."""
    if config.start.model is not None and (found := _foreign(config)) is not None:
        return found
    try:
        start, _ = launch.find_start(config)
        return start.model, start.label
    except CheckpointError:
        depth = re.fullmatch(r"d(\d+)", config.start.model_tag or "")
        if depth is None:
            raise
        return of_depth(int(depth[1])), f"{config.start.model_tag} (no checkpoint here)"


def _foreign(config: RunConfig) -> tuple[ModelShape, str] | None:
    """Adapters on their base, as they would be trained further; a tokenizer is not needed."""
    folder = Path(config.start.model or "").expanduser()
    if not folder.is_dir() or not hf_folders.is_one(folder):
        return None
    found = hf_folders.find(folder)
    lora = hf_start.adapters(config.adapters, config.data.seed)
    if lora is None and found.adapter is not None:
        lora = hf_folders.lora_of(found.adapter)
    remote_code = config.start.trust_remote_code
    return hf_config.read_folder(found.model, lora=lora, remote_code=remote_code), found.label


def of_depth(depth: int) -> GPTConfig:
    """The shape nanochat gives a depth: 64 a layer wide, heads of 128."""
    width = 64 * depth
    heads = max(1, (width + 127) // 128)
    return GPTConfig(
        sequence_len=_SEQUENCE,
        vocab_size=_VOCABULARY,
        n_layer=depth,
        n_head=heads,
        n_kv_head=heads,
        n_embd=width,
    )
