"""Fuzzed: what a model answers, and what a program of its own says of itself."""

from __future__ import annotations

import random

from tests.faults.test_strangers import Desk
from tests.fuzz.doors import Finding

ANSWERS = (
    b"First 48 / 2 = <<48/2=24>>24.\n#### 24",
    b"The answer is **1,234.50**, that is $1,234.5.\n#### 1,234.50\n",
    b"\\boxed{\\frac{3}{4}} so 3/4 or 75%.",
    b"```python\ndef add(a, b):\n    return a + b\n```\nThis adds both.",
    b"<think>\nno\n</think>\n~~~py\nimport math\n\ndef add(a, b):\n\treturn math.fsum([a, b])\n~~~",
    b"    return a + b\n\n\ndef other():\n    pass\n",
    b"2 * (3 + 4) - 1",
    b"'strawberry'.count('r')",
    b'{"word": "w", "error": ""}',
    b'{"word": "w", "error": "AssertionError: 3 != 4"}',
)
WORD = "w"
_MOST = 20_000
"""Bytes of an answer: 512 tokens of the longest kind."""


def try_answer(desk: Desk, rng: random.Random, data: bytes) -> None:
    """It is right, wrong or none: read as a number, as a program, as a sum, and as a verdict."""
    from engine.conversations import problems
    from engine.evaluation import generated
    from engine.files import checked
    from engine.model import calculator
    from engine.sandbox import program_sandbox

    text = data[:_MOST].decode("utf-8", "replace")
    problem = problems.Problem(
        kind="program", prompt=text[:200], gold="", tests="", entry_point="add"
    )
    results = [problems.number_of(text), problems.free_number(text)]
    results += [problem.program(text, free=free) for free in (False, True)]
    results += [calculator.calculate(line) for line in text.split("\n")[:20]]
    # The pipe of a verdict is read up to 4 kB.
    verdict = program_sandbox._verdict("", data[:4096], WORD, rng.choice((0, 1, 9, None)))
    for result in (*results, verdict.reason):
        packed = generated._packed(result or "", text)
        predicted, answer = checked.parse_json(packed.decode("utf-8"))
        if not isinstance(predicted, str) or not isinstance(answer, str):
            raise Finding(f"{packed[:200]!r} is kept of an answer")
