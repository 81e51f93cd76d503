"""Validation better or worse, and what follows for the rate and the number of steps."""

from __future__ import annotations

from collections.abc import Iterator

from engine.alarms.source_moves import SourceMoves, listed
from sftui.report import markdown as md
from sftui.report.finding_rules.finding import Finding, next_step, strength, weakness
from sftui.report.finding_rules.learning_rate import raise_rate, rate_setting
from sftui.report.language import Language
from sftui.report.rates import rate_is_spent, rate_left
from sftui.report.report_facts import Facts
from sftui.report.sentences import loss, relative
from sftui.report.sources import moves_between
from sftui.report.verdicts import (
    ValidationOutcome,
    repeated_rows_fall,
    still_falling,
    validation_outcome,
)
from sftui.state.weight_change import share


def no_validation(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Nothing tells whether the model got better."""
    if validation_outcome(facts) is not None:
        return
    yield weakness(
        "no-validation",
        tr("No validation loss was measured.", "没有测量验证损失。"),
        tr("no validation line in the log", "日志中没有验证行"),
    )
    if not facts.tasks:
        yield next_step(
            "measure",
            tr(
                "Measure a validation loss, or ask letter questions: a training loss alone cannot tell whether the model got better.",
                "测量验证损失，或做选择题评测：单凭训练损失无法判断模型是否变好。",
            ),
            tr("neither is in the log", "日志中两者都没有"),
        )


def _ends(found: ValidationOutcome) -> str:
    """The first and the last loss, which need no language."""
    return f"{loss(found.first)} -> {loss(found.last)} ({relative(found.relative)})"


def validation_rose(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Validation got worse, and what would train less."""
    found = validation_outcome(facts)
    if found is None or found.direction != "up":
        return
    yield weakness(
        "validation-rose",
        tr("Validation got worse while training went on.", "训练过程中验证损失变差。"),
        _ends(found),
    )
    yield next_step(
        "lower-rate",
        _train_less(tr, facts, moves_between(facts, found.first_step, found.last_step)),
        _rise(tr, facts, found),
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
            f"Train fewer epochs, or at a lower rate{rate_setting(tr, facts)}.",
            f"减少训练轮次，或降低学习率{rate_setting(tr, facts)}。",
        )
    return tr(
        f"Train at a lower rate{rate_setting(tr, facts)}, or on data closer to the validation set.",
        f"降低学习率{rate_setting(tr, facts)}，或使用更接近验证集的数据。",
    )


def validation_came_up(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Validation is better than at the start, and yet worse than it was."""
    found = validation_outcome(facts)
    spans = [span for span in facts.counts.alarms if span.raised.kind == "overfitting"]
    open_ones = [span for span in spans if span.cleared is None]
    if found is None or not open_ones or found.direction == "up":
        return
    moves = moves_between(facts, found.best_step, found.last_step)
    above = (found.last - found.best) / abs(found.best) if found.best else 0.0
    yield weakness(
        "overfitting",
        tr(
            f"Validation has risen again since step {found.best_step}{_why(tr, moves)}.",
            f"验证损失自第 {found.best_step} 步之后重新上升{_why(tr, moves)}。",
        ),
        tr(
            f"{loss(found.best)} at step {found.best_step}, {loss(found.last)} at step "
            f"{found.last_step} ({relative(above)})",
            f"第 {found.best_step} 步 {loss(found.best)}，第 {found.last_step} 步 {loss(found.last)}"
            f"（{relative(above)}）",
        ),
    )
    yield next_step(
        "stop-earlier",
        tr(f"Stop near step {found.best_step}.", f"在第 {found.best_step} 步附近停止。")
        if moves.meaning != "shift"
        else _train_less(tr, facts, moves),
        tr(
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


def validation_fell(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Validation got better, and may go on to."""
    found = validation_outcome(facts)
    if found is None or found.direction != "down":
        return
    yield strength(
        "validation-fell",
        tr("Validation got better.", "验证损失变好。"),
        _ends(found),
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
        return next_step(
            "go-on",
            tr(
                "More steps may help: validation still falls."
                + (
                    " The log holds no learning rate; at a rate of zero they would not."
                    if unknown
                    else ""
                ),
                "增加步数可能有用：验证损失仍在下降。"
                + ("日志中没有学习率；若学习率已降为零，则没有用。" if unknown else ""),
            ),
            evidence,
        )
    return next_step(
        "raise-rate",
        tr(
            f"{raise_rate(tr, facts)[:-1]}, or plan a longer run from the start: validation still "
            "fell when the rate had reached its end.",
            f"{raise_rate(tr, facts)[:-1]}，或从头规划更长的训练：学习率降到底时验证损失仍在下降。",
        ),
        evidence
        + tr(
            f"; the last rate is {share(rate_left(facts))} of the highest",
            f"；最后的学习率只有最高值的 {share(rate_left(facts))}",
        ),
    )


def start_not_validated(tr: Language, facts: Facts) -> Iterator[Finding]:
    """The first validation came after some training.

    One at step 1 is of the start, or an update from it: trainers count both ways.
    """
    found = validation_outcome(facts)
    if found is not None and found.first_step > 1:
        yield weakness(
            "start-not-validated",
            tr("The starting checkpoint was not validated.", "没有验证起始检查点。"),
            tr(
                f"the first validation is at step {found.first_step}",
                f"首次验证在第 {found.first_step} 步",
            ),
        )
