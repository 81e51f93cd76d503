"""ChatCORE is nanochat's number; its interval holds, and so does its paired test."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.state.run_state import RunState
from sftui.statistics import chatcore_looks
from sftui.statistics.chatcore import CHANCE, LETTERS, chatcore, chatcore_change
from sftui.statistics.paired_tests import Evaluation, mcnemar
from sftui.statistics.scores import Scoreboard

SIZES = {"ARC-Easy": 2376, "ARC-Challenge": 1172, "MMLU": 14042, "GSM8K": 24, "HumanEval": 24}


def test_the_numbers_are_those_that_nanochat_prints():
    """The accuracies of an evaluation whose ChatCORE nanochat gave as -0.0667."""
    counts = {"ARC-Easy": (2, 6), "ARC-Challenge": (0, 6), "MMLU": (1, 6)}
    counts |= {"GSM8K": (0, 6), "HumanEval": (0, 6)}
    core, cat = chatcore(counts)
    assert (core.name, f"{core.value:.4f}") == ("ChatCORE", "-0.0667")
    assert (cat.name, round(cat.value, 6)) == ("ChatCORE_cat", round(-1 / 9, 6))


def test_a_missing_task_leaves_the_number_out_and_never_counts_as_nothing():
    counts = dict.fromkeys(LETTERS, (10, 20))
    assert [score.name for score in chatcore(counts)] == ["ChatCORE_cat"]
    assert chatcore({"MMLU": (1, 2)}) == []
    assert chatcore(counts | {"GSM8K": (0, 0), "HumanEval": (1, 2)})[0].name == "ChatCORE_cat"


@given(st.lists(st.integers(0, 100), min_size=5, max_size=5), st.integers(1, 200))
def test_the_interval_holds_the_value_and_guessing_is_zero_and_all_right_is_one(rates, total):
    counts = {
        task: (round(rate * total / 100), total) for task, rate in zip(CHANCE, rates, strict=True)
    }
    for score in chatcore(counts):
        assert score.low <= score.value <= score.high
        assert score.low < score.high
        wanted = [
            (counts[task][0] / total - CHANCE[task]) / (1 - CHANCE[task]) for task in score.tasks
        ]
        assert score.value == pytest.approx(sum(wanted) / len(wanted))
    assert chatcore(dict.fromkeys(CHANCE, (total, total)))[0].value == pytest.approx(1)
    guessed = {task: (round(400 * chance), 400) for task, chance in CHANCE.items()}
    assert chatcore(guessed)[0].value == pytest.approx(0)


@pytest.mark.parametrize(
    "rates",
    [
        (0.25, 0.25, 0.25, 0.02, 0.02),
        (0.35, 0.28, 0.30, 0.04, 0.05),
        (0.60, 0.45, 0.40, 0.30, 0.15),
    ],
)
def test_the_interval_covers_the_truth_in_95_of_100_simulated_evaluations(rates):
    """With nanochat's sizes, 24 problems of each written task. The delta method, whose error of
    a task without a right answer is 0, covers 82 of 100 in the first world."""
    truth = sum(
        (rate - chance) / (1 - chance) for rate, chance in zip(rates, CHANCE.values(), strict=True)
    )
    random = np.random.default_rng(7)
    drawn = {
        task: random.binomial(SIZES[task], rate, 2000)
        for task, rate in zip(CHANCE, rates, strict=True)
    }
    held = delta = 0
    for i in range(2000):
        counts = {task: (int(drawn[task][i]), SIZES[task]) for task in CHANCE}
        score = chatcore(counts)[0]
        held += score.low <= truth / 5 <= score.high
        variance = sum(
            (k / n) * (1 - k / n) / n / (5 * (1 - CHANCE[task])) ** 2
            for task, (k, n) in counts.items()
        )
        delta += abs(score.value - truth / 5) <= 1.96 * math.sqrt(variance)
    # 2,000 draws: standard error 0.5 %.
    assert held / 2000 >= 0.935
    if rates[-1] == 0.02:
        assert delta / 2000 < 0.88


def test_the_paired_p_is_the_exact_one_of_all_signs():
    """Counted out: every way that the few flips could have gone."""
    flips = {"ARC-Easy": (3, 1, 40), "ARC-Challenge": (1, 0, 30), "MMLU": (2, 1, 50)}
    flips |= {"GSM8K": (2, 0, 24), "HumanEval": (0, 1, 24)}
    found = chatcore_change(flips)["ChatCORE"]
    weights = []
    for task, (gained, lost, total) in flips.items():
        weights += [1 / (5 * total * (1 - CHANCE[task]))] * (gained + lost)
    seen = abs(found.difference)
    sums = [
        abs(sum(w * s for w, s in zip(weights, signs, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(weights))
    ]
    beyond = sum(value > seen + 1e-12 for value in sums)
    ties = sum(abs(value - seen) <= 1e-12 for value in sums)
    assert found.p == pytest.approx((beyond + ties / 2) / len(sums), abs=0.012)
    assert (found.gains, found.losses) == (8, 3)


def test_flips_of_one_task_alone_give_the_p_of_mcnemar():
    flips = dict.fromkeys(CHANCE, (0, 0, 24)) | {"MMLU": (15, 5, 1024)}
    assert chatcore_change(flips)["ChatCORE"].p == pytest.approx(mcnemar(15, 5, mid=True), abs=0.01)
    assert chatcore_change(dict.fromkeys(CHANCE, (0, 0, 24)))["ChatCORE"].p == 1.0


def test_nothing_changed_is_called_changed_in_5_of_100_simulated_pairs():
    random = np.random.default_rng(3)
    false = 0
    for _ in range(200):
        flips = {}
        for task in CHANCE:
            flipped = random.poisson(12 if task in LETTERS else 2)
            gained = int(random.binomial(flipped, 0.5))
            flips[task] = (gained, int(flipped) - gained, 1024 if task in LETTERS else 24)
        false += chatcore_change(flips)["ChatCORE"].p < 0.05
    assert false / 200 < 0.10


def evaluated(step: int, right: dict[str, int], total: int = 40) -> list[ev.EvalFinished]:
    return [
        ev.EvalFinished(step=step, task=task, correct=k, total=total, accuracy=k / total)
        for task, k in right.items()
    ]


def test_a_run_has_a_look_where_all_its_tasks_were_asked():
    state = RunState()
    for step, right in ((0, 10), (20, 14)):
        for number, event in enumerate(evaluated(step, dict.fromkeys(CHANCE, right))):
            state.apply(replace(event, stamp=ev.Stamp(seq=step * 10 + number + 1, t=1e9)))
    state.apply(replace(evaluated(30, {"MMLU": 3})[0], stamp=ev.Stamp(seq=999, t=1e9 + 1)))
    found = chatcore_looks.looks(Scoreboard(), state)
    assert [look.step for look in found] == [0, 20]
    assert found[0].since is None
    # Without answers item by item nothing is claimed of the change.
    assert (found[1].since, dict(found[1].judged)) == (0, {})
    assert chatcore_looks.lines(Scoreboard(), state)[0].startswith("ChatCORE 0.2200 [")


def test_a_change_is_judged_from_the_flips_and_a_collapse_claims_nothing():
    def side(right: list[bool], letters: dict[str, int]) -> Evaluation:
        return Evaluation(
            correct=sum(right), total=len(right), item_set="x", right=right, letters=letters
        )

    mixed, one = {"A": 50, "B": 50}, {"A": 100}
    before = {task: side([False] * 100, mixed) for task in CHANCE}
    now = {task: side([True] * 30 + [False] * 70, mixed) for task in CHANCE}
    judged = chatcore_looks.change(now, before)
    assert judged["ChatCORE"].verdict == "clear"
    assert chatcore_looks.change(before, before)["ChatCORE"].verdict == "no evidence"
    collapsed = now | {"MMLU": side([True] * 30 + [False] * 70, one)}
    assert chatcore_looks.change(collapsed, before)["ChatCORE"].verdict == "not judged"
    assert "answers of a task are A" in chatcore_looks.change_words(
        chatcore_looks.change(collapsed, before)["ChatCORE"]
    )
