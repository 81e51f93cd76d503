"""Evaluations: what moved, what is guessed, what more questions would show."""

from __future__ import annotations

from collections.abc import Iterator

from sftui.report import markdown as md
from sftui.report.finding_rules.finding import Finding, next_step, strength, weakness
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.sentences import points, start_words
from sftui.report.verdicts import (
    MOST_POINTS,
    TaskOutcome,
    any_evidence,
    at_chance,
    sharpness,
    task_outcomes,
)
from sftui.statistics.paired_tests import SUGGESTIVE


def tasks_that_moved(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Tasks that are clearly better or worse than at their first evaluation."""
    for outcome in task_outcomes(facts):
        name = md.text(outcome.task, 60)
        if outcome.judged is None:
            continue
        diff = points(outcome.judged.comparison.points)
        evidence = tr(
            f"{diff} points, beyond chance after correction", f"{diff} 个百分点，校正后仍显著"
        )
        if outcome.up:
            yield strength(
                "task-up",
                tr(
                    f"{name} is clearly better than {start_words(tr, outcome)}.",
                    f"{name} 显著好于{start_words(tr, outcome)}。",
                ),
                evidence,
            )
        elif outcome.down:
            yield weakness(
                "task-down",
                tr(
                    f"{name} is clearly worse than {start_words(tr, outcome)}.",
                    f"{name} 显著差于{start_words(tr, outcome)}。",
                ),
                evidence,
            )


def _evaluated_late(facts: Facts) -> list[TaskOutcome]:
    """Tasks whose first evaluation came after some training."""
    return [outcome for outcome in task_outcomes(facts) if not outcome.from_start]


def start_not_evaluated(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Differences are to a checkpoint that was already trained."""
    late = [outcome for outcome in _evaluated_late(facts) if outcome.judged is not None]
    if late:
        names = tr.join([md.text(o.task, 60) for o in late])
        yield weakness(
            "start-not-evaluated",
            tr(
                "The starting checkpoint was not evaluated, so every difference is to a checkpoint that was already trained.",
                "没有评测起始检查点，所以所有差值都是相对于已经训练过的检查点。",
            ),
            tr(
                f"{names}: the first evaluation is at step {late[0].first}",
                f"{names}：首次评测在第 {late[0].first} 步",
            ),
        )


def guessing(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Tasks at chance, and those answered with one letter."""
    for outcome in task_outcomes(facts):
        name = md.text(outcome.task, 60)
        if outcome.one_letter is None and at_chance(facts, outcome.task):
            yield weakness(
                "at-chance",
                tr(f"{name} cannot be told from guessing.", f"{name} 与随机猜测没有区别。"),
                tr(
                    "one-sided exact binomial p of the last evaluation is .05 or more",
                    "最后一次评测的单侧精确二项检验 p 不小于 0.05",
                ),
            )
        if outcome.one_letter is not None:
            letter, share = outcome.one_letter
            yield weakness(
                "letter-collapse",
                tr(
                    f"{name}: the model answers mostly with one letter; no number of questions helps, only a model that answers them does.",
                    f"{name}：模型的回答大多是同一个字母；增加题目没有用，要先让模型真正作答。",
                ),
                f"{md.text(letter, 4)} {share:.0%}",
            )


def _all_alike(outcome: TaskOutcome) -> bool:
    """Whether all answers were right, or all wrong, at both ends."""
    return outcome.before.value == outcome.now.value and outcome.now.value in (0.0, 1.0)


def _other_questions(tr: Language, outcome: TaskOutcome) -> Finding:
    """More of the same questions show nothing where all of them are right, or all wrong."""
    name, right = md.text(outcome.task, 60), outcome.now.value == 1.0
    return next_step(
        "other-items",
        tr(
            f"Ask {'harder' if right else 'easier'} questions: more of these cannot show a gain.",
            f"换{'更难' if right else '更容易'}的题目：再多同样的题目也看不出进步。",
        ),
        tr(
            f"{name}: {'every' if right else 'no'} answer is right, at the first evaluation and at "
            "the last",
            f"{name}：首次与最后一次评测都是{'全对' if right else '全错'}",
        ),
    )


def more_items(tr: Language, facts: Facts) -> Iterator[Finding]:
    """How many questions would make such differences readable."""
    compared = [
        outcome
        for outcome in task_outcomes(facts)
        if outcome.judged is not None and outcome.one_letter is None
    ]
    hinted = [outcome for outcome in compared if outcome.word == SUGGESTIVE]
    nothing_moved = not any_evidence(facts)
    asked = compared if nothing_moved else hinted
    found = sharpness(facts, asked[0]) if asked else None
    if found is None:
        return
    if nothing_moved and _all_alike(asked[0]):
        yield _other_questions(tr, asked[0])
        return
    more = ("", "")
    if found.for_two_points > found.total:
        more = (
            f"; two points need {found.for_two_points:,} questions",
            f"；两个百分点需要 {found.for_two_points:,} 道题",
        )
    name = md.text(found.task, 60)
    evidence = tr(
        f"{name}: with {found.total:,} questions about {found.seen:.1f} points are noticed in four runs of five{more[0]}",
        f"{name}：{found.total:,} 道题时，约 {found.seen:.1f} 个百分点的变化，五次运行中约有四次能检验出来{more[1]}",
    )
    if found.seen > MOST_POINTS:
        evidence = tr(
            f"{name}: {found.total:,} questions show no change, however large{more[0]}",
            f"{name}：{found.total:,} 道题，多大的变化都看不出来{more[1]}",
        )
    text = (
        tr(
            "Ask more questions, or make a bigger change; more steps of the same will not make these differences readable.",
            "增加题目数量，或做更大的改变；同样的训练再多跑几步，也看不清这些差异。",
        )
        if nothing_moved
        else tr(
            "Ask the hint again on more questions, item by item, before it is believed.",
            "先用更多题目逐题复测，再判断这一迹象是否属实。",
        )
    )
    yield next_step(
        "more-items",
        text,
        evidence,
    )


def evaluate_start(tr: Language, facts: Facts) -> Iterator[Finding]:
    """How to get the fair point of comparison."""
    if not _evaluated_late(facts):
        return
    source = facts.settings.get("source")
    checkpoint = (
        f"{source}:{facts.settings.get('model_tag')}:{facts.settings.get('step')}"
        if source
        else "CHECKPOINT"
    )
    typed = md.code(f"sftui eval {checkpoint}")
    command = tr(f" ({typed})", f"（{typed}）") if facts.is_ours or facts.is_nanochat else ""
    yield next_step(
        "evaluate-start",
        tr(
            f"Evaluate the starting checkpoint on the same questions{command}, then compare item by item.",
            f"用同样的题目评测起始检查点{command}，再逐题比较。",
        ),
        tr("it is the only fair point of comparison", "只有与它比较才公平"),
    )
