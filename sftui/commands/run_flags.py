"""Flags of `sftui run` to settings: nanochat's spelling and the usual one both work.

`--matrix_lr=0.04`, `--matrix-lr 0.04` and `--skip-bad-rows=True` are all
understood. What every command does with its flags is `command_line`'s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from engine import config
from engine.config import RunConfig
from sftui.commands.parse import normalise, parse

F = TypeVar("F", bound="RunFlags | FitFlags")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFlags:
    """Start a run and show it.

    Typed alone: with a nanochat cache, nanochat's defaults from its newest mid (else base)
    checkpoint; without one, the starter recipe. The choice is printed. Closing the terminal
    never ends a run.

    Examples:
      sftui run --gpus 2
      sftui run --recipe d16-low-memory --source mid --step 770 --data-dir data/
      sftui run --resume 20260102-030405-starter
    """

    settings: RunConfig = field(default_factory=RunConfig)
    config: Path | None = None
    """TOML file with settings, laid over the recipe's."""
    runs_dir: Path | None = None
    """Where run directories are made (default: SFTUI_RUNS, else runs/)."""
    headless: bool = False
    """Plain lines instead of the screen (also when there is no terminal)."""
    dry_run: bool = False
    """Do every check, print the plan and start nothing."""
    resume: str | None = None
    """Take up this run again (id, its beginning or name, or folder), with its own settings."""
    baseline: str | None = None
    """Compare with this: a run (or RUN:STEP), a results file of `sftui eval`, a log, or a TOML or
    JSON of task = percentage."""
    on_event: str | None = None
    """Shell command for the end, an alarm or a lost rank; it gets the event as JSON on stdin."""
    resume_changed: bool = False
    """Let settings typed beside --resume change the training; each change is logged."""


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
    config: Path | None = None
    """TOML file with settings, laid over the recipe's."""
    memory: float | None = None
    """Memory of one device in GiB (default: the GPU's, or this machine's for a CPU)."""


def parse_run(args: Sequence[str]) -> tuple[RunFlags, set[str]]:
    """Flags of `sftui run`, and the names of the settings that were typed.

    Raises:
        ConfigError: one line; an unknown flag names the nearest.
    """
    return parse_settings(RunFlags, args, "sftui run")


def parse_settings(kind: type[F], args: Sequence[str], prog: str) -> tuple[F, set[str]]:
    """The same for any command that takes a run's settings: `kind` has them in `settings`.

    The recipe is laid under the config file and that under the flags, whatever their order.
    """
    words = _normalise_settings(kind, args, prog)
    base = RunConfig()
    recipe = _value_of(words, "--recipe")
    if recipe is not None:
        base = config.load_recipe(recipe)
    file = _value_of(words, "--config")
    if file is not None:
        base = config.load_toml(Path(file), base)
    typed = {
        word[2:].partition("=")[0].replace("-", "_").removeprefix("no_")
        for word in words
        if word.startswith("--")
    }
    base = config.under(base, typed)
    flags = parse(kind, words, default=kind(settings=base), prog=prog)
    if file is not None:
        # What a file of one's own says was typed as much as a flag.
        typed |= config.names_in(Path(file))
    if "num_epochs" in typed:
        # Whoever counts epochs has said that no number of iterations holds, or which one does.
        typed.add("num_iterations")
    # Lists are comma-separated words here and one word each for tyro.
    lists = {
        name: tuple(part for word in value for part in word.split(",") if part)
        for name, value in flags.settings.flat().items()
        if isinstance(value, tuple) and name not in config.TEXTS
    }
    settings = flags.settings.replace(**lists).check()
    return dataclasses.replace(flags, settings=settings), typed


def _normalise_settings(kind: type[F], args: Sequence[str], prog: str) -> list[str]:
    own = [f for f in dataclasses.fields(kind) if f.name != "settings"]
    booleans = {name for name, value in RunConfig().flat().items() if isinstance(value, bool)}
    booleans |= {f.name for f in own if isinstance(f.default, bool)}
    known = [*config.setting_names(), *(f.name for f in own), "recipe"]
    return normalise(args, known, booleans, prog, aliases=config.ALIASES)


def _value_of(words: Sequence[str], flag: str) -> str | None:
    for index, word in enumerate(words):
        if word == flag and index + 1 < len(words):
            return words[index + 1]
    return None
