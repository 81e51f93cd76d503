"""Keys that a user chose: `keys.toml` beside the preferences, read and checked.

One line an action, by the id of the table in `keys`: `pause = "p"`, or several keys,
`zoom_in = ["+", "i"]`. What cannot be used is said in one sentence and passed over;
the other lines count.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from engine.files.checked import parse_toml, read_typed
from sftui.keys import preferences
from sftui.keys.key_table import SCREENS, TABLE, Key
from sftui.text.clean import clean

MOST_BYTES = 256 * 1024
_MODIFIERS = ("ctrl", "alt", "shift", "super", "hyper", "meta")
_NAMED = frozenset(
    {"up", "down", "left", "right", "home", "end", "pageup", "pagedown", "insert", "delete"}
    | {"backspace", "escape", "enter", "space", "tab", "comma", "full_stop", "slash", "backslash"}
    | {"plus", "minus", "underscore", "at"}
    | {f"f{n}" for n in range(1, 25)}
)
_REPLACED = {
    "solidus": "slash",
    "reverse_solidus": "backslash",
    "commercial_at": "at",
    "hyphen_minus": "minus",
    "plus_sign": "plus",
    "low_line": "underscore",
}
"""Where Textual's name of a character is not that of Unicode."""
_ALIASES = {"esc": "escape", "pgup": "pageup", "pgdn": "pagedown", "return": "enter"}
_IDS = {key.id: key for key in TABLE}


class Keymap(NamedTuple):
    """The lines of the file that can be used, and what is wrong with the others."""

    keys: Mapping[str, str] = MappingProxyType({})
    """Id -> keys as Textual names them, comma-separated."""
    problems: tuple[str, ...] = ()
    """A sentence for each line that is not used."""

    @property
    def said(self) -> str:
        """All problems in one line; empty when there is none."""
        if not self.problems:
            return ""
        more = len(self.problems) - 1
        rest = f" ({more} more line{'' if more == 1 else 's'} not used)" if more else ""
        return f"{path().name}: {self.problems[0]}{rest}"


def path() -> Path:
    """The file; sftui never writes it."""
    return preferences.path().with_name("keys.toml")


def load() -> Keymap:
    """The user's keys; without a file, none."""
    try:
        data = read_typed(path(), MOST_BYTES)
    except FileNotFoundError:
        return Keymap()
    except OSError as error:
        return Keymap(problems=(f"it cannot be read: {error.strerror}.",))
    try:
        raw = parse_toml(data.decode())
    except UnicodeDecodeError:
        return Keymap(problems=("it is no UTF-8 text.",))
    except ValueError as error:
        return Keymap(problems=(f'{clean(str(error), 120)}. Lines look like: pause = "p"',))
    return checked(raw)


def checked(raw: Mapping[str, Any]) -> Keymap:
    """Check these entries: id -> key or keys."""
    problems: list[str] = []
    asked: dict[str, str] = {}
    for name, value in raw.items():
        shown = clean(str(name), 40)
        if name not in _IDS:
            problems.append(f"nothing is called {shown}{_like(name, _IDS)}.")
            continue
        wanted = [value] if isinstance(value, str) else value
        if not isinstance(wanted, list) or not wanted or not all(_text(key) for key in wanted):
            problems.append(f'{shown} has no key; write {shown} = "p" or {shown} = ["p", "f5"].')
            continue
        names = [_key_name(key) for key in wanted]
        if None in names:
            word = clean(wanted[names.index(None)], 30)
            hint = _like(word, _NAMED) or '; write such as "p", "?", "f5", "ctrl+t", "shift+up"'
            problems.append(f"{shown}: no key is called {word}{hint}.")
            continue
        asked[name] = ",".join(dict.fromkeys(key for key in names if key))
    asked |= _spared(asked)
    while (clash := next(_clashes(asked), None)) is not None:
        loser, other, key = clash
        problems.append(f"{loser} cannot have {key}: {other} has it. Give {other} another key.")
        del asked[loser]
    return Keymap(asked, tuple(problems))


def _spared(asked: Mapping[str, str]) -> dict[str, str]:
    """Entries that are newer than the file and whose key it gives to something else."""
    found: dict[str, str] = {}
    for group in _together(list(TABLE)):
        wanted = {name for key in group for name in asked.get(key.id, "").split(",") if name}
        for key in group:
            if key.spare and key.id not in asked and wanted & set(key.keys.split(",")):
                found[key.id] = key.spare
    return found


def _clashes(asked: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Conflicts as (entry that gives way, entry that keeps the key, the key)."""
    keys = [key._replace(keys=asked.get(key.id, key.keys)) for key in TABLE]
    for group in _together(keys):
        holders: dict[str, list[str]] = defaultdict(list)
        for key in group:
            for name in key.keys.split(","):
                holders[name].append(key.id)
        for name, ids in holders.items():
            # What was asked last gives way; what has no line in the file stays.
            moved = sorted((i for i in ids if i in asked), key=list(asked).index)
            if len(ids) > 1 and moved:
                loser = moved[-1]
                yield loser, next(i for i in ids if i != loser), name


def _together(keys: list[Key]) -> Iterator[list[Key]]:
    """Groups of entries that are active at the same time."""
    for mode in ("live", "replay"):
        yield [key for key in keys if key.mode in ("", mode)]
    for mode in (*SCREENS, "search", "look"):
        yield [key for key in keys if key.mode == mode]


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _key_name(word: str) -> str | None:
    """A key as Textual names it; None when there is none of that name."""
    if len(word) > 60:
        return None
    if len(word) == 1:
        return _character(word)
    head, _, name = word.strip().rpartition("+")
    if not name:  # the plus sign itself: `ctrl++`
        head, name = head.rstrip("+"), "+"
    modifiers = head.split("+") if head else []
    if any(part not in _MODIFIERS for part in modifiers):
        return None
    name = _ALIASES.get(name, name)
    if len(name) == 1 and name.isalpha():
        # Terminals send a letter with shift as a capital, and with ctrl as a small one.
        if modifiers == ["shift"]:
            return name.upper()
        last: str | None = name.lower() if "ctrl" in modifiers else name
    elif len(name) == 1:
        last = _character(name)
    elif name in _NAMED or _from_unicode(name):
        last = _REPLACED.get(name, name)
    else:
        last = None
    return "+".join((*modifiers, last)) if last else None


def _character(char: str) -> str | None:
    if char.isalnum():
        return char
    if char == " ":
        return "space"
    try:
        name = re.sub("[- ]", "_", unicodedata.name(char).lower())
    except ValueError:
        return None
    return _REPLACED.get(name, name)


def _from_unicode(name: str) -> bool:
    try:
        unicodedata.lookup(name.replace("_", " "))
    except KeyError:
        return name in ("less_than_sign", "greater_than_sign")
    return True


def _like(word: str, names: Any) -> str:
    import difflib  # noqa: PLC0415  only for who mistyped

    close = difflib.get_close_matches(str(word), list(names), 1)
    return f"; the nearest is {close[0]}" if close else ""
