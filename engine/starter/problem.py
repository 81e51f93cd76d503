"""One question with its right and wrong answers, and which split it belongs to.

The split is a hash of what a question is *about* (its key), not of its words: all
phrasings of one fact, in both directions, fall on the same side, so an evaluation
question is never the training question said differently.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

LETTERS = "ABCDE"

EVAL_SHARE = 0.35
"""Share of keys kept for evaluation; 0.35 of the facts still gives over 256 distinct questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question before its choices are put in order."""

    subject: str
    key: str
    """What it is about; decides the split."""
    question: str
    answer: str
    wrong: tuple[str, ...]
    """Wrong choices, all different from the answer and from each other."""
    place: int | None = None
    """Where the answer stands among the choices, for a question about their order; wrong choices
    then keep theirs. None: anywhere."""

    def identity(self) -> str:
        """What makes it this question: its words and its choices, their order only if it is
        about order."""
        if self.place is None:
            choices = sorted([self.answer, *self.wrong])
        else:
            choices = [*self.wrong[: self.place], self.answer, *self.wrong[self.place :]]
        return normalised(" ".join([self.question, *choices]))


def is_eval(key: str) -> bool:
    """Whether questions about `key` are kept for evaluation; the same on every machine."""
    return fraction(key) < EVAL_SHARE


def fraction(key: str) -> float:
    """A number in [0, 1) that depends on the text of `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2.0**48


def normalised(text: str) -> str:
    """Lower-case letters and digits only: the form in which questions are compared."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def pick_wrong(
    rng: random.Random, answer: str, others: Iterable[str], low: int = 3
) -> tuple[str, ...]:
    """Mostly 3 wrong answers, sometimes 2 or 4, drawn from `others` without the answer."""
    pool = sorted(set(others) - {answer})
    wanted = rng.choices((low - 1, low, low + 1), weights=(1, 8, 1))[0]
    return tuple(rng.sample(pool, min(wanted, len(pool))))


def as_rows(problems: Sequence[Problem], rng: random.Random) -> list[dict[str, Any]]:
    """Multiple-choice rows (`question choices letters answer subject`), choices in random order.

    Right answers go round the letters, so that answering one letter always never
    beats chance by more than rounding.
    """
    rows = []
    places: dict[int, list[int]] = {}
    for problem in problems:
        choices = list(problem.wrong)
        size = len(choices) + 1
        if problem.place is None:
            rng.shuffle(choices)
            if not places.get(size):
                places[size] = rng.sample(range(size), size)
            place = places[size].pop()
        else:
            place = problem.place
        choices.insert(place, problem.answer)
        rows.append(
            {
                "question": problem.question,
                "choices": choices,
                "letters": list(LETTERS[:size]),
                "answer": LETTERS[place],
                "subject": problem.subject,
            }
        )
    return rows
