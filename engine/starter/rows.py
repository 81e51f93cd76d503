"""The starter recipe's rows: what it trains on, validates on and is asked.

Made anew from a seed in a fraction of a second, so the package ships no data. No
normalised question or opening stands in two splits (tested), and no fact or set
of numbers asked in training is asked in an evaluation.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from engine.starter.conversations import conversations, word_problems
from engine.starter.facts import fact_problems
from engine.starter.lists import list_problems
from engine.starter.problem import Problem, as_rows, is_eval

Row = dict[str, Any]

FACTS = "Starter-Facts"
LISTS = "Starter-Lists"
SUMS = "Starter-Sums"
CHAT = "Starter-Chat"

TRAIN_SIZES = {LISTS: 2200, FACTS: 600, SUMS: 300, CHAT: 700}
"""Rows of one epoch; two thirds are questions, so that letters are learnt in minutes."""

VALIDATION_SIZE = 160
EVAL_SIZE = 512
"""Questions of each evaluation task; a run asks the first `eval_metrics_max_problems` of them."""

SEED = 1


def train_rows(seed: int = SEED) -> dict[str, list[Row]]:
    """Training rows by task: two of questions, word problems, conversations."""
    return {
        FACTS: _questions(FACTS, TRAIN_SIZES[FACTS], seed, evaluation=False),
        LISTS: _questions(LISTS, TRAIN_SIZES[LISTS], seed, evaluation=False),
        SUMS: word_problems(_rng(seed, SUMS, "train"), TRAIN_SIZES[SUMS], validation=False),
        CHAT: conversations(_rng(seed, CHAT, "train"), TRAIN_SIZES[CHAT], validation=False),
    }


def validation_rows(seed: int = SEED) -> list[Row]:
    """Conversations no training row opens like; the role SmolTalk's test split has in nanochat."""
    return conversations(_rng(seed, CHAT, "validation"), VALIDATION_SIZE, validation=True)


def eval_questions(seed: int = SEED) -> dict[str, list[Row]]:
    """Multiple-choice rows by task, about facts and numbers that no training question is about."""
    return {task: _questions(task, EVAL_SIZE, seed, evaluation=True) for task in (FACTS, LISTS)}


def _questions(task: str, number: int, seed: int, *, evaluation: bool) -> list[Row]:
    rng = _rng(seed, task, "eval" if evaluation else "train")
    # Repeats and the other split fall away; three times as many leave enough.
    drawn = fact_problems(rng) if task == FACTS else list_problems(rng, 4 * number)
    kept = list(_distinct(p for p in drawn if is_eval(p.key) == evaluation))[:number]
    if len(kept) < number:
        raise AssertionError(f"{task} has only {len(kept)} questions; {number} were promised")
    return as_rows(kept, rng)


def _distinct(problems: Iterable[Problem]) -> Iterable[Problem]:
    seen: set[str] = set()
    for problem in problems:
        text = problem.identity()
        if text not in seen:
            seen.add(text)
            yield problem


def _rng(seed: int, task: str, split: str) -> random.Random:
    """One stream a task and split, so that a change to one leaves the others alone."""
    return random.Random(f"{seed}/{task}/{split}")
