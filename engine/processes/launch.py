"""Start a run: check everything that is cheap to check, then start the supervisor.

Nothing is made and no process is started before every check has passed, so a
mistake costs one line and leaves nothing behind. No torch in here: the first
frame of the screen must not wait for it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engine import fit
from engine.checkpoints import checkpoint_dir, nanochat_paths, optimizer_header, weights_header
from engine.checkpoints.nanochat_paths import NanochatCheckpoint
from engine.config import HF, LORA_LR, OLD_RECIPES, STARTER, RunConfig, load_recipe, to_toml
from engine.conversations.chat_format import format_of
from engine.conversations.tokenizer import Tokenizer
from engine.data import mixture_plan, row_check, row_digests, supervision, task_rows
from engine.data.data_check import DataSummary, check_data
from engine.data.hub import HUB, is_cached
from engine.data.mixture import SEED
from engine.data.tasks import DataSettings
from engine.errors import CheckpointError, ConfigError, RunDirError, RunFailedError
from engine.files.sizes import GIB
from engine.model.family import ModelShape, RunTokenizer
from engine.model.hf import hf_start
from engine.processes import compilers, devices, exam_choice, inherit, logout, reaper
from engine.processes.sandbox_check import sandbox_note
from engine.run import resume_file, run_dir, seal
from engine.run.run_dir import RunDir
from engine.step import packed_run, row_packing, run_plan
from engine.step.plan import Plan
from engine.step.row_packing import PackedRows, RowPlan

START_SETTINGS = frozenset({"source", "model_tag", "step", "model"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where the weights come from."""

    model: ModelShape
    checkpoint: NanochatCheckpoint | None = None
    """None: the base that ships with sftui, or a Hugging Face model (`folder`)."""
    folder: Path | None = None
    """Of a Hugging Face model."""
    checked: str = ""
    """How far its weights were looked at, in words."""

    @property
    def label(self) -> str:
        if self.folder is not None:
            return self.folder.name
        return "starter base" if self.checkpoint is None else self.checkpoint.label

    def to_dict(self) -> dict[str, Any]:
        """For the manifest; the ranks find the checkpoint again by these names."""
        found = self.checkpoint
        without = STARTER if self.folder is None else HF
        return {
            "source": without if found is None else found.source,
            "tag": None if found is None else found.model_tag,
            "step": None if found is None else found.step,
            "base_dir": None if found is None else str(nanochat_paths.base_dir().absolute()),
            "label": self.label,
            "model_config": self.model.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that can be started: every check has passed."""

    config: RunConfig
    start: Start
    tokenizer: RunTokenizer
    data: DataSummary
    plan: Plan | RowPlan
    device: devices.Devices
    packed: tuple[RowPlan, PackedRows] | None = None
    """Training and validation, where conversations share rows."""
    notes: tuple[str, ...] = ()
    """What a person should know before it starts: choices made for them, rows skipped."""

    @property
    def name(self) -> str:
        return self.config.runtime.run or self.config.recipe or "run"


def prepare(config: RunConfig, typed: frozenset[str] = frozenset()) -> Prepared:
    """Check a run from end to end without starting anything.

    `typed` names the settings that were given as flags: where the recipe was left
    open, they decide it.

    Raises:
        UsageError: the first thing that stands in the way.
    """
    config, choice = choose_recipe(config, typed)
    renamed = today_name(config)
    config, left_out = exam_choice.available(config, typed)
    config, chosen_data = choose_data(config, typed)
    config = absolute_paths(config).check()
    device = devices.find(config.runtime.gpus // config.runtime.nodes, config.runtime.device_type)
    if config.runtime.compile and (why := compilers.obstacle(device.device_type)):
        raise ConfigError(f"--compile: {why}. Leave the flag out: the numbers are the same.")
    start, tokenizer = find_start(config)
    config, inherited = inherit.settings(config, start.checkpoint, typed)
    config, cut = hf_start.within_positions(config, start.model)
    config.check()
    settings = run_plan.data_settings(config)
    data = check_data(
        settings,
        max_validation_rows=run_plan.validation_rows_wanted(config),
        limits=run_plan.exam_limits(config),
        teaches=supervision.teacher(tokenizer, config.data.max_tokens),
        max_tokens=config.data.max_tokens,
    )
    templated = []
    if format_of(tokenizer).refuses_rows and run_plan.has_own_files_alone(config):
        # A template may refuse what the parser takes.
        entries = [*settings.mixture, *settings.validation_entries()]
        own = [each for each in dict.fromkeys(entries) if each.is_own]
        names = [each.name if each.file is None else each.file.name for each in own]
        sources = [rows for rows, _ in task_rows.open_all(own, settings)]
        templated = row_check.check_rows(
            tokenizer, list(zip(names, sources, strict=True)), config.data.max_tokens
        )
    plan, packed = _plan(config, settings, tokenizer, data.num_rows)
    local_ranks = config.runtime.gpus // config.runtime.nodes
    _, room = devices.memory_of_rank(device.device_type, local_ranks)
    config, memory_note = run_plan.with_checkpointing_if_needed(
        config, start.model, device.device_type, room, typed
    )
    notes = [
        choice,
        renamed,
        *inherited,
        *chosen_data,
        cut,
        hf_start.experts_note(start.model),
        *templated,
        *left_out,
        device.note,
        memory_note,
        sandbox_note(config),
    ]
    notes += [] if packed is None else packed_run.notes(config, packed[0])
    notes += _optimizer_note(config, start)
    if device.device_type == "cpu" and config.runtime.mixed("cpu"):
        notes.append(devices.bf16_note())
    notes += [*data.notes, logout.protection().note]
    notes += [f"{count} malformed rows skipped in {name}" for name, count in data.skipped.items()]
    return Prepared(
        config=config,
        start=start,
        tokenizer=tokenizer,
        data=data,
        plan=plan,
        packed=packed,
        device=device,
        notes=tuple(note for note in notes if note),
    )


def today_name(config: RunConfig) -> str:
    """A note where a recipe was typed by an earlier name, which goes on working."""
    today = OLD_RECIPES.get(config.recipe or "")
    return f"recipe {config.recipe} is called {today} now" if today else ""


def _plan(
    config: RunConfig, settings: DataSettings, tokenizer: RunTokenizer, num_rows: int
) -> tuple[Plan | RowPlan, tuple[RowPlan, PackedRows] | None]:
    if packed_run.is_packed(config):
        if not isinstance(tokenizer, Tokenizer):
            raise ConfigError(
                "--packing best-fit with a Hugging Face model: expected one of nanochat, whose "
                "rows are packed so. Leave the flag out: its rows share no attention."
            )
        packed = packed_run.pack(config, settings, tokenizer, _say_packing)
        return packed[0], packed
    run_plan.check_rows(config, num_rows)
    return run_plan.make_plan(config, num_rows), None


def _say_packing(done: int, total: int) -> None:
    sys.stderr.write(f"packing rows: {done:,} of {total:,} conversations\n")


def _optimizer_note(config: RunConfig, start: Start) -> list[str]:
    """What the optimizer begins with, where that is a choice; refuses half a set of files."""
    ref = start.checkpoint
    if ref is None or not run_plan.takes_optimizer(config, ref.source, start.model):
        return []
    shards = nanochat_paths.optimizer_shards(ref.model_path.parent, ref.step)
    if not shards:
        return ["the base has no optimizer files beside it: the optimizer begins fresh"]
    optimizer_header.check(shards, start.model.vocab_size)
    ranks = f"{len(shards)} rank" + ("s" if len(shards) > 1 else "")
    return [f"the optimizer goes on from the base's state, of {ranks}"]


def absolute_paths(config: RunConfig) -> RunConfig:
    """`config` with absolute paths: the ranks run in another folder than they were typed in."""
    settings: dict[str, Any] = {}
    if config.data.data_dir is not None:
        settings["data_dir"] = str(Path(config.data.data_dir).expanduser().absolute())
    settings["mixture"] = tuple(run_plan.absolute_entry(text) for text in config.data.mixture)
    settings["validation"] = ",".join(
        run_plan.absolute_entry(text.strip()) for text in config.data.validation.split(",")
    )
    for name in ("model", "chat_template"):
        if (text := getattr(config.start, name)) is not None:
            settings[name] = str(Path(text).expanduser().absolute())
    return config.replace(**settings)


def choose_recipe(config: RunConfig, typed: frozenset[str]) -> tuple[RunConfig, str]:
    """The config with a recipe, and the choice in words when it was ours.

    Typed alone: with a nanochat cache, the recipe of its newest checkpoint's generation
    (`nanochat`, `nanochat-2025`) from there; without one, the starter.
    """
    if config.start.model is not None and config.recipe is None:
        flags = {name: value for name, value in config.flat().items() if name in typed}
        chosen = load_recipe(HF).replace(**flags)
        if chosen.adapters.lora and "lr" not in typed:
            chosen = chosen.replace(lr=LORA_LR)
        return chosen, f"recipe {HF}, since a Hugging Face model was named"
    if config.recipe is not None or START_SETTINGS & typed:
        return config, ""
    flags = {name: value for name, value in config.flat().items() if name in typed}
    source = nanochat_paths.newest_start()
    if source is not None:
        ref = nanochat_paths.find_checkpoint(source, config.start.model_tag, config.start.step)
        name = "nanochat-2025" if ref.config.generation == "2025" else "nanochat"
        chosen = load_recipe(name).replace(**flags, source=source)
        return chosen, f"recipe {name}, from {ref.label} in {nanochat_paths.base_dir()}"
    chosen = load_recipe(STARTER).replace(**flags)
    return chosen, f"recipe starter, since {nanochat_paths.base_dir()} holds no checkpoint"


def choose_data(config: RunConfig, typed: frozenset[str]) -> tuple[RunConfig, list[str]]:
    """What a run on files of its own is measured with, where that was not typed.

    Such a run asks the hub for nothing it was not told to use: validation rows are held out
    of the files, and of the questions only those that this machine has already are asked.
    """
    if not run_plan.has_own_files_alone(config):
        return config, []
    notes = []
    if not config.data.validation:
        config = config.replace(validation=run_plan.HELD_OUT)
        share = f"{config.data.val_share:.4g}"
        part = "a twentieth" if share == "0.05" else f"a share of {share}"
        notes.append(f"{part} of the rows is held out for validation (--validation FILE)")
    if "eval_tasks" not in typed:
        tasks = run_plan.task_names(config)
        here = tuple(task for task in tasks if task in HUB and is_cached(HUB[task]))
        left_out = [task for task in tasks if task not in here]
        config = config.replace(eval_tasks=here)
        if left_out:
            names = ",".join(left_out)
            notes.append(
                f"{', '.join(left_out)} are not asked: they are not on this machine, and the hub "
                f"is not asked unless told (--eval-tasks {names}, or --data-dir with their files)"
            )
    return config, notes


def find_start(config: RunConfig) -> tuple[Start, RunTokenizer]:
    """The starting checkpoint and its tokenizer, checked against each other.

    The weights are looked into, not loaded: names, shapes, and numbers as far as
    `weights_header.NUMBERS_READ_BYTES` go.

    Raises:
        CheckpointError: missing, cut off, of another kind, or vocabularies that differ.
    """
    wanted = config.start
    if wanted.model is not None:
        shape, own = hf_start.find(config)
        return Start(model=shape, folder=shape.folder, checked=f"{shape.folder}: headers"), own
    if config.adapters.lora:
        raise ConfigError(
            "lora is set without model; expected a Hugging Face model for adapters (--model DIR)."
        )
    if wanted.source == STARTER:
        # The starter's files concern the starter alone.
        from engine.starter import base  # noqa: PLC0415

        info, _ = base.checked_weights()
        return Start(model=info.config), Tokenizer.load(info.tokenizer_path)
    ref = nanochat_paths.find_checkpoint(wanted.source, wanted.model_tag, wanted.step)
    tokenizer = Tokenizer.load(ref.tokenizer_path)
    nanochat_paths.check_vocabulary(ref, tokenizer)
    checked = weights_header.check(ref.model_path, ref.config)
    return Start(model=ref.config, checkpoint=ref, checked=checked.words), tokenizer


def create(
    prepared: Prepared, root: Path, *, command: Sequence[str], cwd: Path, now: datetime
) -> RunDir:
    """Make the run directory with everything the ranks need to start.

    Raises:
        RunDirError: the place is not writable, or has no room for a checkpoint.
    """
    check_room(prepared.config, prepared.start.model, prepared.device.device_type, root)
    run = run_dir.create(root, prepared.name, now)
    try:
        prepared.tokenizer.save_json(run.tokenizer)
        run.config.write_text(to_toml(prepared.config), encoding="utf-8")
        run.control.touch(mode=0o600)
        shares = prepared.data.shares
        if shares:
            total = prepared.data.num_rows
            plan = [share.to_dict(total) for share in shares]
            run.mixture.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
        if prepared.packed is not None:
            row_packing.save(run.packing, *prepared.packed)
        # Last: a directory without a manifest is no run.
        told = seal.sealed(manifest(prepared, run, command, cwd, now))
        run_dir.write_private(run.manifest, json.dumps(told, indent=1).encode())
    except OSError as error:
        shutil.rmtree(run.path, ignore_errors=True)
        raise RunDirError(
            f"cannot write {run.path}: {error.strerror}. Choose another place with --runs-dir."
        ) from None
    run_dir.link_run_log(run, cwd)
    return run


def check_room(config: RunConfig, model: ModelShape, device_type: str, root: Path) -> None:
    """Refuse a run whose first checkpoint could not be saved under `root`.

    Raises:
        RunDirError: naming the sizes needed and there.
    """
    mixed = config.runtime.mixed(device_type)
    try:
        wanted = fit.checkpoint_bytes(model, mixed=mixed)
        checkpoint_dir.check_room(root, wanted, "one checkpoint of this model")
    except CheckpointError as error:
        raise RunDirError(f"{error}. Make room, or choose another place with --runs-dir.") from None
    except OSError as error:
        raise RunDirError(f"cannot look at {root}: {error.strerror}.") from None


def manifest(
    prepared: Prepared, run: RunDir, command: Sequence[str], cwd: Path, now: datetime
) -> dict[str, Any]:
    """`run.json`: what was asked for, and where it began. Never changed afterwards."""
    flat = prepared.config.flat()
    return {
        "schema": run_dir.SCHEMA,
        "id": run.id,
        "name": prepared.name,
        "recipe": prepared.config.recipe,
        "created": now.timestamp(),
        "command": list(command),
        "cwd": str(cwd),
        "host": socket.gethostname(),
        "world_size": prepared.config.runtime.gpus,
        "device_type": prepared.device.device_type,
        "max_restarts": prepared.config.runtime.max_restarts,
        "nodes": prepared.config.runtime.nodes,
        "rendezvous": prepared.config.runtime.rendezvous,
        "config": flat,
        "config_sha256": resume_file.config_digest(flat),
        "start": prepared.start.to_dict(),
        "tokenizer_sha256": prepared.tokenizer.digest,
        "num_iterations": prepared.plan.num_iterations,
        "rows": prepared.data.num_rows,
        row_digests.KEY: dict(prepared.data.digests),
        run_plan.EXAM_SEED: SEED,
        "notes": list(prepared.notes),
        "versions": {
            "sftui": version("sftui"),
            "torch": version("torch"),
            "python": platform.python_version(),
        },
    }


def describe(prepared: Prepared) -> list[str]:
    """The lines that `--dry-run` prints: what would be started."""
    config, plan, model = prepared.config, prepared.plan, prepared.start.model
    rows = ", ".join(f"{task} {count:,}" for task, count in prepared.data.train.items())
    asked = ", ".join(f"{task} {count:,}" for task, count in prepared.data.questions.items())
    counts, found = model.weight_counts(), prepared.data.tally
    trained = f", {counts.trained:,} of adapters trained" if counts.frozen else ""
    masked = (
        f"{found.untrained:,} of {found.answers:,} answers carry no loss (weight 0, train false)"
    )
    return [
        f"start       {prepared.start.label}, {model.num_parameters:,} parameters{trained}",
        *([f"checked     {prepared.start.checked}"] if prepared.start.checked else []),
        f"ranks       {config.runtime.gpus} x {prepared.device.device_type}",
        f"rows        {prepared.data.num_rows:,} ({rows})",
        *([f"mixture     {mixed}"] if (mixed := mixture_plan.words(prepared.data.shares)) else []),
        *([f"left out    {masked}"] if found.untrained else []),
        _step(config, plan),
        f"iterations  {plan.num_iterations:,} ({plan.num_updates:,} updates, then one evaluation)",
        f"validation  {prepared.data.validation_rows:,} rows every {config.eval.eval_every} steps",
        f"questions   {asked} every {config.eval.eval_metrics_every} steps"
        if asked
        else "questions   none",
        f"memory      {_memory(prepared)}",
        "nothing was started",
    ]


def _step(config: RunConfig, plan: Plan | RowPlan) -> str:
    batch, gpus = config.batch, config.runtime.gpus
    ranks = f"{gpus} rank" if gpus == 1 else f"{gpus} ranks"
    if isinstance(plan, RowPlan):
        return (
            f"step        {batch.total_batch_size:,} token places = {batch.device_batch_size} rows "
            f"x {batch.max_seq_len} x {ranks} x {plan.grad_accum_steps} "
            f"micro-batches; {plan.conversations:,} conversations in {plan.num_updates:,} updates"
        )
    return (
        f"step        {batch.target_examples_per_step} rows = {batch.device_batch_size} x "
        f"{ranks} x {plan.grad_accum_steps} micro-batches"
    )


def _memory(prepared: Prepared) -> str:
    """Whether a rank fits its device, and what would make it fit."""
    config = prepared.config
    device_type = prepared.device.device_type
    _, room = devices.memory_of_rank(device_type, config.runtime.gpus)
    plan = run_plan.memory_plan(config, prepared.start.model, device_type, room)
    if room is None:
        return f"{fit.needed(plan) / GIB:.1f} GiB a rank"
    return fit.advice(plan, room, row_tokens=fit.row_tokens(config))


SUPERVISOR, KEEPER = "engine.supervisor", "sftui.commands.keep"
"""Modules that hold a run: ours with its ranks, or another trainer's command."""


def start_supervisor(run: RunDir, resumption: str = "", module: str = SUPERVISOR) -> int:
    """Start the supervisor in a session of its own; its pid. `resumption`: see `resume.record`.

    It inherits no terminal and no descriptor of ours: closing the screen, the
    terminal or the SSH connection does not reach it.

    Raises:
        RunFailedError: the process could not be started.
    """
    environment = dict(os.environ)
    # The screen's own wishes about its terminal are none of the ranks'.
    for name in ("TEXTUAL", "TEXTUAL_ANIMATIONS", "COLUMNS", "LINES"):
        environment.pop(name, None)
    environment[resume_file.ID_VARIABLE] = resumption
    reaper.start_if_first()
    prefix = logout.protection().prefix
    command = [*prefix, sys.executable, "-P", "-m", module, str(run.path)]
    try:
        # People clear the logs of old runs away; the run itself can still go on.
        run.logs.mkdir(exist_ok=True)
        with run.supervisor_log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=run.path,
                env=environment,
            )
    except OSError as error:
        raise RunFailedError(f"{module} could not be started: {error}.") from None
    return process.pid
