"""What a line that is being typed may go on with: verbs as they are found, then their arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sftui.verbs.verb_table import GROUPS, VERBS, Verb, by_name

MOST_RECENT = 5
"""Lines typed before that stand over the verbs."""
MOST_FILES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the screen knows: the words that arguments are completed with."""

    mode: str = "live"
    tasks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    """Ids, newest first."""
    themes: tuple[str, ...] = ()
    recent: tuple[str, ...] = ()
    """Lines that were typed, newest first."""
    folder: Path = field(default_factory=Path.cwd)
    """Where file names begin."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One row of the list."""

    line: str
    """What the typed line becomes."""
    shown: str
    """How it reads: the verb with its arguments, or the argument."""
    help: str = ""
    key: str = ""
    """Id of the key that does the same."""
    whole: bool = True
    """Whether the line works as it stands."""
    group: str = ""


def suggest(line: str, around: Around) -> list[Suggestion]:
    """Rows for this line, best first; with nothing typed the newest lines and then all verbs."""
    line = line.lstrip().removeprefix(":").lstrip()
    name, space, rest = line.partition(" ")
    if space:
        verb = by_name(name)
        return [] if verb is None else _arguments(verb, rest.lstrip(), around)
    here = [verb for verb in VERBS if verb.works_in(around.mode)]
    if not name:
        recent = list(dict.fromkeys(around.recent))[:MOST_RECENT]
        old = [Suggestion(text, text, "typed before", group="recent") for text in recent]
        return old + [_row(verb) for verb in here]
    found = [(_rank(verb, name.lower()), i, verb) for i, verb in enumerate(here)]
    return [_row(verb) for rank, _, verb in sorted(found, key=lambda f: f[:2]) if rank < _NOT]


_NOT = 9


def _rank(verb: Verb, word: str) -> int:
    """How well a verb answers to a word, 0 best; `_NOT` where it does not."""
    if verb.name == word:
        return 0
    if verb.name.startswith(word):
        return 1
    words = verb.help.lower().replace(",", " ").replace(".", " ").split()
    if any(part.startswith(word) for part in words):
        return 2
    if word in verb.name or word in verb.help.lower():
        return 3
    letters = iter(verb.name)
    return 4 if all(letter in letters for letter in word) else _NOT


def _row(verb: Verb) -> Suggestion:
    end = " " if verb.required else ""
    return Suggestion(
        verb.name + end, verb.usage, verb.help, verb.key, not verb.required, GROUPS[verb.group]
    )


def _arguments(verb: Verb, rest: str, around: Around) -> list[Suggestion]:
    """Words that may stand where `rest` was begun."""
    if not verb.arguments:
        return []
    words: tuple[str, ...] = verb.choices
    if verb.name == "pause":
        words = ("in 10", "in 50", "in 100")
    elif verb.name == "eval" and " " not in rest:
        words = around.tasks
    elif verb.name == "theme":
        words = around.themes
    elif verb.name in ("open", "compare", "past"):
        words = (*verb.choices, *around.runs)
    begun = rest.lower()
    found = [word for word in words if word.lower().startswith(begun)]
    if not found and begun:
        found = [word for word in words if begun in word.lower()]
    if verb.name in ("open", "compare", "past", "baseline"):
        found += files(rest, around.folder)
    return [Suggestion(f"{verb.name} {word}", word) for word in found]


def files(begun: str, folder: Path) -> list[str]:
    """Files and folders whose name goes on with what was begun; a folder ends in a slash."""
    head, slash, tail = begun.rpartition("/")
    try:
        place = Path(head + slash).expanduser() if slash else Path()
        place = place if place.is_absolute() else folder / place
        names = sorted(entry.name + "/" * entry.is_dir() for entry in place.iterdir())
    except (OSError, ValueError, RuntimeError):
        return []
    hidden = tail.startswith(".")
    fitting = [n for n in names if n.startswith(tail) and (hidden or not n.startswith("."))]
    return [head + slash + name for name in fitting[:MOST_FILES]]
