"""Flags of `sftui run` and `sftui fit` to settings: nanochat's spelling and the usual one.

`--matrix_lr=0.04`, `--matrix-lr 0.04` and `--skip-bad-rows=True` are all understood. What
every command does with its flags is in `parse`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from engine import config
from engine.config import RunConfig
from engine.errors import ConfigError
from sftui.commands.options import Option, Typed, options_of
from sftui.commands.parse import read_words
from sftui.commands.shared_flags import SHELL_COMMAND, BaselineFlags

DATA_FORMATS = ("messages", "sharegpt", "alpaca", "prompt-completion", "question-answer", "text")
"""Forms of `engine.data.row_columns.FINDS`, which a start need not read."""

F = TypeVar("F", bound="RunFlags | FitFlags")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFlags(BaselineFlags):
    """Start a run and show it.

    Typed alone: with a nanochat cache, nanochat's defaults from its newest checkpoint: base
    since 2026, mid (else base) of October 2025; without one, the starter recipe. The choice is
    printed. Closing the terminal never ends a run.

    Examples:
      sftui run --gpus 2
      sftui run --recipe d16-low-memory --source mid --step 770 --data-dir data/
      sftui run --resume 20260102-030405-starter
      sftui run --recipe starter --seeds 3
      sftui run -- torchrun --nproc-per-node 2 train.py
    """

    settings: RunConfig = field(default_factory=RunConfig)
    config: Path | None = None
    """TOML file with settings, laid over the recipe's."""
    headless: bool = False
    """Plain lines instead of the screen (also when there is no terminal)."""
    dry_run: bool = False
    """Do every check, print the plan and start nothing."""
    resume: Annotated[str | None, Typed(metavar="RUN")] = None
    """Take up this run again (id, its beginning or name, or folder), with its own settings."""
    on_event: Annotated[str | None, SHELL_COMMAND] = None
    """Shell command for the end, an alarm or a lost rank; it gets the event as JSON on stdin."""
    resume_changed: bool = False
    """Let settings typed beside --resume change the training; each change is logged."""
    seeds: Annotated[int, Typed(metavar="N")] = 1
    """Run so many seeds one after the other, from --seed on; plain lines, no screen."""
    no_attach: bool = False
    """With a command after --: keep it and follow what it prints; attach nothing."""
    command: tuple[str, ...] = ()
    """Another trainer's command, after a lone --; taken as it is."""
    DAILY: ClassVar[tuple[str, ...]] = (
        *("recipe", "gpus", "source", "model_tag", "step", "model", "lora", "data_dir", "mixture"),
        *("validation", "num_epochs", "num_iterations", "device_batch_size"),
        *("init_lr_frac", "matrix_lr", "lr", "eval_tasks", "eval_every", "eval_metrics_every"),
        *("sample_every", "checkpoint_every", "seed", "run", "resume", "baseline"),
        *("headless", "dry_run", "config", "runs_dir"),
    )
    """Flags of every day, in the order of the short help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitFlags:
    """Say what memory a run needs per rank, part by part, and what would make it fit.

    Nothing is loaded. `sftui fit my.toml` is short for --config my.toml. Without the checkpoint
    the shape of its tag is taken: nanochat's d16 is 16 layers of width 1024.

    Examples:
      sftui fit --model-tag d16 --device-type cuda --memory 24
      sftui fit my.toml --device-batch-size 4
    """

    settings: RunConfig = field(default_factory=RunConfig)
    file: Annotated[Path | None, Typed(metavar="FILE", positional=True)] = None
    """Short for --config."""
    config: Path | None = None
    """TOML file with settings, laid over the recipe's."""
    memory: Annotated[float | None, Typed(metavar="GIB")] = None
    """Memory of one device in GiB (default: the GPU's, or this machine's for a CPU)."""
    DAILY: ClassVar[tuple[str, ...]] = (
        *(
            "file",
            "memory",
            "recipe",
            "gpus",
            "device_type",
            "model_tag",
            "source",
            "step",
            "model",
        ),
        *("lora", "device_batch_size", "max_tokens", "max_seq_len", "activation_checkpointing"),
        *("layout", "config"),
    )
    """As of `RunFlags`."""


SETTINGS = {
    "source": Typed(metavar="NAME", choices=("base", "mid", "sft", "rl", "starter")),
    "model_tag": Typed(metavar="NAME"),
    "data_dir": Typed(metavar="DIR"),
    "mixture": Typed(metavar="NAME[:ROWS]"),
    "validation": Typed(metavar="NAME_OR_FILE"),
    "data_format": Typed(metavar="NAME", choices=DATA_FORMATS),
    "map": Typed(metavar="NAME=COLUMN"),
    "sample_prompts": Typed(words=True),
    "device_type": Typed(metavar="{cuda,cpu,mps}", choices=("cuda", "cpu", "mps")),
    "rendezvous": Typed(metavar="HOST:PORT"),
    "run": Typed(metavar="NAME"),
    "recipe": Typed(
        metavar="{" + ",".join(config.recipe_names()) + "}", choices=tuple(config.recipe_names())
    ),
    "model": Typed(metavar="DIR"),
    "chat_template": Typed(metavar="FILE"),
}
"""How settings are typed whose types do not say it."""


def options(kind: type[F]) -> list[Option]:
    """What can be typed after `sftui run` or `sftui fit`."""
    return [option for option in options_of(kind, SETTINGS) if option.dest != "command"]


def parse_run(args: Sequence[str]) -> tuple[RunFlags, set[str]]:
    """Flags of `sftui run`, and the names of the settings that were typed.

    Raises:
        ConfigError: one line; an unknown flag names the nearest.
    """
    words = list(args)
    if "--" not in words:
        return parse_settings(RunFlags, words, "sftui run")
    at = words.index("--")
    flags, typed = parse_settings(RunFlags, words[:at], "sftui run")
    if at + 1 == len(words):
        raise ConfigError("nothing stands after the --; expected another trainer's command.")
    return dataclasses.replace(flags, command=tuple(words[at + 1 :])), typed


def parse_fit(args: Sequence[str]) -> tuple[FitFlags, set[str]]:
    """The same for `sftui fit`; its file is in `config`, however it was typed."""
    return parse_settings(FitFlags, args, "sftui fit")


def parse_settings(kind: type[F], args: Sequence[str], prog: str) -> tuple[F, set[str]]:
    """The same for any command that takes a run's settings: `kind` has them in `settings`.

    The recipe is laid under the config file and that under the flags, whatever their order.
    """
    given = read_words(kind, options(kind), args, prog, aliases=config.ALIASES)
    if "file" in given:
        if "config" in given:
            raise ConfigError("two files with settings were named; expected one.")
        given["config"] = given.pop("file")
    settings = {name: given.pop(name) for name in config.setting_names() if name in given}
    typed = {*settings, *given}
    base = RunConfig()
    recipe = given.pop("recipe", None)
    if recipe is not None:
        base = config.load_recipe(recipe)
    file = given.get("config")
    if file is not None:
        base = config.load_toml(file, base)
    base = config.drop_shadowed_iterations(base, typed)
    if file is not None:
        # What a file of one's own says was typed as much as a flag.
        typed |= config.names_in(file)
    if "num_epochs" in typed:
        # Whoever counts epochs has said that no number of iterations holds, or which one does.
        typed.add("num_iterations")
    return kind(settings=base.replace(**settings).check(), **given), typed
