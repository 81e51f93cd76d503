"""The one parser of flags: argparse, built from the options of a command.

Both spellings are understood, `--runs-dir` and `--runs_dir=`; switches also take `=True` and
`=False`, as in nanochat. Every error is one line. The texts of the help are read from the
source, for `--help` alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn, TypeVar

from engine.errors import ConfigError, UsageError
from sftui.commands.options import Option, docs_of, options_of

T = TypeVar("T")

_SWITCH_WORDS = {"true": True, "1": True, "false": False, "0": False}


def flags_of(kind: type[T], words: Sequence[str], prog: str, *, one: str = "") -> T:
    """The flags of a command. `one`: what it does with the one run or log it takes.

    Raises:
        ConfigError: one line; an unknown flag names the nearest.
        UsageError: more than one run or log was named; names the command that takes them.
    """
    return kind(**read_words(kind, options_of(kind), words, prog, one=one))


def read_words(
    kind: type,
    options: Sequence[Option],
    words: Sequence[str],
    prog: str,
    *,
    aliases: Mapping[str, str] = MappingProxyType({}),
    one: str = "",
) -> dict[str, Any]:
    """What was typed, by field; fields that were not are absent. Raises as `flags_of`.

    `aliases`: older names of fields.
    """
    parser = _parser(kind, options, prog)
    end = list(words).index("--") if "--" in words else len(words)
    found, named = parser.parse_known_args(_spelled(words[:end], options, prog, aliases))
    for word in named:
        # A dash alone is a name, and so is a negative number.
        if re.match("-[^0-9.]", word):
            flag = word.lstrip("-").partition("=")[0]
            meant = f"; did you mean --{flag}" if flag in {o.name for o in options} else ""
            raise ConfigError(f"unknown flag {word}{meant}. `{prog} --help` lists them.")
    places = [option for option in options if option.typed.positional]
    left = [*named, *words[end + 1 :]]
    given = vars(found) | _placed(places, left, parser, _Command(kind, prog, one, options))
    return {
        option.dest: tuple(given[option.dest]) if option.is_list else given[option.dest]
        for option in options
        if option.dest in given
    }


class _Command(NamedTuple):
    """What errors about places say of a command."""

    kind: type
    prog: str
    one: str
    options: Sequence[Option]


def _placed(
    places: Sequence[Option],
    words: Sequence[str],
    parser: argparse.ArgumentParser,
    command: _Command,
) -> dict[str, Any]:
    """Words without a flag, by the field whose place they take; a list takes all that are left."""
    given: dict[str, Any] = {}
    left = list(words)
    for option in places:
        if option.is_list:
            given[option.dest], left = left, []
        elif left:
            given[option.dest] = _reader(option)(left.pop(0))
        elif option.default is dataclasses.MISSING:
            from sftui.commands import mistakes  # noqa: PLC0415  after a mistake alone

            found = f" after {shlex.join(words)}" if words else ""
            such = mistakes.example(command.kind, command.prog)
            parser.error(f"expected {option.metavar}{found}, found nothing; for example: {such}")
    if left and command.one:
        raise UsageError(
            f"{parser.prog} {command.one}, and {len(words)} were named. "
            f"`sftui compare {shlex.join(words)}` puts them side by side."
        )
    if left:
        from sftui.commands import mistakes  # noqa: PLC0415  as above

        flags = [option.name for option in command.options]
        instead = mistakes.no_place(command.prog, left, flags)
        parser.error(
            f"there is no place for {shlex.join(left)}" + (f". {instead}" if instead else "")
        )
    return given


class _Parser(argparse.ArgumentParser):
    values: Mapping[str, str] = MappingProxyType({})
    """What stands for the value, by flag."""

    def error(self, message: str) -> NoReturn:
        """In one line, as every other error of ours.

        Raises:
            ConfigError: always.
        """
        text = message.removeprefix("argument ")
        flag, _, why = text.partition(": ")
        if why == "expected one argument":
            value = self.values.get(flag.partition("/")[2].strip() or flag, "a value")
            text = f"{flag}: expected {value}, found nothing"
        raise ConfigError(f"{text}. `{self.prog} --help` says more.")


class _Help(argparse.Action):
    """Print the help, whose texts are looked up only now, and leave."""

    def __init__(self, **rest: Any) -> None:
        self.make: Callable[[], argparse.ArgumentParser] = rest.pop("make")
        super().__init__(nargs=0, **rest)

    def __call__(self, parser: argparse.ArgumentParser, *_rest: Any) -> NoReturn:
        self.make().print_help()
        parser.exit()


def _parser(
    kind: type, options: Sequence[Option], prog: str, docs: Mapping[str, str] | None = None
) -> _Parser:
    """What reads the flags; with `docs`, the text of each option, what prints the help."""
    places = [option for option in options if option.typed.positional]
    parser = _Parser(
        prog=prog,
        # A usage of seventy flags is no help.
        usage=" ".join([prog, *map(_place_in_usage, places), "[flags]"]),
        description=_text(kind) if docs is not None else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    parser.values = {f"--{o.name}": o.metavar for o in options if not o.is_switch}
    groups: dict[type, Any] = {
        kind: parser.add_argument_group("arguments and flags" if places else "flags")
    }
    for option in [*places, *(each for each in options if each not in places)]:
        if option.typed.positional:
            if docs is not None:
                groups[kind].add_argument(option.metavar, help=_help_text(option, docs))
            continue
        if option.group not in groups:
            title = _text(option.group).partition("\n")[0] if docs is not None else ""
            groups[option.group] = parser.add_argument_group(title.rstrip("."))
        _add(groups[option.group], option, _help_text(option, docs) if docs is not None else None)
    daily = getattr(kind, "DAILY", ())
    for names, wanted, text in (
        (("-h", "--help"), daily, "Print this and end."),
        (("--help-all",), (), "The same with every flag there is."),
    ):
        groups[kind].add_argument(
            *names,
            action=_Help,
            make=partial(_help_of, kind, options, prog, wanted),
            help=text if daily or len(names) > 1 else argparse.SUPPRESS,
        )
    return parser


def _help_of(kind: type, options: Sequence[Option], prog: str, daily: Sequence[str]) -> _Parser:
    """What prints the help: of a command with many flags those of every day, in their order."""
    by_name = {option.dest: option for option in options}
    shown = [by_name[name]._replace(group=kind) for name in daily] or options
    parser = _parser(kind, shown, prog, docs_of(options))
    if daily:
        parser.epilog = (
            f"{len(options) - len(shown)} more flags: `{prog} --help-all`. Every setting with its "
            "meaning: docs/running-and-steering.md"
        )
    return parser


def _place_in_usage(option: Option) -> str:
    many = f"{option.metavar} ..." if option.is_list else option.metavar
    return many if option.default is dataclasses.MISSING else f"[{many}]"


def _add(group: Any, option: Option, text: str | None) -> None:
    names = [*filter(None, [option.typed.short]), f"--{option.name}"]
    if option.is_switch:
        group.add_argument(*names, dest=option.dest, action="store_true", help=text)
        group.add_argument(
            f"--no-{option.name}", dest=option.dest, action="store_false", help=argparse.SUPPRESS
        )
        return
    settings: dict[str, Any] = {"type": _reader(option), "metavar": option.metavar, "help": text}
    if option.is_list:
        settings["nargs"] = "*"
        if not option.typed.words:
            settings["action"] = _CommaSeparated
    group.add_argument(*names, dest=option.dest, **settings)


class _CommaSeparated(argparse.Action):
    """`a,b c` -> a, b, c."""

    def __call__(
        self, _parser: Any, namespace: argparse.Namespace, values: Any, _flag: Any = None
    ) -> None:
        parts = [part.strip() for word in values for part in word.split(",")]
        setattr(namespace, self.dest, [part for part in parts if part])


def _reader(option: Option) -> Callable[[str], Any]:
    """What makes a value of a word."""
    if option.is_list:
        return str

    def read(word: str) -> Any:
        if option.optional and word == "None":
            return None
        if option.is_closed:
            if word in option.choices:
                return word
            expected = f"one of {', '.join(option.choices)}"
        elif option.hint in (int, float):
            try:
                return option.hint(word)
            except ValueError:
                expected = "a whole number" if option.hint is int else "a number"
        else:
            return option.hint(word)
        raise argparse.ArgumentTypeError(f"found {word!r}; expected {expected}")

    return read


def _spelled(
    words: Sequence[str], options: Sequence[Option], prog: str, aliases: Mapping[str, str]
) -> list[str]:
    """The words with every flag under its own name.

    Raises:
        ConfigError: unknown flags; the nearest is named for each.
    """
    flags = {option.name: option for option in options if not option.typed.positional}
    spelled: list[str] = []
    unknown: list[str] = []
    for word in words:
        match = re.fullmatch(r"--([A-Za-z][\w-]*)(?:=(.*))?", word, re.DOTALL)
        if match is None:
            spelled.append(word)
            continue
        name, value = match[1].replace("_", "-"), match[2]
        name = aliases.get(name.replace("-", "_"), name).replace("_", "-")
        switched_off = flags.get(name.removeprefix("no-")) if name not in flags else None
        option = flags.get(name)
        if name in ("help", "help-all") or (switched_off is not None and switched_off.is_switch):
            spelled.append(f"--{name}")
        elif option is None:
            from sftui.commands import mistakes  # noqa: PLC0415  after a mistake alone

            unknown.append(f"--{match[1]}{mistakes.unknown_flag(name, list(flags))}")
        elif value is None:
            spelled.append(f"--{name}")
        elif not option.is_switch:
            spelled.append(f"--{name}={value}")
        elif value.lower() in _SWITCH_WORDS:
            spelled.append(f"--{name}" if _SWITCH_WORDS[value.lower()] else f"--no-{name}")
        else:
            raise ConfigError(f"--{name}: found {value!r}; expected True or False.")
    if unknown:
        raise ConfigError(f"unknown flag {', '.join(unknown)}. `{prog} --help` lists them.")
    return spelled


# ---- help ------------------------------------------------------------------------------------


def _text(kind: type) -> str:
    import inspect  # noqa: PLC0415  for `--help` alone

    return inspect.getdoc(kind) or ""


def _help_text(option: Option, docs: Mapping[str, str]) -> str:
    """The text under the field, and its default where the text does not say it."""
    text = docs[option.dest]
    default = option.default
    if default in (None, dataclasses.MISSING, "", ()) or default is False or "(default" in text:
        shown = ""
    elif isinstance(default, tuple):
        shown = f" (default: {','.join(default)})"
    else:
        shown = f" (default: {default})"
    return f"{text}{shown}".replace("%", "%%")
