"""Strengths, weaknesses and next steps: each from one rule, each with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.sentences import loss, points, relative, start_words
from sftui.report.verdicts import (
    TaskOutcome,
    ValidationOutcome,
    any_evidence,
    at_chance,
    repeated_rows_fall,
    sharpness,
    slow_rank,
    still_falling,
    task_outcomes,
    validation_outcome,
)
from sftui.statistics.paired_tests import SUGGESTIVE

Kind = Literal["strength", "weakness", "next"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence and what it rests on."""

    code: str
    """The rule, for tests and for readers who search."""
    kind: Kind
    text: str
    evidence: str


def _end_of_the_run(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Whether it did what it had planned."""
    state = facts.state
    if facts.complete and facts.status == "finished":
        yield Finding(
            code="complete",
            kind="strength",
            text=tr("The run did all it had planned.", "运行完成了全部计划。"),
            evidence=tr(
                f"{state.done:,} of {state.planned:,} updates",
                f"{state.done:,} / {state.planned:,} 次更新",
            ),
        )
    elif facts.status in ("failed", "interrupted"):
        yield Finding(
            code="incomplete",
            kind="weakness",
            text=tr("The run did not reach its end.", "运行没有到达终点。"),
            evidence=tr(
                f"status {facts.status}, {state.updates:,} updates",
                f"状态：{tr.status(facts.status)}，{state.updates:,} 次更新",
            ),
        )
        if facts.is_ours:
            yield Finding(
                code="take-up-again",
                kind="next",
                text=tr(
                    f"Take it up again: {md.code(f'sftui run --resume {facts.shot.title}')}.",
                    f"接着跑：{md.code(f'sftui run --resume {facts.shot.title}')}。",
                ),
                evidence=tr("its checkpoints are kept", "检查点仍在"),
            )


def _nonfinite(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Updates without a loss or gradient that is a number."""
    state = facts.state
    if state.nonfinite:
        yield Finding(
            code="nonfinite",
            kind="weakness",
            text=tr(
                "Some updates had a loss or gradient that is no number.",
                "有些更新的损失或梯度不是数。",
            ),
            evidence=tr(f"{state.nonfinite:,} updates", f"{state.nonfinite:,} 次更新"),
        )


def _out_of_memory(tr: Language, facts: Facts) -> Iterator[Finding]:
    """What a rank printed when memory ran out."""
    if facts.counts.out_of_memory:
        yield Finding(
            code="out-of-memory",
            kind="weakness",
            text=tr("Memory ran out.", "内存或显存用尽。"),
            evidence=md.code(facts.counts.out_of_memory[0], 200),
        )


def _tasks_that_moved(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Tasks that are clearly better or worse than at the start."""
    for outcome in task_outcomes(facts):
        name = md.text(outcome.task, 60)
        if outcome.judged is None:
            continue
        diff = points(outcome.judged.comparison.points)
        if outcome.up:
            yield Finding(
                code="task-up",
                kind="strength",
                text=tr(
                    f"{name} is clearly better than {start_words(tr, outcome)}.",
                    f"{name} 显著好于{start_words(tr, outcome)}。",
                ),
                evidence=tr(
                    f"{diff} points, beyond chance after correction",
                    f"{diff} 个百分点，校正后仍显著",
                ),
            )
        elif outcome.down:
            yield Finding(
                code="task-down",
                kind="weakness",
                text=tr(
                    f"{name} is clearly worse than {start_words(tr, outcome)}.",
                    f"{name} 显著差于{start_words(tr, outcome)}。",
                ),
                evidence=tr(
                    f"{diff} points, beyond chance after correction",
                    f"{diff} 个百分点，校正后仍显著",
                ),
            )


def _no_validation(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Nothing tells whether the model got better."""
    if validation_outcome(facts) is not None:
        return
    yield Finding(
        code="no-validation",
        kind="weakness",
        text=tr("No validation loss was measured.", "没有测量验证损失。"),
        evidence=tr("no validation line in the log", "日志中没有验证行"),
    )
    if not facts.tasks:
        yield Finding(
            code="measure",
            kind="next",
            text=tr(
                "Measure a validation loss, or ask letter questions: a training loss alone cannot tell whether the model got better.",
                "测量验证损失，或做选择题评测：单凭训练损失无法判断模型是否变好。",
            ),
            evidence=tr("neither is in the log", "日志中两者都没有"),
        )


def _validation_rose(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Validation got worse, and what would train less."""
    found = validation_outcome(facts)
    if found is None or found.direction != "up":
        return
    yield Finding(
        code="validation-rose",
        kind="weakness",
        text=tr("Validation got worse while training went on.", "训练过程中验证损失变差。"),
        evidence=f"{loss(found.first)} -> {loss(found.last)} ({relative(found.relative)})",
    )
    several = facts.epochs_asked is not None and facts.epochs_asked > 1
    change = (
        tr(
            "Train fewer epochs, or at a lower rate (init\\_lr\\_frac).",
            "减少训练轮数，或降低学习率（init\\_lr\\_frac）。",
        )
        if several
        else tr(
            "Train at a lower rate (init\\_lr\\_frac), or on data closer to the validation set.",
            "降低学习率（init\\_lr\\_frac），或使用更接近验证集的数据。",
        )
    )
    yield Finding(
        code="lower-rate",
        kind="next",
        text=change,
        evidence=_rise(tr, facts, found),
    )


def _rise(tr: Language, facts: Facts, found: ValidationOutcome) -> str:
    """How far validation rose, and whether the rows seen again were learnt meanwhile."""
    epochs = facts.epochs_seen
    repeated = repeated_rows_fall(facts)
    evidence = tr(
        f"validation {relative(found.relative)} over {epochs:.1f} epochs"
        if epochs
        else f"validation {relative(found.relative)}",
        f"{epochs:.1f} 轮中验证损失 {relative(found.relative)}"
        if epochs
        else f"验证损失 {relative(found.relative)}",
    )
    if repeated is not None:
        evidence += tr(
            f"; training loss of the repeated rows {repeated[0]:.3f} -> {repeated[1]:.3f}",
            f"；重复样本的训练损失 {repeated[0]:.3f} -> {repeated[1]:.3f}",
        )
    return evidence


def _validation_fell(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Validation got better, and may go on to."""
    found = validation_outcome(facts)
    if found is None or found.direction != "down":
        return
    yield Finding(
        code="validation-fell",
        kind="strength",
        text=tr("Validation got better.", "验证损失变好。"),
        evidence=f"{loss(found.first)} -> {loss(found.last)} ({relative(found.relative)})",
    )
    if found.best_step == found.last_step and still_falling(facts):
        yield Finding(
            code="go-on",
            kind="next",
            text=tr(
                "More steps may help: validation still falls.",
                "增加步数可能有用：验证损失仍在下降。",
            ),
            evidence=tr(
                f"the last validation, step {found.last_step}, is the best, and the last half has a falling line",
                f"最后一次验证（第 {found.last_step} 步）最好，后半段呈下降趋势",
            ),
        )


def _start_not_validated(tr: Language, facts: Facts) -> Iterator[Finding]:
    """The first validation came after some training."""
    found = validation_outcome(facts)
    if found is not None and found.first_step != 0:
        yield Finding(
            code="start-not-validated",
            kind="weakness",
            text=tr("The starting checkpoint was not validated.", "没有验证起始检查点。"),
            evidence=tr(
                f"the first validation is at step {found.first_step}",
                f"首次验证在第 {found.first_step} 步",
            ),
        )


def _evaluated_late(facts: Facts) -> list[TaskOutcome]:
    """Tasks whose first evaluation came after some training."""
    return [outcome for outcome in task_outcomes(facts) if not outcome.from_start]


def _start_not_evaluated(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Differences are to a checkpoint that was already trained."""
    late = _evaluated_late(facts)
    if late:
        names = tr.join([md.text(o.task, 60) for o in late])
        yield Finding(
            code="start-not-evaluated",
            kind="weakness",
            text=tr(
                "The starting checkpoint was not evaluated, so every difference is to a checkpoint that was already trained.",
                "没有评测起始检查点，所以所有差值都是相对于已经训练过的检查点。",
            ),
            evidence=tr(
                f"{names}: the first evaluation is at step {late[0].first}",
                f"{names}：首次评测在第 {late[0].first} 步",
            ),
        )


def _guessing(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Tasks at chance, and those answered with one letter."""
    for outcome in task_outcomes(facts):
        name = md.text(outcome.task, 60)
        if outcome.one_letter is None and at_chance(facts, outcome.task):
            yield Finding(
                code="at-chance",
                kind="weakness",
                text=tr(f"{name} cannot be told from guessing.", f"{name} 与随机猜测无法区分。"),
                evidence=tr(
                    "one-sided exact binomial p of the last evaluation is .05 or more",
                    "最后一次评测的单侧精确二项检验 p 不小于 .05",
                ),
            )
        if outcome.one_letter is not None:
            letter, share = outcome.one_letter
            yield Finding(
                code="letter-collapse",
                kind="weakness",
                text=tr(
                    f"{name}: the model answers nearly always the same letter; no number of questions helps, only a model that answers them does.",
                    f"{name}：模型几乎总是回答同一个字母；增加题目没有用，要先让模型真正作答。",
                ),
                evidence=f"{md.text(letter, 4)} {share:.0%}",
            )


def _more_items(tr: Language, facts: Facts) -> Iterator[Finding]:
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
    more = ("", "")
    if found.for_two_points > found.total:
        more = (
            f"; two points need {found.for_two_points:,} questions",
            f"；两个百分点需要 {found.for_two_points:,} 道题",
        )
    evidence = tr(
        f"with {found.total:,} questions about {found.seen:.1f} points are noticed in four runs of five{more[0]}",
        f"{found.total:,} 道题时，约 {found.seen:.1f} 个百分点的变化五次中能发现四次{more[1]}",
    )
    text = (
        tr(
            "Ask more questions, or make a bigger change; more steps of the same will not make these differences readable.",
            "增加题目数量，或做更大的改变；同样的训练再多跑几步，也看不清这些差异。",
        )
        if nothing_moved
        else tr(
            "Ask the hint again on more questions, item by item, before it is believed.",
            "在相信这一迹象之前，用更多题目逐题再验证一次。",
        )
    )
    yield Finding(
        code="more-items",
        kind="next",
        text=text,
        evidence=evidence,
    )


def _evaluate_start(tr: Language, facts: Facts) -> Iterator[Finding]:
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
    yield Finding(
        code="evaluate-start",
        kind="next",
        text=tr(
            f"Evaluate the starting checkpoint on the same questions ({typed}), then compare item by item.",
            f"用同样的题目评测起始检查点（{typed}），再逐题比较。",
        ),
        evidence=tr("it is the only fair point of comparison", "它才是公平的比较对象"),
    )


def _restarts(tr: Language, facts: Facts) -> Iterator[Finding]:
    """The ranks were started again."""
    if len(facts.counts.attempts) > 1:
        yield Finding(
            code="restarts",
            kind="weakness",
            text=tr("The ranks were started more than once.", "进程启动了不止一次。"),
            evidence=tr(
                f"{len(facts.counts.attempts)} attempts, {facts.counts.done_again:,} updates done again",
                f"{len(facts.counts.attempts)} 次启动，重做了 {facts.counts.done_again:,} 次更新",
            ),
        )


def _slow_rank(tr: Language, facts: Facts) -> Iterator[Finding]:
    """One rank holds the others up."""
    slow = slow_rank(facts)
    if slow is not None:
        yield Finding(
            code="slow-rank",
            kind="next",
            text=tr(
                f"Look at the device of rank {slow[0]}: the others wait for it.",
                f"检查 rank {slow[0]} 的设备：其他进程在等它。",
            ),
            evidence=tr(
                f"{slow[1]:.2f} times as long per token",
                f"每个 token 用时是其他的 {slow[1]:.2f} 倍",
            ),
        )


def _larger_batch(tr: Language, facts: Facts) -> Iterator[Finding]:
    """The devices are half empty."""
    spare = _spare_memory(facts)
    if spare is not None:
        yield Finding(
            code="larger-batch",
            kind="next",
            text=tr(
                "A larger device\\_batch\\_size would fit and waste less time.",
                "可以用更大的 device\\_batch\\_size，少浪费时间。",
            ),
            evidence=tr(
                f"at most {spare:.0%} of the device was used", f"显存最多只用了 {spare:.0%}"
            ),
        )


def _noisy_loss(tr: Language, facts: Facts) -> Iterator[Finding]:
    """The log holds the loss of one micro-batch."""
    if facts.losses[1].size and facts.state.loss_name == "loss_micro_last":
        yield Finding(
            code="noisy-loss",
            kind="weakness",
            text=tr(
                "The logged training loss is one micro-batch of one rank, far noisier than the step's.",
                "日志里的训练损失只是一个进程的一个微批次，噪声远大于整步的损失。",
            ),
            evidence=_micro_rows(tr, facts),
        )


def _micro_rows(tr: Language, facts: Facts) -> str:
    rows, step = facts.settings.get("device_batch_size"), facts.rows_a_step
    if isinstance(rows, int) and step:
        return tr(f"{rows} rows of {step}", f"{step} 行中的 {rows} 行")
    return tr("nanochat prints it so", "nanochat 就是这样打印的")


def _spare_memory(facts: Facts) -> float | None:
    """Share of a GPU's memory that the fullest rank used, when it is under a half."""
    shares = [
        rank.peak_bytes / rank.total_bytes
        for rank in facts.counts.ranks.values()
        if rank.memory_kind == "cuda" and rank.peak_bytes and rank.total_bytes
    ]
    return max(shares) if shares and max(shares) < 0.5 else None


Rule = Callable[[Language, Facts], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    _end_of_the_run,
    _nonfinite,
    _out_of_memory,
    _tasks_that_moved,
    _no_validation,
    _validation_rose,
    _validation_fell,
    _start_not_validated,
    _start_not_evaluated,
    _guessing,
    _more_items,
    _evaluate_start,
    _restarts,
    _slow_rank,
    _larger_batch,
    _noisy_loss,
)
"""In the order of their findings; of the next steps, the first three stand in the verdict."""


def find(tr: Language, facts: Facts) -> list[Finding]:
    """What every rule finds."""
    return [finding for rule in RULES for finding in rule(tr, facts)]
