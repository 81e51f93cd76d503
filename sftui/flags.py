"""Flags of `sftui run` to settings: nanochat's spelling and the usual one both work.

`--matrix_lr=0.04`, `--matrix-lr 0.04` and `--skip-bad-rows=True` are all
understood. tyro does the parsing and the help; its multi-line boxes become the
one line every other error of ours is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import tyro

from engine import config
from engine.config import RunConfig
from engine.errors import ConfigError

T = TypeVar("T")


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
    flags = parse(kind, words, default=kind(settings=base), prog=prog)
    typed = {
        word[2:].partition("=")[0].replace("-", "_").removeprefix("no_")
        for word in words
        if word.startswith("--")
    }
    if file is not None:
        # What a file of one's own says was typed as much as a flag.
        typed |= config.names_in(Path(file))
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
    return _normalise(args, known, booleans, prog)


def normalise_names(kind: Any, args: Sequence[str], prog: str) -> list[str]:
    """The same for the flags of a smaller command, the fields of `kind`."""
    fields = dataclasses.fields(kind)
    booleans = {f.name for f in fields if isinstance(f.default, bool)}
    # A field called like a word of Python ends with an underscore; its flag does not.
    return _normalise(args, [f.name.rstrip("_") for f in fields], booleans, prog)


def _normalise(
    args: Sequence[str], known: Sequence[str], booleans: set[str], prog: str
) -> list[str]:
    words: list[str] = []
    unknown: list[str] = []
    for word in args:
        match = re.fullmatch(r"--([A-Za-z][\w-]*)(=(.*))?", word, re.DOTALL)
        if match is None:
            words.append(word)
            continue
        name = match[1].replace("-", "_")
        name = config.ALIASES.get(name, name)
        negated = name.startswith("no_") and name[3:] in booleans
        if name not in known and name != "help" and not negated:
            near = config.nearest(name, list(known)).replace("_", "-").replace("mean ", "mean --")
            unknown.append(f"--{match[1]}{near.rstrip('?')}")
            continue
        dashed = "--" + name.replace("_", "-")
        value = match[3]
        if value is None:
            words.append(dashed)
        elif name in booleans and value.lower() in ("true", "false"):
            words.append(dashed if value.lower() == "true" else f"--no-{dashed[2:]}")
        else:
            # A separate word, so that an empty value (`--run=`) is one too.
            words += [dashed, value]
    if unknown:
        raise ConfigError(f"unknown flag {', '.join(unknown)}. `{prog} --help` lists them.")
    return words


def parse(kind: type[T], words: Sequence[str], *, prog: str, default: Any = None) -> T:
    """`tyro.cli` with its errors as one line.

    Raises:
        ConfigError: what tyro found wrong.
    """
    caught = io.StringIO()
    extra = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(caught):
            made: T = tyro.cli(
                kind,
                args=list(words),
                prog=prog,
                # tyro would leave out the examples of the docstring.
                description=inspect.getdoc(kind),
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
                **extra,
            )
            return made
    except SystemExit as end:
        if not end.code:
            raise
        raise ConfigError(f"{_squeeze(caught.getvalue())} `{prog} --help` says more.") from None


def _squeeze(box: str) -> str:
    """The words of a boxed, coloured, wrapped message: its first paragraph, on one line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    words: list[str] = []
    # The first line is the box's title; where the encoding has no corners, only a rule follows.
    for line in plain.splitlines()[1:]:
        text = line.strip(" \t|\u2502")
        if not text or text[0] in "\u2570\u2500" or set(text) == {"-"}:
            continue
        if text.startswith(("Argument helptext", "For full helptext")):
            break
        words.append(text)
    found = " ".join(" ".join(words).split()).removeprefix("Error parsing ")
    return (found or "the flags cannot be read").rstrip(".") + "."


def _value_of(words: Sequence[str], flag: str) -> str | None:
    for index, word in enumerate(words):
        if word == flag and index + 1 < len(words):
            return words[index + 1]
    return None
