"""Multiple-choice questions: their prompt, their gold letter and their identity.

The letter stands after its choice and without a blank (`- Paris=C`), as in
nanochat: the letter in the prompt is then the very token the model answers
with. Letters come from the row, since some ARC rows use 1 to 4 or five choices.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from engine.conversations.conversation import Conversation, Message, RowFault
from engine.conversations.problems import Problem

Q = TypeVar("Q", "Question", Problem)

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

PROMPT_HEAD = "Multiple Choice question: {question}\n"
PROMPT_CHOICE = "- {choice}={letter}\n"
PROMPT_TAIL = "\nRespond only with the letter of the correct answer."


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question whose answer is one of its own letters."""

    question: str
    choices: tuple[str, ...]
    letters: tuple[str, ...]
    gold: str
    """The right one of `letters`."""
    subject: str = ""
    id: str = ""
    """The hub's id; empty until `with_ids` gives one."""

    def prompt(self) -> str:
        """The user message: question, choices with letters, and how to answer."""
        lines = [
            PROMPT_CHOICE.format(choice=choice, letter=letter)
            for choice, letter in zip(self.choices, self.letters, strict=True)
        ]
        return PROMPT_HEAD.format(question=self.question) + "".join(lines) + PROMPT_TAIL

    def conversation(self) -> Conversation:
        """Prompt and gold letter: a training row, or a prompt once the answer is dropped."""
        return Conversation((Message("user", self.prompt()), Message("assistant", self.gold)))

    def content_hash(self) -> str:
        """16 hex digits over everything but the id; the same in every form of the row."""
        content = [self.question, self.choices, self.letters, self.gold, self.subject]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def parse_question(raw: dict[str, object], *, subject: str = "") -> Question:
    """Question of ARC's, MMLU's or the plain form; `subject` is used when the row has none.

    Raises:
        RowFault: naming the key and what was expected in it.
    """
    question = raw.get("question")
    if not isinstance(question, str):
        raise RowFault('"question" is missing or not a text')
    choices_raw = raw.get("choices")
    if isinstance(choices_raw, dict):
        choices = _texts(choices_raw.get("text"), '"choices.text"')
        letters = _texts(choices_raw.get("label"), '"choices.label"')
        gold_key = "answerKey"
    else:
        choices = _texts(choices_raw, '"choices"')
        if "letters" in raw:
            letters = _texts(raw["letters"], '"letters"')
        elif len(choices) <= len(LETTERS):
            letters = tuple(LETTERS[: len(choices)])
        else:
            raise RowFault(f'"choices" has {len(choices)} entries; expected at most {len(LETTERS)}')
        gold_key = "answer"
    if len(letters) != len(choices):
        raise RowFault(
            f"there are {len(choices)} choices and {len(letters)} letters; expected as many"
        )
    if len(choices) < 2:
        raise RowFault("there are fewer than two choices")
    if len(set(letters)) != len(letters):
        raise RowFault(f"the letters {', '.join(letters)} are not all different")
    gold = raw.get(gold_key)
    if isinstance(gold, int) and not isinstance(gold, bool):  # MMLU: an index from 0
        if not 0 <= gold < len(letters):
            raise RowFault(f'"{gold_key}" is {gold}; expected 0 to {len(letters) - 1}')
        gold = letters[gold]
    if gold not in letters:
        raise RowFault(f'"{gold_key}" is {gold!r}; expected one of {", ".join(letters)}')
    row_subject, row_id = raw.get("subject", ""), raw.get("id", "")
    if not isinstance(row_subject, str):
        raise RowFault('"subject" is not a text')
    return Question(
        question=question,
        choices=choices,
        letters=letters,
        gold=str(gold),
        subject=row_subject or subject,
        id=row_id if isinstance(row_id, str) else "",
    )


def with_ids(questions: Iterable[Q]) -> list[Q]:
    """The same questions (or `Problem`s), each with an id no other has.

    The hub's id where there is one, else the content hash; the second and
    later question of the same id get `#2`, `#3`, ... in the given order. So
    the ids of the first k questions do not depend on how many follow.
    """
    seen: Counter[str] = Counter()
    named: list[Q] = []
    for question in questions:
        base = question.id or question.content_hash()
        seen[base] += 1
        named.append(replace(question, id=base if seen[base] == 1 else f"{base}#{seen[base]}"))
    return named


def chance(questions: Sequence[Question]) -> float:
    """Expected accuracy of guessing: the mean of 1 / number of choices."""
    if not questions:
        return float("nan")
    return sum(1 / len(question.letters) for question in questions) / len(questions)


def one_letter(questions: Sequence[Question]) -> float:
    """Best accuracy that always answering one and the same letter could reach."""
    if not questions:
        return float("nan")
    return max(Counter(question.gold for question in questions).values()) / len(questions)


def item_set(questions: Sequence[Question]) -> str:
    """SHA-256 of the prompt template and the ordered item ids.

    Two evaluations may be compared item by item only if this is equal.
    """
    template = [PROMPT_HEAD, PROMPT_CHOICE, PROMPT_TAIL]
    content = [template, [question.id for question in questions]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _texts(raw: object, name: str) -> tuple[str, ...]:
    if isinstance(raw, list):
        texts = [item for item in raw if isinstance(item, str)]
        if len(texts) == len(raw):
            return tuple(texts)
    raise RowFault(f"{name} is missing or not a list of texts")
