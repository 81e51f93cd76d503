"""Questions about the list of choices itself, such as where a word stands in it.

They need no knowledge, only reading: what a small model can learn in a hundred
updates. That is why the starter's accuracy visibly leaves chance, beside a task of
facts that honestly may not.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from engine.starter.problem import Problem
from engine.starter.words import CATEGORIES

_WORDS = sorted({word for words in CATEGORIES.values() for word in words})
_PLACES = ("first", "second", "third", "fourth", "fifth")
_YES = ("yes", "certainly", "of course")
_NO = ("no", "never", "not now", "not this one", "surely not", "not at all")


def place(rng: random.Random) -> Problem:
    words = rng.sample(_WORDS, _size(rng))
    at = rng.randrange(len(words))
    names = [_PLACES[at]]
    if at >= len(words) - 2:
        names.append("last" if at == len(words) - 1 else "last but one")
    ask = rng.choice(("Which of these stands {}?", "Which word is the {} of the list?"))
    return _about("places", ask.format(rng.choice(names)), words, at)


def after(rng: random.Random) -> Problem:
    words = rng.sample(_WORDS, _size(rng))
    at = rng.randrange(1, len(words))
    ask = rng.choice(("Which comes right after the {} one?", "Which follows the {} word?"))
    return _about("neighbours", ask.format(_PLACES[at - 1]), words, at)


def agreeing(rng: random.Random) -> Problem:
    size = _size(rng)
    words = rng.sample(_NO, size)
    at = rng.randrange(size)
    words[at] = rng.choice(_YES)
    ask = rng.choice(("Which of these says yes?", "Which answer agrees?"))
    return _about("yes and no", ask, words, at)


def number(rng: random.Random) -> Problem:
    words = rng.sample(_WORDS, _size(rng))
    at = rng.randrange(len(words))
    words[at] = str(rng.randint(1, 99))
    ask = rng.choice(("Which of these is a number?", "Which one can be counted with?"))
    return _about("numbers among words", ask, words, at)


MAKERS: tuple[Callable[[random.Random], Problem], ...] = (place, after, agreeing, number)


def list_problems(rng: random.Random, count: int) -> list[Problem]:
    """`count` problems, the makers taking turns; questions may repeat."""
    return [MAKERS[i % len(MAKERS)](rng) for i in range(count)]


def _size(rng: random.Random) -> int:
    return rng.choices((3, 4, 5), weights=(1, 8, 1))[0]


def _about(subject: str, question: str, words: list[str], at: int) -> Problem:
    return Problem(
        subject=subject,
        # The same words in another order fall into the same split.
        key=f"{subject}/{'/'.join(sorted(words))}",
        question=question,
        answer=words[at],
        wrong=tuple(words[:at] + words[at + 1 :]),
        place=at,
    )
