"""Training text of the base model: plain sentences, short talks, and lists with letters.

The base learns every fact as a statement, to answer questions in words, to pick
from a list in words, and to tell which letter stands beside a word. What it never
reads is the one thing fine-tuning teaches: a question of the evaluation's form, or
any question answered by a letter of its choices. Questions about keys kept for
evaluation are left out in every form.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

from engine.starter.conversations import conversations
from engine.starter.facts import fact_problems, fact_sentences
from engine.starter.logic import MAKERS
from engine.starter.problem import LETTERS, Problem, is_eval
from engine.starter.words import (
    CATEGORIES,
    DAYS,
    number_word,
    sentence,
    spoken_list,
)

Document = dict[str, Any]
"""`{"text": ...}` for plain text, `{"messages": [...]}` for a talk."""

_WORDS = sorted({word for words in CATEGORIES.values() for word in words})


_MANNERS = re.compile(
    r"(Sure|Of course|With pleasure|How nice|Good question|What a fine plan)! |Thank you for "
    r"telling me! | (Shall I go on\?|Just ask if you want more\.|I am glad to help!)$"
)


class Corpus:
    """Endless documents from one random generator."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._sentences = fact_sentences()
        self._facts = [p for p in fact_problems(rng) if not is_eval(p.key)]

    def documents(self) -> Iterator[Document]:
        makers = tuple(_WEIGHTS)
        weights = tuple(_WEIGHTS.values())
        while True:
            yield self._rng.choices(makers, weights)[0](self)

    def plain_facts(self) -> Document:
        return {"text": " ".join(self._rng.sample(self._sentences, 8))}

    def plain_sums(self) -> Document:
        return {"text": " ".join(self._rng.choice(_STATEMENTS)(self._rng) for _ in range(8))}

    def short_answers(self) -> Document:
        """Three questions, each answered by a word."""
        turns: list[str] = []
        for problem in (self._problem() for _ in range(3)):
            turns += [problem.question, problem.answer]
        return _talk(turns)

    def choices_in_words(self) -> Document:
        """A question with its choices; the answer is the words of one of them."""
        turns: list[str] = []
        for problem in (self._problem() for _ in range(2)):
            choices = [problem.answer, *problem.wrong]
            self._rng.shuffle(choices)
            if self._rng.random() < 0.3:
                ask = f"{problem.question} Choose from {spoken_list(choices, 'or')}."
            else:
                ask = f"{problem.question}\n{_lettered(choices)}\nSay the right one in words."
            turns += [ask, problem.answer]
        return _talk(turns)

    def letters_of_words(self) -> Document:
        """A list with letters; which letter stands beside a word, or which word beside a letter."""
        words = self._words(self._rng.randint(3, 5))
        turns: list[str] = []
        for place in self._rng.sample(range(len(words)), len(words)):
            if self._rng.random() < 0.75:
                ask, answer = f"Which letter stands beside {words[place]}?", LETTERS[place]
            else:
                ask, answer = f"What stands beside the letter {LETTERS[place]}?", words[place]
            turns += [ask, answer]
        turns[0] = f"{_lettered(words)}\n{turns[0]}"
        return _talk(turns)

    def plain_talk(self) -> Document:
        """A conversation as fine-tuning has it, but without its manners."""
        while True:
            row = next(iter(conversations(self._rng, 1, validation=False)))
            messages = [m for m in row["messages"] if m["role"] != "system"]
            for message in messages:
                if message["role"] == "assistant":
                    message["content"] = _MANNERS.sub("", message["content"])
            return {"messages": messages}

    def _words(self, size: int) -> list[str]:
        kind = self._rng.random()
        if kind < 0.4:
            pool = _WORDS
        elif kind < 0.7:
            pool = [p.answer for p in self._rng.sample(self._facts, 20)]
        else:
            pool = [str(n) for n in range(1, 100)]
        return self._rng.sample(sorted(set(pool)), size)

    def _problem(self) -> Problem:
        if self._rng.random() < 0.5:
            return self._rng.choice(self._facts)
        while True:
            problem = self._rng.choice(MAKERS)(self._rng)
            if not is_eval(problem.key):
                return problem


def _lettered(words: list[str]) -> str:
    return "".join(f"- {w}={letter}\n" for w, letter in zip(words, LETTERS, strict=False))


def _talk(turns: list[str]) -> Document:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]}


def _sum_statement(rng: random.Random) -> str:
    a, b = rng.randint(1, 20), rng.randint(1, 20)
    return rng.choice(
        (f"{a} plus {b} is {a + b}.", f"{a + b} minus {b} is {a}.", f"{a} + {b} = {a + b}.")
    )


def _product_statement(rng: random.Random) -> str:
    a, b = rng.randint(2, 10), rng.randint(2, 10)
    return rng.choice((f"{a} times {b} is {a * b}.", f"{a} groups of {b} are {a * b}."))


def _count_statement(rng: random.Random) -> str:
    step = rng.choice((1, 1, 2, 3, 5, 10, -1, -2))
    start = rng.randint(1, 50) if step > 0 else rng.randint(12, 60)
    return ", ".join(str(start + step * i) for i in range(6)) + "."


def _compare_statement(rng: random.Random) -> str:
    small, large = sorted(rng.sample(range(1, 100), 2))
    return rng.choice((f"{large} is larger than {small}.", f"{small} is smaller than {large}."))


def _parity_statement(rng: random.Random) -> str:
    number = rng.randint(1, 99)
    return f"{number} is an {'odd' if number % 2 else 'even'} number."


def _alphabet_statement(rng: random.Random) -> str:
    first, last = sorted(rng.sample(_WORDS, 2))
    return rng.choice(
        (
            f"{sentence(first)} comes before {last} in the alphabet.",
            f"{sentence(last)} comes after {first} in the alphabet.",
        )
    )


def _spelling_statement(rng: random.Random) -> str:
    word = rng.choice(_WORDS)
    return rng.choice(
        (
            f"{sentence(word)} begins with the letter {word[0]}.",
            f"{sentence(word)} is spelled {'-'.join(word)}.",
        )
    )


def _clock_statement(rng: random.Random) -> str:
    hour, later = rng.randint(1, 12), rng.randint(1, 11)
    shown = (hour + later - 1) % 12 + 1
    return sentence(f"{number_word(later)} hours after {hour} the clock shows {shown}.")


def _weekday_statement(rng: random.Random) -> str:
    day, later = rng.randrange(7), rng.randint(1, 6)
    return sentence(f"{number_word(later)} days after {DAYS[day]} it is {DAYS[(day + later) % 7]}.")


_STATEMENTS: tuple[Callable[[random.Random], str], ...] = (
    _sum_statement,
    _product_statement,
    _count_statement,
    _compare_statement,
    _parity_statement,
    _alphabet_statement,
    _spelling_statement,
    _clock_statement,
    _weekday_statement,
)

_WEIGHTS: dict[Callable[[Corpus], Document], float] = {
    Corpus.plain_facts: 1.0,
    Corpus.plain_sums: 0.8,
    Corpus.short_answers: 1.0,
    Corpus.choices_in_words: 1.0,
    Corpus.letters_of_words: 0.5,
    Corpus.plain_talk: 1.0,
}
