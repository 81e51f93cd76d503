"""From words on a command line to the flags of a command.

Both spellings are understood, `--runs-dir` and `--runs_dir=`. tyro does the parsing and the
help, and its multi-line boxes become the one line every other error of ours is. Words that
leave nothing to ask are read without it: `sftui replay run.log` must not wait for a parser.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from engine.errors import ConfigError, UsageError

T = TypeVar("T")

_PLAIN: Mapping[str, Callable[[str], object]] = {
    "str": str,
    "str | None": str,
    "Path | None": Path,
    "int | None": int,
    "float": float,
}
"""Annotations as they are written, and what makes a value of a word."""
_POSITIONAL = re.compile(r"tyro\.conf\.Positional\[(.*)\]")


def flags_of(kind: type[T], args: Sequence[str], prog: str) -> T:
    """The flags of a smaller command, a dataclass.

    Raises:
        ConfigError: one line; an unknown flag names the nearest.
    """
    words = normalise_names(kind, args, prog)
    found = at_once(kind, words)
    return parse(kind, words, prog=prog) if found is None else found


def at_once(kind: type[T], words: Sequence[str]) -> T | None:
    """The flags without tyro, which gives the same; None where it has something to say.

    That is help, an error, and whatever is less plain than a value of a simple type.
    """
    places, values = _sorted_out(kind, words)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    given: dict[str, object] = {}
    order = [name for name, field in fields.items() if _POSITIONAL.fullmatch(str(field.type))]
    if places is None or len(places) > len(order):
        return None
    for name, word in [*zip(order, places, strict=False), *values]:
        if name in given or name not in fields:
            return None
        kind_of = str(fields[name].type)
        positional = _POSITIONAL.fullmatch(kind_of)
        make = _PLAIN.get(positional[1] if positional else kind_of)
        if isinstance(word, bool):
            given[name] = word
        elif make is None or word.startswith("-") or word.lower() == "none":
            return None
        else:
            try:
                given[name] = make(word)
            except ValueError:
                return None
    needed = [f.name for f in fields.values() if f.default is f.default_factory]
    return None if set(needed) - set(given) else kind(**given)


def targets(kind: Any, args: Sequence[str], prog: str) -> list[str]:
    """The words that are neither flags nor values of flags; none where that is not plain."""
    return _sorted_out(kind, normalise_names(kind, args, prog))[0] or []


def one_target(kind: Any, args: Sequence[str], prog: str, what: str) -> None:
    """Refuse two logs where a command takes one: `what` it does with it.

    Raises:
        UsageError: more than one was named; names the command that takes them.
    """
    named = targets(kind, args, prog)
    if len(named) > 1:
        raise UsageError(
            f"{prog} {what}, and {len(named)} were named. "
            f"`sftui compare {shlex.join(named)}` puts them side by side."
        )


def _sorted_out(
    kind: Any, words: Sequence[str]
) -> tuple[list[str] | None, list[tuple[str, str | bool]]]:
    """Words in places, and (field, value) of flags; None where that cannot be told for sure.

    A short flag, `-o FILE`, stands under its own name.
    """
    fields = {field.name.rstrip("_"): field for field in dataclasses.fields(kind)}
    places: list[str] = []
    values: list[tuple[str, str | bool]] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            places.append(word)
            continue
        if re.fullmatch("-[a-z]", word):
            values.append((word, next(rest, "")))
            continue
        name = word[2:].replace("-", "_")
        field = fields.get(name) or fields.get(name.removeprefix("no_"))
        if field is None or _POSITIONAL.fullmatch(str(field.type)):
            return None, []
        if isinstance(field.default, bool):
            values.append((field.name, not name.startswith("no_")))
            continue
        value = next(rest, None)
        if value is None or name not in fields:
            return None, []
        values.append((field.name, value))
    return places, values


def normalise_names(kind: Any, args: Sequence[str], prog: str) -> list[str]:
    """Flags as tyro wants them, for a command whose flags are the fields of `kind`.

    Raises:
        ConfigError: an unknown flag; the nearest is named.
    """
    fields = dataclasses.fields(kind)
    booleans = {f.name for f in fields if isinstance(f.default, bool)}
    # A field called like a word of Python ends with an underscore; its flag does not.
    return normalise(args, [f.name.rstrip("_") for f in fields], booleans, prog)


def normalise(
    args: Sequence[str],
    known: Sequence[str],
    booleans: set[str],
    prog: str,
    *,
    aliases: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """The same for flags of these names; `aliases`: other names that are understood."""
    words: list[str] = []
    unknown: list[str] = []
    for word in args:
        match = re.fullmatch(r"--([A-Za-z][\w-]*)(=(.*))?", word, re.DOTALL)
        if match is None:
            words.append(word)
            continue
        name = match[1].replace("-", "_")
        name = aliases.get(name, name)
        negated = name.startswith("no_") and name[3:] in booleans
        if name not in known and name != "help" and not negated:
            from engine.config import nearest  # noqa: PLC0415  all settings, for a mistyped flag

            near = nearest(name, list(known)).replace("_", "-").replace("mean ", "mean --")
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
    import tyro  # noqa: PLC0415  a tenth of the time to the first frame: see `at_once`

    # The annotations of a kind whose module does without tyro name it all the same.
    vars(sys.modules[kind.__module__]).setdefault("tyro", tyro)
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
