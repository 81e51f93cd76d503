"""What can be typed after a command, read off the dataclass that holds its flags.

A field is a flag of its name: its type says how a word is read, `Typed` in its annotation what
the type cannot say, and the text under it is its help. Every start waits for this module:
named tuples are made in a fraction of the time that frozen dataclasses take.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from inspect import get_annotations
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

_METAVARS = {str: "TEXT", int: "N", float: "NUMBER", Path: "FILE"}


class Typed(NamedTuple):
    """What the type of a field does not say about how it is typed."""

    metavar: str = ""
    """The word that stands for the value in `--help`; it also says what completes the value
    (see `completion`)."""
    positional: bool = False
    """Given by its place, without a flag."""
    short: str = ""
    """A short flag beside the long one, e.g. `-o`."""
    choices: tuple[str, ...] = ()
    """Words that complete the value; others are allowed. A `Literal` allows no others."""
    words: bool = False
    """A list of texts, one word each, in which a comma is a comma."""


class Option(NamedTuple):
    """One flag, or one word in a place."""

    dest: str
    """The field's name."""
    hint: Any
    """The field's type, without None."""
    optional: bool
    """Whether the field can be None."""
    default: Any
    """`dataclasses.MISSING` where a value is needed."""
    typed: Typed
    owner: type
    """The dataclass that declares the field."""
    group: type
    """The dataclass under whose heading `--help` lists it."""

    @property
    def name(self) -> str:
        """`runs-dir`. A field called like a word of Python ends with an underscore."""
        return self.dest.rstrip("_").replace("_", "-")

    @property
    def is_switch(self) -> bool:
        return self.hint is bool

    @property
    def is_list(self) -> bool:
        return typing.get_origin(self.hint) is tuple

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that can be typed, where they can be told."""
        return typing.get_args(self.hint) if self.is_closed else self.typed.choices

    @property
    def is_closed(self) -> bool:
        """Whether nothing but `choices` is allowed."""
        return typing.get_origin(self.hint) is Literal

    @property
    def metavar(self) -> str:
        """`{bfloat16,float32}`, `PATH`, `INT`."""
        if self.typed.metavar:
            return self.typed.metavar
        if self.is_closed:
            return "{" + ",".join(self.choices) + "}"
        if self.is_list:
            return "TEXT" if self.typed.words else "NAME"
        return _METAVARS[self.hint]


def options_of(
    kind: Any, extra: Mapping[str, Typed] = MappingProxyType({}), heading: type | None = None
) -> list[Option]:
    """Every flag of a dataclass of flags, its own before those of its bases.

    A field that is a dataclass itself stands for all of that one's fields, which come last.

    Args:
        kind: the dataclass.
        extra: how fields are typed whose annotations do not say it, by name.
        heading: the group of fields that stand beside fields which are dataclasses.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    declared = {name: base for base in reversed(kind.__mro__) for name in _declares(base)}
    own = [name for name in fields if declared[name] is kind]
    groups = [name for name in fields if dataclasses.is_dataclass(hints[name])]
    group = heading if heading is not None and groups else kind
    found: list[Option] = []
    for name in [*own, *(name for name in fields if name not in own)]:
        if name in groups:
            continue
        hint, typed = hints[name], extra.get(name, Typed())
        if typing.get_origin(hint) is Annotated:
            hint, typed = typing.get_args(hint)
        parts = typing.get_args(hint) if _is_union(hint) else (hint,)
        bare = next(part for part in parts if part is not types.NoneType)
        found.append(
            Option(
                dest=name,
                hint=bare,
                optional=types.NoneType in parts,
                default=fields[name].default,
                typed=typed,
                owner=declared[name],
                group=group,
            )
        )
    for name in groups:
        found += options_of(hints[name], extra, group)
    return found


def _declares(base: type) -> Sequence[str]:
    return tuple(get_annotations(base))


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def docs_of(options: Sequence[Option]) -> dict[str, str]:
    """The text under each field, by the field's name, on one line."""
    import ast  # noqa: PLC0415  for `--help` alone
    import inspect  # noqa: PLC0415  as above
    import textwrap  # noqa: PLC0415  as above

    found: dict[str, str] = {}
    for owner in {option.owner for option in options}:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                said = text.value if isinstance(text, ast.Expr) else None
                if isinstance(said, ast.Constant):
                    found[field.target.id] = " ".join(str(said.value).split())
    return found
