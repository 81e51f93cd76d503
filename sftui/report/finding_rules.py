"""Strengths, weaknesses and next steps: each from one rule, each with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from engine.alarms.source_moves import SourceMoves, listed
from sftui.report import markdown as md
from sftui.report.alarm_words import seen
from sftui.report.language import Language
from sftui.report.rates import (
    HARDLY_MOVED,
    divergence,
    loss_ends,
    rate_is_spent,
    rate_left,
    weights_moved,
)
from sftui.report.report_facts import Facts
from sftui.report.sentences import loss, points, relative, start_words
from sftui.report.sources import moves_between
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
from sftui.state.weight_change import share
from sftui.statistics.block_trend import BLOCK
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
            text=tr("The run did all it had planned.", "运行按计划全部完成。"),
            evidence=tr(
                f"{state.done:,} of {state.planned:,} updates",
                f"{state.done:,} / {state.planned:,} 次更新",
            ),
        )
    elif facts.status in ("failed", "interrupted"):
        yield Finding(
            code="incomplete",
            kind="weakness",
            text=tr("The run did not reach its end.", "运行没有跑完。"),
            evidence=tr(
                f"status {facts.status}, {state.done:,} updates",
                f"状态：{tr.status(facts.status)}，{state.done:,} 次更新",
            ),
        )
        if facts.is_ours:
            yield Finding(
                code="take-up-again",
                kind="next",
                text=tr(
                    f"Take it up again: {md.code(f'sftui run --resume {facts.shot.title}')}.",
                    f"继续运行：{md.code(f'sftui run --resume {facts.shot.title}')}。",
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
                "有些更新的损失或梯度不是有限数（NaN 或 inf）。",
            ),
            evidence=tr(f"{state.nonfinite:,} updates", f"{state.nonfinite:,} 次更新"),
        )
    spans = [span for span in facts.counts.alarms if span.raised.kind == "nonfinite"]
    if spans and spans[-1].cleared is None:
        step = spans[-1].raised.step
        yield Finding(
            code="after-nonfinite",
            kind="next",
            text=tr(
                f"Start again from weights before step {step}, at a lower rate or in a wider number "
                "format; look at the rows of that step first.",
                f"先检查第 {step} 步的样本，再从该步之前的权重重新开始，并降低学习率或改用精度更高的数值格式。",
            ),
            evidence=tr("no finite loss came after it", "此后损失不再是有限数"),
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
    """Tasks that are clearly better or worse than at their first evaluation."""
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
    yield Finding(
        code="lower-rate",
        kind="next",
        text=_train_less(tr, facts, moves_between(facts, found.first_step, found.last_step)),
        evidence=_rise(tr, facts, found),
    )


def _train_less(tr: Language, facts: Facts, moves: SourceMoves) -> str:
    """What to do about a validation that rises, by what kinds of rows rise."""
    if moves.meaning == "shift":
        rose = md.text(listed(moves.rose), 120)
        return tr(
            f"Add rows like those of {rose} to the mixture: the others got better.",
            f"在训练数据中增加 {rose} 一类的样本：其余来源都变好了。",
        )
    if facts.epochs_asked is not None and facts.epochs_asked > 1:
        return tr(
            f"Train fewer epochs, or at a lower rate{_rate_setting(tr, facts)}.",
            f"减少训练轮次，或降低学习率{_rate_setting(tr, facts)}。",
        )
    return tr(
        f"Train at a lower rate{_rate_setting(tr, facts)}, or on data closer to the validation set.",
        f"降低学习率{_rate_setting(tr, facts)}，或使用更接近验证集的数据。",
    )


def _validation_came_up(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Validation is better than at the start, and yet worse than it was."""
    found = validation_outcome(facts)
    spans = [span for span in facts.counts.alarms if span.raised.kind == "overfitting"]
    open_ones = [span for span in spans if span.cleared is None]
    if found is None or not open_ones or found.direction == "up":
        return
    moves = moves_between(facts, found.best_step, found.last_step)
    above = (found.last - found.best) / abs(found.best) if found.best else 0.0
    yield Finding(
        code="overfitting",
        kind="weakness",
        text=tr(
            f"Validation has risen again since step {found.best_step}{_why(tr, moves)}.",
            f"验证损失自第 {found.best_step} 步之后重新上升{_why(tr, moves)}。",
        ),
        evidence=tr(
            f"{loss(found.best)} at step {found.best_step}, {loss(found.last)} at step "
            f"{found.last_step} ({relative(above)})",
            f"第 {found.best_step} 步 {loss(found.best)}，第 {found.last_step} 步 {loss(found.last)}"
            f"（{relative(above)}）",
        ),
    )
    yield Finding(
        code="stop-earlier",
        kind="next",
        text=tr(f"Stop near step {found.best_step}.", f"在第 {found.best_step} 步附近停止。")
        if moves.meaning != "shift"
        else _train_less(tr, facts, moves),
        evidence=tr(
            f"the lowest validation is that of step {found.best_step}",
            f"第 {found.best_step} 步的验证损失最低",
        ),
    )


def _why(tr: Language, moves: SourceMoves) -> str:
    """Over-fitting or a shift of the mixture, where the sources of the rows decide it."""
    if moves.meaning == "over-fitting":
        return tr(
            f", on every source ({moves.sources}): over-fitting",
            f"，{moves.sources} 个来源全部上升，属于过拟合",
        )
    if moves.meaning == "shift":
        rose, fell = md.text(listed(moves.rose), 120), md.text(listed(moves.fell), 120)
        return tr(
            f": up on {rose}, down on {fell}, a shift of the mixture",
            f"：{rose} 上升而 {fell} 下降，属于数据配比偏移",
        )
    return ""


def _diverged(tr: Language, facts: Facts) -> Iterator[Finding]:
    """The training loss rose and did not come back; one that came back needs no advice."""
    if divergence(facts) != "held":
        return
    span = next(
        s for s in facts.counts.alarms if s.raised.kind == "diverging" and s.cleared is None
    )
    step = f"{span.raised.step:,}" if span.raised.step is not None else "?"
    yield Finding(
        code="diverged",
        kind="weakness",
        text=tr("The training loss rose and stayed up.", "训练损失升高后没有回落。"),
        evidence=tr(
            f"step {step}: {md.text(seen(tr, span.raised.text), 300)}",
            f"第 {step} 步：{md.text(seen(tr, span.raised.text), 300)}",
        ),
    )
    yield Finding(
        code="halve-rate",
        kind="next",
        text=tr(
            f"Train again at half the rate, or resume from a checkpoint before step {step}.",
            f"把学习率减半重新训练，或从第 {step} 步之前的检查点继续。",
        ),
        evidence=tr("the loss never came back", "损失一直没有回落"),
    )


def _rate_too_low(tr: Language, facts: Facts) -> Iterator[Finding]:
    """The weights hardly moved, and the losses with them."""
    moved, ends, found = weights_moved(facts), loss_ends(facts), validation_outcome(facts)
    if moved is None or moved > HARDLY_MOVED:
        return
    still = ends is None or not ends.moved
    flat = found is None or found.direction in ("flat", "unknown")
    distance = share(moved)
    text = (
        tr(
            f"Nothing was learnt: the weights moved by {distance}.",
            f"什么也没有学到：权重只移动了 {distance}。",
        )
        if still and flat
        else tr(
            f"Little was learnt: the weights moved by {distance}.",
            f"学到的很少：权重只移动了 {distance}。",
        )
    )
    losses = (
        tr(
            f"training loss {ends.first:.4f} over the first {BLOCK} updates, {ends.last:.4f} over "
            "the last",
            f"最初 {BLOCK} 次更新的训练损失为 {ends.first:.4f}，最后 {BLOCK} 次为 {ends.last:.4f}",
        )
        if ends is not None
        else tr("largest distance of a parameter group", "各参数组中移动最大的一组")
    )
    yield Finding(code="nothing-learnt", kind="weakness", text=text, evidence=losses)
    yield Finding(
        code="raise-rate",
        kind="next",
        text=_raise_rate(tr, facts),
        evidence=tr(f"the weights moved by {distance}", f"权重只移动了 {distance}"),
    )


def _raise_rate(tr: Language, facts: Facts) -> str:
    name = _rate_setting(tr, facts)
    return tr(f"Raise the rate{name}.", f"提高学习率{name}。")


def _rate_setting(tr: Language, facts: Facts) -> str:
    """The setting that scales the rates, where the run has it."""
    known = facts.is_ours or (facts.is_nanochat and facts.stage_name == "chat_sft")
    return tr(" (init\\_lr\\_frac)", "（init\\_lr\\_frac）") if known else ""


def _rise(tr: Language, facts: Facts, found: ValidationOutcome) -> str:
    """How far validation rose, and whether the rows seen again were learnt meanwhile."""
    epochs = facts.epochs_seen
    repeated = repeated_rows_fall(facts)
    evidence = tr(
        f"validation {relative(found.relative)} over {epochs:.1f} epochs"
        if epochs
        else f"validation {relative(found.relative)}",
        f"{epochs:.1f} 个轮次（epoch）中验证损失变化 {relative(found.relative)}"
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
        yield _go_on(tr, facts, found)


def _go_on(tr: Language, facts: Facts, found: ValidationOutcome) -> Finding:
    """Validation still falls: more steps, or, when the rate was spent, a higher one."""
    evidence = tr(
        f"the last validation, step {found.last_step}, is the best, and the last half has a falling line",
        f"最后一次验证（第 {found.last_step} 步）最好，且后半段呈下降趋势",
    )
    if not rate_is_spent(facts):
        unknown = rate_left(facts) is None
        return Finding(
            code="go-on",
            kind="next",
            text=tr(
                "More steps may help: validation still falls."
                + (
                    " The log holds no learning rate; at a rate of zero they would not."
                    if unknown
                    else ""
                ),
                "增加步数可能有用：验证损失仍在下降。"
                + ("日志中没有学习率；若学习率已降为零，则没有用。" if unknown else ""),
            ),
            evidence=evidence,
        )
    return Finding(
        code="raise-rate",
        kind="next",
        text=tr(
            f"{_raise_rate(tr, facts)[:-1]}, or plan a longer run from the start: validation still "
            "fell when the rate had reached its end.",
            f"{_raise_rate(tr, facts)[:-1]}，或从头规划更长的训练：学习率降到底时验证损失仍在下降。",
        ),
        evidence=evidence
        + tr(
            f"; the last rate is {share(rate_left(facts))} of the highest",
            f"；最后的学习率只有最高值的 {share(rate_left(facts))}",
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
                text=tr(f"{name} cannot be told from guessing.", f"{name} 与随机猜测没有区别。"),
                evidence=tr(
                    "one-sided exact binomial p of the last evaluation is .05 or more",
                    "最后一次评测的单侧精确二项检验 p 不小于 0.05",
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
        f"{found.total:,} 道题时，约 {found.seen:.1f} 个百分点的变化，五次运行中约有四次能检验出来{more[1]}",
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
    command = tr(f" ({typed})", f"（{typed}）") if facts.is_ours or facts.is_nanochat else ""
    yield Finding(
        code="evaluate-start",
        kind="next",
        text=tr(
            f"Evaluate the starting checkpoint on the same questions{command}, then compare item by item.",
            f"用同样的题目评测起始检查点{command}，再逐题比较。",
        ),
        evidence=tr("it is the only fair point of comparison", "只有与它比较才公平"),
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
                "可以调大 device\\_batch\\_size，减少时间浪费。",
            ),
            evidence=tr(f"at most {spare:.0%} of the device was used", f"显存峰值只有 {spare:.0%}"),
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
    _diverged,
    _validation_rose,
    _validation_came_up,
    _validation_fell,
    _rate_too_low,
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
