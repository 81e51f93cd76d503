"""Questions whose answer must be known: the relations of `words`, asked one by one.

The base model has read every fact as a plain statement; fine-tuning shows it how
the letter of a known answer is given. Facts kept for evaluation are never asked
anywhere else.
"""

from __future__ import annotations

import random

from engine.starter.problem import Problem, pick_wrong
from engine.starter.words import RELATIONS, Relation, sentence


def fact_problems(rng: random.Random) -> list[Problem]:
    """Every fact in every phrasing and direction, in random order."""
    problems = [problem for relation in RELATIONS for problem in _ask(relation, rng)]
    rng.shuffle(problems)
    return problems


def fact_sentences() -> list[str]:
    """Every fact stated in every way: what the base model reads."""
    return [
        sentence(say.format(a=a, b=b))
        for relation in RELATIONS
        for a, b in relation.pairs
        for say in relation.says
    ]


def _ask(relation: Relation, rng: random.Random) -> list[Problem]:
    problems = []
    firsts = [a for a, _ in relation.pairs]
    seconds = [b for _, b in relation.pairs]
    # Opposites point both ways, so either side may stand among the wrong choices.
    both = firsts + seconds if relation.subject == "opposites" else []
    for a, b in relation.pairs:
        directions = [(ask, b, seconds) for ask in relation.asks]
        if seconds.count(b) == 1:
            directions += [(ask, a, firsts) for ask in relation.back]
        for ask, answer, others in directions:
            problems.append(
                Problem(
                    subject=relation.subject,
                    key=f"{relation.subject}/{a}",
                    question=sentence(ask.format(a=a, b=b)),
                    answer=answer,
                    wrong=pick_wrong(rng, answer, set(both or others) - {a, b}),
                )
            )
    return problems
