"""Problems whose answer is generated and then checked: a number (GSM8K), or a program (HumanEval).

As nanochat checks them: the number after `#### `, commas left out, compared as text; and a
program, made of the imports of the prompt, the code of the answer and the tests of the row,
that has to run to its end. A model that was taught another form ("so she makes $18 a day") is read
freely: `free_number` and `free_code` find what `number_of` and `code_of` would, and more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.conversations.conversation import Conversation, Message, RowFault, is_gsm8k_answer

Kind = Literal["number", "program"]

_NUMBER = re.compile(r"#### (-?[0-9.,]+)")
_FENCED = re.compile(r"```(?:python)?\s*\n(.*?)\n```", re.DOTALL)
_IMPORTS = ("import ", "from ")
_ANY_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?")
_ANY_FENCED = re.compile(r"```[\w+-]*[ \t]*\n(.*?)```", re.DOTALL)
_FENCE = re.compile(r"```[\w+-]*[ \t]*\n?")

GENERATED_TASKS = ("GSM8K", "HumanEval")
"""Tasks whose rows are asked as problems; all others are asked by letter."""

PASSED = "passed"
"""The gold answer of a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem; `gold` is the right number, or `PASSED`."""

    kind: Kind
    prompt: str
    """The user message."""
    gold: str
    solution: str = ""
    """Of a program: what follows the prompt in the row's own answer."""
    tests: str = ""
    """Of a program: defines `check(candidate)`."""
    entry_point: str = ""
    """Of a program: the name of the function that is checked."""
    subject: str = ""
    id: str = ""

    def conversation(self) -> Conversation:
        """Prompt and the row's own answer; only the prompt is asked."""
        answer = f"{self.prompt}\n{self.solution}" if self.kind == "program" else self.gold
        return Conversation((Message("user", self.prompt), Message("assistant", answer)))

    def content_hash(self) -> str:
        """16 hex digits over everything but the id."""
        content = [self.kind, self.prompt, self.gold, self.solution, self.tests, self.entry_point]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def program(self, answer: str, *, free: bool = False) -> str:
        """What is run to check an `answer` that is a program; `free`: see the module's head."""
        found = free_code(answer, self.entry_point) if free else code_of(answer)
        code = f"{imports_of(self.prompt)}\n\n{found}"
        return f"{code}\n\n{self.tests}\ncheck({self.entry_point})"


def parse_program(raw: dict[str, object]) -> Problem:
    """Problem of a row of HumanEval: `prompt`, `canonical_solution`, `test`, `entry_point`.

    Raises:
        RowFault: naming the key and what was expected in it.
    """
    found: dict[str, str] = {}
    for key in ("prompt", "canonical_solution", "test", "entry_point"):
        value = raw.get(key)
        if not isinstance(value, str):
            raise RowFault(f'"{key}" is missing or not a text')
        found[key] = value
    if not found["entry_point"].isidentifier():
        raise RowFault(f'"entry_point" is {found["entry_point"]!r}; expected a function\'s name')
    task_id = raw.get("task_id")
    return Problem(
        kind="program",
        prompt=found["prompt"],
        gold=PASSED,
        solution=found["canonical_solution"],
        tests=found["test"],
        entry_point=found["entry_point"],
        id=task_id if isinstance(task_id, str) else "",
    )


def number_problem(conversation: Conversation) -> Problem:
    """Problem of a row of GSM8K, whose answer ends in `#### 24`.

    Raises:
        RowFault: there is no such number.
    """
    asked, answered = conversation.messages[-2:]
    content = answered.content
    text = content if isinstance(content, str) else content[-1].text if content else ""
    gold = number_of(text)
    if gold is None or not isinstance(asked.content, str) or not is_gsm8k_answer(text):
        raise RowFault("the answer has no number; expected a last line like #### 24")
    return Problem(kind="number", prompt=asked.content, gold=gold)


def number_of(answer: str) -> str | None:
    """The first number after `#### `, commas left out; None without one."""
    found = _NUMBER.search(answer)
    return found[1].replace(",", "") if found else None


def code_of(answer: str) -> str:
    """The first fenced block of an answer, or all of it."""
    found = _FENCED.search(answer)
    return (found[1] if found else answer).strip()


def free_number(answer: str) -> str | None:
    """The number after `#### `, else the last one of the answer; None without any.

    Commas are left out, and so are decimals that are zeros, for which gold answers have none.
    """
    found = number_of(answer)
    if found is None:
        every: list[str] = _ANY_NUMBER.findall(answer)
        if not every:
            return None
        found = every[-1].replace(",", "")
    whole, dot, decimals = found.rstrip(".").partition(".")
    return whole if not decimals.strip("0") else f"{whole}{dot}{decimals}"


def free_code(answer: str, entry_point: str) -> str:
    """The first fenced block that defines the function asked for, else the first, else all.

    Of a fence that stands alone (an answer cut at its end, one that begins with its program) the
    side with the function counts.
    """
    blocks: list[str] = _ANY_FENCED.findall(answer) or _FENCE.split(answer)
    defined = re.compile(rf"^[ \t]*(?:async )?def {re.escape(entry_point)}\b", re.MULTILINE)
    found = next((block for block in blocks if defined.search(block)), blocks[0])
    return found.strip()


def imports_of(prompt: str) -> str:
    """The imports at the beginning of a prompt, up to its first other line."""
    found = []
    for line in map(str.strip, prompt.split("\n")):
        if line.startswith(_IMPORTS):
            found.append(line)
        elif line and not line.startswith("#"):
            break
    return "\n".join(found)


def problem_set(problems: Sequence[Problem], most_tokens: int, *, free: bool = False) -> str:
    """SHA-256 of the ordered ids, how they are asked and how answers are read; equal sets may be
    compared by item."""
    asked = "generated, read freely" if free else "generated"
    content = [asked, most_tokens, [problem.id for problem in problems]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
