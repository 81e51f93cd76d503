"""Which charts are shown: a small language over the names of their curves.

    loss            names with `loss` in them
    loss val        both words (space = and)
    reward | kl     either (`|` = or; it binds less than a space)
    !eval           not that word
    rewards/*       a glob: `*` any characters, `?` one; it stands for the whole name

Capitals do not matter. Whatever is typed has a meaning, so nothing is ever refused while it is
only half typed: a lone `!` or an empty side of `|` says nothing.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from functools import lru_cache

MOST_CHARACTERS = 200
"""Of a query; no name of a chart needs more."""


@dataclass(frozen=True, slots=True)
class Word:
    """One condition on a name."""

    text: str
    """Lower case."""
    negated: bool = False

    def matches(self, name: str, title: str) -> bool:
        """Whether a name and a title, both in lower case, fulfil it; a glob is of names alone."""
        if "*" in self.text or "?" in self.text:
            found = _glob(self.text).match(name) is not None
        else:
            found = self.text in name or self.text in title
        return found is not self.negated


@dataclass(frozen=True, slots=True)
class ChartFilter:
    """A query that was read: any of the groups must fulfil all of its words."""

    groups: tuple[tuple[Word, ...], ...] = ()

    def matches(self, name: str, title: str = "") -> bool:
        """Whether a curve of that name, on a chart of that title, is asked for.

        Without any word, all are.
        """
        low, words = name.lower(), title.lower()
        return not self.groups or any(all(w.matches(low, words) for w in g) for g in self.groups)


def parse(query: str) -> ChartFilter:
    """Read a query; never refuses one."""
    groups = (_words(side) for side in query[:MOST_CHARACTERS].lower().split("|"))
    return ChartFilter(tuple(group for group in groups if group))


def _words(side: str) -> tuple[Word, ...]:
    found = []
    for text in side.split():
        bare = text.lstrip("!")
        if bare:
            found.append(Word(bare, negated=(len(text) - len(bare)) % 2 == 1))
    return tuple(found)


@lru_cache(maxsize=256)
def _glob(text: str) -> re.Pattern[str]:
    # Brackets are common in names and no part of this language.
    literal = text.replace("[", "[[]")
    return re.compile(fnmatch.translate(literal))
